use std::io;

/// Ends a [`Transport::wait`](super::Transport::wait) from another thread: the mechanism behind a
/// [`Waker`](crate::Waker).
///
/// A raise is remembered until it is taken, so one that comes just before the wait is not lost.
///
/// A custom transport waits for this descriptor beside its socket's: `Interrupt` implements `AsFd` on Unix and `AsSocket`
/// on Windows, and is readable for as long as it is raised. Only wait for it; do not read from it. A transport that cannot
/// wait for several descriptors polls [`is_raised`](Self::is_raised) now and then. Neither takes the raise: the caller of
/// `wait` does that afterwards.
#[derive(Debug)]
pub struct Interrupt {
    imp: imp::Pair,
}

impl Interrupt {
    /// An interrupt that is not raised.
    ///
    /// # Errors
    ///
    /// What the system answers when it is out of descriptors: an interrupt takes two on Unix, and on Windows a socket with a
    /// port of the loopback address.
    pub fn new() -> io::Result<Self> {
        Ok(Self { imp: imp::Pair::new()? })
    }

    /// Ends the wait that is going on, or the next one.
    pub fn raise(&self) {
        self.imp.raise();
    }

    /// Whether it was raised since the last call. Afterwards it no longer is.
    pub fn take(&self) -> bool {
        self.imp.take()
    }

    pub(super) fn reader(&self) -> &imp::Reader {
        self.imp.reader()
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Interrupt {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.reader().as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Interrupt {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.reader().as_socket()
    }
}

#[cfg(unix)]
mod imp {
    use std::io::{self, Read, Write};
    use std::os::unix::net::UnixStream;

    pub(crate) type Reader = UnixStream;

    #[derive(Debug)]
    pub(super) struct Pair {
        reader: UnixStream,
        writer: UnixStream,
    }

    impl Pair {
        pub(super) fn new() -> io::Result<Self> {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok(Self { reader, writer })
        }

        pub(super) fn raise(&self) {
            // A full pipe means that a raise is already waiting to be seen.
            let _ = (&self.writer).write(&[1]);
        }

        pub(super) fn take(&self) -> bool {
            let mut sink = [0; 64];
            let mut raised = false;
            while matches!((&self.reader).read(&mut sink), Ok(read) if read > 0) {
                raised = true;
            }
            raised
        }

        pub(super) fn reader(&self) -> &Reader {
            &self.reader
        }
    }
}

#[cfg(windows)]
mod imp {
    use std::io;
    use std::net::{Ipv4Addr, UdpSocket};

    pub(crate) type Reader = UdpSocket;

    /// A socket connected to itself: nobody else's datagrams reach it, and Windows can wait for it beside the real one.
    #[derive(Debug)]
    pub(super) struct Pair {
        socket: UdpSocket,
    }

    impl Pair {
        pub(super) fn new() -> io::Result<Self> {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(socket.local_addr()?)?;
            socket.set_nonblocking(true)?;
            Ok(Self { socket })
        }

        pub(super) fn raise(&self) {
            // A full buffer means that a raise is already waiting to be seen.
            let _ = self.socket.send(&[1]);
        }

        pub(super) fn take(&self) -> bool {
            let mut sink = [0; 8];
            let mut raised = false;
            while self.socket.recv(&mut sink).is_ok() {
                raised = true;
            }
            raised
        }

        pub(super) fn reader(&self) -> &Reader {
            &self.socket
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raise_is_seen_until_it_is_taken() {
        let interrupt = Interrupt::new().unwrap();
        assert!(!interrupt.is_raised() && !interrupt.take());
        interrupt.raise();
        interrupt.raise();
        assert!(interrupt.is_raised() && interrupt.is_raised());
        assert!(interrupt.take());
        assert!(!interrupt.is_raised() && !interrupt.take());
    }
}
