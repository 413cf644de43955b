//! A server that answers from the address that it was asked at, and is asked at one that is everybody's. Needs packet
//! info.

#![cfg(all(any(target_os = "linux", target_os = "android"), not(packetpeer_portable)))]

use std::net::{IpAddr, Ipv4Addr};

use packetpeer::identity::Switch;
use packetpeer::socket::Interface;
use packetpeer::{PacketPeerUdp, SendMode, ServerConfig, SocketOptions, UdpServer, Verdict};
use socket2::{InterfaceIndexOrAddress, SockRef};

mod util;

use util::{MOMENT, accept, assert_counts, eventually, loopback_peer, receive, receive_at, texts};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 101);
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Servers on every IPv4 address, of each kind of socket, who are members of [`GROUP`] too.
fn servers() -> impl Iterator<Item = UdpServer> {
    ["*:0", "0.0.0.0:0"].into_iter().map(|listen| {
        let pinned = SocketOptions::new().pin_reply_address(true);
        let mut server = UdpServer::with_config(ServerConfig::new().socket(pinned)).unwrap();
        server.listen(listen).unwrap();
        let socket = server.socket().unwrap();
        let on = InterfaceIndexOrAddress::Address(LOOPBACK);
        SockRef::from(&socket).join_multicast_v4_n(&GROUP, &on).unwrap();
        server
    })
}

/// Where all on the loopback interface hear.
fn everybody() -> [IpAddr; 2] {
    [Ipv4Addr::new(127, 255, 255, 255).into(), GROUP.into()]
}

/// A client that asks at `ip`.
fn asking(ip: IpAddr, server: &UdpServer) -> PacketPeerUdp {
    let mut client = loopback_peer();
    client.set_broadcast_enabled(true).unwrap();
    client.set_multicast_interface(Interface::Addr(LOOPBACK)).unwrap();
    client.set_dest_address((ip, server.local_port().unwrap())).unwrap();
    client
}

#[test]
fn a_question_to_all_is_answered() {
    for mut server in servers() {
        for ip in everybody() {
            let mut client = asking(ip, &server);
            client.put_packet(b"who is there?").unwrap();
            let mut peer = accept(&mut server);
            peer.put_packet(b"me").unwrap();
            let answer = receive(&mut client);
            assert_eq!((&*answer, answer.sender().ip()), (&b"me"[..], IpAddr::from(LOOPBACK)), "{ip}");
            let report = server.broadcast(b"welcome").unwrap();
            assert_counts!(report, sent: 1, failed: 0, "{ip}");
            assert_eq!(&*receive(&mut client), b"welcome");
            drop(peer);
            server.poll().unwrap();
        }
    }
}

#[test]
fn a_filter_answers_a_question_to_all() {
    for mut server in servers() {
        server.set_filter(|_, reply| {
            reply.push(b'!');
            Verdict::Reply
        });
        for ip in everybody() {
            let mut client = asking(ip, &server);
            client.put_packet(b"who is there?").unwrap();
            let answer = eventually("an answer", || {
                server.wait(Some(MOMENT)).unwrap();
                server.poll().unwrap();
                client.poll().unwrap();
                client.get_packet().unwrap()
            });
            assert_eq!(&*answer, b"!");
        }
        assert_eq!(server.stats().send_drops.total(), 0);
    }
}

#[test]
fn a_peer_that_asks_all_once_is_answered_from_then_on_too() {
    for mut server in servers() {
        for ip in everybody() {
            let mut client = asking(LOOPBACK.into(), &server);
            client.put_packet(b"hello").unwrap();
            let mut peer = accept(&mut server);
            assert_eq!(texts(&mut peer), ["hello"]);
            client.set_dest_address((ip, server.local_port().unwrap())).unwrap();
            client.put_packet(b"and all others?").unwrap();
            assert_eq!(&*receive_at(&mut server, &mut peer), b"and all others?");
            peer.put_packet(b"only me").unwrap();
            assert_eq!(&*receive(&mut client), b"only me");
        }
    }
}

#[test]
fn a_socket_given_after_a_question_to_all_hears_its_client() {
    for mut server in servers() {
        for ip in everybody() {
            let mut client = asking(ip, &server);
            client.put_packet(b"who is there?").unwrap();
            let mut peer = accept(&mut server);
            assert_eq!(texts(&mut peer), ["who is there?"]);
            let own = server.dedicate_socket(&mut peer, Switch::WithClient).unwrap();
            assert_eq!(own.ip(), IpAddr::from(LOOPBACK), "{ip}");
            client.set_dest_address(own).unwrap();
            client.put_packet(b"you alone").unwrap();
            assert_eq!(&*receive_at(&mut server, &mut peer), b"you alone");
        }
    }
}

/// Several datagrams of one message, as the kernel cuts it, and what the kernel is told of the address beside.
#[test]
fn what_a_flush_sends_together_leaves_from_the_address_spoken_to() {
    for listen in ["*:0", "0.0.0.0:0"] {
        let pinned = SocketOptions::new().pin_reply_address(true);
        let mut server =
            UdpServer::with_config(ServerConfig::new().socket(pinned).send_mode(SendMode::OnFlush)).unwrap();
        server.listen(listen).unwrap();
        // Connected, so that it hears nothing from elsewhere.
        let mut client = PacketPeerUdp::new();
        client.connect_to_host((Ipv4Addr::new(127, 0, 0, 77), server.local_port().unwrap())).unwrap();
        client.put_packet(b"hello").unwrap();
        let mut peer = accept(&mut server);
        for number in 0..3 {
            peer.put_packet(&[number; 100]).unwrap();
        }
        assert_eq!(server.flush().unwrap().sent, 3);
        for number in 0..3 {
            assert_eq!(*receive(&mut client), [number; 100]);
        }
    }
}

/// A server that listens at a group's address hears the group alone, and a socket bound there would too.
#[test]
fn a_socket_given_by_a_server_that_listens_at_a_groups_address_hears_its_client() {
    let mut server = UdpServer::new();
    server.listen((GROUP, 0)).unwrap();
    let socket = server.socket().unwrap();
    SockRef::from(&socket).join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Address(LOOPBACK)).unwrap();
    let mut client = asking(GROUP.into(), &server);
    client.put_packet(b"who is there?").unwrap();
    let mut peer = accept(&mut server);
    assert_eq!(texts(&mut peer), ["who is there?"]);
    let own = server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    peer.put_packet(b"me").unwrap();
    assert_eq!(receive(&mut client).sender(), own);
    client.set_dest_address(own).unwrap();
    client.put_packet(b"you alone").unwrap();
    assert_eq!(&*receive_at(&mut server, &mut peer), b"you alone");
}
