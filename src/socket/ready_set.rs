use std::io;
use std::time::Duration;

use super::interrupt::Interrupt;
use super::socket_ref::SocketRef;
use super::sys;
use super::transport::Transport;

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
        match waitable(transport) {
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

    /// Whether a [`wait`](Self::wait) for `first` and all that were added would sleep through what some of them have:
    /// where one holds datagrams back itself, or has no socket.
    pub(crate) fn has_to_be_asked(&self, first: &dyn Transport) -> bool {
        !self.is_empty() && (!self.others.is_empty() || waitable(first).is_none())
    }

    /// As [`Transport::wait`], for `first` and all that were added. Those without a socket are asked once, before; see
    /// [`has_to_be_asked`](Self::has_to_be_asked). `ready` is room to note them in.
    pub(crate) fn wait<'t>(
        &mut self,
        first: &dyn Transport,
        transport: impl Fn(usize) -> Option<&'t dyn Transport>,
        ready: &mut Vec<usize>,
        timeout: Option<Duration>,
        interrupt: Option<&Interrupt>,
    ) -> io::Result<bool> {
        // Most servers wait for one transport, which knows best how: it may be more than a socket.
        if self.is_empty() {
            return first.wait(timeout, interrupt);
        }
        if self.has_to_be_asked(first) {
            self.ready(transport, ready)?;
            if !ready.is_empty() {
                return Ok(true);
            }
        }
        match waitable(first) {
            Some(socket) => self.sockets.wait(socket.udp(), interrupt, timeout),
            None => first.wait(timeout, interrupt),
        }
    }
}

/// The socket by which a transport can be waited for.
fn waitable(transport: &dyn Transport) -> Option<SocketRef<'_>> {
    transport.socket().filter(|_| transport.waits_by_socket())
}
