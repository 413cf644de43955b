//! Sockets that report errors when they are told to, around those of an in-memory host.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use packetpeer::sim::Host;
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};

/// What becomes of one call of `receive`. When the script is over, calls succeed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// It fails, and what waits goes on waiting.
    Fail(io::ErrorKind),
    /// As [`Fail`](Self::Fail), with the number that the system has for the error.
    FailByNumber(i32),
    /// It takes what waits, as much as is asked for, and fails.
    TakeAndFail(io::ErrorKind),
    /// It takes what waits.
    Take,
}

/// An in-memory host with bad sockets. Clones share one script.
#[derive(Debug, Clone)]
pub(crate) struct Noisy {
    host: Host,
    script: Arc<Mutex<VecDeque<Step>>>,
}

impl Noisy {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, script: Arc::default() }
    }

    /// What the next calls of `receive` will do.
    pub(crate) fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.script.lock().unwrap().extend(steps);
    }

    pub(crate) fn steps_left(&self) -> usize {
        self.script.lock().unwrap().len()
    }
}

impl TransportFactory for Noisy {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let inner = self.host.bind(options)?;
        Ok(Box::new(NoisyTransport { inner, script: Arc::clone(&self.script) }))
    }

    fn clock(&self) -> Clock {
        self.host.clock()
    }
}

#[derive(Debug)]
struct NoisyTransport {
    inner: Box<dyn Transport>,
    script: Arc<Mutex<VecDeque<Step>>>,
}

impl Transport for NoisyTransport {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let step = self.script.lock().unwrap().pop_front();
        match step.unwrap_or(Step::Take) {
            Step::Fail(kind) => Err(kind.into()),
            Step::FailByNumber(number) => Err(io::Error::from_raw_os_error(number)),
            Step::TakeAndFail(kind) => self.inner.receive(batch).and(Err(kind.into())),
            Step::Take => self.inner.receive(batch),
        }
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.inner.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.inner.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.inner.wait(timeout, interrupt)
    }
}
