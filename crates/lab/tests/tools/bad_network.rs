use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use packetpeer::stats::ConnectionCounts;
use packetpeer::{Limits, PacketPeerUdp, ServerConfig, UdpServer};

use super::counts::assert_counts;
use super::{Listening, Stranger, run, tool};

fn relay(server: SocketAddr, options: &[&str]) -> Listening {
    Listening::start(tool!("bad_network"), &[&["--connect", &server.to_string()], options].concat())
}

#[test]
fn a_perfect_network_passes_everything_of_every_client() {
    let server = EchoServer::start();
    let relay = relay(server.addr, &["--link", "perfect"]);
    let clients: Vec<_> = (0..10).map(|_| Stranger::of(&relay)).collect();
    for round in 0..20_u8 {
        for (number, client) in (0_u8..).zip(&clients) {
            client.say(&[number, round, 1, 2, 3]);
        }
        for (number, client) in (0_u8..).zip(&clients) {
            assert_eq!(client.hear(), [number, round, 1, 2, 3]);
        }
    }
    let counters = relay.stop();
    counters.assert_has("connections", "10  opened 10, taken 10");
    counters.assert_has("to the server:", "offered 200, passed 200");
    counters.assert_has("to the clients:", "offered 200, passed 200");
    // To the server each client is another.
    let connections = server.stop();
    assert_counts!(connections, opened: 10, taken: 10);
}

#[test]
fn a_bad_network_delays_and_damages_as_it_is_told_and_the_same_way_each_time() {
    let server = EchoServer::start();
    for _ in 0..2 {
        let options =
            ["--link", "perfect", "--latency-ms", "20", "--loss-ppm", "300000", "--seed", "7", "--max-payload", "9"];
        let relay = relay(server.addr, &options);
        let stranger = Stranger::of(&relay);
        stranger.say(b"longer than nine");
        let start = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            stranger.say(b"short");
            if let Some(echo) = stranger.hear_within(Duration::from_secs(1)) {
                assert_eq!(echo, b"short");
                break;
            }
            assert!(tries < 20, "nothing came back");
        }
        assert!(start.elapsed() >= Duration::from_millis(40));
        let counters = relay.stop();
        let line = counters.line("to the server:");
        assert!(line.contains("too large 1"), "{line}");
        assert!(line.contains(&format!("offered {}", tries + 1)), "{line}");
    }
}

#[test]
fn a_network_to_nowhere_goes_on() {
    let nobody = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free UDP port");
    let relay = relay(nobody, &["--link", "perfect"]);
    let stranger = Stranger::of(&relay);
    (0..10).for_each(|_| stranger.say(b"anybody there?"));
    let another = Stranger::of(&relay);
    another.say(b"and for me?");
    assert_eq!(another.hear_within(Duration::from_millis(50)), None);
    relay.stop().assert_has("connections", "2  opened 2, taken 2");
}

#[test]
fn a_value_that_makes_no_sense_is_refused_by_name() {
    for (flag, value) in [("--latency-ms", "-1"), ("--loss-ppm", "1.5"), ("--rate", "fast"), ("--link", "pigeon")] {
        let refused = run(tool!("bad_network"), &["--listen", "127.0.0.1:0", "--seconds", "0", flag, value]);
        assert!(!refused.status.success(), "{flag} {value}: {refused:?}");
        assert!(refused.said.iter().any(|line| line.contains(flag)), "{flag} {value}: {refused:?}");
    }
}

/// The server at the other end of the relay: on a thread of the test, it gives back what it is sent.
struct EchoServer {
    addr: SocketAddr,
    end: Sender<()>,
    thread: JoinHandle<ConnectionCounts>,
}

impl EchoServer {
    fn start() -> Self {
        let limits = Limits::new().max_pending_connections(100).max_pending_per_ip(100);
        let mut server = UdpServer::with_config(ServerConfig::new().limits(limits)).unwrap();
        server.listen("127.0.0.1:0").expect("a free UDP port");
        let addr = server.local_addr().expect("it listens");
        let (end, is_over) = mpsc::channel();
        Self { addr, end, thread: thread::spawn(move || serve(server, &is_over)) }
    }

    fn stop(self) -> ConnectionCounts {
        drop(self.end);
        self.thread.join().expect("a server does not panic")
    }
}

/// Until the other end of the channel is dropped, which the end of a test that fails does too.
fn serve(mut server: UdpServer, is_over: &Receiver<()>) -> ConnectionCounts {
    let mut peers: Vec<PacketPeerUdp> = Vec::new();
    while is_over.try_recv() != Err(TryRecvError::Disconnected) {
        server.wait(Some(Duration::from_millis(20))).expect("it listens");
        server.poll().expect("it listens");
        while let Some(peer) = server.take_connection() {
            peers.push(peer);
        }
        for peer in &mut peers {
            while let Ok(Some(packet)) = peer.get_packet() {
                peer.put_packet(&packet).expect("room in the socket");
            }
        }
    }
    server.stats().connections
}
