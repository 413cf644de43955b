//! The game in real time: the server on this thread, the bots on another.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use packetpeer::{PacketPeer, PacketServer};

use super::bots::{AnyError, BotsTally, Crowd};
use super::report::EverySecond;
use super::rules::Arena;
use super::support::FrameClock;

/// Plays for `duration`, or until `stop`, with a line for every second.
pub(crate) fn play<S, P, C>(
    arena: &mut Arena<S>,
    crowd: Crowd<P, C>,
    hz: u32,
    duration: Duration,
    stop: &Arc<AtomicBool>,
) -> Result<BotsTally, Box<dyn Error>>
where
    S: PacketServer,
    P: PacketPeer + 'static,
    C: FnMut(&mut Rng) -> Result<P, AnyError> + Send + 'static,
{
    let crowd = thread::spawn({
        let stop = Arc::clone(stop);
        move || play_bots(crowd, hz, &stop)
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
        every_second.add(&frame, arena);
        clock.sleep();
    }
    let played = crowd.join().map_err(|_| "the bots' thread panicked")?;
    let tally = played.map_err(|error| error.to_string())?;
    // What the bots said last has come by now. One frame hears it and lets go of them; the next poll counts that.
    for _ in 0..2 {
        arena.frame()?;
    }
    Ok(tally)
}

/// Plays until `stop`, then says goodbye.
fn play_bots<P, C>(mut crowd: Crowd<P, C>, hz: u32, stop: &AtomicBool) -> Result<BotsTally, AnyError>
where
    P: PacketPeer,
    C: FnMut(&mut Rng) -> Result<P, AnyError>,
{
    let mut clock = FrameClock::new(hz);
    while !stop.load(Ordering::Relaxed) {
        crowd.frame()?;
        clock.sleep();
    }
    Ok(crowd.finish())
}
