//! Who is who, and where answers come from, with IPv4, IPv6, and addresses that hold on one link only.

use packetpeer::error::DedicateError;
use packetpeer::identity::Switch;
use packetpeer::{ServerConfig, SocketOptions};

use super::hosts::{PATIENCE, at, lay_cable, two_hosts, wait_until_up};
use super::talk::{admit, assert_counts_add_up, assert_peers_counts_add_up};
use crate::util::{accept, assert_counts, poll_texts, receive, receive_at, texts};

#[test]
fn a_bare_port_serves_both_ip_versions_and_answers_come_from_where_was_asked() {
    let Some([here, there]) = two_hosts() else { return };
    let mut server = there.serve(ServerConfig::new(), 0);
    let port = server.local_port().unwrap();
    let mut peers = Vec::new();
    for (client_ip, server_ip) in [("198.51.100.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")] {
        // Not connected: it would take an answer from anywhere.
        let mut client = here.bind(at(client_ip, 0));
        client.set_dest_address(at(server_ip, port)).unwrap();
        client.put_packet(b"question").unwrap();

        let mut peer = accept(&mut server);
        let question = peer.get_packet().unwrap().unwrap();
        // IPv4 as IPv4, though the socket is one of IPv6.
        let client_addr = client.local_addr().unwrap();
        assert_eq!((question.sender(), peer.remote_addr()), (client_addr, Some(client_addr)));
        assert_eq!(client_addr.ip().to_string(), client_ip);
        assert_eq!(server.find(client_addr), Some(peer.id()));

        peer.put_packet(b"answer").unwrap();
        let answer = receive(&mut client);
        assert_eq!((&*answer, answer.sender()), (&b"answer"[..], at(server_ip, port)));
        assert_peers_counts_add_up(&peer.stats(), 1);
        assert_peers_counts_add_up(&client.stats(), 1);
        peers.push(peer);
    }
    let stats = server.stats();
    assert_counts!(stats, received: 2, delivered: 2, sent: 2, connections.opened: 2);
    assert_counts!(stats, drops.total(): 0, send_drops.total(): 0, noise: 0);
}

#[test]
fn connected_clients_of_both_ip_versions_know_their_own_address() {
    let Some([here, there]) = two_hosts() else { return };
    let mut server = there.serve(ServerConfig::new(), 0);
    let port = server.local_port().unwrap();
    for (client_ip, server_ip) in [("198.51.100.1", "198.51.100.2"), ("2001:db8::1", "2001:db8::2")] {
        let mut client = here.connect(at(server_ip, port));
        let mut peer = admit(&mut server, &mut client);
        assert_eq!(client.local_addr(), peer.remote_addr());
        assert_eq!(client.local_addr().unwrap().ip().to_string(), client_ip);
        peer.put_packet(b"hello").unwrap();
        assert_eq!(receive(&mut client).sender(), at(server_ip, port));
    }
}

#[test]
fn echo_programs_on_two_hosts_lose_nothing() {
    let Some([here, there]) = two_hosts() else { return };
    for ip in ["198.51.100.2", "[2001:db8::2]"] {
        let mut server = there.start("echo_server", &["--listen", &format!("{ip}:0"), "--hz", "0"]);
        let line = server.wait_for_line("listening on ", PATIENCE).expect("it says where it listens");
        let connect = &line["listening on ".len()..];
        let four = ["--clients", "4", "--count", "50", "--lost-after-seconds", "15"];
        let mut client = here.start("echo_client", &[&["--connect", connect], &four[..]].concat());
        let ended = client.wait(PATIENCE);
        assert!(ended.status.success(), "{ended:?}");
    }
}

#[cfg(not(packetpeer_portable))]
#[test]
fn where_asked_for_answers_leave_from_the_address_spoken_to() {
    let Some([here, there]) = two_hosts() else { return };
    // Second addresses, from which the routing table would not choose to answer.
    there.add_addr("198.51.100.22/24", "veth0");
    there.add_addr("2001:db8::22/64", "veth0");
    there.ip("addr change 2001:db8::22/64 dev veth0 preferred_lft 0");
    for (client_ip, first, second) in
        [("198.51.100.1", "198.51.100.2", "198.51.100.22"), ("2001:db8::1", "2001:db8::2", "2001:db8::22")]
    {
        for (pinned, answers_from) in [(false, first), (true, second)] {
            let socket = SocketOptions::new().pin_reply_address(pinned);
            let mut server = there.serve(ServerConfig::new().socket(socket), 0);
            let port = server.local_port().unwrap();
            let mut client = here.bind(at(client_ip, 0));
            client.set_dest_address(at(second, port)).unwrap();
            let mut peer = admit(&mut server, &mut client);
            peer.put_packet(b"answer").unwrap();
            assert_eq!(receive(&mut client).sender(), at(answers_from, port));
        }
    }
}

