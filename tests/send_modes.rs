//! When a server's peers send what is put: at once, when the system takes it again, or by `flush`.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use packetpeer::error::PutError;
use packetpeer::limits::{QueueLimits, WhenFull};
use packetpeer::sim::Network;
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, SystemSockets, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, UdpServer, WaitOutcome};

#[path = "util/counts.rs"]
mod counts;

use counts::assert_counts;

/// A server in memory, and clients it knows.
struct Match {
    server: UdpServer,
    peers: Vec<PacketPeerUdp>,
    clients: Vec<PacketPeerUdp>,
    moods: Arc<Mutex<Moods>>,
}

impl Match {
    fn new(mode: SendMode, clients: usize) -> Self {
        Self::with_limits(mode, clients, Limits::new())
    }

    fn with_limits(mode: SendMode, clients: usize, limits: Limits) -> Self {
        let network = Network::new();
        let moods = Arc::new(Mutex::new(Moods::default()));
        let host = Moody { inner: network.host([10, 0, 0, 1]), moods: Arc::clone(&moods) };
        let mut server = UdpServer::with_transport(ServerConfig::new().limits(limits).send_mode(mode), host).unwrap();
        server.listen(7000).unwrap();
        let mut new = Self { server, peers: Vec::new(), clients: Vec::new(), moods };
        for last in 0..clients {
            let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 1, last as u8]));
            client.connect_to_host("10.0.0.1:7000").unwrap();
            client.put_packet(b"hello").unwrap();
            new.server.poll().unwrap();
            new.peers.push(new.server.take_connection().unwrap());
            new.clients.push(client);
        }
        new
    }

    /// What client `index` has received by now.
    fn received(&mut self, index: usize) -> Vec<Vec<u8>> {
        let client = &mut self.clients[index];
        client.poll().unwrap();
        std::iter::from_fn(|| client.get_packet().unwrap()).map(|packet| packet.to_vec()).collect()
    }

    fn put_counts_add_up(&self, put: u64) {
        let stats = self.server.stats();
        assert_eq!(put, stats.put, "{stats}");
        assert_eq!(put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats}");
        let of_peers = self.peers.iter().map(|peer| peer.stats());
        assert_eq!(stats.sent, of_peers.clone().map(|stats| stats.sent).sum());
        for stats in of_peers {
            assert_eq!(stats.put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats}");
        }
    }
}

/// What a transport refuses to do.
#[derive(Debug, Default)]
struct Moods {
    /// Datagrams it still takes before it would block; `None` = any number.
    takes: Option<usize>,
    refuses: HashSet<SocketAddr>,
    /// Number of the system for a full queue, where it is not "would block".
    full: Option<i32>,
    max_segments: Option<usize>,
    calls: usize,
}

#[derive(Debug)]
struct Moody<T> {
    inner: T,
    moods: Arc<Mutex<Moods>>,
}

impl<T: TransportFactory> TransportFactory for Moody<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let inner = self.inner.bind(options)?;
        Ok(Box::new(Moody { inner, moods: Arc::clone(&self.moods) }))
    }

    fn clock(&self) -> Clock {
        self.inner.clock()
    }
}

impl Transport for Moody<Box<dyn Transport>> {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.inner.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        let mut moods = self.moods.lock().unwrap();
        moods.calls += 1;
        if moods.refuses.contains(&to) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let moods = &mut *moods;
        if let Some(takes) = &mut moods.takes {
            let full = moods.full.map_or(io::ErrorKind::WouldBlock.into(), io::Error::from_raw_os_error);
            *takes = takes.checked_sub(1).ok_or(full)?;
        }
        self.inner.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        self.moods.lock().unwrap().max_segments.unwrap_or(1)
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.inner.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.inner.wait(timeout, interrupt)
    }
}

