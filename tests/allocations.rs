//! What the allocator sees: nothing, once everybody is known and has spoken; and little for a peer that is merely
//! known.
//!
//! Allocations are counted a thread, so that tests beside one another stay out of it. Not on MinGW, where the variables
//! of a thread are themselves allocated.
#![cfg(not(all(windows, target_env = "gnu")))]

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use packetpeer::identity::{ConnectionId, ConnectionIds, Identity};
use packetpeer::limits::{AfterClose, QueueLimits};
use packetpeer::sim::Network;
use packetpeer::socket::{
    BindAddr, BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{Limits, PacketPeerUdp, PeerId, Peers, SendMode, ServerConfig, SocketOptions, UdpServer, Verdict};

#[path = "util/allocator.rs"]
mod allocator;
#[path = "util/counts.rs"]
mod counts;

use counts::assert_counts;

/// Allocations of this thread during `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = allocator::allocations();
    work();
    allocator::allocations() - before
}

const SIZES: [usize; 2] = [64, 1200];
const MODES: [SendMode; 3] = [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush];
const WAYS: [Way; 2] = [Way::Packet, Way::Into];

/// How packets are taken.
#[derive(Debug, Clone, Copy)]
enum Way {
    Packet,
    Into,
}

/// A game's side of a server: the handles by index, and the memory of a frame.
struct Game {
    server: UdpServer,
    peers: Vec<PacketPeerUdp>,
    ready: Vec<PeerId>,
    buffer: Vec<u8>,
    way: Way,
}

impl Game {
    fn new(server: UdpServer, way: Way, peers: usize) -> Self {
        let (peers, ready) = (Vec::with_capacity(peers), Vec::with_capacity(peers));
        Self { server, peers, ready, buffer: vec![0; 2048], way }
    }

    /// One frame of an echo server. Returns how many datagrams came.
    fn frame(&mut self) -> usize {
        let received = self.server.poll().unwrap().received;
        while let Some(peer) = self.server.take_connection() {
            assert_eq!(peer.id().index(), self.peers.len());
            self.peers.push(peer);
        }
        self.ready.clear();
        self.server.ready(&mut self.ready);
        for id in &self.ready {
            let peer = &mut self.peers[id.index()];
            match self.way {
                Way::Packet => {
                    while let Some(packet) = peer.get_packet().unwrap() {
                        let _ = peer.put_packet(&packet);
                    }
                }
                Way::Into => {
                    while let Some(len) = peer.get_packet_into(&mut self.buffer).unwrap() {
                        let _ = peer.put_packet(&self.buffer[..len]);
                    }
                }
            }
        }
        self.server.flush().unwrap();
        received
    }
}

fn config(mode: SendMode, peers: usize) -> ServerConfig {
    let limits = Limits::new().max_peers(peers).max_pending_connections(peers).max_pending_per_ip(peers);
    ServerConfig::new().limits(limits.idle_timeout(None)).send_mode(mode)
}

#[test]
fn a_steady_state_on_loopback_allocates_nothing() {
    for size in SIZES {
        for mode in MODES {
            for way in WAYS {
                echo_on_loopback(size, mode, way);
            }
        }
    }
}

fn echo_on_loopback(size: usize, mode: SendMode, way: Way) {
    const CLIENTS: usize = 8;
    const BURST: usize = 3;
    let mut server = UdpServer::with_config(config(mode, CLIENTS)).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let addr = server.local_addr().unwrap();
    let clients: Vec<UdpSocket> = (0..CLIENTS)
        .map(|_| {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.connect(addr).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client
        })
        .collect();
    let mut game = Game::new(server, way, CLIENTS);
    for frame in 0..20_u8 {
        let payload = vec![frame; size];
        for client in &clients {
            for _ in 0..BURST {
                client.send(&payload).unwrap();
            }
        }
        let allocations = allocations(|| {
            let deadline = Instant::now() + Duration::from_secs(10);
            let mut received = 0;
            while received < CLIENTS * BURST {
                assert!(Instant::now() < deadline, "{received} datagrams came");
                game.server.wait(Some(Duration::from_millis(100))).unwrap();
                received += game.frame();
            }
        });
        let mut answer = [0; 2048];
        for client in &clients {
            for _ in 0..BURST {
                let len = client.recv(&mut answer).unwrap();
                assert_eq!(answer[..len], payload);
            }
        }
        if frame >= 3 {
            assert_eq!(allocations, 0, "{size} bytes, {mode:?}, {way:?}, frame {frame}");
        }
    }
    assert_eq!(game.peers.len(), CLIENTS);
}

