//! What a server does between two polls, what time it is then, and what a poll makes of it.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packetpeer::error::{ConnectError, UnknownPeer};
use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, Switch};
use packetpeer::limits::{AfterClose, QueueLimits};
use packetpeer::sim::Network;
use packetpeer::socket::{
    BindAddr, BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerId, PeerState, SendMode, ServerConfig, UdpServer, Verdict};

mod util;

use util::{SERVER, World, assert_counts, millis, texts};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn stranger(number: u32) -> SocketAddr {
    SocketAddr::from(([198, 51, (number >> 8) as u8, number as u8], 4433))
}

fn ended(server: &mut UdpServer) -> Vec<(PeerId, CloseReason)> {
    let mut ended = Vec::new();
    server.take_ended(&mut ended);
    ended
}

fn ready(server: &mut UdpServer) -> Vec<PeerId> {
    let mut ready = Vec::new();
    server.ready(&mut ready);
    ready.sort();
    ready
}

// The time between two polls.

/// It counted from the poll before: the peer of a server that had nothing to poll for was ended with the next.
#[test]
fn a_peer_connected_after_a_pause_has_the_whole_idle_timeout() {
    let mut world = World::new();
    world.poll();
    world.network.advance(secs(31));
    let peer = world.server.connect(stranger(1)).unwrap();
    assert_eq!(world.poll().idle, 0);
    assert_eq!(world.poll_after(secs(30) - millis(1)).idle, 0);
    assert_eq!(peer.state(), PeerState::Open);
    assert_eq!(world.poll_after(millis(1)).idle, 1);
}

#[test]
fn a_peer_taken_after_a_pause_has_the_whole_idle_timeout() {
    let mut world = World::with_limits(Limits::new().pending_lifetime(None));
    world.client(1).put_packet(b"hello").unwrap();
    world.poll();
    world.network.advance(secs(31));
    let peer = world.server.take_connection().unwrap();
    assert_eq!(world.poll().idle, 0);
    assert_eq!(world.poll_after(secs(30) - millis(1)).idle, 0);
    assert_eq!(peer.state(), PeerState::Open);
    assert_eq!(world.poll_after(millis(1)).idle, 1);
}

/// Thrown out after a pause longer than the refusal, they were let in again at once.
#[test]
fn a_peer_closed_after_a_pause_is_refused_for_the_whole_time() {
    let mut world = World::with_limits(Limits::new().after_close(AfterClose::Refuse(secs(20))).idle_timeout(None));
    let (mut client, peer) = world.pair(1);
    world.network.advance(secs(31));
    world.server.close(peer.id()).unwrap();
    for pause in [Duration::ZERO, secs(20) - millis(1)] {
        client.put_packet(b"let me in").unwrap();
        assert_eq!(world.poll_after(pause).new_connections, 0);
    }
    client.put_packet(b"and now?").unwrap();
    assert_eq!(world.poll_after(millis(1)).new_connections, 1);
    assert_eq!(world.server.stats().drops.refused, 2);
}

/// The caller's clock stands still, or is an hour behind: what happens between polls is measured by what has passed.
#[test]
fn a_clock_of_the_callers_goes_on_between_its_polls() {
    for behind in [Duration::ZERO, secs(3_600)] {
        let mut world = World::new();
        world.network.advance(secs(3_600));
        let told = world.network.now() - behind;
        // A time before that of the last poll, or of `listen`, counts as that.
        let told = told.max(world.network.now() - secs(3_600));
        world.server.poll_at(told).unwrap();
        world.network.advance(secs(31));
        let peer = world.server.connect(stranger(1)).unwrap();
        assert_eq!(world.server.poll_at(told).unwrap().idle, 0, "it stood still");
        assert_eq!(world.server.poll_at(told + secs(31)).unwrap().idle, 0);
        assert_eq!(world.server.poll_at(told + secs(61) - millis(1)).unwrap().idle, 0);
        assert_eq!(peer.state(), PeerState::Open);
        assert_eq!(world.server.poll_at(told + secs(61)).unwrap().idle, 1);
    }
}

