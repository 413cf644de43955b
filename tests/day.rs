//! A day in the life of a server, in virtual time: ten thousand people join, talk, fall silent and leave. What the
//! server keeps, and what the program has allocated, depends on who is there and not on how long it has run.
//!
//! `PACKETPEER_SEED` sets the seed.

#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use packetpeer::sim::Network;
use packetpeer::socket::{BindAddr, BindOptions, Transport, TransportFactory};
use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerId, ServerConfig, SocketOptions, UdpServer};

#[path = "util/counts.rs"]
mod counts;

use counts::assert_counts;

const PEOPLE: usize = 10_000;
const HOURS: usize = 24;
const FRAME: Duration = Duration::from_secs(10);
const FRAMES_AN_HOUR: usize = 360;

/// Who does something in one frame. It comes to something from each person every sixteen minutes.
const ACTIVE_A_FRAME: usize = 100;
const IDLE_TIMEOUT: Duration = Duration::from_secs(45 * 60);

/// Counts what is allocated and not freed.
struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; counting allocates
// nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above; the block came from the system's allocator, as all blocks do.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What there was at the end of an hour.
#[derive(Debug, Clone, Copy)]
struct Sample {
    live_bytes: usize,
    peers: usize,
    pool_misses: u64,
}

struct Day {
    dice: fastrand::Rng,
    network: Network,
    server: UdpServer,
    server_addr: SocketAddr,
    people: Vec<Box<dyn Transport>>,
    /// By the index of their ids.
    players: Vec<Option<PacketPeerUdp>>,
    // Kept from frame to frame, as a game does.
    ready: Vec<PeerId>,
    ended: Vec<(PeerId, CloseReason)>,
    most_known: usize,
    samples: Vec<Sample>,
}

