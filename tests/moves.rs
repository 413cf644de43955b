//! What a server says to an address to which a connection claims to have moved: no more than three times what came from
//! there, by whatever way out, until the game says that somebody receives there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use packetpeer::error::{ConnectError, PutError, UnknownPeer};
use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, MoveVerdict, Moved, OnMove, WithoutId};
use packetpeer::sim::{Host, Network};
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, UdpServer};

mod util;

use util::{SERVER, World, assert_counts, millis};

const ANNA: ConnectionId = ConnectionId(0x0123_4567_89ab_cdef);
const BERT: ConnectionId = ConnectionId(0xfedc_ba98_7654_3210);

const HOME: &str = "10.0.1.1:1000";
const AWAY: &str = "10.0.2.2:2000";
const FAR_AWAY: &str = "10.0.3.3:3000";

const MODES: [SendMode; 3] = [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush];

/// How many times what came from an address may go there before it is confirmed.
const FACTOR: usize = 3;

/// The first eight bytes of every datagram.
fn ids() -> ConnectionIds {
    ConnectionIds::new(|datagram| datagram.first_chunk().map(|id| ConnectionId(u64::from_be_bytes(*id))))
}

fn config(ids: ConnectionIds) -> ServerConfig {
    ServerConfig::new().identity(Identity::ConnectionId(ids))
}

