//! The server under a flood of spoofed senders: what `ci/flood` measures.
//!
//! ```sh
//! cargo run --release -p lab --bin flood_target -- --listen '*:6000' --cookie
//! ```
//!
//! It is a game that does nothing: it welcomes whoever it is given, and counts what they say. One line a second, and
//! one `summary` of `name=value` pairs at the end, which comes when nothing has been received for three seconds.
//!
//! The first byte of a datagram says what it is: `H` a hello and a token of 8 bytes, `T` a token, `W` welcome, `D`
//! data. Hello and data are padded by the client, `flood_clients`. With `--cookie` a hello is let in only with the
//! token of its address, which is sent back, and not remembered, where it is missing: who cannot receive there gets no
//! further.

use std::error::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use lab::FrameClock;
use packetpeer::{FirstDatagram, Limits, PacketPeerUdp, PeerId, ServerConfig, SocketOptions, UdpServer, Verdict};

/// The smallest payload that `ci/flood` sends, in bytes: it decides how many packets fit into `max_queued_bytes`.
const PAYLOAD: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let defaults = Limits::default();
    let mut listen = String::from("127.0.0.1:6000");
    let mut hz: u32 = 60;
    let mut seconds: f64 = 120.0;
    let mut cookie = false;
    let mut hoard = false;
    let mut known = defaults.max_known_per_poll;
    let mut unknown = defaults.max_unknown_per_poll;
    let mut pending = defaults.max_pending_connections;
    let mut peers = defaults.max_peers;
    let mut queued_bytes = defaults.max_queued_bytes;
    let mut buffer = SocketOptions::default().receive_buffer.unwrap_or(4 << 20);
    lab::read_options(
        "A server to be flooded. --cookie: admit by token only. --hoard: never read a packet. --seconds: at the most.",
        &mut [
            ("listen", &mut listen),
            ("hz", &mut hz),
            ("seconds", &mut seconds),
            ("cookie", &mut cookie),
            ("hoard", &mut hoard),
            ("known", &mut known),
            ("unknown", &mut unknown),
            ("pending", &mut pending),
            ("peers", &mut peers),
            ("queued-bytes", &mut queued_bytes),
            ("buffer", &mut buffer),
        ],
    )?;

    lab::check("peers", peers, 0..=1 << 20)?;
    lab::check("queued-bytes", queued_bytes, 0..=1 << 29)?;
    let limits = defaults
        .max_known_per_poll(known)
        .max_unknown_per_poll(unknown)
        .max_pending_connections(pending)
        .max_pending_per_ip(pending)
        .max_peers_per_ip(None)
        .max_peers(peers)
        .max_queued_bytes(queued_bytes);
    let socket = SocketOptions::new().receive_buffer(Some(buffer));
    let slots = 64 * (socket.max_packet_size + 1);
    let mut server = UdpServer::with_config(ServerConfig::new().limits(limits).socket(socket))?;
    if cookie {
        server.set_filter(cookie_filter());
    }
    server.listen(&listen)?;
    println!(
        "listening on {}, receive buffer {} bytes",
        server.local_addr().ok_or("not listening")?,
        server.receive_buffer_size().unwrap_or(0)
    );

    // What the limits come to. A peer and its handle cost less than 640 bytes; a small packet takes 128 and its
    // bookkeeping, and as many bytes as may wait may lie idle in the pool; the receive slots are as large as the
    // largest datagram. The last is for code that has not run yet.
    let ceiling = memory("VmRSS") + 640 * peers + 256 * (queued_bytes / PAYLOAD) + queued_bytes + slots + (1 << 20);

    let start = Instant::now();
    let mut clock = FrameClock::new(hz);
    let mut game = Game { hoard, ..Game::default() };
    let mut last_second = (start, 0);
    let mut last_received = start;
    let mut heard = false;
    while start.elapsed().as_secs_f64() < seconds && (!heard || last_received.elapsed() < Duration::from_secs(3)) {
        clock.sleep();
        if game.frame(&mut server)? > 0 {
            heard = true;
            last_received = Instant::now();
        }
        if last_second.0.elapsed() >= Duration::from_secs(1) {
            let stats = server.stats();
            let arrived = stats.received + stats.kernel_drops.unwrap_or(0);
            println!(
                "{:4.0} s: {:7} a second, {} kernel drops, {} peers, {} bytes queued, {} bytes resident",
                start.elapsed().as_secs_f64(),
                arrived - last_second.1,
                stats.kernel_drops.unwrap_or(0),
                server.peer_count(),
                stats.queued_bytes,
                memory("VmRSS")
            );
            last_second = (Instant::now(), arrived);
        }
    }

    let stats = server.stats();
    println!("{stats}");
    println!(
        "summary received={} delivered={} queued={} consumed={} dropped={} kernel_drops={} data={} peer_drops={} \
         peers={} polls={} most_in_a_poll={} {} {} queued_bytes_max={} memory={} memory_ceiling={} buffer={}",
        stats.received,
        stats.delivered,
        stats.queued,
        stats.consumed,
        stats.drops.total(),
        stats.kernel_drops.map_or(String::from("unknown"), |drops| drops.to_string()),
        game.data,
        game.peers.iter().flatten().map(|peer| peer.stats().drops.total()).sum::<u64>(),
        server.peer_count(),
        game.polls.len(),
        game.most_in_a_poll,
        percentiles("poll", &mut game.polls),
        percentiles("full_poll", &mut game.full_polls),
        game.queued_bytes_max,
        memory("VmHWM"),
        ceiling,
        server.receive_buffer_size().unwrap_or(0),
    );
    Ok(())
}

