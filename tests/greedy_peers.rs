//! One peer takes more than its share, and the others notice nothing. All in memory and in virtual time, so every
//! number is exact.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use packetpeer::limits::{QueueLimits, WhenFull};
use packetpeer::sim::Network;
use packetpeer::socket::{BindAddr, BindOptions, Transport, TransportFactory};
use packetpeer::stats::PollReport;
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, UdpServer};

#[path = "util/counts.rs"]
mod counts;

use counts::assert_counts;

/// The greedy one is the first of them.
const CLIENTS: usize = 21;
const GREEDY: usize = 0;
const OTHERS: std::ops::Range<usize> = 1..CLIENTS;

const FRAME: Duration = Duration::from_nanos(16_666_667);

/// 50 000 datagrams a second at 60 frames a second.
const CHATTER: usize = 833;

struct Game {
    network: Network,
    server: UdpServer,
    clients: Vec<Client>,
}

struct Client {
    socket: Box<dyn Transport>,
    /// The server's handle of it.
    peer: PacketPeerUdp,
    sent: VecDeque<[u8; 100]>,
    next: u32,
}

impl Game {
    /// All have joined, and their first packets have been read.
    fn new(limits: Limits) -> Self {
        Self::with_mode(limits, SendMode::Now)
    }

    fn with_mode(limits: Limits, mode: SendMode) -> Self {
        let network = Network::new();
        let config = ServerConfig::new().limits(limits.max_pending_connections(1)).send_mode(mode);
        let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1])).unwrap();
        server.listen("10.0.0.1:7777").unwrap();
        let clients = (0..CLIENTS).map(|number| Client::join(&network, &mut server, number)).collect();
        Self { network, server, clients }
    }

    fn send(&mut self, client: usize, count: usize) {
        let server = self.server.local_addr().unwrap();
        (0..count).for_each(|_| self.clients[client].send(server));
    }

    /// The greedy one first, so that the others stand behind it in the socket's queue.
    fn frame(&mut self, greedy: usize, each_other: usize) {
        self.network.advance(FRAME);
        self.send(GREEDY, greedy);
        OTHERS.for_each(|client| self.send(client, each_other));
    }

    fn poll(&mut self) -> PollReport {
        self.server.poll().unwrap()
    }

    /// Reads all that waits for a client, which has to be the next that it has sent. Returns how many.
    fn read_in_order(&mut self, client: usize) -> usize {
        let Client { peer, sent, .. } = &mut self.clients[client];
        let mut count = 0;
        while let Some(packet) = peer.get_packet().unwrap() {
            assert_eq!(Some(&packet[..]), sent.pop_front().as_ref().map(|bytes| &bytes[..]), "client {client}");
            count += 1;
        }
        count
    }

    /// Reads the others, who have sent so many each since the last time: all has come, in order.
    fn others_have_sent(&mut self, each: usize) {
        for client in OTHERS {
            assert_eq!(self.read_in_order(client), each, "client {client}");
            assert!(self.clients[client].sent.is_empty());
            assert_eq!(self.clients[client].peer.stats().drops.total(), 0);
        }
    }

    fn greedy(&mut self) -> &mut Client {
        &mut self.clients[GREEDY]
    }
}

impl Client {
    fn join(network: &Network, server: &mut UdpServer, number: usize) -> Self {
        let addr = SocketAddr::from(([10, 0, 1, number as u8], 1000));
        let socket = network.host(addr.ip()).bind(&BindOptions::new(BindAddr::Addr(addr))).unwrap();
        socket.send(b"", server.local_addr().unwrap(), None).unwrap();
        server.poll().unwrap();
        let mut peer = server.take_connection().unwrap();
        assert_eq!(peer.remote_addr(), Some(addr));
        assert_eq!(peer.get_packet().unwrap().unwrap().len(), 0);
        Self { socket, peer, sent: VecDeque::new(), next: 0 }
    }

    fn send(&mut self, server: SocketAddr) {
        let mut bytes = [0; 100];
        bytes[..4].copy_from_slice(&self.next.to_le_bytes());
        self.next += 1;
        self.socket.send(&bytes, server, None).unwrap();
        self.sent.push_back(bytes);
    }
}

/// 600 frames in which the game never reads one of its peers.
fn a_game_that_never_reads_one_peer(queue: QueueLimits) -> Game {
    let mut game = Game::new(Limits::new().queue(queue));
    for _ in 0..600 {
        game.frame(3, 3);
        assert!(!game.poll().more_waiting);
        game.others_have_sent(3);
    }
    let greedy = game.greedy().peer.stats();
    let stats = game.server.stats();
    assert_eq!(greedy.received, 1 + 600 * 3);
    assert_counts!(stats, queued: greedy.queued, queued_bytes: greedy.queued_bytes, "nobody else's wait");
    assert_eq!(stats.drops, greedy.drops, "nobody else's are dropped");
    assert_eq!(greedy.received, greedy.delivered + greedy.queued + greedy.drops.total());
    game
}

#[test]
fn a_slow_reader_keeps_the_first_packets_up_to_its_cap() {
    let mut game = a_game_that_never_reads_one_peer(QueueLimits::new().packets(32));
    let stats = game.greedy().peer.stats();
    assert_counts!(stats, queued: 32, drops.queue_packets: 1800 - 32);
    assert_eq!(stats.drops.total(), stats.drops.queue_packets);
    assert_eq!(game.read_in_order(GREEDY), 32);
}

