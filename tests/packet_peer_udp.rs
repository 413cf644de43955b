//! A stand-alone `PacketPeerUdp`, mostly on real sockets of the loopback interface; and what a server's peer refuses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use packetpeer::error::{BindError, ConnectError, GetError, GetIntoError, OptionError, PollError, PutError, WaitError};
use packetpeer::limits::{QueueLimits, WhenFull};
use packetpeer::sim::Network;
use packetpeer::socket::Interface;
use packetpeer::stats::PollReport;
use packetpeer::{CloseReason, PacketPeerUdp, PeerState, UdpServer};

mod util;

use util::{
    MOMENT, World, accept, assert_counts, client_of, eventually, loopback_peer, loopback_server, millis, poll_texts,
    receive, texts,
};

/// Where the peer of [`bound`] is bound to.
fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 1000))
}

/// A peer on host 10.0.0.`host` of an in-memory network.
fn bound(network: &Network, host: u8) -> PacketPeerUdp {
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, host]));
    peer.bind(addr(host)).unwrap();
    peer
}

/// A peer on an in-memory network, to whose address 1 it sends.
fn bound_sender(network: &Network, host: u8) -> PacketPeerUdp {
    let mut peer = bound(network, host);
    peer.set_dest_address(addr(1)).unwrap();
    peer
}

// Opening.

#[test]
fn a_new_peer_has_no_socket_and_no_destination() {
    let mut peer = PacketPeerUdp::new();
    assert_eq!(peer.state(), PeerState::Unbound);
    assert!(!peer.is_bound());
    assert!(!peer.is_socket_connected());
    assert_eq!((peer.local_addr(), peer.remote_addr(), peer.packet_addr()), (None, None, None));
    assert_eq!(peer.close_reason(), None);
    assert_eq!(peer.available_packet_count(), 0);
    assert_eq!(peer.max_packet_size(), 65_507);
    assert!(peer.socket().is_none());
    assert!(matches!(peer.poll(), Err(PollError::NotOpen)));
    assert!(matches!(peer.get_packet(), Err(GetError::NotOpen)));
    assert!(matches!(peer.get_packet_into(&mut []), Err(GetIntoError::Get(GetError::NotOpen))));
    assert!(matches!(peer.wait(None), Err(WaitError::NotOpen)));
    assert!(matches!(peer.put_packet(b"x"), Err(PutError::NoDestination)));
    assert_counts!(peer.stats(), sent: 0, send_drops.not_open: 1);
}

#[test]
fn binding_opens_a_socket() {
    let mut peer = PacketPeerUdp::new();
    peer.bind("127.0.0.1:0").unwrap();
    assert_eq!(peer.state(), PeerState::Open);
    assert!(peer.is_bound());
    assert!(!peer.is_socket_connected());
    assert_eq!(peer.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
    assert_ne!(peer.local_addr().unwrap().port(), 0);
    assert!(matches!(peer.get_packet(), Ok(None)));
    assert!(matches!(peer.put_packet(b"x"), Err(PutError::NoDestination)));
}

#[test]
fn the_bound_port_is_the_one_that_sends_leave_from() {
    let (mut from, mut to) = (loopback_peer(), loopback_peer());
    from.set_dest_address(to.local_addr().unwrap()).unwrap();
    from.put_packet(b"x").unwrap();
    assert_eq!(Some(receive(&mut to).sender()), from.local_addr());
}

#[test]
fn binding_twice_is_refused() {
    let mut peer = loopback_peer();
    let addr = peer.local_addr();
    assert!(matches!(peer.bind(0), Err(BindError::AlreadyOpen)));
    assert_eq!(peer.local_addr(), addr);
}

#[test]
fn binding_after_connecting_is_refused() {
    let mut peer = client_of(&loopback_server());
    assert!(matches!(peer.bind(0), Err(BindError::AlreadyOpen)));
    assert!(peer.is_socket_connected());
}

#[test]
fn binding_after_a_put_has_opened_the_socket_is_refused() {
    let server = loopback_server();
    let mut peer = PacketPeerUdp::new();
    peer.set_dest_address(server.local_addr().unwrap()).unwrap();
    peer.put_packet(b"x").unwrap();
    assert!(matches!(peer.bind(0), Err(BindError::AlreadyOpen)));
}

#[test]
fn a_port_in_use_is_refused_and_the_peer_stays_without_a_socket() {
    let server = loopback_server();
    let mut peer = PacketPeerUdp::new();
    let result = peer.bind(server.local_addr().unwrap());
    // Windows has two ways to say it.
    let refused = matches!(result, Err(BindError::AddressInUse(_)))
        || cfg!(windows) && matches!(result, Err(BindError::PermissionDenied(_)));
    assert!(refused, "{result:?}");
    assert_eq!(peer.state(), PeerState::Unbound);
}

#[test]
fn a_name_is_no_address_to_bind_to() {
    let mut peer = PacketPeerUdp::new();
    assert!(matches!(peer.bind("localhost"), Err(BindError::InvalidAddress(_))));
    assert_eq!(peer.state(), PeerState::Unbound);
}

#[test]
fn the_first_put_opens_a_socket_by_itself() {
    let mut server = loopback_server();
    let mut peer = PacketPeerUdp::new();
    peer.set_dest_address(server.local_addr().unwrap()).unwrap();
    assert_eq!(peer.remote_addr(), server.local_addr());
    assert_eq!(peer.state(), PeerState::Unbound);
    peer.put_packet(b"hello").unwrap();
    assert!(peer.is_bound());
    assert!(!peer.is_socket_connected());
    let mut served = accept(&mut server);
    served.put_packet(b"welcome").unwrap();
    assert_eq!(&*receive(&mut peer), b"welcome");
}

#[test]
fn a_socket_of_the_standard_library_becomes_a_peer() {
    let mut server = loopback_server();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let mut peer = PacketPeerUdp::from_std(socket).unwrap();
    assert_eq!(peer.local_addr(), Some(addr));
    assert!(!peer.is_socket_connected());
    peer.poll().unwrap();
    peer.set_dest_address(server.local_addr().unwrap()).unwrap();
    peer.put_packet(b"hello").unwrap();
    accept(&mut server).put_packet(b"welcome").unwrap();
    assert_eq!(&*receive(&mut peer), b"welcome");
}

#[test]
fn a_connected_socket_of_the_standard_library_becomes_a_connected_peer() {
    let mut server = loopback_server();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server.local_addr().unwrap()).unwrap();
    let mut peer = PacketPeerUdp::from_std(socket).unwrap();
    assert!(peer.is_socket_connected());
    assert_eq!(peer.remote_addr(), server.local_addr());
    peer.put_packet(b"hello").unwrap();
    accept(&mut server).put_packet(b"welcome").unwrap();
    assert_eq!(&*receive(&mut peer), b"welcome");
}

