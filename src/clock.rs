//! [`Clock`]: the system's, or a virtual one that the program moves.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// The clock of a [`TransportFactory`](crate::socket::TransportFactory): it gives the time to the servers and peers whose
/// sockets the factory makes. Clones are the same clock.
///
/// They ask the factory for it once, when they are made, and then read it once per poll and wherever something is timed
/// between two polls; `now` of servers and peers returns its time. Layers above should take the time from there, or from
/// the `now` that they are polled with, and not from [`Instant::now`]: then they run in virtual time as well.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use std::time::{Duration, Instant};
/// use packetpeer::socket::Clock;
///
/// let time = Arc::new(Mutex::new(Instant::now()));
/// let hand = Arc::clone(&time);
/// let clock = Clock::new(move || *hand.lock().unwrap());
/// let before = clock.now();
/// *time.lock().unwrap() += Duration::from_secs(60); // a minute of a test, in no time
/// assert_eq!(clock.now() - before, Duration::from_secs(60));
/// assert!(clock.is_virtual() && !Clock::system().is_virtual());
/// ```
#[derive(Clone, Default)]
pub struct Clock {
    /// `None` = the system's.
    hand: Option<Arc<dyn Fn() -> Instant + Send + Sync>>,
}

impl Clock {
    /// The system's monotonic clock, [`Instant::now`]: that of real sockets, and the default.
    pub fn system() -> Self {
        Self { hand: None }
    }

    /// A virtual clock, whose time is what `now` returns. It stands still until the program moves it, so nothing waits for
    /// a time on it: the `wait` of a server or a peer returns as soon as its transport reports that nothing has arrived,
    /// which a transport in virtual time does at once.
    ///
    /// `now` is called from any thread, within polls: it should be quick and must not panic. It should never go back; if it
    /// does, servers and peers take it to stand still.
    pub fn new(now: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        Self { hand: Some(Arc::new(now)) }
    }

    /// The time now.
    #[inline]
    pub fn now(&self) -> Instant {
        match &self.hand {
            None => Instant::now(),
            Some(hand) => hand(),
        }
    }

    /// Whether it stands still until the program moves it.
    #[inline]
    pub fn is_virtual(&self) -> bool {
        self.hand.is_some()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clock").field(&if self.is_virtual() { "virtual" } else { "system" }).finish()
    }
}
