use std::io;
use std::net::SocketAddr;

use super::sys;
use super::transport::Transport;

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
        Kind::InvalidInput | Kind::NotConnected | Kind::BrokenPipe => Trouble::Fatal,
        // A number of the system's may be that of an ICMP message (EOPNOTSUPP is); a transport means what it says.
        Kind::Unsupported if error.raw_os_error().is_none() => Trouble::Fatal,
        _ if sys::is_dead_socket(error) => Trouble::Fatal,
        _ => Trouble::Noise,
    }
}

/// Whether a send to `to` failed because the broadcast flag is off. The system says "permission denied" for that, for
/// what a route forbids and, with another number where Unix tells them apart, for what a firewall forbids.
pub(crate) fn blocked_by_missing_broadcast_flag(transport: &dyn Transport, error: &io::Error, to: SocketAddr) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
        && to.is_ipv4()
        && !sys::is_firewall(error)
        && (transport.is_broadcast(to) || !sys::CONNECT_TELLS_BROADCAST)
}

/// Whether a send failed because a queue of the system is full, so that a later one may succeed.
pub(crate) fn is_blocked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || sys::is_out_of_buffers(error)
}

/// Whether a send failed because the datagram is larger than the system or the path lets pass in one piece.
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
        // What Linux makes of ICMP (`icmp_err_convert`, `tab_unreach`, `udp_err`), and BSD (`inetctlerrmap`).
        let by_icmp = [
            libc::ENETUNREACH,
            libc::EHOSTUNREACH,
            libc::ENOPROTOOPT,
            libc::ECONNREFUSED,
            libc::EMSGSIZE,
            libc::EOPNOTSUPP,
            libc::EHOSTDOWN,
            libc::EACCES,
            libc::EPROTO,
        ];
        let passing = [libc::EINTR, libc::ENOBUFS, libc::ENOMEM, libc::EPERM, libc::ENETDOWN, libc::ECONNRESET];
        for noise in by_icmp.into_iter().chain(passing) {
            assert_eq!(of(noise), Trouble::Noise, "{noise}");
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        assert_eq!(of(libc::ENONET), Trouble::Noise);
        assert_eq!(of(libc::EAGAIN), Trouble::Empty);
        // What every later call would repeat, as where the call itself is not there.
        let fatal = [libc::EBADF, libc::ENOTSOCK, libc::EINVAL, libc::EFAULT, libc::ENOTCONN, libc::ENOSYS];
        for fatal in fatal {
            assert_eq!(of(fatal), Trouble::Fatal, "{fatal}");
        }
        assert_eq!(classify(&io::ErrorKind::Unsupported.into()), Trouble::Fatal);
    }

    #[cfg(windows)]
    #[test]
    fn windows_errors_are_sorted_by_number() {
        let of = |number| classify(&io::Error::from_raw_os_error(number));
        assert_eq!(of(10054), Trouble::Noise); // WSAECONNRESET
        assert_eq!(of(10052), Trouble::Noise); // WSAENETRESET
        assert_eq!(of(10045), Trouble::Noise); // WSAEOPNOTSUPP
        assert_eq!(of(10042), Trouble::Noise); // WSAENOPROTOOPT
        assert_eq!(of(10051), Trouble::Noise); // WSAENETUNREACH
        assert_eq!(of(10061), Trouble::Noise); // WSAECONNREFUSED
        assert_eq!(of(10064), Trouble::Noise); // WSAEHOSTDOWN
        assert_eq!(of(10065), Trouble::Noise); // WSAEHOSTUNREACH
        assert_eq!(of(10013), Trouble::Noise); // WSAEACCES
        for number in 1231..=1234 {
            // ERROR_NETWORK_UNREACHABLE to ERROR_PORT_UNREACHABLE
            assert_eq!(of(number), Trouble::Noise);
        }
        assert_eq!(of(10022), Trouble::Fatal); // WSAEINVAL
        assert_eq!(of(10040), Trouble::Truncated); // WSAEMSGSIZE
        assert_eq!(of(10035), Trouble::Empty); // WSAEWOULDBLOCK
        assert_eq!(of(10038), Trouble::Fatal); // WSAENOTSOCK
    }
}