#[test]
fn the_socket_is_lent_for_other_uses() {
    let peer = loopback_peer();
    let copy: UdpSocket = socket2::SockRef::from(&peer.socket().unwrap()).try_clone().unwrap().into();
    assert_eq!(copy.local_addr().ok(), peer.local_addr());
    assert!(bound(&Network::new(), 1).socket().is_none());
}

// Connecting.

#[test]
fn a_name_and_a_port_can_be_connected_to() {
    let mut server = UdpServer::new();
    server.listen(0).unwrap();
    let mut client = PacketPeerUdp::new();
    client.connect_to_host(("localhost", server.local_port().unwrap())).unwrap();
    assert!(client.is_socket_connected());
    assert!(client.remote_addr().unwrap().ip().is_loopback());
    client.put_packet(b"hello").unwrap();
    assert_eq!(texts(&mut accept(&mut server)), ["hello"]);
}

#[test]
fn of_a_hosts_addresses_the_first_that_the_socket_can_reach_is_taken() {
    let server = loopback_server();
    let port = server.local_port().unwrap();
    let both = [SocketAddr::from((Ipv6Addr::LOCALHOST, port)), SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    let mut peer = loopback_peer();
    peer.connect_to_host(&both[..]).unwrap();
    assert_eq!(peer.remote_addr(), Some(both[1]));

    let mut peer = loopback_peer();
    peer.set_dest_address(&both[..]).unwrap();
    assert_eq!(peer.remote_addr(), Some(both[1]));
}

#[test]
fn what_cannot_be_resolved_is_refused() {
    let mut peer = loopback_peer();
    assert!(matches!(peer.connect_to_host(("no such host!", 7777)), Err(ConnectError::Unresolved(_))));
    assert!(matches!(peer.set_dest_address(("no such host!", 7777)), Err(ConnectError::Unresolved(_))));
    assert!(matches!(peer.connect_to_host("127.0.0.1"), Err(ConnectError::Unresolved(_))), "the port is missing");
    let nothing: &[SocketAddr] = &[];
    assert!(matches!(peer.connect_to_host(nothing), Err(ConnectError::Unresolved(_))));
    assert!(!peer.is_socket_connected());
    assert_eq!(peer.remote_addr(), None);
}

#[test]
fn port_0_is_nobodys() {
    let mut peer = PacketPeerUdp::new();
    assert!(matches!(peer.connect_to_host("127.0.0.1:0"), Err(ConnectError::NoPort)));
    assert!(matches!(peer.set_dest_address("127.0.0.1:0"), Err(ConnectError::NoPort)));
    assert_eq!(peer.state(), PeerState::Unbound);
    assert_eq!(peer.remote_addr(), None);
}

#[test]
fn a_socket_of_one_ip_version_does_not_connect_to_the_other() {
    let mut peer = loopback_peer();
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 7777));
    assert!(matches!(peer.connect_to_host(v6), Err(ConnectError::WrongFamily)));
    assert!(matches!(peer.set_dest_address(v6), Err(ConnectError::WrongFamily)));
    assert!(peer.is_bound());
    assert!(!peer.is_socket_connected());
    assert_eq!(peer.remote_addr(), None);
}

