//! What is logged: one line a kind of trouble and minute, however many datagrams it was, and nothing else.

use std::collections::BTreeMap;
use std::sync::Once;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use packetpeer::limits::{AfterClose, QueueLimits};
use packetpeer::sim::Network;
use packetpeer::socket::{BindAddr, BindOptions, Transport, TransportFactory};
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, SocketOptions, UdpServer, Verdict};

#[path = "util/counts.rs"]
mod counts;

use counts::assert_counts;

const MINUTE: Duration = Duration::from_secs(60);

#[allow(clippy::missing_const_for_thread_local, reason = "it is const; for Windows the lint does not see that")]
mod lines {
    use std::cell::RefCell;

    thread_local! {
    /// What was logged on this thread, which is that of one test.
        pub(crate) static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }
}
use lines::LINES;

struct Collector;

impl Log for Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        LINES.with_borrow_mut(|lines| lines.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

fn collect_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Collector).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

fn lines() -> Vec<String> {
    LINES.take()
}

struct Game {
    network: Network,
    server: UdpServer,
    sockets: Vec<Box<dyn Transport>>,
}

impl Game {
    /// A server, and as many sockets of other hosts, two a host.
    fn new(limits: Limits, sockets: usize) -> Self {
        collect_lines();
        let network = Network::new();
        let config = ServerConfig::new().limits(limits).socket(SocketOptions::new().max_packet_size(1000));
        let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1])).unwrap();
        server.listen("10.0.0.1:7777").unwrap();
        let sockets = (0..sockets).map(|number| socket(&network, number)).collect();
        Self { network, server, sockets }
    }

    fn send(&self, from: usize, bytes: &[u8]) {
        self.sockets[from].send(bytes, self.server.local_addr().unwrap(), None).unwrap();
    }

    fn poll(&mut self) {
        self.server.poll().unwrap();
    }

    /// Makes a peer of the host of this number.
    fn join(&mut self, from: usize) -> PacketPeerUdp {
        self.send(from, b"hello");
        self.poll();
        self.server.take_connection().unwrap()
    }

    fn dropped(&self, reason: &str) -> u64 {
        let drops = self.server.stats().drops.to_string();
        let count = drops.split(", ").find_map(|drop| drop.strip_prefix(reason)?.trim().parse().ok());
        count.unwrap_or_else(|| panic!("no {reason:?}: {drops}"))
    }
}

fn socket(network: &Network, number: usize) -> Box<dyn Transport> {
    let addr = std::net::SocketAddr::from(([10, 0, 1, (number / 2) as u8], 1000 + (number % 2) as u16));
    network.host(addr.ip()).bind(&BindOptions::new(BindAddr::Addr(addr))).unwrap()
}

/// A line's number of datagrams, and what became of them.
fn told(line: &str) -> (u64, &str) {
    let (count, rest) = line.split_once(' ').unwrap_or_else(|| panic!("no number: {line}"));
    let reason = rest.strip_prefix("datagrams dropped: ").unwrap_or_else(|| panic!("not about drops: {line}"));
    (count.parse().unwrap_or_else(|_| panic!("no number: {line}")), reason)
}

/// Datagrams from anybody, of any size, some of them too long.
fn flood(game: &Game, dice: &mut fastrand::Rng) {
    for _ in 0..dice.usize(1..40) {
        let from = dice.usize(..game.sockets.len());
        let largest = if dice.u8(..8) == 0 { 1200 } else { 100 };
        game.send(from, &[b'?'; 1200][..dice.usize(..largest)]);
    }
}