#[test]
fn a_steady_state_in_memory_allocates_nothing() {
    for size in SIZES {
        for mode in MODES {
            for way in WAYS {
                echo_in_memory(size, mode, way, [usize::MAX; 3]);
            }
        }
    }
}

/// Of what is sent in a frame, the system takes only a part: the rest waits for the next poll, or is lost.
#[test]
fn a_steady_state_in_which_sends_block_allocates_nothing() {
    for mode in MODES {
        for way in WAYS {
            echo_in_memory(64, mode, way, [200, 500, usize::MAX]);
        }
    }
}

/// In one frame after the other the system takes as many datagrams as `takes` says, and then from the beginning again.
fn echo_in_memory(size: usize, mode: SendMode, way: Way, takes: [usize; 3]) {
    const PEERS: usize = 1000;
    const SPEAKERS: usize = 500;
    let wire = Arc::new(Wire::new(PEERS, size));
    let mut server = UdpServer::with_transport(config(mode, PEERS), Wires(Arc::clone(&wire))).unwrap();
    server.listen(1).unwrap();
    let mut game = Game::new(server, way, PEERS);
    // Every sixth frame the same peers speak and as much is taken: what is not there after twelve, is not needed.
    for frame in 0..36 {
        wire.arrive(SPEAKERS, takes[frame % 3]);
        let allocations = allocations(|| assert_eq!(game.frame(), SPEAKERS));
        if frame >= 12 {
            assert_eq!(allocations, 0, "{size} bytes, {mode:?}, {way:?}, frame {frame}");
        }
    }
    assert_eq!(game.peers.len(), PEERS);
    let stats = game.server.stats();
    assert_eq!(stats.delivered, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats}");
    assert_eq!(stats.sent, wire.sent.load(Relaxed) as u64);
}

#[test]
fn a_steady_state_through_the_container_of_handles_allocates_nothing() {
    const PEERS: usize = 1000;
    const SPEAKERS: usize = 500;
    let wire = Arc::new(Wire::new(PEERS, 64));
    let mut server = UdpServer::with_transport(config(SendMode::Now, PEERS), Wires(Arc::clone(&wire))).unwrap();
    server.listen(1).unwrap();
    let mut peers: Peers<UdpServer, usize> = Peers::new();
    for frame in 0..36 {
        wire.arrive(SPEAKERS, usize::MAX);
        let allocations = allocations(|| {
            server.poll().unwrap();
            peers.update(&mut server, |_, _| Some(0), |_, _, _, _| panic!("nobody leaves"));
            while let Some((_, peer, heard)) = peers.next_ready() {
                while let Some(packet) = peer.get_packet().unwrap() {
                    *heard += 1;
                    peer.put_packet(&packet).unwrap();
                }
            }
        });
        if frame >= 12 {
            assert_eq!(allocations, 0, "frame {frame}");
        }
    }
    assert_eq!(peers.iter().map(|(_, _, heard)| heard).sum::<usize>(), 36 * SPEAKERS);
}

