//! `UdpServer` on real sockets of the loopback interface. The system promises no order here and may be late, so these
//! tests are patient; exact counts and times are tested in `udp_server.rs` and `limits.rs`.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use packetpeer::error::{BindError, GetError, PollError, PutError};
use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerState, ServerConfig, SocketOptions, UdpServer};

mod util;

use util::{
    MOMENT, accept, assert_counts, client_of, eventually, loopback_server, pair_of, receive, receive_at, texts,
};

/// Polls the server until it has taken this many datagrams in all.
#[track_caller]
fn poll_until_received(server: &mut UdpServer, datagrams: u64) {
    eventually("datagrams at the server", || {
        server.wait(Some(MOMENT)).unwrap();
        server.poll().unwrap();
        (server.stats().received >= datagrams).then_some(())
    });
}

#[test]
fn accepts_a_connection_and_data_goes_both_ways() {
    let mut server = loopback_server();
    assert!(server.is_listening());
    assert!(!server.is_connection_available());
    let mut client = client_of(&server);
    assert!(client.is_bound());
    assert!(client.is_socket_connected());
    client.put_packet(b"hello").unwrap();

    let mut peer = accept(&mut server);
    assert!(peer.is_bound());
    assert!(peer.is_socket_connected());
    assert_eq!(peer.remote_addr().unwrap().port(), client.local_addr().unwrap().port());
    assert_eq!(peer.local_addr(), server.local_addr());
    assert_eq!(texts(&mut peer), ["hello"]);

    peer.put_packet(b"welcome").unwrap();
    let packet = receive(&mut client);
    assert_eq!(&*packet, b"welcome");
    assert_eq!(Some(packet.sender()), server.local_addr());
    client.close();
    server.stop();
    assert!(!server.is_listening());
}

#[test]
fn five_clients_at_the_same_time_each_get_their_own_reply() {
    let mut server = loopback_server();
    let mut clients: Vec<_> = (0..5).map(|_| client_of(&server)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.put_packet(number.to_string().as_bytes()).unwrap();
    }
    let mut seen = BTreeSet::new();
    let _peers: Vec<_> = (0..5)
        .map(|_| {
            let mut peer = accept(&mut server);
            let [number] = texts(&mut peer).try_into().unwrap();
            peer.put_packet(format!("you are {number}").as_bytes()).unwrap();
            seen.insert(number);
            peer
        })
        .collect();
    assert_eq!(seen, ["0", "1", "2", "3", "4"].map(String::from).into());
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(&*receive(client), format!("you are {number}").as_bytes());
        assert_eq!(client.available_packet_count(), 0);
    }
}

#[test]
fn where_three_may_be_pending_three_of_five_can_be_taken() {
    let mut server = loopback_server();
    server.set_max_pending_connections(3);
    let mut clients: Vec<_> = (0..5).map(|_| client_of(&server)).collect();
    for client in &mut clients {
        client.put_packet(b"hello").unwrap();
    }
    poll_until_received(&mut server, 5);
    assert_eq!(server.stats().drops.pending_full, 2);
    let peers: Vec<_> = std::iter::from_fn(|| server.take_connection()).collect();
    let remotes: BTreeSet<_> = peers.iter().map(|peer| peer.remote_addr().unwrap()).collect();
    assert_eq!(remotes.len(), 3);
    let addrs: BTreeSet<_> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
    assert!(remotes.is_subset(&addrs));
    server.poll().unwrap();
    assert!(server.take_connection().is_none());
}

#[test]
fn a_pending_connection_is_gone_after_stop() {
    let mut server = loopback_server();
    client_of(&server).put_packet(b"hello").unwrap();
    poll_until_received(&mut server, 1);
    assert!(server.is_connection_available());
    server.stop();
    assert!(!server.is_listening());
    assert!(!server.is_connection_available());
    assert!(server.take_connection().is_none());
    assert!(matches!(server.poll(), Err(PollError::NotOpen)));
}

