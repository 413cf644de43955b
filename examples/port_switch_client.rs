//! Runs many streams to a `port_switch_server`, goes with each to the port that it is told, and checks every byte that
//! comes back.
//!
//!     cargo run --release --example port_switch_client -- --connect 127.0.0.1:4439 --streams 50
//!
//! A stream that hears nothing for `--start-over-seconds` begins anew at the first port: a NAT may have given it
//! another port in mid-stream, to which its socket at the server does not listen. By default it does not. If nothing
//! was ever heard from the new port, it stays at the first one then: there are NATs and firewalls with which it works
//! no other way.
//!
//! Exit code 0 only if all datagrams have come back, each to its own stream, and each stream went on at a new port;
//! with `--may-stay` also if streams stayed at the first.

mod support;
#[path = "port_switch/wire.rs"]
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::error::{ConnectError, GetError, PollError, PutError};
use packetpeer::stats::{PeerStats, PollReport};
use packetpeer::{Packet, PacketPeer, PacketPeerUdp, PeerId, PeerState};
use support::streams::{Stream, Summary};
use wire::Answer;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4439));
    let mut streams: usize = 10;
    let mut count: u32 = 20;
    let mut size: usize = 64;
    let mut give_up_seconds: f64 = 10.0;
    let mut start_over_seconds: f64 = f64::INFINITY;
    let mut may_stay = false;
    support::read_options(
        "Sends numbered datagrams in many streams, goes where each is told to go, and checks what comes back.",
        &mut [
            ("connect", &mut connect),
            ("streams", &mut streams),
            ("count", &mut count),
            ("size", &mut size),
            ("give-up-seconds", &mut give_up_seconds),
            ("start-over-seconds", &mut start_over_seconds),
            ("may-stay", &mut may_stay),
        ],
    )?;

    // The answers are longer by their header.
    support::check("size", size, 0..=support::MAX_SIZE - wire::HEADER)?;
    let mut clients = Vec::new();
    for _ in 0..streams {
        clients.push((Stream::new(count, size, give_up_seconds)?, Switcher::new(connect)?));
    }
    while clients.iter().any(|(stream, _)| !stream.is_over()) {
        for (stream, switcher) in &mut clients {
            stream.exchange(switcher)?;
            if !stream.is_over() && switcher.silence().as_secs_f64() > start_over_seconds {
                switcher.start_over()?;
            }
        }
        thread::sleep(Duration::from_micros(500));
    }

    let summary = Summary::of(clients.iter().map(|(stream, _)| stream));
    let switched = clients.iter().filter(|(_, switcher)| switcher.heard_there > 0).count();
    let started_over: usize = clients.iter().map(|(_, switcher)| switcher.started_over).sum();
    println!("{summary}, {switched} streams switched to a new port, {started_over} times started over");
    let all_well = summary.is_perfect() && (may_stay || switched == streams);
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A socket that goes to the port that it is told: a layer that takes the first byte off each packet.
#[derive(Debug)]
struct Switcher {
    first: SocketAddr,
    /// Connected, so that the server's host and the one port of it are all that is heard.
    socket: PacketPeerUdp,
    last_heard: Instant,
    /// Answers from new ports.
    heard_there: usize,
    /// Goes nowhere any more.
    stays: bool,
    started_over: usize,
}

impl Switcher {
    fn new(first: SocketAddr) -> Result<Self, ConnectError> {
        let socket = connected(first)?;
        let last_heard = socket.now();
        Ok(Self { first, socket, last_heard, heard_there: 0, stays: false, started_over: 0 })
    }

    /// As somebody new, from another port: as whom we were, the server answers to where we are not heard.
    fn start_over(&mut self) -> Result<(), ConnectError> {
        self.socket = connected(self.first)?;
        self.last_heard = self.socket.now();
        self.stays = self.heard_there == 0;
        self.started_over += 1;
        Ok(())
    }

    /// For how long nothing has come.
    fn silence(&self) -> Duration {
        self.socket.now().saturating_duration_since(self.last_heard)
    }

    /// Goes on with the same socket: the server's new one listens to its port only.
    fn change_port(&mut self, port: u16) {
        // Should the system not let us, we are told again.
        let _ = self.socket.connect_to_host((self.first.ip(), port));
    }
}

fn connected(server: SocketAddr) -> Result<PacketPeerUdp, ConnectError> {
    let mut socket = PacketPeerUdp::new();
    socket.connect_to_host(server)?;
    Ok(socket)
}

impl PacketPeer for Switcher {
    fn id(&self) -> PeerId {
        self.socket.id()
    }

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        self.socket.poll_at(now)
    }

    fn now(&self) -> Instant {
        self.socket.now()
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        while let Some(mut packet) = self.socket.get_packet()? {
            self.last_heard = packet.received_at();
            match Answer::read(&packet) {
                Some(Answer::Echo(_)) => {
                    self.heard_there += usize::from(packet.sender() != self.first);
                    let _ = packet.strip_front(wire::HEADER);
                    return Ok(Some(packet));
                }
                Some(Answer::ChangePort(port)) if !self.stays => self.change_port(port),
                _ => {}
            }
        }
        Ok(None)
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.socket.put_packet(bytes)
    }

    fn can_put(&self, len: usize) -> bool {
        self.socket.can_put(len)
    }

    fn available_packet_count(&self) -> usize {
        self.socket.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.socket.max_packet_size() - 1
    }

    fn state(&self) -> PeerState {
        self.socket.state()
    }

    fn close(&mut self) {
        self.socket.close();
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.socket.remote_addr()
    }

    fn stats(&self) -> PeerStats {
        self.socket.stats()
    }
}
