//! One small enum per kind of operation. Each variant says what to do about it.
//!
//! Misuse and refusals of the system are errors; noise from the network is not: it is counted (see
//! [`ServerStats`](crate::ServerStats)) and the call goes on. None of these is printed or logged by the crate; the caller
//! decides.
//!
//! # From Godot's codes
//!
//! | Godot | where | here |
//! |---|---|---|
//! | `ERR_ALREADY_IN_USE` | `listen`, `bind` on an open object | [`BindError::AlreadyOpen`] |
//! | `ERR_ALREADY_IN_USE` | `bind` on a server's peer | [`BindError::ServersPeer`] |
//! | `ERR_INVALID_PARAMETER` | `listen`, `bind`: address | [`BindError::InvalidAddress`]; a port out of range does not compile |
//! | `ERR_UNAVAILABLE` | `listen`, `bind`: port in use | [`BindError::AddressInUse`] |
//! | `ERR_UNAVAILABLE` | `listen`, `bind`: not permitted | [`BindError::PermissionDenied`] |
//! | `ERR_UNAVAILABLE` | `listen`, `bind`: no such interface | [`BindError::AddressNotAvailable`] |
//! | `ERR_CANT_CREATE` | `listen`, `bind` | [`BindError::Unsupported`], [`BindError::Io`] |
//! | `ERR_UNCONFIGURED` | `poll` when not listening | [`PollError::NotOpen`] |
//! | `FAILED` | `poll`: any receive error | counted as noise, or [`PollError::SocketFailed`] where the socket is unusable |
//! | `ERR_LOCKED` | `connect_to_host`, multicast on a server's peer | [`ConnectError::ServersPeer`], [`OptionError::ServersPeer`] |
//! | `OK` (ignored) | `set_dest_address`, `set_broadcast_enabled` on a server's peer | the same two |
//! | `OK` (ignored) | `set_dest_address` on a connected peer | [`ConnectError::Connected`] |
//! | `ERR_INVALID_PARAMETER` | `connect_to_host`: address, port | [`ConnectError::Unresolved`], [`ConnectError::NoPort`] |
//! | `ERR_CANT_RESOLVE` | `set_dest_address` | [`ConnectError::Unresolved`] |
//! | `FAILED` | `connect_to_host` | [`ConnectError::Unreachable`], [`WrongFamily`](ConnectError::WrongFamily), [`Broadcast`](ConnectError::Broadcast), [`Multicast`](ConnectError::Multicast) |
//! | `ERR_CANT_OPEN` | `connect_to_host` | [`ConnectError::Bind`] |
//! | `ERR_UNCONFIGURED` | `put_packet`: no destination | [`PutError::NoDestination`] |
//! | `OK` (from a new port) | `put_packet` after `close` or `stop` | [`PutError::Ended`] |
//! | `ERR_BUSY`, or spinning | `put_packet`: system's queue full | [`PutError::WouldBlock`] |
//! | `FAILED` | `put_packet`: everything else | [`PutError::TooLarge`], [`ExceedsMtu`](PutError::ExceedsMtu), [`Refused`](PutError::Refused), [`BroadcastNotEnabled`](PutError::BroadcastNotEnabled), [`WrongFamily`](PutError::WrongFamily), [`Unreachable`](PutError::Unreachable), [`PermissionDenied`](PutError::PermissionDenied), [`Io`](PutError::Io) |
//! | `ERR_UNAVAILABLE` | `get_packet`: none waiting | `Ok(None)` |
//! | `FAILED` | `get_packet` when closed | [`GetError::NotOpen`], [`GetError::Ended`] |
//! | -1 | `get_available_packet_count` | never: it counts what waits, 0 when nothing does |
//! | `ERR_UNCONFIGURED` | `wait`, `leave_multicast_group` when closed | [`WaitError::NotOpen`], [`OptionError::NotOpen`] |
//! | `ERR_INVALID_PARAMETER` | `join_multicast_group` | [`OptionError::NotMulticast`], [`OptionError::Io`] |

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::lifetime::CloseReason;
use crate::peer_id::PeerId;
use crate::socket::RefusedOption;

/// A text that is not an address to bind to. See [`ToBindAddr`](crate::ToBindAddr) for what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidAddress {
    text: String,
}

impl InvalidAddress {
    pub(crate) fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The text as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no address to bind to: give a port, an address, or an address and a port", self.text)
    }
}

