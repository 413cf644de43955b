//! Firewalls that refuse, on the host that is spoken to and on one's own.

use std::io::ErrorKind;

use packetpeer::error::PutError;
use packetpeer::identity::Switch;
use packetpeer::{PacketPeerUdp, SendMode, ServerConfig, UdpServer, WaitOutcome};

use super::hosts::{Host, PATIENCE, at, two_hosts};
use super::talk::{admit, assert_counts_add_up, assert_peers_counts_add_up};
use crate::util::{MOMENT, assert_counts, eventually, poll_texts, receive, receive_at};

/// A firewall's answer to what it refuses.
struct Refusal {
    /// Of the server, which says by which IP version.
    ip: &'static str,
    how: &'static str,
    /// What a connected socket makes of it.
    is_told_as: fn(&PutError) -> bool,
}

const REFUSALS: [Refusal; 6] = [
    v4("reject with icmp port-unreachable", is_refused),
    v4("reject with icmp admin-prohibited", is_host_unreachable),
    v4("reject with icmp host-prohibited", is_host_unreachable),
    v4("reject with icmp net-prohibited", is_net_unreachable),
    v6("reject with icmpv6 port-unreachable", is_refused),
    v6("reject with icmpv6 admin-prohibited", is_denied),
];

const fn v4(how: &'static str, is_told_as: fn(&PutError) -> bool) -> Refusal {
    Refusal { ip: "198.51.100.2", how, is_told_as }
}

const fn v6(how: &'static str, is_told_as: fn(&PutError) -> bool) -> Refusal {
    Refusal { ip: "2001:db8::2", how, is_told_as }
}

fn is_refused(error: &PutError) -> bool {
    matches!(error, PutError::Refused)
}

fn is_host_unreachable(error: &PutError) -> bool {
    matches!(error, PutError::Unreachable(error) if error.kind() == ErrorKind::HostUnreachable)
}

fn is_net_unreachable(error: &PutError) -> bool {
    matches!(error, PutError::Unreachable(error) if error.kind() == ErrorKind::NetworkUnreachable)
}

fn is_denied(error: &PutError) -> bool {
    matches!(error, PutError::PermissionDenied(_))
}

/// A server, a connected client that speaks to it at `ip`, and the client's peer at the server.
fn conversation(here: &Host, there: &Host, ip: &str) -> (UdpServer, PacketPeerUdp, PacketPeerUdp) {
    let mut server = there.serve(ServerConfig::new(), 0);
    let mut client = here.connect(at(ip, server.local_port().unwrap()));
    let peer = admit(&mut server, &mut client);
    (server, client, peer)
}

#[test]
fn a_connected_peer_is_told_of_a_refusal_once_by_the_next_put() {
    let Some([here, there]) = two_hosts() else { return };
    for Refusal { ip, how, is_told_as } in REFUSALS {
        let (mut server, mut client, mut peer) = conversation(&here, &there, ip);
        if !there.firewall("input", &[&format!("meta l4proto udp {how}")]) {
            return;
        }
        client.put_packet(b"refused").unwrap();
        assert_eq!(client.wait(Some(PATIENCE)).unwrap(), WaitOutcome::Ready, "{how}");
        there.open_firewall();

        let told = client.put_packet(b"told");
        assert!(told.as_ref().is_err_and(is_told_as), "{how}: {told:?}");
        client.put_packet(b"through").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"through", "{how}");
        let stats = client.stats();
        assert_counts!(stats, sent: 3, send_drops.failed: 1, noise: 0, "{how}");
        assert_peers_counts_add_up(&stats, 4);
    }
}

