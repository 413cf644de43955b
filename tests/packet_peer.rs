//! The trait `PacketPeer`: what holds for every peer, whether a server's, stand-alone, or a layer of a user's own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use packetpeer::error::{GetError, PollError, PutError};
use packetpeer::stats::{PeerStats, PollReport};
use packetpeer::{CloseReason, Packet, PacketPeer, PacketPeerUdp, PeerId, PeerState};

mod util;

use util::{SERVER, World, millis};

/// Both ends of a connection as nothing but packet peers, the client's first. The world has to go on polling.
fn ends(world: &mut World) -> [Box<dyn PacketPeer>; 2] {
    let (client, peer) = world.pair(1);
    [Box::new(client), Box::new(peer)]
}

#[test]
fn a_packet_arrives_as_it_was_put() {
    let mut world = World::new();
    let mut ends = ends(&mut world);
    for (from, to) in [(0, 1), (1, 0)] {
        for bytes in [&b"some bytes"[..], b"", b"\0", &[255; 65_507]] {
            assert_eq!(ends[from].max_packet_size(), 65_507);
            ends[from].put_packet(bytes).unwrap();
            world.poll();
            ends[to].poll().unwrap();
            assert_eq!(ends[to].available_packet_count(), 1);
            let packet = ends[to].get_packet().unwrap().expect("one packet is available");
            assert!(*packet == *bytes, "{} bytes came as {}", bytes.len(), packet.len());
        }
    }
}

#[test]
fn an_empty_peer_has_nothing_now_and_may_have_later() {
    let mut world = World::new();
    for mut end in ends(&mut world) {
        end.poll().unwrap();
        assert_eq!(end.available_packet_count(), 0);
        assert!(matches!(end.get_packet(), Ok(None)));
        assert!(matches!(end.get_packet(), Ok(None)));
    }
}

#[test]
fn several_packets_are_one_datagram_each() {
    let mut world = World::new();
    let [mut client, mut peer] = ends(&mut world);
    for bytes in [&b"one"[..], b"", b"three"] {
        client.put_packet(bytes).unwrap();
    }
    assert_eq!(world.poll().received, 3);
    let packets = std::iter::from_fn(|| peer.get_packet().unwrap()).map(Packet::into_vec);
    assert_eq!(packets.collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
}

#[test]
fn a_packet_that_is_too_large_is_refused_with_both_sizes() {
    let mut world = World::new();
    for mut end in ends(&mut world) {
        match end.put_packet(&[0; 65_508]) {
            Err(PutError::TooLarge { size, limit }) => assert_eq!((size, limit), (65_508, 65_507)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.poll().received, 0);
}

/// A layer of a user's own: flips all bits on their way out and in, in place.
#[derive(Debug)]
struct Flipped<P>(P);

/// What nearly every layer only asks the peer beneath.
macro_rules! ask_beneath {
    ($beneath:tt) => {
        fn id(&self) -> PeerId {
            self.$beneath.id()
        }

        fn now(&self) -> Instant {
            self.$beneath.now()
        }

        fn remote_addr(&self) -> Option<SocketAddr> {
            self.$beneath.remote_addr()
        }

        fn stats(&self) -> PeerStats {
            self.$beneath.stats()
        }
    };
}

impl<P: PacketPeer> PacketPeer for Flipped<P> {
    ask_beneath!(0);

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        self.0.poll_at(now)
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        let mut packet = self.0.get_packet()?;
        for byte in packet.iter_mut().flat_map(|packet| packet.iter_mut()) {
            *byte = !*byte;
        }
        Ok(packet)
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        let flipped: Vec<_> = bytes.iter().map(|byte| !byte).collect();
        self.0.put_packet(&flipped)
    }

    fn can_put(&self, len: usize) -> bool {
        self.0.can_put(len)
    }

    fn available_packet_count(&self) -> usize {
        self.0.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.0.max_packet_size()
    }

    fn state(&self) -> PeerState {
        self.0.state()
    }

    fn close(&mut self) {
        self.0.close();
    }
}

#[test]
fn layers_stack_on_either_end() {
    let mut world = World::new();
    let (client, mut peer) = world.pair(1);
    let mut client = Flipped(client);
    client.put_packet(&[0, 1, 255]).unwrap();
    world.poll();
    let packet = peer.get_packet().unwrap().unwrap();
    assert_eq!(*packet, [255, 254, 0]);
    peer.put_packet(&packet).unwrap();
    client.poll().unwrap();
    assert_eq!(*client.get_packet().unwrap().unwrap(), [0, 1, 255]);

    let mut peer = Flipped(peer);
    world.server.stop();
    assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(CloseReason::ServerStopped));
    assert_eq!(peer.close_reason(), Some(CloseReason::ServerStopped));
}

// Peers behind pointers.

/// What a program does that knows nothing but the trait.
fn say_hello(mut peer: impl PacketPeer) -> PeerId {
    assert_eq!((peer.state(), peer.close_reason(), peer.remote_addr()), (PeerState::Open, None, Some(SERVER)));
    assert!(peer.can_put(5) && !peer.can_put(peer.max_packet_size() + 1));
    peer.put_packet(b"hello").unwrap();
    peer.poll().unwrap();
    peer.id()
}

#[test]
fn boxed_and_borrowed_peers_are_peers_and_layers_stand_on_them() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let id = client.id();
    assert_eq!(say_hello(&mut client), id);
    assert_eq!(say_hello(&mut client as &mut dyn PacketPeer), id);
    assert_eq!(say_hello(Flipped(&mut client)), id);
    assert_eq!(say_hello(Flipped(&mut client as &mut dyn PacketPeer)), id);
    let boxed: Box<dyn PacketPeer> = Box::new(client);
    let mut twice: Box<dyn PacketPeer> = Box::new(Flipped(Flipped(boxed)));
    assert_eq!(say_hello(&mut twice), id);
    assert_eq!(twice.stats().sent, 6);
    assert!(format!("{twice:?}").starts_with("Flipped(Flipped("));
    twice.close();
    assert_eq!(twice.close_reason(), Some(CloseReason::Closed));

    world.poll();
    let flipped = b"hello".map(|byte| !byte);
    for expected in [*b"hello", *b"hello", flipped, flipped, *b"hello"] {
        assert_eq!(*peer.get_packet().unwrap().unwrap(), expected);
    }
}