impl Error for InvalidAddress {}

/// A value of [`Limits`](crate::Limits), of [`SocketOptions`](crate::SocketOptions) or of a setter that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static str,
}

impl ConfigError {
    /// Which value it is: the name of the field, or the setter's without `set_`.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has to be {}", self.name, self.needs)
    }
}

impl Error for ConfigError {}

/// Why [`UdpServer::listen`](crate::UdpServer::listen) or [`PacketPeerUdp::bind`](crate::PacketPeerUdp::bind) opened
/// nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// It is open already, and stays as it is. Call `stop` or `close` first.
    AlreadyOpen,
    /// The peer was taken from a server and uses the server's socket.
    ServersPeer,
    /// The socket that a server was given is connected, and would send to its remote whatever is for others.
    Connected,
    /// The address cannot be read.
    InvalidAddress(InvalidAddress),
    /// A value of the server's configuration makes no sense.
    InvalidConfig(ConfigError),
    /// The system cannot do what the named [`SocketOptions`](crate::SocketOptions) field asks for, or does not permit
    /// it.
    OptionRefused {
        /// The field.
        option: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Another socket has the port. (Windows may say [`PermissionDenied`](Self::PermissionDenied) instead.)
    AddressInUse(io::Error),
    /// The system does not let this program have the port; below 1024 it may take privileges.
    PermissionDenied(io::Error),
    /// No interface of this machine has the address.
    AddressNotAvailable(io::Error),
    /// The system, or the transport given, cannot do it: it has no such address family, or takes over no sockets.
    Unsupported(io::Error),
    /// Something else that the system said.
    Io(io::Error),
}

impl From<InvalidAddress> for BindError {
    fn from(error: InvalidAddress) -> Self {
        Self::InvalidAddress(error)
    }
}

impl From<ConfigError> for BindError {
    fn from(error: ConfigError) -> Self {
        Self::InvalidConfig(error)
    }
}

impl BindError {
    pub(crate) fn from_io(error: io::Error) -> Self {
        let error = match error.downcast::<RefusedOption>() {
            Ok(RefusedOption { option, error }) => return Self::OptionRefused { option, error },
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse(error),
            io::ErrorKind::PermissionDenied => Self::PermissionDenied(error),
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable(error),
            io::ErrorKind::Unsupported => Self::Unsupported(error),
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyOpen => f.write_str("already open: stop or close it first"),
            Self::ServersPeer => f.write_str("a server's peer uses the server's socket and cannot bind one of its own"),
            Self::Connected => f.write_str("a connected socket sends to its remote alone and cannot be a server's"),
            Self::InvalidAddress(error) => error.fmt(f),
            Self::InvalidConfig(error) => error.fmt(f),
            Self::OptionRefused { option, error } => write!(f, "the system refused {option}: {error}"),
            Self::AddressInUse(error) => write!(f, "another socket has this port: {error}"),
            Self::PermissionDenied(error) => write!(f, "the system does not permit this port: {error}"),
            Self::AddressNotAvailable(error) => write!(f, "no interface of this machine has this address: {error}"),
            Self::Unsupported(error) => write!(f, "not supported by the system or the transport: {error}"),
            Self::Io(error) => write!(f, "the socket could not be opened: {error}"),
        }
    }
}

impl Error for BindError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::InvalidAddress(error) => Some(error),
            Self::InvalidConfig(error) => Some(error),
            Self::OptionRefused { error, .. } => Some(error),
            Self::AlreadyOpen | Self::ServersPeer | Self::Connected => None,
            Self::AddressInUse(error)
            | Self::PermissionDenied(error)
            | Self::AddressNotAvailable(error)
            | Self::Unsupported(error)
            | Self::Io(error) => Some(error),
        }
    }
}

/// Why `poll` can receive nothing more.
#[derive(Debug)]
#[non_exhaustive]
pub enum PollError {
    /// The server is not listening, or the stand-alone peer has no socket.
    NotOpen,
    /// The socket is of no further use; it was closed, and all peers have ended with
    /// [`CloseReason::SocketFailed`]. `listen` or `bind` again.
    SocketFailed(io::Error),
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("not open: listen, bind or connect first"),
            Self::SocketFailed(error) => write!(f, "the socket failed and was closed: {error}"),
        }
    }
}

impl Error for PollError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotOpen => None,
            Self::SocketFailed(error) => Some(error),
        }
    }
}

