use std::fmt;

/// Whether a peer can send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// A stand-alone peer that has no socket yet.
    Unbound,
    /// Packets come and go.
    Open,
    /// Nothing is sent or received any more. What had been received can still be taken.
    Ended(CloseReason),
}

/// Why a peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it: the handle, by `close`, or the server, by [`UdpServer::close`](crate::UdpServer::close).
    Closed,
    /// Nothing came from it for the idle timeout.
    Idle,
    /// The server stopped listening, or was dropped.
    ServerStopped,
    /// The system took the socket away or reported it unusable.
    SocketFailed,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed on this side",
            Self::Idle => "nothing received for the idle timeout",
            Self::ServerStopped => "the server stopped",
            Self::SocketFailed => "the socket failed",
        })
    }
}
