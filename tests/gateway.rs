//! The example `gateway` between real clients and upstream servers, good ones and bad ones, and between two that test its
//! manners.
//!
//! A plain `cargo test` builds the examples first; `cargo test --test gateway` does not, and runs those built last.

mod process;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::Duration;

use packetpeer::sim::{Conditioned, Link};
use packetpeer::socket::SystemSockets;
use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};
use process::{Process, our_example};

const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a request, as the gateway writes it.
const REPLIED: u8 = 0;
const TIMED_OUT: u8 = 1;
const BUSY: u8 = 2;

#[test]
fn fifty_clients_get_every_reply() {
    let (_echo, upstream) = listening("echo_server", &["--hz", "0"]);
    let (gateway, addr) = gateway(upstream, &["--timeout-ms", "20000"]);
    let answers = fifty_clients(addr, 40, &[]);
    for name in ["sent", "replied"] {
        assert_eq!(answers[name], 2000, "{name}: {answers:?}");
    }
    let counters = stop(gateway);
    for (name, count) in [("requests", 2000), ("replied", 2000), ("late replies", 0)] {
        assert_eq!(counters[name], count, "{name}: {counters:?}");
    }
}

#[test]
fn replies_late_lost_and_out_of_order_reach_the_right_client_or_nobody() {
    let slow = SlowUpstream::start(up_to(Duration::from_millis(120)).loss_ppm(100_000).duplicate_ppm(100_000));
    let (gateway, addr) = gateway(slow.addr, &["--timeout-ms", "60"]);
    // The clients wait for stray answers for longer than any reply takes.
    let answers = fifty_clients(addr, 20, &["--linger-ms", "300"]);
    assert_eq!(answers["replied"] + answers["timed out"], 1000, "{answers:?}");
    assert!(answers["replied"] > 0 && answers["timed out"] >= 100, "{answers:?}");
    let counters = stop(gateway);
    assert!(counters["late replies"] > 0, "{counters:?}");
    for name in ["replied", "timed out"] {
        assert_eq!(counters[name], answers[name], "{name}: {counters:?}");
    }
    for name in ["in flight", "unanswered"] {
        assert_eq!(counters[name], 0, "{name}: {counters:?}");
    }
}

#[test]
fn one_request_too_many_is_told_so() {
    let slow = SlowUpstream::start(up_to(Duration::from_millis(40)));
    let (gateway, addr) = gateway(slow.addr, &["--timeout-ms", "20000", "--max-in-flight", "10"]);
    let answers = fifty_clients(addr, 10, &[]);
    assert_eq!(answers["replied"] + answers["busy"], 500, "{answers:?}");
    assert!(answers["replied"] >= 10 && answers["busy"] > 0, "{answers:?}");
    assert_eq!(stop(gateway)["busy"], answers["busy"]);
}

#[test]
fn without_an_upstream_everybody_is_told_so() {
    // Ours, so that it is nobody else's; and silent.
    let silent = Stranger::new();
    let (gateway, addr) = gateway(silent.addr(), &["--timeout-ms", "50"]);
    let answers = fifty_clients(addr, 5, &[]);
    for name in ["sent", "timed out"] {
        assert_eq!(answers[name], 250, "{name}: {answers:?}");
    }
    assert_eq!(stop(gateway)["timed out"], 250);

    let closed = Stranger::new().addr();
    let (gateway, addr) = self::gateway(closed, &["--timeout-ms", "50"]);
    let answers = fifty_clients(addr, 5, &[]);
    assert_eq!(answers["timed out"] + answers["not sent on"], 250, "{answers:?}");
    stop(gateway);
}