#[test]
fn a_connect_does_not_move_the_time_of_the_polls() {
    let mut world = World::new();
    let start = world.network.now();
    let (mut client, mut peer) = world.pair(1);
    world.network.advance(secs(100));
    let _other = world.server.connect(stranger(1)).unwrap();
    client.put_packet(b"x").unwrap();
    assert_eq!(world.server.poll_at(start + millis(1)).unwrap().idle, 0);
    assert_eq!(peer.get_packet().unwrap().unwrap().received_at(), start + millis(1));
}

// Idleness under a flood.

/// A server that takes 64 datagrams of strangers per poll, and a stranger that keeps more waiting.
struct Flooded {
    world: World,
    flood: Box<dyn Transport>,
}

impl Flooded {
    fn new() -> Self {
        let limits = Limits::new().max_unknown_per_poll(64).max_pending_connections(0);
        let mut world = World::with_limits(limits);
        world.server.set_max_pending_connections(1);
        let mut options = BindOptions::new(BindAddr::Any(6666));
        options.receive_buffer = Some(0);
        let flood = world.another_host().bind(&options).unwrap();
        Self { world, flood }
    }

    fn peer(&mut self, number: u8) -> (PacketPeerUdp, PacketPeerUdp) {
        let pair = self.world.pair(number);
        self.world.server.set_max_pending_connections(1);
        pair
    }

    /// Polls after this time, with more waiting than the poll takes.
    fn poll_after(&mut self, time: Duration) -> usize {
        self.world.server.set_max_pending_connections(0);
        self.world.network.advance(time);
        (0..100).for_each(|_| self.flood.send(b"flood", SERVER, None).unwrap());
        let report = self.world.poll();
        assert!(report.more_waiting);
        report.idle
    }
}

/// It kept its place for as long as the flood went on, which the game never learned.
#[test]
fn a_silent_peer_goes_idle_under_a_flood_that_no_poll_gets_to_the_end_of() {
    let mut game = Flooded::new();
    let (_client, peer) = game.peer(1);
    let frame = millis(500);
    for _ in 0..119 {
        assert_eq!(game.poll_after(frame), 0);
    }
    assert_eq!(game.poll_after(frame), 1, "twice the time-out after it was heard");
    assert_eq!(peer.state(), PeerState::Ended(CloseReason::Idle));
}

