//! A transport around another, which passes everything on but what a test wants to be otherwise.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, SocketRef, Transport, TransportFactory, send_one_by_one,
};

/// What is asked before a datagram is sent to that address, or before a socket is connected to it.
type Hook = Box<dyn FnMut(SocketAddr) -> io::Result<()> + Send>;

/// The hooks of all sockets of one [`Wrapped`].
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) before_send: Arc<Mutex<Option<Hook>>>,
    pub(crate) before_connect: Arc<Mutex<Option<Hook>>>,
}

impl Hooks {
    pub(crate) fn before_send(&self, hook: impl FnMut(SocketAddr) -> io::Result<()> + Send + 'static) {
        *self.before_send.lock().unwrap() = Some(Box::new(hook));
    }

    pub(crate) fn before_connect(&self, hook: impl FnMut(SocketAddr) -> io::Result<()> + Send + 'static) {
        *self.before_connect.lock().unwrap() = Some(Box::new(hook));
    }

    pub(crate) fn clear(&self) {
        *self.before_send.lock().unwrap() = None;
        *self.before_connect.lock().unwrap() = None;
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooks")
    }
}

fn ask(hook: &Mutex<Option<Hook>>, addr: SocketAddr) -> io::Result<()> {
    hook.lock().unwrap().as_mut().map_or(Ok(()), |hook| hook(addr))
}

#[derive(Debug, Clone)]
pub(crate) struct Wrapped<T> {
    pub(crate) inner: T,
    pub(crate) hooks: Hooks,
    /// Whether the sockets show themselves, so that they can be waited for beside others.
    pub(crate) shows_sockets: bool,
}

impl<T> Wrapped<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hooks: Hooks::default(), shows_sockets: false }
    }
}

impl<T: TransportFactory> TransportFactory for Wrapped<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let inner = self.inner.bind(options)?;
        Ok(Box::new(Wrapped { inner, hooks: self.hooks.clone(), shows_sockets: self.shows_sockets }))
    }

    fn clock(&self) -> Clock {
        self.inner.clock()
    }
}

impl Transport for Wrapped<Box<dyn Transport>> {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.inner.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        ask(&self.hooks.before_send, to)?;
        self.inner.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        ask(&self.hooks.before_connect, remote)?;
        self.inner.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.inner.wait(timeout, interrupt)
    }

    fn socket(&self) -> Option<SocketRef<'_>> {
        self.inner.socket().filter(|_| self.shows_sockets)
    }
}
