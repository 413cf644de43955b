//! `UdpServer` over the in-memory network, where order and counts are exact. `loopback.rs` has the same on real
//! sockets, `limits.rs` what a server allows.

use std::net::SocketAddr;

use packetpeer::error::{BindError, GetError, PollError, PutError, UnknownPeer, WaitError};
use packetpeer::sim::Network;
use packetpeer::{CloseReason, PacketPeerUdp, PeerId, PeerState, ServerConfig, UdpServer};

mod util;

use util::{SERVER, World, assert_counts, poll_texts, texts};

/// The server's peer was ended for this reason, and had nothing left.
#[track_caller]
fn assert_ended(peer: &mut PacketPeerUdp, reason: CloseReason) {
    assert_eq!(peer.state(), PeerState::Ended(reason));
    assert_eq!(peer.close_reason(), Some(reason));
    assert!(!peer.is_bound());
    assert!(!peer.is_socket_connected());
    assert_eq!(peer.available_packet_count(), 0);
    assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(reason));
    assert!(matches!(peer.put_packet(b"late"), Err(PutError::Ended(why)) if why == reason));
}

#[test]
fn a_new_server_does_not_listen() {
    let mut server = UdpServer::new();
    assert!(!server.is_listening());
    assert!(!server.is_connection_available());
    assert!(server.take_connection().is_none());
    assert_eq!(server.local_addr(), None);
    assert_eq!(server.local_port(), None);
    assert_counts!(server, peer_count(): 0, pending_count(): 0);
    assert_eq!(server.max_pending_connections(), 16);
    assert!(matches!(server.poll(), Err(PollError::NotOpen)));
    assert!(matches!(server.wait(None), Err(WaitError::NotOpen)));
}

#[test]
fn listening_opens_the_port_and_makes_no_connection() {
    let mut world = World::new();
    assert!(world.server.is_listening());
    assert_eq!(world.server.local_addr(), Some(SERVER));
    assert_eq!(world.server.local_port(), Some(7777));
    assert!(!world.server.is_connection_available());
    assert_eq!(world.poll(), Default::default());
    assert!(world.server.take_connection().is_none());
}

#[test]
fn accepts_a_connection_and_data_goes_both_ways() {
    let mut world = World::new();
    let mut client = world.client(1);
    assert!(client.is_bound());
    assert!(client.is_socket_connected());
    client.put_packet(b"hello").unwrap();
    assert!(!world.server.is_connection_available(), "getters must not receive");

    let report = world.poll();
    assert_counts!(report, received: 1, queued: 1, new_connections: 1);
    assert!(world.server.is_connection_available());
    assert_counts!(world.server, pending_count(): 1, peer_count(): 0);

    let mut peer = world.server.take_connection().unwrap();
    assert!(!world.server.is_connection_available());
    assert_counts!(world.server, pending_count(): 0, peer_count(): 1);
    assert!(peer.is_bound());
    assert!(peer.is_socket_connected());
    assert_eq!(peer.state(), PeerState::Open);
    assert_eq!(peer.close_reason(), None);
    assert_eq!(peer.remote_addr(), client.local_addr());
    assert_eq!(peer.local_addr(), Some(SERVER));
    assert_eq!(peer.packet_addr(), None);
    assert_eq!(peer.available_packet_count(), 1);
    assert_eq!(texts(&mut peer), ["hello"]);
    assert_eq!(peer.packet_addr(), client.local_addr());

    peer.put_packet(b"welcome").unwrap();
    assert_eq!(client.available_packet_count(), 0, "getters must not receive");
    assert_eq!(poll_texts(&mut client), ["welcome"]);

    world.server.stop();
    assert!(!world.server.is_listening());
}

#[test]
fn five_clients_at_the_same_time_each_get_their_own_reply() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..5).map(|number| world.client(number)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.put_packet(format!("I am {number}").as_bytes()).unwrap();
    }
    world.poll();
    let mut peers: Vec<_> = std::iter::from_fn(|| world.server.take_connection()).collect();
    assert_eq!(peers.len(), 5);
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(texts(peer), [format!("I am {number}")]);
        peer.put_packet(format!("you are {number}").as_bytes()).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(poll_texts(client), [format!("you are {number}")]);
    }
}