#[test]
fn equal_numbers_of_two_clients_are_kept_apart() {
    let upstream = Stranger::new();
    let (_gateway, addr) = gateway(upstream.addr(), &["--timeout-ms", "20000"]);
    let clients = [Stranger::new(), Stranger::new()];
    let mut asked = Vec::new();
    for (client, name) in clients.iter().zip([b'a', b'b']) {
        client.say(addr, &request(7, &[name]));
        asked.push(upstream.hear());
        assert_eq!(asked.last().map(|(_, datagram)| &datagram[8..]), Some(&[name][..]), "id and body");
    }
    // In the other order than asked, and each twice.
    for (gateway, datagram) in asked.iter().rev() {
        upstream.say(*gateway, datagram);
        upstream.say(*gateway, datagram);
    }
    for (client, name) in clients.iter().zip([b'a', b'b']) {
        assert_eq!(client.hear().1, answer(7, REPLIED, &[name]));
    }
    // What comes next is the next answer: there was no second one.
    for client in &clients {
        client.say(addr, &request(8, b"next"));
        let (gateway, datagram) = upstream.hear();
        upstream.say(gateway, &datagram);
        assert_eq!(client.hear().1, answer(8, REPLIED, b"next"));
    }
}

#[test]
fn a_reply_that_is_late_is_nobodys() {
    let upstream = Stranger::new();
    let (gateway, addr) = gateway(upstream.addr(), &["--timeout-ms", "50"]);
    let [slow, next] = [Stranger::new(), Stranger::new()];
    slow.say(addr, &request(1, b"slow"));
    let (upstream_side, late) = upstream.hear();
    assert_eq!(slow.hear().1, answer(1, TIMED_OUT, b""));

    // Late as it is, it comes while another request waits, of the same number; that one has a time-out of its own.
    next.say(addr, &request(1, b"next"));
    let (_, waiting) = upstream.hear();
    upstream.say(upstream_side, &late);
    upstream.say(upstream_side, b"short");
    assert_ne!(late[..8], waiting[..8], "no id is used twice");
    assert_eq!(next.hear().1, answer(1, TIMED_OUT, b""));
    slow.say(addr, &request(2, b"again"));
    assert_eq!(slow.hear().1, answer(2, TIMED_OUT, b""));

    let counters = stop(gateway);
    for name in ["late replies", "malformed"] {
        assert_eq!(counters[name], 1, "{name}: {counters:?}");
    }
}

#[test]
fn only_the_upstream_server_can_reply() {
    let [upstream, forger, client] = [Stranger::new(), Stranger::new(), Stranger::new()];
    let (_gateway, addr) = gateway(upstream.addr(), &["--timeout-ms", "20000"]);
    client.say(addr, &request(1, b"question"));
    let (upstream_side, datagram) = upstream.hear();
    let forged = [&datagram[..8], b"forged"].concat();
    forger.say(upstream_side, &forged);
    upstream.say(upstream_side, &datagram);
    assert_eq!(client.hear().1, answer(1, REPLIED, b"question"));
}

#[test]
fn a_place_is_free_again_when_its_time_is_over() {
    let upstream = Stranger::new();
    let (_gateway, addr) = gateway(upstream.addr(), &["--timeout-ms", "100", "--max-in-flight", "1"]);
    let client = Stranger::new();
    client.say(addr, &request(1, b"first"));
    upstream.hear(); // it is in flight
    client.say(addr, &request(2, b"second"));
    let answers = [client.hear().1, client.hear().1];
    // On a busy machine the first may be over before the second is looked at.
    if answers[0] == answer(2, BUSY, b"") {
        assert_eq!(answers[1], answer(1, TIMED_OUT, b""));
    } else {
        assert_eq!(answers, [answer(1, TIMED_OUT, b""), answer(2, TIMED_OUT, b"")]);
        upstream.hear();
    }
    client.say(addr, &request(3, b"third"));
    let (upstream_side, datagram) = upstream.hear();
    assert_eq!(datagram[8..], *b"third");
    upstream.say(upstream_side, &datagram);
    let third = client.hear().1;
    assert!(third == answer(3, REPLIED, b"third") || third == answer(3, TIMED_OUT, b""), "{third:?}");
}

fn request(number: u32, body: &[u8]) -> Vec<u8> {
    [&number.to_le_bytes(), body].concat()
}