impl Day {
    fn new(seed: u64) -> Self {
        let network = Network::new();
        let limits = Limits::new()
            .max_peers(PEOPLE)
            .max_pending_connections(ACTIVE_A_FRAME)
            .max_pending_per_ip(ACTIVE_A_FRAME)
            .idle_timeout(Some(IDLE_TIMEOUT));
        let config = ServerConfig::new().limits(limits).socket(SocketOptions::new().max_packet_size(1200));
        let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1])).unwrap();
        server.listen("10.0.0.1:7777").unwrap();
        Self {
            dice: fastrand::Rng::with_seed(seed),
            server_addr: server.local_addr().unwrap(),
            server,
            people: (0..PEOPLE).map(|number| home(&network, number)).collect(),
            network,
            players: Vec::new(),
            ready: Vec::new(),
            ended: Vec::new(),
            most_known: 0,
            samples: Vec::new(),
        }
    }

    /// Somebody joins, talks, says goodbye, or is not heard of for a while, perhaps for too long.
    fn people_act(&mut self) {
        for _ in 0..ACTIVE_A_FRAME {
            let person = &self.people[self.dice.usize(..PEOPLE)];
            let words = &[b'.'; 300][..self.dice.usize(1..300)];
            let leaves = self.dice.u32(..10) == 0;
            person.send(if leaves { b"goodbye" } else { words }, self.server_addr, None).unwrap();
        }
    }

    fn server_frame(&mut self) {
        let report = self.server.poll().unwrap();
        assert!(!report.more_waiting);
        assert_eq!(report.expired, 0, "all are taken in the frame in which they come");
        // The idle go last, so their places were taken when the others came.
        let known = self.server.peer_count() + self.server.pending_count() + report.idle;
        self.most_known = self.most_known.max(known);

        self.ended.clear();
        self.server.take_ended(&mut self.ended);
        for (id, _) in &self.ended {
            // Those who said goodbye have gone before, and somebody else may have their place.
            self.players[id.index()].take_if(|player| player.id() == *id);
        }
        while let Some(player) = self.server.take_connection() {
            self.seat(player);
        }
        self.server_answers();
        assert_eq!(self.server.stats().queued, 0);
    }

    fn seat(&mut self, player: PacketPeerUdp) {
        let index = player.id().index();
        if self.players.len() <= index {
            self.players.resize_with(index + 1, || None);
        }
        assert!(self.players[index].replace(player).is_none(), "two peers have the index {index}");
    }

    fn server_answers(&mut self) {
        self.ready.clear();
        self.server.ready(&mut self.ready);
        for &id in &self.ready {
            let player = self.players[id.index()].as_mut().expect("who is ready was taken");
            let mut said_goodbye = false;
            while let Ok(Some(packet)) = player.get_packet() {
                assert_eq!(Some(packet.sender()), player.remote_addr());
                said_goodbye |= &*packet == b"goodbye";
                player.put_packet(&packet).unwrap();
            }
            if said_goodbye {
                self.players[id.index()] = None;
            }
        }
    }

    fn hour(&mut self) {
        for _ in 0..FRAMES_AN_HOUR {
            self.network.advance(FRAME);
            self.people_act();
            self.server_frame();
        }
        let sample = Sample {
            live_bytes: LIVE_BYTES.load(Ordering::Relaxed),
            peers: self.server.peer_count(),
            pool_misses: self.server.stats().pool_misses,
        };
        self.samples.push(sample);
    }

    /// Everybody falls asleep. The server notices when the idle timeout is over.
    fn night(&mut self) {
        self.server_frame();
        self.network.advance(IDLE_TIMEOUT);
        self.server_frame();
    }

    fn nothing_is_left(&mut self) {
        assert_counts!(self.server, peer_count(): 0, pending_count(): 0);
        assert_eq!(self.server.peers().next(), None);
        assert!(self.players.iter().all(Option::is_none));
        let stats = self.server.stats();
        assert_counts!(stats, queued: 0, queued_bytes: 0);
        assert_eq!(stats.received, stats.delivered + stats.drops.total());
        assert_eq!(stats.drops.total(), stats.drops.unread, "{}", stats.drops);
        let joined = stats.connections.opened;
        assert_eq!(joined, stats.connections.taken);
        assert_eq!(joined, stats.connections.closed + stats.connections.idle);
        assert!(joined > 3 * PEOPLE as u64, "a lively day: {}", stats.connections);
        assert_eq!(self.network.lost(), stats.sent, "the people do not listen");
        assert!(self.players.len() <= self.most_known, "{} places for {}", self.players.len(), self.most_known);
    }

    /// The first hour fills the tables; from then on nothing grows.
    fn nothing_has_grown(&self) {
        let (first, rest) = self.samples.split_first().expect("the day has hours");
        for (hour, sample) in (2..).zip(rest) {
            assert!(sample.live_bytes < first.live_bytes + first.live_bytes / 20, "hour {hour}: {:#?}", self.samples);
            assert!(sample.pool_misses < first.pool_misses + 100, "hour {hour}: {:#?}", self.samples);
        }
        let at_night = LIVE_BYTES.load(Ordering::Relaxed);
        assert!(at_night <= first.live_bytes, "{at_night} bytes at night, and {:#?}", self.samples);
    }
}

/// Somebody's socket. Fifty people live behind each address.
fn home(network: &Network, number: usize) -> Box<dyn Transport> {
    let [.., high, low] = (number / 50).to_be_bytes();
    let addr = SocketAddr::from(([10, 1, high, low], 1000 + (number % 50) as u16));
    let mut options = BindOptions::new(BindAddr::Addr(addr));
    options.receive_buffer = Some(0); // nobody reads it
    network.host(addr.ip()).bind(&options).unwrap()
}

#[test]
fn a_day_leaves_nothing_behind() {
    let seed = env::var("PACKETPEER_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("PACKETPEER_SEED={seed}");
    let mut day = Day::new(seed);
    for _ in 0..HOURS {
        day.hour();
    }
    day.night();
    day.nothing_is_left();
    day.nothing_has_grown();
    // Sockets of the in-memory network are closed much faster last in, first out.
    while day.people.pop().is_some() {}

    let peers: Vec<_> = day.samples.iter().map(|sample| sample.peers).collect();
    println!("peers by the hour: {peers:?}\n{:#?}\n{}", day.samples, day.server.stats());
}
