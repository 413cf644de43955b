use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::open::BindError;
use crate::peer_state::CloseReason;

/// Why `poll` can receive nothing more.
#[derive(Debug)]
#[non_exhaustive]
pub enum PollError {
    /// The server is not listening, or the stand-alone peer has no socket.
    NotOpen,
    /// The peer has ended, and there is nothing left to poll. What it received before can still be taken.
    Ended(CloseReason),
    /// The socket is of no further use; it was closed, and all peers have ended with
    /// [`CloseReason::SocketFailed`]. `listen` or `bind` again.
    SocketFailed(io::Error),
}

impl fmt::Display for PollError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("not open: listen, bind or connect first"),
            Self::Ended(reason) => write!(f, "the peer has ended: {reason}"),
            Self::SocketFailed(error) => write!(f, "the socket failed and was closed: {error}"),
        }
    }
}

impl Error for PollError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotOpen | Self::Ended(_) => None,
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
    /// The connection is still being made, and nothing can be sent yet: put the packet again when the
    /// [`state`](crate::PacketPeer::state) is no longer [`Connecting`](crate::PeerState::Connecting). UDP peers never return
    /// this.
    NotReady,
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
    /// Larger than the network path carries, or the system's limits allow, in one piece. Send less at a time;
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
    /// No route, or no network; or, said of an earlier datagram on a connected socket, a firewall on the path has
    /// answered so. A silent host is not an error: what is sent there is lost.
    Unreachable(io::Error),
    /// A firewall or a route of this machine forbids it, or the destination is a broadcast address and the sender a
    /// server; or, said of an earlier datagram on a connected socket, a firewall on the path has answered that it does
    /// (IPv6).
    PermissionDenied(io::Error),
    /// Something else that the system said.
    Io(io::Error),
}

impl fmt::Display for PutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDestination => f.write_str("no destination: connect or set one first"),
            Self::NotReady => f.write_str("the connection is still being made"),
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
