//! Whatever has happened, a server keeps little of it when all is quiet again: random lives of many peers, and what the
//! allocator says afterwards.
//!
//! Allocations are counted per thread, so that tests beside one another stay out of it. Not on MinGW, where the variables
//! of a thread are themselves allocated.
#![cfg(not(all(windows, target_env = "gnu")))]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use std::{env, io};

use packetpeer::identity::{ConnectionId, ConnectionIds, Identity};
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, SocketOptions, UdpServer};

/// Peers of a life.
const PEERS: usize = 128;

/// Lives of a run; `PACKETPEER_CASES` sets another number, and `PACKETPEER_SEED` the seed of the first.
const LIVES: u64 = 40;

/// What a quiet peer may take, its handle included, in bytes.
const PER_PEER: usize = 512;

/// What a server may keep beside its peers and the pool: lists of a frame, up to a certain length.
const PER_SERVER: usize = 64 << 10;

/// What the server's thread keeps at hand beside the pool, in bytes, of the sizes that are used here.
const STASH: usize = 256 << 10;

/// Longest datagram accepted.
const LONGEST: usize = 6000;

#[path = "util/allocator.rs"]
mod allocator;

/// A network without anybody else: what is asked for arrives, and what is sent is gone, or is not taken.
#[derive(Debug, Clone)]
struct Hose(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    now: Instant,
    /// Who sends, and how many bytes.
    arriving: VecDeque<(SocketAddr, u8, usize)>,
    is_blocked: bool,
}

impl Hose {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl TransportFactory for Hose {
    fn bind(&self, _options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(self.clone()))
    }

    fn clock(&self) -> Clock {
        let hose = self.clone();
        Clock::new(move || hose.state().now)
    }
}

impl Transport for Hose {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let mut state = self.state();
        while !batch.is_full() {
            let Some((sender, id, len)) = state.arriving.pop_front() else { break };
            let mut bytes = [id; LONGEST + 100];
            bytes[0] = id;
            batch.push(sender, &bytes[..len]);
        }
        Ok(())
    }

    fn send(&self, _bytes: &[u8], _to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
        if self.state().is_blocked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        Ok(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([10, 0, 0, 1], 1)))
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(!self.state().arriving.is_empty())
    }
}

/// One thing that happens, to all peers alike: what one leaves behind is too little to be seen.
#[derive(Debug, Clone, Copy)]
enum Step {
    Burst {
        count: usize,
        len: usize,
    },
    OverLong,
    Read,
    Put {
        count: usize,
        len: usize,
    },
    Broadcast {
        count: usize,
        len: usize,
    },
    Block(bool),
    Flush,
    Poll,
    Advance {
        millis: u64,
    },
    MaxQueuedBytes(usize),
    /// One connection goes to and fro, where the server goes by ids.
    Moves {
        count: usize,
    },
    /// The server speaks to somebody first, and changes its mind, over and over between two polls.
    ConnectAndDrop {
        count: usize,
    },
}

fn random_step(rng: &mut fastrand::Rng) -> Step {
    let len = *rng.choice(&[1, 100, 100, 1000, 5000]).unwrap();
    // Not more than some megabytes at a time.
    let count = rng.choice(&[1usize, 3, 60, 300]).unwrap().min(&(40_000 / len).max(1)).to_owned();
    match rng.u32(..24) {
        0..4 => Step::Burst { count, len },
        4 => Step::OverLong,
        5..8 => Step::Read,
        8..11 => Step::Put { count, len },
        11 => Step::Broadcast { count, len },
        12 | 13 => Step::Block(rng.bool()),
        14 | 15 => Step::Flush,
        16..19 => Step::Poll,
        19 => Step::Advance { millis: *rng.choice(&[1, 1_000, 7_000]).unwrap() },
        20 | 21 => Step::MaxQueuedBytes(*rng.choice(&[1_000, 64 << 10, 1 << 20, 64 << 20]).unwrap()),
        22 => Step::Moves { count: rng.usize(..3_000) },
        _ => Step::ConnectAndDrop { count: rng.usize(..3_000) },
    }
}

struct Life {
    hose: Hose,
    server: UdpServer,
    peers: Vec<PacketPeerUdp>,
    goes_by_ids: bool,
    payload: Vec<u8>,
}

