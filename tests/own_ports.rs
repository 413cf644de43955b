//! Fifty streams at once between the examples that give each stream a port of its own, as real processes over the
//! loopback interface: directly, through a relay that behaves as most NATs do, and on a server with too few
//! descriptors. The clients check every byte and where it came from; here it is checked that the servers saw each
//! stream begin and end exactly once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

#[path = "util/counts.rs"]
mod counts;
mod process;

use counts::assert_counts;
use process::{Ended, Process, our_example};

/// How long anything may take, on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(30);

const STREAMS: usize = 50;
const COUNT: u32 = 16;

/// What ends a stream of which nothing comes. Much longer than a datagram is late or sent again.
const IDLE: &str = "1.5";

#[test]
fn streams_are_answered_from_ports_of_their_own_at_once() {
    let server = Server::start(&mut our_example("dedicated_socket_server"));
    let said = run_client("dedicated_socket_client", server.addr, &[]);
    assert!(said.ends_with("50 streams followed to a new port, 0 datagrams astray"), "{said}");
    server.assert_all_ended();
}

#[test]
fn streams_go_to_the_ports_that_they_are_told() {
    let server = Server::start(&mut our_example("port_switch_server"));
    let said = run_client("port_switch_client", server.addr, &[]);
    assert!(said.ends_with("50 streams switched to a new port, 0 times started over"), "{said}");
    server.assert_all_ended();
}

/// The relay loses what tells the port too, or delivers it late or twice.
#[test]
fn streams_go_to_the_ports_that_they_are_told_through_a_nat_that_loses_doubles_and_reorders() {
    let server = Server::start(&mut our_example("port_switch_server"));
    let relay = Relay::start(server.addr, 10);
    let said = run_client("port_switch_client", relay.addr, &[]);
    assert!(said.ends_with("50 streams switched to a new port, 0 times started over"), "{said}");
    let tally = relay.stop();
    assert_counts!(tally, clients: STREAMS, server_ports: 1 + STREAMS, kept_out: 0);
    assert!(tally.lost > 50 && tally.doubled > 50 && tally.held_back > 50, "{tally:?}");
    server.assert_all_ended();
}

/// As documented: the answers come from ports that no client has sent to.
#[test]
fn answers_at_once_from_new_ports_do_not_pass_a_nat() {
    let server = Server::start(&mut our_example("dedicated_socket_server"));
    let relay = Relay::start(server.addr, 0);
    let ended = start_client("dedicated_socket_client", relay.addr, &["--give-up-seconds", "0.5"]).wait(PATIENCE);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let nothing = "0 of 50 streams complete, 0 datagrams confirmed, ";
    assert!(ended.said[0].starts_with(nothing), "{ended:?}");
    assert!(ended.said[0].ends_with("0 streams followed to a new port, 0 datagrams astray"), "{ended:?}");
    let tally = relay.stop();
    assert!(tally.kept_out >= STREAMS, "{tally:?}");
    // What clients sent again to the port listened on was heard, and made no further connections.
    let ended = server.assert_all_ended();
    assert!(!ended.said.iter().any(|line| line.contains("ended after 0 ")), "{ended:#?}");
}

/// Windows has no limit of descriptors for one process that a test could lower.
#[cfg(unix)]
#[test]
fn streams_for_which_no_descriptor_is_left_stay_on_the_shared_socket_unharmed() {
    let server = our_example("dedicated_socket_server");
    let mut with_few = Command::new("sh");
    with_few.args(["-c", "ulimit -n 32; exec \"$0\" \"$@\""]).arg(server.get_program()).args(server.get_args());
    let server = Server::start(&mut with_few);
    let said = run_client("dedicated_socket_client", server.addr, &["--may-stay"]);

    let ended = server.assert_all_ended();
    let complaints: Vec<_> = ended.said.iter().filter(|line| line.starts_with("no socket to give: ")).collect();
    assert!(matches!(complaints[..], [why] if why.contains("no descriptor is left")), "{complaints:?}");
    let stayed = ended.said.iter().filter(|line| line.ends_with("from the port listened on")).count();
    assert!((STREAMS - 32..STREAMS).contains(&stayed), "{stayed} stayed: {ended:#?}");
    let followed = format!(", {} streams followed to a new port, 0 datagrams astray", STREAMS - stayed);
    assert!(said.ends_with(&followed), "{said}, of which {stayed} stayed");
}

