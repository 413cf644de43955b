//! Which servers run when, and what is compared with what.

use std::error::Error;
use std::time::Duration;

use crate::generator::{self, Generator, Outcome};
use crate::godot::{self, GodotServer};
use crate::machine;
use crate::namespace;
use crate::options::Options;
use crate::process::{Figures, ServerProcess};
use crate::report::{Case, Kind, Report, Sample, Series};

/// Peers that speak in one frame, at most.
const SPEAKERS: usize = 1000;

/// Godot has the system's default buffer, which holds some 256 small datagrams.
const UNDER_WAY: usize = 128;

/// A repetition of a server that runs freely takes at most so long.
const SATURATED: Duration = Duration::from_secs(4);

/// Measures everything. Returns whether the figures are sound: every answer right, and hardly one missing.
pub(crate) fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    if options.is_inside_namespace() {
        namespace::prepare(&options.namespace_outside)?;
    }
    println!("{}", machine::description());
    let cores = machine::two_cores();
    match cores {
        Some((clients, server)) => println!("clients on core {clients}, servers on core {server}"),
        None => println!("only one core: clients and servers share it"),
    }
    if let Some((core, _)) = cores {
        machine::pin(core);
    }
    let mut bench = Bench {
        generator: Generator::open()?,
        server_core: cores.map(|(_, core)| core),
        repeat: options.repeat,
        datagrams: options.datagrams,
        overload: options.overload,
        dropped: options.drop_replies,
        report: Report::create(&options.csv)?,
    };
    if options.drop_replies {
        namespace::drop_what_is_sent_to(bench.generator.port()?)?;
        println!("answers are dropped as soon as they have left the stack");
    }

    let ours: Vec<&str> = options.contenders.iter().map(String::as_str).filter(|&name| name != "godot").collect();
    for &peers in &options.peers {
        for &size in &options.sizes {
            for &burst in &options.bursts {
                bench.frames(&ours, peers, size, burst)?;
            }
        }
    }
    let godot_wanted = ours.len() < options.contenders.len() && !options.drop_replies;
    if godot_wanted && godot::is_installed() {
        for &peers in &options.godot_peers {
            bench.saturated(peers, options.sizes[0])?;
        }
    } else if godot_wanted {
        println!("\nno Godot: {} is not installed", godot::PROGRAM);
    }
    bench.report.finish(&options.csv)
}

struct Bench {
    generator: Generator,
    server_core: Option<usize>,
    repeat: usize,
    datagrams: usize,
    overload: Duration,
    dropped: bool,
    report: Report,
}

/// A contender in one repetition.
struct Racer {
    server: ServerProcess,
    /// Before it knew anybody.
    at_start: Figures,
    /// When it knew everybody.
    when_greeted: Figures,
    next_speaker: usize,
    outcome: Outcome,
}

impl Bench {
    /// Servers that are told when to run a frame.
    fn frames(&mut self, contenders: &[&str], peers: usize, size: usize, burst: usize) -> Result<(), Box<dyn Error>> {
        let everybody = in_random_order(peers);
        let mut all: Vec<Series> = contenders.iter().map(|name| Series::new(name)).collect();
        let mut speakers = 0;
        for _ in 0..self.repeat {
            let mut racers = Vec::new();
            for name in contenders {
                let mut server = ServerProcess::start(name, peers, self.server_core)?;
                speakers = peers.min(SPEAKERS).min(self.room(&server, size)? / burst).max(1);
                let at_start = server.figures()?;
                self.greet(&mut server, &everybody, speakers, size, burst).map_err(|why| format!("{name}: {why}"))?;
                let when_greeted = server.figures()?;
                racers.push(Racer { server, at_start, when_greeted, next_speaker: 0, outcome: Outcome::default() });
            }
            // There and back again, so that none is always the first behind another.
            for racer in &mut racers {
                self.half_a_run(racer, &everybody, speakers, size, burst)?;
            }
            for racer in racers.iter_mut().rev() {
                self.half_a_run(racer, &everybody, speakers, size, burst)?;
            }
            for (series, racer) in all.iter_mut().zip(&mut racers) {
                let last = racer.server.figures()?;
                let grown = 1024 * last.resident_kib.saturating_sub(racer.at_start.resident_kib);
                series.samples.push(Sample {
                    outcome: racer.outcome,
                    pool_misses: last.pool_misses - racer.when_greeted.pool_misses,
                    bytes_a_peer: grown as f64 / peers as f64,
                });
            }
        }
        let kind = if self.dropped { Kind::FrameDropped } else { Kind::Frame };
        self.report.add(&Case { kind, peers, size, burst, at_a_time: speakers * burst }, &all)
    }