#[test]
fn a_put_to_the_other_ip_version_is_refused() {
    let destination = SocketAddr::from((Ipv6Addr::LOCALHOST, 7777));
    let mut peer = PacketPeerUdp::new();
    peer.set_dest_address(destination).unwrap();
    peer.bind("127.0.0.1:0").unwrap();
    match peer.put_packet(b"x") {
        Err(PutError::WrongFamily { destination: told }) => assert_eq!(told, destination),
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.stats().send_drops.failed, 1);
}

#[test]
fn connecting_sends_nothing() {
    let world = World::new();
    let client = world.client(1);
    assert!(client.is_socket_connected());
    assert_counts!(client.stats(), sent: 0);
    assert_eq!(world.network.lost(), 0);
}

#[test]
fn a_connected_peer_takes_no_other_destination() {
    let (first, second) = (loopback_server(), loopback_server());
    let mut peer = client_of(&first);
    assert!(matches!(peer.set_dest_address(second.local_addr().unwrap()), Err(ConnectError::Connected)));
    assert_eq!(peer.remote_addr(), first.local_addr());
}

#[test]
fn a_connected_peer_can_be_connected_to_somebody_else() {
    let (mut first, mut second) = (loopback_server(), loopback_server());
    let mut peer = client_of(&first);
    peer.put_packet(b"hello first").unwrap();
    assert_eq!(texts(&mut accept(&mut first)), ["hello first"]);
    peer.connect_to_host(second.local_addr().unwrap()).unwrap();
    assert_eq!(peer.remote_addr(), second.local_addr());
    peer.put_packet(b"hello second").unwrap();
    assert_eq!(texts(&mut accept(&mut second)), ["hello second"]);
}

/// A socket that is to speak another IP version has to be disconnected first; says so where that does not work.
fn wine_keeps_connections() -> bool {
    if util::is_wine() {
        eprintln!("skipped: Wine takes the address that dissolves a connection for one to connect to");
    }
    util::is_wine()
}

#[test]
fn a_peer_connected_to_ipv4_can_be_connected_to_ipv6() {
    if !util::has_ipv6_loopback() || wine_keeps_connections() {
        return;
    }
    let first = loopback_server();
    let mut second = UdpServer::new();
    second.listen("[::1]:0").unwrap();
    let mut peer = client_of(&first);
    peer.connect_to_host(second.local_addr().unwrap()).unwrap();
    peer.put_packet(b"hello").unwrap();
    assert_eq!(texts(&mut accept(&mut second)), ["hello"]);
}

#[test]
fn a_peer_connected_to_ipv6_can_be_connected_to_ipv4() {
    if !util::has_ipv6_loopback() || wine_keeps_connections() {
        return;
    }
    let mut first = UdpServer::new();
    first.listen("[::1]:0").unwrap();
    let mut second = loopback_server();
    let mut peer = client_of(&first);
    peer.connect_to_host(second.local_addr().unwrap()).unwrap();
    assert_eq!(peer.remote_addr(), second.local_addr());
    peer.put_packet(b"hello").unwrap();
    let served = accept(&mut second);
    assert_eq!(peer.local_addr(), served.remote_addr());
}

#[test]
fn a_connected_peer_hears_no_strangers() {
    let mut server = loopback_server();
    let (mut client, mut peer) = util::pair_of(&mut server);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client_addr = client.local_addr().unwrap();
    for _ in 0..3 {
        stranger.send_to(b"psst", client_addr).unwrap();
    }
    peer.put_packet(b"welcome").unwrap();
    assert_eq!(&*receive(&mut client), b"welcome");
    assert!(matches!(client.get_packet(), Ok(None)));
}

#[test]
fn what_a_stranger_had_sent_before_the_connect_is_dropped_and_counted() {
    let network = Network::new();
    let mut peer = bound(&network, 1);
    bound_sender(&network, 2).put_packet(b"I am 2").unwrap();
    bound_sender(&network, 3).put_packet(b"I am 3").unwrap();
    peer.connect_to_host(addr(3)).unwrap();
    assert_eq!(poll_texts(&mut peer), ["I am 3"]);
    let stats = peer.stats();
    assert_counts!(stats, received: 2, delivered: 1, drops.stranger: 1, drops.total(): 1);
}

#[test]
fn what_was_queued_before_the_connect_is_dropped_and_counted() {
    let network = Network::new();
    let mut peer = bound(&network, 1);
    let mut remote = bound_sender(&network, 2);
    for _ in 0..3 {
        remote.put_packet(b"early").unwrap();
    }
    peer.poll().unwrap();
    assert_eq!(peer.available_packet_count(), 3);
    peer.connect_to_host(addr(2)).unwrap();
    assert_eq!(peer.available_packet_count(), 0);
    assert!(matches!(peer.get_packet(), Ok(None)));
    remote.put_packet(b"after").unwrap();
    assert_eq!(poll_texts(&mut peer), ["after"]);
    let stats = peer.stats();
    assert_counts!(stats, received: 4, delivered: 1, queued: 0, drops.unread: 3);
}

