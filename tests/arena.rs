//! The example game over servers that it does not know, in virtual time on one thread: what a crate with a server of its own
//! does with the files of the arena.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use packetpeer::error::{GetError, PollError, PutError, UnknownPeer};
use packetpeer::sim::{Link, LinkEnd, Network};
use packetpeer::stats::{FlushReport, PeerStats, PollReport, Stat};
use packetpeer::{
    CloseReason, Limits, Packet, PacketPeer, PacketPeerUdp, PacketServer, PeerId, PeerState, ServerConfig, UdpServer,
};

#[path = "../examples/arena/bots.rs"]
mod bots;
#[path = "../examples/arena/report.rs"]
#[allow(dead_code, reason = "no line is printed for every second of virtual time")]
mod report;
#[path = "../examples/arena/rules.rs"]
mod rules;
#[path = "../examples/arena/wire.rs"]
#[allow(dead_code, reason = "what this test needs of it is in the other files")]
mod wire;

use bots::{BotsTally, Crowd};
use report::{Check, Links};
use rules::{Arena, IDLE_TIMEOUT, ServerTally, WELCOMED_PER_FRAME};
use wire::{ClientMessage, Input, Request, WorldState};

const SERVER: &str = "10.0.0.1:7777";
const BOTS: u16 = 24;
const HZ: u32 = 60;

/// What both sides have seen in a game, which is over.
struct Played<S: PacketServer> {
    arena: Arena<S>,
    bots: BotsTally,
    checks: Vec<Check>,
}

impl<S: PacketServer> Played<S> {
    fn tallies(&self) -> (ServerTally, BotsTally) {
        (self.arena.tally().clone(), self.bots.clone())
    }

    #[track_caller]
    fn assert_all_hold(&self) {
        let failed: Vec<_> = self.checks.iter().filter(|(_, holds)| *holds == Some(false)).collect();
        assert!(failed.is_empty(), "{failed:?} in {:#?}", self.tallies());
    }
}

/// A network, over whose links the game is to go.
struct World {
    network: Network,
    seed: u64,
}

impl World {
    fn new(seed: u64, link: Link) -> Self {
        let network = Network::with_seed(seed);
        network.set_link(LinkEnd::Any, LinkEnd::Any, link);
        Self { network, seed }
    }

    fn server(&self) -> UdpServer {
        let limits = Limits::new()
            .max_pending_connections(WELCOMED_PER_FRAME)
            .max_peers(2 * usize::from(BOTS))
            .idle_timeout(Some(IDLE_TIMEOUT));
        let config = ServerConfig::new().limits(limits);
        let mut server = UdpServer::with_transport(config, self.network.host([10, 0, 0, 1])).unwrap();
        server.listen(SERVER).unwrap();
        server
    }

    /// Clients, each on a host of its own.
    fn clients(&self) -> impl FnMut() -> PacketPeerUdp + use<> {
        let network = self.network.clone();
        let mut hosts = 0_u16;
        move || {
            hosts += 1;
            let [high, low] = hosts.to_be_bytes();
            let mut client = PacketPeerUdp::with_transport(network.host([10, 1, high, low]));
            client.connect_to_host(SERVER).unwrap();
            client
        }
    }

    /// Plays for 20 s, and goes on until the server has let go of the last bot.
    fn play<S: PacketServer, P: PacketPeer>(&self, server: S, mut connect: impl FnMut() -> P) -> Played<S> {
        let mut arena = Arena::new(server, HZ);
        let mut crowd = Crowd::new(BOTS, self.seed, move |_| Ok(connect())).unwrap();
        for _ in 0..20 * HZ {
            self.network.advance(Duration::from_secs(1) / HZ);
            crowd.frame().unwrap();
            arena.frame().unwrap();
        }
        let bots = crowd.finish();
        for _ in 0..3 * HZ {
            self.network.advance(Duration::from_secs(1) / HZ);
            arena.frame().unwrap();
        }
        assert_eq!((arena.player_count(), arena.server().peer_count()), (0, 0), "everybody has left");
        let host = [10, 0, 0, 1];
        let links = Links {
            to_server: self.network.link_stats(LinkEnd::Any, host),
            to_bots: self.network.link_stats(host, LinkEnd::Any),
        };
        let checks = report::checks(BOTS, &arena, &bots, &links);
        Played { arena, bots, checks }
    }
}