#[test]
fn a_broadcast_copies_its_payload_once_at_most() {
    const PEERS: usize = 1000;
    for mode in MODES {
        let wire = Arc::new(Wire::new(PEERS, 64));
        let mut server = UdpServer::with_transport(config(mode, PEERS), Wires(Arc::clone(&wire))).unwrap();
        server.listen(1).unwrap();
        let mut game = Game::new(server, Way::Packet, PEERS);
        for frame in 0..20 {
            wire.arrive(if frame == 0 { PEERS } else { 0 }, usize::MAX);
            game.frame();
            let before = wire.sent.load(Relaxed);
            let allocations = allocations(|| {
                game.server.broadcast(&[7; 64]).unwrap();
                game.server.flush().unwrap();
            });
            assert_eq!(wire.sent.load(Relaxed) - before, PEERS);
            if frame >= 3 {
                assert_eq!(allocations, u64::from(mode == SendMode::OnFlush), "{mode:?}, frame {frame}");
            }
        }
    }
}

#[test]
fn a_known_peer_takes_at_most_512_bytes() {
    for mode in MODES {
        let bytes = bytes_a_known_peer(mode);
        println!("{mode:?}: {bytes:.0} bytes a known peer, its handle included");
        assert!(bytes <= 512.0, "{mode:?}: {bytes:.0} bytes");
    }
}

/// With 100 000 of them, after traffic and a quiet minute: all that was asked of the allocator since the server
/// listened, the room that tables have to spare included, and the handle.
fn bytes_a_known_peer(mode: SendMode) -> f64 {
    const PEERS: usize = 100_000;
    const SPEAKERS: usize = 1000;
    let wire = Arc::new(Wire::new(PEERS, 64));
    let mut server = UdpServer::with_transport(config(mode, PEERS), Wires(Arc::clone(&wire))).unwrap();
    server.listen(1).unwrap();
    let mut game = Game::new(server, Way::Packet, PEERS);
    let before = allocator::live_bytes();
    // The first time around they become known; then they talk.
    for _ in 0..4 * PEERS / SPEAKERS {
        wire.arrive(SPEAKERS, usize::MAX);
        game.frame();
    }
    assert_eq!(game.server.peer_count(), PEERS);
    assert_eq!(wire.sent.load(Relaxed), 4 * PEERS);
    for _ in 0..60 {
        wire.advance(Duration::from_secs(1));
        assert_eq!(game.frame(), 0);
    }
    assert_eq!(game.server.peer_count(), PEERS);
    let heap = (allocator::live_bytes() - before) as f64 / PEERS as f64;
    heap + size_of::<PacketPeerUdp>() as f64
}

/// What a peer does once, and never again.
#[derive(Debug, Clone, Copy)]
enum Burst {
    Nothing,
    /// Its client sends 512 packets between two polls.
    Received,
    /// The game puts 512 packets before a flush, or while the system takes nothing.
    Put,
    /// Its client sends one that is too long.
    OverLong,
}

/// A burst of 512 one-byte packets left four kilobytes at each peer, and one of 512 puts twelve, for as long as it lived;
/// a single datagram that was too long left three hundred bytes.
#[test]
fn a_peer_that_has_been_quiet_for_a_while_takes_at_most_512_bytes_again() {
    for (burst, mode, pinned) in [
        (Burst::Nothing, SendMode::Now, false),
        (Burst::Nothing, SendMode::OnFlush, false),
        (Burst::Nothing, SendMode::Now, true),
        (Burst::Received, SendMode::Now, false),
        (Burst::Received, SendMode::OnFlush, true),
        (Burst::Put, SendMode::OnFlush, false),
        (Burst::Put, SendMode::QueueWhenBlocked, false),
        (Burst::OverLong, SendMode::Now, false),
        (Burst::OverLong, SendMode::OnFlush, true),
    ] {
        let bytes = bytes_after(burst, mode, pinned);
        println!("{burst:?}, {mode:?}, pinned {pinned}: {bytes:.0} bytes a peer, its handle included");
        assert!(bytes <= 512.0, "{burst:?}, {mode:?}, pinned {pinned}: {bytes:.0} bytes");
    }
}

