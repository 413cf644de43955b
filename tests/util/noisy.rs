//! Sockets that report errors when they are told to, around those of an in-memory host.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use packetpeer::sim::Host;
use packetpeer::socket::{BindOptions, Interrupt, ReceiveBatch, Transport, TransportFactory};

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

    fn now(&self) -> Instant {
        self.host.now()
    }
}

#[derive(Debug)]
struct NoisyTransport {
    inner: Box<dyn Transport>,
    script: Arc<Mutex<VecDeque<Step>>>,
}

impl Transport for NoisyTransport {
    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let step = self.script.lock().unwrap().pop_front();
        match step.unwrap_or(Step::Take) {
            Step::Fail(kind) => Err(kind.into()),
            Step::FailByNumber(number) => Err(io::Error::from_raw_os_error(number)),
            Step::TakeAndFail(kind) => self.inner.receive(batch).and(Err(kind.into())),
            Step::Take => self.inner.receive(batch),
        }
    }

    fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.inner.send_to(bytes, to)
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.inner.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn reaches(&self, to: SocketAddr) -> bool {
        self.inner.reaches(to)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn is_virtual(&self) -> bool {
        self.inner.is_virtual()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.inner.wait(timeout, interrupt)
    }
}