/// Runs a client with all streams. That it succeeds says that every datagram has come back, to its own stream and
/// whole.
#[track_caller]
fn run_client(name: &str, to: SocketAddr, options: &[&str]) -> String {
    let mut ended = start_client(name, to, options).wait(PATIENCE);
    println!("{name}: {:?}", ended.said);
    assert!(ended.status.success(), "{ended:?}");
    let complete = format!("{STREAMS} of {STREAMS} streams complete, {} datagrams confirmed, ", STREAMS as u32 * COUNT);
    assert!(ended.said[0].starts_with(&complete), "{ended:?}");
    ended.said.swap_remove(0)
}

fn start_client(name: &str, to: SocketAddr, options: &[&str]) -> Process {
    let (streams, count) = (STREAMS.to_string(), COUNT.to_string());
    let all = ["--connect", &to.to_string(), "--streams", &streams, "--count", &count, "--size", "200"];
    Process::start(our_example(name).args(all).args(options))
}

/// An example that tells when streams begin and end.
struct Server {
    process: Process,
    addr: SocketAddr,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        // Should nobody be left to end it, it ends by itself.
        let options = ["--listen", "127.0.0.1:0", "--idle-seconds", IDLE, "--seconds", "120"];
        let mut process = Process::start(command.args(options));
        let line = process.wait_for_line("listening on ", PATIENCE).expect("it says where it listens");
        let addr = line["listening on ".len()..].parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { process, addr }
    }

    /// Waits until all streams have ended, and asserts that each has begun and ended once, the latter by its timer.
    #[track_caller]
    fn assert_all_ended(mut self) -> Ended {
        self.process.wait_for_lines(STREAMS, |line| line.contains(" ended after "), PATIENCE);
        let ended = self.process.interrupt(PATIENCE);
        let mut lives: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for line in &ended.said {
            let Some((who, what)) = line.split_once(' ') else { continue };
            if what.starts_with("begins") || what.starts_with("ended") {
                lives.entry(who).or_default().push(what);
            }
        }
        assert_eq!(lives.len(), STREAMS, "{ended:#?}");
        for (who, life) in lives {
            let once = life.len() == 2 && life[0].starts_with("begins") && life[1].starts_with("ended");
            assert!(once && life[1].ends_with("nothing received for the idle timeout"), "{who}: {life:?}");
        }
        ended
    }
}

// ---------------------------------------------------------------------------------------------------------------------

/// A NAT between clients and a server, with a port of its own for each client's. As most do, it lets in to that port
/// only what comes from where the client has sent to. It has a port for each of the server's too, and puts that in the
/// place of the server's in messages that tell clients to change. It may lose, double and reorder, both ways. It ends
/// with its handle, and by itself if that is forgotten.
struct Relay {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

/// What has happened on the way.
#[derive(Debug, Default)]
struct Tally {
    clients: usize,
    server_ports: usize,
    kept_out: usize,
    lost: usize,
    doubled: usize,
    held_back: usize,
}

/// How long one that is held back may wait, in milliseconds: long enough to be overtaken.
const LONGEST_WAIT: u64 = 20;

/// As many clients as it has room for, and server's ports.
const MOST_PORTS: usize = 200;
const MOST_HELD_BACK: usize = 1_000;

/// How long the relay sleeps when there is nothing to do.
const MOMENT: Duration = Duration::from_micros(200);

impl Relay {
    /// Of a hundred datagrams it loses `percent`, doubles as many, and holds as many back, each way.
    fn start(server: SocketAddr, percent: u8) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seed = fastrand::u64(..);
        println!("the relay's seed: {seed}");
        let mut way = Way {
            percent,
            fronts: Vec::new(),
            backs: Vec::new(),
            by_client: HashMap::new(),
            held_back: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            tally: Tally::default(),
        };
        let front = way.front(server).expect("there is room");
        let addr = way.fronts[front].socket.local_addr().expect("it is bound");
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || way.run(&stop)
        });
        Self { addr, stop, thread }
    }

    fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let tally = self.thread.join().expect("the relay does not panic");
        println!("{tally:?}");
        tally
    }
}

struct Way {
    percent: u8,
    fronts: Vec<Front>,
    backs: Vec<Back>,
    by_client: HashMap<SocketAddr, usize>,
    held_back: Vec<(Instant, Passing)>,
    rng: fastrand::Rng,
    tally: Tally,
}

/// What clients take for one of the server's ports.
struct Front {
    server: SocketAddr,
    socket: UdpSocket,
}

