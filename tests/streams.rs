//! Fifty streams at once between the examples that tell streams apart, as real processes over the loopback interface:
//! directly, and through a relay that loses, doubles and reorders. The clients check every byte; here it is checked
//! that the servers saw each stream begin and end exactly once.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

mod process;

use process::{Process, our_example};

/// How long anything may take, on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(30);

const STREAMS: usize = 50;
const COUNT: u32 = 16;

/// Of the connections by id, each moves after so many datagrams …
const MOVE_EVERY: u32 = 5;

/// … which is so often.
const MOVES: usize = STREAMS * ((COUNT - 1) / MOVE_EVERY) as usize;

/// What ends a stream of which nothing comes. Much longer than a datagram is late or sent again.
const IDLE: &str = "1";

#[test]
fn streams_by_address_end_by_silence_once_each() {
    let server = Server::start("pseudo_connection_server");
    run_client("pseudo_connection_client", server.addr, &["--fall-silent"]);
    server.assert_all_ended("nothing received for the idle timeout", 0);
}

#[test]
fn streams_by_address_end_by_a_goodbye_once_each() {
    let server = Server::start("pseudo_connection_server");
    run_client("pseudo_connection_client", server.addr, &[]);
    server.assert_all_ended("closed on this side", 0);
}

#[test]
fn streams_by_address_survive_a_path_that_loses_doubles_and_reorders() {
    let server = Server::start("pseudo_connection_server");
    let relay = Relay::start(server.addr);
    run_client("pseudo_connection_client", relay.addr, &["--fall-silent"]);
    assert_eq!(relay.stop(), STREAMS, "ports");
    server.assert_all_ended("nothing received for the idle timeout", 0);
}

#[test]
fn connections_by_id_go_on_from_new_ports() {
    let server = Server::start("connection_id_server");
    run_client("connection_id_client", server.addr, &["--move-every", &MOVE_EVERY.to_string()]);
    server.assert_all_ended("nothing received for the idle timeout", MOVES);
}

#[test]
fn connections_by_id_go_on_over_a_path_that_loses_doubles_and_reorders() {
    let server = Server::start("connection_id_server");
    let relay = Relay::start(server.addr);
    run_client("connection_id_client", relay.addr, &["--move-every", &MOVE_EVERY.to_string()]);
    assert_eq!(relay.stop(), STREAMS + MOVES, "ports");
    server.assert_all_ended("nothing received for the idle timeout", MOVES);
}

#[test]
fn a_client_to_whom_nobody_answers_says_so() {
    let deaf = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
    let addr = deaf.local_addr().expect("it is bound").to_string();
    for name in ["pseudo_connection_client", "connection_id_client"] {
        let options = ["--connect", &addr, "--streams", "2", "--give-up-seconds", "0.2"];
        let ended = Process::start(our_example(name).args(options)).wait(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.said[0].starts_with("0 of 2 streams complete, "), "{ended:?}");
    }
}

/// Runs a client with all streams. That it succeeds says that every datagram has come back, to its own stream and
/// whole.
#[track_caller]
fn run_client(name: &str, to: SocketAddr, options: &[&str]) {
    let (streams, count) = (STREAMS.to_string(), COUNT.to_string());
    let all = ["--connect", &to.to_string(), "--streams", &streams, "--count", &count, "--size", "200"];
    let ended = Process::start(our_example(name).args(all).args(options)).wait(PATIENCE);
    println!("{name}: {:?}", ended.said);
    assert!(ended.status.success(), "{ended:?}");
    let complete = format!("{STREAMS} of {STREAMS} streams complete, {} datagrams confirmed, ", STREAMS as u32 * COUNT);
    assert!(ended.said[0].starts_with(&complete), "{ended:?}");
}

/// An example that tells when streams begin, move and end.
struct Server {
    process: Process,
    addr: SocketAddr,
}

impl Server {
    fn start(name: &str) -> Self {
        // Should nobody be left to end it, it ends by itself.
        let options = ["--listen", "127.0.0.1:0", "--idle-seconds", IDLE, "--seconds", "120"];
        let mut process = Process::start(our_example(name).args(options));
        let line = process.wait_for_line("listening on ", PATIENCE).expect("it says where it listens");
        let addr = line["listening on ".len()..].parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { process, addr }
    }

    /// Waits until all streams have ended, and asserts that each has begun and ended once, the latter for this reason,
    /// and how often they have moved.
    fn assert_all_ended(mut self, reason: &str, moves: usize) {
        self.process.wait_for_lines(STREAMS, |line| line.contains(" ended"), PATIENCE);
        let ended = self.process.interrupt(PATIENCE);
        let mut lives: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let (mut moved, mut confirmed) = (0, 0);
        for line in &ended.said {
            let Some((who, what)) = line.split_once(' ') else { continue };
            match what.split(' ').next() {
                Some("begins" | "ended") => lives.entry(who).or_default().push(what),
                Some("moved") => moved += 1,
                Some("receives") => confirmed += 1,
                _ => {}
            }
        }
        assert_eq!(lives.len(), STREAMS, "{ended:#?}");
        for (who, life) in lives {
            let once = life.len() == 2 && life[0].starts_with("begins") && life[1].starts_with("ended");
            assert!(once && life[1].ends_with(reason), "{who}: {life:?}");
        }
        assert_eq!(moved, moves, "moves, in {ended:#?}");
        // All but the last of a stream, of which the answer comes too late, or what is lost several times.
        assert!(confirmed >= moves / 2, "{confirmed} of {moves} moves confirmed, in {ended:#?}");
    }
}

