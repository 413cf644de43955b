//! The server's side of the in-memory network, and what that network cannot do by itself: tell which of the server's
//! addresses somebody spoke to, take no more to be sent, show source port 0. Everything that leaves is written down.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use packetpeer::sim::Host;
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};

use crate::setup::NAMELESS;

/// Longer than any datagram that is sent to the server.
const LONGEST: usize = 96;

/// What the server may ask for at a time.
const SLOTS: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Rig {
    host: Host,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// Which of the server's addresses somebody speaks to.
    pub(crate) ways: BTreeMap<SocketAddr, IpAddr>,
    /// How many datagrams are taken to be sent before the sockets block.
    pub(crate) room: usize,
    pub(crate) sent: Vec<Sent>,
}

/// A datagram that has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The address of a peer's own socket; `None` for the socket listened on.
    pub(crate) by: Option<SocketAddr>,
    /// The source address that was asked for.
    pub(crate) from: Option<IpAddr>,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Rig {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, state: Arc::new(Mutex::new(State { room: usize::MAX, ..State::default() })) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics that holds it")
    }
}

impl TransportFactory for Rig {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let inner = self.host.bind(options)?;
        let batch = Mutex::new(ReceiveBatch::new(SLOTS, LONGEST));
        let pins = options.pin_reply_address;
        Ok(Box::new(Socket { inner, rig: self.clone(), batch, pins, own: None }))
    }

    fn clock(&self) -> Clock {
        self.host.clock()
    }
}

#[derive(Debug)]
struct Socket {
    inner: Box<dyn Transport>,
    rig: Rig,
    batch: Mutex<ReceiveBatch>,
    pins: bool,
    /// The address of a socket that is one peer's.
    own: Option<SocketAddr>,
}

impl Transport for Socket {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let nameless: SocketAddr = NAMELESS.parse().unwrap();
        let mut inner = self.batch.lock().expect("nothing panics that holds it");
        inner.clear(batch.room());
        self.inner.receive(&mut inner)?;
        let state = self.rig.state();
        for mut datagram in inner.iter() {
            if self.pins {
                datagram.local = state.ways.get(&datagram.sender).copied();
            }
            if datagram.sender == nameless {
                datagram.sender.set_port(0);
            }
            batch.push_datagram(&datagram);
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        // What Linux answers.
        if from.is_some_and(|from| from.is_ipv4() != to.is_ipv4()) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut state = self.rig.state();
        state.room = state.room.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        state.sent.push(Sent { by: self.own, from, to, bytes: bytes.to_vec() });
        self.inner.send(bytes, to, None)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        let connected = self.inner.connect(remote)?;
        self.own = Some(self.inner.local_addr()?);
        Ok(connected)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.inner.wait(timeout, interrupt)
    }
}