#[test]
fn where_nobody_listens_a_peer_goes_on_and_meets_who_binds_the_port_later() {
    let addr = util::closed_port();
    let mut peer = loopback_peer();
    peer.connect_to_host(addr).unwrap();
    let mut refused = 0;
    for _ in 0..20 {
        match peer.put_packet(b"anybody?") {
            Ok(()) => {}
            Err(PutError::Refused) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        peer.wait(Some(MOMENT)).unwrap();
        peer.poll().unwrap();
        assert!(matches!(peer.get_packet(), Ok(None)));
    }
    let stats = peer.stats();
    assert_counts!(stats, send_drops.failed: refused, sent: 20 - refused);
    // Where the system tells of it at all.
    if cfg!(target_os = "linux") {
        assert!(stats.noise + refused > 0, "{stats:?}");
    }

    let mut server = UdpServer::new();
    server.listen(addr).unwrap();
    let mut served = eventually("a connection", || {
        let _ = peer.put_packet(b"anybody?");
        peer.poll().unwrap();
        server.wait(Some(MOMENT)).unwrap();
        server.poll().unwrap();
        server.take_connection()
    });
    served.put_packet(b"me").unwrap();
    assert_eq!(&*receive(&mut peer), b"me");
}

// Receiving.

#[test]
fn only_a_poll_receives() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    remote.put_packet(b"x").unwrap();
    assert_eq!(peer.available_packet_count(), 0);
    assert!(matches!(peer.get_packet(), Ok(None)));
    peer.poll().unwrap();
    assert_eq!(peer.available_packet_count(), 1);
    assert_eq!(peer.available_packet_count(), 1);
    assert_eq!(texts(&mut peer), ["x"]);
}

#[test]
fn the_address_of_the_last_packet_is_that_of_the_packet_read_last() {
    let network = Network::new();
    let mut peer = bound(&network, 1);
    bound_sender(&network, 2).put_packet(b"x").unwrap();
    bound_sender(&network, 3).put_packet(b"y").unwrap();
    peer.poll().unwrap();
    assert_eq!(peer.packet_addr(), None);
    let packet = peer.get_packet().unwrap().unwrap();
    assert_eq!((packet.sender(), peer.packet_addr()), (addr(2), Some(addr(2))));
    assert_eq!(peer.get_packet_into(&mut [0; 10]), Ok(Some(1)));
    assert_eq!(peer.packet_addr(), Some(addr(3)));
    assert!(matches!(peer.get_packet(), Ok(None)));
    assert_eq!(peer.packet_addr(), Some(addr(3)));
}

/// A packet that does not fit the buffer stays, and can be had by a larger one.
fn assert_small_buffers_lose_nothing(peer: &mut PacketPeerUdp) {
    let mut buffer = [b'.'; 8];
    assert_eq!(peer.get_packet_into(&mut buffer[..4]), Err(GetIntoError::BufferTooSmall { size: 5, room: 4 }));
    assert_eq!(peer.get_packet_into(&mut []), Err(GetIntoError::BufferTooSmall { size: 5, room: 0 }));
    assert_eq!((peer.available_packet_count(), peer.packet_addr()), (2, None));
    assert_eq!(peer.get_packet_into(&mut buffer), Ok(Some(5)));
    assert_eq!(&buffer, b"12345...");
    assert_eq!(peer.get_packet_into(&mut []), Ok(Some(0)), "an empty packet fits everywhere");
    assert_eq!(peer.get_packet_into(&mut []), Ok(None));
    assert_eq!(peer.stats().delivered, 2);
}

#[test]
fn a_packet_that_does_not_fit_the_buffer_stays_at_a_stand_alone_peer() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    remote.put_packet(b"12345").unwrap();
    remote.put_packet(b"").unwrap();
    peer.poll().unwrap();
    assert_small_buffers_lose_nothing(&mut peer);
    peer.close();
    assert_eq!(peer.get_packet_into(&mut []), Err(GetIntoError::Get(GetError::Ended(CloseReason::Closed))));
}

#[test]
fn a_packet_that_does_not_fit_the_buffer_stays_at_a_servers_peer() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.put_packet(b"12345").unwrap();
    client.put_packet(b"").unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    assert_small_buffers_lose_nothing(&mut peer);
    peer.close();
    assert_eq!(peer.get_packet_into(&mut []), Err(GetIntoError::Get(GetError::Ended(CloseReason::Closed))));
}

#[test]
fn the_queue_of_a_stand_alone_peer_is_limited_and_what_it_drops_is_counted() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    peer.set_queue_limits(QueueLimits::new().packets(2)).unwrap();
    for text in ["1", "2", "3"] {
        remote.put_packet(text.as_bytes()).unwrap();
    }
    assert_eq!(poll_texts(&mut peer), ["1", "2"]);
    peer.set_queue_limits(QueueLimits::new().bytes(2).when_full(WhenFull::DropOldest)).unwrap();
    for text in ["4", "5", "6"] {
        remote.put_packet(text.as_bytes()).unwrap();
    }
    assert_eq!(poll_texts(&mut peer), ["5", "6"]);
    let stats = peer.stats();
    assert_counts!(stats, drops.queue_packets: 1, drops.queue_bytes: 1, drops.total(): 2);
    assert_counts!(stats, received: 6, delivered: 4);
}