fn world(ids: ConnectionIds) -> World {
    World::with_config(config(ids))
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A socket at this address, which speaks to the server: the one whose address it is, or somebody who forges it.
fn socket(network: &Network, at: &str) -> PacketPeerUdp {
    let mut socket = PacketPeerUdp::with_transport(network.host(addr(at).ip()));
    socket.bind(addr(at)).unwrap();
    socket.set_dest_address(SERVER).unwrap();
    socket
}

/// Sends a datagram of `size` bytes, id included.
fn say(socket: &mut PacketPeerUdp, id: ConnectionId, size: usize) {
    let mut bytes = id.0.to_be_bytes().to_vec();
    bytes.resize(size, b'.');
    socket.put_packet(&bytes).unwrap();
}

/// The sizes of what has come.
fn sizes(socket: &mut PacketPeerUdp) -> Vec<usize> {
    socket.poll().unwrap();
    std::iter::from_fn(|| socket.get_packet().unwrap()).map(|packet| packet.len()).collect()
}

/// Anna at home: her socket, and her peer, which has been heard.
fn anna_at_home(world: &mut World) -> (PacketPeerUdp, PacketPeerUdp) {
    let mut home = socket(&world.network, HOME);
    say(&mut home, ANNA, 20);
    world.poll();
    let mut anna = world.server.take_connection().expect("a new id makes a connection");
    while anna.get_packet().unwrap().is_some() {}
    (home, anna)
}

fn moved(world: &mut World) -> Vec<Moved> {
    let mut moved = Vec::new();
    world.server.take_moved(&mut moved);
    moved
}

#[track_caller]
fn assert_put_equation_holds(world: &World, peer: &PacketPeerUdp, puts: u64) {
    let (server, peer) = (world.server.stats(), peer.stats());
    assert_eq!(peer.sent + peer.send_queued + peer.send_drops.total(), puts, "{peer}");
    assert_eq!(server.sent + server.send_queued + server.send_drops.total(), puts, "{server}");
}

/// By which way a game sends its states.
#[derive(Debug, Clone, Copy)]
enum WayOut {
    Put,
    Broadcast,
    BroadcastTo,
}

const WAYS_OUT: [WayOut; 3] = [WayOut::Put, WayOut::Broadcast, WayOut::BroadcastTo];

impl WayOut {
    fn send(self, server: &mut UdpServer, peer: &mut PacketPeerUdp, bytes: &[u8]) {
        match self {
            Self::Put => drop(peer.put_packet(bytes)),
            Self::Broadcast => drop(server.broadcast(bytes).unwrap()),
            Self::BroadcastTo => drop(server.broadcast_to(&[peer.id()], bytes).unwrap()),
        }
    }
}

// The victim.

/// Somebody who had been let in told a server by one datagram with a forged address to send all it had for them to a
/// victim, for as long as they repeated that within each idle time-out: 4 800 000 bytes in five minutes for 88.
#[test]
fn who_was_let_in_turns_no_game_on_a_victim() {
    for mode in MODES {
        for way in WAYS_OUT {
            let (forged, received) = an_attack_of_ten_minutes(mode, way);
            assert!((1..=FACTOR * forged).contains(&received), "{mode:?}, {way:?}: {received} bytes for {forged}");
        }
    }
}

/// 20 states of 800 bytes a second. Returns what was forged and what the victim received, in bytes.
fn an_attack_of_ten_minutes(mode: SendMode, way: WayOut) -> (usize, usize) {
    let mut world = World::with_config(config(ids()).send_mode(mode));
    let (_attacker, mut anna) = anna_at_home(&mut world);
    // Two ports of the victim's, so that each datagram is another move.
    let mut victims = [socket(&world.network, AWAY), socket(&world.network, "10.0.2.2:2001")];
    let (mut forged, mut received) = (0, 0);
    for frame in 0..20 * 600 {
        if frame % (29 * 20) == 0 {
            let size = if frame % 3 == 0 { 11 } else { 300 };
            say(&mut victims[frame / (29 * 20) % 2], ANNA, size);
            forged += size;
        }
        world.poll_after(millis(50));
        while anna.get_packet().unwrap().is_some() {}
        way.send(&mut world.server, &mut anna, &[7; 800]);
        world.server.flush().unwrap();
        received += victims.iter_mut().flat_map(sizes).sum::<usize>();
    }
    assert!(anna.close_reason().is_none(), "the attack keeps the connection alive");
    (forged, received)
}

// What goes to an address that is not confirmed.

#[test]
fn three_times_what_came_goes_to_a_new_address_by_whatever_way_out() {
    for mode in MODES {
        for way in WAYS_OUT {
            let mut world = World::with_config(config(ids()).send_mode(mode));
            let (mut home, mut anna) = anna_at_home(&mut world);
            let mut away = socket(&world.network, AWAY);
            say(&mut away, ANNA, 100);
            world.poll();
            assert!(!anna.is_address_confirmed());

            // 300 bytes: two of 120, then what of the rest has room.
            for size in [120, 120, 61, 60, 1] {
                way.send(&mut world.server, &mut anna, &vec![7; size]);
            }
            world.server.flush().unwrap();
            let what = format!("{mode:?}, {way:?}");
            assert_eq!(sizes(&mut away), [120, 120, 60], "{what}");
            let drops = (anna.stats().send_drops, world.server.stats().send_drops);
            assert_counts!(drops.0, unconfirmed: 2, total(): 2, "{what}");
            assert_counts!(drops.1, unconfirmed: 2, total(): 2, "{what}");
            assert_put_equation_holds(&world, &anna, 5);

            // What comes from there allows more; what comes from elsewhere does not.
            say(&mut away, ANNA, 10);
            say(&mut home, ANNA, 500);
            world.poll();
            for size in [31, 30, 1] {
                way.send(&mut world.server, &mut anna, &vec![7; size]);
            }
            world.server.flush().unwrap();
            assert_eq!((sizes(&mut away), sizes(&mut home)), (vec![30], vec![]), "{what}");

            assert_eq!(world.server.confirm_move(anna.id(), addr(AWAY)), Ok(true), "{what}");
            assert!(anna.is_address_confirmed());
            for _ in 0..10 {
                way.send(&mut world.server, &mut anna, &[7; 1_000]);
            }
            world.server.flush().unwrap();
            assert_eq!(sizes(&mut away), [1_000; 10], "{what}");
            assert_put_equation_holds(&world, &anna, 18);
        }
    }
}

#[test]
fn a_put_that_may_not_go_to_a_new_address_says_so() {
    let mut world = world(ids());
    let (_home, mut anna) = anna_at_home(&mut world);
    say(&mut socket(&world.network, AWAY), ANNA, 10);
    world.poll();
    anna.put_packet(&[7; 10]).unwrap();
    let error = anna.put_packet(&[7; 21]).unwrap_err();
    assert!(matches!(error, PutError::Unconfirmed { size: 21, room: 20 }), "{error:?}");
    assert_eq!(error.to_string(), "the peer's new address is not confirmed: of 21 bytes only 20 may go there now");
    // What no datagram can carry is told as ever.
    assert!(matches!(anna.put_packet(&[7; 65_508]), Err(PutError::TooLarge { size: 65_508, limit: 65_507 })));
    anna.put_packet(&[7; 20]).unwrap();
    assert!(matches!(anna.put_packet(&[7; 1]), Err(PutError::Unconfirmed { size: 1, room: 0 })));
    let drops = anna.stats().send_drops;
    assert_counts!(drops, unconfirmed: 2, too_large: 1, total(): 3);
    assert_put_equation_holds(&world, &anna, 5);
}

/// What waits is charged when it leaves, and so counts before.
#[test]
fn can_put_knows_how_much_may_go_to_a_new_address() {
    for mode in MODES {
        let mut world = World::with_config(config(ids()).send_mode(mode));
        let (_home, mut anna) = anna_at_home(&mut world);
        assert!(anna.can_put(65_507));
        let mut away = socket(&world.network, AWAY);
        say(&mut away, ANNA, 100);
        world.poll();
        assert!(anna.can_put(300) && !anna.can_put(301), "{mode:?}");
        anna.put_packet(&[7; 200]).unwrap();
        assert!(anna.can_put(99) && !anna.can_put(101), "{mode:?}");
        world.server.flush().unwrap();
        assert!(anna.can_put(100) && !anna.can_put(101), "{mode:?}");

        let empty = (0..200).take_while(|_| anna.can_put(0) && anna.put_packet(b"").is_ok()).count();
        world.server.flush().unwrap();
        assert!(anna.can_put(0) == (empty < 100) && (50..=100).contains(&empty), "{mode:?}: {empty} empty ones");
        assert_eq!(sizes(&mut away).len(), 1 + empty, "{mode:?}");
        assert_eq!(anna.stats().send_drops.total(), 0, "{mode:?}");

        assert_eq!(world.server.confirm_move(anna.id(), addr(AWAY)), Ok(true));
        assert!(anna.can_put(65_507), "{mode:?}");
    }
}

/// A broadcast goes on to the others.
#[test]
fn a_broadcast_leaves_out_whom_it_would_send_too_much() {
    for mode in MODES {
        let mut world = World::with_config(config(ids()).send_mode(mode));
        let (_home, anna) = anna_at_home(&mut world);
        let mut other = socket(&world.network, FAR_AWAY);
        say(&mut other, BERT, 8);
        say(&mut socket(&world.network, AWAY), ANNA, 8);
        world.poll();
        let bert = world.server.take_connection().unwrap();
        let report = world.server.broadcast(&[7; 100]).unwrap();
        let flushed = world.server.flush().unwrap();
        assert_eq!((report.sent + flushed.sent, report.failed + flushed.failed), (1, 1), "{mode:?}");
        assert_eq!(sizes(&mut other), [100]);
        assert_counts!(anna.stats(), send_drops.unconfirmed: 1, "{mode:?}");
        assert_counts!(bert.stats(), send_drops.total(): 0, "{mode:?}");
    }
}

/// They had been put for where the connection was, and went to where it claimed to be.
#[test]
fn what_was_put_before_a_move_counts_where_it_goes() {
    for mode in [SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        let (mut world, gate) = gated_world(mode);
        let (mut home, mut anna) = anna_at_home(&mut world);
        let mut away = socket(&world.network, AWAY);
        gate.takes.store(0, Relaxed);
        [1_000, 20, 20].into_iter().for_each(|size| anna.put_packet(&vec![7; size]).unwrap());
        say(&mut away, ANNA, 10);
        assert_eq!(world.poll().moved, 1);
        gate.takes.store(usize::MAX, Relaxed);
        let report = world.server.flush().unwrap();
        assert_counts!(report, sent: 1, failed: 2, waiting: 0, "{mode:?}");
        assert_eq!((sizes(&mut home), sizes(&mut away)), (vec![], vec![20]), "{mode:?}");
        assert_eq!(anna.stats().send_drops.unconfirmed, 2, "{mode:?}");
        assert_put_equation_holds(&world, &anna, 3);
    }
}

/// Empty datagrams cost nothing by their payload, and there could be any number of them.
#[test]
fn empty_datagrams_to_a_new_address_have_an_end_too() {
    let mut world = world(ids());
    let (_home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world.network, AWAY);
    say(&mut away, ANNA, 8);
    world.poll();
    let sent = (0..100).filter(|_| anna.put_packet(b"").is_ok()).count();
    assert_eq!(sent, FACTOR * 8);
}

/// They were received, whatever became of them.
#[test]
fn datagrams_that_nobody_got_count_as_received() {
    let mut limits = Limits::new().quota_per_poll(Some(1));
    limits.queue.packets = 1;
    let mut world = World::with_config(config(ids()).limits(limits));
    let (_home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world.network, AWAY);
    // One for the queue, which then is full, and three over the quota.
    [10, 10, 10, 10].into_iter().for_each(|size| say(&mut away, ANNA, size));
    world.poll();
    say(&mut away, ANNA, 10);
    world.poll();
    let drops = anna.stats().drops;
    assert_counts!(drops, quota: 3, queue_packets: 1);
    anna.put_packet(&[7; 150]).unwrap();
    assert!(anna.put_packet(&[7; 1]).is_err());
}

/// Of what an earlier visit left, nothing is there at the next, nor for another address.
#[test]
fn what_one_address_may_get_is_no_other_addresss() {
    let mut world = world(ids().old_address_grace(Duration::ZERO));
    let (_home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world.network, AWAY);
    let mut far_away = socket(&world.network, FAR_AWAY);
    for (socket, size) in [(0, 500), (1, 10), (0, 20)] {
        say([&mut away, &mut far_away][socket], ANNA, size);
    }
    world.poll();
    anna.put_packet(&[7; 60]).unwrap();
    assert!(matches!(anna.put_packet(&[7; 1]), Err(PutError::Unconfirmed { size: 1, room: 0 })));
}

// What confirms an address.

#[test]
fn back_where_it_was_known_to_receive_a_connection_is_confirmed_at_once() {
    let mut world = world(ids().old_address_grace(Duration::ZERO));
    let (mut home, mut anna) = anna_at_home(&mut world);
    assert!(anna.is_address_confirmed(), "the first address counts as confirmed");
    let (mut away, mut far_away) = (socket(&world.network, AWAY), socket(&world.network, FAR_AWAY));
    let go = |world: &mut World, socket: &mut PacketPeerUdp| {
        say(socket, ANNA, 8);
        world.poll();
        let told = moved(world);
        assert_eq!((told.len(), told[0].confirmed), (1, anna.is_address_confirmed()));
        told[0].confirmed
    };
    assert!(!go(&mut world, &mut away));
    assert!(!go(&mut world, &mut far_away));
    assert!(go(&mut world, &mut home));
    assert!(!go(&mut world, &mut away));
    let id = world.server.peers().next().unwrap().0;
    assert_eq!(world.server.confirm_move(id, addr(AWAY)), Ok(true));
    assert!(!go(&mut world, &mut home), "only the last is remembered");
    assert!(go(&mut world, &mut away));
    anna.put_packet(&[7; 1_000]).unwrap();
    assert_eq!(sizes(&mut away), [1_000]);
}

#[test]
fn only_a_peer_that_is_there_can_be_confirmed() {
    let mut world = world(ids());
    let (mut home, anna) = anna_at_home(&mut world);
    assert_eq!(world.server.confirm_move(anna.id(), addr(HOME)), Ok(true), "nothing to confirm, nothing happens");
    assert!(anna.is_address_confirmed());
    let id = anna.id();
    drop(anna);
    assert_eq!(world.server.confirm_move(id, addr(HOME)), Err(UnknownPeer(id)));
    say(&mut home, BERT, 8);
    world.poll();
    assert_eq!(world.server.confirm_move(id, addr(HOME)), Err(UnknownPeer(id)));
}

/// An answer that comes from one address while the connection is said to be at the next proves nothing of that one.
#[test]
fn what_proves_one_address_confirms_no_other() {
    let mut world = world(ids());
    let (mut home, anna) = anna_at_home(&mut world);
    let (mut away, mut far_away) = (socket(&world.network, AWAY), socket(&world.network, FAR_AWAY));
    for place in [&mut away, &mut far_away, &mut home] {
        say(place, ANNA, 8);
    }
    world.poll();
    assert_eq!(anna.remote_addr(), Some(addr(FAR_AWAY)));
    for elsewhere in [AWAY, HOME, "10.0.3.3:3001"] {
        assert_eq!(world.server.confirm_move(anna.id(), addr(elsewhere)), Ok(false), "{elsewhere}");
        assert!(!anna.is_address_confirmed());
    }
    assert_eq!(world.server.confirm_move(anna.id(), "[::ffff:10.0.3.3]:3000".parse().unwrap()), Ok(true));
    assert!(anna.is_address_confirmed());
}

/// A MAC proves a client, and not where it is: `Follow` confirms nothing.
#[test]
fn a_verdict_says_whether_the_datagram_proves_the_new_address() {
    let ids = ids().on_move(OnMove::ask(|attempt, challenge| match attempt.bytes {
        [.., b'!'] => MoveVerdict::FollowProved,
        [.., b'?'] => {
            challenge.extend_from_slice(b"prove it");
            MoveVerdict::Challenge
        }
        _ => MoveVerdict::Follow,
    }));
    let mut world = world(ids);
    let (_home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world.network, AWAY);
    away.put_packet(&[&ANNA.0.to_be_bytes()[..], b"?"].concat()).unwrap();
    world.poll();
    assert_eq!(sizes(&mut away), [8]);
    away.put_packet(&[&ANNA.0.to_be_bytes()[..], b"!"].concat()).unwrap();
    world.poll();
    let told = moved(&mut world);
    assert!(told.len() == 1 && told[0].confirmed && anna.is_address_confirmed());
    anna.put_packet(&[7; 1_000]).unwrap();

    say(&mut socket(&world.network, FAR_AWAY), ANNA, 9);
    world.poll();
    let told = moved(&mut world);
    assert!(told.len() == 1 && !told[0].confirmed && !anna.is_address_confirmed());
    assert!(matches!(anna.put_packet(&[7; 28]), Err(PutError::Unconfirmed { size: 28, room: 27 })));
}

/// Nobody knows the id of a connection that is pending, so its moves were news of nobody.
#[test]
fn a_pending_connection_that_moves_is_not_told_of_and_is_not_confirmed_when_it_is_taken() {
    for connects in [false, true] {
        let mut world = world(ids());
        say(&mut socket(&world.network, HOME), ANNA, 8);
        world.poll();
        say(&mut socket(&world.network, AWAY), ANNA, 8);
        assert_eq!(world.poll().moved, 1);
        assert_eq!(moved(&mut world), []);
        let mut anna = if connects {
            world.server.connect_as(addr(HOME), ANNA).unwrap()
        } else {
            world.server.take_connection().unwrap()
        };
        assert_eq!(moved(&mut world), []);
        assert_eq!((anna.remote_addr(), anna.is_address_confirmed()), (Some(addr(AWAY)), false));
        assert!(matches!(anna.put_packet(&[7; 25]), Err(PutError::Unconfirmed { size: 25, room: 24 })));
    }
}

/// As `old_address_grace` says: answers go elsewhere until the grace is over, half of the time by one address of the
/// attacker's. Of several, those that are not remembered any more take over as soon as the client is back.
#[test]
fn one_who_replays_from_elsewhere_makes_a_client_deaf_for_as_long_as_documented() {
    for (places, share) in [(1, 40..=60), (6, 90..=100)] {
        let mut world = world(ids());
        let (mut home, mut anna) = anna_at_home(&mut world);
        let mut thieves: Vec<_> =
            (1..=places).map(|port| socket(&world.network, &format!("10.0.9.9:{port}"))).collect();
        let (mut heard, mut frames, mut turn) = (0, 0, 0);
        while frames < 20 * 600 {
            frames += 1;
            say(&mut home, ANNA, 40);
            world.poll_after(millis(50));
            // The attacker sees when the client has its answers again.
            if anna.remote_addr() == Some(addr(HOME)) {
                say(&mut thieves[turn % places], ANNA, 40);
                world.poll();
                turn += usize::from(anna.remote_addr() != Some(addr(HOME)));
            }
            while anna.get_packet().unwrap().is_some() {}
            let _ = anna.put_packet(&[7; 10]);
            heard += sizes(&mut home).len();
        }
        let deaf = 100 - 100 * heard / frames;
        assert!(share.contains(&deaf), "{places} places: deaf for {deaf} %");
    }
}

// Sends that fail or wait, and other threads.

/// An in-memory host whose sockets take so many datagrams and no more, or are out of order.
#[derive(Debug, Clone)]
struct Gate {
    host: Host,
    takes: Arc<AtomicUsize>,
    is_broken: Arc<AtomicBool>,
}

impl TransportFactory for Gate {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Gated { inner: self.host.bind(options)?, gate: self.clone() }))
    }

    fn clock(&self) -> Clock {
        self.host.clock()
    }
}