// ---------------------------------------------------------------------------------------------------------------------

/// A stretch of network between clients and a server that loses, doubles and reorders, both ways. As a NAT it has a
/// port of its own for each client's. It ends with its handle, and by itself if that is forgotten.
struct Relay {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

/// What has happened on the way.
#[derive(Debug, Default)]
struct Tally {
    ports: usize,
    passed: usize,
    lost: usize,
    doubled: usize,
    held_back: usize,
}

/// Of a hundred datagrams so many are lost, so many doubled, and so many held back, each way.
const PERCENT: u8 = 10;

/// How long one that is held back may wait, in milliseconds: long enough to be overtaken.
const LONGEST_WAIT: u64 = 20;

const MOST_PORTS: usize = 1_000;
const MOST_HELD_BACK: usize = 1_000;

/// How long the relay sleeps when there is nothing to do.
const MOMENT: Duration = Duration::from_micros(200);

impl Relay {
    fn start(server: SocketAddr) -> Self {
        let front = loopback_socket();
        let addr = front.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let seed = fastrand::u64(..);
        println!("the relay's seed: {seed}");
        let way = Way {
            server,
            front,
            backs: Vec::new(),
            by_client: HashMap::new(),
            held_back: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            tally: Tally::default(),
        };
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || way.run(&stop)
        });
        Self { addr, stop, thread }
    }

    /// Ends it, and returns from how many ports the clients spoke. A relay that has spoilt nothing has tested nothing.
    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let tally = self.thread.join().expect("the relay does not panic");
        println!("{tally:?}");
        assert!(tally.lost > 50 && tally.doubled > 50 && tally.held_back > 50 && tally.passed > 1_000, "{tally:?}");
        tally.ports
    }
}

struct Way {
    server: SocketAddr,
    /// Where clients send to.
    front: UdpSocket,
    /// One a client: what the server takes for that client.
    backs: Vec<Back>,
    by_client: HashMap<SocketAddr, usize>,
    held_back: Vec<HeldBack>,
    rng: fastrand::Rng,
    tally: Tally,
}

struct Back {
    client: SocketAddr,
    socket: UdpSocket,
}

struct HeldBack {
    until: Instant,
    back: usize,
    direction: Direction,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Way {
    fn run(mut self, stop: &AtomicBool) -> Tally {
        let deadline = Instant::now() + 2 * PATIENCE;
        let mut buffer = [0; 2048];
        while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
            let mut idle = true;
            while let Some((len, client)) = receive(&self.front, &mut buffer) {
                idle = false;
                if let Some(back) = self.back(client) {
                    self.spoil(back, Direction::ToServer, &buffer[..len]);
                }
            }
            for back in 0..self.backs.len() {
                while let Some((len, _)) = receive(&self.backs[back].socket, &mut buffer) {
                    idle = false;
                    self.spoil(back, Direction::ToClient, &buffer[..len]);
                }
            }
            self.release();
            if idle {
                thread::sleep(MOMENT);
            }
        }
        self.tally
    }

    /// The socket that stands for this client.
    fn back(&mut self, client: SocketAddr) -> Option<usize> {
        if let Some(&back) = self.by_client.get(&client) {
            return Some(back);
        }
        if self.backs.len() == MOST_PORTS {
            return None;
        }
        let socket = loopback_socket();
        socket.connect(self.server).expect("a server on loopback");
        self.backs.push(Back { client, socket });
        self.by_client.insert(client, self.backs.len() - 1);
        self.tally.ports += 1;
        Some(self.backs.len() - 1)
    }

    fn spoil(&mut self, back: usize, direction: Direction, bytes: &[u8]) {
        if self.rng.u8(..100) < PERCENT {
            self.tally.lost += 1;
            return;
        }
        let doubled = self.rng.u8(..100) < PERCENT;
        self.tally.doubled += usize::from(doubled);
        for _ in 0..=usize::from(doubled) {
            if self.rng.u8(..100) < PERCENT && self.held_back.len() < MOST_HELD_BACK {
                self.tally.held_back += 1;
                let until = Instant::now() + Duration::from_millis(self.rng.u64(1..=LONGEST_WAIT));
                self.held_back.push(HeldBack { until, back, direction, bytes: bytes.into() });
            } else {
                self.pass(back, direction, bytes);
            }
        }
    }

    fn release(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.held_back.iter().position(|held| held.until <= now) {
            let HeldBack { back, direction, bytes, .. } = self.held_back.swap_remove(due);
            self.pass(back, direction, &bytes);
        }
    }

    /// What cannot be sent is lost, for instance to a port that its client has left.
    fn pass(&mut self, back: usize, direction: Direction, bytes: &[u8]) {
        let Back { client, socket } = &self.backs[back];
        let sent = match direction {
            Direction::ToServer => socket.send(bytes),
            Direction::ToClient => self.front.send_to(bytes, client),
        };
        self.tally.passed += usize::from(sent.is_ok());
    }
}

fn loopback_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
    socket.set_nonblocking(true).expect("a non-blocking socket");
    socket
}

/// The next datagram, if there is one now. Answers that a client has left its port are passed over.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    loop {
        match socket.recv_from(buffer) {
            Ok(received) => return Some(received),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
    }
}