#[test]
fn a_layer_that_owns_a_box_moves_to_another_thread() {
    let mut world = World::new();
    let mut layer: Flipped<Box<dyn PacketPeer>> = Flipped(Box::new(world.client(1)));
    std::thread::spawn(move || layer.put_packet(&[1]).unwrap()).join().unwrap();
    assert_eq!(world.poll().new_connections, 1);
}

/// A peer that has its own way with what the trait could do for it.
#[derive(Debug)]
struct Special(PacketPeerUdp);

impl PacketPeer for Special {
    ask_beneath!(0);

    fn poll_at(&mut self, _now: Instant) -> Result<PollReport, PollError> {
        Err(PollError::NotOpen)
    }

    fn poll(&mut self) -> Result<PollReport, PollError> {
        Err(PollError::Ended(CloseReason::Malformed))
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        Err(GetError::Ended(CloseReason::Reset))
    }

    fn put_packet(&mut self, _bytes: &[u8]) -> Result<(), PutError> {
        Err(PutError::NotReady)
    }

    fn can_put(&self, len: usize) -> bool {
        len == 7
    }

    fn available_packet_count(&self) -> usize {
        70
    }

    fn max_packet_size(&self) -> usize {
        700
    }

    fn state(&self) -> PeerState {
        PeerState::Connecting
    }

    fn close_reason(&self) -> Option<CloseReason> {
        Some(CloseReason::TimedOut)
    }

    fn close(&mut self) {
        self.0.close();
    }
}

fn assert_is_special(mut peer: impl PacketPeer) {
    let now = peer.now();
    assert!(matches!(peer.poll_at(now), Err(PollError::NotOpen)));
    assert!(matches!(peer.poll(), Err(PollError::Ended(CloseReason::Malformed))));
    assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(CloseReason::Reset));
    assert!(matches!(peer.put_packet(b"x"), Err(PutError::NotReady)));
    assert!(peer.can_put(7) && !peer.can_put(8));
    assert_eq!((peer.available_packet_count(), peer.max_packet_size()), (70, 700));
    assert_eq!((peer.state(), peer.close_reason()), (PeerState::Connecting, Some(CloseReason::TimedOut)));
    assert_eq!(peer.remote_addr(), Some(SERVER));
    peer.close();
    assert_eq!(peer.remote_addr(), None);
}