#[test]
fn connections_are_taken_in_the_order_of_their_first_datagrams() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..3).map(|number| world.client(number)).collect();
    for number in [2, 0, 1, 0, 2] {
        clients[number].put_packet(b"hello").unwrap();
    }
    world.poll();
    for number in [2, 0, 1] {
        let peer = world.server.take_connection().unwrap();
        assert_eq!(peer.remote_addr(), clients[number].local_addr());
    }
    assert!(world.server.take_connection().is_none());
}

#[test]
fn what_came_before_the_connection_was_taken_is_kept_in_order() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.put_packet(b"first").unwrap();
    client.put_packet(b"second").unwrap();
    world.poll();
    client.put_packet(b"third").unwrap();
    assert_eq!(world.poll().new_connections, 0);
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut peer), ["first", "second", "third"]);
    assert!(matches!(peer.get_packet(), Ok(None)));
}

#[test]
fn an_empty_datagram_makes_a_connection_and_is_received_as_an_empty_packet() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.put_packet(b"").unwrap();
    assert_eq!(world.poll().new_connections, 1);
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(peer.available_packet_count(), 1);
    assert_eq!(texts(&mut peer), [""]);

    peer.put_packet(b"").unwrap();
    assert_eq!(poll_texts(&mut client), [""]);
    assert_counts!(peer.stats(), sent: 1, sent_bytes: 0);
}

#[test]
fn a_pending_connection_is_gone_after_stop() {
    let mut world = World::new();
    world.client(1).put_packet(b"hello").unwrap();
    world.poll();
    assert!(world.server.is_connection_available());
    world.server.stop();
    assert!(!world.server.is_listening());
    assert!(!world.server.is_connection_available());
    assert!(world.server.take_connection().is_none());

    world.server.listen(SERVER).unwrap();
    assert!(!world.server.is_connection_available());
    assert_eq!(world.server.stats().drops.unread, 1);
}

#[test]
fn a_stopped_server_accepts_nobody_and_poll_says_so_quietly() {
    let mut world = World::new();
    world.server.stop();
    let mut client = world.client(1);
    client.put_packet(b"hello").unwrap();
    assert!(matches!(world.server.poll(), Err(PollError::NotOpen)));
    assert!(!world.server.is_connection_available());
    assert!(poll_texts(&mut client).is_empty());
    assert_eq!(world.network.lost(), 1);
}

#[test]
fn stop_ends_the_peers_and_their_clients_can_still_send() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    world.server.stop();
    assert_ended(&mut peer, CloseReason::ServerStopped);
    assert_eq!(peer.local_addr(), None);
    assert_eq!(peer.remote_addr(), client.local_addr());
    assert_eq!(world.server.peer_count(), 0);

    client.put_packet(b"anybody?").unwrap();
    assert!(poll_texts(&mut client).is_empty());
    assert_eq!(world.network.lost(), 1);
}

#[test]
fn a_dropped_server_ends_its_peers_as_stop_does() {
    let mut world = World::new();
    let (_client, mut peer) = world.pair(1);
    drop(world.server);
    assert_ended(&mut peer, CloseReason::ServerStopped);
}

#[test]
fn after_stop_a_peer_first_hands_out_what_it_had_and_then_says_why() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    client.put_packet(b"one").unwrap();
    client.put_packet(b"two").unwrap();
    world.poll();
    client.put_packet(b"still in the socket").unwrap();
    world.server.stop();
    assert_eq!(peer.available_packet_count(), 2);
    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"one");
    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"two");
    assert_ended(&mut peer, CloseReason::ServerStopped);
}

