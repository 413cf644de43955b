//! Takes requests from clients, has another server do them, and gives each client its reply.
//!
//!     cargo run --release --example echo_server -- --listen 127.0.0.1:4433
//!     cargo run --release --example gateway -- --listen 127.0.0.1:4437 --connect 127.0.0.1:4433
//!     cargo run --release --example gateway_client -- --connect 127.0.0.1:4437 --clients 50
//!
//! Many requests are on their way upstream at a time, over one socket. Each gets an id in front, which the upstream
//! server has to send back, so that replies find their client in whatever order they come. Every request is answered:
//! also the one whose reply is lost or late, and the one too many. Try it with `slow_upstream` for `echo_server`. Ends
//! on Ctrl-C, or after `--seconds`, and prints its counters.

mod in_flight;
#[path = "../support/mod.rs"]
mod support;
mod wire;

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use in_flight::InFlight;
use packetpeer::error::PutError;
use packetpeer::limits::QueueLimits;
use packetpeer::{Limits, Packet, PacketPeerUdp, PeerId, Peers, ServerConfig, UdpServer};
use support::FrameClock;
use wire::Outcome;

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4437");
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4433));
    let mut timeout_ms: u64 = 500;
    let mut max_in_flight: usize = 4096;
    let mut hz: u32 = 500;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Passes requests of clients on to the server at --connect, and its replies back.",
        &mut [
            ("listen", &mut listen),
            ("connect", &mut connect),
            ("timeout-ms", &mut timeout_ms),
            ("max-in-flight", &mut max_in_flight),
            ("hz", &mut hz),
            ("seconds", &mut seconds),
        ],
    )?;

    let mut upstream = PacketPeerUdp::new();
    // All replies may come at once.
    upstream.set_receive_buffer(Some(4 << 20))?;
    upstream.set_queue_limits(QueueLimits::new().packets(max_in_flight).bytes(4 << 20))?;
    upstream.connect_to_host(connect)?;
    let mut gateway = Gateway {
        // As many from one address: clients of a test all come from there.
        server: UdpServer::with_config(
            ServerConfig::new()
                .limits(Limits::new().max_pending_connections(256).max_pending_per_ip(256).max_peers_per_ip(None)),
        )?,
        upstream,
        clients: Peers::new(),
        in_flight: InFlight::new(fastrand::u32(..), max_in_flight, Duration::from_millis(timeout_ms)),
        datagram: Vec::new(),
        tally: Tally::default(),
    };
    let stop = support::ctrl_c()?;
    gateway.server.listen(&listen)?;
    println!("listening on {}", gateway.server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut clock = FrameClock::new(hz);
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        clock.sleep();
        gateway.frame()?;
    }
    println!("{}", gateway.tally);
    println!("in flight       {:>12}", gateway.in_flight.len());
    println!("-- clients\n{}", gateway.server.stats());
    println!("-- upstream\n{}", gateway.upstream.stats());
    Ok(())
}

struct Gateway {
    server: UdpServer,
    /// Connected: nobody but the upstream server can reply.
    upstream: PacketPeerUdp,
    /// By ids that name a client and not another that has taken its place since.
    clients: Peers<UdpServer>,
    in_flight: InFlight,
    /// What is being sent.
    datagram: Vec<u8>,
    tally: Tally,
}

impl Gateway {
    fn frame(&mut self) -> Result<(), Box<dyn Error>> {
        self.server.poll()?;
        self.upstream.poll()?;
        let now = Instant::now();
        self.clients.update(&mut self.server, |_, _| Some(()), |_, _, (), _| {});
        // Replies first: what has come by now is in time, and makes room.
        self.pass_replies_back()?;
        while let Some(late) = self.in_flight.take_expired(now) {
            self.tally.timed_out += 1;
            self.answer(late.client, late.number, Outcome::TimedOut, &[]);
        }
        self.pass_requests_on(now);
        Ok(())
    }

    fn pass_replies_back(&mut self) -> Result<(), Box<dyn Error>> {
        while let Some(packet) = self.upstream.get_packet()? {
            let Some((id, body)) = packet.split_first_chunk() else {
                self.tally.malformed += 1;
                continue;
            };
            let Some(request) = self.in_flight.take(u64::from_le_bytes(*id)) else {
                self.tally.late += 1;
                continue;
            };
            self.tally.replied += 1;
            self.answer(request.client, request.number, Outcome::Replied, body);
        }
        Ok(())
    }

    fn pass_requests_on(&mut self, now: Instant) {
        while let Some((client, ..)) = self.clients.next_ready() {
            while let Some(packet) = self.next_request(client) {
                match wire::read_request(&packet) {
                    Some((number, body)) => self.pass_on(client, number, body, now),
                    None => self.tally.malformed += 1,
                }
            }
        }
    }

    fn next_request(&mut self, client: PeerId) -> Option<Packet> {
        let (peer, ()) = self.clients.get_mut(client)?;
        peer.get_packet().ok().flatten()
    }

    fn pass_on(&mut self, client: PeerId, number: u32, body: &[u8], now: Instant) {
        self.tally.requests += 1;
        let Some(id) = self.in_flight.add(client, number, now) else {
            self.tally.busy += 1;
            self.answer(client, number, Outcome::Busy, &[]);
            return;
        };
        self.datagram.clear();
        self.datagram.extend_from_slice(&id.to_le_bytes());
        self.datagram.extend_from_slice(body);
        let Err(error) = self.upstream.put_packet(&self.datagram) else { return };
        self.in_flight.take(id);
        if matches!(error, PutError::WouldBlock) {
            self.tally.busy += 1;
            self.answer(client, number, Outcome::Busy, &[]);
        } else {
            self.tally.not_sent += 1;
            self.answer(client, number, Outcome::NotSent, &[]);
        }
    }

    /// An answer may find nobody: the client has gone, or the system takes no more. It can ask again.
    fn answer(&mut self, client: PeerId, number: u32, outcome: Outcome, body: &[u8]) {
        wire::write_answer(number, outcome, body, &mut self.datagram);
        let sent = self.clients.get_mut(client).is_some_and(|(peer, ())| peer.put_packet(&self.datagram).is_ok());
        self.tally.unanswered += u64::from(!sent);
    }
}

/// requests = replied + timed out + busy + not sent + those in flight.
#[derive(Default)]
struct Tally {
    requests: u64,
    replied: u64,
    timed_out: u64,
    busy: u64,
    not_sent: u64,
    /// Answers that did not leave.
    unanswered: u64,
    /// Replies to nothing in flight: too late, or twice.
    late: u64,
    malformed: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "requests        {:>12}", self.requests)?;
        writeln!(f, "  replied       {:>12}", self.replied)?;
        writeln!(f, "  timed out     {:>12}", self.timed_out)?;
        writeln!(f, "  busy          {:>12}", self.busy)?;
        writeln!(f, "  not sent      {:>12}", self.not_sent)?;
        writeln!(f, "unanswered      {:>12}", self.unanswered)?;
        writeln!(f, "late replies    {:>12}", self.late)?;
        write!(f, "malformed       {:>12}", self.malformed)
    }
}
