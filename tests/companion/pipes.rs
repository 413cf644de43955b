//! What carries a toy stream: sockets of the system, or chunks in the virtual time of a network in memory.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use packetpeer::sim::{InFlight, Network};

/// One end of a stream of bytes. Calls never block.
pub(crate) trait Pipe: fmt::Debug + Send + Sync {
    /// `Ok(0)` = the other side has closed.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;
}

/// Where streams come in.
pub(crate) trait Gate: fmt::Debug + Send + Sync {
    fn accept(&mut self) -> io::Result<(Box<dyn Pipe>, SocketAddr)>;
    fn local_addr(&self) -> SocketAddr;
}

impl Pipe for TcpStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Read::read(self, buffer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Write::write(self, bytes)
    }
}

impl Gate for TcpListener {
    fn accept(&mut self) -> io::Result<(Box<dyn Pipe>, SocketAddr)> {
        let (stream, remote) = Self::accept(self)?;
        stream.set_nonblocking(true)?;
        Ok((Box::new(stream), remote))
    }

    fn local_addr(&self) -> SocketAddr {
        Self::local_addr(self).expect("it is bound")
    }
}

/// A cable between two hosts of a network in memory: bytes arrive in order, as late as its links say.
#[derive(Debug)]
struct Cable {
    network: Network,
    ends: [SocketAddr; 2],
    /// What is under way, to the one end and to the other. The end of a stream is `None`.
    to: [InFlight<Option<Vec<u8>>>; 2],
    /// What has arrived and was not read.
    arrived: [VecDeque<u8>; 2],
    is_closed: [bool; 2],
}

/// Bytes that may be under way or wait to be read in one direction, as those of a TCP socket's buffers.
const WINDOW: usize = 8 << 10;

impl Cable {
    fn take_in(&mut self, end: usize) {
        let now = self.network.now();
        while let Some(arrival) = self.to[end].due(now) {
            match arrival.item {
                Some(bytes) => self.arrived[end].extend(bytes),
                None => self.is_closed[end] = true,
            }
        }
    }

    fn send(&mut self, from: usize, bytes: Option<Vec<u8>>) {
        let link = self.network.link(self.ends[from].ip(), self.ends[1 - from].ip());
        let len = bytes.as_ref().map_or(0, Vec::len);
        self.to[1 - from].send(bytes, len, &link, self.network.now());
    }
}

/// One end of a [`Cable`].
#[derive(Debug)]
pub(crate) struct VirtualPipe {
    cable: Arc<Mutex<Cable>>,
    end: usize,
}

impl VirtualPipe {
    fn pair(network: &Network, ends: [SocketAddr; 2]) -> [Self; 2] {
        let seed = |end: &SocketAddr| network.seed(&format!("cable to {end}"));
        let cable = Cable {
            network: network.clone(),
            ends,
            to: ends.each_ref().map(|end| InFlight::new(seed(end))),
            arrived: Default::default(),
            is_closed: [false; 2],
        };
        let cable = Arc::new(Mutex::new(cable));
        [0, 1].map(|end| Self { cable: Arc::clone(&cable), end })
    }

    fn cable(&self) -> MutexGuard<'_, Cable> {
        self.cable.lock().expect("nobody panics with it")
    }
}

impl Pipe for VirtualPipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut cable = self.cable();
        cable.take_in(self.end);
        match cable.arrived[self.end].read(buffer) {
            Ok(0) if !cable.is_closed[self.end] => Err(io::ErrorKind::WouldBlock.into()),
            read => read,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (from, to) = (self.end, 1 - self.end);
        let mut cable = self.cable();
        cable.take_in(to);
        // Packets under way are at most a few hundred bytes here, so counting them is counting bytes well enough.
        let waiting = cable.arrived[to].len() + cable.to[to].len() * 512;
        let len = bytes.len().min(512).min(WINDOW.saturating_sub(waiting));
        if len == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        cable.send(from, Some(bytes[..len].to_vec()));
        Ok(len)
    }
}

impl Drop for VirtualPipe {
    fn drop(&mut self) {
        let from = self.end;
        self.cable().send(from, None);
    }
}

/// Where cables come in, on a host of a network in memory.
#[derive(Debug, Clone)]
pub(crate) struct VirtualGate {
    network: Network,
    addr: SocketAddr,
    waiting: Arc<Mutex<VecDeque<(VirtualPipe, SocketAddr)>>>,
}

impl VirtualGate {
    pub(crate) fn new(network: &Network, addr: SocketAddr) -> Self {
        Self { network: network.clone(), addr, waiting: Arc::default() }
    }

    /// The other end of a new cable, to a client at `from`.
    pub(crate) fn connect(&self, from: SocketAddr) -> VirtualPipe {
        let [here, there] = VirtualPipe::pair(&self.network, [from, self.addr]);
        self.waiting.lock().expect("nobody panics with it").push_back((there, from));
        here
    }
}

impl Gate for VirtualGate {
    fn accept(&mut self) -> io::Result<(Box<dyn Pipe>, SocketAddr)> {
        let next = self.waiting.lock().expect("nobody panics with it").pop_front();
        let (pipe, remote) = next.ok_or(io::ErrorKind::WouldBlock)?;
        Ok((Box::new(pipe), remote))
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}