#[test]
fn a_pointer_asks_the_peer_for_everything_and_answers_nothing_itself() {
    let world = World::new();
    let special = || Special(world.client(1));
    assert_is_special(special());
    assert_is_special(&mut special());
    assert_is_special(Box::new(special()));
    assert_is_special(&mut Box::new(special()) as &mut dyn PacketPeer);
    assert_is_special(Box::new(Box::new(special()) as Box<dyn PacketPeer>));
}

// A layer with a life of its own.

/// A layer that says that it is there when it has said nothing for a second, ends when nothing has come for five, and says
/// goodbye. What a packet is stands behind its bytes.
#[derive(Debug)]
struct Heartbeat<P> {
    beneath: P,
    last_put: Instant,
    last_heard: Instant,
    held: VecDeque<Packet>,
    ended: Option<CloseReason>,
    beats: usize,
}

const DATA: u8 = 0;
const BEAT: u8 = 1;
const GOODBYE: u8 = 2;

impl<P: PacketPeer> Heartbeat<P> {
    fn over(beneath: P) -> Self {
        let now = beneath.now();
        Self { beneath, last_put: now, last_heard: now, held: VecDeque::new(), ended: None, beats: 0 }
    }

    fn say(&mut self, bytes: &[u8], kind: u8) -> Result<(), PutError> {
        self.last_put = self.now();
        self.beneath.put_packet(&[bytes, &[kind]].concat())
    }

    fn take_in(&mut self) {
        while let Ok(Some(mut packet)) = self.beneath.get_packet() {
            self.last_heard = packet.received_at();
            let kind = packet.last().copied();
            packet.truncate(packet.len().saturating_sub(1));
            match kind {
                Some(DATA) => self.held.push_back(packet),
                Some(BEAT) => self.beats += 1,
                Some(GOODBYE) => self.end(CloseReason::ClosedByRemote),
                _ => self.end(CloseReason::Malformed),
            }
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.ended.get_or_insert(reason);
        self.beneath.close();
    }
}

impl<P: PacketPeer> PacketPeer for Heartbeat<P> {
    ask_beneath!(beneath);

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        if let Some(reason) = self.ended {
            return Err(PollError::Ended(reason));
        }
        let report = self.beneath.poll_at(now);
        self.take_in();
        if now.saturating_duration_since(self.last_heard) >= millis(5000) {
            self.end(CloseReason::TimedOut);
        } else if now.saturating_duration_since(self.last_put) >= millis(1000) {
            // Lost is lost: there will be another.
            let _ = self.say(b"", BEAT);
        }
        report
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        match (self.held.pop_front(), self.state()) {
            (None, PeerState::Ended(reason)) => Err(GetError::Ended(reason)),
            (packet, _) => Ok(packet),
        }
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        if let Some(reason) = self.ended { Err(PutError::Ended(reason)) } else { self.say(bytes, DATA) }
    }

    fn can_put(&self, len: usize) -> bool {
        self.ended.is_none() && self.beneath.can_put(len + 1)
    }

    fn available_packet_count(&self) -> usize {
        self.held.len() + self.beneath.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.beneath.max_packet_size() - 1
    }

    fn state(&self) -> PeerState {
        self.ended.map_or_else(|| self.beneath.state(), PeerState::Ended)
    }

    fn close(&mut self) {
        if self.state() == PeerState::Open {
            let _ = self.say(b"", GOODBYE);
            self.end(CloseReason::Closed);
        }
    }
}

/// Both ends of a connection, each with a heartbeat over a box.
fn beating(world: &mut World) -> [Heartbeat<Box<dyn PacketPeer>>; 2] {
    ends(world).map(Heartbeat::over)
}

fn frame(world: &mut World, ends: &mut [Heartbeat<Box<dyn PacketPeer>>], time: Duration) {
    world.poll_after(time);
    for end in ends {
        end.poll().unwrap();
    }
}

