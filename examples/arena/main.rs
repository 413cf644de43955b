//! A tiny game, whole: an authoritative server and its players, over real sockets of this machine.
//!
//!     cargo run --release --example arena
//!
//! The server runs on the main thread, 60 frames a second. On another thread bots join, steer, leave (politely, or
//! without a word) and come back, each over a socket of its own. Once a second a line says how it goes; in the end both
//! sides' numbers are compared. Exit code 0 only if they agree.
//!
//! `--link NAME` puts a bad network around the sockets of the bots, in both directions: `fibre`, `dsl`, `wifi`, `4g` or
//! `bad_hotel`. The game goes on, and the numbers still have to agree, with those of the link between them.
//!
//! To learn how a game uses the crate, read `server.rs` and then `bots.rs`, from the top. `wire.rs` is this game's own
//! message format, `report.rs` what is printed.

mod bots;
mod report;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::sim::Conditioned;
use packetpeer::socket::SystemSockets;
use report::EverySecond;
use server::Arena;
use support::FrameClock;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut bots: u16 = 64;
    let mut hz: u32 = 60;
    let mut seconds: f64 = 10.0;
    let mut seed: u64 = 1;
    let mut link = String::from("perfect");
    support::read_options(
        "A tiny game on loopback: one server, many bots that come and go, and a comparison of what both saw.",
        &mut [
            ("bots", &mut bots),
            ("hz", &mut hz),
            ("seconds", &mut seconds),
            ("seed", &mut seed),
            ("link", &mut link),
        ],
    )?;
    if hz == 0 {
        return Err("--hz: at least 1".into());
    }
    let duration = Duration::try_from_secs_f64(seconds).map_err(|why| format!("--seconds: {why}"))?;
    let conditions = support::link_of_name(&link)?;
    let sockets = Conditioned::new(SystemSockets, conditions.clone(), conditions, seed);
    let control = sockets.control();

    let stop = support::ctrl_c()?;
    let mut arena = Arena::open(bots, hz)?;
    let address = arena.local_addr().ok_or("not listening")?;
    println!("arena on {address}: {bots} bots, {hz} frames a second, {seconds} s, seed {seed}, link {link}");

    let crowd = bots::Crowd { server: address, sockets, bots, hz, seed };
    let crowd = thread::spawn({
        let stop = Arc::clone(&stop);
        move || crowd.play(&stop)
    });

    let start = Instant::now();
    let mut clock = FrameClock::new(hz);
    let mut every_second = EverySecond::start(start);
    // Also when time is up the server goes on until the bots have said goodbye.
    while !crowd.is_finished() {
        if start.elapsed() >= duration {
            stop.store(true, Ordering::Relaxed);
        }
        let frame = arena.frame()?;
        every_second.add(&frame, &arena);
        clock.sleep();
    }
    let played = crowd.join().map_err(|_| "the bots' thread panicked")?;
    let bots_tally = played.map_err(|error| error.to_string())?;
    // What the bots said last has come by now. One frame hears it and lets go of them; the next poll counts that.
    for _ in 0..2 {
        arena.frame()?;
    }

    let links = report::Links::of(&control);
    report::print_summary(start.elapsed(), &arena, &bots_tally, &links);
    Ok(report::judge(bots, &arena, &bots_tally, &links))
}
