use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use super::send::MaxPayload;
use super::transport::Transport;
use crate::address::canonical;

/// A transport that a server and the handles of its peers send through.
///
/// Handles hold it weakly and keep it alive for the length of one send, so a handle on another thread never keeps the
/// port; sends do not block, so neither does waiting for the last of them.
#[derive(Debug)]
pub(crate) struct SharedTransport {
    // Fields are dropped in the order of declaration: the socket is closed before that is announced.
    io: Box<dyn Transport>,
    local_addr: SocketAddr,
    max_payload: MaxPayload,
    pins_reply_address: bool,
    _announce: AnnounceClosed,
}

impl SharedTransport {
    pub(crate) fn io(&self) -> &dyn Transport {
        &*self.io
    }

    /// Whether answers leave from the address that the remote spoke to.
    pub(crate) fn pins_reply_address(&self) -> bool {
        self.pins_reply_address
    }

    /// How much it carries.
    pub(crate) fn max_payload(&self) -> MaxPayload {
        self.max_payload
    }

    /// Where it is bound to, in canonical form, without asking the system again.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

/// The server's own hold on a [`SharedTransport`].
#[derive(Debug)]
pub(crate) struct TransportOwner {
    shared: Arc<SharedTransport>,
    closed: Arc<Closed>,
}

impl TransportOwner {
    pub(crate) fn new(io: Box<dyn Transport>, pins_reply_address: bool) -> io::Result<Self> {
        let local_addr = canonical(io.local_addr()?);
        let max_payload = MaxPayload::of(&*io);
        let closed = Arc::new(Closed::default());
        let shared = Arc::new(SharedTransport {
            io,
            local_addr,
            max_payload,
            pins_reply_address,
            _announce: AnnounceClosed(Arc::clone(&closed)),
        });
        Ok(Self { shared, closed })
    }

    pub(crate) fn get(&self) -> &SharedTransport {
        &self.shared
    }

    pub(crate) fn share(&self) -> Weak<SharedTransport> {
        Arc::downgrade(&self.shared)
    }

    /// Closes the socket and returns once it really is closed, after the sends that were under way.
    pub(crate) fn close(self) {
        let Self { shared, closed } = self;
        drop(shared);
        closed.wait();
    }
}

#[derive(Debug, Default)]
struct Closed {
    done: Mutex<bool>,
    changed: Condvar,
}

impl Closed {
    fn wait(&self) {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(done, |done| !*done).unwrap_or_else(PoisonError::into_inner));
    }
}

#[derive(Debug)]
struct AnnounceClosed(Arc<Closed>);

impl Drop for AnnounceClosed {
    fn drop(&mut self) {
        *self.0.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}
