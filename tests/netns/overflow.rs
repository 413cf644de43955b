//! More than the socket's buffer holds between two polls.

use std::fs;

use packetpeer::limits::QueueLimits;
use packetpeer::{Limits, PacketPeerUdp, ServerConfig, SocketOptions};

use super::hosts::{Host, at, two_hosts};
use super::talk::{admit, assert_counts_add_up, assert_peers_counts_add_up};
use crate::util::{assert_counts, eventually, texts};

/// The buffer of the socket, in bytes: some tens of datagrams.
const BUFFER: usize = 32 << 10;

/// Datagrams that are sent without a poll: well more than the buffer holds.
const COUNT: u64 = 1_000;

/// Datagrams that are on the way at a time: no more than the buffer holds, and few enough for the kernel's own queue
/// between two hosts, which every cable of this machine shares (`net.core.netdev_max_backlog`).
const AT_ONCE: u64 = 50;

/// The contents of a file below `/proc/net`, of this host.
fn net(host: &Host, file: &str) -> String {
    // Without `thread-self` it would be that of the main thread, wherever that is.
    host.enter(|| fs::read_to_string(format!("/proc/thread-self/net/{file}"))).unwrap()
}

/// What a host's kernel tells of all its sockets: UDP datagrams delivered to sockets, and dropped for a full buffer.
fn kernel_counts(host: &Host, is_ipv4: bool) -> (u64, u64) {
    let (file, version) = if is_ipv4 { ("snmp", "Udp") } else { ("snmp6", "Udp6") };
    let text = net(host, file);
    let count = |name: &str| {
        let number = if is_ipv4 {
            // A line of names, and one of numbers.
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: ")).map(str::split_whitespace);
            let names = lines.next().expect("names");
            names.zip(lines.next().expect("numbers")).find_map(|(found, number)| (found == name).then_some(number))
        } else {
            text.lines().find_map(|line| line.strip_prefix(&format!("{version}{name} ")))
        };
        number.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
    };
    (count("InDatagrams"), count("RcvbufErrors"))
}

/// The last column of the host's table of UDP sockets, for the one on `port`.
fn kernel_drops_of(host: &Host, port: u16) -> u64 {
    let table = net(host, "udp6");
    let line = table.lines().find(|line| line.contains(&format!(":{port:04X} ")));
    let drops = line.and_then(|line| line.split_whitespace().last()?.parse().ok());
    drops.unwrap_or_else(|| panic!("no port {port} in {table}"))
}

/// Sends `count` datagrams, not faster than the way between the hosts takes them.
#[track_caller]
fn send(client: &mut PacketPeerUdp, there: &Host, count: u64) {
    let before = there.firewall_counted("passed");
    for sent in (AT_ONCE..=count).step_by(AT_ONCE as usize) {
        for _ in 0..AT_ONCE {
            client.put_packet(&[7; 100]).unwrap();
        }
        eventually("all have come", || (there.firewall_counted("passed") == before + sent).then_some(()));
    }
}

/// Counts what comes to `port`, before it gets to the socket.
fn counting(host: &Host, port: u16) -> bool {
    host.firewall("input", &[&format!("udp dport {port} counter name passed")])
}

#[test]
fn what_the_kernel_dropped_for_a_server_that_did_not_poll_is_told_exactly() {
    let Some([here, there]) = two_hosts() else { return };
    let socket = SocketOptions::new().receive_buffer(Some(BUFFER));
    let limits = Limits::new().queue(QueueLimits::new().packets(COUNT as usize));
    let config = ServerConfig::new().socket(socket).limits(limits);
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut server = there.serve(config.clone(), 0);
        let port = server.local_port().unwrap();
        // Linux doubles what is asked for, for its own bookkeeping.
        assert_eq!(server.receive_buffer_size(), Some(2 * BUFFER));
        let to = at(ip, port);
        let mut client = here.connect(to);
        let mut peer = admit(&mut server, &mut client);
        if !counting(&there, port) {
            return;
        }
        let (delivered_before, errors_before) = kernel_counts(&there, to.is_ipv4());
        let mut sent = 1;
        for round in 1..=3 {
            let received_before = server.stats().received;
            send(&mut client, &there, COUNT);
            sent += COUNT;
            // Told before the poll, too.
            assert!(server.stats().kernel_drops > Some(0));
            // The last may have been counted, and not be in the socket yet.
            eventually("all have been received or dropped", || {
                assert!(!server.poll().unwrap().more_waiting);
                let stats = server.stats();
                (sent == stats.received + stats.kernel_drops.expect("Linux tells")).then_some(())
            });

            let stats = server.stats();
            let received = stats.received - received_before;
            assert!((1..COUNT).contains(&received), "round {round}: {stats}");
            assert_eq!(texts(&mut peer).len() as u64, received);
            let (delivered, errors) = kernel_counts(&there, to.is_ipv4());
            assert_eq!(stats.kernel_drops, Some(errors - errors_before), "round {round}: {stats}");
            assert_eq!(stats.kernel_drops, Some(kernel_drops_of(&there, port)), "round {round}: {stats}");
            assert_eq!(stats.received, 1 + delivered - delivered_before, "round {round}: {stats}");
            assert_eq!(client.stats().sent, sent);
            assert_counts!(stats, drops.total(): 0, noise: 0);
        }
        assert_counts_add_up(&server, 0);
        assert_peers_counts_add_up(&client.stats(), sent);
    }
}

#[test]
fn a_server_that_polls_in_time_loses_nothing() {
    let Some([here, there]) = two_hosts() else { return };
    let socket = SocketOptions::new().receive_buffer(Some(BUFFER));
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut server = there.serve(ServerConfig::new().socket(socket.clone()), 0);
        let to = at(ip, server.local_port().unwrap());
        let mut client = here.connect(to);
        let mut peer = admit(&mut server, &mut client);
        if !counting(&there, to.port()) {
            return;
        }
        for sent in (AT_ONCE..=COUNT).step_by(AT_ONCE as usize) {
            send(&mut client, &there, AT_ONCE);
            eventually("all have been received", || {
                server.poll().unwrap();
                (server.stats().received == 1 + sent).then_some(())
            });
            assert_eq!(texts(&mut peer).len() as u64, AT_ONCE);
        }
        let stats = server.stats();
        assert_counts!(stats, received: 1 + COUNT, kernel_drops: Some(0));
    }
}