#[test]
fn after_stop_a_put_is_an_error_and_nothing_reaches_the_wire() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let lost = world.network.lost();
    let sent = peer.stats().sent;
    world.server.stop();
    for _ in 0..3 {
        assert!(matches!(peer.put_packet(b"late"), Err(PutError::Ended(CloseReason::ServerStopped))));
    }
    assert!(!peer.is_bound(), "a put must not open another socket");
    assert!(poll_texts(&mut client).is_empty());
    assert_eq!(client.stats().received, 0);
    assert_eq!(world.network.lost(), lost);
    assert_counts!(peer.stats(), sent: sent, send_drops.not_open: 3);

    // Nor does it come to life again with the server.
    world.server.listen(SERVER).unwrap();
    assert!(matches!(peer.put_packet(b"late"), Err(PutError::Ended(CloseReason::ServerStopped))));
    assert!(poll_texts(&mut client).is_empty());
}

#[test]
fn after_close_a_put_is_an_error_and_nothing_reaches_the_wire() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    peer.close();
    peer.close();
    assert_ended(&mut peer, CloseReason::Closed);
    assert!(poll_texts(&mut client).is_empty());
    assert_eq!(world.network.lost(), 0);
}

#[test]
fn stopping_twice_is_as_stopping_once() {
    let mut world = World::new();
    let (_client, mut peer) = world.pair(1);
    world.server.stop();
    let stats = world.server.stats();
    world.server.stop();
    assert_eq!(world.server.stats(), stats);
    assert_ended(&mut peer, CloseReason::ServerStopped);

    let mut never_listened = UdpServer::new();
    never_listened.stop();
    assert!(!never_listened.is_listening());
}

#[test]
fn a_stopped_server_can_listen_on_the_same_port_at_once() {
    let mut world = World::new();
    world.server.set_max_pending_connections(5);
    let (mut client, mut old) = world.pair(1);
    world.server.stop();
    world.server.listen(SERVER).unwrap();
    assert_eq!(world.server.max_pending_connections(), 5);

    client.put_packet(b"again").unwrap();
    assert_eq!(world.poll().new_connections, 1);
    let mut new = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut new), ["again"]);
    assert_ne!(new.id(), old.id());
    assert_ended(&mut old, CloseReason::ServerStopped);
    drop(old);
    world.poll();
    assert_eq!(new.state(), PeerState::Open, "the handle of an earlier life ended a peer of this one");
}

#[test]
fn listening_twice_is_refused_and_leaves_the_listener_as_it_is() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    assert!(matches!(world.server.listen("10.0.0.1:8888"), Err(BindError::AlreadyOpen)));
    assert_eq!(world.server.local_addr(), Some(SERVER));
    client.put_packet(b"still there?").unwrap();
    world.poll();
    assert_eq!(texts(&mut peer), ["still there?"]);
}

#[test]
fn two_servers_cannot_have_one_port() {
    let world = World::new();
    let mut second = UdpServer::with_transport(ServerConfig::new(), world.network.host(SERVER.ip())).unwrap();
    assert!(matches!(second.listen(SERVER), Err(BindError::AddressInUse(_))));
    assert!(matches!(second.listen(7777), Err(BindError::AddressInUse(_))));
    assert!(!second.is_listening());
    drop(world.server);
    second.listen(SERVER).unwrap();
}

#[test]
fn port_0_is_a_port_of_the_systems_choice() {
    let network = Network::new();
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1])).unwrap();
    server.listen(0).unwrap();
    let port = server.local_port().unwrap();
    assert_ne!(port, 0);
    let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
    client.connect_to_host(("10.0.0.1", port)).unwrap();
    client.put_packet(b"hello").unwrap();
    assert_eq!(server.poll().unwrap().new_connections, 1);
}

#[test]
fn what_is_no_address_is_refused_with_its_text() {
    let mut server = UdpServer::new();
    for text in ["", "localhost", "localhost:1", "256.0.0.1", "127.0.0.1:70000", "127.0.0.1:", "*:x", "**"] {
        match server.listen(text) {
            Err(BindError::InvalidAddress(error)) => assert_eq!(error.text(), text),
            other => panic!("{text:?} gave {other:?}"),
        }
        assert!(!server.is_listening());
    }
}

