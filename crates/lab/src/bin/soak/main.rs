//! Thousands of clients come, talk, vanish without a word and return, over a bad network, for as long as you like; in
//! the end nothing may have grown, nobody may be left over, and every datagram has to be accounted for.
//!
//! ```sh
//! cargo run --release -p lab --bin soak -- --seconds 60
//! ```
//!
//! Two servers on the main thread, one that knows clients by address and one that does so by connection id, half of the
//! clients each, on another thread and over real sockets of this machine. Clients send numbered datagrams and check
//! every byte that comes back. Some say goodbye; some fall silent; some come back at once from the same port; some
//! change the port in the middle. Once in ten seconds the network is gone for one.
//!
//! When the time is up, nobody comes or goes any more: soon exactly those have to be in who should be. Then all fall
//! silent, and soon nobody may be in. Exit code 0 only if all of that is so, all equations hold, and memory and tables
//! were no larger in the last quarter of the time than in the second, but for the slack that is printed.
//!
//! `hall.rs` is a server, `crowd.rs` the clients, `verdict.rs` what is measured and judged.

mod crowd;
mod hall;
mod verdict;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crowd::{Crowd, Phase, Stage};
use hall::Hall;
use lab::FrameClock;
use packetpeer::sim::{Conditioned, Link, LinkControl};
use packetpeer::socket::SystemSockets;
use verdict::{Sample, Verdict};

const HZ: u32 = 60;

/// After so long without a word a client is gone.
const IDLE: Duration = Duration::from_secs(3);

/// How much longer than it has to something may take, on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut seconds: f64 = 60.0;
    let mut clients: usize = 2000;
    let mut link = String::from("4g");
    let mut seed: u64 = 1;
    lab::read_options(
        "Servers on loopback under thousands of clients that come and go, for so many seconds and some more.",
        &mut [("seconds", &mut seconds), ("clients", &mut clients), ("link", &mut link), ("seed", &mut seed)],
    )?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|why| format!("--seconds: {why}"))?;
    let link = lab::link_of_name(&link)?;
    lab::check("clients", clients, 0..=1_000_000)?;
    // A socket per client, and as many again for those that are closed and opened in one frame.
    verdict::allow_open_files(clients.saturating_mul(2).saturating_add(64))?;

    let stop = lab::ctrl_c()?;
    let mut halls = [Hall::by_address(clients)?, Hall::by_id(clients)?];
    let sockets = Conditioned::new(SystemSockets, link.clone(), link.clone(), seed);
    let control = sockets.control();
    let before = Sample::take(&halls);
    println!("{clients} clients, {seconds} s, seed {seed}; before the first of them: {before}");

    let stage = Arc::new(Stage::default());
    let crowd = Crowd { servers: [halls[0].addr()?, halls[1].addr()?], sockets, clients, seed };
    let crowd = thread::spawn({
        let stage = Arc::clone(&stage);
        move || crowd.run(&stage).map_err(|error| error.to_string())
    });

    let mut verdict = Verdict::default();
    let mut clock = FrameClock::new(HZ);
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < duration && !stop.load(Ordering::Relaxed) && !crowd.is_finished() {
        clock.sleep();
        Hall::frames(&mut halls)?;
        let elapsed = start.elapsed();
        if elapsed.as_secs() as usize >= samples.len() {
            samples.push(Sample::take(&halls));
            black_out(&control, &link, samples.len() % 10 == 0);
            if samples.len() % 5 == 0 {
                println!("{:4} s: {}", elapsed.as_secs(), samples[samples.len() - 1]);
            }
        }
    }
    verdict.judge_growth(&samples);

    black_out(&control, &link, false);
    stage.enter(Phase::Stay);
    let settled = frames_until(&mut halls, &mut clock, IDLE, |halls| {
        let Some(expected) = stage.expected() else { return false };
        stage.unanswered() == 0 && halls.iter().zip(&expected).all(|(hall, expected)| hall.sessions() == *expected)
    })?;
    let expected = stage.expected().unwrap_or_default();
    verdict.expect(stage.unanswered() == 0, &format!("not answered: {} of those who should be in", stage.unanswered()));
    for (hall, expected) in halls.iter().zip(&expected) {
        let sessions = hall.sessions();
        let (missing, left_over) = (expected.difference(&sessions).count(), sessions.difference(expected).count());
        let text = format!("{}: {} should be in; {missing} are not, {left_over} others are", hall.name, expected.len());
        verdict.expect(settled && missing == 0 && left_over == 0, &text);
    }

    stage.enter(Phase::Quiet);
    let crowd_ended = frames_until(&mut halls, &mut clock, Duration::ZERO, |_| crowd.is_finished())?;
    verdict.expect(crowd_ended, "the clients end when they are told to");
    if !crowd_ended {
        return Ok(verdict.print());
    }
    let tally = crowd.join().map_err(|_| "the clients' thread panicked")??;
    let emptied = frames_until(&mut halls, &mut clock, IDLE, |halls| halls.iter().all(Hall::is_empty))?;

    let after = Sample::take(&halls);
    println!("{:4} s: {after}", start.elapsed().as_secs());
    verdict.expect(emptied, "when all have fallen silent, nobody is left");
    verdict.expect(
        after.open_files == before.open_files,
        &format!("files open: {:?} before, {:?} after", before.open_files, after.open_files),
    );
    verdict.judge_counters(&halls, &tally, &control);
    Ok(verdict.print())
}

/// In the black-out everything is lost, both ways.
fn black_out(control: &LinkControl, link: &Link, on: bool) {
    let link = link.clone().black_out(on);
    control.set_outgoing(link.clone());
    control.set_incoming(link);
}

/// Runs the servers until it is done, and says whether that was so `time` and some patience later.
fn frames_until(
    halls: &mut [Hall],
    clock: &mut FrameClock,
    time: Duration,
    is_done: impl Fn(&[Hall]) -> bool,
) -> Result<bool, Box<dyn Error>> {
    let deadline = Instant::now() + time + PATIENCE;
    while !is_done(halls) {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        clock.sleep();
        Hall::frames(halls)?;
    }
    Ok(true)
}
