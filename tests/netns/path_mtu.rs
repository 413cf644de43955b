//! Datagrams that are larger than a device or a router on the way carries.

use std::net::SocketAddr;
use std::time::Instant;

use packetpeer::error::PutError;
use packetpeer::identity::Switch;
use packetpeer::stats::FlushReport;
use packetpeer::{PacketPeerUdp, SendMode, ServerConfig, SocketOptions, UdpServer, WaitOutcome};

use super::hosts::{Host, PATIENCE, at, two_hosts, two_hosts_and_a_router};
use super::talk::{admit, assert_counts_add_up, assert_peers_counts_add_up};
use crate::util::{MOMENT, assert_counts, receive, receive_at};

/// What the narrow part of the way carries, in bytes: a packet with its headers. Not less than IPv6 asks for.
const NARROW: usize = 1300;

/// What the rest of the way carries.
const WIDE: usize = 1500;

const MODES: [SendMode; 3] = [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush];

/// Bytes of headers in a packet to `to`.
fn headers(to: SocketAddr) -> usize {
    if to.is_ipv4() { 20 + 8 } else { 40 + 8 }
}

fn in_one_piece(mode: SendMode) -> ServerConfig {
    ServerConfig::new().send_mode(mode).socket(SocketOptions::new().dont_fragment(true))
}

#[track_caller]
fn assert_exceeds(result: Result<(), PutError>, datagram: usize, passes: usize) {
    match result {
        Err(PutError::ExceedsMtu { size, limit }) => {
            let known = if cfg!(packetpeer_portable) { None } else { Some(passes) };
            assert_eq!((size, limit), (datagram, known));
        }
        other => panic!("{other:?}"),
    }
}

/// Puts a datagram that is too large between two that are not, and asserts how each mode says so.
#[track_caller]
fn put_too_large(server: &mut UdpServer, peer: &mut PacketPeerUdp, mode: SendMode, size: usize, limit: usize) {
    peer.put_packet(b"before").unwrap();
    let put = peer.put_packet(&vec![7; size]);
    peer.put_packet(b"after").unwrap();
    let report = server.flush().unwrap();
    let none = FlushReport::default();
    if mode == SendMode::OnFlush {
        put.unwrap();
        assert_counts!(report, sent: 2, failed: 1, waiting: 0);
    } else {
        assert_exceeds(put, size, limit);
        assert_eq!(report, none);
    }
}

#[track_caller]
fn assert_receives(client: &mut PacketPeerUdp, texts: &[&str]) {
    for text in texts {
        assert_eq!(&*receive(client), text.as_bytes());
    }
}

#[test]
fn what_the_device_does_not_carry_is_an_error_with_the_limit_in_each_mode() {
    let Some([here, there]) = two_hosts() else { return };
    there.ip(&format!("link set veth0 mtu {NARROW}"));
    for (ip, mode) in ["198.51.100.2", "2001:db8::2"].iter().flat_map(|&ip| MODES.map(|mode| (ip, mode))) {
        let mut server = there.serve(in_one_piece(mode), 0);
        let to = at(ip, server.local_port().unwrap());
        let limit = NARROW - headers(to);
        let (mut client, mut other) = (here.connect(to), here.connect(to));
        let (mut peer, mut bystander) = (admit(&mut server, &mut client), admit(&mut server, &mut other));

        there.enter(|| {
            bystander.put_packet(b"one").unwrap();
            server.flush().unwrap();
            put_too_large(&mut server, &mut peer, mode, limit + 1, limit);
            peer.put_packet(&vec![7; limit]).unwrap();
            bystander.put_packet(b"two").unwrap();
            server.flush().unwrap();
        });
        assert_receives(&mut other, &["one", "two"]);
        assert_receives(&mut client, &["before", "after"]);
        assert_eq!(receive(&mut client).len(), limit);

        let (stats, others) = (peer.stats(), bystander.stats());
        assert_counts!(stats, sent: 3, send_drops.too_large: 1, send_drops.total(): 1);
        assert_counts!(others, sent: 2, send_drops.total(): 0);
        assert_peers_counts_add_up(&stats, 4);
        assert_counts_add_up(&server, 6);
    }
}

/// The way behind a router is narrower than the device.
struct Narrow {
    here: Host,
    there: Host,
    router: Host,
}

impl Narrow {
    fn new() -> Option<Self> {
        let [here, there, router] = two_hosts_and_a_router(NARROW)?;
        Some(Self { here, there, router })
    }

