use std::time::Duration;

use super::time::Tick;

/// For how long no poll has seen the socket empty.
#[derive(Debug, Default)]
pub(super) struct Flooded {
    /// When the first of such polls was, and when the last.
    since: Option<(Tick, Tick)>,
    /// The last came so long after the one before it that what it found may have waited since.
    after_pause: bool,
}

impl Flooded {
    pub(super) fn note(&mut self, now: Tick, socket_was_empty: bool, timeout: Duration) {
        if socket_was_empty {
            *self = Self::default();
            return;
        }
        let Some((since, last)) = self.since else {
            self.since = Some((now, now));
            return;
        };
        // A pause, as of a hitch, begins it anew. Not so the second in a row: that is how often this server polls.
        let begins_anew = last.is_over(now, timeout) && !self.after_pause;
        self.since = Some((if begins_anew { now } else { since }, now));
        self.after_pause = last.is_over(now, timeout);
    }

    /// Whether that has been so for `timeout` or longer.
    pub(super) fn is_over(&self, now: Tick, timeout: Duration) -> bool {
        self.since.is_some_and(|(since, _)| since.is_over(now, timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    const TIMEOUT: Duration = Duration::from_millis(100);

    /// Whether the flood is over the time-out after polls at these times, in milliseconds, that saw the socket empty
    /// or not.
    fn is_over_after(polls: &[(u64, bool)]) -> bool {
        let start = Instant::now();
        let mut flooded = Flooded::default();
        let mut now = Tick::default();
        for &(millis, socket_was_empty) in polls {
            now = Tick::at(start + Duration::from_millis(millis), start);
            flooded.note(now, socket_was_empty, TIMEOUT);
        }
        flooded.is_over(now, TIMEOUT)
    }

    #[test]
    fn it_lasts_from_the_first_poll_that_left_something() {
        assert!(!is_over_after(&[(0, false), (99, false)]));
        assert!(is_over_after(&[(0, false), (99, false), (100, false)]));
    }

    #[test]
    fn an_empty_socket_ends_it() {
        assert!(!is_over_after(&[(0, false), (50, true), (51, false), (149, false)]));
        assert!(is_over_after(&[(0, false), (50, true), (51, false), (149, false), (151, false)]));
    }

    #[test]
    fn a_pause_begins_it_anew_but_a_second_in_a_row_does_not() {
        assert!(!is_over_after(&[(0, false), (50, false), (150, false), (249, false)]));
        assert!(is_over_after(&[(0, false), (50, false), (150, false), (249, false), (250, false)]));
        assert!(is_over_after(&[(0, false), (100, false), (200, false)]));
    }
}