#[test]
fn a_connected_peer_that_polls_counts_a_refusal_as_noise_and_goes_on() {
    let Some([here, there]) = two_hosts() else { return };
    for Refusal { ip, how, .. } in REFUSALS {
        let (mut server, mut client, mut peer) = conversation(&here, &there, ip);
        // An answer that waits behind the refusal.
        peer.put_packet(b"answer").unwrap();
        if !there.firewall("input", &[&format!("meta l4proto udp {how}")]) {
            return;
        }
        client.put_packet(b"refused").unwrap();
        let mut texts = Vec::new();
        eventually("noise", || {
            client.wait(Some(MOMENT)).unwrap();
            texts.extend(poll_texts(&mut client));
            (client.stats().noise > 0).then_some(())
        });
        there.open_firewall();
        assert_eq!(texts, ["answer"], "{how}");

        client.put_packet(b"through").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"through", "{how}");
        let stats = client.stats();
        assert_counts!(stats, sent: 3, send_drops.total(): 0, noise: 1, "{how}");
        assert_peers_counts_add_up(&stats, 3);
        assert_counts!(server.stats(), received: 2, noise: 0);
    }
}

#[test]
fn a_server_serves_the_others_while_a_clients_firewall_refuses_its_answers() {
    let Some([here, there]) = two_hosts() else { return };
    for Refusal { ip, how, is_told_as } in REFUSALS {
        let (mut server, behind, mut peer) = conversation(&here, &there, ip);
        let mut other = here.connect(at(ip, server.local_port().unwrap()));
        let mut bystander = admit(&mut server, &mut other);
        let port = behind.local_addr().unwrap().port();
        if !here.firewall("input", &[&format!("udp dport {port} counter name lost {how}")]) {
            return;
        }
        for round in 0..10 {
            peer.put_packet(b"refused").unwrap();
            bystander.put_packet(&[round]).unwrap();
            assert_eq!(*receive(&mut other), [round]);
            other.put_packet(&[round]).unwrap();
            assert_eq!(*receive_at(&mut server, &mut bystander), [round]);
        }
        eventually("all ten have arrived at the firewall", || (here.firewall_counted("lost") == 10).then_some(()));
        // A socket that is not connected hears nothing of it on Linux.
        let stats = server.stats();
        assert_counts!(stats, sent: 20, send_drops.total(): 0, noise: 0, "{how}");

        // One that is for this peer only, does.
        there.enter(|| server.dedicate_socket(&mut peer, Switch::AtOnce)).unwrap();
        peer.put_packet(b"refused").unwrap();
        eventually("noise", || {
            server.wait(Some(MOMENT)).unwrap();
            server.poll().unwrap();
            (server.stats().noise > 0).then_some(())
        });
        let mut put = 11;
        let told = eventually("a put that is told", || {
            put += 1;
            peer.put_packet(b"refused, or told").err()
        });
        assert!(is_told_as(&told), "{how}: {told:?}");
        here.open_firewall();
        other.put_packet(b"still there?").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut bystander), b"still there?");
        let stats = peer.stats();
        assert_counts!(stats, send_drops.failed: 1, send_drops.total(): 1, "{how}");
        assert_peers_counts_add_up(&stats, put);
        assert_counts_add_up(&server, 10 + put);
    }
}

#[test]
fn what_is_dropped_without_an_answer_is_lost_and_nothing_else_happens() {
    let Some([here, there]) = two_hosts() else { return };
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let (mut server, mut client, mut peer) = conversation(&here, &there, ip);
        if !there.firewall("input", &["meta l4proto udp counter name lost drop"]) {
            return;
        }
        for _ in 0..20 {
            client.put_packet(b"lost").unwrap();
        }
        eventually("all have arrived at the firewall", || (there.firewall_counted("lost") == 20).then_some(()));
        there.open_firewall();
        client.put_packet(b"through").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"through");
        assert!(poll_texts(&mut client).is_empty());
        let stats = client.stats();
        assert_counts!(stats, sent: 22, send_drops.total(): 0, noise: 0);
        let stats = server.stats();
        assert_counts!(stats, received: 2, noise: 0, drops.total(): 0);
    }
}