    /// Puts a datagram of the width of the device until the system has heard of the narrow part from the router, as it
    /// does soon: the first has made the router say so. Returns how many were sent, and lost.
    #[track_caller]
    fn learn(&self, peer: &mut PacketPeerUdp, size: usize, limit: usize) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        let mut sent = 0;
        loop {
            match self.here.enter(|| peer.put_packet(&vec![7; size])) {
                Ok(()) => sent += 1,
                refused => {
                    assert_exceeds(refused, size, limit);
                    return sent;
                }
            }
            assert!(Instant::now() < deadline, "the router says nothing");
        }
    }
}

#[test]
fn what_a_router_does_not_carry_is_an_error_with_the_ways_limit_once_it_has_said_so() {
    let Some(net) = Narrow::new() else { return };
    for (ip, far_ip) in [("198.51.100.2", "203.0.113.2"), ("2001:db8::2", "2001:db8:1::2")] {
        let mut server = net.here.serve(in_one_piece(SendMode::Now), 0);
        let to = at(ip, server.local_port().unwrap());
        let (wide, limit) = (WIDE - headers(to), NARROW - headers(to));
        let (mut far, mut near) = (net.there.connect(to), net.router.connect(to));
        let (mut peer, mut neighbour) = (admit(&mut server, &mut far), admit(&mut server, &mut near));
        assert_eq!(peer.remote_addr().unwrap().ip().to_string(), far_ip);

        // Nothing of what the router says ends a poll, or is lost by it.
        let lost = net.learn(&mut peer, wide, limit);
        assert!(lost >= 1);
        near.put_packet(b"still there?").unwrap();
        far.put_packet(b"still there?").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"still there?");
        assert_eq!(&*receive_at(&mut server, &mut neighbour), b"still there?");

        // The limit is of this way only.
        neighbour.put_packet(&vec![7; wide]).unwrap();
        assert_eq!(receive(&mut near).len(), wide);
        net.here.enter(|| put_too_large(&mut server, &mut peer, SendMode::Now, limit + 1, limit));
        peer.put_packet(&vec![7; limit]).unwrap();
        assert_receives(&mut far, &["before", "after"]);
        assert_eq!(receive(&mut far).len(), limit);

        let report = server.broadcast(&vec![7; wide]).unwrap();
        assert_counts!(report, sent: 1, failed: 1, waiting: 0);
        assert_eq!(receive(&mut near).len(), wide);
        let stats = server.stats();
        assert_counts!(stats, received: 4, noise: 0, drops.total(): 0);
        assert_counts!(peer.stats(), sent: lost + 3, send_drops.too_large: 3);
        assert_counts!(neighbour.stats(), sent: 2, send_drops.total(): 0);
        assert_counts_add_up(&server, lost + 8);
    }
}

#[test]
fn a_flush_fails_what_the_way_does_not_carry_and_sends_the_rest() {
    let Some(net) = Narrow::new() else { return };
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut server = net.here.serve(in_one_piece(SendMode::OnFlush), 0);
        let to = at(ip, server.local_port().unwrap());
        let (wide, limit) = (WIDE - headers(to), NARROW - headers(to));
        let mut far = net.there.connect(to);
        let mut peer = admit(&mut server, &mut far);
        // The router answers each segment of a message as it does a datagram.
        let deadline = Instant::now() + PATIENCE;
        let (mut put, mut failed) = (0, 0);
        while failed == 0 {
            assert!(Instant::now() < deadline, "the router says nothing");
            for _ in 0..3 {
                peer.put_packet(&vec![7; wide]).unwrap();
            }
            put += 3;
            let report = server.flush().unwrap();
            assert!(report.sent + report.failed == 3 && report.waiting == 0, "{report:?}");
            failed += report.failed as u64;
        }
        // Three of a size would leave as one message.
        for text in ["one", "two", "six"] {
            peer.put_packet(&vec![7; limit + 1]).unwrap();
            peer.put_packet(text.as_bytes()).unwrap();
        }
        for _ in 0..3 {
            peer.put_packet(&vec![7; limit + 1]).unwrap();
        }
        let report = server.flush().unwrap();
        assert_counts!(report, sent: 3, failed: 6, waiting: 0);
        assert_receives(&mut far, &["one", "two", "six"]);
        let stats = peer.stats();
        assert_counts!(stats, sent: put - failed + 3, send_drops.too_large: failed + 6);
        assert_peers_counts_add_up(&stats, put + 9);
        assert_counts_add_up(&server, put + 9);
    }
}

