//! Hosts, cables and routes that go and come back.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use packetpeer::error::PutError;
use packetpeer::identity::Switch;
use packetpeer::{CloseReason, PacketPeerUdp, PeerState, SendMode, ServerConfig, UdpServer, WaitOutcome};

use super::hosts::{Host, at, two_hosts, wait_until_up};
use super::talk::{admit, assert_counts_add_up, assert_peers_counts_add_up};
use crate::util::{MOMENT, accept, assert_counts, eventually, poll_texts, receive, receive_at};

#[track_caller]
fn assert_unreachable(put: Result<(), PutError>, expected: ErrorKind) {
    match put {
        Err(PutError::Unreachable(error)) => assert_eq!(error.kind(), expected),
        other => panic!("{other:?}"),
    }
}

fn pull_the_cable_of(host: &Host) {
    host.ip("link set veth0 down");
}

/// Puts it back in, and waits until it carries. The addresses have stayed.
fn mend_the_cable_of(host: &Host, [here, there]: &[Host; 2]) {
    host.ip("link set veth0 up");
    wait_until_up([(here, "veth0"), (there, "veth0")]);
}

/// Lets `client` and `peer` hear each other.
#[track_caller]
fn assert_talk(server: &mut UdpServer, peer: &mut PacketPeerUdp, client: &mut PacketPeerUdp) {
    client.put_packet(b"there?").unwrap();
    assert_eq!(&*receive_at(server, peer), b"there?");
    peer.put_packet(b"here!").unwrap();
    server.flush().unwrap();
    assert_eq!(&*receive(client), b"here!");
}

#[test]
fn who_comes_back_within_the_idle_timeout_goes_on_and_who_does_not_has_ended() {
    let Some(hosts) = two_hosts() else { return };
    let [here, there] = &hosts;
    let mut server = there.serve(ServerConfig::new(), 0);
    let idle_timeout = server.limits().idle_timeout.unwrap();
    let port = server.local_port().unwrap();
    let mut clients =
        ["198.51.100.2", "198.51.100.2", "2001:db8::2", "2001:db8::2"].map(|ip| here.connect(at(ip, port)));
    let mut peers = clients.each_mut().map(|client| admit(&mut server, client));
    let ids = peers.each_ref().map(PacketPeerUdp::id);

    pull_the_cable_of(here);
    let mut put = 0;
    for client in &mut clients {
        assert_unreachable(client.put_packet(b"from a dead host"), ErrorKind::NetworkUnreachable);
    }
    for peer in &mut peers {
        // That the cable is out at the other end is no error here; what is sent is lost, or late.
        peer.put_packet(b"to a dead host").unwrap();
        put += 1;
    }
    let almost = Instant::now() + idle_timeout - Duration::from_secs(10);
    let report = server.poll_at(almost).unwrap();
    assert_counts!(report, received: 0, idle: 0, noise: 0);
    assert_eq!(server.peer_count(), 4);

    mend_the_cable_of(here, &hosts);
    for index in [0, 2] {
        clients[index].put_packet(b"back").unwrap();
        let packet = eventually("a packet at the server", || {
            server.wait(Some(MOMENT)).unwrap();
            server.poll_at(almost).unwrap();
            peers[index].get_packet().unwrap()
        });
        assert_eq!(&*packet, b"back");
        peers[index].put_packet(b"welcome").unwrap();
        put += 1;
        let mut heard = receive(&mut clients[index]);
        if &*heard == b"to a dead host" {
            heard = receive(&mut clients[index]);
        }
        assert_eq!(&*heard, b"welcome");
    }
    let report = server.poll_at(almost + Duration::from_secs(11)).unwrap();
    assert_eq!(report.idle, 2);
    let mut ended = Vec::new();
    server.take_ended(&mut ended);
    ended.sort_by_key(|&(id, _)| id);
    assert_eq!(ended, [(ids[1], CloseReason::Idle), (ids[3], CloseReason::Idle)]);
    assert!(matches!(peers[1].put_packet(b"too late"), Err(PutError::Ended(CloseReason::Idle))));
    put += 1;
    assert_eq!(peers.each_ref().map(|peer| peer.state() == PeerState::Open), [true, false, true, false]);

    // Who comes back later still, is somebody new.
    clients[1].put_packet(b"late").unwrap();
    let late = accept(&mut server);
    assert_eq!(late.remote_addr(), clients[1].local_addr());
    assert!(!ids.contains(&late.id()));
    let stats = server.stats();
    assert_counts!(stats, received: 7, queued: 1, drops.total(): 0, noise: 0);
    assert_counts!(stats, connections.opened: 5, connections.idle: 2);
    assert_counts!(stats, sent: 6, send_drops.not_open: 1, send_drops.total(): 1);
    assert_counts_add_up(&server, put);
    for (client, put) in clients.iter().zip([3, 3, 3, 2]) {
        let stats = client.stats();
        assert_counts!(stats, send_drops.failed: 1, send_drops.total(): 1);
        assert_peers_counts_add_up(&stats, put);
    }
}

