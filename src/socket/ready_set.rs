use std::io;
use std::time::Duration;

use super::{Interrupt, Transport, sys};

/// Asks for many transports at once which of them have something to read: real sockets by one call of the system,
/// others, such as those of the in-memory network, one by one.
#[derive(Debug, Default)]
pub(crate) struct ReadySet {
    sockets: sys::PollSet,
    /// Whose socket stands at the same place in `sockets`.
    tokens: Vec<usize>,
    others: Vec<usize>,
}

impl ReadySet {
    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.others.is_empty()
    }

    /// Adds a transport under a number of the caller's. It has to be removed before it is closed.
    pub(crate) fn add(&mut self, token: usize, transport: &dyn Transport) {
        match transport.socket().filter(|_| transport.waits_by_socket()) {
            Some(socket) => {
                self.sockets.push(socket.udp());
                self.tokens.push(token);
            }
            None => self.others.push(token),
        }
    }

    pub(crate) fn remove(&mut self, token: usize) {
        if let Some(place) = self.tokens.iter().position(|&other| other == token) {
            self.tokens.swap_remove(place);
            self.sockets.swap_remove(place);
        }
        self.others.retain(|&other| other != token);
    }

    /// Writes into `ready` the numbers of those that have something to read now. `transport` gives those without a
    /// socket.
    pub(crate) fn ready<'t>(
        &mut self,
        transport: impl Fn(usize) -> Option<&'t dyn Transport>,
        ready: &mut Vec<usize>,
    ) -> io::Result<()> {
        ready.clear();
        self.sockets.check(ready)?;
        for place in ready.iter_mut() {
            *place = self.tokens[*place];
        }
        for &token in &self.others {
            if transport(token).is_some_and(|transport| transport.wait(Some(Duration::ZERO), None).unwrap_or(false)) {
                ready.push(token);
            }
        }
        Ok(())
    }

    /// As [`Transport::wait`], for `first` and all that were added.
    pub(crate) fn wait<'t>(
        &mut self,
        first: &dyn Transport,
        transport: impl Fn(usize) -> Option<&'t dyn Transport>,
        timeout: Option<Duration>,
        interrupt: Option<&Interrupt>,
    ) -> io::Result<bool> {
        // Most servers wait for one transport, which knows best how: it may be more than a socket.
        if self.is_empty() {
            return first.wait(timeout, interrupt);
        }
        let waits = |transport: &dyn Transport| transport.wait(Some(Duration::ZERO), None);
        for &token in &self.others {
            if transport(token).map_or(Ok(false), waits)? {
                return Ok(true);
            }
        }
        match first.socket().filter(|_| first.waits_by_socket()) {
            Some(socket) => self.sockets.wait(socket.udp(), interrupt, timeout),
            None => first.wait(timeout, interrupt),
        }
    }
}