#[test]
fn a_socket_of_a_peers_own_counts_what_the_router_says_as_noise() {
    let Some(net) = Narrow::new() else { return };
    for (ip, far_ip) in [("198.51.100.2", "203.0.113.2"), ("2001:db8::2", "2001:db8:1::2")] {
        let mut server = net.here.serve(in_one_piece(SendMode::Now), 0);
        let to = at(ip, server.local_port().unwrap());
        let (wide, limit) = (WIDE - headers(to), NARROW - headers(to));
        // Not connected, so that answers from the peer's own port reach it.
        let mut far = net.there.bind(at(far_ip, 0));
        far.set_dest_address(to).unwrap();
        let mut peer = admit(&mut server, &mut far);
        net.here.enter(|| server.dedicate_socket(&mut peer, Switch::AtOnce)).unwrap();
        peer.put_packet(&vec![7; wide]).unwrap();
        far.put_packet(b"still there?").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"still there?");
        let deadline = Instant::now() + PATIENCE;
        while server.stats().noise == 0 {
            assert!(Instant::now() < deadline, "the router says nothing");
            server.wait(Some(MOMENT)).unwrap();
            server.poll().unwrap();
        }
        assert_eq!(server.stats().noise, 1);
        net.here.enter(|| put_too_large(&mut server, &mut peer, SendMode::Now, wide, limit));
        assert_receives(&mut far, &["before", "after"]);
        assert_counts_add_up(&server, 4);
    }
}

#[test]
fn a_connected_peer_is_told_of_an_earlier_datagram_once() {
    let Some(net) = Narrow::new() else { return };
    for ip in ["203.0.113.2", "2001:db8:1::2"] {
        let mut server = net.there.serve(ServerConfig::new(), 0);
        let to = at(ip, server.local_port().unwrap());
        let (wide, limit) = (WIDE - headers(to), NARROW - headers(to));
        for asks_first in [false, true] {
            // Each time from anew, as if nobody knew.
            net.here.ip("route flush cache");
            net.here.ip("-6 route flush cache");
            let mut client = net.here.connect(to);
            let mut peer = admit(&mut server, &mut client);
            client.put_packet(&vec![7; wide]).unwrap();
            assert_eq!(client.wait(Some(PATIENCE)).unwrap(), WaitOutcome::Ready);
            if asks_first {
                client.poll().unwrap();
            } else {
                let told = net.here.enter(|| client.put_packet(b"small"));
                if cfg!(not(packetpeer_portable)) {
                    assert!(told.as_ref().is_err_and(|error| error.to_string().contains("earlier")), "{told:?}");
                }
                assert_exceeds(told, "small".len(), limit);
            }
            client.put_packet(b"small").unwrap();
            assert_eq!(&*receive_at(&mut server, &mut peer), b"small");
            let stats = client.stats();
            let (noise, too_large) = if asks_first { (1, 0) } else { (0, 1) };
            assert_counts!(stats, noise: noise, send_drops.too_large: too_large);
            assert_peers_counts_add_up(&stats, if asks_first { 3 } else { 4 });
        }
    }
}

#[test]
fn by_default_large_datagrams_are_cut_and_arrive() {
    let Some([here, there]) = two_hosts() else { return };
    for (ip, mode) in ["198.51.100.2", "2001:db8::2"].iter().flat_map(|&ip| MODES.map(|mode| (ip, mode))) {
        let mut server = there.serve(ServerConfig::new().send_mode(mode), 0);
        let mut client = here.connect(at(ip, server.local_port().unwrap()));
        let mut peer = admit(&mut server, &mut client);
        for size in [4_000, 4_000, 4_000, 60_000] {
            peer.put_packet(&vec![size as u8; size]).unwrap();
        }
        server.flush().unwrap();
        for size in [4_000, 4_000, 4_000, 60_000] {
            assert_eq!(*receive(&mut client), *vec![size as u8; size]);
        }
        let stats = peer.stats();
        assert_counts!(stats, sent: 4, sent_bytes: 72_000, send_drops.total(): 0);
        client.put_packet(&vec![7; 60_000]).unwrap();
        assert_eq!(*receive_at(&mut server, &mut peer), *vec![7; 60_000]);
    }
}

/// As documented: on Linux the first that a router does not carry is lost.
#[test]
fn by_default_datagrams_are_cut_for_a_narrow_way_once_the_router_has_said_so() {
    let Some(net) = Narrow::new() else { return };
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut server = net.here.serve(ServerConfig::new(), 0);
        let to = at(ip, server.local_port().unwrap());
        let mut far = net.there.connect(to);
        let mut peer = admit(&mut server, &mut far);
        let deadline = Instant::now() + PATIENCE;
        let mut number = 0_u8;
        let first = loop {
            peer.put_packet(&vec![number; WIDE - headers(to)]).unwrap();
            number += 1;
            far.wait(Some(MOMENT)).unwrap();
            far.poll().unwrap();
            if let Some(packet) = far.get_packet().unwrap() {
                break packet;
            }
            assert!(Instant::now() < deadline, "none arrives");
        };
        assert_ne!(first[0], 0, "the first is lost");
        assert_eq!(*first, *vec![first[0]; WIDE - headers(to)]);
        assert_counts!(peer.stats(), sent: number.into(), send_drops.total(): 0);
    }
}