/// Lets a hello in only if it carries the token of its sender's address; sends the token back if it does not.
///
/// The hash of the standard library is keyed and secret, which is enough here. A game takes a MAC, and lets tokens age.
fn cookie_filter() -> impl Fn(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict + Send + Sync {
    let secret = RandomState::new();
    move |datagram, reply| {
        let Some((b'H', rest)) = datagram.bytes.split_first() else { return Verdict::Ignore };
        let token = secret.hash_one(datagram.sender).to_le_bytes();
        if rest.starts_with(&token) {
            return Verdict::Accept;
        }
        reply.push(b'T');
        reply.extend_from_slice(&token);
        Verdict::Reply
    }
}

#[derive(Default)]
struct Game {
    /// By [`PeerId::index`].
    peers: Vec<Option<PacketPeerUdp>>,
    ready: Vec<PeerId>,
    hoard: bool,
    data: u64,
    polls: Vec<Duration>,
    /// Those that left something for the next.
    full_polls: Vec<Duration>,
    most_in_a_poll: usize,
    queued_bytes_max: u64,
}

impl Game {
    /// Returns how much was received.
    fn frame(&mut self, server: &mut UdpServer) -> Result<usize, Box<dyn Error>> {
        let begin = Instant::now();
        let report = server.poll()?;
        let took = begin.elapsed();
        self.polls.push(took);
        if report.more_waiting {
            self.full_polls.push(took);
        }
        self.most_in_a_poll = self.most_in_a_poll.max(report.received);
        self.queued_bytes_max = self.queued_bytes_max.max(server.stats().queued_bytes);

        while let Some(mut peer) = server.take_connection() {
            if self.hoard {
                let _ = peer.put_packet(b"W");
            }
            let index = peer.id().index();
            if index >= self.peers.len() {
                self.peers.resize_with(index + 1, || None);
            }
            self.peers[index] = Some(peer);
        }
        if !self.hoard {
            self.read(server);
        }
        Ok(report.received)
    }

    fn read(&mut self, server: &mut UdpServer) {
        self.ready.clear();
        server.ready(&mut self.ready);
        for id in &self.ready {
            let Some(peer) = &mut self.peers[id.index()] else { continue };
            while let Ok(Some(packet)) = peer.get_packet() {
                match packet.first() {
                    Some(b'D') => self.data += 1,
                    Some(b'H') => drop(peer.put_packet(b"W")),
                    _ => {}
                }
            }
        }
    }
}

fn percentiles(name: &str, durations: &mut [Duration]) -> String {
    durations.sort_unstable();
    let at = |share: f64| {
        let index = (durations.len().saturating_sub(1) as f64 * share) as usize;
        durations.get(index).map_or(0, Duration::as_micros)
    };
    format!("{name}s={} {name}_p50={} {name}_p99={} {name}_max={}", durations.len(), at(0.5), at(0.99), at(1.0))
}

/// An entry of Linux' `/proc/self/status`, in bytes; 0 on other systems.
fn memory(entry: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(entry)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1024
}