/// What a peer takes of the allocator, with its handle, when all have done that and have been quiet for a minute; without
/// the pool, which has a limit of its own.
fn bytes_after(burst: Burst, mode: SendMode, pinned: bool) -> f64 {
    const PEERS: usize = 4096;
    const AT_A_TIME: usize = 8;
    let wire = Arc::new(Wire::new(PEERS, 64));
    wire.tells_local.store(pinned, Relaxed);
    let socket = SocketOptions::new().max_packet_size(64).pin_reply_address(pinned);
    let mut server = UdpServer::with_transport(config(mode, PEERS).socket(socket), Wires(Arc::clone(&wire))).unwrap();
    server.listen(1).unwrap();
    let mut game = Game::new(server, Way::Into, PEERS);
    let before = allocator::live_bytes();
    for _ in 0..PEERS / AT_A_TIME {
        wire.arrive(AT_A_TIME, usize::MAX);
        game.frame();
    }
    for group in 0..PEERS / AT_A_TIME {
        match burst {
            Burst::Nothing => {}
            Burst::Received => {
                wire.in_a_row.store(512, Relaxed);
                wire.arrive(512 * AT_A_TIME, usize::MAX);
                game.frame();
            }
            Burst::Put => {
                wire.arrive(0, 0);
                for peer in &mut game.peers[group * AT_A_TIME..][..AT_A_TIME] {
                    (0..512).for_each(|_| peer.put_packet(&wire.payload).unwrap());
                }
                wire.takes.store(usize::MAX, Relaxed);
                game.frame();
            }
            Burst::OverLong => {
                wire.over_long.store(true, Relaxed);
                wire.arrive(AT_A_TIME, usize::MAX);
                game.frame();
            }
        }
    }
    for _ in 0..600 {
        wire.advance(Duration::from_millis(100));
        assert_eq!(game.frame(), 0);
    }
    assert_eq!(game.server.peer_count(), PEERS);
    let stats = game.server.stats();
    let expected = match burst {
        Burst::Received => 512 * PEERS + PEERS,
        Burst::OverLong => 2 * PEERS,
        Burst::Nothing | Burst::Put => PEERS,
    };
    assert_counts!(stats, received: expected as u64, queued: 0, send_queued: 0);
    let live = allocator::live_bytes() - before - game.server.table_sizes().pool_bytes as i64;
    live as f64 / PEERS as f64 + size_of::<PacketPeerUdp>() as f64
}

#[test]
fn the_memory_of_a_large_flush_goes_back() {
    const PEERS: usize = 256;
    let wire = Arc::new(Wire::new(PEERS, 64));
    let mut server = UdpServer::with_transport(config(SendMode::OnFlush, PEERS), Wires(Arc::clone(&wire))).unwrap();
    server.listen(1).unwrap();
    let mut game = Game::new(server, Way::Into, PEERS);
    wire.arrive(PEERS, usize::MAX);
    game.frame();
    let before = allocator::live_bytes();
    for peer in &mut game.peers {
        (0..512).for_each(|_| peer.put_packet(&wire.payload).unwrap());
    }
    game.frame();
    for _ in 0..600 {
        wire.advance(Duration::from_millis(100));
        game.frame();
    }
    // The pool may keep what it has; here it is to be out of the way.
    game.server.set_limits(game.server.limits().clone().max_queued_bytes(0)).unwrap();
    let left = allocator::live_bytes() - before;
    println!("{left} bytes of {} packets", PEERS * 512);
    assert!(left < 100_000, "{left}");
}

/// The server knows them no more, and handles may be kept for long, as for a table of scores.
#[test]
fn handles_of_ended_peers_keep_no_memory_of_a_burst() {
    let quiet = bytes_kept_by_handles_of_ended_peers(1);
    let after_burst = bytes_kept_by_handles_of_ended_peers(512);
    println!("{quiet} bytes of quiet peers, {after_burst} after a burst");
    assert!(after_burst < quiet + 1_000);
}