#[test]
fn a_flood_gives_a_line_a_kind_and_minute_that_tells_how_many() {
    let limits = Limits::new()
        .max_pending_connections(3)
        .max_pending_per_ip(1)
        .max_peers(4)
        .idle_timeout(None)
        .pending_lifetime(Some(Duration::from_secs(7)))
        .max_queued_bytes(1500)
        .queue(QueueLimits::new().packets(10).bytes(600));
    let mut game = Game::new(limits, 20);
    let mut dice = fastrand::Rng::with_seed(7);
    // One who is never read and one who is; the others have two places, and nobody takes them.
    let (_slow, mut quick) = (game.join(0), game.join(2));
    game.server.set_filter(|datagram, reply| {
        reply.push(b'!');
        if datagram.bytes.is_empty() { Verdict::Reply } else { Verdict::Accept }
    });
    assert_eq!(lines(), [""; 0]);

    let mut told_so_far: BTreeMap<String, (u64, Duration)> = BTreeMap::new();
    for _ in 0..2_400 {
        game.network.advance(Duration::from_millis(250));
        flood(&game, &mut dice);
        game.poll();
        let now = game.network.elapsed();
        for line in lines() {
            let (count, reason) = told(&line);
            let (total, last) = told_so_far.get(reason).copied().unwrap_or_default();
            assert!(total == 0 || now - last >= MINUTE, "{line}: again after {:?}", now - last);
            assert_eq!(total + count, game.dropped(reason), "{line}");
            told_so_far.insert(reason.to_owned(), (total + count, now));
        }
        while let Ok(Some(_)) = quick.get_packet() {}
        game.server.set_limits(game.server.limits().clone().max_peers(dice.usize(3..9))).unwrap();
    }

    let kinds: Vec<_> = told_so_far.keys().map(String::as_str).collect();
    let limits = [
        "peers full",
        "pending expired",
        "pending full",
        "pending per IP full",
        "queue full (bytes)",
        "queue full (packets)",
        "reply too long",
        "server full (bytes)",
        "too large",
    ];
    assert_eq!(kinds, limits);
    for (reason, (total, last)) in told_so_far {
        assert!(total > 10, "{reason}: the ten minutes saw only {total}");
        assert!(game.network.elapsed() - last < 2 * MINUTE, "{reason}: nothing told since {last:?}");
    }
}

#[test]
fn each_kind_is_told_at_once_and_again_a_minute_later() {
    let mut game = Game::new(Limits::new().max_pending_connections(0), 1);
    let mut flood_and_poll = |datagrams, after| {
        game.network.advance(after);
        (0..datagrams).for_each(|_| game.send(0, b"let me in"));
        game.poll();
        lines()
    };
    assert_eq!(flood_and_poll(3, Duration::ZERO), ["3 datagrams dropped: pending full"]);
    assert_eq!(flood_and_poll(500, MINUTE - Duration::from_millis(1)), [""; 0]);
    assert_eq!(flood_and_poll(1, Duration::from_millis(1)), ["501 datagrams dropped: pending full"]);
}

/// A stand-alone peer that nobody reads, and what its host is sent.
#[test]
fn what_a_stand_alone_peer_has_no_room_for_gives_one_line_per_kind_and_minute() {
    collect_lines();
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    peer.bind("10.0.0.1:1000").unwrap();
    peer.set_queue_limits(QueueLimits::new().packets(10).bytes(600)).unwrap();
    let sender = socket(&network, 0);
    let flood_and_poll = |peer: &mut PacketPeerUdp, datagrams: u32, size, after| {
        network.advance(after);
        (0..datagrams).for_each(|_| sender.send(&[b'!'; 1000][..size], addr_of(peer), None).unwrap());
        peer.poll().unwrap();
        lines()
    };
    assert_eq!(flood_and_poll(&mut peer, 10, 1, Duration::ZERO), [""; 0]);
    assert_eq!(flood_and_poll(&mut peer, 3, 1, Duration::ZERO), ["3 datagrams dropped: queue full (packets)"]);
    assert_eq!(flood_and_poll(&mut peer, 100, 1, MINUTE - Duration::from_millis(1)), [""; 0]);
    while peer.get_packet().unwrap().is_some() {}
    // Another kind is told at once.
    assert_eq!(flood_and_poll(&mut peer, 1, 700, Duration::ZERO), ["1 datagrams dropped: queue full (bytes)"]);
    // What was held back comes when its time has come, even if nothing more is dropped.
    assert_eq!(
        flood_and_poll(&mut peer, 0, 1, Duration::from_millis(1)),
        ["100 datagrams dropped: queue full (packets)"]
    );
    assert_eq!(flood_and_poll(&mut peer, 0, 1, 3 * MINUTE), [""; 0]);
    let drops = peer.stats().drops;
    assert_counts!(drops, queue_packets: 103, queue_bytes: 1, total(): 104);

    // Others that a connected peer does not hear, and what goes when it is closed, are what the program has asked for.
    peer.connect_to_host("10.0.9.9:9").unwrap();
    assert_eq!(flood_and_poll(&mut peer, 20, 1, Duration::ZERO), [""; 0]);
    peer.close();
    assert_eq!(lines(), [""; 0]);
}

