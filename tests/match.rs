//! A match of 64 players over mobile links: ten minutes in virtual time, simulated at 60 Hz, with players who leave,
//! vanish and come back. In the end everybody has seen the same. It is played at the rates that games usually send at,
//! and again with something from and to everybody in every frame.
//!
//! It is a small game of the usual kind, and shows how one is tested:
//!
//! - Clients send inputs, numbered, and repeat all that the server has not acknowledged: whatever the link loses, swaps
//!   or doubles, each input counts once, in its turn.
//! - The server sends the world, with the number of the receiver's last input that is in it. Of world states only the
//!   newest counts.
//! - A player says goodbye a few times, or not at all, and then the idle timeout ends it.
//!
//! `PACKETPEER_SEED` sets the seed.

use std::collections::VecDeque;
use std::env;
use std::time::Duration;

use packetpeer::error::GetError;
use packetpeer::limits::AfterClose;
use packetpeer::sim::{Link, LinkEnd, LinkStats, Network};
use packetpeer::{Limits, PacketPeerUdp, ServerConfig, SocketOptions, UdpServer};

mod util;

use util::SERVER;

const PLAYERS: u8 = 64;
const HZ: u32 = 60;
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / HZ as u64);
const MINUTE: u32 = 60 * HZ;

/// How often something is sent. The game itself goes on at [`HZ`]: an input is for one of its frames.
#[derive(Clone, Copy)]
struct Rates {
    inputs: u32,
    snapshots: u32,
}

const USUAL: Rates = Rates { inputs: 30, snapshots: 20 };
const EVERY_FRAME: Rates = Rates { inputs: HZ, snapshots: HZ };

/// Whether something that is done `rate` times a second is done in this frame.
fn is_due(frame: u32, rate: u32) -> bool {
    frame % (HZ / rate) == 0
}

/// For so long before the end nobody comes or goes, and for so long nobody steers.
const NOBODY_LEAVES: u32 = 30 * HZ;
const NOBODY_STEERS: u32 = 10 * HZ;

/// Inputs in one message, at most: the oldest, for they are due first.
const MOST_INPUTS: usize = 240;
const GOODBYES: u8 = 3;

const INPUTS: u8 = 1;
const GOODBYE: u8 = 2;

/// A player in the world state: session, inputs that count, position.
const PLAYER_BYTES: usize = 4 + 4 + 2 + 2;
/// Tick, and the receiver's inputs that count.
const WORLD_HEADER: usize = 4 + 4;

type Position = [i16; 2];

/// An input moves a player by one step in one of four directions.
fn moved([x, y]: Position, input: u8) -> Position {
    match input % 4 {
        0 => [x + 1, y],
        1 => [x - 1, y],
        2 => [x, y + 1],
        _ => [x, y - 1],
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[..4].try_into().unwrap())
}

// ---------------------------------------------------------------------------------------------------------------------
// The server.

struct Server {
    server: UdpServer,
    players: Vec<Player>,
    snapshots: u32,
    tick: u32,
    welcomed: u64,
    goodbyes: u64,
    vanished: u64,
    // Kept from frame to frame.
    packet: Vec<u8>,
}

struct Player {
    peer: PacketPeerUdp,
    session: u32,
    inputs: u32,
    position: Position,
}

impl Server {
    fn new(network: &Network, snapshots: u32) -> Self {
        let limits = Limits::new()
            .max_pending_connections(PLAYERS.into())
            .max_peers(2 * usize::from(PLAYERS))
            .idle_timeout(Some(Duration::from_secs(5)))
            // What comes late from one who has said goodbye is no new player.
            .after_close(AfterClose::Refuse(Duration::from_secs(5)));
        let config = ServerConfig::new().limits(limits).socket(SocketOptions::new().max_packet_size(1_200));
        let mut server = UdpServer::with_transport(config, network.host(SERVER.ip())).unwrap();
        server.listen(SERVER).unwrap();
        let (players, packet) = (Vec::new(), Vec::new());
        Self { server, players, snapshots, tick: 0, welcomed: 0, goodbyes: 0, vanished: 0, packet }
    }

