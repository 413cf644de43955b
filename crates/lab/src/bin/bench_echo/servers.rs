//! The contenders that run in a process of ours.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use packetpeer::error::GetError;
use packetpeer::{Limits, PacketPeer, PacketPeerUdp, PeerId, SendMode, ServerConfig, SocketOptions, UdpServer};

use crate::options::LARGEST;

/// A server that sends everything back.
pub(crate) trait EchoServer {
    /// Receives all that waits and answers it; returns how many datagrams that was.
    fn frame(&mut self) -> Result<usize, Box<dyn Error>>;
    /// Sleeps until there is something to receive, or for `timeout`.
    fn wait(&mut self, timeout: Duration) -> Result<(), Box<dyn Error>>;
    /// How often a packet's memory came from the allocator.
    fn pool_misses(&self) -> u64 {
        0
    }
}

/// A server that has been opened, and what has to be known about its socket.
pub(crate) struct Opened {
    pub(crate) server: Box<dyn EchoServer>,
    pub(crate) addr: SocketAddr,
    pub(crate) receive_buffer: usize,
}

/// Opens the contender of this name, for so many peers.
pub(crate) fn open(name: &str, peers: usize) -> Result<Opened, Box<dyn Error>> {
    let (base, dont_fragment) = name.strip_suffix("-df").map_or((name, false), |base| (base, true));
    let send_mode = match base {
        "queue" => SendMode::QueueWhenBlocked,
        "flush" => SendMode::OnFlush,
        _ => SendMode::Now,
    };
    let limits = Limits::new()
        .max_peers(peers)
        .max_pending_connections(peers)
        .max_known_per_poll(1 << 20)
        .max_unknown_per_poll(1 << 20)
        // Nobody goes idle, but it is looked for.
        .idle_timeout(Some(Duration::from_secs(3600)));
    let socket = SocketOptions::new().dont_fragment(dont_fragment);
    let mut ours = UdpServer::with_config(ServerConfig::new().limits(limits).socket(socket).send_mode(send_mode))?;
    ours.listen("127.0.0.1:0")?;
    let addr = ours.local_addr().ok_or("not listening")?;
    let receive_buffer = ours.receive_buffer_size().ok_or("a socket without a receive buffer")?;
    // The others get the very socket that ours would have had.
    let socket = |ours: &UdpServer| -> Result<UdpSocket, Box<dyn Error>> {
        Ok(ours.socket().ok_or("no socket")?.as_fd().try_clone_to_owned()?.into())
    };
    let server: Box<dyn EchoServer> = match base {
        "now" | "queue" | "flush" => Box::new(Ours { server: ours, table: Vec::new(), ready: Vec::new() }),
        "plain" => Box::new(Plain { socket: socket(&ours)?, buffer: vec![0; LARGEST] }),
        "naive" => Box::new(Naive { socket: socket(&ours)?, peers: HashMap::new(), buffer: vec![0; LARGEST] }),
        "floor" => Box::new(Floor::new(socket(&ours)?)),
        _ => return Err(format!("no contender {name:?}").into()),
    };
    Ok(Opened { server, addr, receive_buffer })
}

/// This crate, used as the example `echo_server` does.
struct Ours {
    server: UdpServer,
    table: Vec<Option<PacketPeerUdp>>,
    ready: Vec<PeerId>,
}

