use std::io;

use super::conditioned_transport::ConditionedTransport;
use super::link::Link;
use super::link_control::LinkControl;
use crate::clock::Clock;
use crate::socket::{BindOptions, Transport, TransportFactory};

/// Puts a [`Link`] in each direction around the sockets of another factory, such as
/// [`SystemSockets`](crate::socket::SystemSockets): a bad network for real programs.
///
/// What is put is held back until it is due, and sent by a later call on the same socket, such as the next poll; what has
/// arrived is held back in the same manner before it is received. There is no thread: to be on time, a program polls often,
/// or waits, since a wait sends what becomes due meanwhile, and ends when something may be received. Nothing leaves before
/// it is due, with one exception: a socket that is closed, or connected elsewhere, sends at once what it still holds, in
/// order. Incoming datagrams that it holds are lost.
///
/// Each socket has its own links, with the whole rate and their own random numbers: from the seed, and from the socket's
/// number in the order of opening. Time is that of the inner factory; around a [`Host`](super::Host) it is virtual. At most
/// 16 MiB are held per socket and direction; what exceeds that is dropped and counted as
/// [`queue_full`](super::LinkStats::queue_full).
///
/// While both links are [perfect](Link::PERFECT), every call goes straight to the inner socket. Otherwise a put succeeds
/// even if the network then loses the datagram. If the system refuses to send it later, no call reports that: the datagram
/// is counted as [`undelivered`](super::LinkStats::undelivered), or, if the system would block, tried again.
///
/// ```
/// use std::time::{Duration, Instant};
/// use packetpeer::{PacketPeerUdp, UdpServer};
/// use packetpeer::sim::{Conditioned, Link};
/// use packetpeer::socket::SystemSockets;
///
/// let mut server = UdpServer::new();
/// server.listen("127.0.0.1:0")?;
///
/// let slow = Link::new().latency(Duration::from_millis(20));
/// let sockets = Conditioned::new(SystemSockets, slow.clone(), slow, 1);
/// let control = sockets.control();
/// let mut client = PacketPeerUdp::with_transport(sockets);
/// client.connect_to_host(server.local_addr().unwrap())?;
///
/// let start = Instant::now();
/// client.put_packet(b"hello")?;
/// while !server.is_connection_available() {
///     client.wait(Some(Duration::from_millis(1)))?; // a frame of the client
///     server.poll()?;
/// }
/// assert!(start.elapsed() >= Duration::from_millis(20));
/// assert_eq!(control.outgoing_stats().passed, 1);
/// control.set_outgoing(Link::PERFECT);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Conditioned<F> {
    inner: F,
    control: LinkControl,
}

impl<F: TransportFactory> Conditioned<F> {
    /// Sockets of `inner` behind two links, whose chances are those of `seed`. Clones share links and numbers.
    pub fn new(inner: F, outgoing: Link, incoming: Link, seed: u64) -> Self {
        Self { inner, control: LinkControl::new(outgoing, incoming, seed) }
    }

    /// The handle that changes the links and reads their counters.
    pub fn control(&self) -> LinkControl {
        self.control.clone()
    }

    fn condition(&self, inner: Box<dyn Transport>) -> Box<dyn Transport> {
        Box::new(ConditionedTransport::new(inner, self.inner.clock(), self.control.links()))
    }
}

impl<F: TransportFactory> TransportFactory for Conditioned<F> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        self.inner.bind(options).map(|inner| self.condition(inner))
    }

    fn clock(&self) -> Clock {
        self.inner.clock()
    }

    fn adopt(&self, socket: std::net::UdpSocket) -> io::Result<Box<dyn Transport>> {
        self.inner.adopt(socket).map(|inner| self.condition(inner))
    }
}