#[test]
fn a_peer_that_goes_silent_under_a_flood_has_twice_the_timeout() {
    let mut game = Flooded::new();
    let (mut client, peer) = game.peer(1);
    for _ in 0..20 {
        game.poll_after(secs(5));
        client.put_packet(b"I am here").unwrap();
        // Behind the flood; a frame without it lets it be heard.
        while game.world.poll().more_waiting {}
    }
    assert_eq!(peer.state(), PeerState::Open);
    let idle: Vec<_> = (0..12).map(|_| game.poll_after(secs(5))).collect();
    assert_eq!(idle, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
}

#[test]
fn after_a_hitch_nobody_ends_whose_datagrams_wait() {
    let mut game = Flooded::new();
    let (mut client, peer) = game.peer(1);
    // A flood for most of the time-out, then a pause of minutes, in which the peer goes on talking.
    for _ in 0..29 {
        assert_eq!(game.poll_after(secs(1)), 0);
    }
    while game.world.poll().more_waiting {}
    for _ in 0..10 {
        game.poll_after(secs(1));
    }
    client.put_packet(b"still here").unwrap();
    assert_eq!(game.poll_after(secs(300)), 0, "what it said waits behind the flood");
    for _ in 0..10 {
        assert_eq!(game.poll_after(millis(16)), 0);
    }
    while game.world.poll().more_waiting {}
    assert_eq!(peer.state(), PeerState::Open);
    assert_eq!(peer.available_packet_count(), 1);
}

#[test]
fn a_server_that_polls_seldom_learns_of_the_silent_all_the_same() {
    let mut game = Flooded::new();
    let (_client, _peer) = game.peer(1);
    let idle: Vec<_> = (0..4).map(|_| game.poll_after(secs(3_600))).collect();
    assert_eq!(idle, [0, 0, 1, 0]);
}

// Handles that go between two polls.

/// All had gone, `peers()` was empty, and there was no place.
#[test]
fn a_place_whose_handle_is_gone_is_free_for_a_connect() {
    let mut world = World::with_limits(Limits::new().max_peers(2));
    let peers = [world.server.connect(stranger(1)).unwrap(), world.server.connect(stranger(2)).unwrap()];
    assert_eq!(world.server.connect(stranger(3)).unwrap_err().to_string(), ConnectError::PeersFull.to_string());
    drop(peers);
    assert_eq!(world.server.peers().count(), 0);
    let _peer = world.server.connect(stranger(3)).unwrap();
    assert_eq!(ended(&mut world.server).len(), 2, "and they are told of");
}

#[test]
fn connecting_and_dropping_without_a_poll_fills_no_list() {
    let mut world = World::with_limits(Limits::new().max_peers(100));
    for number in 0..300_000 {
        drop(world.server.connect(stranger(number)).unwrap());
    }
    assert_eq!(world.server.peer_count(), 1, "the last is told of by the next poll");
    assert_eq!(world.server.table_sizes().places, 1);
    let told = ended(&mut world.server);
    assert_eq!(told.len(), 200, "twice as many as there may be peers");
    world.poll();
    let last = ended(&mut world.server);
    assert_eq!(last.len(), 1);
    assert_counts!(world.server.stats(), connections.closed: 300_000);
    assert_eq!(world.server.connect(stranger(300_000)).unwrap().id().index(), told[199].0.index());
}

#[test]
fn between_a_handles_end_and_the_next_poll_the_peer_is_only_counted() {
    let mut world = World::new();
    let (client, peer) = world.pair(1);
    let id = peer.id();
    drop(peer);
    assert_counts!(world.server, peer_count(): 1, peers().count(): 0);
    assert_eq!(world.server.find(client.local_addr().unwrap()), None);
    assert_eq!(world.server.close(id), Err(UnknownPeer(id)));
    assert_eq!(world.poll().closed, 1);
    assert_eq!(world.server.peer_count(), 0);
    assert_eq!(ended(&mut world.server), [(id, CloseReason::Closed)]);
}

#[test]
fn notices_of_a_close_and_a_stop_survive_one_poll() {
    let mut world = World::new();
    let [first, second] = [world.pair(1).1, world.pair(2).1];
    world.server.close(first.id()).unwrap();
    world.poll();
    assert_eq!(ended(&mut world.server), [(first.id(), CloseReason::Closed)]);
    world.server.stop();
    world.server.listen(SERVER).unwrap();
    world.poll();
    assert_eq!(ended(&mut world.server), [(second.id(), CloseReason::ServerStopped)]);
}

// Peers that are ready.

/// A game that reads whom `ready` names lost what waited for peers that the server had closed.
#[test]
fn a_peer_that_has_ended_is_ready_until_what_it_had_received_is_taken() {
    let mut world = World::new();
    let (mut client, mut closed) = world.pair(1);
    let (mut idle_client, mut idle) = world.pair(2);
    let (mut other_client, dropped) = world.pair(3);
    for client in [&mut client, &mut idle_client, &mut other_client] {
        client.put_packet(b"last words").unwrap();
        client.put_packet(b"and more").unwrap();
    }
    world.poll();
    let dropped_id = dropped.id();
    world.server.close(closed.id()).unwrap();
    world.server.close(dropped_id).unwrap();
    world.poll_after(secs(31));
    assert_eq!(idle.close_reason(), Some(CloseReason::Idle));
    assert_eq!(ready(&mut world.server), [closed.id(), idle.id(), dropped_id]);

    assert_eq!(&*closed.get_packet().unwrap().unwrap(), b"last words");
    drop(dropped);
    assert_eq!(ready(&mut world.server), [closed.id(), idle.id()]);
    while let Ok(Some(_)) = idle.get_packet() {}
    world.server.stop();
    assert_eq!(ready(&mut world.server), [closed.id()]);
    assert_eq!(closed.get_packet().unwrap().unwrap().len(), 8);
    assert_eq!(ready(&mut world.server), []);
}

#[test]
fn a_peer_whose_handle_is_gone_is_not_ready() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    client.put_packet(b"to nobody").unwrap();
    world.poll();
    peer.close();
    assert_eq!(ready(&mut world.server), [peer.id()], "closed, and it still has a packet");
    drop(peer);
    assert_eq!(ready(&mut world.server), []);
    world.poll();
    assert_eq!(ready(&mut world.server), []);
}