#[test]
fn both_sides_agree_in_virtual_time() {
    for (name, link) in Link::PRESETS {
        let world = World::new(1, link.clone());
        let played = world.play(world.server(), world.clients());
        played.assert_all_hold();
        assert!(played.checks.iter().all(|(_, holds)| holds.is_some()), "this server counts all of it");
        let (server, bots) = played.tallies();
        assert!(bots.back_from_vanishing > 10 && bots.goodbyes > 10, "{name}: {bots:?}");
        assert_eq!((bots.held_back, server.held_back, bots.cut_off), (0, 0, 0), "{name}: UDP says nothing of the kind");
        let stats = played.arena.server().stats();
        assert_eq!((stats.put, stats.connections.idle), (server.world_states, server.ended), "{name}");
    }
}

#[test]
fn the_same_seed_makes_the_same_game() {
    let game = |seed| {
        let world = World::new(seed, Link::preset("bad_hotel").unwrap());
        world.play(world.server(), world.clients()).tallies()
    };
    let first = game(7);
    assert_eq!(game(7), first);
    assert_ne!(game(8), first);
}

/// The server is another, its peers are, and the clients are; the game is the same.
#[test]
fn it_plays_over_a_server_that_is_more_like_streams() {
    let game = |link: Link| {
        let world = World::new(3, link);
        let (line, mut clients) = (Line::default(), world.clients());
        let server = Streams::new(world.server(), line.clone());
        let played = world.play(server, move || Stream::client(clients(), line.clone()));
        played.assert_all_hold();
        played
    };
    for (name, link) in Link::PRESETS {
        let played = game(link.clone());
        let (server, bots) = played.tallies();
        assert_eq!((server.put_failures, bots.put_failures), (0, 0), "{name}: it asks whether there is room");
        assert!(server.held_back > server.world_states / 2, "{name}: {server:?}");
        assert!(bots.held_back > 0, "{name}: none is connected at once");
        assert!(bots.cut_off > 0, "{name}: some are hung up on");
        // What the server itself has counted.
        let line = &played.arena.server().line;
        assert_eq!((line.taken.load(Relaxed), line.put.load(Relaxed)), (server.heard, server.world_states), "{name}");
        assert_eq!(game(link).tallies(), (server, bots), "{name}: the same again");
    }
}

#[test]
fn each_is_told_about_itself_first() {
    let world = World::new(5, Link::new());
    let mut arena = Arena::new(world.server(), HZ);
    let mut connect = world.clients();
    let mut clients = [connect(), connect(), connect()];
    for (nonce, client) in (0..).zip(&mut clients) {
        say(client, nonce, Request::Join);
    }
    arena.frame().unwrap();
    // The last takes the place of the first in the order of the server.
    say(&mut clients[0], 0, Request::Goodbye);
    for _ in 0..2 {
        arena.frame().unwrap();
        for (nonce, client) in (0..).zip(&mut clients).skip(1) {
            client.poll().unwrap();
            let (mut ids, mut last) = (Vec::new(), None);
            while let Some(packet) = client.get_packet().unwrap() {
                let (state, own, others) = WorldState::decode(&packet).unwrap();
                assert_eq!(state.nonce, nonce);
                ids.push(own.id);
                last = Some(others.into_iter().map(|other| other.id).collect::<Vec<_>>());
            }
            assert!(ids.iter().all(|&id| u32::from(id) == nonce), "{nonce}: {ids:?}");
            assert_eq!(last, Some(vec![if nonce == 1 { 2 } else { 1 }]));
        }
    }
}