#[derive(Debug)]
struct Gated {
    inner: Box<dyn Transport>,
    gate: Gate,
}

impl Transport for Gated {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.inner.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        if self.gate.is_broken.load(Relaxed) {
            return Err(io::ErrorKind::HostUnreachable.into());
        }
        let left = self.gate.takes.load(Relaxed).checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        self.gate.takes.store(left, Relaxed);
        self.inner.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
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

fn gated_world(mode: SendMode) -> (World, Gate) {
    let network = Network::new();
    let gate = Gate { host: network.host(SERVER.ip()), takes: Arc::new(usize::MAX.into()), is_broken: Arc::default() };
    let mut server = UdpServer::with_transport(config(ids()).send_mode(mode), gate.clone()).unwrap();
    server.listen(SERVER).unwrap();
    (World { network, server }, gate)
}

#[test]
fn what_waits_because_the_system_takes_no_more_is_charged_once() {
    for mode in [SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        let (mut world, gate) = gated_world(mode);
        let (_home, mut anna) = anna_at_home(&mut world);
        let mut away = socket(&world.network, AWAY);
        say(&mut away, ANNA, 20);
        world.poll();
        gate.takes.store(0, Relaxed);
        [20, 20, 20].into_iter().for_each(|size| anna.put_packet(&vec![7; size]).unwrap());
        for _ in 0..10 {
            assert_eq!(world.server.flush().unwrap().waiting, 3, "{mode:?}");
        }
        gate.takes.store(2, Relaxed);
        assert_eq!(world.server.flush().unwrap().sent, 2);
        gate.takes.store(usize::MAX, Relaxed);
        assert_eq!(world.server.flush().unwrap().sent, 1);
        anna.put_packet(&[7; 1]).unwrap_or_default();
        world.server.flush().unwrap();
        assert_eq!(sizes(&mut away), [20, 20, 20], "{mode:?}");
        assert_eq!(anna.stats().send_drops.unconfirmed, 1, "{mode:?}");
        assert_put_equation_holds(&world, &anna, 4);
    }
}

#[test]
fn what_could_not_be_sent_is_not_charged() {
    for mode in MODES {
        for way in WAYS_OUT {
            let (mut world, gate) = gated_world(mode);
            let (_home, mut anna) = anna_at_home(&mut world);
            let mut away = socket(&world.network, AWAY);
            say(&mut away, ANNA, 20);
            world.poll();
            gate.is_broken.store(true, Relaxed);
            for _ in 0..10 {
                way.send(&mut world.server, &mut anna, &[7; 30]);
                world.server.flush().unwrap();
            }
            gate.is_broken.store(false, Relaxed);
            for _ in 0..3 {
                way.send(&mut world.server, &mut anna, &[7; 30]);
                world.server.flush().unwrap();
            }
            assert_eq!(sizes(&mut away), [30, 30], "{mode:?}, {way:?}");
            let drops = anna.stats().send_drops;
            assert_counts!(drops, failed: 10, unconfirmed: 1, "{mode:?}, {way:?}");
            assert_put_equation_holds(&world, &anna, 13);
        }
    }
}

/// Puts on other threads while the connection moves to and fro, and now and then is confirmed at home: whatever the
/// order, nobody else gets more than three times what came from them.
#[test]
fn puts_on_another_thread_never_exceed_what_a_new_address_may_get() {
    let mut world = world(ids().old_address_grace(Duration::ZERO));
    let (mut home, mut anna) = anna_at_home(&mut world);
    let mut strangers = [socket(&world.network, AWAY), socket(&world.network, FAR_AWAY)];
    let (mut came, mut went) = ([0, 0], [0, 0]);
    let (stop, puts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let putter = thread::spawn({
        let (stop, puts) = (Arc::clone(&stop), Arc::clone(&puts));
        move || {
            while !stop.load(Relaxed) {
                let size = puts.fetch_add(1, Relaxed) % 64 + 1;
                let _ = anna.put_packet(&[7; 64][..size]);
            }
            anna
        }
    });
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..150 {
        match rng.usize(..4) {
            who @ 0..2 => {
                let size = rng.usize(8..40);
                say(&mut strangers[who], ANNA, size);
                came[who] += size;
            }
            _ => say(&mut home, ANNA, 8),
        }
        let before = puts.load(Relaxed);
        world.poll();
        while puts.load(Relaxed) - before < 10 {
            world.server.broadcast(&[7; 10]).unwrap();
            thread::yield_now();
        }
        for (who, stranger) in strangers.iter_mut().enumerate() {
            went[who] += sizes(stranger).iter().sum::<usize>();
        }
        sizes(&mut home);
    }
    stop.store(true, Relaxed);
    let anna = putter.join().unwrap();
    assert!(anna.stats().send_drops.unconfirmed > 0);
    for (came, went) in came.into_iter().zip(went) {
        assert!((1..=FACTOR * came).contains(&went), "{went} bytes for {came}");
    }
}

// What is told of moves.

#[test]
fn a_connection_that_moves_often_within_a_poll_is_told_once() {
    let mut world = world(ids().old_address_grace(Duration::ZERO));
    let (mut home, anna) = anna_at_home(&mut world);
    let (mut away, mut far_away) = (socket(&world.network, AWAY), socket(&world.network, FAR_AWAY));
    for _ in 0..100 {
        say(&mut away, ANNA, 8);
        say(&mut far_away, ANNA, 8);
    }
    assert_eq!(world.poll().moved, 200);
    let told = moved(&mut world);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].peer, told[0].from, told[0].to), (anna.id(), addr(HOME), addr(FAR_AWAY)));
    // There and back again is told too: somebody may have to be asked for a proof.
    say(&mut home, ANNA, 8);
    say(&mut far_away, ANNA, 8);
    world.poll();
    let told = moved(&mut world);
    assert_eq!((told.len(), told[0].from, told[0].to), (1, addr(FAR_AWAY), addr(FAR_AWAY)));
    assert!(!told[0].confirmed);
}