// Polling.

#[test]
fn a_poll_says_what_it_received_and_what_became_of_it() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    assert_eq!(peer.poll().unwrap(), PollReport::default());
    for size in [1, 10, 100] {
        remote.put_packet(&vec![0; size]).unwrap();
    }
    let report = peer.poll().unwrap();
    assert_counts!(report, received: 3, queued: 3, dropped: 0, more_waiting: false);

    peer.set_queue_limits(QueueLimits::new().packets(4).when_full(WhenFull::DropOldest)).unwrap();
    for _ in 0..3 {
        remote.put_packet(b"new").unwrap();
    }
    let report = peer.poll().unwrap();
    assert_counts!(report, received: 3, queued: 3, dropped: 2, "all three are in, two of the old ones out");

    peer.set_queue_limits(QueueLimits::new().packets(5)).unwrap();
    for _ in 0..3 {
        remote.put_packet(b"newer").unwrap();
    }
    let report = peer.poll().unwrap();
    assert_counts!(report, received: 3, queued: 1, dropped: 2);

    let stats = peer.stats();
    assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total());
}

#[test]
fn a_poll_takes_no_more_than_its_budget_and_says_that_more_may_wait() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    assert_eq!(peer.max_per_poll(), Some(4096));
    peer.set_max_per_poll(10).unwrap();
    for _ in 0..25 {
        remote.put_packet(b"x").unwrap();
    }
    let reports = [(); 3].map(|()| peer.poll().unwrap());
    assert_eq!(reports.map(|report| (report.received, report.more_waiting)), [(10, true), (10, true), (5, false)]);
    assert_eq!(peer.available_packet_count(), 25);
    peer.set_max_per_poll(1).unwrap();
    assert!(!peer.poll().unwrap().more_waiting);
}

#[test]
fn settings_that_make_no_sense_are_refused_where_they_are_given() {
    let mut peer = PacketPeerUdp::new();
    for (result, name) in [
        (peer.set_max_per_poll(0), "max_per_poll"),
        (peer.set_queue_limits(QueueLimits::new().packets(0)), "queue_limits"),
        (peer.set_queue_limits(QueueLimits::new().bytes(0)), "queue_limits"),
        (peer.set_receive_buffer(Some(0)), "receive_buffer"),
    ] {
        match result {
            Err(OptionError::InvalidConfig(error)) => assert_eq!(error.name(), name),
            other => panic!("{name}: {other:?}"),
        }
    }
    assert_eq!(peer.max_per_poll(), Some(4096), "it is as it was");
}

#[test]
fn a_poll_at_a_time_of_the_callers_stamps_what_it_takes_and_time_never_runs_backwards() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    let start = network.now();
    let mut received_at = |after: u64| {
        remote.put_packet(b"x").unwrap();
        peer.poll_at(start + millis(after)).unwrap();
        peer.get_packet().unwrap().unwrap().received_at() - start
    };
    assert_eq!(received_at(50), millis(50));
    assert_eq!(received_at(40), millis(50), "earlier than the poll before");
    assert_eq!(received_at(0), millis(50));
    assert_eq!(received_at(51), millis(51));
    assert_eq!(peer.now(), start, "the clock is the network's");
    // Also where the clock itself is behind.
    remote.put_packet(b"x").unwrap();
    peer.poll().unwrap();
    assert_eq!(peer.get_packet().unwrap().unwrap().received_at() - start, millis(51));
}

// Sending.

#[test]
fn every_put_is_counted_as_sent_or_under_a_reason() {
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    assert!(peer.put_packet(b"no destination").is_err());
    peer.set_dest_address(addr(2)).unwrap();
    peer.put_packet(b"12345").unwrap();
    peer.put_packet(b"").unwrap();
    match peer.put_packet(&[0; 65_508]) {
        Err(PutError::TooLarge { size, limit }) => assert_eq!((size, limit), (65_508, 65_507)),
        other => panic!("{other:?}"),
    }
    peer.set_dest_address(addr(1)).unwrap();
    peer.close();
    assert!(matches!(peer.put_packet(b"x"), Err(PutError::Ended(CloseReason::Closed))));
    let stats = peer.stats();
    assert_counts!(stats, sent: 2, sent_bytes: 5);
    assert_counts!(stats, send_drops.not_open: 2, send_drops.too_large: 1, send_drops.total(): 3);
    assert_eq!(network.lost(), 2);
}

#[test]
fn broadcasting_has_to_be_enabled() {
    // From 127.0.0.1 a broadcast leaves by the loopback interface alone.
    let mut peer = loopback_peer();
    peer.set_dest_address("255.255.255.255:9").unwrap();
    assert!(matches!(peer.put_packet(b"x"), Err(PutError::BroadcastNotEnabled)));
    assert_eq!(peer.stats().send_drops.failed, 1);

    peer.set_broadcast_enabled(true).unwrap();
    let result = peer.put_packet(b"x");
    assert!(!matches!(result, Err(PutError::BroadcastNotEnabled)), "{result:?}");
    peer.set_broadcast_enabled(false).unwrap();
    assert!(matches!(peer.put_packet(b"x"), Err(PutError::BroadcastNotEnabled)));
}