    fn frame(&mut self) {
        self.tick += 1;
        self.server.poll().unwrap();
        while let Some(peer) = self.server.take_connection() {
            self.players.push(Player { peer, session: 0, inputs: 0, position: [0; 2] });
            self.welcomed += 1;
        }
        let (goodbyes, vanished) = (&mut self.goodbyes, &mut self.vanished);
        self.players.retain_mut(|player| match player.read() {
            Ok(stays) => {
                *goodbyes += u64::from(!stays);
                stays
            }
            Err(_) => {
                *vanished += 1;
                false
            }
        });
        if is_due(self.tick, self.snapshots) {
            self.send_world();
        }
    }

    fn send_world(&mut self) {
        self.packet.clear();
        self.packet.extend([0; WORLD_HEADER]);
        for player in &self.players {
            let [x, y] = player.position;
            self.packet.extend(player.session.to_le_bytes());
            self.packet.extend(player.inputs.to_le_bytes());
            self.packet.extend(x.to_le_bytes());
            self.packet.extend(y.to_le_bytes());
        }
        self.packet[..4].copy_from_slice(&self.tick.to_le_bytes());
        for player in &mut self.players {
            self.packet[4..WORLD_HEADER].copy_from_slice(&player.inputs.to_le_bytes());
            player.peer.put_packet(&self.packet).unwrap();
        }
    }
}

impl Player {
    /// Returns whether the player stays.
    fn read(&mut self) -> Result<bool, GetError> {
        while let Some(packet) = self.peer.get_packet()? {
            let (kind, session, first) = (packet[0], number(&packet[1..]), number(&packet[5..]));
            assert!(self.session == 0 || self.session == session, "a message of {session} came to {}", self.session);
            self.session = session;
            if kind == GOODBYE {
                return Ok(false);
            }
            for (number, &input) in (first..).zip(&packet[9..]) {
                if number == self.inputs + 1 {
                    self.inputs = number;
                    self.position = moved(self.position, input);
                }
            }
        }
        Ok(true)
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The clients.

struct Client {
    number: u8,
    dice: fastrand::Rng,
    sessions: u32,
    stay: Stay,
    tally: Tally,
    packet: Vec<u8>,
}

enum Stay {
    Away { until: u32 },
    Playing { session: Box<Session>, until: u32 },
    Leaving { session: Box<Session>, goodbyes_left: u8 },
}

struct Session {
    peer: PacketPeerUdp,
    id: u32,
    /// The newest world state, as it came.
    world: Vec<u8>,
    tick: u32,
    /// Inputs that the server is known to have.
    acknowledged: u32,
    /// Those it may not have yet, and where each has led.
    open: VecDeque<(u8, Position)>,
    /// Where the last acknowledged input has led.
    confirmed: Position,
}

/// What a client has seen in all its sessions.
#[derive(Default)]
struct Tally {
    received: u64,
    served: u64,
    late: u64,
    goodbyes: u64,
    vanished: u64,
}

impl Client {
    fn new(number: u8, mut dice: fastrand::Rng) -> Self {
        // They do not all come at once.
        let stay = Stay::Away { until: dice.u32(0..5 * HZ) };
        Self { number, dice, sessions: 0, stay, tally: Tally::default(), packet: Vec::new() }
    }

    fn frame(&mut self, frame: u32, end: u32, inputs: u32, network: &Network) {
        let (may_leave, may_steer) = (frame + NOBODY_LEAVES < end, frame + NOBODY_STEERS < end);
        match &mut self.stay {
            Stay::Away { until } => {
                if frame >= *until && may_leave {
                    self.join(frame, network);
                }
            }
            Stay::Playing { session, until } => {
                session.read(&mut self.tally);
                if may_leave && frame >= *until {
                    self.leave(frame);
                } else {
                    if may_steer {
                        session.steer(self.dice.u8(..));
                    }
                    if is_due(frame, inputs) {
                        session.send_inputs(&mut self.packet);
                    }
                }
            }
            Stay::Leaving { session, goodbyes_left } => {
                session.say_goodbye(&mut self.packet);
                *goodbyes_left -= 1;
                if *goodbyes_left == 0 {
                    session.end(&mut self.tally);
                    self.stay = Stay::Away { until: frame + self.dice.u32(2 * HZ..10 * HZ) };
                }
            }
        }
    }

    fn join(&mut self, frame: u32, network: &Network) {
        self.sessions += 1;
        let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 1, self.number]));
        peer.connect_to_host(SERVER).unwrap();
        let session = Session {
            peer,
            id: u32::from(self.number) << 16 | self.sessions,
            world: Vec::new(),
            tick: 0,
            acknowledged: 0,
            open: VecDeque::new(),
            confirmed: [0; 2],
        };
        let until = frame + self.dice.u32(20 * HZ..120 * HZ);
        self.stay = Stay::Playing { session: Box::new(session), until };
    }

    /// Half of them with a word.
    fn leave(&mut self, frame: u32) {
        let until = frame + self.dice.u32(2 * HZ..10 * HZ);
        let Stay::Playing { mut session, .. } = std::mem::replace(&mut self.stay, Stay::Away { until }) else { return };
        if self.dice.bool() {
            self.tally.goodbyes += 1;
            self.stay = Stay::Leaving { session, goodbyes_left: GOODBYES };
        } else {
            self.tally.vanished += 1;
            session.end(&mut self.tally);
        }
    }
}