// Ids.

/// Both had 0.1: the first server's peer was ended.
#[test]
fn an_id_of_another_server_is_nobodys() {
    let mut world = World::new();
    let (mut client, mut own) = world.pair(1);
    let mut other = World::new();
    let (_other_client, mut foreign) = other.pair(1);
    assert_eq!((own.id().index(), own.id().to_string()), (foreign.id().index(), foreign.id().to_string()));
    assert_ne!(own.id(), foreign.id());

    assert_eq!(world.server.close(foreign.id()), Err(UnknownPeer(foreign.id())));
    assert_eq!(world.server.broadcast_to(&[foreign.id()], b"not for you").unwrap().sent, 0);
    assert!(world.server.dedicate_socket(&mut foreign, Switch::AtOnce).is_err());
    assert_eq!(own.state(), PeerState::Open);
    assert_eq!(util::poll_texts(&mut client), [""; 0]);
    assert_eq!(world.server.broadcast_to(&[own.id()], b"for you").unwrap().sent, 1);
    assert_eq!(util::poll_texts(&mut client), ["for you"]);
    world.server.dedicate_socket(&mut own, Switch::AtOnce).unwrap();
}

// Limits that are changed.

#[test]
fn idle_memory_follows_a_lowered_limit_and_a_raised_one() {
    let burst = |world: &mut World, client: &mut PacketPeerUdp, peer: &mut PacketPeerUdp| {
        for _ in 0..8 {
            (0..512).for_each(|_| client.put_packet(&[7; 400]).unwrap());
            world.poll();
            let packets: Vec<_> = std::iter::from_fn(|| peer.get_packet().unwrap()).collect();
            drop(packets);
        }
        world.server.stats().pool_misses
    };
    let mut world = World::with_limits(Limits::new().max_queued_bytes(1 << 20));
    let (mut client, mut peer) = world.pair(1);
    burst(&mut world, &mut client, &mut peer);
    let full = world.server.table_sizes().pool_bytes;
    assert!(full > 250_000, "{full}");
    world.server.set_limits(world.server.limits().clone().max_queued_bytes(100_000)).unwrap();
    let lowered = world.server.table_sizes().pool_bytes;
    assert!(lowered < 250_000, "{lowered}");

    world.server.set_limits(world.server.limits().clone().max_queued_bytes(1_000)).unwrap();
    burst(&mut world, &mut client, &mut peer);
    world.server.set_limits(world.server.limits().clone().max_queued_bytes(1 << 20)).unwrap();
    let warm = burst(&mut world, &mut client, &mut peer);
    assert_eq!(burst(&mut world, &mut client, &mut peer), warm, "it may keep what it uses");
}

/// The count had those that were lifted, and a refusal without room was accepted and did nothing.
#[test]
fn the_refused_are_those_who_are_refused() {
    let limits = Limits::new().after_close(AfterClose::Refuse(secs(60)));
    let mut world = World::with_limits(limits.clone());
    for number in 1..=3 {
        let (client, peer) = world.pair(number);
        world.server.close(peer.id()).unwrap();
        if number > 1 {
            drop(world.server.connect(client.local_addr().unwrap()).unwrap());
        }
    }
    assert_eq!(world.server.table_sizes().refused, 1 + 1, "one by the server, one by a handle since");
    world.poll();
    assert_eq!(world.server.table_sizes().refused, 3);
    world.poll_after(secs(60));
    assert_eq!(world.server.table_sizes().refused, 0);
    let error = world.server.set_limits(limits.max_refused_addresses(0)).unwrap_err();
    assert_eq!(error.name(), "max_refused_addresses");
    world.server.set_limits(Limits::new().max_refused_addresses(0)).unwrap();
}

