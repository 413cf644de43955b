//! Addresses that stand for something else than one host: unspecified ones, which mean this host, and those from which
//! nobody can answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use packetpeer::error::ConnectError;
use packetpeer::sim::{Conditioned, Link, Network};
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, SystemSockets, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};

mod util;

use util::{MOMENT, accept, eventually, loopback_peer, loopback_server, receive, receive_at, texts};

const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A server on every address.
fn server_on_a_bare_port() -> UdpServer {
    let mut server = UdpServer::new();
    server.listen(0).unwrap();
    server
}

/// Both hear each other, and know each other by the addresses that the datagrams have.
#[track_caller]
fn assert_talk(server: &mut UdpServer, client: &mut PacketPeerUdp) {
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(server);
    assert_eq!(texts(&mut peer), ["hello"]);
    peer.put_packet(b"welcome").unwrap();
    let welcome = receive(client);
    assert_eq!((&*welcome, Some(welcome.sender())), (&b"welcome"[..], client.remote_addr()));
    assert!(!welcome.sender().ip().is_unspecified());
    assert_eq!(client.stats().drops.total(), 0);
}

#[test]
fn a_client_connected_to_the_local_address_of_a_server_on_a_bare_port_hears_it() {
    let mut server = server_on_a_bare_port();
    let mut client = PacketPeerUdp::new();
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    assert_talk(&mut server, &mut client);
}

#[test]
fn a_client_connected_to_an_unspecified_address_hears_this_host() {
    let mut server = server_on_a_bare_port();
    let port = server.local_port().unwrap();
    for ip in [ANY_V4, ANY_V6, "::ffff:0.0.0.0".parse().unwrap()] {
        let mut client = PacketPeerUdp::new();
        client.connect_to_host((ip, port)).unwrap();
        assert_talk(&mut server, &mut client);
        // Once more, from a socket that has an address by now.
        client.connect_to_host((ip, port)).unwrap();
        client.put_packet(b"again").unwrap();
        eventually("the server hears", || {
            server.wait(Some(MOMENT)).unwrap();
            let report = server.poll().unwrap();
            (report.received > 0).then_some(())
        });
        while server.take_connection().is_some() {}
        server.poll().unwrap();
    }
}

#[test]
fn a_client_bound_to_an_address_finds_the_server_on_a_bare_port_there() {
    let mut server = server_on_a_bare_port();
    let mut client = loopback_peer();
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    assert_eq!(client.remote_addr(), Some((Ipv4Addr::LOCALHOST, server.local_port().unwrap()).into()));
    assert_talk(&mut server, &mut client);
}

/// Linux has all of 127.0.0.0/8 on its loopback interface.
#[cfg(target_os = "linux")]
#[test]
fn unspecified_is_the_address_that_the_socket_is_bound_to() {
    let mut server = UdpServer::new();
    server.listen("127.0.0.7:0").unwrap();
    let port = server.local_port().unwrap();
    for ip in [ANY_V4, ANY_V6] {
        let mut client = PacketPeerUdp::new();
        client.bind("127.0.0.7:0").unwrap();
        client.connect_to_host((ip, port)).unwrap();
        assert_eq!(client.remote_addr(), server.local_addr());
        assert_talk(&mut server, &mut client);
    }
}

#[test]
fn a_destination_that_is_unspecified_means_this_host() {
    let mut server = server_on_a_bare_port();
    let port = server.local_port().unwrap();
    for ip in [ANY_V4, ANY_V6] {
        let mut unbound = PacketPeerUdp::new();
        let mut bound = PacketPeerUdp::new();
        bound.bind(0).unwrap();
        let mut bound_to_one = loopback_peer();
        for client in [&mut unbound, &mut bound, &mut bound_to_one] {
            client.set_dest_address((ip, port)).unwrap();
            assert_talk(&mut server, client);
        }
    }
}

#[test]
fn a_peer_that_follows_the_port_hears_this_host_where_it_was_told_an_unspecified_address() {
    let mut server = server_on_a_bare_port();
    let mut client = PacketPeerUdp::new();
    client.set_follow_port(true).unwrap();
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    assert_talk(&mut server, &mut client);
}

