//! All clients, through one socket: packet info gives each datagram a source address of its own out of 127.0.0.0/8, and
//! tells of each answer which address it went to. A hundred thousand peers need no hundred thousand sockets.

use std::error::Error;
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, getsockopt, recvmsg, sendmsg, setsockopt, sockopt,
};

use crate::options::LARGEST;
use crate::process::ServerProcess;

/// The address of peer 0; the others follow.
const FIRST_PEER: u32 = u32::from_be_bytes([127, 1, 0, 1]);

/// How long an answer may take. On loopback it is there before we look.
const PATIENCE: Duration = Duration::from_millis(250);

/// Bytes to ask for; root gets them, others what `net.core.rmem_max` allows.
const RECEIVE_BUFFER: usize = 32 << 20;

/// Datagrams of an overload between two looks at what came back.
pub(crate) const BURST: usize = 64;

pub(crate) struct Generator {
    socket: UdpSocket,
    /// Peer and number, then bytes that tell a datagram that was cut or mixed up.
    payload: Vec<u8>,
    next: u32,
    answer: Vec<u8>,
    control: Vec<u8>,
}

/// What became of the datagrams of one frame, or of one run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    pub(crate) sent: usize,
    pub(crate) lost: usize,
    /// Answers that are damaged, somebody else's, or given twice.
    pub(crate) strange: usize,
    /// The server's processor time.
    pub(crate) time: Duration,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.strange += other.strange;
        self.time += other.time;
    }

    /// Processor time of what was not lost.
    pub(crate) fn nanoseconds_each(&self) -> f64 {
        self.time.as_nanos() as f64 / self.sent.saturating_sub(self.lost).max(1) as f64
    }
}

/// An answer, and which datagram it says it answers.
struct Answer {
    from: SocketAddrV4,
    len: usize,
    peer: u32,
    number: u32,
    /// It came to the peer it names, and the rest is as it was sent.
    intact: bool,
}

impl Generator {
    pub(crate) fn open() -> Result<Self, Box<dyn Error>> {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_nonblocking(true)?;
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        let mut noise = fastrand::Rng::with_seed(1);
        Ok(Self {
            socket,
            payload: std::iter::repeat_with(|| noise.u8(..)).take(LARGEST).collect(),
            next: 0,
            answer: vec![0; LARGEST + 1],
            control: nix::cmsg_space!(in_pktinfo),
        })
    }

    pub(crate) fn port(&self) -> Result<u16, Box<dyn Error>> {
        Ok(self.socket.local_addr()?.port())
    }

    pub(crate) fn receive_buffer(&self) -> Result<usize, Box<dyn Error>> {
        Ok(getsockopt(&self.socket, sockopt::RcvBuf)?)
    }

    /// Lets each of `peers` send `burst` datagrams, the server answer them in one frame, and checks the answers, where
    /// they are not `dropped` on their way.
    pub(crate) fn frame(
        &mut self,
        server: &mut ServerProcess,
        peers: &[u32],
        size: usize,
        burst: usize,
        dropped: bool,
    ) -> Result<Outcome, Box<dyn Error>> {
        let first = self.next;
        let sent = peers.len() * burst;
        // First one of each, then another of each: as they come where everybody sends at a rhythm of their own.
        for _ in 0..burst {
            for &peer in peers {
                self.send(server.addr, peer, size)?;
            }
        }

        let mut received = 0;
        let mut outcome = Outcome { sent, ..Outcome::default() };
        let deadline = Instant::now() + PATIENCE;
        while received < sent {
            let frame = server.frame()?;
            received += frame.received;
            outcome.time += frame.time;
            if frame.received == 0 {
                if Instant::now() > deadline {
                    break;
                }
                thread::sleep(Duration::from_millis(1));
            }
        }
        if dropped {
            outcome.lost = sent - received;
            return Ok(outcome);
        }

        let mut seen = vec![false; sent];
        let mut missing = sent;
        while missing > 0 {
            let Some(answer) = self.receive(PATIENCE)? else { break };
            let index = answer.number.wrapping_sub(first) as usize;
            // An answer to something earlier, that was given up.
            if index >= sent && answer.intact {
                continue;
            }
            let right = answer.intact && answer.len == size && answer.from == server.addr;
            if right && peers[index % peers.len()] == answer.peer && !std::mem::replace(&mut seen[index], true) {
                missing -= 1;
            } else {
                outcome.strange += 1;
            }
        }
        outcome.lost = missing;
        Ok(outcome)
    }