fn answer(number: u32, outcome: u8, body: &[u8]) -> Vec<u8> {
    [&number.to_le_bytes()[..], &[outcome], body].concat()
}

/// Runs `gateway_client`; asserts that every request was answered, and nobody got what was not his.
#[track_caller]
fn fifty_clients(gateway: SocketAddr, count: u32, options: &[&str]) -> HashMap<String, u64> {
    let (gateway, count) = (gateway.to_string(), count.to_string());
    let always = ["--connect", &gateway, "--clients", "50", "--count", &count, "--window", "4"];
    let patience = ["--patience-ms", "15000"];
    let ended = Process::start(our_example("gateway_client").args(always).args(patience).args(options)).wait(PATIENCE);
    assert!(ended.status.success(), "{ended:?}");
    let summary = ended.said.last().expect("a summary").clone();
    let counts = summary.split(", ").filter_map(|count| count.rsplit_once(' '));
    counts.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

fn gateway(upstream: SocketAddr, options: &[&str]) -> (Process, SocketAddr) {
    listening("gateway", &[&["--connect", &upstream.to_string()], options].concat())
}

/// An example that listens.
fn listening(name: &str, options: &[&str]) -> (Process, SocketAddr) {
    // Should nobody be left to end it, it ends by itself.
    let always = ["--listen", "127.0.0.1:0", "--seconds", "120"];
    let mut process = Process::start(our_example(name).args(always).args(options));
    let line = process.wait_for_line("listening on ", PATIENCE).unwrap_or_else(|| panic!("{name} does not listen"));
    let addr = line["listening on ".len()..].parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
    (process, addr)
}

/// A link on which each datagram takes a time drawn anew, so that they overtake each other.
fn up_to(delay: Duration) -> Link {
    Link::new().latency(delay / 2).jitter(delay / 2)
}

/// A server that replies with what it is sent, over a link that only its replies travel. Ends when this is dropped.
struct SlowUpstream {
    addr: SocketAddr,
    _end: Sender<()>,
}

impl SlowUpstream {
    fn start(replies: Link) -> Self {
        let sockets = Conditioned::new(SystemSockets, replies, Link::PERFECT, 1);
        let mut server = UdpServer::with_transport(ServerConfig::new(), sockets).unwrap();
        server.listen("127.0.0.1:0").expect("a free UDP port");
        let addr = server.local_addr().expect("it listens");
        let (end, is_over) = mpsc::channel();
        thread::spawn(move || serve(server, &is_over));
        Self { addr, _end: end }
    }
}

fn serve(mut server: UdpServer, is_over: &Receiver<()>) {
    let mut peers: Vec<PacketPeerUdp> = Vec::new();
    while is_over.try_recv() != Err(TryRecvError::Disconnected) {
        // Which also sends what is due.
        server.wait(Some(Duration::from_millis(20))).expect("it listens");
        server.poll().expect("it listens");
        while let Some(peer) = server.take_connection() {
            peers.push(peer);
        }
        for peer in &mut peers {
            while let Ok(Some(packet)) = peer.get_packet() {
                peer.put_packet(&packet).expect("the link takes everything");
            }
        }
    }
}

/// The gateway's own counters when it has ended.
#[track_caller]
fn stop(mut gateway: Process) -> HashMap<String, u64> {
    let ended = gateway.interrupt(PATIENCE);
    let own = ended.said.iter().take_while(|line| !line.starts_with("--"));
    own.filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, count)| Some((name.trim().to_owned(), count.parse().ok()?)))
        .collect()
}

/// Somebody who speaks byte by byte.
struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self { socket }
    }

    fn addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("it is bound")
    }

    fn say(&self, to: SocketAddr, bytes: &[u8]) {
        self.socket.send_to(bytes, to).expect("sending over loopback");
    }

    #[track_caller]
    fn hear(&self) -> (SocketAddr, Vec<u8>) {
        let mut buffer = [0; 2048];
        match self.socket.recv_from(&mut buffer) {
            Ok((len, from)) => (from, buffer[..len].to_vec()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came in {PATIENCE:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}