impl Life {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let start = Instant::now();
        let arriving = VecDeque::with_capacity(1 << 17);
        let hose = Hose(Arc::new(Mutex::new(State { now: start, arriving, is_blocked: false })));
        let limits = Limits::new()
            .max_peers(2 * PEERS)
            .max_peers_per_ip(None)
            .max_pending_connections(PEERS)
            .max_pending_per_ip(PEERS)
            .idle_timeout(None)
            .pending_lifetime(None)
            .max_known_per_poll(1 << 20)
            .max_queued_bytes(*rng.choice(&[1_000, 64 << 20]).unwrap());
        let goes_by_ids = rng.bool();
        let ids = ConnectionIds::new(|bytes| Some(ConnectionId(u64::from(*bytes.first()?))));
        let identity = if goes_by_ids { Identity::ConnectionId(ids) } else { Identity::Address };
        let mode = *rng.choice(&[SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush]).unwrap();
        let config = ServerConfig::new()
            .limits(limits)
            .socket(SocketOptions::new().max_packet_size(LONGEST))
            .send_mode(mode)
            .identity(identity);
        let mut server = UdpServer::with_transport(config, hose.clone()).unwrap();
        server.listen(1).unwrap();
        Self { hose, server, peers: Vec::with_capacity(PEERS), goes_by_ids, payload: vec![7; LONGEST] }
    }

    fn addr(number: usize) -> SocketAddr {
        SocketAddr::from(([10, 1, 0, 0], 1000 + number as u16))
    }

    fn all_send(&mut self, count: usize, len: usize) {
        let everybody =
            (0..PEERS).flat_map(|number| std::iter::repeat_n((Self::addr(number), number as u8, len), count));
        self.hose.state().arriving.extend(everybody);
    }

    fn join(&mut self) {
        self.all_send(1, 1);
        self.server.poll().unwrap();
        while let Some(peer) = self.server.take_connection() {
            self.peers.push(peer);
        }
        assert_eq!(self.peers.len(), PEERS);
        self.read();
    }

    fn read(&mut self) {
        self.peers.iter_mut().for_each(|peer| while peer.get_packet().unwrap().is_some() {});
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Burst { count, len } => {
                self.all_send(count, len);
                self.server.poll().unwrap();
            }
            Step::OverLong => self.all_send(1, LONGEST + 100),
            Step::Read => self.read(),
            Step::Put { count, len } => {
                let bytes = &self.payload[..len];
                self.peers.iter_mut().for_each(|peer| (0..count).for_each(|_| drop(peer.put_packet(bytes))));
            }
            Step::Broadcast { count, len } => {
                (0..count).for_each(|_| drop(self.server.broadcast(&self.payload[..len])));
            }
            Step::Block(is_blocked) => self.hose.state().is_blocked = is_blocked,
            Step::Flush => drop(self.server.flush()),
            Step::Poll => drop(self.server.poll().unwrap()),
            Step::Advance { millis } => self.hose.state().now += Duration::from_millis(millis),
            Step::MaxQueuedBytes(bytes) => {
                self.server.set_limits(self.server.limits().clone().max_queued_bytes(bytes)).unwrap();
            }
            Step::Moves { count } if self.goes_by_ids => {
                let places = (0..count).map(|number| (Self::addr(500 + number % 200), 0, 1));
                self.hose.state().arriving.extend(places);
                self.server.poll().unwrap();
            }
            Step::ConnectAndDrop { count } if !self.goes_by_ids => {
                (0..count).for_each(|_| drop(self.server.connect(Self::addr(1000))));
            }
            Step::Moves { .. } | Step::ConnectAndDrop { .. } => {}
        }
    }

    fn check(&self) {
        let (sizes, limits) = (self.server.table_sizes(), self.server.limits());
        let most = limits.max_queued_bytes + STASH;
        assert!(sizes.pool_bytes <= most, "{} bytes lie in the pool, and {most} may", sizes.pool_bytes);
        assert!(sizes.places <= limits.max_peers, "{} places", sizes.places);
    }

    /// All is read and sent, and then nothing happens for a minute.
    fn be_quiet(&mut self) {
        self.hose.state().is_blocked = false;
        for _ in 0..600 {
            self.server.poll().unwrap();
            self.read();
            self.hose.state().now += Duration::from_millis(100);
        }
        let stats = self.server.stats();
        assert_eq!(stats.queued + stats.send_queued, 0, "{stats}");
    }

    /// The same again and again takes its memory from the pool, if that may hold as much.
    fn be_steady(&mut self) {
        self.step(Step::MaxQueuedBytes(64 << 20));
        let mut misses = 0;
        for _ in 0..4 {
            let before = self.server.stats().pool_misses;
            self.step(Step::Burst { count: 20, len: 100 });
            self.read();
            misses = self.server.stats().pool_misses - before;
        }
        assert_eq!(misses, 0, "packets whose memory came from the allocator");
    }
}

fn number_from_env(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[test]
fn whatever_has_happened_a_quiet_server_keeps_little() {
    let base = number_from_env("PACKETPEER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let lives = number_from_env("PACKETPEER_CASES").unwrap_or(LIVES);
    let mut most = 0;
    for seed in (0..lives).map(|life| base.wrapping_add(life)) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut life = Life::new(&mut rng);
        let before = allocator::live_bytes();
        life.join();
        let mut steps = Vec::with_capacity(64);
        for _ in 0..20 {
            let step = random_step(&mut rng);
            steps.push(step);
            life.step(step);
            life.check();
        }
        life.be_quiet();
        // The pool has a limit of its own, and is to be out of the way.
        life.step(Step::MaxQueuedBytes(0));
        let live = allocator::live_bytes() - before - life.server.table_sizes().pool_bytes as i64;
        let kept = usize::try_from(live - (64 * size_of::<Step>()) as i64).unwrap_or(0);
        let kept = kept + PEERS * size_of::<PacketPeerUdp>();
        most = most.max(kept);
        let allowed = PEERS * PER_PEER + PER_SERVER;
        let again = format!("PACKETPEER_SEED={seed} PACKETPEER_CASES=1 cargo test --test memory");
        assert!(kept <= allowed, "{kept} bytes, not {allowed}\n{steps:#?}\nagain: {again}");
        life.be_steady();
    }
    println!("PACKETPEER_SEED={base} PACKETPEER_CASES={lives}: at most {most} bytes for {PEERS} peers");
}
