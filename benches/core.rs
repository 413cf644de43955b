//! What the crate itself costs, without the system: a server over a transport in memory.
//!
//!     cargo bench
//!     benches/callgrind              # instructions a datagram; wants valgrind
//!
//! Datagrams come from a list, and what is sent is only counted, so the times are those of looking up the sender,
//! queueing, handing out and counting, with one copy into the batch, which in real life the kernel makes. At 100 000
//! peers, 1 000 speak in a frame, others each frame, in random order. Medians over the repetitions; the smallest beside
//! it says how quiet the machine was.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use packetpeer::socket::{
    self, BindOptions, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{Limits, PacketPeerUdp, PeerId, SendMode, ServerConfig, UdpServer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [once, mode, peers, size, frames] = arguments.as_slice() {
        if once == "--once" {
            let mode = if mode == "flush" { SendMode::OnFlush } else { SendMode::Now };
            return run_once(mode, peers.parse()?, size.parse()?, frames.parse()?);
        }
    }
    // `cargo bench` says so; `cargo test --benches` only wants to see it run.
    let (repetitions, frames) = if arguments.iter().any(|argument| argument == "--bench") { (15, 100) } else { (1, 2) };

    println!("nanoseconds: median (smallest) of {repetitions} repetitions");
    for size in [64, 1200] {
        println!("\n{size} bytes{:>29} {:>17} {:>17}", "10 peers", "1000 peers", "100000 peers");
        let mut columns = Vec::new();
        for peers in [10, 1000, 100_000] {
            columns.push(measure(peers, size, repetitions, frames)?);
        }
        for (line, phase) in columns[0].iter().enumerate() {
            let figures: Vec<String> = columns.iter().map(|column| show(&column[line].figures)).collect();
            println!("{:<24} {}", phase.name, figures.join(" "));
        }
    }
    Ok(())
}

/// Many frames for callgrind, which counts what happens in [`measured_frames`].
fn run_once(mode: SendMode, peers: usize, size: usize, frames: usize) -> Result<(), Box<dyn Error>> {
    let mut world = World::new(mode, peers, size)?;
    world.echo_frames(2)?;
    let echoed = measured_frames(&mut world, frames)?;
    println!("{echoed}");
    Ok(())
}

/// A function of its own, so that callgrind finds it.
#[inline(never)]
fn measured_frames(world: &mut World, frames: usize) -> Result<usize, Box<dyn Error>> {
    world.echo_frames(frames)
}

/// One line of the table, with a figure a repetition.
struct Phase {
    name: &'static str,
    figures: Vec<f64>,
}

fn measure(peers: usize, size: usize, repetitions: usize, frames: usize) -> Result<Vec<Phase>, Box<dyn Error>> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut add = |name, figure| match phases.iter_mut().find(|phase| phase.name == name) {
        Some(phase) => phase.figures.push(figure),
        None => phases.push(Phase { name, figures: vec![figure] }),
    };
    let clock = Clock::calibrate();
    let mut at_once = World::new(SendMode::Now, peers, size)?;
    let mut on_flush = World::new(SendMode::OnFlush, peers, size)?;
    for _ in 0..repetitions {
        let mut times = Times::default();
        for frame in 0..frames {
            times.add(&at_once.timed_frame(&clock, frame % 2 == 1)?);
        }
        let datagrams = (frames * at_once.speakers) as f64;
        add("poll, a datagram", times.poll / datagrams);
        add("ready, a peer", times.ready / datagrams);
        add("get_packet", 2.0 * times.get / datagrams);
        add("get_packet_into", 2.0 * times.get_into / datagrams);
        add("put_packet, now", times.put / datagrams);

        let mut times = Times::default();
        for _ in 0..frames {
            times.add(&on_flush.timed_frame(&clock, false)?);
        }
        add("put_packet, on flush", times.put / datagrams);
        add("flush, a datagram", times.flush / datagrams);

        let (mut poll, mut ready, mut ask) = (0.0, 0.0, 0.0);
        for _ in 0..frames {
            poll += clock.time(|| at_once.quiet_poll())?;
            ready += clock.time(|| at_once.list_ready())?;
            ask += clock.time(|| at_once.ask_everybody())?;
        }
        add("quiet poll, a frame", poll / frames as f64);
        add("quiet ready, a frame", ready / frames as f64);
        add("asking each, a peer", ask / (frames * peers) as f64);
    }
    Ok(phases)
}

