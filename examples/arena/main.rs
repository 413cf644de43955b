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
//! To learn how a game uses the crate, read `rules.rs` and then `bots.rs`, from the top. `wire.rs` is this game's own
//! message format, `report.rs` what is printed, `play.rs` the two threads, `udp.rs` what only UDP has.
//!
//! All but this file and `udp.rs` know nothing of UDP. To play over another server, a program names them by their paths,
//! `#[path = ".../arena/rules.rs"] mod rules;` and so on, all in one module, since they find each other by `super`:
//! `wire`, `rules`, `bots` and `report`, and for real time `play`, which wants `support` too. It makes a server with
//! `rules::IDLE_TIMEOUT` that listens, says how a bot connects, and is judged by the same checks.

mod bots;
mod play;
mod report;
mod rules;
#[path = "../support/mod.rs"]
mod support;
mod udp;
mod wire;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bots::Crowd;
use packetpeer::sim::Conditioned;
use packetpeer::socket::SystemSockets;
use report::Links;
use rules::Arena;

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
    let server = udp::listen(bots)?;
    let address = server.local_addr().ok_or("not listening")?;
    println!("arena on {address}: {bots} bots, {hz} frames a second, {seconds} s, seed {seed}, link {link}");

    let start = Instant::now();
    let mut arena = Arena::new(server, hz);
    let crowd = Crowd::new(bots, seed, move |_| udp::connect(address, &sockets)).map_err(|error| error.to_string())?;
    let bots_tally = play::play(&mut arena, crowd, hz, duration, &stop)?;

    let links = Links { to_server: control.outgoing_stats(), to_bots: control.incoming_stats() };
    report::print_summary(start.elapsed(), &arena, &bots_tally);
    println!("The server's counters:\n{}\n", arena.server().stats());
    println!("Link to the server: {}\nLink to the bots:   {}\n", links.to_server, links.to_bots);
    let mut checks = report::checks(bots, &arena, &bots_tally, &links);
    checks.extend(udp::checks(&arena, &bots_tally, &links));
    Ok(report::judge(&checks))
}