fn bytes_kept_by_handles_of_ended_peers(packets: usize) -> i64 {
    const PEERS: usize = 64;
    let wire = Arc::new(Wire::new(PEERS, 64));
    let before = allocator::live_bytes();
    let mut server = UdpServer::with_transport(config(SendMode::OnFlush, PEERS), Wires(Arc::clone(&wire))).unwrap();
    server.listen(1).unwrap();
    let mut game = Game::new(server, Way::Into, PEERS);
    wire.arrive(PEERS, usize::MAX);
    game.frame();
    wire.arrive(packets * PEERS, usize::MAX);
    game.server.poll().unwrap();
    for peer in &mut game.peers {
        (0..packets).for_each(|_| peer.put_packet(&wire.payload).unwrap());
    }
    game.server.stop();
    for peer in &mut game.peers {
        while peer.get_packet_into(&mut game.buffer).is_ok() {}
    }
    let Game { server, peers, .. } = game;
    drop(server);
    let kept = allocator::live_bytes() - before;
    drop(peers);
    kept
}

/// Queues that grow each frame and are emptied each frame keep their memory, however long that goes on.
#[test]
fn peers_that_have_several_packets_each_frame_allocate_nothing() {
    const PEERS: usize = 200;
    for mode in MODES {
        let wire = Arc::new(Wire::new(PEERS, 64));
        let mut server = UdpServer::with_transport(config(mode, PEERS), Wires(Arc::clone(&wire))).unwrap();
        server.listen(1).unwrap();
        let mut game = Game::new(server, Way::Into, PEERS);
        wire.in_a_row.store(4, Relaxed);
        for frame in 0..2_000 {
            // In the mode that is for this, some of it waits for the next frame.
            wire.arrive(4 * PEERS, if frame % 2 == 0 { 300 } else { usize::MAX });
            let allocations = allocations(|| assert_eq!(game.frame(), 4 * PEERS));
            if frame >= 20 {
                assert_eq!(allocations, 0, "{mode:?}, frame {frame}");
            }
        }
    }
}

/// A socket in memory that allocates nothing: it receives from one peer after the other, and drops what is sent.
#[derive(Debug)]
struct Wire {
    start: Instant,
    milliseconds: AtomicU64,
    peers: usize,
    payload: Vec<u8>,
    /// How many datagrams come from one peer before the next has its turn.
    in_a_row: AtomicUsize,
    over_long: AtomicBool,
    tells_local: AtomicBool,
    arrived: AtomicUsize,
    next: AtomicUsize,
    takes: AtomicUsize,
    sent: AtomicUsize,
}

impl Wire {
    fn new(peers: usize, size: usize) -> Self {
        Self {
            start: Instant::now(),
            milliseconds: AtomicU64::new(0),
            peers,
            payload: vec![7; size],
            in_a_row: AtomicUsize::new(1),
            over_long: AtomicBool::new(false),
            tells_local: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            takes: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        }
    }

    /// A frame later, so many datagrams wait, each of another peer; and so many may be sent.
    fn arrive(&self, datagrams: usize, takes: usize) {
        self.advance(Duration::from_millis(16));
        self.arrived.store(datagrams, Relaxed);
        self.takes.store(takes, Relaxed);
    }

    fn advance(&self, by: Duration) {
        self.milliseconds.fetch_add(by.as_millis() as u64, Relaxed);
    }
}

#[derive(Debug)]
struct Wires(Arc<Wire>);

impl TransportFactory for Wires {
    fn bind(&self, _options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(End(Arc::clone(&self.0))))
    }

    fn clock(&self) -> Clock {
        let wire = Arc::clone(&self.0);
        Clock::new(move || wire.start + Duration::from_millis(wire.milliseconds.load(Relaxed)))
    }
}

#[derive(Debug)]
struct End(Arc<Wire>);