// Functions of the caller's that panic.

fn panics(work: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(work)).is_err()
}

#[track_caller]
fn assert_all_are_counted(server: &UdpServer, received: u64, panicked: u64) {
    let stats = server.stats();
    assert_eq!(stats.received, stats.delivered + stats.queued + stats.consumed + stats.drops.total(), "{stats:#?}");
    assert_counts!(stats, received: received, drops.panicked: panicked);
}

/// Six were received and none was in any counter.
#[test]
fn a_filter_that_panics_costs_its_batch_and_no_counter() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    world.server.set_filter(|datagram, _| {
        assert_ne!(datagram.bytes, b"die");
        Verdict::Consume
    });
    let mut others = [world.client(2), world.client(3)];
    client.put_packet(b"before").unwrap();
    others[0].put_packet(b"eat me").unwrap();
    others[1].put_packet(b"die").unwrap();
    client.put_packet(b"after").unwrap();
    others[0].put_packet(b"eat me").unwrap();
    assert!(panics(|| drop(world.server.poll())));
    assert_all_are_counted(&world.server, 6, 3);
    assert_eq!(texts(&mut peer), ["before"]);
    assert_eq!(world.poll().dropped, 0);
    assert_all_are_counted(&world.server, 6, 3);

    world.server.clear_filter();
    client.put_packet(b"on we go").unwrap();
    world.poll();
    assert_eq!(texts(&mut peer), ["on we go"]);
    assert_all_are_counted(&world.server, 7, 3);
}

#[test]
fn a_reader_of_ids_that_panics_costs_its_batch_and_no_counter() {
    let ids = ConnectionIds::new(|datagram| {
        assert_ne!(datagram, b"die");
        Some(ConnectionId(u64::from(*datagram.first()?)))
    });
    let mut world = World::with_config(ServerConfig::new().identity(Identity::ConnectionId(ids)));
    let mut client = world.client(1);
    client.put_packet(b"a").unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    for text in ["a1", "die", "a2"] {
        client.put_packet(text.as_bytes()).unwrap();
    }
    assert!(panics(|| drop(world.server.poll())));
    assert_eq!(texts(&mut peer), ["a"]);
    assert_all_are_counted(&world.server, 4, 3);
    assert!(!panics(|| drop(world.server.poll())));
    assert_all_are_counted(&world.server, 4, 3);
}

/// Each poll panics after somebody has moved, and nobody asks who.
#[test]
fn moves_are_forgotten_where_no_poll_comes_to_its_end() {
    let ids = ConnectionIds::new(|datagram| {
        assert_ne!(datagram, b"die");
        Some(ConnectionId(u64::from(*datagram.first()?)))
    });
    let mut world = World::with_config(ServerConfig::new().identity(Identity::ConnectionId(ids)));
    let (mut home, mut away) = (world.client(1), world.client(2));
    for _ in 0..50 {
        // What is received in one go with the last is lost.
        let mut say_and_die = |client: &mut PacketPeerUdp| {
            (0..64).for_each(|_| client.put_packet(b"a").unwrap());
            client.put_packet(b"die").unwrap();
            assert!(panics(|| drop(world.server.poll())));
            world.server.take_connection()
        };
        let _peer = say_and_die(&mut home).unwrap();
        assert!(say_and_die(&mut away).is_none());
    }
    let mut moved = Vec::new();
    world.server.take_moved(&mut moved);
    assert!(moved.len() <= 3, "{}", moved.len());
}