#[test]
fn can_put_says_when_a_packet_would_have_to_wait_and_has_no_room() {
    let limits = Limits::new().send_queue(QueueLimits::new().packets(2).bytes(10));
    let mut game = Match::with_limits(SendMode::QueueWhenBlocked, 1, limits);
    assert!(game.peers[0].can_put(1000), "at once, past the queue");
    game.moods.lock().unwrap().takes = Some(0);
    for packet in [&b"one"[..], b"two"] {
        assert!(game.peers[0].can_put(3));
        game.peers[0].put_packet(packet).unwrap();
    }
    assert!(!game.peers[0].can_put(0));
    assert!(matches!(game.peers[0].put_packet(b""), Err(PutError::QueueFull)));

    game.moods.lock().unwrap().takes = Some(1);
    game.server.flush().unwrap();
    assert!(game.peers[0].can_put(7) && !game.peers[0].can_put(8));
    game.moods.lock().unwrap().takes = None;
    game.server.flush().unwrap();
    assert!(game.peers[0].can_put(1000));
    assert_eq!(game.received(0), [b"one", b"two"]);
    assert_eq!(game.peers[0].stats().send_drops.total(), 1, "the one that was put without a yes");
    game.put_counts_add_up(3);
}

#[test]
fn on_flush_nothing_leaves_before_the_flush_and_then_all_in_order() {
    let mut game = Match::new(SendMode::OnFlush, 2);
    for packet in [&b"one"[..], b"", b"two", b"longer than two", b"xyz"] {
        game.peers[0].put_packet(packet).unwrap();
    }
    game.peers[1].put_packet(b"other").unwrap();
    assert!(game.received(0).is_empty());
    assert_eq!(game.server.stats().send_queued, 6);
    game.put_counts_add_up(6);

    assert_counts!(game.server.flush().unwrap(), sent: 6, failed: 0, waiting: 0);
    assert_eq!(game.received(0), [&b"one"[..], b"", b"two", b"longer than two", b"xyz"]);
    assert_eq!(game.received(1), [b"other"]);
    assert_counts!(game.server.flush().unwrap(), sent: 0, failed: 0, waiting: 0);
    game.put_counts_add_up(6);
}

#[test]
fn a_forgotten_flush_is_made_up_for_by_the_next_poll() {
    let mut game = Match::new(SendMode::OnFlush, 1);
    game.peers[0].put_packet(b"frame 1").unwrap();
    game.server.poll().unwrap();
    assert_eq!(game.received(0), [b"frame 1"]);
}

#[test]
fn puts_of_another_thread_are_in_the_next_flush() {
    let mut game = Match::new(SendMode::OnFlush, 1);
    let mut peer = game.peers.pop().unwrap();
    let peer = std::thread::spawn(move || {
        for number in 0..100u8 {
            peer.put_packet(&[number]).unwrap();
        }
        peer
    });
    game.peers.push(peer.join().unwrap());
    game.server.flush().unwrap();
    let expected: Vec<_> = (0..100u8).map(|number| vec![number]).collect();
    assert_eq!(game.received(0), expected);
}

#[test]
fn what_waits_to_be_sent_is_bounded_and_the_newest_is_refused() {
    let limits = Limits::new().send_queue(QueueLimits::new().packets(2));
    let mut game = Match::with_limits(SendMode::OnFlush, 1, limits);
    game.peers[0].put_packet(b"1").unwrap();
    game.peers[0].put_packet(b"2").unwrap();
    assert!(matches!(game.peers[0].put_packet(b"3"), Err(PutError::QueueFull)));
    assert_eq!(game.peers[0].stats().send_drops.queue_packets, 1);
    game.put_counts_add_up(3);
    game.server.flush().unwrap();
    assert_eq!(game.received(0), [b"1", b"2"]);
}

#[test]
fn what_waits_to_be_sent_is_bounded_and_the_oldest_goes_where_asked() {
    let limits = Limits::new().send_queue(QueueLimits::new().bytes(4).when_full(WhenFull::DropOldest));
    let mut game = Match::with_limits(SendMode::OnFlush, 1, limits);
    for packet in [b"11", b"22", b"33"] {
        game.peers[0].put_packet(packet).unwrap();
    }
    assert_eq!(game.server.stats().send_drops.queue_bytes, 1);
    game.put_counts_add_up(3);
    game.server.flush().unwrap();
    assert_eq!(game.received(0), [b"22", b"33"]);
}

