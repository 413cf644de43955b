use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::bind::BindOptions;
use super::interrupt::Interrupt;
use super::multicast::Interface;
use super::send_batch::SendBatch;
use super::socket_ref::SocketRef;
use crate::address::{canonical, is_of_one_host};
use crate::clock::Clock;
use crate::datagram::ReceiveBatch;

/// Largest payload of a UDP datagram over IPv4, in bytes: 65,535 less 8 of UDP and 20 of IP header (RFC 768, RFC 791).
pub const MAX_PAYLOAD_V4: usize = 65_507;

/// Largest payload of a UDP datagram over IPv6 without jumbograms, in bytes: 65,535 less 8 of UDP header (RFC 8200).
pub const MAX_PAYLOAD_V6: usize = 65_527;

/// What UDP carries to `to`, in bytes.
pub(super) fn max_payload_of_udp(to: SocketAddr) -> usize {
    if to.is_ipv4() { MAX_PAYLOAD_V4 } else { MAX_PAYLOAD_V6 }
}

/// Makes transports: what stands behind `listen`, `bind` and `connect_to_host`.
///
/// It is a factory and not a socket because a server may stop and listen again, and a peer may close and bind again.
/// [`socket`](crate::socket) describes how to write one.
pub trait TransportFactory: fmt::Debug + Send + Sync {
    /// Opens a transport as `options` ask.
    ///
    /// An option that means nothing to such a transport may be left alone, as the in-memory network does with all but the
    /// address and the receive buffer. What the program would rely on in vain is refused.
    ///
    /// # Errors
    ///
    /// A [`RefusedOption`](super::RefusedOption) where it is one option that cannot be had. Else what the system answers; [`io::ErrorKind::AddrInUse`], [`PermissionDenied`](io::ErrorKind::PermissionDenied),
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) and [`Unsupported`](io::ErrorKind::Unsupported) are told
    /// apart by [`BindError`](crate::error::BindError).
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>>;

    /// The clock of its transports. Servers and peers ask for it once, when they are made. A factory that wraps another
    /// returns that one's clock; one of real sockets, [`Clock::system`].
    fn clock(&self) -> Clock;

    /// Takes over a socket of the standard library. Only factories of real sockets can, and those that wrap one of them.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] by default; else what the system answers.
    fn adopt(&self, _socket: std::net::UdpSocket) -> io::Result<Box<dyn Transport>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A bound, non-blocking datagram socket, real or simulated, or a wrapper around another transport.
///
/// No call blocks except [`wait`](Self::wait). Calls may come from several threads at once.
///
/// Each transport has to write the methods that move datagrams. The properties have defaults: for a wrapper, the answer of
/// the transport that it [wraps](Self::inner); for any other, the one stated at each method.
pub trait Transport: fmt::Debug + Send + Sync {
    /// The transport that this one wraps; `None` if it is not a wrapper. Every provided method asks it, so that a wrapper
    /// loses nothing by not overriding one.
    fn inner(&self) -> Option<&dyn Transport>;