#[test]
fn a_servers_cable_is_out_and_in_again_and_nobody_listens_anew() {
    let Some(hosts) = two_hosts() else { return };
    let [here, there] = &hosts;
    for (ip, mode) in ["198.51.100.2", "2001:db8::2"]
        .iter()
        .flat_map(|&ip| [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush].map(|mode| (ip, mode)))
    {
        // On every address, on that one, and a socket of a peer's own.
        let config = ServerConfig::new().send_mode(mode);
        let mut servers = [there.serve(config.clone(), 0), there.serve(config, at(ip, 0))];
        let mut conversations = Vec::new();
        for server in &mut servers {
            let to = at(ip, server.local_port().unwrap());
            for own_socket in [false, true] {
                let mut client = here.connect(to);
                let mut peer = admit(server, &mut client);
                if own_socket {
                    let own = there.enter(|| server.dedicate_socket(&mut peer, Switch::WithClient)).unwrap();
                    here.enter(|| client.connect_to_host(own)).unwrap();
                }
                conversations.push((peer, client));
            }
        }
        let both = |server: usize| 2 * server..2 * server + 2;
        pull_the_cable_of(there);
        for (index, server) in servers.iter_mut().enumerate() {
            for (peer, _) in &mut conversations[both(index)] {
                let put = peer.put_packet(b"to nowhere");
                if mode == SendMode::OnFlush {
                    put.unwrap();
                    let report = server.flush().unwrap();
                    assert_counts!(report, sent: 0, failed: 1, waiting: 0);
                } else {
                    assert_unreachable(put, ErrorKind::NetworkUnreachable);
                }
                assert_counts!(peer.stats(), send_drops.failed: 1, send_drops.total(): 1);
            }
            assert_eq!(server.poll().unwrap().received, 0);
        }
        mend_the_cable_of(there, &hosts);
        for (index, server) in servers.iter_mut().enumerate() {
            for (peer, client) in &mut conversations[both(index)] {
                assert_talk(server, peer, client);
                assert_peers_counts_add_up(&peer.stats(), 2);
            }
            assert_counts!(server.stats(), connections.opened: 2, noise: 0);
            assert_counts_add_up(server, 4);
        }
    }
}

#[test]
fn a_clients_cable_is_out_and_in_again_and_the_client_goes_on() {
    let Some(hosts) = two_hosts() else { return };
    let [here, there] = &hosts;
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut server = there.serve(ServerConfig::new(), 0);
        let mut client = here.connect(at(ip, server.local_port().unwrap()));
        let mut peer = admit(&mut server, &mut client);
        let local_addr = client.local_addr();
        pull_the_cable_of(here);
        for _ in 0..3 {
            assert_unreachable(client.put_packet(b"to nowhere"), ErrorKind::NetworkUnreachable);
            assert!(poll_texts(&mut client).is_empty());
        }
        assert_eq!(client.wait(Some(MOMENT)).unwrap(), WaitOutcome::TimedOut);
        mend_the_cable_of(here, &hosts);
        assert_talk(&mut server, &mut peer, &mut client);
        assert_eq!((client.state(), client.local_addr()), (PeerState::Open, local_addr));
        let stats = client.stats();
        assert_counts!(stats, sent: 2, send_drops.failed: 3, noise: 0);
        assert_peers_counts_add_up(&stats, 5);
    }
}

#[test]
fn without_a_route_the_peers_beyond_it_fail_and_the_others_do_not() {
    let Some([here, there]) = two_hosts() else { return };
    let mut server = there.serve(ServerConfig::new(), 0);
    let port = server.local_port().unwrap();
    for (ip, gateway, beyond) in
        [("198.51.100.2", "198.51.100.1", "203.0.113.1"), ("2001:db8::2", "2001:db8::1", "2001:db8:1::1")]
    {
        // An address that is not on the link.
        here.add_addr(beyond, "lo");
        there.ip(&format!("route add {beyond} via {gateway}"));
        let (mut far, mut near) = (here.bind(at(beyond, 0)), here.connect(at(ip, port)));
        far.set_dest_address(at(ip, port)).unwrap();
        let (mut peer, mut neighbour) = (admit(&mut server, &mut far), admit(&mut server, &mut near));
        there.ip(&format!("route del {beyond}"));
        for _ in 0..3 {
            assert_unreachable(peer.put_packet(b"to nowhere"), ErrorKind::NetworkUnreachable);
            assert_talk(&mut server, &mut neighbour, &mut near);
        }
        // What comes from there is as welcome as ever.
        far.put_packet(b"from beyond").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"from beyond");
        let report = server.broadcast(b"all").unwrap();
        assert_counts!(report, sent: 1, failed: 1, waiting: 0, "{ip}");
        assert_eq!(&*receive(&mut near), b"all");
        there.ip(&format!("route add {beyond} via {gateway}"));
        assert_talk(&mut server, &mut peer, &mut far);
        let stats = peer.stats();
        assert_counts!(stats, sent: 1, send_drops.failed: 4, send_drops.total(): 4);
        assert_peers_counts_add_up(&stats, 5);
        assert_peers_counts_add_up(&neighbour.stats(), 4);
        drop((peer, neighbour));
        server.poll().unwrap();
    }
    assert_counts_add_up(&server, 18);
}

