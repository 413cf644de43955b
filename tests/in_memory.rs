//! The in-memory network: what tests of netcode rest on.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use packetpeer::error::BindError;
use packetpeer::sim::{Link, LinkEnd, Network};
use packetpeer::{PacketPeerUdp, ServerConfig, SocketOptions, UdpServer};

mod util;

use util::{SERVER, World, assert_counts, millis, poll_texts};

fn bound(network: &Network, addr: &str) -> PacketPeerUdp {
    let addr: SocketAddr = addr.parse().unwrap();
    let mut peer = PacketPeerUdp::with_transport(network.host(addr.ip()));
    peer.bind(addr).unwrap();
    peer
}

#[test]
fn time_stands_still_until_it_is_moved() {
    let network = Network::new();
    let start = network.now();
    assert!(start <= Instant::now());
    assert_eq!((network.now(), network.elapsed()), (start, Duration::ZERO));
    network.advance(millis(3));
    network.clone().advance(Duration::from_nanos(4));
    assert_eq!(network.elapsed(), Duration::from_nanos(3_000_004));
    assert_eq!(network.now(), start + Duration::from_nanos(3_000_004));
}

/// It panicked: the sum was more than a `Duration` or an `Instant` holds.
#[test]
fn the_clock_goes_to_the_end_of_time_and_no_further() {
    let network = Network::new();
    network.set_link(LinkEnd::Any, LinkEnd::Any, Link::new().latency(Duration::MAX));
    let mut receiver = bound(&network, "10.0.0.1:1");
    let mut sender = bound(&network, "10.0.0.2:1");
    network.advance(millis(1));
    sender.set_dest_address("10.0.0.1:1").unwrap();
    sender.put_packet(b"a message in a bottle").unwrap();
    network.advance(Duration::from_nanos(u64::MAX) - millis(2));
    assert!(poll_texts(&mut receiver).is_empty());
    assert_eq!(network.next_arrival(), Some(millis(1)));
    for _ in 0..2 {
        network.advance(Duration::MAX);
        assert_eq!(network.elapsed(), Duration::from_nanos(u64::MAX));
    }
    assert_eq!(poll_texts(&mut receiver), ["a message in a bottle"]);
}

#[test]
fn datagrams_arrive_at_once_and_in_order() {
    let network = Network::new();
    let (mut from, mut to) = (bound(&network, "10.0.0.1:1000"), bound(&network, "10.0.0.2:1000"));
    from.set_dest_address("10.0.0.2:1000").unwrap();
    let sent: Vec<_> = (0..300).map(|number| number.to_string()).collect();
    for text in &sent {
        from.put_packet(text.as_bytes()).unwrap();
    }
    assert_eq!(poll_texts(&mut to), sent);
    assert_eq!(network.lost(), 0);
}

#[test]
fn networks_are_worlds_of_their_own() {
    let (here, there) = (Network::new(), Network::new());
    let mut peer = bound(&here, "10.0.0.1:1000");
    let _other = bound(&there, "10.0.0.2:1000");
    peer.set_dest_address("10.0.0.2:1000").unwrap();
    peer.put_packet(b"x").unwrap();
    assert_eq!(here.lost(), 1);
    assert_eq!(there.lost(), 0);
}

#[test]
fn what_nobody_can_receive_is_counted() {
    let network = Network::new();
    let mut peer = bound(&network, "10.0.0.1:1000");
    for nobody in ["10.0.0.2:1000", "10.0.0.1:1001"] {
        peer.set_dest_address(nobody).unwrap();
        peer.put_packet(b"x").unwrap();
    }
    assert_eq!(network.lost(), 2);

    let mut other = bound(&network, "10.0.0.2:1000");
    other.connect_to_host("10.0.0.3:1000").unwrap();
    peer.set_dest_address("10.0.0.2:1000").unwrap();
    peer.put_packet(b"to one who hears only 10.0.0.3").unwrap();
    assert_eq!(network.lost(), 3);
    assert!(poll_texts(&mut other).is_empty());
}

#[test]
fn a_full_receive_buffer_loses_the_newest() {
    let network = Network::new();
    let options = SocketOptions::new().receive_buffer(Some(10_000));
    let mut server = UdpServer::with_transport(ServerConfig::new().socket(options), network.host(SERVER.ip())).unwrap();
    server.listen(SERVER).unwrap();
    let mut client = bound(&network, "10.0.0.2:1000");
    client.connect_to_host(SERVER).unwrap();
    for _ in 0..100 {
        client.put_packet(&[0; 1_000]).unwrap();
    }
    let received = server.poll().unwrap().received;
    assert!((1..=10).contains(&received), "{received} datagrams of 1 000 bytes fit into 10 000");
    assert_eq!(network.lost(), 100 - received as u64);
    client.put_packet(&[0; 1_000]).unwrap();
    assert_eq!(server.poll().unwrap().received, 1);
}

#[test]
fn a_port_has_one_owner_until_it_is_given_up() {
    let network = Network::new();
    let mut first = bound(&network, "10.0.0.1:1000");
    let mut second = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    assert!(matches!(second.bind("10.0.0.1:1000"), Err(BindError::AddressInUse(_))));
    assert!(matches!(second.bind(1000), Err(BindError::AddressInUse(_))));
    first.close();
    second.bind(1000).unwrap();
    drop(second);
    first.bind("10.0.0.1:1000").unwrap();
}