/// From an address to which the server's host has no route, by one datagram, forged or not.
#[test]
fn who_cannot_be_answered_gets_no_socket_and_ends_no_server() {
    let Some([here, there]) = two_hosts() else { return };
    here.add_addr("2001:db8:66::66/128", "veth0");
    let mut server = there.serve(ServerConfig::new(), 0);
    let mut stranger = here.bind(at("2001:db8:66::66", 0));
    stranger.set_dest_address(at("2001:db8::2", server.local_port().unwrap())).unwrap();
    stranger.put_packet(b"hello").unwrap();
    let mut peer = accept(&mut server);
    let outcome = there.enter(|| server.dedicate_socket(&mut peer, Switch::AtOnce));
    assert!(matches!(outcome, Err(DedicateError::Unreachable(_))), "{outcome:?}");

    for (server, client) in
        [("port_switch_server", "port_switch_client"), ("dedicated_socket_server", "dedicated_socket_client")]
    {
        let mut server = there.start(server, &["--listen", "[2001:db8::2]:0", "--seconds", "60"]);
        let line = server.wait_for_line("listening on ", PATIENCE).expect("it says where it listens");
        let connect = &line["listening on ".len()..];
        stranger.set_dest_address(connect).unwrap();
        stranger.put_packet(b"hello").unwrap();
        server.wait_for_line("[2001:db8:66::66]", PATIENCE).expect("it goes on, and speaks by the shared port");
        let ended = here.start(client, &["--connect", connect, "--streams", "2", "--count", "5"]).wait(PATIENCE);
        assert!(ended.status.success(), "{client}: {ended:?}");
    }
}

#[test]
fn a_link_local_client_is_answered_on_its_link() {
    let Some([here, there]) = two_hosts() else { return };
    for (host, ip) in [(&here, "fe80::c1"), (&there, "fe80::5e")] {
        host.add_addr(&format!("{ip}/64"), "veth0");
    }
    let mut server = there.serve(ServerConfig::new(), 0);
    let mut client = here.connect(here.on_link("veth0", "fe80::5e", server.local_port().unwrap()));
    let mut peer = admit(&mut server, &mut client);
    let client_ip = client.local_addr().unwrap().ip().to_string();
    // The scope is the server's number of the link, not the client's.
    let seen = there.on_link("veth0", &client_ip, client.local_addr().unwrap().port());
    assert_eq!(peer.remote_addr(), Some(seen));
    assert_eq!(server.find(seen), Some(peer.id()));
    for number in 0..3 {
        peer.put_packet(&[number]).unwrap();
        assert_eq!(&*receive(&mut client), &[number]);
        client.put_packet(&[number]).unwrap();
        let packet = receive_at(&mut server, &mut peer);
        assert_eq!((&*packet, packet.sender()), (&[number][..], seen));
    }
    assert_counts_add_up(&server, 3);
    assert_eq!(server.stats().connections.opened, 1);
}

#[test]
fn a_link_local_client_gets_a_socket_of_its_own_on_its_link() {
    let Some([here, there]) = two_hosts() else { return };
    there.add_addr("fe80::5e/64", "veth0");
    let pinned = SocketOptions::new().pin_reply_address(!cfg!(packetpeer_portable));
    for (listen, socket) in [
        (there.on_link("veth0", "fe80::5e", 0), SocketOptions::new()),
        (at("::", 0), SocketOptions::new()),
        (at("::", 0), pinned),
    ] {
        let mut server = there.serve(ServerConfig::new().socket(socket), listen);
        let mut client = here.bind(at("::", 0));
        client.set_dest_address(here.on_link("veth0", "fe80::5e", server.local_port().unwrap())).unwrap();
        let mut peer = admit(&mut server, &mut client);
        let own = there.enter(|| server.dedicate_socket(&mut peer, Switch::AtOnce)).unwrap();
        peer.put_packet(b"from my own port").unwrap();
        assert_eq!(receive(&mut client).sender(), here.on_link("veth0", "fe80::5e", own.port()));
        client.set_dest_address(here.on_link("veth0", "fe80::5e", own.port())).unwrap();
        client.put_packet(b"to that port").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"to that port");
    }
}