impl Session {
    fn read(&mut self, tally: &mut Tally) {
        self.peer.poll().unwrap();
        while let Some(packet) = self.peer.get_packet().unwrap() {
            let (tick, acknowledged) = (number(&packet), number(&packet[4..]));
            if tick <= self.tick {
                tally.late += 1;
                continue;
            }
            tally.served += u64::from(self.tick == 0);
            self.tick = tick;
            self.world.clear();
            self.world.extend_from_slice(&packet);
            let new = acknowledged.checked_sub(self.acknowledged).expect("a newer world has no fewer inputs") as usize;
            if let Some((_, position)) = self.open.drain(..new).next_back() {
                self.confirmed = position;
            }
            self.acknowledged = acknowledged;
            if tick % HZ == 0 {
                self.assert_prediction();
            }
        }
    }

    /// The server has moved this player to where the inputs lead that it has acknowledged.
    fn assert_prediction(&self) {
        let id = self.id.to_le_bytes();
        let own = self.world[WORLD_HEADER..].chunks(PLAYER_BYTES).find(|player| player[..4] == id);
        let own = own.expect("the receiver is in the world");
        let position = [8, 10].map(|at| i16::from_le_bytes([own[at], own[at + 1]]));
        assert_eq!((number(&own[4..]), position), (self.acknowledged, self.confirmed));
    }

    fn steer(&mut self, input: u8) {
        let from = self.open.back().map_or(self.confirmed, |&(_, position)| position);
        self.open.push_back((input, moved(from, input)));
    }

    fn send_inputs(&mut self, packet: &mut Vec<u8>) {
        self.begin(INPUTS, packet);
        packet.extend(self.open.iter().take(MOST_INPUTS).map(|&(input, _)| input));
        self.peer.put_packet(packet).unwrap();
    }

    fn say_goodbye(&mut self, packet: &mut Vec<u8>) {
        self.begin(GOODBYE, packet);
        self.peer.put_packet(packet).unwrap();
    }

    fn begin(&self, kind: u8, packet: &mut Vec<u8>) {
        packet.clear();
        packet.push(kind);
        packet.extend(self.id.to_le_bytes());
        packet.extend((self.acknowledged + 1).to_le_bytes());
    }

