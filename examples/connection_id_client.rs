//! Runs many connections to a `connection_id_server`, changes their ports in mid-stream, and checks every byte that
//! comes back.
//!
//!     cargo run --release --example connection_id_client -- --connect 127.0.0.1:4437 --streams 50 --move-every 5
//!
//! Exit code 0 only if all datagrams have come back, each to its own stream.

mod support;
#[path = "connection_id/wire.rs"]
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::error::{GetError, PollError, PutError};
use packetpeer::identity::ConnectionId;
use packetpeer::stats::{PeerStats, PollReport};
use packetpeer::{Packet, PacketPeer, PacketPeerUdp, PeerId, PeerState};
use support::streams::{Stream, Summary};
use wire::Said;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4437));
    let mut streams: usize = 10;
    let mut count: u32 = 20;
    let mut size: usize = 64;
    let mut give_up_seconds: f64 = 10.0;
    let mut move_every: u32 = 0;
    support::read_options(
        "Sends numbered datagrams on many connections; with --move-every N each goes on from a new port after N of them.",
        &mut [
            ("connect", &mut connect),
            ("streams", &mut streams),
            ("count", &mut count),
            ("size", &mut size),
            ("give-up-seconds", &mut give_up_seconds),
            ("move-every", &mut move_every),
        ],
    )?;

    support::check("size", size, 0..=support::MAX_SIZE - wire::HEADER)?;
    let mut clients = Vec::new();
    for _ in 0..streams {
        clients.push((Stream::new(count, size, give_up_seconds)?, Connection::new(connect)?));
    }
    while clients.iter().any(|(stream, _)| !stream.is_over()) {
        for (stream, connection) in &mut clients {
            stream.exchange(connection)?;
            let moves_due = stream.confirmed().checked_div(move_every).unwrap_or(0);
            if connection.moves() < moves_due && !stream.is_over() {
                connection.change_port()?;
            }
        }
        thread::sleep(Duration::from_micros(500));
    }

    let summary = Summary::of(clients.iter().map(|(stream, _)| stream));
    println!("{summary}, {} moves", clients.iter().map(|(_, connection)| connection.moves()).sum::<u32>());
    Ok(if summary.is_perfect() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A connection that is known by its id: a layer that puts the id in front of each packet, and takes it off again.
#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    server: SocketAddr,
    socket: PacketPeerUdp,
    /// The sockets before: held, lest the system gives one of their ports out a second time.
    left: Vec<PacketPeerUdp>,
}

impl Connection {
    fn new(server: SocketAddr) -> Result<Self, Box<dyn Error>> {
        // From the system's source of secrets: a generator that others could foresee would give the connection away.
        let mut id = [0; wire::ID_SIZE];
        getrandom::fill(&mut id)?;
        let id = ConnectionId(u64::from_be_bytes(id));
        Ok(Self { id, server, socket: connected(server)?, left: Vec::new() })
    }

    /// As when a NAT gives the client another port. What is on its way to the old one is lost.
    fn change_port(&mut self) -> Result<(), Box<dyn Error>> {
        let old = std::mem::replace(&mut self.socket, connected(self.server)?);
        self.left.push(old);
        Ok(())
    }

    fn moves(&self) -> u32 {
        self.left.len() as u32
    }
}

fn connected(server: SocketAddr) -> Result<PacketPeerUdp, Box<dyn Error>> {
    let mut socket = PacketPeerUdp::new();
    socket.connect_to_host(server)?;
    Ok(socket)
}

impl PacketPeer for Connection {
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
        loop {
            let Some(mut packet) = self.socket.get_packet()? else { return Ok(None) };
            match wire::read(&packet) {
                Some((id, Said::Data(_))) if id == self.id => _ = packet.strip_front(wire::HEADER),
                // The server wants to see that we receive here. Should the answer be lost, it asks again.
                Some((id, Said::Token(_))) if id == self.id => {
                    let _ = self.socket.put_packet(&packet);
                    continue;
                }
                // Under another id it is not for us; left as it is, no stream takes it for its own.
                _ => {}
            }
            return Ok(Some(packet));
        }
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.socket.put_packet(&wire::write(self.id, Said::Data(bytes)))
    }

    fn can_put(&self, len: usize) -> bool {
        self.socket.can_put(wire::HEADER + len)
    }

    fn available_packet_count(&self) -> usize {
        self.socket.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.socket.max_packet_size() - wire::HEADER
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