/// The end and the last words before it are found in the same frame.
#[test]
fn a_goodbye_right_before_the_end_is_heard() {
    let world = World::new(6, Link::new());
    let mut arena = Arena::new(Streams::new(world.server(), Line::default()), HZ);
    let mut client = world.clients()();
    say(&mut client, 9, Request::Join);
    let mut frame = |client: &mut PacketPeerUdp, request| {
        world.network.advance(Duration::from_secs(1) / HZ);
        say(client, 9, request);
        arena.frame().unwrap();
        (arena.player_count(), arena.tally().clone())
    };
    for number in 1..HANG_UP_EVERY {
        frame(&mut client, Request::Input(Input { number, heading: [0; 2] }));
    }
    let (players, tally) = frame(&mut client, Request::Goodbye);
    assert_eq!((players, tally.welcomed, tally.goodbyes, tally.ended), (0, 1, 1, 0));
    assert_eq!(u64::from(HANG_UP_EVERY) - 1, tally.inputs);
}

fn say(client: &mut PacketPeerUdp, nonce: u32, request: Request) {
    let mut packet = Vec::new();
    ClientMessage { nonce, request }.encode(&mut packet);
    client.put_packet(&packet).unwrap();
}

#[test]
fn what_a_server_does_not_count_is_not_checked_and_what_does_not_hold_fails() {
    let world = World::new(4, Link::new());
    let (line, mut clients) = (Line::default(), world.clients());
    let server = Streams::new(world.server(), line.clone());
    let mut played = world.play(server, move || Stream::client(clients(), line.clone()));
    assert_eq!(played.checks.iter().filter(|(_, holds)| holds.is_none()).count(), 3);
    report::print_summary(world.network.elapsed(), &played.arena, &played.bots);
    assert_eq!(report::judge(&played.checks), ExitCode::SUCCESS);

    played.bots.crossed += 1;
    let checks = report::checks(BOTS, &played.arena, &played.bots, &Links::default());
    assert_eq!(report::judge(&checks), ExitCode::FAILURE);
}

/// What both sides of [`Streams`] share: its counters, and the addresses of clients that the server has hung up on.
#[derive(Debug, Clone, Default)]
struct Line {
    taken: Arc<AtomicU64>,
    put: Arc<AtomicU64>,
    hung_up: Arc<Mutex<HashSet<SocketAddr>>>,
}

/// Polls from one time that [`Streams`] hangs up on somebody to the next.
const HANG_UP_EVERY: u32 = 100;

/// A server over UDP that shows the game what streams do: they are connected before anything is heard, push back, and
/// tell the other side of their end. It counts by itself, and hangs up on somebody now and then.
#[derive(Debug)]
struct Streams {
    udp: UdpServer,
    line: Line,
    polls: u32,
    heard_last: Option<PeerId>,
}

impl Streams {
    fn new(udp: UdpServer, line: Line) -> Self {
        Self { udp, line, polls: 0, heard_last: None }
    }
}

impl PacketServer for Streams {
    type Peer = Stream;

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        let report = self.udp.poll_at(now)?;
        self.polls += 1;
        if let Some(id) = self.heard_last.take_if(|_| self.polls % HANG_UP_EVERY == 0) {
            let _ = self.udp.close(id); // it may have left by itself
        }
        Ok(report)
    }

    fn now(&self) -> Instant {
        self.udp.now()
    }

    fn flush(&mut self) -> Result<FlushReport, PollError> {
        self.udp.flush()
    }

    fn take_connection(&mut self) -> Option<Stream> {
        self.udp.take_connection().map(|udp| Stream::served(udp, self.line.clone()))
    }

    fn ready(&mut self, ids: &mut Vec<PeerId>) {
        self.udp.ready(ids);
        self.heard_last = ids.last().copied().or(self.heard_last);
    }

    fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        self.udp.take_ended(ended);
    }

    fn peer_count(&self) -> usize {
        self.udp.peer_count()
    }

    fn pending_count(&self) -> usize {
        self.udp.pending_count()
    }

    fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        self.udp.close(id)
    }

    fn drain(&mut self) {
        self.udp.drain();
    }

    fn is_draining(&self) -> bool {
        self.udp.is_draining()
    }

    fn stop(&mut self) {
        self.udp.stop();
    }

    fn is_listening(&self) -> bool {
        self.udp.is_listening()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.udp.local_addr()
    }

    fn visit_stats(&self, visit: &mut dyn FnMut(Stat)) {
        visit(Stat::counter("streams", "taken", "Packets handed out to the program.", self.line.taken.load(Relaxed)));
        visit(Stat::counter("streams", "put", "Packets taken from the program.", self.line.put.load(Relaxed)));
    }
}