/// Why `get_packet` has nothing, now and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// The stand-alone peer has no socket: bind, connect or send first.
    NotOpen,
    /// The peer has ended, and everything received before has been handed out.
    Ended(CloseReason),
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("not open: bind, connect or send first"),
            Self::Ended(reason) => write!(f, "the peer has ended: {reason}"),
        }
    }
}

impl Error for GetError {}

/// Why `get_packet_into` wrote nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetIntoError {
    /// The next packet has `size` bytes and the buffer only `room`. The packet stays where it is: come again with a
    /// larger buffer, or take it by `get_packet`.
    BufferTooSmall {
        /// Bytes of the packet.
        size: usize,
        /// Bytes of the buffer.
        room: usize,
    },
    /// As `get_packet`.
    Get(GetError),
}

impl From<GetError> for GetIntoError {
    fn from(error: GetError) -> Self {
        Self::Get(error)
    }
}

impl fmt::Display for GetIntoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BufferTooSmall { size, room } => {
                write!(f, "a packet of {size} bytes does not fit a buffer of {room}")
            }
            Self::Get(error) => error.fmt(f),
        }
    }
}

impl Error for GetIntoError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::BufferTooSmall { .. } => None,
            Self::Get(error) => Some(error),
        }
    }
}

/// Why a datagram was not sent. It is lost unless the caller sends it again; nothing else is.
#[derive(Debug)]
#[non_exhaustive]
pub enum PutError {
    /// No destination: `connect_to_host` or `set_dest_address` first.
    NoDestination,
    /// The peer has ended.
    Ended(CloseReason),
    /// The server is not listening.
    NotListening,
    /// Port 0 is nobody's.
    NoPort,
    /// A stand-alone peer opens its socket with the first put, and that failed.
    Bind(BindError),
    /// Larger than any UDP datagram to this destination.
    TooLarge {
        /// Bytes of the packet.
        size: usize,
        /// Bytes that would have been accepted.
        limit: usize,
    },
    /// Larger than the network on the way carries, or the system's limits allow, in one piece. Send less at a time;
    /// 1,200 bytes pass nearly everywhere.
    ///
    /// A connected socket may say it of an earlier datagram, which a router has reported since. Then `size` does not
    /// exceed `limit`: this one was not sent either, and the next may be.
    ExceedsMtu {
        /// Bytes of the packet.
        size: usize,
        /// Bytes that would have passed, as far as is known by now and where the system tells (Linux).
        limit: Option<usize>,
    },
    /// The system's queue is full: send later, or less.
    WouldBlock,
    /// As much waits to be sent as the server's [`send_queue`](crate::Limits#structfield.send_queue) or
    /// [`max_queued_bytes`](crate::Limits#structfield.max_queued_bytes) allow: flush, and send later, or less.
    QueueFull,
    /// The peer has moved to an address that is not [confirmed](crate::UdpServer::confirm_move) yet, and no more may go
    /// there than three times what has come from it.
    Unconfirmed {
        /// Bytes of the packet.
        size: usize,
        /// Bytes that may still be sent; more with each datagram that comes from there.
        room: usize,
    },
    /// The host answered that nobody listens on that port. Said of an earlier datagram; this one was not sent, and the
    /// next may be.
    Refused,
    /// The destination is a broadcast address: `set_broadcast_enabled(true)` first.
    BroadcastNotEnabled,
    /// The destination is of the other IP version than the socket.
    WrongFamily {
        /// Where it was to go.
        destination: SocketAddr,
    },
    /// No route, or no network; or, said of an earlier datagram on a connected socket, a firewall on the way has
    /// answered so. A host that is silent is no error: what is sent there is lost.
    Unreachable(io::Error),
    /// A firewall or a route of this machine forbids it, or the destination is a broadcast address and the sender a
    /// server; or, said of an earlier datagram on a connected socket, a firewall on the way has answered that it does
    /// (IPv6).
    PermissionDenied(io::Error),
    /// Something else that the system said.
    Io(io::Error),
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDestination => f.write_str("no destination: connect or set one first"),
            Self::Ended(reason) => write!(f, "the peer has ended: {reason}"),
            Self::NotListening => f.write_str("the server is not listening"),
            Self::NoPort => f.write_str("port 0 cannot be sent to"),
            Self::Bind(error) => error.fmt(f),
            Self::TooLarge { size, limit } => {
                write!(f, "a packet of {size} bytes is larger than a datagram's {limit}")
            }
            Self::ExceedsMtu { size, limit: Some(limit) } if size <= limit => {
                write!(f, "an earlier packet was larger than the {limit} bytes that the way to the destination carries")
            }
            Self::ExceedsMtu { size, limit: Some(limit) } => {
                write!(f, "a packet of {size} bytes is larger than the {limit} that the way to the destination carries")
            }
            Self::ExceedsMtu { size, limit: None } => {
                write!(f, "a packet of {size} bytes is larger than what the way to the destination carries")
            }
            Self::WouldBlock => f.write_str("the system's send queue is full"),
            Self::QueueFull => f.write_str("as much waits to be sent as the limits allow"),
            Self::Unconfirmed { size, room } => {
                write!(f, "the peer's new address is not confirmed: of {size} bytes only {room} may go there now")
            }
            Self::Refused => f.write_str("nobody listens at the destination"),
            Self::BroadcastNotEnabled => f.write_str("broadcast is not enabled on this peer"),
            Self::WrongFamily { destination } => {
                write!(f, "{destination} is of another IP version than the socket")
            }
            Self::Unreachable(error) => write!(f, "the destination cannot be reached: {error}"),
            Self::PermissionDenied(error) => write!(f, "sending there is not permitted: {error}"),
            Self::Io(error) => write!(f, "the system refused to send: {error}"),
        }
    }
}

