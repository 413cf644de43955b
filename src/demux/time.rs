//! The time, as it was given to the core, which reads no clock.

use std::time::{Duration, Instant};

/// The latest time that was given. Time never runs backwards, whatever the caller's clock does.
#[derive(Debug)]
pub(super) struct Time {
    now: Instant,
    /// The same as a tick.
    tick: Tick,
    /// When the server was made.
    epoch: Instant,
}

/// A time, in nanoseconds since the server was made: half as large as an [`Instant`], of which there would be two for
/// each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Tick(u64);

impl Tick {
    /// What `now` is where the server was made at `epoch`. Both ends are 584 years apart.
    pub(super) fn at(now: Instant, epoch: Instant) -> Self {
        Self(nanos(now.saturating_duration_since(epoch)))
    }

    /// Whether `time` or more has passed since.
    pub(super) fn is_over(self, now: Self, time: Duration) -> bool {
        now.0.saturating_sub(self.0) >= nanos(time)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Time {
    pub(super) fn starting_at(epoch: Instant) -> Self {
        Self { now: epoch, tick: Tick::default(), epoch }
    }

    pub(super) fn tell(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.tick = self.tick_at(self.now);
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn tick(&self) -> Tick {
        self.tick
    }

    pub(super) fn tick_at(&self, now: Instant) -> Tick {
        Tick::at(now, self.epoch)
    }
}

/// When `time` will have passed. Too far away to be expressed is as good as a year.
pub(super) fn far_after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now + Duration::from_secs(365 * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_long_for_a_tick() {
        let start = Instant::now();
        let later = Tick::at(start + Duration::from_secs(1 << 30), start);
        assert!(!Tick::default().is_over(later, Duration::MAX));
        assert_eq!(Tick::at(start, start + Duration::from_secs(1)), Tick::default());
    }

    #[test]
    fn time_never_runs_backwards() {
        let start = Instant::now();
        let later = start + Duration::from_secs(1);
        let mut time = Time::starting_at(start);
        time.tell(later);
        time.tell(start);
        assert_eq!((time.now(), time.tick()), (later, Tick::at(later, start)));
    }
}