    /// Keeps `under_way` datagrams under way until `total` have come back, or `time` is over. The server runs freely.
    /// Its time is for others to look up.
    pub(crate) fn saturate(
        &mut self,
        server: SocketAddrV4,
        peers: &[u32],
        size: usize,
        under_way: usize,
        total: usize,
        time: Duration,
    ) -> Result<Outcome, Box<dyn Error>> {
        let deadline = Instant::now() + time;
        let mut outcome = Outcome::default();
        let mut speakers = peers.iter().cycle();
        let mut answered = 0;
        let mut waiting = 0;
        while answered < total && (Instant::now() < deadline || waiting > 0) {
            while waiting < under_way && outcome.sent < total {
                self.send(server, *speakers.next().ok_or("no peers")?, size)?;
                outcome.sent += 1;
                waiting += 1;
            }
            // Godot takes its time.
            let Some(answer) = self.receive(8 * PATIENCE)? else {
                outcome.lost += waiting;
                answered += waiting;
                waiting = 0;
                continue;
            };
            if answer.from != server {
                continue;
            }
            if answer.intact && answer.len == size {
                answered += 1;
                waiting = waiting.saturating_sub(1);
            } else {
                outcome.strange += 1;
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Ok(outcome)
    }

    /// Sends as fast as it can for `time`, whatever comes back, and then waits until nothing does. What the server's
    /// receive buffer could not take is lost, as it is in an overload.
    pub(crate) fn overload(
        &mut self,
        server: SocketAddrV4,
        peers: &[u32],
        size: usize,
        time: Duration,
    ) -> Result<Outcome, Box<dyn Error>> {
        let deadline = Instant::now() + time;
        let mut outcome = Outcome::default();
        let mut speakers = peers.iter().cycle();
        let mut answered = 0;
        loop {
            let over = Instant::now() >= deadline;
            if !over {
                for &peer in speakers.by_ref().take(BURST) {
                    self.send(server, peer, size)?;
                    outcome.sent += 1;
                }
            }
            let mut patience = if over { 8 * PATIENCE } else { Duration::ZERO };
            while let Some(answer) = self.receive(patience)? {
                patience = Duration::ZERO;
                if answer.from == server && answer.intact && answer.len == size {
                    answered += 1;
                } else {
                    outcome.strange += usize::from(answer.from == server);
                }
            }
            if over && !patience.is_zero() {
                break;
            }
        }
        outcome.lost = outcome.sent.saturating_sub(answered);
        Ok(outcome)
    }

    fn send(&mut self, server: SocketAddrV4, peer: u32, size: usize) -> Result<(), Box<dyn Error>> {
        self.payload[..4].copy_from_slice(&peer.to_le_bytes());
        self.payload[4..8].copy_from_slice(&self.next.to_le_bytes());
        self.next = self.next.wrapping_add(1);
        let source = in_addr { s_addr: (FIRST_PEER + peer).to_be() };
        let info = in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: in_addr { s_addr: 0 } };
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&self.payload[..size])],
            &[ControlMessage::Ipv4PacketInfo(&info)],
            MsgFlags::empty(),
            Some(&SockaddrIn::from(server)),
        )?;
        Ok(())
    }

    fn receive(&mut self, timeout: Duration) -> Result<Option<Answer>, Box<dyn Error>> {
        let socket = self.socket.as_raw_fd();
        let (len, from, to) = loop {
            let mut slots = [IoSliceMut::new(&mut self.answer)];
            match recvmsg::<SockaddrIn>(socket, &mut slots, Some(&mut self.control), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => {
                    let to = message.cmsgs()?.find_map(|control| match control {
                        ControlMessageOwned::Ipv4PacketInfo(info) => Some(u32::from_be(info.ipi_addr.s_addr)),
                        _ => None,
                    });
                    let from = message.address.ok_or("a datagram without a sender")?;
                    break (message.bytes, SocketAddrV4::from(from), to.ok_or("no packet info")?);
                }
                Err(Errno::EAGAIN) => {
                    let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut waiting, PollTimeout::try_from(timeout)?)? == 0 {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        let number =
            |at: usize| -> Result<u32, Box<dyn Error>> { Ok(u32::from_le_bytes(self.answer[at..at + 4].try_into()?)) };
        let (peer, number) = (number(0)?, number(4)?);
        let filler = self.payload.get(8..len).is_some_and(|expected| *expected == self.answer[8..len]);
        let intact = filler && FIRST_PEER.wrapping_add(peer) == to;
        Ok(Some(Answer { from, len, peer, number, intact }))
    }
}
