//! Clients behind a NAT that forgets them in mid-stream and gives them other ports, and what each kind of server makes
//! of it.

use std::env;
use std::time::Duration;

use super::hosts::{Host, lay_cable, two_hosts};
use crate::process::Process;

/// How long anything may take, on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(60);

const STREAMS: usize = 5;

/// Datagrams of a stream, at least half a millisecond each: time for the NAT to forget it in mid-stream.
const COUNT: usize = 4_000;

/// What three quarters of all datagrams take, in bytes: 64 each, and the headers of IPv4 and UDP.
const MOST: usize = STREAMS * COUNT / 4 * 3 * (64 + 20 + 8);

/// The ports that the NAT gives out at first, and when it has forgotten.
const BEFORE: &str = "20000-24999";
const AFTER: &str = "25000-32767";

/// The port listened on, in a network of its own, so that nobody else can have it.
const LISTEN: u16 = 4439;

/// How a NAT chooses the port that it gives a client (RFC 4787, 4.1).
#[derive(Clone, Copy)]
enum Mapping {
    /// One for all destinations.
    PerClient,
    /// Another for each destination, be it another port of the same host.
    PerDestination,
}

/// What ends a stream of which nothing comes.
const IDLE: &str = "1.5";

#[test]
fn by_address_a_client_from_a_new_port_is_somebody_new() {
    let Some(net) = BehindNat::new(Mapping::PerDestination) else { return };
    let (mut server, mut client) = net.start_and_forget("pseudo_connection", &["--fall-silent"], " begins");
    assert_success(&mut client);

    // The NAT does not forget all at once: a datagram that crosses meanwhile may be given a port that is forgotten too.
    // So there may be more than two streams of a client; whatever has begun has to end.
    let lines = |said: &[String], what: &str| said.iter().filter(|line| line.contains(what)).count();
    let all_ended = |said: &[String]| {
        let ended = lines(said, " ended after ");
        ended >= 2 * STREAMS && ended == lines(said, " begins")
    };
    server.wait_until(all_ended, PATIENCE);
    let said = server.interrupt(PATIENCE).said;
    let (begun, ended) = (ports(&said, "begins", AFTER), ports(&said, "ended", AFTER));
    assert_eq!((ports(&said, "begins", BEFORE), ports(&said, "ended", BEFORE)), (STREAMS, STREAMS), "{said:#?}");
    assert!(begun >= STREAMS && begun == ended, "{begun} begun, {ended} ended: {said:#?}");
}

#[test]
fn by_id_the_same_connection_goes_on_from_a_new_port() {
    let Some(net) = BehindNat::new(Mapping::PerDestination) else { return };
    let (mut server, mut client) = net.start_and_forget("connection_id", &[], " begins at ");
    assert_success(&mut client);

    server.wait_for_lines(STREAMS, |line| line.contains(" ended after "), PATIENCE);
    let said = server.interrupt(PATIENCE).said;
    let of = |what: &str| said.iter().filter(|line| line.contains(what)).collect::<Vec<_>>();
    assert_eq!((of(" begins at ").len(), of(" ended after ").len()), (STREAMS, STREAMS), "{said:#?}");
    let moved = of(" moved from ");
    // The NAT does not forget all at once, and who sends meanwhile may move twice; but each leaves its old port once.
    let mut left_the_old_port = 0;
    for line in &moved {
        let (_, way) = line.split_once(" moved from ").expect("it is such a line");
        let (from, to) = way.split_once(" to ").expect("a way leads somewhere");
        left_the_old_port += usize::from(is_from(from, BEFORE));
        assert!(is_from(to, AFTER), "{line}");
    }
    assert_eq!(left_the_old_port, STREAMS, "{said:#?}");
    let counted = of("connections ")[0];
    assert!(counted.contains(&format!("opened {STREAMS}, ")), "{counted}");
    assert!(counted.contains(&format!("moved {}", moved.len())), "{counted}");
}

/// As documented: the client's first answer comes from where it has not sent to.
#[test]
fn a_socket_of_its_own_that_answers_at_once_is_not_heard_behind_a_nat() {
    let Some(net) = BehindNat::new(Mapping::PerClient) else { return };
    let (mut server, mut client) = net.start("dedicated_socket", &["--give-up-seconds", "1"]);
    let ended = client.wait(PATIENCE);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.said[0].starts_with(&format!("0 of {STREAMS} streams complete, 0 ")), "{ended:?}");

    server.wait_for_lines(STREAMS, |line| line.contains(" ended after "), PATIENCE);
    let said = server.interrupt(PATIENCE).said;
    assert_eq!(ports(&said, "begins", BEFORE), STREAMS, "what is sent again is the same streams': {said:#?}");
}

