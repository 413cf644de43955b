//! Waiting for sockets, built on the one call that each family of systems has for it.

use std::fmt;
use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use super::{Watched, poll, watch};
use crate::socket::interrupt::Interrupt;

/// Returns whether `socket` is readable.
pub(in crate::socket) fn wait(
    socket: &UdpSocket,
    interrupt: Option<&Interrupt>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let own = watch(socket);
    // On the stack: this is how most programs wait.
    let mut watched = [own, interrupt.map_or(own, |interrupt| watch(interrupt.reader()))];
    let count = if interrupt.is_some() { 2 } else { 1 };
    poll_until(&mut watched[..count], timeout)?;
    Ok(is_readable(&watched[0]))
}

// Here, so that `interrupt.rs` does not have to know how waiting is done.
impl Interrupt {
    /// Whether it is raised. It stays so.
    pub fn is_raised(&self) -> bool {
        let mut watched = [watch(self.reader())];
        poll_until(&mut watched, Some(Duration::ZERO)).is_ok() && is_readable(&watched[0])
    }
}

/// Sockets of which one call asks which are readable.
#[derive(Default)]
pub(in crate::socket) struct PollSet {
    watched: Vec<Watched>,
}

impl fmt::Debug for PollSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.watched.iter().map(|watched| watched.fd)).finish()
    }
}

impl PollSet {
    /// Adds a socket behind the others. It has to be removed before it is closed.
    pub(in crate::socket) fn push(&mut self, socket: &UdpSocket) {
        self.watched.push(watch(socket));
    }

    pub(in crate::socket) fn swap_remove(&mut self, place: usize) {
        self.watched.swap_remove(place);
    }

    /// Appends to `ready` the places of those that are readable now.
    pub(in crate::socket) fn check(&mut self, ready: &mut Vec<usize>) -> io::Result<()> {
        if self.watched.is_empty() {
            return Ok(());
        }
        poll_until(&mut self.watched, Some(Duration::ZERO))?;
        let places = self.watched.iter().enumerate().filter(|(_, watched)| is_readable(watched));
        ready.extend(places.map(|(place, _)| place));
        Ok(())
    }

    /// As [`wait`], for `socket` and all of the set.
    pub(in crate::socket) fn wait(
        &mut self,
        socket: &UdpSocket,
        interrupt: Option<&Interrupt>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let own = self.watched.len();
        self.push(socket);
        if let Some(interrupt) = interrupt {
            self.watched.push(watch(interrupt.reader()));
        }
        let result = poll_until(&mut self.watched, timeout);
        let readable = self.watched[..=own].iter().any(is_readable);
        self.watched.truncate(own);
        result.map(|()| readable)
    }
}

/// Whether there is something to read, which may be an error.
fn is_readable(watched: &Watched) -> bool {
    watched.revents != 0
}

/// Waits until one of `watched` is readable or the time is over.
fn poll_until(watched: &mut [Watched], timeout: Option<Duration>) -> io::Result<()> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(watched, milliseconds(left)) {
            // An early return is not the end: it comes from rounding, or from a time-out longer than the call can express.
            Ok(0) if left.is_none_or(|left| !left.is_zero()) => {}
            Ok(_) => return Ok(()),
            // By a signal: wait on.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What poll(2) and WSAPoll take: -1 for ever, otherwise rounded up, so that waiting for half a millisecond does not spin.
fn milliseconds(left: Option<Duration>) -> i32 {
    let Some(left) = left else { return -1 };
    i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
}