fn show(figures: &[f64]) -> String {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    format!("{:>8.1} {:>8}", figures[figures.len() / 2], format!("({:.1})", figures[0]))
}

/// Sums over frames, in nanoseconds.
#[derive(Default)]
struct Times {
    poll: f64,
    ready: f64,
    get: f64,
    get_into: f64,
    put: f64,
    flush: f64,
}

impl Times {
    fn add(&mut self, other: &Self) {
        self.poll += other.poll;
        self.ready += other.ready;
        self.get += other.get;
        self.get_into += other.get_into;
        self.put += other.put;
        self.flush += other.flush;
    }
}

/// Takes times, less what taking them costs.
struct Clock {
    cost: f64,
}

impl Clock {
    fn calibrate() -> Self {
        let mut costs: Vec<f64> = (0..1001).map(|_| Instant::now().elapsed().as_nanos() as f64).collect();
        costs.sort_by(f64::total_cmp);
        Self { cost: costs[costs.len() / 2] }
    }

    /// Nanoseconds that `work` takes.
    fn time<E>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
        let start = Instant::now();
        work()?;
        Ok((start.elapsed().as_nanos() as f64 - self.cost).max(0.0))
    }
}

/// A server whose peers are all known, and what its frames need.
struct World {
    server: UdpServer,
    wire: Arc<Wire>,
    /// By index.
    peers: Vec<PacketPeerUdp>,
    speakers: usize,
    ready: Vec<PeerId>,
    buffer: Vec<u8>,
}

impl World {
    fn new(mode: SendMode, peers: usize, size: usize) -> Result<Self, Box<dyn Error>> {
        let wire = Arc::new(Wire::new(peers, size));
        let limits = Limits::new()
            .max_peers(peers)
            .max_pending_connections(peers)
            .max_known_per_poll(peers.max(1))
            .idle_timeout(Some(Duration::from_secs(1_000_000)));
        let config = ServerConfig::new().limits(limits).send_mode(mode);
        let mut server = UdpServer::with_transport(config, Wires(Arc::clone(&wire))).unwrap();
        server.listen(1)?;
        let mut handles = Vec::with_capacity(peers);
        wire.arrive(peers);
        server.poll()?;
        while let Some(mut peer) = server.take_connection() {
            while peer.get_packet()?.is_some() {}
            handles.push(peer);
        }
        assert_eq!(handles.len(), peers);
        assert!(handles.iter().enumerate().all(|(index, peer)| peer.id().index() == index));
        let buffer = vec![7; size];
        Ok(Self { server, wire, peers: handles, speakers: peers.min(1000), ready: Vec::with_capacity(peers), buffer })
    }

    /// Whole frames of an echo server. Returns how many datagrams were echoed.
    fn echo_frames(&mut self, frames: usize) -> Result<usize, Box<dyn Error>> {
        let mut echoed = 0;
        for _ in 0..frames {
            self.wire.arrive(self.speakers);
            self.server.poll()?;
            self.list_ready()?;
            for id in &self.ready {
                let peer = &mut self.peers[id.index()];
                while let Some(packet) = peer.get_packet()? {
                    peer.put_packet(&packet)?;
                    echoed += 1;
                }
            }
            self.server.flush()?;
        }
        Ok(echoed)
    }