#[test]
fn a_server_connects_to_the_local_address_of_a_peer_on_a_bare_port() {
    let mut bound_to_one = loopback_server();
    let mut on_all = server_on_a_bare_port();
    for server in [&mut bound_to_one, &mut on_all] {
        let mut client = PacketPeerUdp::new();
        client.bind(0).unwrap();
        let mut peer = server.connect(client.local_addr().unwrap()).unwrap();
        assert_eq!(server.find(client.local_addr().unwrap()), Some(peer.id()));
        assert_eq!(server.find(peer.remote_addr().unwrap()), Some(peer.id()));
        let again = server.connect(client.local_addr().unwrap());
        assert!(matches!(again, Err(ConnectError::AlreadyKnown(id)) if id == peer.id()), "{again:?}");
        peer.put_packet(b"are you there?").unwrap();
        let question = receive(&mut client);
        client.set_dest_address(question.sender()).unwrap();
        client.put_packet(b"yes").unwrap();
        let answer = receive_at(server, &mut peer);
        assert_eq!((&*answer, Some(answer.sender())), (&b"yes"[..], peer.remote_addr()));
        assert_eq!(server.pending_count(), 0);

        server.send_to(client.local_addr().unwrap(), b"stateless").unwrap();
        assert_eq!(&*receive(&mut client), b"stateless");
    }
}

#[test]
fn an_unspecified_address_of_the_other_ip_version_is_refused() {
    if !util::has_ipv6_loopback() {
        return;
    }
    // A server at 0.0.0.0 hears no IPv6.
    let mut client = PacketPeerUdp::new();
    client.bind("[::1]:0").unwrap();
    assert!(matches!(client.connect_to_host((ANY_V4, 7777)), Err(ConnectError::WrongFamily)));
    let mut server = UdpServer::new();
    server.listen("[::1]:0").unwrap();
    assert!(matches!(server.connect((ANY_V4, 7777).into()), Err(ConnectError::WrongFamily)));
}

/// The scope of an address that is not of one link says nothing; the system leaves it out.
#[test]
fn a_scope_at_an_address_that_needs_none_makes_nobody_deaf() {
    if !util::has_ipv6_loopback() {
        return;
    }
    let mut server = UdpServer::new();
    server.listen("[::1]:0").unwrap();
    let scoped: SocketAddr = SocketAddrV6::new(Ipv6Addr::LOCALHOST, server.local_port().unwrap(), 0, 1).into();
    let mut connected = PacketPeerUdp::new();
    connected.connect_to_host(scoped).unwrap();
    let mut following = PacketPeerUdp::new();
    following.set_follow_port(true).unwrap();
    following.connect_to_host(scoped).unwrap();
    for client in [&mut connected, &mut following] {
        assert_talk(&mut server, client);
    }

    let mut client = PacketPeerUdp::new();
    client.bind("[::1]:0").unwrap();
    client.set_dest_address(server.local_addr().unwrap()).unwrap();
    let addr: SocketAddr = SocketAddrV6::new(Ipv6Addr::LOCALHOST, client.local_addr().unwrap().port(), 0, 1).into();
    let mut peer = server.connect(addr).unwrap();
    client.put_packet(b"it is me").unwrap();
    assert_eq!(&*receive_at(&mut server, &mut peer), b"it is me");
}

#[test]
fn over_conditioned_sockets_unspecified_means_this_host_too() {
    let sockets = || Conditioned::new(SystemSockets, Link::PERFECT, Link::PERFECT, 1);
    let mut server = UdpServer::with_transport(ServerConfig::new(), sockets()).unwrap();
    server.listen(0).unwrap();
    for follow in [false, true] {
        let mut client = PacketPeerUdp::with_transport(sockets());
        client.set_follow_port(follow).unwrap();
        client.connect_to_host(server.local_addr().unwrap()).unwrap();
        assert_talk(&mut server, &mut client);
    }
}

#[test]
fn on_the_in_memory_network_unspecified_means_the_same_host() {
    let network = Network::new();
    let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
    for host in [network.host([10, 0, 0, 1]), network.host([10, 0, 0, 2]).with_address(v6), network.host(v6)] {
        let mut server = UdpServer::with_transport(ServerConfig::new(), host.clone()).unwrap();
        server.listen(7777).unwrap();
        for follow in [false, true] {
            let mut client = PacketPeerUdp::with_transport(host.clone());
            client.set_follow_port(follow).unwrap();
            client.connect_to_host(server.local_addr().unwrap()).unwrap();
            assert_talk(&mut server, &mut client);
        }
        let mut client = PacketPeerUdp::with_transport(host.clone());
        client.set_dest_address(server.local_addr().unwrap()).unwrap();
        assert_talk(&mut server, &mut client);

        let mut other = PacketPeerUdp::with_transport(host.clone());
        other.bind(0).unwrap();
        let mut peer = server.connect(other.local_addr().unwrap()).unwrap();
        peer.put_packet(b"hello").unwrap();
        let hello = receive(&mut other);
        other.set_dest_address(hello.sender()).unwrap();
        other.put_packet(b"welcome").unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), b"welcome");
        server.stop();
    }
}

/// Sockets that pass on what every transport has to have, and no more.
#[derive(Debug)]
struct Wrapped<T>(T, Arc<AtomicUsize>);