impl Transport for End {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let wire = &*self.0;
        while wire.arrived.load(Relaxed) > 0 && !batch.is_full() {
            let peer = wire.next.fetch_add(1, Relaxed) / wire.in_a_row.load(Relaxed) % wire.peers;
            let bytes: &[u8] = if wire.over_long.load(Relaxed) { &[7; 100] } else { &wire.payload };
            let from = SocketAddr::from((Ipv4Addr::from(first + peer as u32), 4433));
            if wire.tells_local.load(Relaxed) {
                let mut one = ReceiveBatch::new(1, bytes.len());
                one.push(from, bytes);
                let mut datagram = one.iter().next().unwrap();
                datagram.local = Some(Ipv4Addr::new(10, 0, 0, 0).into());
                batch.push_datagram(&datagram);
            } else {
                batch.push(from, bytes);
            }
            wire.arrived.fetch_sub(1, Relaxed);
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8], _to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
        let wire = &*self.0;
        assert_eq!(bytes, wire.payload);
        let left = wire.takes.load(Relaxed).checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        wire.takes.store(left, Relaxed);
        wire.sent.fetch_add(1, Relaxed);
        Ok(())
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, _remote: SocketAddr) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::new(10, 0, 0, 0), 1).into())
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(self.0.arrived.load(Relaxed) > 0)
    }
}

/// As those of a load test, thousands in one process.
#[test]
fn a_stand_alone_peer_takes_at_most_4_kib() {
    const PEERS: usize = 100;
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut peers = Vec::with_capacity(PEERS);
    let before = allocator::live_bytes();
    for _ in 0..PEERS {
        let mut peer = PacketPeerUdp::new();
        peer.connect_to_host(server.local_addr().unwrap()).unwrap();
        peer.put_packet(b"hello").unwrap();
        peer.poll().unwrap();
        peers.push(peer);
    }
    // All together have some room to receive into.
    let room = 256 << 10;
    let bytes = (allocator::live_bytes() - before - room) / PEERS as i64;
    println!("{bytes} bytes a stand-alone peer");
    assert!(bytes <= 4 << 10, "{bytes}");
}

/// A server in memory and one who sends to it from many ports.
fn flooded(limits: Limits) -> (Network, UdpServer) {
    let network = Network::new();
    let options = SocketOptions::new().receive_buffer(Some(1 << 20)).max_packet_size(1_200);
    let config = ServerConfig::new().limits(limits).socket(options);
    let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1])).unwrap();
    server.listen(7777).unwrap();
    (network, server)
}

/// What `SECURITY.md` counts with: packets that nobody reads, at their smallest.
#[test]
fn a_waiting_packet_takes_at_most_256_bytes_beside_its_payload() {
    const PEERS: u16 = 40;
    let limits = Limits::new().max_pending_connections(PEERS.into()).max_pending_per_ip(PEERS.into());
    let most = usize::from(PEERS) * limits.queue.packets;
    let (network, mut server) = flooded(limits);
    let mut peers = Vec::with_capacity(PEERS.into());
    // Counted from when each has a packet, so that all tables are there.
    let mut before = 0;
    for round in 0..600 {
        for port in 0..PEERS {
            let mut options = BindOptions::new(BindAddr::Addr(([10, 0, 0, 2], 1_000 + port).into()));
            options.receive_buffer = Some(0);
            let socket = network.host([10, 0, 0, 2]).bind(&options).unwrap();
            socket.send(b"", ([10, 0, 0, 1], 7777).into(), None).unwrap();
        }
        server.poll().unwrap();
        peers.extend(std::iter::from_fn(|| server.take_connection()));
        if round == 0 {
            before = allocator::live_bytes();
        }
    }
    let queued = server.stats().queued;
    assert_eq!((peers.len(), queued), (PEERS.into(), most as u64));
    let bytes = (allocator::live_bytes() - before) / (queued as i64 - i64::from(PEERS));
    println!("{bytes} bytes a waiting packet of none");
    assert!((1..=256).contains(&bytes), "{bytes}");
}