#[test]
fn enabling_broadcasts_holds_for_sockets_opened_later() {
    let mut peer = PacketPeerUdp::new();
    peer.set_broadcast_enabled(true).unwrap();
    for _ in 0..2 {
        peer.bind("127.0.0.1:0").unwrap();
        peer.set_dest_address("255.255.255.255:9").unwrap();
        let result = peer.put_packet(b"x");
        assert!(!matches!(result, Err(PutError::BroadcastNotEnabled)), "{result:?}");
        peer.close();
    }
}

/// The loopback interface has a broadcast address on Linux only.
#[cfg(target_os = "linux")]
#[test]
fn a_broadcast_reaches_who_listens_on_every_address() {
    let mut receiver = PacketPeerUdp::new();
    receiver.bind("0.0.0.0:0").unwrap();
    let mut enabled_later = loopback_peer();
    enabled_later.set_broadcast_enabled(true).unwrap();
    let mut enabled_first = PacketPeerUdp::new();
    enabled_first.set_broadcast_enabled(true).unwrap();
    enabled_first.bind("127.0.0.1:0").unwrap();
    for mut peer in [enabled_later, enabled_first] {
        peer.set_dest_address(("127.255.255.255", receiver.local_addr().unwrap().port())).unwrap();
        peer.put_packet(b"everybody").unwrap();
        let packet = receive(&mut receiver);
        assert_eq!((&*packet, Some(packet.sender())), (&b"everybody"[..], peer.local_addr()));
    }
}

// Closing, and starting again.

#[test]
fn a_closed_peer_hands_out_what_it_had_and_then_says_why() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    peer.set_dest_address(addr(2)).unwrap();
    remote.put_packet(b"unread").unwrap();
    peer.poll().unwrap();
    peer.close();
    peer.close();
    assert_eq!(peer.state(), PeerState::Ended(CloseReason::Closed));
    assert_eq!(peer.close_reason(), Some(CloseReason::Closed));
    assert!(!peer.is_bound());
    assert_eq!((peer.local_addr(), peer.remote_addr()), (None, None));
    assert!(matches!(peer.poll(), Err(PollError::Ended(CloseReason::Closed))));
    assert!(matches!(peer.put_packet(b"x"), Err(PutError::Ended(CloseReason::Closed))));

    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"unread");
    assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(CloseReason::Closed));
    assert!(matches!(peer.wait(None), Err(WaitError::Ended(CloseReason::Closed))));
    remote.put_packet(b"too late").unwrap();
    assert_eq!(network.lost(), 1);
}

/// Neither the unread packets nor the number of them outlive the close.
fn assert_starts_anew(network: &Network, open_again: impl Fn(&mut PacketPeerUdp)) {
    let (mut peer, mut remote) = (bound(network, 1), bound_sender(network, 2));
    for _ in 0..3 {
        remote.put_packet(b"old").unwrap();
    }
    peer.poll().unwrap();
    peer.close();
    open_again(&mut peer);
    assert_eq!(peer.state(), PeerState::Open);
    assert_eq!(peer.available_packet_count(), 0);
    assert!(matches!(peer.get_packet(), Ok(None)));

    remote.set_dest_address(SocketAddr::new(addr(1).ip(), peer.local_addr().unwrap().port())).unwrap();
    for text in ["1", "2", "3"] {
        remote.put_packet(text.as_bytes()).unwrap();
        assert_eq!(poll_texts(&mut peer), [text]);
    }
    let stats = peer.stats();
    assert_counts!(stats, received: 6, delivered: 3, queued: 0, drops.unread: 3);
}

#[test]
fn a_peer_that_is_bound_again_starts_anew() {
    assert_starts_anew(&Network::new(), |peer| peer.bind(addr(1)).unwrap());
}

#[test]
fn a_peer_that_is_connected_again_starts_anew() {
    assert_starts_anew(&Network::new(), |peer| peer.connect_to_host(addr(2)).unwrap());
}

#[test]
fn a_peer_that_is_given_a_destination_again_starts_anew() {
    assert_starts_anew(&Network::new(), |peer| {
        peer.set_dest_address(addr(2)).unwrap();
        assert_eq!(peer.state(), PeerState::Unbound);
        peer.put_packet(b"hello").unwrap();
    });
}

#[test]
fn a_real_peer_can_be_closed_and_bound_to_the_same_port_again() {
    let mut peer = loopback_peer();
    let addr = peer.local_addr().unwrap();
    let mut remote = loopback_peer();
    remote.set_dest_address(addr).unwrap();
    for round in 0..10 {
        for text in [format!("read in {round}"), format!("unread in {round}")] {
            remote.put_packet(text.as_bytes()).unwrap();
        }
        assert_eq!(&*receive(&mut peer), format!("read in {round}").as_bytes());
        peer.close();
        peer.bind(addr).unwrap();
        assert!(matches!(peer.get_packet(), Ok(None)));
    }
}