#[test]
fn a_decision_on_a_move_that_panics_costs_its_batch_and_no_counter() {
    let ids = ConnectionIds::new(|datagram| Some(ConnectionId(u64::from(*datagram.first()?))));
    let ids = ids.on_move(packetpeer::identity::OnMove::ask(|_, _| panic!("undecided")));
    let mut world = World::with_config(ServerConfig::new().identity(Identity::ConnectionId(ids)));
    let mut home = world.client(1);
    home.put_packet(b"a").unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    world.client(2).put_packet(b"a away").unwrap();
    home.put_packet(b"a home").unwrap();
    assert!(panics(|| drop(world.server.poll())));
    assert_all_are_counted(&world.server, 3, 2);
    home.put_packet(b"a again").unwrap();
    world.poll();
    assert_eq!(texts(&mut peer), ["a", "a again"]);
    assert_all_are_counted(&world.server, 4, 2);
}

// Senders that nobody can answer.

/// From where, and what.
type Arrival = (SocketAddr, Vec<u8>);

/// A socket that receives what a script says.
#[derive(Debug, Clone)]
struct Script {
    network: Network,
    arrivals: Arc<Mutex<VecDeque<Arrival>>>,
}

impl Script {
    fn new() -> Self {
        Self { network: Network::new(), arrivals: Arc::default() }
    }

    fn arrive(&self, from: &str, bytes: &[u8]) {
        self.arrivals.lock().unwrap().push_back((from.parse().unwrap(), bytes.to_vec()));
    }
}

impl TransportFactory for Script {
    fn bind(&self, _options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(self.clone()))
    }

    fn clock(&self) -> Clock {
        self.network.clock()
    }
}

impl Transport for Script {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let mut arrivals = self.arrivals.lock().unwrap();
        while !batch.is_full() {
            let Some((from, bytes)) = arrivals.pop_front() else { break };
            batch.push(from, &bytes);
        }
        Ok(())
    }

    fn send(&self, _bytes: &[u8], to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
        assert_ne!(to.port(), 0, "sent to nobody");
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
        Ok(SERVER)
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(false)
    }
}

/// It made a peer to which every put failed.
#[test]
fn a_sender_at_port_0_is_nobody() {
    let script = Script::new();
    let mut server = UdpServer::with_transport(ServerConfig::new(), script.clone()).unwrap();
    server.listen(SERVER).unwrap();
    server.set_filter(|datagram, reply| {
        assert_ne!(datagram.sender.port(), 0, "there is nothing to be decided");
        reply.extend_from_slice(b"?");
        Verdict::Reply
    });
    script.arrive("192.0.2.1:0", b"hello");
    script.arrive("[2001:db8::1]:0", b"hello");
    script.arrive("192.0.2.1:1", b"hello");
    let report = server.poll().unwrap();
    assert_counts!(report, received: 3, dropped: 2, consumed: 1);
    assert_counts!(server.stats(), drops.unanswerable: 2, drops.total(): 2);
}

/// Answers to an unspecified address go to this host: a neighbour could have made the server talk to its own machine.
#[test]
fn a_sender_without_an_address_is_nobody() {
    let script = Script::new();
    let mut server = UdpServer::with_transport(ServerConfig::new(), script.clone()).unwrap();
    server.listen(SERVER).unwrap();
    let mut peer = PacketPeerUdp::with_transport(script.clone());
    for sender in ["0.0.0.0:68", "[::]:68", "[::ffff:0.0.0.0]:68"] {
        script.arrive(sender, b"hello");
        assert_eq!(server.poll().unwrap().new_connections, 0, "{sender}");
    }
    assert_eq!(server.stats().drops.unanswerable, 3);
    server.stop();

    peer.bind(SERVER).unwrap();
    script.arrive("0.0.0.0:68", b"hello");
    peer.poll().unwrap();
    let heard = peer.get_packet().unwrap().map(|packet| packet.sender().to_string());
    assert_eq!(heard.as_deref(), Some("0.0.0.0:68"), "a member of a group hears a host that has no address");
}