/// Linux tells nobody who has not asked by a socket option that a neighbour does not answer (ip(7), `IP_RECVERR`).
#[test]
fn what_is_sent_to_a_host_that_is_gone_is_lost_and_takes_nothing_from_the_others() {
    let Some([here, there]) = two_hosts() else { return };
    here.add_addr("198.51.100.3/32", "lo");
    here.add_addr("2001:db8::3/128", "lo");
    for (ip, client_ip, prefix, near_ip) in
        [("198.51.100.1", "198.51.100.2", 24, "198.51.100.3"), ("2001:db8::1", "2001:db8::2", 64, "2001:db8::3")]
    {
        let mut server = here.serve(ServerConfig::new(), 0);
        let to = at(ip, server.local_port().unwrap());
        let (mut gone, mut near) = (there.bind(at(client_ip, 0)), here.bind(at(near_ip, 0)));
        for client in [&mut gone, &mut near] {
            client.set_dest_address(to).unwrap();
        }
        let (mut peer, mut neighbour) = (admit(&mut server, &mut gone), admit(&mut server, &mut near));
        there.ip(&format!("addr del {client_ip}/{prefix} dev veth0"));
        here.ip("neigh flush dev veth0");

        // More than the kernel keeps until it has found out where the host is.
        let mut puts = 0;
        for number in 0..100 {
            for _ in 0..50 {
                peer.put_packet(&[7; 100]).unwrap();
                puts += 1;
            }
            neighbour.put_packet(&[number]).unwrap();
            assert_eq!(*receive(&mut near), [number]);
        }
        assert_eq!(peer.stats().send_drops.total(), 0);

        there.add_addr(&format!("{client_ip}/{prefix}"), "veth0");
        eventually("it is back", || {
            gone.put_packet(b"back").unwrap();
            server.wait(Some(MOMENT)).unwrap();
            server.poll().unwrap();
            peer.get_packet().unwrap()
        });
        eventually("it hears", || {
            peer.put_packet(b"welcome").unwrap();
            puts += 1;
            gone.wait(Some(MOMENT)).unwrap();
            poll_texts(&mut gone).contains(&"welcome".to_owned()).then_some(())
        });
        let stats = server.stats();
        assert_counts!(stats, connections.opened: 2, noise: 0);
        assert_counts_add_up(&server, puts + 100);
    }
}

/// As a telephone does that leaves a Wi-Fi network.
#[test]
fn a_client_that_gets_another_address_connects_again() {
    let Some([here, there]) = two_hosts() else { return };
    for (ip, client_ip, new_ip, prefix) in
        [("198.51.100.2", "198.51.100.1", "198.51.100.11", 24), ("2001:db8::2", "2001:db8::1", "2001:db8::11", 64)]
    {
        let mut server = there.serve(ServerConfig::new(), 0);
        let to = at(ip, server.local_port().unwrap());
        let mut client = here.connect(to);
        let mut peer = admit(&mut server, &mut client);
        let port = client.local_addr().unwrap().port();
        here.ip(&format!("addr del {client_ip}/{prefix} dev veth0"));
        here.add_addr(&format!("{new_ip}/{prefix}"), "veth0");
        // The socket keeps the address it connected from. With IPv4 the system says that it is gone; with IPv6 it
        // goes on sending from there, and answers are lost.
        match client.put_packet(b"from where?") {
            Err(PutError::Unreachable(_) | PutError::Io(_)) => {
                assert!(to.is_ipv4());
                // For ever, and nothing else tells.
                let again = client.put_packet(b"from where?");
                assert!(matches!(again, Err(PutError::Unreachable(_))), "{again:?}");
                assert_eq!(client.state(), PeerState::Open);
            }
            sent => {
                assert!(to.is_ipv6() && sent.is_ok(), "{sent:?}");
                assert_eq!(&*receive_at(&mut server, &mut peer), b"from where?");
            }
        }

        client.connect_to_host(to).unwrap();
        let local = client.local_addr().unwrap();
        assert_eq!((local.ip().to_string().as_str(), local.port()), (new_ip, port));
        let mut moved = admit(&mut server, &mut client);
        assert_eq!(moved.remote_addr(), Some(local));
        assert_talk(&mut server, &mut moved, &mut client);
        assert_ne!(moved.id(), peer.id());
        assert_eq!(server.peer_count(), 2);
        assert_peers_counts_add_up(&client.stats(), if to.is_ipv4() { 5 } else { 4 });
        assert_counts_add_up(&server, 1);
    }
}