/// What a server shows of itself ends up in logs, and an id is a secret.
#[test]
fn a_server_shows_no_connection_ids() {
    let mut world = world(ids().without_id(WithoutId::ByAddress));
    world.server.set_filter(|datagram, reply| match datagram.bytes {
        [b'?', ..] => {
            reply.extend_from_slice(&BERT.0.to_be_bytes()[..5]);
            packetpeer::Verdict::Reply
        }
        _ => packetpeer::Verdict::Accept,
    });
    let (mut home, anna) = anna_at_home(&mut world);
    say(&mut home, BERT, 20);
    home.put_packet(b"??????").unwrap();
    world.poll();
    let bert = world.server.take_connection().unwrap();
    world.server.close(bert.id()).unwrap();
    say(&mut socket(&world.network, AWAY), ANNA, 8);
    world.poll();
    for text in [
        format!("{:?} {anna:?} {bert:?}", world.server),
        format!("{:x?} {anna:x?} {bert:x?}", world.server),
        format!("{:?}", moved(&mut world)),
    ] {
        for id in [ANNA, BERT] {
            let bytes = id.0.to_be_bytes();
            for shown in
                [format!("{}", id.0), format!("{:x}", id.0), format!("{}, {}, {}", bytes[0], bytes[1], bytes[2])]
            {
                assert!(!text.contains(&shown), "{shown} in {text}");
            }
        }
    }
}