/// As documented: a socket of a stream's own is connected, and hears the old address and port only.
#[test]
fn a_socket_of_its_own_does_not_hear_a_client_from_a_new_port() {
    let Some(net) = BehindNat::new(Mapping::PerClient) else { return };
    let (mut server, mut client) = net.start_and_forget("port_switch", &["--give-up-seconds", "2"], " goes on at ");
    let ended = client.wait(PATIENCE);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.said[0].starts_with(&format!("0 of {STREAMS} streams complete, ")), "{ended:?}");

    server.wait_for_lines(STREAMS, |line| line.contains(" ended after "), PATIENCE);
    let said = server.interrupt(PATIENCE).said;
    assert_eq!((ports(&said, "begins", BEFORE), ports(&said, "begins", AFTER)), (STREAMS, 0), "{said:#?}");
}

#[test]
fn with_sockets_of_their_own_clients_start_over_at_the_port_listened_on() {
    let Some(net) = BehindNat::new(Mapping::PerClient) else { return };
    let (mut server, mut client) = net.start_and_forget("port_switch", &["--start-over-seconds", "1"], " goes on at ");
    let summary = assert_success(&mut client);
    assert_eq!(count(&summary, " streams switched to a new port"), STREAMS, "{summary}");
    let started_over = count(&summary, " times started over");
    assert!(started_over >= STREAMS, "{summary}");

    server.wait_for_lines(STREAMS + started_over, |line| line.contains(" ended after "), PATIENCE);
    let said = server.interrupt(PATIENCE).said;
    assert_eq!((ports(&said, "begins", BEFORE), ports(&said, "begins", AFTER)), (STREAMS, started_over), "{said:#?}");
    assert_eq!((ports(&said, "ended", BEFORE), ports(&said, "ended", AFTER)), (STREAMS, started_over), "{said:#?}");
}

/// As documented: for its new socket the client is somebody else, so it has to stay where it began.
#[test]
fn behind_a_nat_with_a_port_for_each_destination_clients_stay_at_the_port_listened_on() {
    let Some(net) = BehindNat::new(Mapping::PerDestination) else { return };
    let (mut server, mut client) = net.start("port_switch", &["--start-over-seconds", "1", "--may-stay"]);
    let summary = assert_success(&mut client);
    assert_eq!(count(&summary, " streams switched to a new port"), 0, "{summary}");
    assert!(count(&summary, " times started over") >= STREAMS, "{summary}");
    let said = server.interrupt(PATIENCE).said;
    assert!(!said.iter().any(|line| line.contains(" goes on at ")), "{said:#?}");
}

/// Asserts that every datagram has come back, to its own stream and whole; returns the summary.
#[track_caller]
fn assert_success(client: &mut Process) -> String {
    let mut ended = client.wait(PATIENCE);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.said[0].starts_with(&format!("{STREAMS} of {STREAMS} streams complete, ")), "{ended:?}");
    ended.said.swap_remove(0)
}

/// The number before these words.
#[track_caller]
fn count(summary: &str, words: &str) -> usize {
    let (before, _) = summary.split_once(words).unwrap_or_else(|| panic!("no {words:?} in {summary:?}"));
    let number = before.rsplit(' ').next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no number before {words:?} in {summary:?}"))
}

/// How many lines tell of this, of clients from these ports of the NAT.
fn ports(said: &[String], what: &str, range: &str) -> usize {
    let tells = |line: &&String| {
        line.split_once(' ').is_some_and(|(who, happens)| happens.starts_with(what) && is_from(who, range))
    };
    said.iter().filter(tells).count()
}

fn is_from(addr: &str, range: &str) -> bool {
    let port: Option<u16> = addr.strip_prefix("198.51.100.1:").and_then(|port| port.parse().ok());
    let (first, last) = range.split_once('-').expect("a range");
    let (first, last) = (first.parse().expect("a port"), last.parse().expect("a port"));
    port.is_some_and(|port| (first..=last).contains(&port))
}

/// Three hosts in a row: the client at 192.0.2.2, the NAT, and the server at 198.51.100.2, which knows the way to the
/// NAT's 198.51.100.1 only.
struct BehindNat {
    client: Host,
    nat: Host,
    server: Host,
    mapping: Mapping,
}