#[test]
fn after_stop_a_peer_hands_out_what_it_had_and_then_says_why() {
    let mut server = loopback_server();
    let (mut client, mut peer) = pair_of(&mut server);
    client.put_packet(b"the last word").unwrap();
    poll_until_received(&mut server, 2);
    server.stop();
    assert!(!peer.is_bound());
    assert!(!peer.is_socket_connected());
    assert_eq!(peer.state(), PeerState::Ended(CloseReason::ServerStopped));
    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"the last word");
    assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(CloseReason::ServerStopped));
}

#[test]
fn after_stop_a_put_is_an_error_and_nothing_reaches_the_wire() {
    let mut server = loopback_server();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client_addr = client.local_addr().unwrap();
    client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    let mut peer = accept(&mut server);
    server.stop();
    for _ in 0..3 {
        assert!(matches!(peer.put_packet(b"late"), Err(PutError::Ended(CloseReason::ServerStopped))));
    }

    // The socket takes whatever comes from anywhere, and this comes last.
    let last = UdpSocket::bind("127.0.0.1:0").unwrap();
    last.send_to(b"last", client_addr).unwrap();
    client.set_read_timeout(Some(util::PATIENCE)).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(client.recv_from(&mut buffer).unwrap(), (4, last.local_addr().unwrap()));
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.recv_from(&mut buffer).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn the_port_is_free_as_soon_as_stop_returns() {
    let mut server = loopback_server();
    let addr = server.local_addr().unwrap();
    for _ in 0..20 {
        let (_client, _peer) = pair_of(&mut server);
        server.stop();
        server.listen(addr).unwrap();
    }
}

#[test]
fn the_port_is_free_after_stop_also_while_a_peer_is_sending_on_another_thread() {
    let mut server = loopback_server();
    let addr = server.local_addr().unwrap();
    for _ in 0..20 {
        let (_client, mut peer) = pair_of(&mut server);
        let sent = AtomicU64::new(0);
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                loop {
                    match peer.put_packet(b"x") {
                        Ok(()) => _ = sent.fetch_add(1, Ordering::Relaxed),
                        Err(PutError::WouldBlock) => {}
                        Err(PutError::Ended(reason)) => return reason,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            eventually("a packet from the other thread", || (sent.load(Ordering::Relaxed) > 0).then_some(()));
            server.stop();
            server.listen(addr).unwrap();
            assert_eq!(sender.join().unwrap(), CloseReason::ServerStopped);
        });
        let stats = peer.stats();
        assert_counts!(stats, sent: sent.into_inner(), send_drops.not_open: 1);
    }
}

#[test]
fn listening_twice_is_refused_and_leaves_the_listener_as_it_is() {
    let mut server = loopback_server();
    let addr = server.local_addr();
    let (mut client, mut peer) = pair_of(&mut server);
    assert!(matches!(server.listen("127.0.0.1:0"), Err(BindError::AlreadyOpen)));
    let another = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert!(matches!(server.listen_on(another), Err(BindError::AlreadyOpen)));
    assert_eq!(server.local_addr(), addr);
    client.put_packet(b"still there?").unwrap();
    assert_eq!(&*receive_at(&mut server, &mut peer), b"still there?");
}

#[test]
fn two_servers_cannot_have_one_port() {
    let first = loopback_server();
    let mut second = UdpServer::new();
    let result = second.listen(first.local_addr().unwrap());
    // Windows has two ways to say it.
    let refused = matches!(result, Err(BindError::AddressInUse(_)))
        || cfg!(windows) && matches!(result, Err(BindError::PermissionDenied(_)));
    assert!(refused, "{result:?}");
    assert!(!second.is_listening());
}

/// Elsewhere the two are different addresses, and who has bound to the one spoken to gets the datagram.
#[cfg(target_os = "linux")]
#[test]
fn a_port_of_every_address_cannot_be_shared_with_one_of_a_single_address() {
    let first = loopback_server();
    let mut second = UdpServer::new();
    assert!(matches!(second.listen(first.local_port().unwrap()), Err(BindError::AddressInUse(_))));
}

#[test]
fn port_0_is_a_port_of_the_systems_choice() {
    let (first, second) = (loopback_server(), loopback_server());
    assert_ne!(first.local_port(), Some(0));
    assert_ne!(first.local_port(), second.local_port());
}

/// Windows has no privileged ports.
#[cfg(unix)]
#[test]
fn a_port_of_the_privileged_is_refused() {
    let mut server = UdpServer::new();
    match server.listen("127.0.0.1:1") {
        Err(BindError::PermissionDenied(_)) => assert!(!server.is_listening()),
        Ok(()) => eprintln!("skipped: this user may have any port"),
        Err(BindError::AddressInUse(_)) => eprintln!("skipped: somebody has the port, who may"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn an_address_that_this_machine_has_not_is_refused() {
    if util::is_wine() {
        eprintln!("skipped: Wine binds to every address instead");
        return;
    }
    let mut server = UdpServer::new();
    let result = server.listen("198.51.100.1:0");
    assert!(matches!(result, Err(BindError::AddressNotAvailable(_))), "{result:?}");
    assert!(!server.is_listening());
    server.listen("127.0.0.1:0").unwrap();
}

#[test]
fn who_comes_back_after_its_handle_was_dropped_is_a_new_connection() {
    let mut server = loopback_server();
    let (mut client, peer) = pair_of(&mut server);
    let id = peer.id();
    thread::spawn(move || drop(peer)).join().unwrap();
    client.put_packet(b"I am back").unwrap();
    let mut peer = accept(&mut server);
    assert_eq!(texts(&mut peer), ["I am back"]);
    assert_ne!(peer.id(), id);
    assert_eq!(server.peer_count(), 1);
    assert_counts!(server.stats(), connections.closed: 1);
    assert_eq!(server.find(client.local_addr().unwrap()), Some(peer.id()));
}

#[test]
fn who_comes_back_after_close_is_a_new_connection() {
    let mut server = loopback_server();
    let (mut client, mut old) = pair_of(&mut server);
    old.close();
    client.put_packet(b"I am back").unwrap();
    let mut new = accept(&mut server);
    assert_eq!(texts(&mut new), ["I am back"]);
    assert_eq!(old.get_packet().unwrap_err(), GetError::Ended(CloseReason::Closed));
    new.put_packet(b"welcome back").unwrap();
    assert_eq!(&*receive(&mut client), b"welcome back");
}

#[test]
fn an_empty_datagram_makes_a_connection_and_is_received_as_an_empty_packet() {
    let mut server = loopback_server();
    let mut client = client_of(&server);
    client.put_packet(b"").unwrap();
    let mut peer = accept(&mut server);
    assert_eq!(peer.available_packet_count(), 1);
    assert_eq!(texts(&mut peer), [""]);
    peer.put_packet(b"").unwrap();
    assert!(receive(&mut client).is_empty());
}

/// The largest packet passes both ways, where the system allows the largest that UDP can carry (macOS and the BSDs do not
/// by default), and one more byte is refused at both ends, without losing anything else.
#[cfg(any(target_os = "linux", windows))]
#[track_caller]
fn assert_largest_packet_is(limit: usize, addr: &str) {
    let mut server = UdpServer::new();
    server.listen(addr).unwrap();
    let (mut client, mut peer) = pair_of(&mut server);
    let largest: Vec<u8> = (0..limit).map(|index| (index % 251) as u8).collect();
    client.put_packet(&largest).unwrap();
    assert!(*receive_at(&mut server, &mut peer) == *largest);
    peer.put_packet(&largest).unwrap();
    assert!(*receive(&mut client) == *largest);

    for end in [&mut client, &mut peer] {
        assert_eq!(end.max_packet_size(), limit);
        match end.put_packet(&vec![0; limit + 1]) {
            Err(PutError::TooLarge { size, limit: told }) => assert_eq!((size, told), (limit + 1, limit)),
            other => panic!("{other:?}"),
        }
        assert_eq!(end.stats().send_drops.too_large, 1);
    }
}

#[cfg(any(target_os = "linux", windows))]
#[test]
fn over_ipv4_65507_bytes_pass_and_65508_do_not() {
    assert_largest_packet_is(65_507, "127.0.0.1:0");
}

#[cfg(any(target_os = "linux", windows))]
#[test]
fn over_ipv6_65527_bytes_pass_and_65528_do_not() {
    if util::has_ipv6_loopback() {
        assert_largest_packet_is(65_527, "[::1]:0");
    }
}

/// One byte too many still fits into the room for a datagram. Of one that is longer, Windows says no more than that there
/// was one (WSAEMSGSIZE), not even whose; other systems cut it.
#[test]
fn what_is_longer_than_the_servers_largest_packet_is_counted_and_harms_nobody() {
    let config = ServerConfig::new().socket(SocketOptions::new().max_packet_size(100));
    let mut server = UdpServer::with_config(config).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let (mut client, mut peer) = pair_of(&mut server);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.put_packet(&[b'a'; 100]).unwrap();
    for size in [101, 102, 60_000] {
        client.put_packet(&vec![b'b'; size]).unwrap();
        stranger.send_to(&vec![b'c'; size], server.local_addr().unwrap()).unwrap();
    }
    client.put_packet(&[b'd'; 100]).unwrap();

    poll_until_received(&mut server, 1 + 2 + 6);
    assert_eq!(texts(&mut peer), ["a".repeat(100), "d".repeat(100)]);
    let stats = server.stats();
    assert_counts!(stats, drops.too_large: 6, drops.total(): 6, noise: 0);
    assert_eq!(peer.stats().drops.too_large, if cfg!(windows) { 1 } else { 3 });
    assert_counts!(server, peer_count(): 1, pending_count(): 0, "a part of a datagram lets nobody in");
}

#[test]
fn a_server_on_a_bare_port_serves_ipv4_clients_as_ipv4() {
    let mut server = UdpServer::new();
    server.listen(0).unwrap();
    // Bound, so that it speaks IPv4 itself.
    let mut client = util::loopback_peer();
    client.connect_to_host(("127.0.0.1", server.local_port().unwrap())).unwrap();
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(&mut server);
    assert_eq!(peer.remote_addr(), client.local_addr());
    assert!(peer.remote_addr().unwrap().is_ipv4());
    assert_eq!(peer.max_packet_size(), 65_507);
    assert_eq!(peer.get_packet().unwrap().unwrap().sender(), client.local_addr().unwrap());
    assert_eq!(server.find(client.local_addr().unwrap()), Some(peer.id()));
    peer.put_packet(b"welcome").unwrap();
    assert_eq!(&*receive(&mut client), b"welcome");
}

#[test]
fn a_server_on_a_bare_port_serves_ipv6_clients_too() {
    if !util::has_ipv6_loopback() {
        return;
    }
    let mut server = UdpServer::new();
    server.listen(0).unwrap();
    let mut client = PacketPeerUdp::new();
    client.connect_to_host((Ipv6Addr::LOCALHOST, server.local_port().unwrap())).unwrap();
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(&mut server);
    assert_eq!(peer.remote_addr(), client.local_addr());
    assert_eq!(peer.remote_addr().map(|addr| addr.ip()), Some(Ipv6Addr::LOCALHOST.into()));
    assert_eq!(peer.max_packet_size(), 65_527);
    peer.put_packet(b"welcome").unwrap();
    assert_eq!(&*receive(&mut client), b"welcome");
}

#[test]
fn a_client_that_is_gone_costs_the_others_nothing() {
    let mut server = loopback_server();
    let (gone_client, mut gone) = pair_of(&mut server);
    let (mut client, mut peer) = pair_of(&mut server);
    drop(gone_client);
    for number in 0..50 {
        // What the system answers to this must not get between the others and the server.
        let _ = gone.put_packet(b"are you there?");
        let text = number.to_string();
        client.put_packet(text.as_bytes()).unwrap();
        assert_eq!(&*receive_at(&mut server, &mut peer), text.as_bytes());
        peer.put_packet(text.as_bytes()).unwrap();
        assert_eq!(&*receive(&mut client), text.as_bytes());
    }
    assert_eq!(gone.state(), PeerState::Open);
    assert_eq!(server.stats().drops.total(), 0);
}

#[test]
fn a_peer_and_its_server_can_work_on_different_threads() {
    let mut server = loopback_server();
    let (mut client, mut peer) = pair_of(&mut server);
    thread::scope(|scope| {
        let echo = scope.spawn(move || {
            for _ in 0..100 {
                let packet = eventually("a packet on another thread", || {
                    peer.wait(Some(MOMENT)).unwrap();
                    peer.get_packet().unwrap()
                });
                peer.put_packet(&packet).unwrap();
            }
            peer
        });
        for number in 0..100_u8 {
            client.put_packet(&[number]).unwrap();
            let back = eventually("the echo", || {
                server.wait(Some(MOMENT)).unwrap();
                server.poll().unwrap();
                client.poll().unwrap();
                client.get_packet().unwrap()
            });
            assert_eq!(*back, [number]);
        }
        assert_eq!(echo.join().unwrap().stats().delivered, 101);
    });
    let stats = server.stats();
    assert_counts!(stats, received: 101, delivered: 101, sent: 100);
}

#[test]
fn a_server_listens_on_a_socket_of_the_standard_library() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    let mut server = UdpServer::new();
    server.listen_on(socket).unwrap();
    assert_eq!(server.local_addr(), Some(addr));
    server.poll().unwrap();
    let (mut client, mut peer) = pair_of(&mut server);
    peer.put_packet(b"welcome").unwrap();
    assert_eq!(&*receive(&mut client), b"welcome");
}

#[test]
fn a_server_says_how_large_its_receive_buffer_is() {
    let options = SocketOptions::new().receive_buffer(Some(65_536)).send_buffer(None);
    let mut server = UdpServer::with_config(ServerConfig::new().socket(options)).unwrap();
    assert_eq!(server.receive_buffer_size(), None);
    server.listen("127.0.0.1:0").unwrap();
    assert!(server.receive_buffer_size().unwrap() >= 65_536);
}

#[test]
fn the_socket_of_a_server_is_lent_for_other_uses() {
    let mut server = UdpServer::new();
    assert!(server.socket().is_none());
    server.listen("127.0.0.1:0").unwrap();
    let copy: UdpSocket = socket2::SockRef::from(&server.socket().unwrap()).try_clone().unwrap().into();
    assert_eq!(copy.local_addr().ok(), server.local_addr());
}

#[test]
fn idle_peers_and_full_queues_are_the_same_on_real_sockets() {
    let limits = Limits::new()
        .queue(packetpeer::limits::QueueLimits::new().packets(2))
        .idle_timeout(Some(std::time::Duration::from_secs(60)));
    let mut server = UdpServer::with_config(ServerConfig::new().limits(limits)).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let (mut client, mut peer) = pair_of(&mut server);
    for _ in 0..5 {
        client.put_packet(b"x").unwrap();
    }
    poll_until_received(&mut server, 6);
    assert_eq!(peer.available_packet_count(), 2);
    assert_counts!(server.stats(), drops.queue_packets: 3);
    assert_counts!(peer.stats(), drops.queue_packets: 3);

    // Only the clock of the poll counts.
    let later = std::time::Instant::now() + std::time::Duration::from_secs(120);
    assert_eq!(server.poll_at(later).unwrap().idle, 1);
    assert_eq!(texts_before_end(&mut peer), ["x", "x"]);
    assert_eq!(peer.close_reason(), Some(CloseReason::Idle));
}

fn texts_before_end(peer: &mut PacketPeerUdp) -> Vec<String> {
    let packets = std::iter::from_fn(|| peer.get_packet().ok().flatten());
    packets.map(|packet| String::from_utf8(packet.into_vec()).unwrap()).collect()
}

/// It sent to the socket's remote what was for others.
#[test]
fn a_connected_socket_of_the_standard_library_cannot_be_a_servers() {
    let [remote, socket] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    socket.connect(remote.local_addr().unwrap()).unwrap();
    let mut server = UdpServer::new();
    assert!(matches!(server.listen_on(socket), Err(BindError::Connected)));
    assert!(!server.is_listening());
    server.listen_on(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
}