#[test]
fn all_peers_together_may_let_only_so_much_wait() {
    let mut game = Match::with_limits(SendMode::OnFlush, 2, Limits::new().max_queued_bytes(10));
    // The hellos still wait to be taken, but that is the other direction.
    game.peers[0].put_packet(b"6 byte").unwrap();
    assert!(matches!(game.peers[1].put_packet(b"5 byt"), Err(PutError::QueueFull)));
    assert_eq!(game.server.stats().send_drops.server_bytes, 1);
    game.put_counts_add_up(2);
}

#[test]
fn at_once_a_full_system_is_a_typed_error() {
    let mut game = Match::new(SendMode::Now, 1);
    game.moods.lock().unwrap().takes = Some(1);
    game.peers[0].put_packet(b"1").unwrap();
    assert!(matches!(game.peers[0].put_packet(b"2"), Err(PutError::WouldBlock)));
    assert_eq!(game.peers[0].stats().send_drops.would_block, 1);
    game.put_counts_add_up(2);
}

#[test]
fn queued_when_blocked_keeps_the_order_and_goes_on_later() {
    let mut game = Match::new(SendMode::QueueWhenBlocked, 2);
    game.moods.lock().unwrap().takes = Some(1);
    for packet in [b"1", b"2", b"3"] {
        game.peers[0].put_packet(packet).unwrap();
    }
    assert_eq!(game.received(0), [b"1"]);
    game.moods.lock().unwrap().takes = Some(1);
    assert_counts!(game.server.flush().unwrap(), sent: 1, failed: 0, waiting: 1);
    // Behind what waits, though the system would take it.
    game.moods.lock().unwrap().takes = None;
    game.peers[0].put_packet(b"4").unwrap();
    game.peers[1].put_packet(b"for another, at once").unwrap();
    assert_eq!(game.received(0), [b"2"]);
    assert_eq!(game.received(1), [b"for another, at once"]);
    game.server.poll().unwrap();
    assert_eq!(game.received(0), [b"3", b"4"]);
    game.peers[0].put_packet(b"at once again").unwrap();
    assert_eq!(game.received(0), [b"at once again"]);
    game.put_counts_add_up(6);
}

#[test]
fn a_flush_that_is_blocked_never_spins() {
    let mut game = Match::new(SendMode::OnFlush, 100);
    for peer in &mut game.peers {
        peer.put_packet(b"x").unwrap();
    }
    let calls = {
        let mut moods = game.moods.lock().unwrap();
        moods.takes = Some(10);
        moods.calls
    };
    assert_counts!(game.server.flush().unwrap(), sent: 10, failed: 0, waiting: 90);
    let tries = game.moods.lock().unwrap().calls - calls;
    assert!(tries <= 12, "{tries} calls for 10 datagrams and a full system");
    game.put_counts_add_up(100);
}

#[test]
fn a_failure_is_counted_at_its_peer_and_loses_nothing_else() {
    let mut game = Match::new(SendMode::OnFlush, 3);
    game.moods.lock().unwrap().refuses.insert(game.peers[1].remote_addr().unwrap());
    for peer in &mut game.peers {
        peer.put_packet(b"a").unwrap();
        peer.put_packet(b"b").unwrap();
    }
    assert_counts!(game.server.flush().unwrap(), sent: 4, failed: 2, waiting: 0);
    assert_eq!(game.peers[1].stats().send_drops.failed, 2);
    assert_eq!(game.peers[0].stats().send_drops.total() + game.peers[2].stats().send_drops.total(), 0);
    assert_eq!(game.received(0), [b"a", b"b"]);
    assert!(game.received(1).is_empty());
    assert_eq!(game.received(2), [b"a", b"b"]);
    game.put_counts_add_up(6);
}

#[test]
fn what_was_put_before_the_end_is_still_sent() {
    let mut game = Match::new(SendMode::OnFlush, 2);
    game.peers[0].put_packet(b"goodbye").unwrap();
    game.peers[0].close();
    assert!(matches!(game.peers[0].put_packet(b"too late"), Err(PutError::Ended(_))));
    game.server.poll().unwrap();
    assert_eq!(game.received(0), [b"goodbye"]);

    game.peers[1].put_packet(b"the server stops").unwrap();
    game.server.stop();
    assert_eq!(game.received(1), [b"the server stops"]);
    game.put_counts_add_up(3);
}

