use std::error::Error;
use std::fmt;
use std::io;

use super::config::{ConfigError, InvalidAddress};
use super::unknown_peer::UnknownPeer;
use crate::peer_id::PeerId;

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
    /// The system, or the transport given, cannot do what the named [`SocketOptions`](crate::SocketOptions) field asks
    /// for, or does not permit it. A transport of one's own names it by a
    /// [`RefusedOption`](crate::socket::RefusedOption).
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

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyOpen => f.write_str("already open: stop or close it first"),
            Self::ServersPeer => f.write_str("a server's peer uses the server's socket and cannot bind one of its own"),
            Self::Connected => f.write_str("a connected socket sends to its remote alone and cannot be a server's"),
            Self::InvalidAddress(error) => error.fmt(f),
            Self::OptionRefused { option, error } => write!(f, "{option} was refused: {error}"),
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
    /// The server knows its peers by connection id, so what comes from the address would belong to another peer: use
    /// [`UdpServer::connect_as`](crate::UdpServer::connect_as), or [`WithoutId::ByAddress`](crate::identity::WithoutId::ByAddress).
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
    /// The address is not a multicast group.
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
