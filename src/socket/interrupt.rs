use std::io;

/// Ends a [`Transport::wait`](super::Transport::wait) from another thread.
///
/// A raise is remembered until a wait takes it, so one that comes just before the wait is not lost.
#[derive(Debug)]
pub struct Interrupt {
    imp: imp::Pair,
}

impl Interrupt {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { imp: imp::Pair::new()? })
    }

    /// Ends the wait that is going on, or the next one.
    pub(crate) fn raise(&self) {
        self.imp.raise();
    }

    /// Whether it was raised since this was asked last.
    pub(crate) fn take(&self) -> bool {
        self.imp.take()
    }

    pub(super) fn reader(&self) -> &imp::Reader {
        self.imp.reader()
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