impl EchoServer for Ours {
    fn frame(&mut self) -> Result<usize, Box<dyn Error>> {
        let received = self.server.poll()?.received;
        while let Some(peer) = self.server.take_connection() {
            let index = peer.id().index();
            if index >= self.table.len() {
                self.table.resize_with(index + 1, || None);
            }
            self.table[index] = Some(peer);
        }
        self.ready.clear();
        self.server.ready(&mut self.ready);
        for id in &self.ready {
            let slot = &mut self.table[id.index()];
            if slot.as_mut().is_some_and(|peer| echo(peer).is_err()) {
                *slot = None;
            }
        }
        self.server.flush()?;
        Ok(received)
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Box<dyn Error>> {
        self.server.wait(Some(timeout))?;
        Ok(())
    }

    fn pool_misses(&self) -> u64 {
        self.server.stats().pool_misses
    }
}

fn echo(peer: &mut impl PacketPeer) -> Result<(), GetError> {
    while let Some(packet) = peer.get_packet()? {
        let _ = peer.put_packet(&packet);
    }
    Ok(())
}

struct Plain {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl EchoServer for Plain {
    fn frame(&mut self) -> Result<usize, Box<dyn Error>> {
        let mut received = 0;
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((len, sender)) => {
                    received += 1;
                    // What is not sent is missed, and counted, by who waits for it.
                    let _ = self.socket.send_to(&self.buffer[..len], sender);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(received),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Box<dyn Error>> {
        wait_for(&self.socket, timeout)
    }
}

struct Naive {
    socket: UdpSocket,
    peers: HashMap<SocketAddr, VecDeque<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl EchoServer for Naive {
    fn frame(&mut self) -> Result<usize, Box<dyn Error>> {
        let mut received = 0;
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((len, sender)) => {
                    received += 1;
                    self.peers.entry(sender).or_default().push_back(self.buffer[..len].to_vec());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        for (peer, packets) in &mut self.peers {
            while let Some(packet) = packets.pop_front() {
                let _ = self.socket.send_to(&packet, peer);
            }
        }
        Ok(received)
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Box<dyn Error>> {
        wait_for(&self.socket, timeout)
    }
}

/// Datagrams a call.
const AT_ONCE: usize = 64;

struct Floor {
    socket: UdpSocket,
    buffers: Box<[[u8; LARGEST]; AT_ONCE]>,
    incoming: MultiHeaders<SockaddrIn>,
    outgoing: MultiHeaders<SockaddrIn>,
}

impl Floor {
    fn new(socket: UdpSocket) -> Self {
        Self {
            socket,
            buffers: Box::new([[0; LARGEST]; AT_ONCE]),
            incoming: MultiHeaders::preallocate(AT_ONCE, None),
            outgoing: MultiHeaders::preallocate(AT_ONCE, None),
        }
    }

    /// One call each way.
    fn batch(&mut self) -> io::Result<usize> {
        let socket = self.socket.as_raw_fd();
        let mut lengths = [0; AT_ONCE];
        let mut senders: [Option<SockaddrIn>; AT_ONCE] = [None; AT_ONCE];
        let mut received = 0;
        let mut slots = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        for message in recvmmsg(socket, &mut self.incoming, &mut slots, MsgFlags::MSG_DONTWAIT, None)? {
            lengths[received] = message.bytes;
            senders[received] = message.address;
            received += 1;
        }

        let answers: [_; AT_ONCE] = std::array::from_fn(|index| [IoSlice::new(&self.buffers[index][..lengths[index]])]);
        let (answers, senders) = (&answers[..received], &senders[..received]);
        // What it leaves unsent is missed, and counted, by who waits for it.
        let _ = sendmmsg(socket, &mut self.outgoing, answers, senders, [], MsgFlags::MSG_DONTWAIT)?;
        Ok(received)
    }
}

impl EchoServer for Floor {
    fn frame(&mut self) -> Result<usize, Box<dyn Error>> {
        let mut received = 0;
        loop {
            match self.batch() {
                Ok(AT_ONCE) => received += AT_ONCE,
                // A call that was not full has seen the socket empty.
                Ok(last) => return Ok(received + last),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(received),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), Box<dyn Error>> {
        wait_for(&self.socket, timeout)
    }
}

fn wait_for(socket: &UdpSocket, timeout: Duration) -> Result<(), Box<dyn Error>> {
    poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], PollTimeout::try_from(timeout)?)?;
    Ok(())
}