#[test]
fn ports_of_the_networks_choice_are_all_different() {
    let network = Network::new();
    let host = network.host([10, 0, 0, 1]);
    let peers: Vec<_> = (0..100)
        .map(|_| {
            let mut peer = PacketPeerUdp::with_transport(host.clone());
            peer.bind(0).unwrap();
            peer
        })
        .collect();
    let ports: std::collections::BTreeSet<_> = peers.iter().map(|peer| peer.local_addr().unwrap().port()).collect();
    assert_eq!(ports.len(), 100);
    assert!(ports.iter().all(|&port| port >= 49_152));
}

/// So that a test's outcome does not hang on who else is there.
#[test]
fn the_ports_of_a_host_do_not_hang_on_what_other_hosts_do() {
    let ports = |busy: bool| {
        let network = Network::new();
        let mut others = Vec::new();
        let ports: Vec<_> = (0..10)
            .map(|_| {
                for number in 2..if busy { 5 } else { 2 } {
                    let mut other = PacketPeerUdp::with_transport(network.host([10, 0, 0, number]));
                    other.bind(0).unwrap();
                    others.push(other);
                }
                let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
                peer.bind(0).unwrap();
                peer.local_addr().unwrap().port()
            })
            .collect();
        ports
    };
    assert_eq!(ports(true), ports(false));
}

#[test]
fn a_port_just_given_up_is_not_the_next_to_be_chosen() {
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    peer.bind(0).unwrap();
    let first = peer.local_addr();
    peer.close();
    peer.bind(0).unwrap();
    assert_ne!(peer.local_addr(), first);
}

#[test]
fn the_host_of_an_address_is_always_the_same() {
    let network = Network::new();
    let _peer = bound(&network, "10.0.0.1:1000");
    let mut other = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    assert!(matches!(other.bind("10.0.0.1:1000"), Err(BindError::AddressInUse(_))));
}

#[test]
fn a_host_may_speak_both_ip_versions() {
    let network = Network::new();
    let host = network.host([10, 0, 0, 1]).with_address("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap());
    let mut server = UdpServer::with_transport(ServerConfig::new(), host).unwrap();
    server.listen(7777).unwrap();
    for (from, to) in [("10.0.0.2:1000", "10.0.0.1:7777"), ("[2001:db8::2]:1000", "[2001:db8::1]:7777")] {
        let mut client = bound(&network, from);
        client.connect_to_host(to).unwrap();
        client.put_packet(b"hello").unwrap();
        server.poll().unwrap();
        let mut peer = server.take_connection().unwrap();
        assert_eq!(peer.remote_addr(), client.local_addr());
        peer.put_packet(b"welcome").unwrap();
        assert_eq!(poll_texts(&mut client), ["welcome"]);
    }
}

#[test]
fn a_server_of_one_ip_version_is_not_reached_by_the_other() {
    let network = Network::new();
    let host = network.host([10, 0, 0, 1]).with_address("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap());
    let mut server = UdpServer::with_transport(ServerConfig::new(), host).unwrap();
    server.listen("0.0.0.0:7777").unwrap();
    let mut client = bound(&network, "[2001:db8::2]:1000");
    client.set_dest_address("[2001:db8::1]:7777").unwrap();
    client.put_packet(b"hello").unwrap();
    assert_counts!(server.poll().unwrap(), received: 0);
    assert_eq!(network.lost(), 1);
}

#[test]
fn a_network_can_be_used_from_several_threads() {
    let mut world = World::new();
    world.server.set_max_pending_connections(8);
    let clients: Vec<_> = (0..8).map(|number| world.client(number)).collect();
    std::thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || {
                for _ in 0..50 {
                    client.put_packet(b"x").unwrap();
                }
            });
        }
    });
    let report = world.poll();
    assert_counts!(report, received: 400, new_connections: 8);
}

#[test]
fn a_receive_buffer_in_memory_says_how_large_it_is_and_holds_so_much() {
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
    assert_eq!(peer.receive_buffer_size(), None, "there is no socket yet");
    for (asked, size) in [(None, 212_992), (Some(10_000), 10_000)] {
        peer.set_receive_buffer(asked).unwrap();
        peer.bind("10.0.0.2:7").unwrap();
        assert_eq!(peer.receive_buffer_size(), Some(size));
        let mut sender = PacketPeerUdp::with_transport(network.host([10, 0, 0, 3]));
        sender.set_dest_address("10.0.0.2:7").unwrap();
        let (received, lost) = (peer.stats().received, network.lost());
        (0..1_000).for_each(|_| sender.put_packet(b"x").unwrap());
        peer.poll().unwrap();
        let fits = size as u64 / (1 + 256);
        assert_eq!((peer.stats().received - received, network.lost() - lost), (fits, 1_000 - fits));
        peer.close();
    }
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1])).unwrap();
    server.listen(7).unwrap();
    assert_eq!(server.receive_buffer_size(), Some(4 << 20));
}