#[test]
fn what_a_stopping_server_cannot_send_is_counted() {
    let mut game = Match::new(SendMode::OnFlush, 1);
    for _ in 0..3 {
        game.peers[0].put_packet(b"x").unwrap();
    }
    game.moods.lock().unwrap().takes = Some(1);
    game.server.stop();
    assert_eq!(game.server.stats().send_drops.unsent, 2);
    assert_eq!(game.server.stats().send_queued, 0);
    game.put_counts_add_up(3);
}

#[test]
fn a_broadcast_reaches_every_peer_in_every_mode() {
    for mode in [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        let mut game = Match::new(mode, 70);
        game.peers[3].put_packet(b"before").unwrap();
        let ended = game.peers.remove(69);
        drop(ended);
        game.server.broadcast(b"snapshot").unwrap();
        game.server.flush().unwrap();
        for index in 0..69 {
            let expected: &[&[u8]] = if index == 3 { &[b"before", b"snapshot"] } else { &[b"snapshot"] };
            assert_eq!(game.received(index), expected, "{mode:?}");
        }
        assert!(game.received(69).is_empty());
        game.put_counts_add_up(70);
    }
}

#[test]
fn a_broadcast_goes_to_the_peers_named() {
    let mut game = Match::new(SendMode::Now, 3);
    let ids = [game.peers[0].id(), game.peers[2].id()];
    assert_counts!(game.server.broadcast_to(&ids, b"team").unwrap(), sent: 2, failed: 0, waiting: 0);
    assert_eq!([0, 1, 2].map(|index| game.received(index).len()), [1, 0, 1]);
}

#[test]
fn a_broadcast_says_what_is_wrong_with_the_whole() {
    let mut game = Match::new(SendMode::Now, 1);
    assert!(matches!(game.server.broadcast(&[0; 65_508]), Err(PutError::TooLarge { size: 65_508, limit: 65_507 })));
    game.server.stop();
    assert!(matches!(game.server.broadcast(b"x"), Err(PutError::NotListening)));
}

#[test]
fn a_broadcast_that_the_system_refuses_in_part_is_counted_where_it_was_refused() {
    let mut game = Match::new(SendMode::Now, 5);
    game.moods.lock().unwrap().takes = Some(2);
    assert_counts!(game.server.broadcast(b"x").unwrap(), sent: 2, failed: 3, waiting: 0);
    assert_eq!(game.server.stats().send_drops.would_block, 3);
    game.put_counts_add_up(5);
}

/// A transport that wraps another and passes on how many segments a message may have, but sends one by one.
#[test]
fn a_message_that_is_cut_short_is_not_sent_again_from_its_start() {
    let mut game = Match::new(SendMode::OnFlush, 2);
    game.moods.lock().unwrap().max_segments = Some(64);
    for number in 0..4 {
        game.peers[0].put_packet(&[number]).unwrap();
        game.peers[1].put_packet(&[number]).unwrap();
    }
    game.moods.lock().unwrap().takes = Some(2);
    assert_counts!(game.server.flush().unwrap(), sent: 2, failed: 0, waiting: 6);
    assert_eq!(game.server.stats().sent, 2);
    game.put_counts_add_up(8);
    game.moods.lock().unwrap().takes = Some(3);
    assert_counts!(game.server.flush().unwrap(), sent: 3, failed: 0, waiting: 3);
    game.moods.lock().unwrap().takes = None;
    assert_counts!(game.server.flush().unwrap(), sent: 3, failed: 0, waiting: 0);
    for index in 0..2 {
        assert_eq!(game.received(index), [[0], [1], [2], [3]]);
    }
    assert_eq!(game.server.stats().sent_bytes, 8);
    game.put_counts_add_up(8);
}