impl<T: TransportFactory> TransportFactory for Wrapped<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Wrapped(self.0.bind(options)?, Arc::clone(&self.1))))
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

impl Transport for Wrapped<Box<dyn Transport>> {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.0)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.0.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.0.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.0.wait(timeout, interrupt)
    }
}

#[test]
fn a_transport_that_wraps_another_finds_this_host_too() {
    let calls = Arc::new(AtomicUsize::new(0));
    let mut server = server_on_a_bare_port();
    for follow in [false, true] {
        let mut client = PacketPeerUdp::with_transport(Wrapped(SystemSockets, Arc::clone(&calls)));
        client.set_follow_port(follow).unwrap();
        client.connect_to_host((ANY_V4, server.local_port().unwrap())).unwrap();
        assert_talk(&mut server, &mut client);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

// From where nobody can answer.

/// Addresses that are nobody's own.
const EVERYBODY: &str = "255.255.255.255:7777";
const GROUPS: [&str; 3] = ["239.255.77.1:7777", "[ff12::7701]:7777", "[::ffff:239.255.77.1]:7777"];

#[test]
fn a_broadcast_address_cannot_be_connected_to_whether_broadcasts_are_enabled_or_not() {
    for enabled in [false, true] {
        for follow in [false, true] {
            let mut peer = PacketPeerUdp::new();
            peer.set_broadcast_enabled(enabled).unwrap();
            peer.set_follow_port(follow).unwrap();
            assert!(matches!(peer.connect_to_host(EVERYBODY), Err(ConnectError::Broadcast)));
            assert_eq!(peer.remote_addr(), None);
            peer.bind("0.0.0.0:0").unwrap();
            assert!(matches!(peer.connect_to_host(EVERYBODY), Err(ConnectError::Broadcast)));
            assert!(!peer.is_socket_connected());
            peer.set_dest_address(EVERYBODY).unwrap();
        }
    }
    let mut server = loopback_server();
    assert!(matches!(server.connect(EVERYBODY.parse().unwrap()), Err(ConnectError::Broadcast)));
    assert_eq!(server.peer_count(), 0);
}

/// The loopback interface has a broadcast address on Linux only.
#[cfg(target_os = "linux")]
#[test]
fn the_broadcast_address_of_a_network_cannot_be_connected_to() {
    let to = "127.255.255.255:7777";
    for enabled in [false, true] {
        let mut peer = PacketPeerUdp::new();
        peer.set_broadcast_enabled(enabled).unwrap();
        assert!(matches!(peer.connect_to_host(to), Err(ConnectError::Broadcast)));
        peer.bind("127.0.0.1:0").unwrap();
        assert!(matches!(peer.connect_to_host(to), Err(ConnectError::Broadcast)));
        peer.set_dest_address(to).unwrap();
    }
    assert!(matches!(server_on_a_bare_port().connect(to.parse().unwrap()), Err(ConnectError::Broadcast)));
}

#[test]
fn a_group_cannot_be_connected_to() {
    let mut server = server_on_a_bare_port();
    let network = Network::new();
    for group in GROUPS {
        for mut peer in [PacketPeerUdp::new(), PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]))] {
            let result = peer.connect_to_host(group);
            let wrong = matches!(result, Err(ConnectError::WrongFamily)) && group.starts_with("[ff");
            assert!(matches!(result, Err(ConnectError::Multicast)) || wrong, "{group}: {result:?}");
        }
        assert!(matches!(server.connect(group.parse().unwrap()), Err(ConnectError::Multicast)));
    }
    // Of a host's several addresses those that somebody can have.
    let port = server.local_port().unwrap();
    let addrs = [GROUPS[0].parse().unwrap(), EVERYBODY.parse().unwrap(), (Ipv4Addr::LOCALHOST, port).into()];
    let mut client = PacketPeerUdp::new();
    client.connect_to_host(&addrs[..]).unwrap();
    assert_talk(&mut server, &mut client);
}

/// Of a host's several addresses the first with a way to it is taken; a broadcast address has one only where broadcasts
/// are enabled.
#[cfg(target_os = "linux")]
#[test]
fn enabling_broadcasts_holds_for_the_search_of_a_way_too() {
    let addrs: [SocketAddr; 2] = ["127.255.255.255:7777".parse().unwrap(), "127.0.0.1:7777".parse().unwrap()];
    let mut peer = PacketPeerUdp::new();
    peer.set_dest_address(&addrs[..]).unwrap();
    assert_eq!(peer.remote_addr(), Some(addrs[1]));
    peer.set_broadcast_enabled(true).unwrap();
    peer.set_dest_address(&addrs[..]).unwrap();
    assert_eq!(peer.remote_addr(), Some(addrs[0]));
}
