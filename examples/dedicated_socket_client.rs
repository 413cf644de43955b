//! Runs many streams to a `dedicated_socket_server`, follows each to the port it is answered from, and checks every
//! byte that comes back.
//!
//!     cargo run --release --example dedicated_socket_client -- --connect 127.0.0.1:4438 --streams 50
//!
//! Exit code 0 only if all datagrams have come back, each to its own stream, and each stream was answered from one new
//! port throughout; with `--may-stay` also if that is the port it began with, as on a server that has no more sockets
//! to give.

mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::error::{GetError, PollError, PutError};
use packetpeer::stats::{PeerStats, PollReport};
use packetpeer::{Packet, PacketPeer, PacketPeerUdp, PeerId, PeerState};
use support::streams::{Stream, Summary};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4438));
    let mut streams: usize = 10;
    let mut count: u32 = 20;
    let mut size: usize = 64;
    let mut give_up_seconds: f64 = 10.0;
    let mut may_stay = false;
    support::read_options(
        "Sends numbered datagrams in many streams, follows each to its own port, and checks what comes back.",
        &mut [
            ("connect", &mut connect),
            ("streams", &mut streams),
            ("count", &mut count),
            ("size", &mut size),
            ("give-up-seconds", &mut give_up_seconds),
            ("may-stay", &mut may_stay),
        ],
    )?;

    let mut clients = Vec::new();
    for _ in 0..streams {
        clients.push((Stream::new(count, size, give_up_seconds)?, Follower::new(connect)?));
    }
    while clients.iter().any(|(stream, _)| !stream.is_over()) {
        for (stream, follower) in &mut clients {
            stream.exchange(follower)?;
        }
        thread::sleep(Duration::from_micros(500));
    }

    let summary = Summary::of(clients.iter().map(|(stream, _)| stream));
    let followed = clients.iter().filter(|(_, follower)| follower.has_followed()).count();
    let astray: u64 = clients.iter().map(|(_, follower)| follower.astray()).sum();
    println!("{summary}, {followed} streams followed to a new port, {astray} datagrams astray");
    let all_well = summary.is_perfect() && astray == 0 && (may_stay || followed == streams);
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A socket that goes on with the port that the first answer comes from: a layer that watches over it.
#[derive(Debug)]
struct Follower {
    first: SocketAddr,
    /// Where the first answer came from.
    answers_from: Option<SocketAddr>,
    astray: u64,
    socket: PacketPeerUdp,
}

impl Follower {
    fn new(first: SocketAddr) -> Result<Self, Box<dyn Error>> {
        let mut socket = PacketPeerUdp::new();
        socket.set_follow_port(true)?;
        socket.connect_to_host(first)?;
        Ok(Self { first, answers_from: None, astray: 0, socket })
    }

    fn has_followed(&self) -> bool {
        self.answers_from.is_some_and(|from| from != self.first)
    }

    /// Datagrams from another port than the first answer, or after which ours would not go where that came from.
    fn astray(&self) -> u64 {
        self.astray + self.socket.stats().drops.stranger
    }
}

impl PacketPeer for Follower {
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
        let Some(packet) = self.socket.get_packet()? else { return Ok(None) };
        let own = *self.answers_from.get_or_insert(packet.sender());
        if packet.sender() != own || self.socket.remote_addr() != Some(own) {
            self.astray += 1;
        }
        Ok(Some(packet))
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
        self.socket.max_packet_size()
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