/// What the server takes for a client.
struct Back {
    client: SocketAddr,
    sent_to: HashSet<SocketAddr>,
    socket: UdpSocket,
}

#[derive(Clone)]
struct Passing {
    front: usize,
    back: usize,
    direction: Direction,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl Way {
    fn run(mut self, stop: &AtomicBool) -> Tally {
        let deadline = Instant::now() + 2 * PATIENCE;
        while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
            let taken = self.take_from_clients() + self.take_from_server();
            self.release();
            if taken == 0 {
                thread::sleep(MOMENT);
            }
        }
        self.tally
    }

    fn take_from_clients(&mut self) -> usize {
        let mut taken = 0;
        for front in 0..self.fronts.len() {
            while let Some((bytes, client)) = receive(&self.fronts[front].socket) {
                taken += 1;
                let Some(back) = self.back(client) else { continue };
                self.backs[back].sent_to.insert(self.fronts[front].server);
                self.spoil(Passing { front, back, direction: Direction::ToServer, bytes });
            }
        }
        taken
    }

    fn take_from_server(&mut self) -> usize {
        let mut taken = 0;
        for back in 0..self.backs.len() {
            while let Some((mut bytes, from)) = receive(&self.backs[back].socket) {
                taken += 1;
                if !self.backs[back].sent_to.contains(&from) {
                    self.tally.kept_out += 1;
                    continue;
                }
                if let [1, high, low] = bytes[..] {
                    let told = SocketAddr::new(from.ip(), u16::from_be_bytes([high, low]));
                    let Some(front) = self.front(told) else { continue };
                    let port = self.fronts[front].socket.local_addr().expect("it is bound").port();
                    bytes[1..].copy_from_slice(&port.to_be_bytes());
                }
                let Some(front) = self.front(from) else { continue };
                self.spoil(Passing { front, back, direction: Direction::ToClient, bytes });
            }
        }
        taken
    }

    /// The socket that stands for this client.
    fn back(&mut self, client: SocketAddr) -> Option<usize> {
        let known = self.by_client.get(&client).copied();
        if known.is_some() || self.backs.len() == MOST_PORTS {
            return known;
        }
        self.backs.push(Back { client, sent_to: HashSet::new(), socket: loopback_socket() });
        self.by_client.insert(client, self.backs.len() - 1);
        self.tally.clients += 1;
        Some(self.backs.len() - 1)
    }

    /// The socket that stands for this port of the server's.
    fn front(&mut self, server: SocketAddr) -> Option<usize> {
        let known = self.fronts.iter().position(|front| front.server == server);
        if known.is_some() || self.fronts.len() == MOST_PORTS {
            return known;
        }
        self.fronts.push(Front { server, socket: loopback_socket() });
        self.tally.server_ports += 1;
        Some(self.fronts.len() - 1)
    }

    fn spoil(&mut self, passing: Passing) {
        if self.rng.u8(..100) < self.percent {
            self.tally.lost += 1;
            return;
        }
        let doubled = self.rng.u8(..100) < self.percent;
        self.tally.doubled += usize::from(doubled);
        for _ in 0..=usize::from(doubled) {
            if self.rng.u8(..100) < self.percent && self.held_back.len() < MOST_HELD_BACK {
                self.tally.held_back += 1;
                let until = Instant::now() + Duration::from_millis(self.rng.u64(1..=LONGEST_WAIT));
                self.held_back.push((until, passing.clone()));
            } else {
                self.pass(&passing);
            }
        }
    }

    fn release(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.held_back.iter().position(|(until, _)| *until <= now) {
            let (_, passing) = self.held_back.swap_remove(due);
            self.pass(&passing);
        }
    }

    /// What cannot be sent is lost, for instance to a port that its client has left.
    fn pass(&self, passing: &Passing) {
        let (front, back) = (&self.fronts[passing.front], &self.backs[passing.back]);
        let _ = match passing.direction {
            Direction::ToServer => back.socket.send_to(&passing.bytes, front.server),
            Direction::ToClient => front.socket.send_to(&passing.bytes, back.client),
        };
    }
}

fn loopback_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
    socket.set_nonblocking(true).expect("a non-blocking socket");
    socket
}

/// The next datagram, if there is one now. Answers that somebody has left a port are passed over.
fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => return Some((buffer[..len].into(), from)),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::Interrupted) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => panic!("{error}"),
        }
    }
}