impl Error for PutError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unreachable(error) | Self::PermissionDenied(error) | Self::Io(error) => Some(error),
            Self::Bind(error) => Some(error),
            _ => None,
        }
    }
}

/// Why `connect_to_host`, `set_dest_address` or [`UdpServer::connect`](crate::UdpServer::connect) changed nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectError {
    /// The peer was taken from a server; its remote is fixed.
    ServersPeer,
    /// The host name or address could not be resolved.
    Unresolved(io::Error),
    /// Port 0 is nobody's.
    NoPort,
    /// The host has addresses, but none of the IP version that the socket was bound to.
    WrongFamily,
    /// The peer had no socket, and none could be opened.
    Bind(BindError),
    /// There is no route to any of the host's addresses.
    Unreachable(io::Error),
    /// The peer is connected: `connect_to_host` again to change its remote, `close` before anything else.
    Connected,
    /// It is a broadcast address, from which nobody answers: a peer connected there would be deaf.
    /// [`set_dest_address`](crate::PacketPeerUdp::set_dest_address) sends there and hears everybody; a server sends there
    /// by [`send_to`](crate::UdpServer::send_to). 255.255.255.255 is always found out, the broadcast address of a
    /// network on Linux, Android and Windows.
    Broadcast,
    /// It is the address of a multicast group, from which nobody answers; otherwise as
    /// [`Broadcast`](Self::Broadcast).
    Multicast,
    /// The server is not listening.
    NotListening,
    /// The server has a peer of this address already.
    AlreadyKnown(PeerId),
    /// The server has [`max_peers`](crate::Limits#structfield.max_peers).
    PeersFull,
    /// The server knows its peers by address, so an id would never be read: use
    /// [`UdpServer::connect`](crate::UdpServer::connect).
    NoConnectionIds,
    /// The server knows its peers by connection id, so what comes from the address would be somebody else's: use
    /// [`UdpServer::connect_as`](crate::UdpServer::connect_as), or [`WithoutId::ByAddress`](crate::WithoutId::ByAddress).
    NeedsId,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServersPeer => f.write_str("the remote of a server's peer is fixed"),
            Self::Unresolved(error) => write!(f, "the host cannot be resolved: {error}"),
            Self::NoPort => f.write_str("port 0 cannot be sent to"),
            Self::WrongFamily => f.write_str("the host has no address of the socket's IP version"),
            Self::Bind(error) => error.fmt(f),
            Self::Unreachable(error) => write!(f, "no address of the host can be reached: {error}"),
            Self::Connected => f.write_str("the peer is connected to another destination"),
            Self::Broadcast => {
                f.write_str("nobody answers from a broadcast address: set it as the destination instead")
            }
            Self::Multicast => {
                f.write_str("nobody answers from the address of a group: set it as the destination instead")
            }
            Self::NotListening => f.write_str("the server is not listening"),
            Self::AlreadyKnown(id) => write!(f, "the server has a peer of this address already: {id}"),
            Self::PeersFull => f.write_str("the server has as many peers as it may"),
            Self::NoConnectionIds => f.write_str("the server knows its peers by address, not by connection id"),
            Self::NeedsId => f.write_str("the server knows its peers by connection id, not by address"),
        }
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unresolved(error) | Self::Unreachable(error) => Some(error),
            Self::Bind(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a socket option was not changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum OptionError {
    /// The peer was taken from a server, and the option would be the whole server's.
    ServersPeer,
    /// The peer has no socket yet: bind or connect first.
    NotOpen,
    /// The address is no multicast group.
    NotMulticast(std::net::IpAddr),
    /// A value that makes no sense.
    InvalidConfig(ConfigError),
    /// The transport, for instance the in-memory network, has no such option.
    Unsupported,
    /// What the system said, for instance that it has no such interface.
    Io(io::Error),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServersPeer => {
                f.write_str("a server's peer shares the server's socket and cannot change its options")
            }
            Self::NotOpen => f.write_str("not open: bind or connect first"),
            Self::NotMulticast(addr) => write!(f, "{addr} is no multicast group"),
            Self::InvalidConfig(error) => error.fmt(f),
            Self::Unsupported => f.write_str("this transport has no such option"),
            Self::Io(error) => write!(f, "the system refused the option: {error}"),
        }
    }
}