#[test]
fn a_slow_reader_keeps_the_last_packets_up_to_its_cap_where_the_oldest_go() {
    let queue = QueueLimits::new().packets(32).when_full(WhenFull::DropOldest);
    let mut game = a_game_that_never_reads_one_peer(queue);
    let stats = game.greedy().peer.stats();
    assert_counts!(stats, queued: 32, drops.queue_packets: 1800 - 32);
    game.greedy().sent.drain(..1800 - 32);
    assert_eq!(game.read_in_order(GREEDY), 32);
}

#[test]
fn a_slow_reader_is_capped_by_bytes_too() {
    let mut game = a_game_that_never_reads_one_peer(QueueLimits::new().bytes(1_250));
    let stats = game.greedy().peer.stats();
    assert_counts!(stats, queued: 12, queued_bytes: 1_200, drops.queue_bytes: 1800 - 12);
    assert_eq!(stats.drops.total(), stats.drops.queue_bytes);
    assert_eq!(game.read_in_order(GREEDY), 12);
}

#[test]
fn a_quota_keeps_a_chatty_peer_from_everybody_else() {
    const QUOTA: usize = 8;
    let mut game = Game::new(Limits::new().quota_per_poll(Some(QUOTA)));
    for _ in 0..60 {
        game.frame(CHATTER, 2);
        let report = game.poll();
        assert_counts!(report, received: CHATTER + 40, more_waiting: false);
        assert_counts!(report, queued: QUOTA + 40, dropped: CHATTER - QUOTA);
        game.others_have_sent(2);

        assert_eq!(game.read_in_order(GREEDY), QUOTA);
        game.greedy().sent.clear();
    }
    let stats = game.server.stats();
    assert_eq!(stats.drops.quota, 60 * (CHATTER - QUOTA) as u64);
    assert_eq!(stats.drops.total(), stats.drops.quota);
    assert_eq!(game.greedy().peer.stats().drops, stats.drops);
}

#[test]
fn a_quota_is_each_polls_and_each_peers() {
    let mut game = Game::new(Limits::new().quota_per_poll(Some(3)));
    for sent in [3, 4, 2, 5] {
        game.frame(sent, 3);
        assert_eq!(game.poll().dropped, sent.saturating_sub(3));
        game.others_have_sent(3);
        assert_eq!(game.read_in_order(GREEDY), sent.min(3));
        game.greedy().sent.clear();
    }
}

const BUDGET: usize = 256;

#[test]
fn a_small_budget_takes_several_polls_a_frame_and_loses_nothing() {
    let mut game = Game::new(Limits::new().max_known_per_poll(BUDGET));
    for _ in 0..20 {
        game.frame(CHATTER, 2);
        let mut left = CHATTER + 40;
        while left > 0 {
            let report = game.poll();
            assert_counts!(report, received: left.min(BUDGET), more_waiting: left > BUDGET);
            left -= report.received;
            game.read_in_order(GREEDY);
        }
        game.others_have_sent(2);
        assert!(game.greedy().sent.is_empty());
    }
    assert_eq!(game.server.stats().drops.total(), 0);
}

/// A socket's queue is first in, first out. Without a quota all wait behind the one, and only the report says so.
#[test]
fn one_poll_a_frame_falls_behind_and_says_so() {
    let mut game = Game::new(Limits::new().max_known_per_poll(BUDGET));
    for _ in 0..CHATTER / BUDGET {
        game.frame(CHATTER, 2);
        assert!(game.poll().more_waiting);
        assert_eq!(game.read_in_order(GREEDY), BUDGET);
        OTHERS.for_each(|client| assert_eq!(game.read_in_order(client), 0));
    }
    while game.poll().more_waiting {
        game.read_in_order(GREEDY);
    }
    game.others_have_sent(2 * (CHATTER / BUDGET));
    assert_counts!(game.server.stats(), drops.total(): 0);
    assert_eq!(game.network.lost(), 0);
}

/// The same in the other direction: a game that puts more for one peer than may wait loses that peer's alone.
#[test]
fn what_is_put_too_much_for_one_peer_is_counted_there_and_costs_nobody_else() {
    let limits = Limits::new().send_queue(QueueLimits::new().packets(32));
    let mut game = Game::with_mode(limits, SendMode::OnFlush);
    for _ in 0..60 {
        for _ in 0..CHATTER {
            let _ = game.greedy().peer.put_packet(&[1; 100]);
        }
        for client in OTHERS {
            game.clients[client].peer.put_packet(&[2; 100]).unwrap();
        }
        let report = game.server.broadcast(&[3; 100]).unwrap();
        assert_counts!(report, waiting: CLIENTS - 1, failed: 1);
        assert_eq!(game.server.flush().unwrap().sent, 32 + 2 * (CLIENTS - 1));
    }
    let stats = game.greedy().peer.stats();
    assert_counts!(stats, put: 60 * (CHATTER as u64 + 1), sent: 60 * 32);
    assert_eq!(stats.put, stats.sent + stats.send_drops.queue_packets);
    for client in OTHERS {
        let stats = game.clients[client].peer.stats();
        assert_counts!(stats, put: 120, sent: 120, send_drops.total(): 0);
    }
    let server = game.server.stats();
    assert_eq!(server.put, 120 * (CLIENTS as u64 - 1) + stats.put);
    assert_eq!(server.put, server.sent + server.send_drops.total());
    assert_eq!(server.send_drops, stats.send_drops);
}