    /// Pushes waiting datagrams into `batch` until it is full or none is left.
    ///
    /// `Ok` with a batch that is not full means that nothing more waits. Datagrams already pushed count, whatever is
    /// returned.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] where nothing waits. The caller sorts all other errors. After
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), [`NotConnected`](io::ErrorKind::NotConnected) or
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe), one of which a custom transport returns in order to end, and after the
    /// system's error for a descriptor that is not a socket, the socket is of no further use, and the server or the peer
    /// ends. What a remote can cause, and every error not known, is noise: it is counted, and `receive` is called again.
    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()>;

    /// Sends one datagram, possibly an empty one, to `to`. On a connected transport `to` is the connected address.
    ///
    /// It is to leave from `from`, an address of this host; `None` leaves the choice to the system. A transport that
    /// knows only one address, or was not asked for
    /// [`pin_reply_address`](BindOptions#structfield.pin_reply_address), may ignore it.
    ///
    /// # Errors
    ///
    /// What the system answers; [`io::ErrorKind::WouldBlock`], or the number of ENOBUFS, where its queue is full.
    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()>;

    /// Sends the messages of `batch` in order; returns how many of their datagrams the system accepted before one failed.
    /// These are counted as sent, and only the ones after them are tried again, even if that is the rest of a message.
    ///
    /// A transport whose system counts messages gets the number of datagrams from
    /// [`SendBatch::datagrams_in`](SendBatch::datagrams_in). One that sends one datagram per call, and a wrapper that does
    /// something to each, leave it to [`send_one_by_one`].
    ///
    /// # Errors
    ///
    /// That of the first datagram. A later one comes again, as that of the first, when the rest is sent.
    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize>;

    /// How many datagrams one message of a [`SendBatch`] may consist of: 1 where the system cannot cut a message into
    /// segments. May fall while running, where a network device turns out not to do it.
    fn max_segments(&self) -> usize;

    /// Fixes the remote: from now on only its datagrams are received. Returns the address that these come from
    /// (`getpeername(2)`), which is not `remote` where that is [unspecified](Self::this_host), or has a scope that says
    /// nothing.
    ///
    /// # Errors
    ///
    /// What the system answers, for instance that there is no route.
    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr>;

    /// The address this transport is bound to.
    ///
    /// # Errors
    ///
    /// What the system answers.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Blocks until a datagram waits, `interrupt` is raised, or `timeout` is over (`None` = never).
    /// Returns whether a datagram waits. A transport in virtual time answers at once.
    ///
    /// Only look at the interrupt, by its descriptor or by [`is_raised`](Interrupt::is_raised): the caller
    /// [takes](Interrupt::take) it afterwards.
    ///
    /// # Errors
    ///
    /// What the system answers.
    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool>;

    /// Largest payload in bytes that one datagram to `to` carries. By default what UDP carries: [`MAX_PAYLOAD_V4`],
    /// [`MAX_PAYLOAD_V6`]. A wrapper that adds something to each datagram subtracts its length; a longer payload is then
    /// refused as [`PutError::TooLarge`](crate::error::PutError::TooLarge) before anything is sent.
    ///
    /// Servers and peers ask once per socket and IP version, with an unspecified address, and keep the answer.
    fn max_payload(&self, to: SocketAddr) -> usize {
        self.inner().map_or_else(|| max_payload_of_udp(to), |inner| inner.max_payload(to))
    }

    /// Whether the transport's address family can carry a datagram to `to`. By default it can.
    fn reaches(&self, to: SocketAddr) -> bool {
        self.inner().is_none_or(|inner| inner.reaches(to))
    }

    /// What an unspecified address, `0.0.0.0` or `[::]`, means as a destination: this host. Returns the address, with the
    /// port of `to`, from which a server there answers.
    ///
    /// By default, as on Linux, it is the address that this transport is bound to, if it is bound to one, and otherwise the
    /// loopback address; `[::]` means that of IPv4 where there is no IPv6.
    fn this_host(&self, to: SocketAddr) -> SocketAddr {
        self.inner().map_or_else(|| this_host(self, to), |inner| inner.this_host(to))
    }

    /// Whether `to` is a broadcast address, as far as the system tells: no answer comes from there. By default only
    /// 255.255.255.255 is one.
    fn is_broadcast(&self, to: SocketAddr) -> bool {
        self.inner().map_or_else(|| to.ip().to_canonical() == Ipv4Addr::BROADCAST, |inner| inner.is_broadcast(to))
    }

    /// Changes one option of the transport.
    ///
    /// # Errors
    ///
    /// What the system answers; [`io::ErrorKind::Unsupported`], which is the default, where the transport has no such
    /// option.
    fn set_option(&self, option: TransportOption) -> io::Result<()> {
        self.inner().map_or_else(|| Err(io::ErrorKind::Unsupported.into()), |inner| inner.set_option(option))
    }

    /// Largest payload in bytes that the path to `to` carries in one piece, if the system knows it. By default `None`. A
    /// wrapper with a smaller [`max_payload`](Self::max_payload) subtracts the same here.
    fn path_payload(&self, to: SocketAddr) -> Option<usize> {
        self.inner()?.path_payload(to)
    }

    /// Bytes the system granted for datagrams that wait to be received, if that is known. By default `None`.
    fn receive_buffer_size(&self) -> Option<usize> {
        self.inner()?.receive_buffer_size()
    }

    /// Datagrams that the kernel has dropped since the bind because the receive buffer was full, if it tells. By default
    /// `None`.
    fn kernel_drops(&self) -> Option<u64> {
        self.inner()?.kernel_drops()
    }

    /// Whether waiting for its [`socket`](Self::socket) is enough to wait for this transport. By default it is, if there is
    /// one. **A wrapper that holds datagrams back returns `false`**, or a wait sleeps on when one is due.
    fn waits_by_socket(&self) -> bool {
        self.inner().map_or_else(|| self.socket().is_some(), |inner| inner.waits_by_socket())
    }

    /// The real socket behind this transport, if there is one. By default `None`.
    fn socket(&self) -> Option<SocketRef<'_>> {
        self.inner()?.socket()
    }
}

/// What [`Transport::this_host`] says.
pub(super) fn this_host(transport: &(impl Transport + ?Sized), to: SocketAddr) -> SocketAddr {
    let may_be_v6 = to.ip().to_canonical().is_ipv6();
    let bound = transport.local_addr().ok().map(canonical).filter(|&bound| is_of_one_host(bound));
    // A server at 0.0.0.0 hears no IPv6.
    if let Some(mut bound) = bound.filter(|bound| bound.is_ipv4() || may_be_v6) {
        bound.set_port(to.port());
        return bound;
    }
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, to.port()));
    if may_be_v6 && transport.reaches(v6) { v6 } else { (Ipv4Addr::LOCALHOST, to.port()).into() }
}

/// A [`Transport::send_batch`] for transports that send one datagram per call: it [sends](Transport::send) the datagrams one
/// by one until one fails.
///
/// # Errors
///
/// That of the first datagram.
pub fn send_one_by_one(transport: &(impl Transport + ?Sized), batch: &SendBatch<'_>) -> io::Result<usize> {
    let mut sent = 0;
    for message in batch.messages() {
        for datagram in message.datagrams {
            match transport.send(datagram, message.to, message.from) {
                Ok(()) => sent += 1,
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sent)
}

/// One option of a [`Transport`], with its new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportOption {
    /// Whether sending to a broadcast address is allowed (`SO_BROADCAST`).
    Broadcast(bool),
    /// Receive what is sent to a multicast group (`IP_ADD_MEMBERSHIP`, `IPV6_JOIN_GROUP`).
    JoinGroup(IpAddr, Interface),
    /// No longer receive what is sent to a multicast group.
    LeaveGroup(IpAddr, Interface),
    /// The interface multicast datagrams leave by (`IP_MULTICAST_IF`, `IPV6_MULTICAST_IF`).
    MulticastInterface(Interface),
    /// How many hops multicast datagrams travel (`IP_MULTICAST_TTL`, `IPV6_MULTICAST_HOPS`).
    MulticastTtl(u8),
    /// Whether multicast datagrams are also delivered on this host (`IP_MULTICAST_LOOP`, `IPV6_MULTICAST_LOOP`).
    MulticastLoop(bool),
}