fn addr_of(peer: &PacketPeerUdp) -> std::net::SocketAddr {
    peer.local_addr().unwrap()
}

#[test]
fn an_address_that_has_all_its_places_is_told() {
    let mut game = Game::new(Limits::new().max_peers_per_ip(Some(1)), 2);
    let _peer = game.join(0);
    (0..3).for_each(|_| game.send(1, b"me too"));
    game.poll();
    assert_eq!(lines(), ["3 datagrams dropped: peers per IP full"]);
}

#[test]
fn ordinary_traffic_is_not_logged() {
    let mut game = Game::new(Limits::new().idle_timeout(Some(Duration::from_secs(5))), 8);
    for round in 0..50 {
        let mut peers: Vec<_> = (0..8).map(|number| game.join(number)).collect();
        for _ in 0..20 {
            game.network.advance(Duration::from_millis(16));
            (0..8).for_each(|number| game.send(number, b"my input"));
            game.poll();
            for peer in &mut peers {
                while let Some(packet) = peer.get_packet().unwrap() {
                    peer.put_packet(&packet).unwrap();
                }
            }
        }
        // They leave by their handle, by the server, in silence, and all at once.
        game.server.close(peers[0].id()).unwrap();
        peers.truncate(4);
        game.poll();
        game.network.advance(Duration::from_secs(5));
        game.poll();
        if round % 10 == 0 {
            game.server.stop();
            game.server.listen("10.0.0.1:7777").unwrap();
        }
    }
    let stats = game.server.stats();
    assert!(stats.received > 8_000 && stats.drops.total() == 0, "{stats}");
    assert_eq!(lines(), [""; 0]);
}

#[test]
fn what_the_program_asked_for_is_not_logged() {
    let limits = Limits::new().quota_per_poll(Some(1)).after_close(AfterClose::Refuse(MINUTE));
    let mut game = Game::new(limits, 4);
    let _over_quota = game.join(0);
    drop(game.join(1));
    game.server.set_filter(|_, _| Verdict::Ignore);
    (0..4).for_each(|number| (0..5).for_each(|_| game.send(number, b"hello")));
    game.poll();
    game.server.clear_filter();
    game.server.drain();
    (2..4).for_each(|number| game.send(number, b"hello"));
    game.poll();

    let dropped = ["over quota", "refused after close", "filtered", "draining"].map(|reason| game.dropped(reason));
    assert_eq!(dropped, [4, 5, 10, 2]);
    assert_eq!(lines(), [""; 0]);
}

/// Handles put from whatever thread, and count; the server's poll says it.
#[test]
fn a_full_send_queue_is_told_once_a_kind_and_minute() {
    collect_lines();
    let network = Network::new();
    let queue = QueueLimits::new().packets(2).bytes(250);
    let limits = Limits::new().send_queue(queue).max_queued_bytes(200).idle_timeout(None);
    let config = ServerConfig::new().limits(limits).send_mode(SendMode::OnFlush);
    let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1])).unwrap();
    server.listen("10.0.0.1:7777").unwrap();
    let client = socket(&network, 0);
    client.send(b"hello", server.local_addr().unwrap(), None).unwrap();
    server.poll().unwrap();
    let mut peer = server.take_connection().unwrap();
    let mut put_and_poll = |packets, size, after| {
        (0..packets).for_each(|_| _ = peer.put_packet(&[0; 300][..size]));
        assert_eq!(lines(), [""; 0], "only the poll says it");
        network.advance(after);
        server.poll().unwrap();
        lines()
    };
    assert_eq!(put_and_poll(5, 1, Duration::ZERO), ["3 packets not sent: queue full (packets)"]);
    assert_eq!(put_and_poll(502, 1, MINUTE - Duration::from_millis(1)), [""; 0]);
    assert_eq!(put_and_poll(4, 10, Duration::from_millis(1)), ["502 packets not sent: queue full (packets)"]);
    assert_eq!(put_and_poll(1, 251, Duration::ZERO), ["1 packets not sent: server full (bytes)"]);
    assert_eq!(put_and_poll(3, 150, Duration::ZERO), [""; 0], "again in a minute at the earliest");
    assert_eq!(put_and_poll(1, 1, MINUTE), ["2 packets not sent: server full (bytes)"]);
}