#[test]
fn a_message_that_fails_in_the_middle_is_counted_as_far_as_it_was_sent() {
    let mut game = Match::new(SendMode::OnFlush, 1);
    for number in 0..4 {
        game.peers[0].put_packet(&[number]).unwrap();
    }
    {
        let mut moods = game.moods.lock().unwrap();
        moods.max_segments = Some(64);
        moods.takes = Some(2);
        moods.full = Some(EIO);
    }
    assert_counts!(game.server.flush().unwrap(), sent: 2, failed: 2, waiting: 0);
    assert_eq!(game.received(0), [[0], [1]]);
    assert_eq!(game.server.stats().send_drops.failed, 2);
    game.put_counts_add_up(4);
}

#[cfg(unix)]
const EIO: i32 = libc::EIO;
#[cfg(windows)]
const EIO: i32 = 10050; // WSAENETDOWN

/// What BSD and macOS say where Linux says that it would block; Linux says it where it tells of ICMP messages.
#[cfg(unix)]
const ENOBUFS: i32 = libc::ENOBUFS;
#[cfg(windows)]
const ENOBUFS: i32 = 10055;

#[test]
fn a_system_without_buffers_is_one_whose_queue_is_full() {
    for segments in [1, 64] {
        let full = |game: &mut Match, takes| {
            let mut moods = game.moods.lock().unwrap();
            (moods.takes, moods.full, moods.max_segments) = (takes, Some(ENOBUFS), Some(segments));
        };
        let mut game = Match::new(SendMode::Now, 3);
        full(&mut game, Some(0));
        let put = game.peers[0].put_packet(b"x");
        assert!(matches!(put, Err(PutError::WouldBlock)), "{put:?}");
        assert_counts!(game.server.broadcast(b"x").unwrap(), sent: 0, failed: 3, waiting: 0);
        assert_counts!(game.server.stats(), send_drops.would_block: 4, send_drops.total(): 4);

        let mut game = Match::new(SendMode::QueueWhenBlocked, 1);
        full(&mut game, Some(0));
        game.peers[0].put_packet(b"1").unwrap();
        game.peers[0].put_packet(b"2").unwrap();
        assert_counts!(game.server.flush().unwrap(), sent: 0, failed: 0, waiting: 2);
        full(&mut game, None);
        game.server.poll().unwrap();
        assert_eq!(game.received(0), [b"1", b"2"]);

        let mut game = Match::new(SendMode::OnFlush, 2);
        full(&mut game, Some(1));
        for peer in &mut game.peers {
            peer.put_packet(b"1").unwrap();
            peer.put_packet(b"2").unwrap();
        }
        assert_counts!(game.server.flush().unwrap(), sent: 1, failed: 0, waiting: 3);
        full(&mut game, None);
        assert_counts!(game.server.flush().unwrap(), sent: 3, failed: 0, waiting: 0);
        assert_eq!([0, 1].map(|index| game.received(index)), [[b"1", b"2"], [b"1", b"2"]]);
        game.put_counts_add_up(4);
    }
}

