//! A bad network between any client and any server: a relay that delays, loses, doubles and reorders what passes.
//!
//! ```sh
//! cargo run --release -p lab --bin bad_network -- --connect 127.0.0.1:4433 --link 4g
//! ```
//!
//! Let clients connect to the address it listens on instead of the server's; neither has to be made with this crate. Each
//! client gets a socket of its own to the server, and on it a link of its own in either direction. Ends on Ctrl-C, or after
//! `--seconds`, and prints what the links have done.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lab::OptionValue;
use packetpeer::error::{ConnectError, PollError};
use packetpeer::sim::{Conditioned, Link};
use packetpeer::socket::SystemSockets;
use packetpeer::{Limits, PacketPeerUdp, ServerConfig, UdpServer};

/// How late a held datagram may leave: a wait ends early for what clients send, and not for what servers do.
const PRECISION: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4434");
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4433));
    let mut link = String::from("4g");
    let mut changes = Changes::default();
    let mut seed: u64 = 1;
    let mut seconds = f64::INFINITY;
    lab::read_options(
        "Relays datagrams between clients and a server, over a bad link in both directions.\n\
         --link: perfect, fibre, dsl, wifi, 4g or bad_hotel. What is given beside it takes the place of what the link has.",
        &mut [
            ("listen", &mut listen),
            ("connect", &mut connect),
            ("link", &mut link),
            ("latency-ms", &mut changes.latency_ms),
            ("jitter-ms", &mut changes.jitter_ms),
            ("loss-ppm", &mut changes.loss_ppm),
            ("duplicate-ppm", &mut changes.duplicate_ppm),
            ("reorder-ppm", &mut changes.reorder_ppm),
            ("reorder-delay-ms", &mut changes.reorder_delay_ms),
            ("corrupt-ppm", &mut changes.corrupt_ppm),
            ("rate", &mut changes.rate),
            ("queue-bytes", &mut changes.queue_bytes),
            ("max-payload", &mut changes.max_payload),
            ("seed", &mut seed),
            ("seconds", &mut seconds),
        ],
    )?;
    let link = changes.apply(lab::link_of_name(&link)?);

    let stop = lab::ctrl_c()?;
    let mut relay = Relay::open(&listen, connect, link, seed)?;
    println!("listening on {}", relay.clients.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        relay.clients.wait(Some(PRECISION))?;
        relay.frame()?;
    }
    relay.print_counters();
    Ok(())
}

struct Relay {
    clients: UdpServer,
    /// Where sockets to the server come from. The links are here, since each client has a socket of its own on this side.
    sockets: Conditioned<SystemSockets>,
    server: SocketAddr,
    lines: Vec<Line>,
}

/// A client, and the socket that speaks to the server in its place.
struct Line {
    client: PacketPeerUdp,
    upstream: PacketPeerUdp,
}

impl Relay {
    fn open(listen: &str, server: SocketAddr, link: Link, seed: u64) -> Result<Self, Box<dyn Error>> {
        // Those who test on one machine all come from one address.
        let limits = Limits::new().max_pending_connections(256).max_pending_per_ip(256).max_peers_per_ip(None);
        let mut clients = UdpServer::with_config(ServerConfig::new().limits(limits))?;
        clients.listen(listen)?;
        let sockets = Conditioned::new(SystemSockets, link.clone(), link, seed);
        Ok(Self { clients, sockets, server, lines: Vec::new() })
    }

    fn frame(&mut self) -> Result<(), PollError> {
        self.clients.poll()?;
        while let Some(client) = self.clients.take_connection() {
            match self.open_upstream() {
                Ok(upstream) => self.lines.push(Line { client, upstream }),
                // The client is dropped here; its next datagram tries again.
                Err(error) => println!("no socket to the server: {error}"),
            }
        }
        self.lines.retain_mut(|line| line.relay().is_some());
        Ok(())
    }

    fn open_upstream(&self) -> Result<PacketPeerUdp, ConnectError> {
        let mut upstream = PacketPeerUdp::with_transport(self.sockets.clone());
        upstream.connect_to_host(self.server)?;
        Ok(upstream)
    }

    fn print_counters(&self) {
        println!("{}", self.clients.stats());
        let control = self.sockets.control();
        println!("to the server: {}", control.outgoing_stats());
        println!("to the clients: {}", control.incoming_stats());
    }
}

impl Line {
    /// Passes on what has come from both sides. `None` where the client has gone silent, or the socket has failed.
    fn relay(&mut self) -> Option<()> {
        let Self { client, upstream } = self;
        // What cannot be sent is lost, as datagrams are. That nobody listens there is no reason to give up.
        while let Some(packet) = client.get_packet().ok()? {
            let _ = upstream.put_packet(&packet);
        }
        upstream.poll().ok()?;
        while let Some(packet) = upstream.get_packet().ok()? {
            let _ = client.put_packet(&packet);
        }
        Some(())
    }
}

/// What the command line says of a link beside its name.
#[derive(Default)]
struct Changes {
    latency_ms: Change<Millis>,
    jitter_ms: Change<Millis>,
    loss_ppm: Change<u32>,
    duplicate_ppm: Change<u32>,
    reorder_ppm: Change<u32>,
    reorder_delay_ms: Change<Millis>,
    corrupt_ppm: Change<u32>,
    rate: Change<u64>,
    queue_bytes: Change<usize>,
    max_payload: Change<usize>,
}

impl Changes {
    fn apply(self, link: Link) -> Link {
        let millis = |change: Change<Millis>, time: Duration| change.0.map_or(time, |Millis(time)| time);
        let rate = self.rate.0.or(link.rate);
        let max_payload = self.max_payload.0.or(link.max_payload);
        link.clone()
            .latency(millis(self.latency_ms, link.latency))
            .jitter(millis(self.jitter_ms, link.jitter))
            .loss_ppm(self.loss_ppm.0.unwrap_or(link.loss_ppm))
            .duplicate_ppm(self.duplicate_ppm.0.unwrap_or(link.duplicate_ppm))
            .reorder_ppm(self.reorder_ppm.0.unwrap_or(link.reorder_ppm))
            .reorder_delay(millis(self.reorder_delay_ms, link.reorder_delay))
            .corrupt_ppm(self.corrupt_ppm.0.unwrap_or(link.corrupt_ppm))
            .rate(rate)
            .queue_bytes(self.queue_bytes.0.unwrap_or(link.queue_bytes))
            .max_payload(max_payload)
    }
}

/// A value that may be given. Where it is not, the link has its own.
#[derive(Clone, Copy, Default)]
struct Change<T>(Option<T>);

impl<T: OptionValue + Default> OptionValue for Change<T> {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut value = T::default();
        value.read(text)?;
        self.0 = Some(value);
        Ok(())
    }

    fn show(&self) -> String {
        self.0.as_ref().map_or("as the link has it".into(), T::show)
    }
}

/// A time that is given in milliseconds.
#[derive(Clone, Copy, Default)]
struct Millis(Duration);

impl OptionValue for Millis {
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut millis = 0.0;
        millis.read(text)?;
        self.0 = Duration::try_from_secs_f64(millis / 1e3).map_err(|error| format!("{text:?}: {error}"))?;
        Ok(())
    }

    fn show(&self) -> String {
        (self.0.as_secs_f64() * 1e3).to_string()
    }
}