/// It made a peer that could speak and never be heard: what came had an id, and so was somebody else's.
#[test]
fn a_server_that_goes_by_ids_connects_to_no_address() {
    let mut world = world(ids());
    assert!(matches!(world.server.connect(addr(HOME)), Err(ConnectError::NeedsId)));
    assert_eq!(world.server.peer_count(), 0);
    assert!(world.server.connect_as(addr(HOME), ANNA).is_ok());
}

/// Where a peer that moves is answered from: real sockets, since the in-memory network has no such option.
#[cfg(all(target_os = "linux", not(packetpeer_portable)))]
mod reply_address {
    use std::net::{SocketAddr, UdpSocket};

    use packetpeer::{Limits, PacketPeerUdp, SocketOptions, UdpServer};

    use super::{ANNA, config, ids};
    use crate::util::eventually;

    struct Pinned {
        server: UdpServer,
        anna: PacketPeerUdp,
        home: UdpSocket,
    }

    /// A client of the loopback interface that speaks to one of the server's addresses there, and hears that one only.
    fn client(server: &UdpServer, at: &str) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = SocketAddr::new(at.parse().unwrap(), server.local_port().unwrap());
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    fn send(socket: &UdpSocket) {
        socket.send(&[&ANNA.0.to_be_bytes()[..], &[b'.'; 92]].concat()).unwrap();
    }