#[test]
fn the_same_link_local_address_and_port_on_two_links_are_two_peers() {
    let Some([here, there]) = two_hosts() else { return };
    let second = [(&here, "veth1"), (&there, "veth1")];
    lay_cable(second);
    wait_until_up(second);
    for device in ["veth0", "veth1"] {
        here.add_addr("fe80::c1/64", device);
        there.add_addr("fe80::5e/64", device);
    }
    let mut server = there.serve(ServerConfig::new(), 0);
    let port = server.local_port().unwrap();
    let mut first = here.bind(here.on_link("veth0", "fe80::c1", 0));
    let same_port = first.local_addr().unwrap().port();
    let mut second = here.bind(here.on_link("veth1", "fe80::c1", same_port));
    let mut peers = Vec::new();
    for (client, device) in [(&mut first, "veth0"), (&mut second, "veth1")] {
        client.set_dest_address(here.on_link(device, "fe80::5e", port)).unwrap();
        let peer = admit(&mut server, client);
        assert_eq!(peer.remote_addr(), Some(there.on_link(device, "fe80::c1", same_port)));
        peers.push(peer);
    }
    assert_ne!(peers[0].id(), peers[1].id());
    assert_eq!(server.peer_count(), 2);

    for ((peer, client), text) in peers.iter_mut().zip([&mut first, &mut second]).zip(["one", "two"]) {
        peer.put_packet(text.as_bytes()).unwrap();
        client.put_packet(text.as_bytes()).unwrap();
        assert_eq!(&*receive(client), text.as_bytes());
        assert_eq!(&*receive_at(&mut server, peer), text.as_bytes());
    }
    for (peer, client) in peers.iter_mut().zip([&mut first, &mut second]) {
        assert!(poll_texts(client).is_empty() && texts(peer).is_empty());
    }
    assert_counts_add_up(&server, 2);
}

/// Server browsers ask so: nobody can answer from a group's address, and the server knows no other by which it was asked.
#[cfg(not(packetpeer_portable))]
#[test]
fn where_answers_leave_from_the_address_spoken_to_a_question_to_a_group_is_answered() {
    let Some([here, there]) = two_hosts() else { return };
    let pinned = SocketOptions::new().pin_reply_address(true);
    for listen in ["*:0", "[::]:0"] {
        let mut server = there.serve(ServerConfig::new().socket(pinned.clone()), listen);
        for group in ["ff12::7701", "ff18::7701"] {
            let scope = |host: &super::hosts::Host| match host.on_link("veth0", group, 0) {
                std::net::SocketAddr::V6(addr) => addr.scope_id(),
                std::net::SocketAddr::V4(_) => unreachable!("it is of IPv6"),
            };
            let socket = server.socket().unwrap();
            socket2::SockRef::from(&socket).join_multicast_v6(&group.parse().unwrap(), scope(&there)).unwrap();
            let mut client = here.bind(at("::", 0));
            client.set_multicast_interface(packetpeer::socket::Interface::Index(scope(&here))).unwrap();
            client.set_dest_address(here.on_link("veth0", group, server.local_port().unwrap())).unwrap();
            let mut peer = admit(&mut server, &mut client);
            peer.put_packet(b"me").unwrap();
            let answer = receive(&mut client);
            assert!(&*answer == b"me" && !answer.sender().ip().is_multicast());
            // Asked alone from now on.
            client.set_dest_address(answer.sender()).unwrap();
            client.put_packet(b"you").unwrap();
            assert_eq!(&*receive_at(&mut server, &mut peer), b"you");
            peer.put_packet(b"still me").unwrap();
            assert_eq!(receive(&mut client).sender(), answer.sender());

            // A socket of its own for one that has asked all, and nothing else yet.
            let mut client = here.bind(at("::", 0));
            client.set_multicast_interface(packetpeer::socket::Interface::Index(scope(&here))).unwrap();
            client.set_dest_address(here.on_link("veth0", group, server.local_port().unwrap())).unwrap();
            let mut peer = admit(&mut server, &mut client);
            there.enter(|| server.dedicate_socket(&mut peer, Switch::AtOnce)).unwrap();
            peer.put_packet(b"me alone").unwrap();
            let answer = receive(&mut client);
            client.set_dest_address(answer.sender()).unwrap();
            client.put_packet(b"you alone").unwrap();
            assert_eq!(&*receive_at(&mut server, &mut peer), b"you alone");
        }
    }
}

#[test]
fn on_a_host_without_ipv6_the_local_address_of_a_bare_port_is_this_host_by_ipv4() {
    let Some(host) = super::hosts::Host::new() else { return };
    host.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    let mut server = host.serve(ServerConfig::new(), 0);
    for follow in [false, true] {
        let mut client = packetpeer::PacketPeerUdp::new();
        client.set_follow_port(follow).unwrap();
        host.enter(|| client.connect_to_host(server.local_addr().unwrap())).unwrap();
        let mut peer = admit(&mut server, &mut client);
        peer.put_packet(b"welcome").unwrap();
        assert_eq!(receive(&mut client).sender(), at("127.0.0.1", server.local_port().unwrap()));
    }
    let mut client = host.bind(0);
    let mut peer = host.enter(|| server.connect(client.local_addr().unwrap())).unwrap();
    peer.put_packet(b"are you there?").unwrap();
    let question = receive(&mut client);
    client.set_dest_address(question.sender()).unwrap();
    client.put_packet(b"yes").unwrap();
    assert_eq!(&*receive_at(&mut server, &mut peer), b"yes");
}