#[test]
fn a_connect_that_fails_leaves_a_peer_without_a_socket_as_it_was() {
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    peer.set_dest_address(addr(2)).unwrap();
    assert!(matches!(peer.connect_to_host("[2001:db8::1]:1000"), Err(ConnectError::WrongFamily)));
    assert_eq!((peer.state(), peer.remote_addr()), (PeerState::Unbound, Some(addr(2))));
    peer.put_packet(b"x").unwrap();
}

#[test]
fn a_connect_that_fails_leaves_a_closed_peer_as_it_was() {
    let network = Network::new();
    let (mut peer, mut remote) = (bound(&network, 1), bound_sender(&network, 2));
    remote.put_packet(b"unread").unwrap();
    peer.poll().unwrap();
    peer.close();
    assert!(matches!(peer.connect_to_host("[2001:db8::1]:1000"), Err(ConnectError::WrongFamily)));
    assert_eq!(peer.state(), PeerState::Ended(CloseReason::Closed));
    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"unread");
}

#[test]
fn a_peer_gets_the_receive_buffer_it_asked_for_before_it_opened() {
    let mut peer = PacketPeerUdp::new();
    assert_eq!(peer.receive_buffer_size(), None);
    peer.set_receive_buffer(Some(64 << 10)).unwrap();
    let granted = |peer: &PacketPeerUdp| peer.receive_buffer_size().expect("real sockets tell");
    peer.bind("127.0.0.1:0").unwrap();
    assert!((64 << 10..=128 << 10).contains(&granted(&peer)), "{}", granted(&peer));

    // The next socket, however it is opened, has what was asked for last.
    peer.close();
    peer.set_receive_buffer(Some(16 << 10)).unwrap();
    peer.connect_to_host(util::closed_port()).unwrap();
    assert!((16 << 10..=32 << 10).contains(&granted(&peer)), "{}", granted(&peer));
}

#[test]
fn a_receive_buffer_of_nothing_is_refused_and_the_one_before_stays() {
    let mut peer = PacketPeerUdp::new();
    peer.set_receive_buffer(Some(64 << 10)).unwrap();
    match peer.set_receive_buffer(Some(0)) {
        Err(OptionError::InvalidConfig(error)) => assert_eq!(error.name(), "receive_buffer"),
        other => panic!("{other:?}"),
    }
    peer.bind("127.0.0.1:0").unwrap();
    assert!(peer.receive_buffer_size().is_some_and(|granted| granted >= 64 << 10));
}

#[test]
fn close_reasons_can_be_sorted() {
    let counted: std::collections::BTreeMap<_, _> = [CloseReason::SocketFailed, CloseReason::Closed, CloseReason::Idle]
        .into_iter()
        .map(|reason| (reason, 1))
        .collect();
    assert_eq!(counted.keys().next(), Some(&CloseReason::Closed));
}

// Multicast.

/// A receiver that has joined `group` on the loopback interface, and a sender to it.
fn multicast_pair(group: IpAddr) -> (PacketPeerUdp, PacketPeerUdp) {
    let mut receiver = PacketPeerUdp::new();
    receiver.bind("0.0.0.0:0").unwrap();
    receiver.join_multicast_group(group, LOOPBACK).unwrap();
    let mut sender = loopback_peer();
    sender.set_multicast_interface(LOOPBACK).unwrap();
    sender.set_dest_address((group, receiver.local_addr().unwrap().port())).unwrap();
    (receiver, sender)
}

const LOOPBACK: Interface = Interface::Addr(Ipv4Addr::LOCALHOST);

/// Polls until `last` has come, which is sent now, and returns what else has come up to then.
fn received_until(receiver: &mut PacketPeerUdp, last: &str) -> Vec<String> {
    let port = receiver.local_addr().unwrap().port();
    loopback_peer_to(port).put_packet(last.as_bytes()).unwrap();
    let mut received = Vec::new();
    eventually(last, || {
        receiver.wait(Some(MOMENT)).unwrap();
        received.extend(poll_texts(receiver));
        received.iter().any(|text| text == last).then_some(())
    });
    // In case the system has overtaken itself.
    for _ in 0..5 {
        receiver.wait(Some(MOMENT)).unwrap();
        received.extend(poll_texts(receiver));
    }
    received.retain(|text| text != last);
    received
}

fn loopback_peer_to(port: u16) -> PacketPeerUdp {
    let mut peer = loopback_peer();
    peer.set_dest_address((Ipv4Addr::LOCALHOST, port)).unwrap();
    peer
}

#[test]
fn a_member_of_a_group_receives_until_it_has_left() {
    let group = IpAddr::from([239, 255, 77, 77]);
    let (mut receiver, mut sender) = multicast_pair(group);
    sender.put_packet(b"to the group").unwrap();
    assert_eq!(&*receive(&mut receiver), b"to the group");
    receiver.leave_multicast_group(group, LOOPBACK).unwrap();
    sender.put_packet(b"nobody hears this").unwrap();
    assert_eq!(received_until(&mut receiver, "last"), [""; 0]);
    assert!(matches!(receiver.leave_multicast_group(group, LOOPBACK), Err(OptionError::Io(_))), "left already");
}

