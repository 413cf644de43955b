use std::io;
use std::net::SocketAddr;

use super::sys;

/// What an error of `receive` means for the loop that drains a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing waits.
    Empty,
    /// One datagram was longer than the room for it and is lost (Windows says so by an error).
    Truncated,
    /// The echo of something sent earlier, an interrupted call, a passing shortage: the next call may well succeed.
    Noise,
    /// The socket is of no further use.
    Fatal,
}

/// Sorts an error of `receive`.
///
/// Only errors that every later call would repeat are fatal; whatever is not known is noise, since a remote must not be
/// able to end a server by an ICMP message that nobody thought of.
pub(crate) fn classify(error: &io::Error) -> Trouble {
    use io::ErrorKind as Kind;
    if sys::is_truncation(error) {
        return Trouble::Truncated;
    }
    match error.kind() {
        Kind::WouldBlock => Trouble::Empty,
        Kind::InvalidInput | Kind::NotConnected | Kind::BrokenPipe | Kind::Unsupported => Trouble::Fatal,
        _ if sys::is_dead_socket(error) => Trouble::Fatal,
        _ => Trouble::Noise,
    }
}

/// Whether a send to `to` failed because the broadcast flag is off. The system says "permission denied" for that and,
/// with another number where Unix tells them apart, for what a firewall forbids.
pub(crate) fn blocked_by_missing_broadcast_flag(error: &io::Error, to: SocketAddr) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && to.is_ipv4() && !sys::is_firewall(error)
}

/// Whether a send failed because the datagram is larger than the system or the way lets pass in one piece.
pub(crate) fn is_too_large(error: &io::Error) -> bool {
    sys::is_too_large(error)
}

/// Whether a socket could not be made because there are too many.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    sys::is_out_of_descriptors(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_remote_can_cause_is_never_fatal() {
        use io::ErrorKind as Kind;
        for kind in [
            Kind::ConnectionReset,
            Kind::ConnectionRefused,
            Kind::ConnectionAborted,
            Kind::HostUnreachable,
            Kind::NetworkUnreachable,
            Kind::NetworkDown,
            Kind::TimedOut,
            Kind::PermissionDenied,
            Kind::Interrupted,
            Kind::OutOfMemory,
            Kind::Other,
        ] {
            assert_eq!(classify(&kind.into()), Trouble::Noise, "{kind:?}");
        }
        assert_eq!(classify(&io::ErrorKind::WouldBlock.into()), Trouble::Empty);
    }

    #[cfg(unix)]
    #[test]
    fn unix_errors_are_sorted_by_number() {
        let of = |number| classify(&io::Error::from_raw_os_error(number));
        for noise in [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::EINTR, libc::EMSGSIZE, libc::ENOBUFS, libc::EPROTO]
        {
            assert_eq!(of(noise), Trouble::Noise);
        }
        assert_eq!(of(libc::EAGAIN), Trouble::Empty);
        for fatal in [libc::EBADF, libc::ENOTSOCK, libc::EINVAL, libc::EFAULT] {
            assert_eq!(of(fatal), Trouble::Fatal);
        }
    }

    #[cfg(windows)]
    #[test]
    fn windows_errors_are_sorted_by_number() {
        let of = |number| classify(&io::Error::from_raw_os_error(number));
        assert_eq!(of(10054), Trouble::Noise); // WSAECONNRESET
        assert_eq!(of(10052), Trouble::Noise); // WSAENETRESET
        assert_eq!(of(10040), Trouble::Truncated); // WSAEMSGSIZE
        assert_eq!(of(10035), Trouble::Empty); // WSAEWOULDBLOCK
        assert_eq!(of(10038), Trouble::Fatal); // WSAENOTSOCK
    }
}
