//! One way to send a datagram and to say why it was not: for a server's peer and a stand-alone one alike.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::noise;
use super::send_batch::SendBatch;
use super::transport::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Transport};
use crate::error::PutError;
use crate::stats::SendDropReason;

/// The largest payloads that a transport carries, by IP version. Asked once, so that no datagram has to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPayload {
    v4: usize,
    v6: usize,
}

impl MaxPayload {
    /// What the transport says.
    pub(crate) fn of(transport: &dyn Transport) -> Self {
        Self {
            v4: transport.max_payload((Ipv4Addr::UNSPECIFIED, 0).into()),
            v6: transport.max_payload((Ipv6Addr::UNSPECIFIED, 0).into()),
        }
    }

    /// What UDP carries, where no transport has been asked yet.
    pub(crate) fn of_udp() -> Self {
        Self { v4: MAX_PAYLOAD_V4, v6: MAX_PAYLOAD_V6 }
    }

    /// For this address, in bytes.
    pub(crate) fn to(self, addr: SocketAddr) -> usize {
        if addr.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// For any address, in bytes.
    pub(crate) fn to_all(self) -> usize {
        self.v4.min(self.v6)
    }

    /// Refuses what no datagram to `to` can carry.
    pub(crate) fn check(self, size: usize, to: SocketAddr) -> Result<(), PutError> {
        let limit = self.to(to);
        if size > limit { Err(PutError::TooLarge { size, limit }) } else { Ok(()) }
    }
}

/// Sends `bytes` to `to`, a canonical address; from `from` where several of this host's addresses are possible.
pub(crate) fn send(
    transport: &dyn Transport,
    max: MaxPayload,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> Result<(), PutError> {
    if !transport.reaches(to) {
        return Err(PutError::WrongFamily { destination: to });
    }
    send_back(transport, max, bytes, to, from)
}

/// The same for a remote that the transport is known to reach, since it has been heard there.
// On the path of every put that leaves at once, where instructions were counted: one call less.
#[inline]
pub(crate) fn send_back(
    transport: &dyn Transport,
    max: MaxPayload,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> Result<(), PutError> {
    max.check(bytes.len(), to)?;
    transport.send(bytes, to, from).map_err(|error| explain(transport, error, bytes.len(), to))
}

/// What an error of the system means for a datagram of `size` bytes to `to`.
// Cold: nearly all that is put is sent, and that path stays short.
#[cold]
fn explain(transport: &dyn Transport, error: io::Error, size: usize, to: SocketAddr) -> PutError {
    use io::ErrorKind as Kind;
    match error.kind() {
        _ if noise::is_too_large(&error) => PutError::ExceedsMtu { size, limit: transport.path_payload(to) },
        _ if noise::is_blocked(&error) => PutError::WouldBlock,
        Kind::ConnectionRefused | Kind::ConnectionReset => PutError::Refused,
        Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::NetworkDown | Kind::AddrNotAvailable => {
            PutError::Unreachable(error)
        }
        Kind::PermissionDenied => PutError::PermissionDenied(error),
        _ => PutError::Io(error),
    }
}

/// Sends the messages of `batch`; returns how many of their datagrams were accepted. That is no more than there are,
/// whatever a transport of somebody's own says: by this number the caller finds the first that is left.
pub(crate) fn send_batch(transport: &dyn Transport, batch: &SendBatch<'_>) -> io::Result<usize> {
    transport.send_batch(batch).map(|accepted| accepted.min(batch.datagrams_in(batch.len())))
}

/// Under which reason a datagram is counted that was part of a larger send.
pub(crate) fn reason(error: &io::Error) -> SendDropReason {
    match error.kind() {
        _ if noise::is_too_large(error) => SendDropReason::TooLarge,
        _ if noise::is_blocked(error) => SendDropReason::WouldBlock,
        _ => SendDropReason::Failed,
    }
}

/// The reason under which to count a failed put. `None` if it is already counted: by a full queue, under the bound that was
/// reached.
pub(crate) fn drop_reason(error: &PutError) -> Option<SendDropReason> {
    use SendDropReason as Reason;
    Some(match error {
        PutError::QueueFull => return None,
        PutError::NoDestination
        | PutError::NotReady
        | PutError::Ended(_)
        | PutError::NotListening
        | PutError::Bind(_) => Reason::NotOpen,
        PutError::TooLarge { .. } | PutError::ExceedsMtu { .. } => Reason::TooLarge,
        PutError::WouldBlock => Reason::WouldBlock,
        PutError::Unconfirmed { .. } => Reason::Unconfirmed,
        PutError::NoPort
        | PutError::Refused
        | PutError::BroadcastNotEnabled
        | PutError::WrongFamily { .. }
        | PutError::Unreachable(_)
        | PutError::PermissionDenied(_)
        | PutError::Io(_) => Reason::Failed,
    })
}

/// The same for a send that has no queue in front of it: there is always a reason.
pub(crate) fn send_drop_reason(error: &PutError) -> SendDropReason {
    drop_reason(error).unwrap_or(SendDropReason::Failed)
}