    fn say(server: &mut UdpServer, socket: &UdpSocket) {
        let before = server.stats().received;
        send(socket);
        eventually("it comes", || {
            server.poll().unwrap();
            (server.stats().received > before).then_some(())
        });
    }

    fn hears(anna: &mut PacketPeerUdp, socket: &UdpSocket) {
        anna.put_packet(b"answer").unwrap();
        let mut buffer = [0; 16];
        let len = eventually("an answer from the address spoken to", || socket.recv(&mut buffer).ok());
        assert_eq!(&buffer[..len], b"answer");
    }

    fn pinned(listen: &str, limits: Limits) -> Pinned {
        let socket = SocketOptions::new().pin_reply_address(true);
        let mut server = UdpServer::with_config(config(ids()).socket(socket).limits(limits)).unwrap();
        server.listen(listen).unwrap();
        let home = client(&server, "127.0.0.2");
        say(&mut server, &home);
        let mut anna = server.take_connection().unwrap();
        hears(&mut anna, &home);
        Pinned { server, anna, home }
    }

    /// The answer left from the address to which a straggler had been sent, where the client did not expect it.
    #[test]
    fn after_a_straggler_answers_still_leave_from_the_address_spoken_to_since_the_move() {
        for listen in ["0.0.0.0:0", "*:0"] {
            let Pinned { mut server, mut anna, home } = pinned(listen, Limits::new());
            let away = client(&server, "127.0.0.3");
            say(&mut server, &away);
            hears(&mut anna, &away);
            say(&mut server, &home);
            assert_eq!(anna.remote_addr(), away.local_addr().ok());
            hears(&mut anna, &away);
        }
    }