#[test]
fn a_refused_address_takes_at_most_256_bytes() {
    const REFUSED: usize = 4096;
    let limits = Limits::new().after_close(AfterClose::Refuse(Duration::from_secs(3_600)));
    let (network, mut server) = flooded(limits);
    let mut call = |port: u16| {
        let mut options = BindOptions::new(BindAddr::Addr(([10, 0, 0, 2], port).into()));
        options.receive_buffer = Some(0);
        let socket = network.host([10, 0, 0, 2]).bind(&options).unwrap();
        socket.send(b"x", ([10, 0, 0, 1], 7777).into(), None).unwrap();
        server.poll().unwrap();
        drop(server.take_connection());
    };
    (0..10).for_each(|number| call(1_000 + number));
    let before = allocator::live_bytes();
    (10..3 * REFUSED as u16).for_each(|number| call(1_000 + number));
    let bytes = (allocator::live_bytes() - before) / REFUSED as i64;
    assert_eq!(server.stats().connections.closed as usize, 3 * REFUSED - 1, "the last is told by the next poll");
    println!("{bytes} bytes a refused address");
    assert!((1..=256).contains(&bytes), "{bytes}");
    assert_eq!(server.table_sizes().refused, REFUSED);
}

/// A socket in memory that many connections speak to, one after the other, with its number for an id.
#[derive(Debug, Default)]
struct Roamers {
    connections: usize,
    /// Rounds that wait, in which each connection speaks once; and, if they move, from another port in each.
    rounds: AtomicUsize,
    spoken: AtomicUsize,
    moves: AtomicUsize,
}

#[derive(Debug)]
struct RoamersEnd(Arc<Roamers>);

impl TransportFactory for RoamersEnd {
    fn bind(&self, _options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }

    fn clock(&self) -> Clock {
        Clock::new(Instant::now)
    }
}

impl Transport for RoamersEnd {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let roamers = &*self.0;
        while roamers.rounds.load(Relaxed) > 0 && !batch.is_full() {
            let number = roamers.spoken.fetch_add(1, Relaxed) % roamers.connections;
            let port = 1_000 + roamers.moves.load(Relaxed) as u16;
            let host = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 1)) + number as u32);
            batch.push((host, port).into(), &(number as u64).to_be_bytes());
            if number + 1 == roamers.connections {
                roamers.rounds.fetch_sub(1, Relaxed);
                roamers.moves.fetch_add(usize::from(roamers.moves.load(Relaxed) > 0), Relaxed);
            }
        }
        Ok(())
    }

    fn send(&self, _bytes: &[u8], _to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
        Ok(())
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, _remote: SocketAddr) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok((Ipv4Addr::new(10, 0, 0, 0), 1).into())
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(false)
    }
}

/// What it costs that connections move so often within one poll, in bytes: after that poll, and after the next.
fn bytes_of_moves(connections: usize, moves: usize) -> (i64, i64) {
    let roamers = Arc::new(Roamers { connections, ..Roamers::default() });
    let ids = ConnectionIds::new(|bytes| bytes.first_chunk().map(|id| ConnectionId(u64::from_be_bytes(*id))));
    let limits = Limits::new().max_peers(connections).max_pending_connections(connections).max_known_per_poll(1 << 20);
    // Of a connection's datagrams one is queued, so that no queue takes memory; but each moves it.
    let limits = limits.max_pending_per_ip(connections).max_unknown_per_poll(1 << 20).quota_per_poll(Some(1));
    let config = ServerConfig::new()
        .limits(limits.idle_timeout(None))
        .identity(Identity::ConnectionId(ids.old_address_grace(Duration::ZERO)));
    let mut server = UdpServer::with_transport(config, RoamersEnd(Arc::clone(&roamers))).unwrap();
    server.listen(1).unwrap();
    let mut game = Game::new(server, Way::Packet, connections);
    let mut frame = |rounds: usize| {
        roamers.rounds.store(rounds, Relaxed);
        assert_eq!(game.frame(), rounds * connections);
        assert_eq!(game.peers.len(), connections);
        let (moved, remembered) = (game.server.stats().connections.moved, game.server.table_sizes().moved);
        (moved as usize, remembered, allocator::live_bytes())
    };
    // The first time around they become known.
    (0..4).for_each(|_| assert_eq!(frame(1).0, 0));
    let (_, _, before) = frame(0);
    roamers.moves.store(1, Relaxed);
    let (moved, remembered, height) = frame(moves);
    assert_eq!((moved, remembered), (connections * moves, connections));
    (height - before, frame(0).2 - before)
}