    /// Datagrams that surely fit into both receive buffers. The kernel counts a datagram in them with its bookkeeping
    /// and rounded up, and gives back room with a delay.
    fn room(&self, server: &ServerProcess, size: usize) -> Result<usize, Box<dyn Error>> {
        let buffer = server.receive_buffer.min(self.generator.receive_buffer()?);
        Ok(buffer / 2 / ((size + 400).next_power_of_two() + 256))
    }

    /// Everybody speaks once, as it will afterwards.
    fn greet(
        &mut self,
        server: &mut ServerProcess,
        everybody: &[u32],
        speakers: usize,
        size: usize,
        burst: usize,
    ) -> Result<(), Box<dyn Error>> {
        for peers in everybody.chunks(speakers) {
            let mut outcome = self.generator.frame(server, peers, size, burst, self.dropped)?;
            if outcome.lost > 0 {
                outcome = self.generator.frame(server, peers, size, burst, self.dropped)?;
            }
            let Outcome { sent, lost, strange, .. } = outcome;
            if lost + strange > 0 {
                return Err(format!("of {sent} datagrams {lost} were not answered and {strange} wrongly").into());
            }
        }
        Ok(())
    }

    fn half_a_run(
        &mut self,
        racer: &mut Racer,
        everybody: &[u32],
        speakers: usize,
        size: usize,
        burst: usize,
    ) -> Result<(), Box<dyn Error>> {
        let frames = (self.datagrams / 2).div_ceil(speakers * burst);
        for frame in 0..=frames {
            if racer.next_speaker + speakers > everybody.len() {
                racer.next_speaker = 0;
            }
            let peers = &everybody[racer.next_speaker..][..speakers];
            racer.next_speaker += speakers;
            let outcome = self.generator.frame(&mut racer.server, peers, size, burst, self.dropped)?;
            // The first warms up what others have used in between.
            if frame > 0 {
                racer.outcome.add(outcome);
            }
        }
        Ok(())
    }

    /// Servers that run freely, Godot among them.
    fn saturated(&mut self, peers: usize, size: usize) -> Result<(), Box<dyn Error>> {
        let everybody = in_random_order(peers);
        let under_way = peers.min(UNDER_WAY);
        let names = ["plain", "now", "flush-df", "godot"];
        let (mut saturated, mut overloaded) = (names.map(Series::new), names.map(Series::new));
        for _ in 0..self.repeat.min(3) {
            for (series, overloaded) in saturated.iter_mut().zip(&mut overloaded) {
                let (_ours, _godot, process, addr);
                if series.name == "godot" {
                    let server = GodotServer::start(self.server_core)?;
                    (process, addr) = (server.id(), server.addr());
                    _godot = server;
                } else {
                    let mut server = ServerProcess::start(&series.name, peers, self.server_core)?;
                    server.run()?;
                    (process, addr) = (server.id(), server.addr);
                    _ours = server;
                }
                // Each once, so that it is known; no more than a server with Godot's script admits in a frame.
                let patience = 15 * SATURATED;
                let hello = self.generator.saturate(addr, &everybody, 64, under_way.min(32), peers, patience)?;
                if hello.lost + hello.strange > 0 {
                    println!("{}: {} of {peers} first datagrams unanswered", series.name, hello.lost);
                }
                let before = machine::processor_time_of(process)?;
                let total = 25 * self.datagrams;
                let mut outcome = self.generator.saturate(addr, &everybody, size, under_way, total, SATURATED)?;
                let between = machine::processor_time_of(process)?;
                outcome.time = between - before;
                series.samples.push(Sample { outcome, pool_misses: 0, bytes_a_peer: 0.0 });
                let mut outcome = self.generator.overload(addr, &everybody, size, self.overload)?;
                outcome.time = machine::processor_time_of(process)? - between;
                overloaded.samples.push(Sample { outcome, pool_misses: 0, bytes_a_peer: 0.0 });
            }
        }
        let case = Case { kind: Kind::Saturated, peers, size, burst: 1, at_a_time: under_way };
        self.report.add(&case, &saturated)?;
        self.report.add(&Case { kind: Kind::Overloaded, at_a_time: generator::BURST, ..case }, &overloaded)
    }
}

/// So that neighbours in time are no neighbours in memory.
fn in_random_order(peers: usize) -> Vec<u32> {
    let mut everybody: Vec<u32> = (0..peers as u32).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut everybody);
    everybody
}
