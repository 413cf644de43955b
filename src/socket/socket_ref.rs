use std::fmt;
use std::net::UdpSocket;

/// A borrowed real socket, for options the crate does not know and for other polling loops.
///
/// It implements `AsFd` on Unix and `AsSocket` on Windows. It is lent and not implemented on the server and the peer
/// themselves because both may be without a socket: not open, or on the in-memory network.
#[derive(Clone, Copy)]
pub struct SocketRef<'a>(&'a UdpSocket);

impl<'a> SocketRef<'a> {
    pub(super) fn to(socket: &'a UdpSocket) -> Self {
        Self(socket)
    }

    pub(super) fn udp(&self) -> &UdpSocket {
        self.0
    }
}

impl fmt::Debug for SocketRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for SocketRef<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for SocketRef<'_> {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.0.as_socket()
    }
}