impl BehindNat {
    /// `None` where this machine does not let us.
    fn new(mapping: Mapping) -> Option<Self> {
        let [nat, server] = two_hosts()?;
        let net = Self { client: Host::new()?, nat, server, mapping };
        let cable = [(&net.nat, "inside"), (&net.client, "veth0")];
        lay_cable(cable);
        for ((host, device), number) in cable.into_iter().zip(1..) {
            host.add_addr(&format!("192.0.2.{number}/24"), device);
        }
        net.client.ip("route add default via 192.0.2.1");
        net.nat.write("/proc/sys/net/ipv4/ip_forward", "1");
        // 0xa000 to 0xafff, of which a NAT that has a port for each client keeps the last three digits.
        net.client.write("/proc/sys/net/ipv4/ip_local_port_range", "40960 45055");
        if let Err(why) = net.give_out(BEFORE).and_then(|()| net.forget()) {
            assert!(env::var_os("CI").is_none(), "no NAT: {why}");
            eprintln!("skipped: no NAT, for which the packages nftables and conntrack are wanted: {why}");
            return None;
        }
        Some(net)
    }

    /// Starts the two examples of a pair.
    fn start(&self, pair: &str, options: &[&str]) -> (Process, Process) {
        let listen = format!("198.51.100.2:{LISTEN}");
        let listen = ["--listen", &listen, "--idle-seconds", IDLE, "--seconds", "200"];
        let mut server = self.server.start(&format!("{pair}_server"), &listen);
        let line = server.wait_for_line("listening on ", PATIENCE).expect("it says where it listens");
        let (streams, count) = (STREAMS.to_string(), COUNT.to_string());
        let connect = ["--connect", &line["listening on ".len()..], "--streams", &streams, "--count", &count];
        let client = self.client.start(&format!("{pair}_client"), &[&connect[..], options].concat());
        (server, client)
    }

    /// The same, and lets the NAT forget all clients as soon as the server has said this of each. However late that is,
    /// the streams go on still: until it gives out other ports, the NAT passes most of them and no more.
    fn start_and_forget(&self, pair: &str, options: &[&str], said: &str) -> (Process, Process) {
        let rule = format!("iifname \"inside\" quota over {MOST} bytes drop");
        let table = format!("table ip most {{ chain pass {{ type filter hook forward priority 0; {rule}; }}; }}");
        self.nat.run("nft", &[&table]).unwrap_or_else(|why| panic!("{why}"));
        let (mut server, client) = self.start(pair, options);
        server.wait_for_lines(STREAMS, |line| line.contains(said), PATIENCE);
        self.give_out(AFTER).and_then(|()| self.forget()).unwrap_or_else(|why| panic!("{why}"));
        (server, client)
    }

    fn forget(&self) -> Result<(), String> {
        self.nat.run("conntrack", &["-F"]).map(drop)
    }

    /// The ports that clients get whom the NAT does not know.
    fn give_out(&self, ports: &str) -> Result<(), String> {
        // Two ports drawn from one range would be the same now and then, so each destination has a range of its own.
        let rules = match (self.mapping, ports) {
            (Mapping::PerClient, BEFORE) => {
                vec!["ip protocol udp masquerade to :udp sport & 0x0fff | 0x5000".to_owned()]
            }
            (Mapping::PerClient, _) => vec!["ip protocol udp masquerade to :udp sport & 0x0fff | 0x7000".to_owned()],
            (Mapping::PerDestination, BEFORE) => by_destination("20000-22499", "22500-24999"),
            (Mapping::PerDestination, _) => by_destination("25000-28999", "29000-32767"),
        };
        let rules: String = rules.iter().map(|rule| format!("oifname \"veth0\" {rule}; ")).collect();
        let table = format!("table ip nat {{ chain out {{ type nat hook postrouting priority 100; {rules} }}; }}");
        self.nat.run("nft", &[&format!("flush ruleset; {table}")]).map(drop)
    }
}

/// The rules of a NAT that draws from one range of ports for what goes to the port listened on, and from another for
/// the rest.
fn by_destination(listened_on: &str, others: &str) -> Vec<String> {
    [("==", listened_on), ("!=", others)]
        .map(|(is, ports)| format!("udp dport {is} {LISTEN} masquerade to :{ports} random"))
        .to_vec()
}