#[test]
fn what_the_own_firewall_forbids_is_an_error_of_the_one_peer_in_each_mode() {
    let Some([here, there]) = two_hosts() else { return };
    for (ip, client_ip) in [("198.51.100.2", "198.51.100.1"), ("2001:db8::2", "2001:db8::1")] {
        for mode in [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush] {
            let mut server = there.serve(ServerConfig::new().send_mode(mode), 0);
            let to = at(ip, server.local_port().unwrap());
            let (mut client, mut other) = (here.connect(to), here.bind(at(client_ip, 0)));
            other.set_dest_address(to).unwrap();
            let (mut peer, mut bystander) = (admit(&mut server, &mut client), admit(&mut server, &mut other));
            let port = client.local_addr().unwrap().port();
            if !there.firewall("output", &[&format!("udp dport {port} counter name lost drop")]) {
                return;
            }
            for number in 0..3 {
                let put = peer.put_packet(b"forbidden");
                bystander.put_packet(&[number]).unwrap();
                if mode == SendMode::OnFlush {
                    put.unwrap();
                } else {
                    assert!(put.as_ref().is_err_and(is_denied), "{put:?}");
                }
            }
            let report = server.flush().unwrap();
            let by_flush = if mode == SendMode::OnFlush { 3 } else { 0 };
            assert_counts!(report, sent: by_flush, failed: by_flush, waiting: 0, "{mode:?}");
            let report = server.broadcast(&[3]).unwrap();
            let report = if mode == SendMode::OnFlush { server.flush().unwrap() } else { report };
            assert_counts!(report, sent: 1, failed: 1, waiting: 0, "{mode:?}");
            for number in 0..4 {
                assert_eq!(*receive(&mut other), [number]);
            }
            there.open_firewall();
            peer.put_packet(b"allowed").unwrap();
            server.flush().unwrap();
            assert_eq!(&*receive(&mut client), b"allowed");

            let (stats, others) = (peer.stats(), bystander.stats());
            assert_counts!(stats, sent: 1, send_drops.failed: 4, send_drops.total(): 4);
            assert_counts!(others, sent: 4, send_drops.total(): 0);
            assert_counts_add_up(&server, 9);
        }
    }
}

#[test]
fn what_the_own_firewall_forbids_is_no_missing_broadcast_flag() {
    let Some([here, there]) = two_hosts() else { return };
    for ip in ["198.51.100.2", "2001:db8::2"] {
        for rule in ["meta l4proto udp drop", "meta l4proto udp reject"] {
            let (mut server, mut client, mut peer) = conversation(&here, &there, ip);
            if !here.firewall("output", &[rule]) {
                return;
            }
            let put = client.put_packet(b"forbidden");
            assert!(put.as_ref().is_err_and(is_denied), "{rule}: {put:?}");
            here.open_firewall();
            // Whoever rejects answers itself, too.
            client.poll().unwrap();
            client.put_packet(b"allowed").unwrap();
            assert_eq!(&*receive_at(&mut server, &mut peer), b"allowed");
            let stats = client.stats();
            let noise = u64::from(rule.ends_with("reject"));
            assert_counts!(stats, sent: 2, send_drops.failed: 1, noise: noise, "{rule}");
            assert_peers_counts_add_up(&stats, 3);
        }
    }
}

#[test]
fn what_the_routing_table_forbids_is_no_missing_broadcast_flag() {
    let Some([here, _there]) = two_hosts() else { return };
    here.ip("route add prohibit 203.0.113.0/24");
    let mut peer = here.bind(at("0.0.0.0", 0));
    here.enter(|| {
        peer.set_dest_address("203.0.113.7:7777").unwrap();
        let put = peer.put_packet(b"forbidden");
        assert!(put.as_ref().is_err_and(is_denied), "{put:?}");
        // Where it is what is missing, that is still said.
        peer.set_dest_address("198.51.100.255:7777").unwrap();
        let put = peer.put_packet(b"to all");
        assert!(matches!(put, Err(PutError::BroadcastNotEnabled)), "{put:?}");
        peer.set_broadcast_enabled(true).unwrap();
        peer.set_dest_address("203.0.113.7:7777").unwrap();
        let put = peer.put_packet(b"forbidden");
        assert!(put.as_ref().is_err_and(is_denied), "{put:?}");

        let mut client = PacketPeerUdp::new();
        let connected = client.connect_to_host("203.0.113.7:7777");
        assert!(matches!(connected, Err(packetpeer::error::ConnectError::Unreachable(_))), "{connected:?}");
        let connected = client.connect_to_host("198.51.100.255:7777");
        assert!(matches!(connected, Err(packetpeer::error::ConnectError::Broadcast)), "{connected:?}");
    });
}