/// Over real sockets, where several datagrams to one peer leave as one segmented send.
#[test]
fn real_datagrams_of_all_sizes_arrive_whole_and_in_order() {
    for listen in ["127.0.0.1:0", "*:0"] {
        let mut server = UdpServer::with_config(ServerConfig::new().send_mode(SendMode::OnFlush)).unwrap();
        server.listen(listen).unwrap();
        let address = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), server.local_port().unwrap());
        let mut clients: Vec<_> = (0..3)
            .map(|_| {
                let mut client = PacketPeerUdp::new();
                client.connect_to_host(address).unwrap();
                client.put_packet(b"hello").unwrap();
                client
            })
            .collect();
        let mut peers = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(10);
        while peers.len() < clients.len() && Instant::now() < deadline {
            server.wait(Some(Duration::from_millis(100))).unwrap();
            server.poll().unwrap();
            peers.extend(std::iter::from_fn(|| server.take_connection()));
        }

        let sizes = [64, 64, 64, 10, 0, 1200, 1200, 1200, 1200, 3, 3, 1, 9000, 0, 0, 65_507, 5];
        let payload = |peer: usize, index: usize| vec![(peer * 40 + index) as u8; sizes[index]];
        for (number, peer) in peers.iter_mut().enumerate() {
            for index in 0..sizes.len() {
                peer.put_packet(&payload(number, index)).unwrap();
            }
        }
        let report = server.flush().unwrap();
        assert_counts!(report, sent: 3 * sizes.len(), failed: 0, waiting: 0);

        for (number, peer) in peers.iter().enumerate() {
            let client = clients
                .iter_mut()
                .find(|client| client.local_addr() == peer.remote_addr())
                .expect("each peer is a client's");
            let mut received = Vec::new();
            while received.len() < sizes.len() && Instant::now() < deadline {
                client.wait(Some(Duration::from_millis(100))).unwrap();
                client.poll().unwrap();
                received.extend(std::iter::from_fn(|| client.get_packet().unwrap()).map(|packet| packet.to_vec()));
            }
            let expected: Vec<_> = (0..sizes.len()).map(|index| payload(number, index)).collect();
            assert!(received == expected, "{:?}", received.iter().map(Vec::len).collect::<Vec<_>>());
        }
    }
}

/// What waits is one copy, however many peers it is for, so that is what it takes of all that may wait.
#[test]
fn a_broadcast_takes_its_room_once_and_not_for_each_peer() {
    let mut game = Match::with_limits(SendMode::OnFlush, 100, Limits::new().max_queued_bytes(1_500));
    assert_counts!(game.server.broadcast(&[1; 1_000]).unwrap(), sent: 0, failed: 0, waiting: 100);
    assert!(matches!(game.peers[0].put_packet(&[2; 501]), Err(PutError::QueueFull)));
    game.peers[0].put_packet(&[2; 500]).unwrap();
    assert_counts!(game.server.broadcast(&[3]).unwrap(), sent: 0, failed: 100, waiting: 0);
    assert_eq!(game.peers[7].stats().send_drops.server_bytes, 1);
    game.put_counts_add_up(202);

    // It is there as long as one still waits for it.
    game.moods.lock().unwrap().takes = Some(100);
    assert_counts!(game.server.flush().unwrap(), sent: 100, failed: 0, waiting: 1);
    assert_counts!(game.server.broadcast(&[3; 501]).unwrap(), sent: 0, failed: 100, waiting: 0);
    game.moods.lock().unwrap().takes = None;
    assert_counts!(game.server.flush().unwrap(), sent: 1, failed: 0, waiting: 0);
    assert_counts!(game.server.broadcast(&[4; 1_500]).unwrap(), sent: 0, failed: 0, waiting: 100);
    assert_counts!(game.server.flush().unwrap(), sent: 100, failed: 0, waiting: 0);
    game.put_counts_add_up(402);
    assert_eq!(game.received(0).iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 500, 1_500]);
}

#[test]
fn of_each_peers_own_queue_a_broadcast_takes_its_part() {
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let limits = Limits::new().max_queued_bytes(10).send_queue(QueueLimits::new().bytes(5).when_full(when_full));
        let mut game = Match::with_limits(SendMode::OnFlush, 3, limits);
        game.peers[0].put_packet(b"333").unwrap();
        let drops_oldest = when_full == WhenFull::DropOldest;
        let (failed, waiting) = if drops_oldest { (0, 3) } else { (1, 2) };
        assert_counts!(game.server.broadcast(b"4444").unwrap(), sent: 0, failed: failed, waiting: waiting);
        assert_eq!(game.server.broadcast(b"55555").unwrap().waiting, if drops_oldest { 3 } else { 0 });
        game.put_counts_add_up(7);
        game.server.flush().unwrap();
        // All room is there again.
        assert_counts!(game.server.broadcast(b"5 byt").unwrap(), sent: 0, failed: 0, waiting: 3);
        game.put_counts_add_up(10);
        let expected: &[&[u8]] = if drops_oldest { &[b"55555"] } else { &[b"333"] };
        assert_eq!(game.received(0), expected);
    }
}