    /// The same, taken apart.
    fn timed_frame(&mut self, clock: &Clock, into_buffer: bool) -> Result<Times, Box<dyn Error>> {
        self.wire.arrive(self.speakers);
        let mut times = Times {
            poll: clock.time(|| self.server.poll().map(drop))?,
            ready: clock.time(|| self.list_ready())?,
            ..Times::default()
        };
        if into_buffer {
            times.get_into = clock.time(|| {
                for id in &self.ready {
                    while self.peers[id.index()].get_packet_into(&mut self.buffer)?.is_some() {}
                }
                Ok::<(), Box<dyn Error>>(())
            })?;
        } else {
            times.get = clock.time(|| {
                for id in &self.ready {
                    while self.peers[id.index()].get_packet()?.is_some() {}
                }
                Ok::<(), Box<dyn Error>>(())
            })?;
        }
        times.put =
            clock.time(|| self.ready.iter().try_for_each(|id| self.peers[id.index()].put_packet(&self.buffer)))?;
        times.flush = clock.time(|| self.server.flush().map(drop))?;
        Ok(times)
    }

    /// A frame in which nobody speaks: what is left is looking for who has gone idle.
    fn quiet_poll(&mut self) -> Result<(), Box<dyn Error>> {
        self.server.poll()?;
        Ok(())
    }

    fn list_ready(&mut self) -> Result<(), Box<dyn Error>> {
        self.ready.clear();
        self.server.ready(&mut self.ready);
        Ok(())
    }

    /// What the list of ready peers saves.
    fn ask_everybody(&mut self) -> Result<(), Box<dyn Error>> {
        let waiting: usize = self.peers.iter().map(PacketPeerUdp::available_packet_count).sum();
        if waiting == 0 { Ok(()) } else { Err("somebody was forgotten".into()) }
    }
}

/// A socket that has just received `arrived` datagrams, and drops what is sent.
#[derive(Debug)]
struct Wire {
    start: Instant,
    milliseconds: AtomicU64,
    /// Everybody, in the order in which they become known, and then in the order in which they speak ever after.
    senders: Vec<SocketAddr>,
    payload: Vec<u8>,
    arrived: AtomicUsize,
    next: AtomicUsize,
    sent: AtomicUsize,
}

impl Wire {
    fn new(peers: usize, size: usize) -> Self {
        let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
        let mut senders: Vec<SocketAddr> =
            (0..peers as u32).map(|peer| (Ipv4Addr::from(first + peer), 4433).into()).collect();
        let mut again = senders.clone();
        fastrand::Rng::with_seed(7).shuffle(&mut again);
        senders.append(&mut again);
        Self {
            start: Instant::now(),
            milliseconds: AtomicU64::new(0),
            senders,
            payload: vec![7; size],
            arrived: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
        }
    }

    /// A frame later, as many datagrams wait, each of another peer.
    fn arrive(&self, datagrams: usize) {
        self.milliseconds.fetch_add(16, Relaxed);
        self.arrived.store(datagrams, Relaxed);
    }
}

#[derive(Debug)]
struct Wires(Arc<Wire>);

impl TransportFactory for Wires {
    fn bind(&self, _options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(End(Arc::clone(&self.0))))
    }

    fn clock(&self) -> socket::Clock {
        let wire = Arc::clone(&self.0);
        socket::Clock::new(move || wire.start + Duration::from_millis(wire.milliseconds.load(Relaxed)))
    }
}

#[derive(Debug)]
struct End(Arc<Wire>);

impl Transport for End {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    // By themselves, so that callgrind can tell what is the crate's from what is the wire's.
    #[inline(never)]
    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let wire = &*self.0;
        let mut arrived = wire.arrived.load(Relaxed);
        let mut next = wire.next.load(Relaxed);
        while arrived > 0 && !batch.is_full() {
            batch.push(wire.senders[next], &wire.payload);
            arrived -= 1;
            next = if next + 1 == wire.senders.len() { wire.senders.len() / 2 } else { next + 1 };
        }
        wire.arrived.store(arrived, Relaxed);
        wire.next.store(next, Relaxed);
        Ok(())
    }

    #[inline(never)]
    fn send(&self, bytes: &[u8], _to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
        self.0.sent.fetch_add(bytes.len(), Relaxed);
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