/// Either end of one of [`Streams`].
#[derive(Debug)]
struct Stream {
    udp: PacketPeerUdp,
    line: Line,
    is_served: bool,
    /// Until then nothing comes or goes.
    connected_at: Instant,
    /// One packet fits what it has to itself, and leaves that after this time.
    room_at: Instant,
}

impl Stream {
    /// Connected already, but what has been said comes later.
    fn served(udp: PacketPeerUdp, line: Line) -> Self {
        Self::new(udp, line, true)
    }

    fn client(udp: PacketPeerUdp, line: Line) -> Self {
        line.hung_up.lock().unwrap().remove(&udp.local_addr().unwrap());
        Self::new(udp, line, false)
    }

    fn new(udp: PacketPeerUdp, line: Line, is_served: bool) -> Self {
        let now = udp.now();
        Self { udp, line, is_served, connected_at: now + Duration::from_millis(50), room_at: now }
    }

    fn is_hung_up_on(&self) -> bool {
        !self.is_served && self.udp.local_addr().is_some_and(|own| self.line.hung_up.lock().unwrap().contains(&own))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(remote) = self.udp.remote_addr().filter(|_| self.is_served) {
            self.line.hung_up.lock().unwrap().insert(remote);
        }
    }
}

impl PacketPeer for Stream {
    fn id(&self) -> PeerId {
        self.udp.id()
    }

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        match self.state() {
            PeerState::Ended(reason) => Err(PollError::Ended(reason)),
            _ => self.udp.poll_at(now),
        }
    }

    fn now(&self) -> Instant {
        self.udp.now()
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        if self.now() < self.connected_at {
            return Ok(None);
        }
        let packet = self.udp.get_packet()?;
        if self.is_served && packet.is_some() {
            self.line.taken.fetch_add(1, Relaxed);
        }
        Ok(packet)
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        if !self.can_put(bytes.len()) {
            return Err(PutError::NotReady);
        }
        // The client's inputs come with each frame, the server can send in every third.
        let pause = if self.is_served { 40 } else { 0 };
        self.room_at = self.now() + Duration::from_millis(pause);
        self.line.put.fetch_add(self.is_served.into(), Relaxed);
        self.udp.put_packet(bytes)
    }

    fn can_put(&self, len: usize) -> bool {
        let has_room = self.now() >= self.room_at && len <= self.max_packet_size();
        has_room && self.state() == PeerState::Open && self.udp.can_put(len)
    }

    fn available_packet_count(&self) -> usize {
        self.udp.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.udp.max_packet_size().min(100)
    }

    fn state(&self) -> PeerState {
        match self.udp.state() {
            PeerState::Open if self.is_hung_up_on() => PeerState::Ended(CloseReason::ClosedByRemote),
            PeerState::Open if !self.is_served && self.now() < self.connected_at => PeerState::Connecting,
            state => state,
        }
    }

    fn close(&mut self) {
        self.udp.close();
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.udp.remote_addr()
    }

    fn stats(&self) -> PeerStats {
        self.udp.stats()
    }
}