    /// The address was that of the datagram before, since the one that moved was dropped.
    #[test]
    fn a_move_over_quota_says_where_answers_leave_from_too() {
        let Pinned { mut server, mut anna, home } = pinned("0.0.0.0:0", Limits::new().quota_per_poll(Some(1)));
        let away = client(&server, "127.0.0.3");
        let quota = eventually("both come in one poll", || {
            send(&home);
            send(&away);
            server.poll().unwrap();
            Some(anna.stats().drops.quota).filter(|&quota| quota > 0)
        });
        assert_eq!((quota, server.stats().connections.moved), (1, 1));
        hears(&mut anna, &away);
    }

    /// From one address a client may speak to several of the server's.
    #[test]
    fn where_nobody_moves_the_address_spoken_to_last_holds() {
        let Pinned { mut server, mut anna, home } = pinned("0.0.0.0:0", Limits::new());
        let local = home.local_addr().unwrap();
        drop(home);
        let same = UdpSocket::bind(local).unwrap();
        same.connect(SocketAddr::new([127, 0, 0, 4].into(), server.local_port().unwrap())).unwrap();
        same.set_nonblocking(true).unwrap();
        say(&mut server, &same);
        assert_eq!(server.stats().connections.moved, 0);
        hears(&mut anna, &same);
    }
}
