//! The examples as a newcomer runs them: real processes that talk over the loopback interface, on ports of the system's
//! choice.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::{Limits, SocketOptions};

#[path = "../examples/multicast/wire.rs"]
mod multicast_wire;
mod process;

use process::{Ended, Process, our_example};

/// How long anything may take, on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one wait inside a patient loop is.
const MOMENT: Duration = Duration::from_millis(20);

/// The client counted it as one of the stream's, and the one that it had been as lost.
#[test]
fn a_damaged_multicast_datagram_never_passes_for_another() {
    let mut datagram = Vec::new();
    let found = [(0x5299_d755, 0x7465_a9a9)];
    for (stream, number) in found.into_iter().chain((0..200).map(|number| (7, number))) {
        multicast_wire::write(stream, number, &mut datagram);
        assert_eq!(multicast_wire::read(&datagram), Some((stream, number)));
        for bit in 0..datagram.len() * 8 {
            datagram[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(multicast_wire::read(&datagram), None, "bit {bit} of number {number}");
            datagram[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

/// A typo of the size is a message that names the option, before anything is sent or a byte is allocated.
#[test]
fn a_size_that_no_datagram_has_is_refused_by_name() {
    let clients = [
        "connection_id_client",
        "dedicated_socket_client",
        "echo_client",
        "gateway_client",
        "port_switch_client",
        "pseudo_connection_client",
    ];
    for name in clients {
        for size in ["65508", "18446744073709551615"] {
            // On a 32-bit machine the larger is no size at all.
            let refused = client(name, &["--connect", "127.0.0.1:9", "--size", size]);
            assert_eq!(refused.status.code(), Some(1), "{name} {size}: {refused:?}");
            assert!(refused.said.iter().any(|line| line.contains("--size")), "{name} {size}: {refused:?}");
        }
    }
}

/// What an example adds to the payload has to fit too: the largest sizes were taken, and then nothing could be sent, or
/// nothing be answered.
#[test]
fn a_size_to_which_no_header_can_be_added_is_refused_by_name() {
    for (name, largest) in
        [("connection_id_client", 65_498), ("gateway_client", 65_499), ("port_switch_client", 65_506)]
    {
        let refused = client(name, &["--connect", "127.0.0.1:9", "--size", &(largest + 1).to_string()]);
        assert_eq!(refused.status.code(), Some(1), "{name}: {refused:?}");
        assert!(refused.said.iter().any(|line| line.contains("--size")), "{name}: {refused:?}");
        let taken = client(name, &["--connect", "127.0.0.1:9", "--count", "0", "--size", &largest.to_string()]);
        assert!(!taken.said.iter().any(|line| line.contains("--size")), "{name}: {taken:?}");
    }
}

#[test]
fn numbers_that_would_make_too_much_are_refused_by_name() {
    for (name, options, flag) in [
        ("gateway_client", &["--clients", "4294967295", "--count", "4294967295"][..], "--clients"),
        ("worker_pool", &["--workers", "1000000"], "--workers"),
    ] {
        let refused = client(name, options);
        assert_eq!(refused.status.code(), Some(1), "{name}: {refused:?}");
        assert!(refused.said.iter().any(|line| line.contains(flag)), "{name}: {refused:?}");
    }
}

mod discovery {
    use super::*;

    const QUERY: &[u8] = b"packetpeer demo?";
    const ANSWER: &[u8] = b"packetpeer demo!";
    const JOIN: &[u8] = b"packetpeer demo+";

    #[test]
    fn a_browser_finds_a_server_that_lets_nobody_in() {
        let server = Server::start("discovery_server", &["--name", "Full house", "--max-players", "0"]);
        let found = client("discovery_client", &["--to", &server.addr.to_string(), "--wait-ms", "20000"]);
        assert!(found.status.success(), "{found:?}");
        assert_eq!(found.said, [format!("{}  \"Full house\"  0/0 players", server.addr)]);

        let counters = server.stop();
        counters.assert_has("consumed", "1");
        counters.assert_has("connections", "0  none");
    }

    #[test]
    fn a_server_that_has_filled_up_says_so() {
        let server = Server::start("discovery_server", &["--max-players", "1"]);
        let (player, latecomer) = (Stranger::of(&server), Stranger::of(&server));
        player.say(JOIN);
        patiently("1 of 1 player is shown", || {
            let found = client("discovery_client", &["--to", &server.addr.to_string()]);
            found.said.iter().any(|line| line.ends_with("  1/1 players"))
        });

        latecomer.say(JOIN);
        // On loopback nothing overtakes: the answer tells that what was said before has been heard.
        latecomer.say(&query(b"12345678", 128));
        assert!(latecomer.hear().starts_with(&[ANSWER, b"12345678", &[0, 1, 0, 1]].concat()));
        let counters = server.stop();
        counters.assert_has("connections", "1  opened 1, taken 1");
        counters.assert_has("dropped", "1  pending full 1");
    }

    #[test]
    fn what_is_no_query_gets_no_answer() {
        let server = Server::start("discovery_server", &["--name", "A name", "--max-players", "0"]);
        let stranger = Stranger::of(&server);
        stranger.say(b"");
        stranger.say(b"packetpeer demo.12345678 and something to fill it up with");
        stranger.say(&query(b"short", QUERY.len() + 7));
        stranger.say(&query(b"unpadded", QUERY.len() + 8));
        stranger.say(&query(b"complete", 64));
        assert_eq!(stranger.hear(), [ANSWER, b"complete", &[0, 0, 0, 0], b"A name"].concat());
        server.stop().assert_has("dropped", "4  filtered 3, reply too long 1");
    }

    #[test]
    fn a_browser_gives_up_where_nobody_answers() {
        let nobody = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
        let to = nobody.local_addr().expect("it is bound").to_string();
        let found = client("discovery_client", &["--to", &to, "--wait-ms", "50"]);
        assert_eq!(found.status.code(), Some(1), "{found:?}");
    }

    fn query(chosen: &[u8], len: usize) -> Vec<u8> {
        let mut query = [QUERY, chosen].concat();
        query.resize(len, 0);
        query
    }
}

mod cookie {
    use super::*;

    const SIZE: usize = 16;

    #[test]
    fn who_proves_the_address_is_let_in() {
        let server = Server::start("cookie_server", &[]);
        let client = client("cookie_client", &["--connect", &server.addr.to_string(), "--count", "20"]);
        assert!(client.status.success(), "{client:?}");
        let counters = server.stop();
        counters.assert_has("connections", "1  opened 1, taken 1");
        counters.assert_has("dropped", "0  none");
    }

    #[test]
    fn who_skips_the_cookie_never_becomes_a_connection() {
        let server = Server::start("cookie_server", &[]);
        let client = client("echo_client", &["--connect", &server.addr.to_string(), "--count", "3"]);
        assert!(!client.status.success(), "{client:?}");
        ask(&Stranger::of(&server)); // the answer tells that what was said before has been heard
        let counters = server.stop();
        counters.assert_has("connections", "0  none");
        counters.assert_has("dropped", "3  filtered 3");
        counters.assert_has("sent", "1  17 bytes");
    }

    #[test]
    fn a_forged_or_stolen_cookie_is_refused() {
        let server = Server::start("cookie_server", &[]);
        let (owner, thief) = (Stranger::of(&server), Stranger::of(&server));
        let cookie = ask(&owner);

        thief.say(&first(&cookie, "stolen"));
        for bit in 0..8 * SIZE {
            let mut forged = cookie;
            forged[bit / 8] ^= 1 << (bit % 8);
            owner.say(&first(&forged, "forged"));
        }
        owner.say(&first(&[0; SIZE], "made up"));
        owner.say(&first(&cookie, "")[..SIZE]); // the last byte is missing
        owner.say(b"=no cookie at all");
        owner.say(b"?without padding");
        owner.say(b"");
        // The echo comes first, so there was none before.
        owner.say(&first(&cookie, "mine"));
        assert_eq!(owner.hear(), b"=mine");
        assert_ne!(ask(&thief), cookie);

        let counters = server.stop();
        counters.assert_has("connections", "1  opened 1, taken 1");
        let filtered = 1 + 8 * SIZE + 4;
        counters.assert_has("dropped", &format!("{}  filtered {filtered}, reply too long 1", filtered + 1));
    }

    #[test]
    fn an_expired_cookie_is_refused_and_a_fresh_one_is_not() {
        let server = Server::start("cookie_server", &["--cookie-seconds", "0.1"]);
        let stranger = Stranger::of(&server);
        let old = ask(&stranger);
        // A cookie is good in its own period and the next: when it has changed twice, the first one is not.
        let newer = ask_until_not_in(&stranger, &[old]);
        ask_until_not_in(&stranger, &[old, newer]);
        stranger.say(&first(&old, "old"));
        let mut tries = 0;
        patiently("a fresh cookie is good", || {
            tries += 1;
            let cookie = ask(&stranger);
            stranger.say(&first(&cookie, "fresh"));
            // Whatever comes next: the echo, or where the cookie went stale on the way, a new cookie.
            stranger.say(&[b'?'; 1 + SIZE]);
            let echoed = stranger.hear() == b"=fresh";
            if echoed {
                stranger.hear();
            }
            echoed
        });
        let counters = server.stop();
        counters.assert_has("connections", "1  opened 1, taken 1");
        counters.assert_has("dropped", &format!("{tries}  filtered {tries}"));
    }

    fn first(cookie: &[u8; SIZE], text: &str) -> Vec<u8> {
        [b"+", &cookie[..], text.as_bytes()].concat()
    }

    fn ask(stranger: &Stranger) -> [u8; SIZE] {
        stranger.say(&[b'?'; 1 + SIZE]);
        let answer = stranger.hear();
        let cookie = answer.strip_prefix(b"!").and_then(|cookie| cookie.try_into().ok());
        cookie.unwrap_or_else(|| panic!("{answer:?} is no cookie"))
    }

    fn ask_until_not_in(stranger: &Stranger, before: &[[u8; SIZE]]) -> [u8; SIZE] {
        let mut cookie = ask(stranger);
        patiently("the cookie changes", || {
            cookie = ask(stranger);
            !before.contains(&cookie)
        });
        cookie
    }
}

mod echo {
    use super::*;

    /// Every flag of a limit or a socket option, with a value that is not the default but for the last.
    const FLAGS: [&[&str]; 28] = [
        &["--max-pending", "100"],
        &["--max-pending-per-ip", "1"],
        &["--max-peers-per-ip", "2"],
        &["--exempt-from-per-ip", "127.0.0.0/8,::1,10.0.0.0/8"],
        &["--pending-lifetime", "2.5"],
        &["--max-peers", "100"],
        &["--idle-timeout", "0"],
        &["--after-close", "30"],
        &["--max-refused-addresses", "10"],
        &["--queue-packets", "50"],
        &["--queue-bytes", "100000"],
        &["--queue-when-full", "drop-oldest"],
        &["--send-queue-packets", "50"],
        &["--send-queue-bytes", "100000"],
        &["--send-queue-when-full", "drop-oldest"],
        &["--max-queued-bytes", "1000000"],
        &["--max-known-per-poll", "1000"],
        &["--max-unknown-per-poll", "1000"],
        &["--max-replies-per-poll", "100"],
        &["--quota-per-poll", "100"],
        &["--receive-buffer", "2000000"],
        &["--send-buffer", "100000"],
        &["--max-packet-size", "1200"],
        &["--pin-reply-address"],
        &["--traffic-class", "46"],
        &["--dont-fragment"],
        &["--share-port"],
        &["--device", ""],
    ];

    #[test]
    fn fifty_clients_get_everything_back() {
        let server = Server::start("echo_server", &["--hz", "0"]);
        assert_fifty_clients_are_served(&server);
        server.stop().assert_has("connections", "50  opened 50, taken 50");
    }

    #[test]
    fn a_server_with_every_flag_serves() {
        let is_linux = cfg!(any(target_os = "linux", target_os = "android"));
        // Not every system has these; where one is missing the server says so, and does not start.
        let is_there = |flag: &&&[&str]| match flag[0] {
            "--pin-reply-address" => is_linux && !cfg!(packetpeer_portable),
            "--share-port" => is_linux,
            "--traffic-class" => !cfg!(windows),
            _ => true,
        };
        let flags: Vec<&[&str]> = FLAGS.iter().filter(is_there).copied().collect();
        let server = Server::start("echo_server", &flags.concat());
        assert_fifty_clients_are_served(&server);
        server.stop().assert_has("connections", "50  opened 50, taken 50");
    }

    #[test]
    fn every_limit_and_socket_option_has_a_flag() {
        let help = client("echo_server", &["--help"]).said;
        let offered: Vec<_> = help.iter().filter_map(|line| line.trim().split(' ').next()).collect();
        for flag in FLAGS {
            assert!(offered.contains(&flag[0]), "{} is not in {offered:?}", flag[0]);
        }
        let (limits, options) = (format!("{:#?}", Limits::new()), format!("{:#?}", SocketOptions::new()));
        let fields = limits.lines().chain(options.lines()).filter_map(|line| line.strip_prefix("    "));
        for field in fields.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase())) {
            let name = field.split(':').next().unwrap_or(field).replace('_', "-");
            let flag = match name.as_str() {
                "max-pending-connections" => "--max-pending".into(),
                "queue" | "send-queue" => format!("--{name}-packets"),
                name => format!("--{name}"),
            };
            assert!(FLAGS.iter().any(|known| known[0] == flag), "{name} is tested by no flag");
        }
    }

    #[test]
    fn a_value_that_makes_no_sense_is_refused_by_name() {
        for (flag, value, named) in [
            ("--max-peers", "many", "--max-peers"),
            ("--max-pending", "-1", "--max-pending"),
            ("--exempt-from-per-ip", "10.0.0.0/8,example.org", "example.org"),
            ("--idle-timeout", "-0.5", "--idle-timeout"),
            ("--pending-lifetime", "soon", "--pending-lifetime"),
            ("--after-close", "nan", "--after-close"),
            ("--queue-when-full", "panic", "--queue-when-full"),
            ("--quota-per-poll", "1.5", "--quota-per-poll"),
            ("--traffic-class", "256", "--traffic-class"),
            // These read well; the server knows better.
            ("--max-known-per-poll", "0", "max_known_per_poll"),
            ("--max-unknown-per-poll", "0", "max_unknown_per_poll"),
            ("--max-packet-size", "0", "max_packet_size"),
            ("--traffic-class", "64", "traffic_class"),
            ("--listen", "localhost", "localhost"),
            ("--max-piers", "3", "--max-piers"),
        ] {
            let refused = client("echo_server", &["--listen", "127.0.0.1:0", "--seconds", "0", flag, value]);
            assert!(!refused.status.success(), "{flag} {value}: {refused:?}");
            assert!(refused.said.iter().any(|line| line.contains(named)), "{flag} {value}: {refused:?}");
        }
    }

    fn assert_fifty_clients_are_served(server: &Server) {
        let many = ["--clients", "50", "--count", "20", "--lost-after-seconds", "20"];
        let client = client("echo_client", &[&["--connect", &server.addr.to_string()], &many[..]].concat());
        assert!(client.status.success(), "{client:?}");
        assert!(client.said[0].starts_with("sent 1000, received 1000, "), "{client:?}");
    }
}

mod worker_pool {
    use super::*;

    #[test]
    fn nobody_waits_for_the_slow_one() {
        let pool = client("worker_pool", &["--seconds", "1", "--clients", "8"]);
        assert!(pool.status.success(), "{pool:?}");
    }
}

mod arena {
    use super::*;

    #[test]
    fn both_sides_agree_over_every_link() {
        // All at once: most of their time they wait for the next frame.
        let games = ["perfect", "fibre", "dsl", "wifi", "4g", "bad_hotel"].map(|link| {
            let options = ["--link", link, "--bots", "12", "--hz", "30", "--seconds", "5"];
            (link, Process::start(our_example("arena").args(options)))
        });
        for (link, mut game) in games {
            let ended = game.wait(PATIENCE);
            assert!(ended.status.success(), "{link}: {ended:#?}");
        }
    }

    #[test]
    fn a_link_that_is_not_known_is_refused_by_name() {
        let refused = client("arena", &["--link", "pigeon", "--seconds", "0"]);
        assert!(!refused.status.success());
        assert!(refused.said.iter().any(|line| line.contains("pigeon") && line.contains("bad_hotel")), "{refused:?}");
    }
}

/// An example that listens, and is ended as by Ctrl-C.
struct Server {
    process: Process,
    addr: SocketAddr,
}

impl Server {
    fn start(name: &str, options: &[&str]) -> Self {
        // Should nobody be left to end it, it ends by itself.
        let always = ["--listen", "127.0.0.1:0", "--seconds", "120"];
        let mut process = Process::start(our_example(name).args(always).args(options));
        let line = process.wait_for_line("listening on ", PATIENCE).expect("it says where it listens");
        let addr = line["listening on ".len()..].parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { process, addr }
    }

    /// What it printed when it ended.
    fn stop(mut self) -> Counters {
        Counters(self.process.interrupt(PATIENCE).said)
    }
}

/// The table of a server's counters, as printed.
struct Counters(Vec<String>);

impl Counters {
    /// Asserts that the line of this label says just this.
    #[track_caller]
    fn assert_has(&self, label: &str, value: &str) {
        let values: Vec<_> = self.0.iter().filter_map(|line| line.trim().strip_prefix(label)).map(str::trim).collect();
        assert_eq!(values, [value], "{label}, in {:#?}", self.0);
    }
}

/// Somebody who speaks to a server byte by byte.
struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    fn of(server: &Server) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
        socket.connect(server.addr).expect("a server on loopback");
        Self { socket }
    }

    fn say(&self, bytes: &[u8]) {
        self.socket.send(bytes).expect("sending over loopback");
    }

    #[track_caller]
    fn hear(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        match self.socket.recv(&mut buffer) {
            Ok(len) => buffer[..len].to_vec(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came in {PATIENCE:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Calls `step` until it says yes.
#[track_caller]
fn patiently(what: &str, mut step: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !step() {
        assert!(Instant::now() < deadline, "this did not happen: {what}");
        thread::sleep(MOMENT);
    }
}

/// Runs an example that ends by itself.
fn client(name: &str, options: &[&str]) -> Ended {
    Process::start(our_example(name).args(options)).wait(PATIENCE)
}