#[test]
fn multicast_options_can_be_set_on_sockets_of_each_kind() {
    for addr in ["127.0.0.1:0", "0.0.0.0:0", "*:0"] {
        let mut peer = PacketPeerUdp::new();
        peer.bind(addr).unwrap();
        peer.set_multicast_ttl(4).unwrap();
        peer.set_multicast_loop(false).unwrap();
        peer.set_multicast_loop(true).unwrap();
        peer.set_multicast_interface(Interface::Default).unwrap();
    }
}

#[test]
fn multicast_options_reach_the_system() {
    let mut peer = loopback_peer();
    let copy: UdpSocket = socket2::SockRef::from(&peer.socket().unwrap()).try_clone().unwrap().into();
    assert_eq!((copy.multicast_ttl_v4().unwrap(), copy.multicast_loop_v4().unwrap()), (1, true));
    peer.set_multicast_ttl(7).unwrap();
    peer.set_multicast_loop(false).unwrap();
    assert_eq!((copy.multicast_ttl_v4().unwrap(), copy.multicast_loop_v4().unwrap()), (7, false));
}

#[test]
fn an_address_that_is_no_group_cannot_be_joined_or_left() {
    let mut peer = loopback_peer();
    for text in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
        let addr: IpAddr = text.parse().unwrap();
        let joined = peer.join_multicast_group(addr, Interface::Default);
        let left = peer.leave_multicast_group(addr, Interface::Default);
        for result in [joined, left] {
            match result {
                Err(OptionError::NotMulticast(told)) => assert_eq!(told, addr.to_canonical()),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn options_of_a_socket_need_a_socket() {
    let group = IpAddr::from([239, 255, 77, 77]);
    let mut closed = loopback_peer();
    closed.close();
    for mut peer in [PacketPeerUdp::new(), closed] {
        for result in [
            peer.join_multicast_group(group, LOOPBACK),
            peer.leave_multicast_group(group, LOOPBACK),
            peer.set_multicast_interface(LOOPBACK),
            peer.set_multicast_ttl(1),
            peer.set_multicast_loop(true),
        ] {
            assert!(matches!(result, Err(OptionError::NotOpen)), "{result:?}");
        }
    }
}

#[test]
fn an_in_memory_socket_says_that_it_has_no_options() {
    let mut peer = bound(&Network::new(), 1);
    assert!(matches!(peer.set_multicast_ttl(1), Err(OptionError::Unsupported)));
    assert!(matches!(peer.set_broadcast_enabled(true), Err(OptionError::Unsupported)));
}

#[test]
fn an_interface_that_does_not_exist_has_no_name() {
    assert!(Interface::by_name("no such interface").is_err());
    assert!(Interface::by_name("nul\0inside").is_err());
}

/// The loopback interface is called `lo` on Linux only.
#[cfg(target_os = "linux")]
#[test]
fn a_group_can_be_joined_on_an_interface_named() {
    let group = IpAddr::from([239, 255, 77, 79]);
    let loopback = Interface::by_name("lo").unwrap();
    let mut receiver = PacketPeerUdp::new();
    receiver.bind("0.0.0.0:0").unwrap();
    receiver.join_multicast_group(group, loopback).unwrap();
    let mut sender = loopback_peer();
    sender.set_multicast_interface(loopback).unwrap();
    sender.set_dest_address((group, receiver.local_addr().unwrap().port())).unwrap();
    sender.put_packet(b"by name").unwrap();
    assert_eq!(&*receive(&mut receiver), b"by name");
}

// A server's peer.

#[test]
fn a_servers_peer_refuses_whatever_would_change_the_servers_socket() {
    let mut server = loopback_server();
    let (mut client, mut peer) = util::pair_of(&mut server);
    let remote = peer.remote_addr();
    let elsewhere = util::closed_port();
    let group = IpAddr::from([239, 255, 77, 77]);
    assert!(matches!(peer.bind("127.0.0.1:0"), Err(BindError::ServersPeer)));
    assert!(matches!(peer.connect_to_host(elsewhere), Err(ConnectError::ServersPeer)));
    assert!(matches!(peer.set_dest_address(elsewhere), Err(ConnectError::ServersPeer)));
    for result in [
        peer.join_multicast_group(group, LOOPBACK),
        peer.leave_multicast_group(group, LOOPBACK),
        peer.set_multicast_interface(LOOPBACK),
        peer.set_multicast_ttl(2),
        peer.set_multicast_loop(false),
        peer.set_broadcast_enabled(true),
        peer.set_queue_limits(QueueLimits::new()),
        peer.set_receive_buffer(Some(1 << 20)),
        peer.set_max_per_poll(1),
    ] {
        assert!(matches!(result, Err(OptionError::ServersPeer)), "{result:?}");
    }
    assert!(peer.socket().is_none());
    assert_eq!(peer.max_per_poll(), None);
    assert_eq!(peer.poll().unwrap(), PollReport::default());

    assert_eq!((peer.state(), peer.remote_addr()), (PeerState::Open, remote));
    peer.put_packet(b"all is well").unwrap();
    assert_eq!(&*receive(&mut client), b"all is well");
}