impl Error for OptionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::InvalidConfig(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Why `wait` did not wait.
#[derive(Debug)]
#[non_exhaustive]
pub enum WaitError {
    /// There is nothing to wait on: not listening, or no socket yet.
    NotOpen,
    /// The peer has ended and nothing is left to take.
    Ended(CloseReason),
    /// What the system said.
    Io(io::Error),
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("not open: listen, bind or connect first"),
            Self::Ended(reason) => write!(f, "the peer has ended: {reason}"),
            Self::Io(error) => write!(f, "the system could not wait: {error}"),
        }
    }
}

impl Error for WaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::Io(error) = self { Some(error) } else { None }
    }
}

/// Why [`UdpServer::dedicate_socket`](crate::UdpServer::dedicate_socket) gave the peer no socket of its own. It goes on
/// by the shared one.
#[derive(Debug)]
#[non_exhaustive]
pub enum DedicateError {
    /// The peer has ended, or is not this server's.
    UnknownPeer(UnknownPeer),
    /// It has one already.
    AlreadyDedicated,
    /// The server goes by connection ids, and a socket knows addresses only.
    GoesByIds,
    /// The process or the system has no descriptors left; on Unix raise `ulimit -n`.
    OutOfDescriptors(io::Error),
    /// The system has no port left to choose.
    OutOfPorts(io::Error),
    /// The system would not connect the socket to the peer's address: there is no route to it, or no address of this
    /// host to reach it from. **A stranger can cause it**, by a datagram under a forged address or by one that comes in
    /// where no answer can go out, so it must not end the server.
    Unreachable(io::Error),
    /// Something else that the system said.
    Io(io::Error),
}

impl DedicateError {
    pub(crate) fn from_io(error: io::Error) -> Self {
        if crate::socket::is_out_of_descriptors(&error) {
            return Self::OutOfDescriptors(error);
        }
        match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::OutOfPorts(error),
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for DedicateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPeer(error) => error.fmt(f),
            Self::AlreadyDedicated => f.write_str("the peer has a socket of its own already"),
            Self::GoesByIds => f.write_str("the server goes by connection ids, and a socket knows addresses only"),
            Self::OutOfDescriptors(error) => write!(f, "no descriptor is left: {error}"),
            Self::OutOfPorts(error) => write!(f, "no port is left: {error}"),
            Self::Unreachable(error) => write!(f, "the peer's address cannot be reached: {error}"),
            Self::Io(error) => write!(f, "the socket could not be opened: {error}"),
        }
    }
}

impl Error for DedicateError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::UnknownPeer(error) => Some(error),
            Self::OutOfDescriptors(error) | Self::OutOfPorts(error) | Self::Unreachable(error) | Self::Io(error) => {
                Some(error)
            }
            Self::AlreadyDedicated | Self::GoesByIds => None,
        }
    }
}

/// The server has no such peer: it has ended, or the id is another server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPeer(pub PeerId);

impl fmt::Display for UnknownPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no peer {}", self.0)
    }
}

impl Error for UnknownPeer {}