#[test]
fn an_address_of_another_host_is_refused() {
    let network = Network::new();
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1])).unwrap();
    assert!(matches!(server.listen("10.0.0.2:7777"), Err(BindError::AddressNotAvailable(_))));
    assert!(!server.is_listening());
}

#[test]
fn who_comes_back_after_its_handle_was_dropped_is_a_new_connection() {
    let mut world = World::new();
    let (mut client, peer) = world.pair(1);
    client.put_packet(b"unread").unwrap();
    world.poll();
    let old = peer.id();
    drop(peer);
    assert_eq!(world.server.peer_count(), 1, "the next poll takes it up");

    client.put_packet(b"I am back").unwrap();
    let report = world.poll();
    assert_counts!(report, closed: 1, new_connections: 1);
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut peer), ["I am back"]);
    assert_ne!(peer.id(), old);

    let stats = world.server.stats();
    assert_counts!(stats, connections.opened: 2, connections.taken: 2, connections.closed: 1);
    assert_counts!(stats, received: 3, delivered: 2, drops.unread: 1, drops.total(): 1);
}

#[test]
fn who_comes_back_after_close_is_a_new_connection() {
    let mut world = World::new();
    let (mut client, mut old) = world.pair(1);
    client.put_packet(b"before").unwrap();
    world.poll();
    old.close();
    client.put_packet(b"after").unwrap();
    let report = world.poll();
    assert_counts!(report, closed: 1, new_connections: 1);

    let mut new = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut new), ["after"]);
    assert_eq!(&*old.get_packet().unwrap().unwrap(), b"before");
    assert_ended(&mut old, CloseReason::Closed);
    drop(old);
    world.poll();
    assert_eq!(new.state(), PeerState::Open);
    assert_eq!(world.server.stats().connections.closed, 1);
}

#[test]
fn a_handle_that_is_dropped_leaves_no_entry_behind() {
    let mut world = World::new();
    let (mut client, peer) = world.pair(1);
    let id = peer.id();
    let addr = client.local_addr().unwrap();
    client.put_packet(b"unread").unwrap();
    world.poll();
    drop(peer);
    assert_eq!(world.poll().closed, 1);
    assert_eq!(world.server.peer_count(), 0);
    assert_eq!(world.server.peers().count(), 0);
    assert_eq!(world.server.find(addr), None);
    let mut ready = Vec::new();
    world.server.ready(&mut ready);
    assert_eq!(ready, []);
    assert_eq!(world.server.close(id), Err(UnknownPeer(id)));
    assert_counts!(world.server.stats(), queued: 0, queued_bytes: 0);
}

#[test]
fn the_server_closes_a_peer_by_its_id_once() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let (_other_client, other) = world.pair(2);
    let id = peer.id();
    client.put_packet(b"before").unwrap();
    world.poll();

    assert_eq!(world.server.close(id), Ok(()));
    assert_eq!(world.server.peer_count(), 1);
    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"before");
    assert_ended(&mut peer, CloseReason::Closed);
    assert_eq!(world.server.close(id), Err(UnknownPeer(id)));
    drop(peer);
    assert_eq!(world.poll().closed, 0, "it had been closed already");
    assert_eq!(world.server.stats().connections.closed, 1);
    assert_eq!(other.state(), PeerState::Open);
}

#[test]
fn an_id_that_the_server_did_not_give_is_unknown() {
    let mut world = World::new();
    let (_client, peer) = world.pair(1);
    let stand_alone = PacketPeerUdp::new().id();
    assert_eq!(world.server.close(stand_alone), Err(UnknownPeer(stand_alone)));
    assert_eq!(peer.state(), PeerState::Open);
}

#[test]
fn a_peer_whose_handle_was_closed_is_unknown_at_once() {
    let mut world = World::new();
    let (client, mut peer) = world.pair(1);
    peer.close();
    assert_eq!(world.server.close(peer.id()), Err(UnknownPeer(peer.id())));
    assert_eq!(world.server.find(client.local_addr().unwrap()), None);
    assert_eq!(world.server.peers().count(), 0);
}

