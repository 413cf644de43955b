use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::demux::Bell;
use crate::socket::Interrupt;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How a `wait` ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitOutcome {
    /// Something has come: poll, or take it.
    Ready,
    /// Nothing came in time.
    TimedOut,
    /// A [`Waker`] ended the wait.
    Woken,
}

/// Ends a `wait` from another thread. Cheap to clone.
///
/// A wake is remembered: if nothing waits, the next wait returns at once. A custom peer or server can make
/// [its own wakers](Self::new).
///
/// ```
/// use packetpeer::{PacketPeerUdp, WaitOutcome};
///
/// let mut peer = PacketPeerUdp::new();
/// peer.bind("127.0.0.1:0")?;
/// let waker = peer.waker()?;
/// let other = std::thread::spawn(move || waker.wake());
/// assert_eq!(peer.wait(None)?, WaitOutcome::Woken);
/// # other.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Waker {
    imp: Imp,
}

#[derive(Clone)]
enum Imp {
    Sleeper(Arc<Sleeper>),
    Interrupt(Arc<Interrupt>),
    Own(Arc<dyn Fn() + Send + Sync>),
}

impl Waker {
    /// A waker that calls `wake`, for custom peers and servers.
    ///
    /// `wake` runs on the thread that uses the waker, any number of times, also when nothing waits. It should be quick and
    /// must not block; it has to end the wait that is in progress or, if there is none, the next one.
    ///
    /// ```
    /// use std::sync::mpsc::sync_channel;
    /// use packetpeer::Waker;
    ///
    /// let (bell, rings) = sync_channel(1);
    /// // One ring that was not heard yet is enough.
    /// let waker = Waker::new(move || _ = bell.try_send(()));
    /// waker.clone().wake();
    /// waker.wake();
    /// assert_eq!(rings.try_iter().count(), 1);
    /// ```
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self { imp: Imp::Own(Arc::new(wake)) }
    }

    pub(crate) fn of_sleeper(sleeper: Arc<Sleeper>) -> Self {
        Self { imp: Imp::Sleeper(sleeper) }
    }

    pub(crate) fn of_interrupt(interrupt: Arc<Interrupt>) -> Self {
        Self { imp: Imp::Interrupt(interrupt) }
    }

    /// Ends the wait that is going on, or the next one.
    pub fn wake(&self) {
        match &self.imp {
            Imp::Sleeper(sleeper) => sleeper.wake(),
            Imp::Interrupt(interrupt) => interrupt.raise(),
            Imp::Own(wake) => wake(),
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").finish_non_exhaustive()
    }
}

/// Waits on a socket, for its owner.
#[derive(Debug, Default)]
pub(crate) struct SocketWait {
    interrupt: Option<Arc<Interrupt>>,
}

impl SocketWait {
    /// Made when a waker is asked for, and not before.
    pub(crate) fn waker(&mut self) -> io::Result<Waker> {
        let interrupt = match &self.interrupt {
            Some(interrupt) => interrupt,
            None => self.interrupt.insert(Arc::new(Interrupt::new()?)),
        };
        Ok(Waker::of_interrupt(Arc::clone(interrupt)))
    }

    /// `wait` waits, until it is interrupted, and says whether there is something to read.
    pub(crate) fn wait(&self, wait: impl FnOnce(Option<&Interrupt>) -> io::Result<bool>) -> io::Result<WaitOutcome> {
        let readable = wait(self.interrupt.as_deref())?;
        let woken = self.interrupt.as_ref().is_some_and(|interrupt| interrupt.take());
        Ok(match (woken, readable) {
            (true, _) => WaitOutcome::Woken,
            (false, true) => WaitOutcome::Ready,
            (false, false) => WaitOutcome::TimedOut,
        })
    }
}

/// Where the owner of a server's peer sleeps until its mailbox rings.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    signals: Mutex<Signals>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Signals {
    rung: bool,
    woken: bool,
}

impl Sleeper {
    /// Sleeps until rung or woken, and forgets both.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) -> WaitOutcome {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut signals = self.signals();
        loop {
            let Signals { rung, woken } = std::mem::take(&mut *signals);
            if woken {
                return WaitOutcome::Woken;
            }
            if rung {
                return WaitOutcome::Ready;
            }
            signals = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(signals).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => return WaitOutcome::TimedOut,
                Some(left) => self.changed.wait_timeout(signals, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Forgets a ring that came before: its packets are there to be seen, or taken already.
    pub(crate) fn forget_ring(&self) {
        self.signals().rung = false;
    }

    fn wake(&self) {
        self.signal(|signals| &mut signals.woken);
    }

    fn signal(&self, which: impl Fn(&mut Signals) -> &mut bool) {
        // One system call a change, and not one a packet.
        if !std::mem::replace(which(&mut self.signals()), true) {
            self.changed.notify_all();
        }
    }

    fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bell for Sleeper {
    fn ring(&self) {
        self.signal(|signals| &mut signals.rung);
    }
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use loom::thread;

    /// A ring that comes between the look and the sleep, or at any other time, ends the sleep.
    #[test]
    fn no_ring_is_slept_through() {
        loom::model(|| {
            let sleeper = Arc::new(Sleeper::default());
            let ringer = {
                let sleeper = Arc::clone(&sleeper);
                thread::spawn(move || sleeper.ring())
            };
            assert_eq!(sleeper.sleep(None), WaitOutcome::Ready);
            ringer.join().unwrap();
        });
    }

    /// A wake and a ring at once are both seen.
    #[test]
    fn a_wake_is_not_lost_to_a_ring() {
        loom::model(|| {
            let sleeper = Arc::new(Sleeper::default());
            let waker = Waker::of_sleeper(Arc::clone(&sleeper));
            let other = thread::spawn(move || waker.wake());
            sleeper.ring();
            let mut outcomes = vec![sleeper.sleep(None)];
            if outcomes != [WaitOutcome::Woken] {
                outcomes.push(sleeper.sleep(None));
            }
            assert_eq!(outcomes.last(), Some(&WaitOutcome::Woken));
            other.join().unwrap();
        });
    }
}