/// However often it has moved; the number of connections decides how much room hash tables have to spare.
#[test]
fn a_connection_that_has_moved_takes_at_most_512_bytes_more() {
    for connections in [100, 448, 449, 1_000, 1_793, 4_096] {
        for moves in [1, 6] {
            let (height, left) = bytes_of_moves(connections, moves);
            let [list, each] = [height - left, left].map(|bytes| bytes / connections as i64);
            println!("{each} bytes for each of {connections} that have moved {moves} times, and {list} to tell so");
            // Beside them, the list of a few moves is kept.
            assert!((1..=512 * connections as i64 + (12 << 10)).contains(&left), "{left}");
            assert!((-100..=256).contains(&list), "{list}");
        }
    }
}

/// It had an entry for each move, 1 167 KiB for the 16 000 that sixteen peers can make in a poll, and kept that memory.
#[test]
fn the_list_of_moves_does_not_grow_with_their_number() {
    let (height, left) = bytes_of_moves(16, 1_000);
    println!("{height} bytes for 16 connections that have moved 1000 times each in one poll, {left} after the next");
    assert!(height <= 16 << 10 && left <= height, "{height}, {left}");
}

/// One that is lent for a poll is called where it stands, and writes into the server's one buffer.
#[test]
fn a_poll_with_a_filter_allocates_nothing() {
    let network = Network::new();
    let server_addr = SocketAddr::from(([10, 0, 0, 1], 7777));
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host(server_addr.ip())).unwrap();
    server.listen(server_addr).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 1, 1]));
    client.connect_to_host(server_addr).unwrap();
    let mut asked = 0_u64;
    for round in 0..100 {
        client.put_packet(b"who is here?").unwrap();
        let calls = allocations(|| {
            let report = server.poll_with(|datagram, reply| {
                asked += 1;
                reply.extend_from_slice(&datagram.bytes[..6]);
                Verdict::Reply
            });
            assert_eq!(report.unwrap().consumed, 1);
        });
        client.poll().unwrap();
        assert!(client.get_packet().unwrap().is_some());
        assert!(round < 20 || calls == 0, "{calls} allocations in round {round}");
    }
    assert_eq!(asked, 100);
}

#[test]
fn reading_every_counter_by_its_name_allocates_nothing() {
    let network = Network::new();
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1])).unwrap();
    server.listen(("10.0.0.1".parse::<Ipv4Addr>().unwrap(), 7777)).unwrap();
    let mut sum = 0;
    let calls = allocations(|| {
        let (before, sizes) = (server.stats(), server.table_sizes());
        let now = server.stats();
        let links = network.link_stats(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let listed = now.since(&before).iter().chain(sizes.iter()).chain(links.iter());
        sum += listed.map(|stat| stat.value + stat.help.len() as u64).sum::<u64>();
    });
    assert_eq!(calls, 0);
    assert!(sum > 0);
}

/// Memory for as much as the default limits let wait was kept, however much was let wait.
#[test]
fn a_stand_alone_peer_whose_queue_is_longer_keeps_memory_for_it() {
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    peer.set_receive_buffer(Some(4 << 20)).unwrap();
    peer.set_queue_limits(QueueLimits::new().packets(1_000).bytes(2 << 20)).unwrap();
    peer.bind(7777).unwrap();
    let mut sender = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
    sender.connect_to_host("10.0.0.1:7777").unwrap();
    let mut frame = || {
        (0..800).for_each(|_| sender.put_packet(&[7; 1000]).unwrap());
        assert_eq!(peer.poll().unwrap().queued, 800);
        while peer.get_packet().unwrap().is_some() {}
    };
    // All that wait at a time take it from the pool.
    frame();
    assert_eq!(allocations(&mut frame), 0);
}