#[test]
fn an_index_is_used_again_and_an_id_is_not() {
    let mut world = World::new();
    let mut seen: Vec<PeerId> = Vec::new();
    for round in 0..100 {
        let (_client, peer) = world.pair(round);
        assert_eq!(peer.id().index(), 0);
        assert!(!seen.contains(&peer.id()));
        seen.push(peer.id());
    }
}

#[test]
fn peers_are_listed_and_found_by_address_and_pending_connections_are_not() {
    let mut world = World::new();
    let (client, peer) = world.pair(1);
    let (other_client, other) = world.pair(2);
    let mut pending = world.client(3);
    pending.put_packet(b"hello").unwrap();
    world.poll();

    let mut listed: Vec<_> = world.server.peers().collect();
    listed.sort();
    assert_eq!(listed, [(peer.id(), client.local_addr().unwrap()), (other.id(), other_client.local_addr().unwrap())]);
    assert_eq!(world.server.find(client.local_addr().unwrap()), Some(peer.id()));
    assert_eq!(world.server.find(other_client.local_addr().unwrap()), Some(other.id()));
    assert_eq!(world.server.find(pending.local_addr().unwrap()), None);
    assert_eq!(world.server.find(SERVER), None);
}

#[test]
fn a_peer_is_found_by_its_ipv4_address_mapped_into_ipv6() {
    let mut world = World::new();
    let (client, peer) = world.pair(1);
    let SocketAddr::V4(addr) = client.local_addr().unwrap() else { panic!("the network speaks IPv4") };
    let mapped = SocketAddr::from((addr.ip().to_ipv6_mapped(), addr.port()));
    assert_eq!(world.server.find(mapped), Some(peer.id()));
}

#[test]
fn two_ports_of_one_host_are_two_peers() {
    let mut world = World::new();
    let host = world.another_host();
    let mut clients = [(); 2].map(|()| PacketPeerUdp::with_transport(host.clone()));
    for client in &mut clients {
        client.connect_to_host(SERVER).unwrap();
        client.put_packet(b"hello").unwrap();
    }
    assert_eq!(world.poll().new_connections, 2);
    for client in &clients {
        assert_eq!(world.server.take_connection().unwrap().remote_addr(), client.local_addr());
    }
}

#[test]
fn a_peer_is_listed_as_ready_until_it_is_drained() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let (_quiet_client, _quiet) = world.pair(2);
    let ready = |world: &mut World| {
        let mut ids = Vec::new();
        world.server.ready(&mut ids);
        ids
    };
    assert_eq!(ready(&mut world), []);
    client.put_packet(b"one").unwrap();
    client.put_packet(b"two").unwrap();
    world.poll();
    assert_eq!(ready(&mut world), [peer.id()]);
    peer.get_packet().unwrap().unwrap();
    assert_eq!(ready(&mut world), [peer.id()]);
    peer.get_packet().unwrap().unwrap();
    assert_eq!(ready(&mut world), []);
    client.put_packet(b"three").unwrap();
    world.poll();
    assert_eq!(ready(&mut world), [peer.id()]);
}

#[test]
fn a_connection_is_listed_as_ready_as_soon_as_it_is_taken() {
    let mut world = World::new();
    world.client(1).put_packet(b"hello").unwrap();
    world.poll();
    let mut ids = Vec::new();
    world.server.ready(&mut ids);
    assert_eq!(ids, []);
    let peer = world.server.take_connection().unwrap();
    world.server.ready(&mut ids);
    assert_eq!(ids, [peer.id()]);
}

#[test]
fn a_real_socket_is_refused_where_sockets_are_in_memory() {
    let mut server = UdpServer::with_transport(ServerConfig::new(), Network::new().host([10, 0, 0, 1])).unwrap();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(server.listen_on(socket), Err(BindError::Unsupported(_))));
    assert!(!server.is_listening());
    assert!(server.socket().is_none());
}