#[test]
fn a_broadcasts_report_is_of_the_broadcast_alone() {
    let mut game = Match::new(SendMode::QueueWhenBlocked, 3);
    game.moods.lock().unwrap().takes = Some(0);
    for packet in [b"1", b"2"] {
        game.peers[0].put_packet(packet).unwrap();
        game.peers[1].put_packet(packet).unwrap();
    }
    game.moods.lock().unwrap().refuses.insert(game.peers[1].remote_addr().unwrap());
    game.moods.lock().unwrap().takes = None;
    assert_counts!(game.server.broadcast(b"all").unwrap(), sent: 2, failed: 1, waiting: 0);
    game.put_counts_add_up(7);
    game.moods.lock().unwrap().takes = Some(0);
    game.peers[2].put_packet(b"3").unwrap();
    assert_counts!(game.server.broadcast(b"again").unwrap(), sent: 0, failed: 0, waiting: 3);
    assert_counts!(game.server.flush().unwrap(), sent: 0, failed: 0, waiting: 4);
    game.put_counts_add_up(11);
}

/// It told of what had been put before as if it were the broadcast's.
#[test]
fn a_broadcast_that_finds_no_room_is_all_that_its_report_is_of() {
    let mut game = Match::with_limits(SendMode::QueueWhenBlocked, 2, Limits::new().max_queued_bytes(5));
    game.moods.lock().unwrap().takes = Some(0);
    game.peers[0].put_packet(b"1").unwrap();
    assert_counts!(game.server.broadcast(b"too long").unwrap(), sent: 0, failed: 2, waiting: 0);
    game.moods.lock().unwrap().takes = None;
    assert_counts!(
        game.server.broadcast(b"too long").unwrap(),
        sent: 2, failed: 0, waiting: 0,
        "what the system takes needs no room"
    );
    assert_eq!(game.received(0), [&b"1"[..], b"too long"]);
    game.put_counts_add_up(5);
}

#[test]
fn a_broadcast_to_a_peer_named_twice_is_sent_twice() {
    for mode in [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        let mut game = Match::new(mode, 2);
        let ids = [game.peers[0].id(); 2];
        game.server.broadcast_to(&ids, b"twice").unwrap();
        game.server.flush().unwrap();
        assert_eq!(game.received(0), [b"twice", b"twice"]);
        game.put_counts_add_up(2);
    }
}

/// An answer to nobody's peer is put too, whatever becomes of it.
#[test]
fn what_is_sent_past_all_peers_is_put_and_sent() {
    let mut game = Match::new(SendMode::OnFlush, 1);
    let client = game.peers[0].remote_addr().unwrap();
    game.server.send_to(client, b"stateless").unwrap();
    game.server.send_to(SocketAddr::from(([10, 0, 1, 0], 0)), b"no port").unwrap_err();
    let stats = game.server.stats();
    assert_counts!(stats, put: 2, sent: 1, send_drops.failed: 1);
    assert_eq!(game.peers[0].stats().put, 0);
}

/// By who polls only when something has come: what was put must not wait for that.
#[test]
fn a_wait_sends_first_what_waits_to_be_sent() {
    let mut game = Match::new(SendMode::OnFlush, 1);
    game.peers[0].put_packet(b"answer").unwrap();
    game.server.wait(None).unwrap();
    assert_eq!(game.received(0), [b"answer"]);

    let mut game = Match::new(SendMode::QueueWhenBlocked, 1);
    game.moods.lock().unwrap().takes = Some(0);
    game.peers[0].put_packet(b"blocked").unwrap();
    game.moods.lock().unwrap().takes = None;
    game.server.wait(None).unwrap();
    assert_eq!(game.received(0), [b"blocked"]);
}