    fn end(&mut self, tally: &mut Tally) {
        tally.received += self.peer.stats().received;
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The match.

struct Match {
    network: Network,
    server: Server,
    clients: Vec<Client>,
}

impl Match {
    fn play(frames: u32, rates: Rates, link: &Link, seed: u64) -> Self {
        let network = Network::with_seed(seed);
        network.set_link(LinkEnd::Any, LinkEnd::Any, link.clone());
        let mut server = Server::new(&network, rates.snapshots);
        let mut dice = fastrand::Rng::with_seed(seed);
        let mut clients: Vec<_> = (0..PLAYERS).map(|number| Client::new(number, dice.fork())).collect();
        for frame in 0..frames {
            for client in &mut clients {
                client.frame(frame, frames, rates.inputs, &network);
            }
            network.advance(FRAME);
            server.frame();
        }
        let mut played = Self { network, server, clients };
        played.let_everything_arrive();
        played
    }

    fn let_everything_arrive(&mut self) {
        while let Some(left) = self.network.next_arrival() {
            self.network.advance(left);
        }
        self.server.server.poll().unwrap();
        for client in &mut self.clients {
            if let Stay::Playing { session, .. } = &mut client.stay {
                session.read(&mut client.tally);
                session.end(&mut client.tally);
            }
        }
    }

    fn links(&self) -> LinkStats {
        self.network.link_stats(LinkEnd::Any, LinkEnd::Any)
    }

    fn sum(&self, of: fn(&Tally) -> u64) -> u64 {
        self.clients.iter().map(|client| of(&client.tally)).sum()
    }

    fn playing(&self) -> impl Iterator<Item = &Session> {
        self.clients.iter().filter_map(|client| match &client.stay {
            Stay::Playing { session, .. } => Some(&**session),
            _ => None,
        })
    }

    /// Everybody sees the world that the server has, with all their inputs in it.
    fn assert_converged(&self) {
        let truth = &self.server.packet[WORLD_HEADER..];
        assert_eq!(truth.len(), self.server.players.len() * PLAYER_BYTES);
        assert_eq!(self.server.players.len(), self.playing().count(), "those who left are gone");
        for session in self.playing() {
            assert!(session.open.is_empty(), "{} inputs of {} are still open", session.open.len(), session.id);
            assert!(session.world[WORLD_HEADER..] == *truth, "{} sees another world", session.id);
            session.assert_prediction();
        }
    }

    fn assert_nothing_unaccounted_for(&self) {
        let stats = self.server.server.stats();
        assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total());
        let links = self.links();
        let received = stats.received + self.sum(|tally| tally.received);
        assert_eq!(links.passed + links.duplicated, received + self.network.lost(), "{links}");
        assert_eq!(self.network.in_flight(), 0);
        assert_eq!(stats.send_drops.total(), 0);
    }
}

fn seed() -> u64 {
    env::var("PACKETPEER_SEED").map_or(1, |seed| seed.parse().unwrap())
}

/// Plays for ten minutes and checks everything.
fn play_for_ten_minutes(rates: Rates) -> Match {
    let played = Match::play(10 * MINUTE, rates, &Link::MOBILE_4G, seed());
    played.assert_converged();
    played.assert_nothing_unaccounted_for();

    let links = played.links();
    let sessions: u64 = played.clients.iter().map(|client| u64::from(client.sessions)).sum();
    let (goodbyes, vanished) = (played.sum(|tally| tally.goodbyes), played.sum(|tally| tally.vanished));
    println!("{sessions} sessions, {goodbyes} goodbyes, {vanished} vanished; links: {links}");
    println!("{}", played.server.server.stats());
    assert!(sessions > 400 && goodbyes > 150 && vanished > 150);
    assert_eq!(played.server.welcomed, sessions);
    // Should all goodbyes of one be lost, it has vanished.
    assert_eq!(played.server.goodbyes + played.server.vanished, goodbyes + vanished);
    assert!(played.server.vanished >= vanished);
    assert!(played.sum(|tally| tally.served) >= sessions - 1);

    let share = |count: u64| count as f64 / links.offered as f64;
    assert!((0.005..0.02).contains(&share(links.lost)), "{links}");
    assert!(links.reordered > 0 && links.duplicated > 0);
    played
}

#[test]
fn ten_minutes_of_64_players_on_the_move_converge() {
    let datagrams = play_for_ten_minutes(USUAL).links().offered;
    assert!((1_500_000..2_000_000).contains(&datagrams), "{datagrams}");
}

#[test]
fn ten_minutes_with_something_sent_in_every_frame_converge() {
    let played = play_for_ten_minutes(EVERY_FRAME);
    assert!(played.links().offered > 4_000_000, "{}", played.links());
    assert!(played.sum(|tally| tally.late) > 0, "some world states come after newer ones");
}

#[test]
fn the_same_seed_plays_the_same_match() {
    let outcome = |seed| {
        let played = Match::play(MINUTE, EVERY_FRAME, &Link::BAD_HOTEL, seed);
        (played.links(), played.server.server.stats(), played.server.packet)
    };
    let first = outcome(1);
    assert!(first.0.lost > 10_000, "{}", first.0);
    let (links, stats, world) = outcome(1);
    assert_eq!((first.0, first.1.received_bytes, &first.2), (links, stats.received_bytes, &world));
    assert_ne!(first.2, outcome(2).2);
}

#[test]
fn a_match_over_any_preset_converges() {
    for (name, link) in Link::PRESETS {
        println!("{name}");
        let played = Match::play(MINUTE, USUAL, &link, seed());
        played.assert_converged();
        played.assert_nothing_unaccounted_for();
    }
}