/// It followed there: every put failed, and the port to which the server had really gone was a stranger's.
#[test]
fn a_peer_that_follows_does_not_follow_to_port_0() {
    let script = Script::new();
    let mut peer = PacketPeerUdp::with_transport(script.clone());
    peer.set_follow_port(true).unwrap();
    peer.connect_to_host("192.0.2.1:1").unwrap();
    script.arrive("192.0.2.1:0", b"forged");
    peer.poll().unwrap();
    peer.put_packet(b"still there?").unwrap();
    script.arrive("192.0.2.1:2", b"over here");
    peer.poll().unwrap();
    let sender = peer.get_packet().unwrap().map(|packet| packet.sender().to_string());
    assert_eq!(sender.as_deref(), Some("192.0.2.1:2"));
    assert_counts!(peer.stats(), drops.stranger: 1, drops.total(): 1);
}

#[test]
fn nobody_moves_to_port_0() {
    let ids = ConnectionIds::new(|datagram| Some(ConnectionId(u64::from(*datagram.first()?))));
    let script = Script::new();
    let config = ServerConfig::new().identity(Identity::ConnectionId(ids));
    let mut server = UdpServer::with_transport(config, script.clone()).unwrap();
    server.listen(SERVER).unwrap();
    script.arrive("192.0.2.1:1", b"a");
    script.arrive("192.0.2.1:0", b"a");
    let report = server.poll().unwrap();
    assert_counts!(report, queued: 1, moved: 0);
    assert_counts!(server.stats(), drops.unanswerable: 1);
    let mut peer = server.take_connection().unwrap();
    peer.put_packet(b"welcome").unwrap();
    let stats = peer.stats();
    assert_counts!(stats, received: 2, queued: 1, drops.unanswerable: 1);
}

// Budgets.

/// With the smallest of budgets a busy own socket was all that was ever read.
#[test]
fn a_busy_own_socket_leaves_some_of_the_smallest_budget_to_the_others() {
    let mut world = World::with_limits(Limits::new().max_known_per_poll(1).quota_per_poll(None));
    let mut busy = world.client(1);
    busy.set_follow_port(true).unwrap();
    let mut own = Vec::new();
    let mut clients = Vec::new();
    for number in 1..=2 {
        let mut client = PacketPeerUdp::with_transport(world.network.host([10, 0, 2, number]));
        client.set_follow_port(true).unwrap();
        client.connect_to_host(SERVER).unwrap();
        client.put_packet(b"hello").unwrap();
        world.poll();
        let mut peer = world.server.take_connection().unwrap();
        assert_eq!(texts(&mut peer), ["hello"]);
        world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
        peer.put_packet(b"welcome").unwrap();
        assert_eq!(util::poll_texts(&mut client), ["welcome"]);
        own.push(peer);
        clients.push(client);
    }
    let (mut shared_client, mut shared) = {
        let mut client = world.client(9);
        client.put_packet(b"hello").unwrap();
        let peer = util::eventually("a connection", || {
            world.poll();
            world.server.take_connection()
        });
        (client, peer)
    };
    assert_eq!(texts(&mut shared), ["hello"]);
    let mut heard = [0; 3];
    for _ in 0..100 {
        clients.iter_mut().for_each(|client| client.put_packet(b"busy").unwrap());
        shared_client.put_packet(b"me too").unwrap();
        assert!(world.poll().received <= 1);
        for (heard, peer) in heard.iter_mut().zip(own.iter_mut().chain([&mut shared])) {
            *heard += texts(peer).len();
        }
    }
    assert_eq!(heard, [25, 25, 50]);
}

// Modes in which something waits.

#[test]
fn goodbyes_of_peers_that_are_connected_and_dropped_fill_no_list() {
    let config = ServerConfig::new()
        .send_mode(SendMode::OnFlush)
        .limits(Limits::new().max_peers(10).send_queue(QueueLimits::new().packets(1)));
    let mut world = World::with_config(config);
    for number in 0..1_000 {
        let mut peer = world.server.connect(stranger(number)).unwrap();
        peer.put_packet(b"goodbye").unwrap();
    }
    world.server.flush().unwrap();
    assert_eq!(world.server.stats().sent, 1_000, "what was put is sent");
    assert_eq!(world.server.table_sizes().places, 1);
}