/// The same where the system goes on being busy: it does not say when it takes something again.
#[test]
fn a_wait_does_not_sleep_through_the_end_of_a_jam() {
    for mode in [SendMode::OnFlush, SendMode::QueueWhenBlocked] {
        let moods = Arc::new(Mutex::new(Moods::default()));
        let sockets = Moody { inner: SystemSockets, moods: Arc::clone(&moods) };
        let mut server = UdpServer::with_transport(ServerConfig::new().send_mode(mode), sockets).unwrap();
        server.listen("127.0.0.1:0").unwrap();
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
        server.wait(Some(Duration::from_secs(10))).unwrap();
        server.poll().unwrap();
        let mut peer = server.take_connection().unwrap();
        moods.lock().unwrap().takes = Some(0);
        peer.put_packet(b"at last").unwrap();
        let calls = moods.lock().unwrap().calls;
        let waker = server.waker().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + Duration::from_secs(10);
                // It is tried again and again, and not all the time.
                while moods.lock().unwrap().calls < calls + 3 && Instant::now() < deadline {
                    std::thread::yield_now();
                }
                moods.lock().unwrap().takes = None;
                let mut buffer = [0; 16];
                let received = client.recv(&mut buffer);
                waker.wake();
                assert_eq!(&buffer[..received.expect("it comes while the server waits")], b"at last");
            });
            assert_eq!(server.wait(Some(Duration::from_secs(60))).unwrap(), WaitOutcome::Woken, "{mode:?}");
        });
        let begin = Instant::now();
        moods.lock().unwrap().takes = Some(0);
        peer.put_packet(b"never").unwrap();
        assert_eq!(server.wait(Some(Duration::from_millis(20))).unwrap(), WaitOutcome::TimedOut);
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }
}

/// What need not wait takes no room of what may: a put on each handle would have sent it.
#[test]
fn a_broadcast_that_the_system_takes_needs_no_room_to_wait_in() {
    let all_full = Limits::new().max_queued_bytes(5);
    let own_full = Limits::new().send_queue(QueueLimits::new().packets(0));
    for limits in [all_full, own_full] {
        let mut game = Match::with_limits(SendMode::QueueWhenBlocked, 3, limits);
        assert_counts!(game.server.broadcast(b"snapshot").unwrap(), sent: 3, failed: 0, waiting: 0);
        assert_eq!([0, 1, 2].map(|index| game.received(index).len()), [1; 3]);
        game.moods.lock().unwrap().takes = Some(1);
        assert_counts!(game.server.broadcast(b"snapshot").unwrap(), sent: 1, failed: 2, waiting: 0);
        game.put_counts_add_up(6);
    }
}

/// What is put and its handle dropped waits for a flush, which a program that only connects never asks for.
#[test]
fn what_is_put_by_handles_long_gone_does_not_wait_without_end() {
    for (mode, takes) in [(SendMode::OnFlush, None), (SendMode::QueueWhenBlocked, Some(0))] {
        let mut game = Match::new(mode, 1);
        game.moods.lock().unwrap().takes = takes;
        for port in 1..=1_000 {
            if port == 500 {
                game.moods.lock().unwrap().takes = None;
            }
            let mut peer = game.server.connect(SocketAddr::from(([10, 0, 2, 1], port))).unwrap();
            peer.put_packet(b"").unwrap();
        }
        assert!(game.server.stats().send_queued < 100, "{}", game.server.stats());
        game.server.flush().unwrap();
        let stats = game.server.stats();
        assert_counts!(stats, put: 1_000, sent: 1_000, send_queued: 0);
    }
}

/// One that is put behind what waits is not overtaken by a broadcast, which the system would take.
#[test]
fn a_broadcast_waits_behind_what_waits() {
    let mut game = Match::new(SendMode::QueueWhenBlocked, 2);
    game.moods.lock().unwrap().takes = Some(0);
    game.peers[0].put_packet(b"1").unwrap();
    game.peers[0].put_packet(b"2").unwrap();
    game.moods.lock().unwrap().takes = Some(1);
    assert_counts!(game.server.broadcast_to(&[game.peers[0].id(); 2], b"3").unwrap(), sent: 0, failed: 0, waiting: 2);
    game.moods.lock().unwrap().takes = None;
    assert_counts!(game.server.broadcast(b"4").unwrap(), sent: 2, failed: 0, waiting: 0);
    assert_eq!(game.received(0), [b"1", b"2", b"3", b"3", b"4"]);
    assert_eq!(game.received(1), [b"4"]);
    game.put_counts_add_up(6);
}