#[test]
fn a_timer_of_a_layer_goes_by_the_clock_beneath() {
    let mut world = World::new();
    let mut ends = beating(&mut world);
    let start = world.network.now();
    // An hour is long enough for every time limit there is, but for those that hear the heart.
    for _ in 0..3600 {
        frame(&mut world, &mut ends, millis(1000));
    }
    for end in &ends {
        assert_eq!((end.state(), end.now() - start), (PeerState::Open, millis(3_600_000)));
        // The last one may be on its way.
        assert!((3599..=3600).contains(&end.beats), "{} beats", end.beats);
    }

    // The client hangs: nobody polls it. What it said last comes with the first of these frames.
    for _ in 0..5 {
        frame(&mut world, &mut ends[1..], millis(1000));
    }
    assert_eq!(ends[1].state(), PeerState::Open);
    frame(&mut world, &mut ends[1..], millis(1000));
    world.poll();
    let [client, mut server] = ends;
    assert_eq!(server.close_reason(), Some(CloseReason::TimedOut));
    assert_eq!(server.get_packet().unwrap_err(), GetError::Ended(CloseReason::TimedOut));
    assert!(matches!(server.put_packet(b"x"), Err(PutError::Ended(CloseReason::TimedOut))));
    assert!(matches!(server.poll(), Err(PollError::Ended(CloseReason::TimedOut))));
    assert!(!server.can_put(0));
    assert_eq!(world.server.peer_count(), 0, "the end was passed on");
    assert_eq!(client.state(), PeerState::Open, "it does not know yet");
}

#[test]
fn a_layer_says_goodbye_and_hands_out_what_came_before() {
    let mut world = World::new();
    let [mut client, mut server] = beating(&mut world);
    client.put_packet(b"one").unwrap();
    client.put_packet(b"").unwrap();
    client.close();
    assert_eq!(client.close_reason(), Some(CloseReason::Closed));
    world.poll();
    assert_eq!(server.available_packet_count(), 3, "at most: the goodbye is among them");
    server.poll().unwrap();
    assert_eq!((server.available_packet_count(), server.close_reason()), (2, Some(CloseReason::ClosedByRemote)));
    assert_eq!(*server.get_packet().unwrap().unwrap(), *b"one");
    assert_eq!(*server.get_packet().unwrap().unwrap(), *b"");
    assert_eq!(server.get_packet().unwrap_err(), GetError::Ended(CloseReason::ClosedByRemote));
}

#[test]
fn a_layer_over_a_peer_that_ends_beneath_says_why() {
    let mut world = World::new();
    let [mut client, mut server] = beating(&mut world);
    client.put_packet(b"last words").unwrap();
    world.poll();
    world.server.stop();
    assert_eq!(server.close_reason(), Some(CloseReason::ServerStopped));
    server.poll().unwrap();
    assert_eq!(*server.get_packet().unwrap().unwrap(), *b"last words");
    assert_eq!(server.get_packet().unwrap_err(), GetError::Ended(CloseReason::ServerStopped));
}

// The clock.

#[test]
fn a_servers_peer_keeps_the_servers_clock_also_without_the_server() {
    let mut world = World::new();
    let (mut client, peer) = world.pair(1);
    let start = peer.now();
    let shows = |world: &World, peer: &PacketPeerUdp, seconds: u64| {
        assert_eq!((peer.now(), peer.now() - start), (world.network.now(), Duration::from_secs(seconds)));
    };
    world.network.advance(Duration::from_secs(100));
    shows(&world, &peer, 100);
    shows(&world, &client, 100);
    world.server.stop();
    client.close();
    world.network.advance(Duration::from_secs(100));
    shows(&world, &peer, 200);
    shows(&world, &client, 200);
    drop(std::mem::take(&mut world.server));
    world.network.advance(Duration::from_secs(100));
    shows(&world, &peer, 300);
}

#[test]
fn peers_on_real_sockets_have_the_real_clock() {
    let before = Instant::now();
    let peer = PacketPeerUdp::new();
    let mut server = util::loopback_server();
    let (_client, served) = util::pair_of(&mut server);
    drop(server);
    for now in [peer.now(), served.now()] {
        assert!(before <= now && now <= Instant::now());
    }
}
