//! Peers that have a socket of their own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use packetpeer::error::DedicateError;
use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, Switch};
use packetpeer::limits::QueueLimits;
use packetpeer::sim::{Conditioned, Link, Network};
use packetpeer::socket::SystemSockets;
use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerState, SendMode, ServerConfig, UdpServer, WaitOutcome};

mod util;

use util::wrapped::{Hooks, Wrapped};
use util::{MOMENT, World, accept, assert_counts, eventually, millis, poll_texts, texts};

/// A client that notices when the server answers from another port.
fn following_client(network: &Network, last: u8) -> PacketPeerUdp {
    let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 1, last]));
    client.set_follow_port(true).unwrap();
    client.connect_to_host(util::SERVER).unwrap();
    client
}

/// A client that follows, and its peer, which has been heard.
fn pair(world: &mut World, last: u8) -> (PacketPeerUdp, PacketPeerUdp) {
    let mut client = following_client(&world.network, last);
    client.put_packet(b"hello").unwrap();
    world.poll();
    (client, world.server.take_connection().unwrap())
}

#[test]
fn at_once_the_answer_leaves_from_the_new_port_and_the_client_follows() {
    let mut world = World::new();
    let (mut client, mut peer) = pair(&mut world, 1);
    let own = world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    assert_eq!(own.ip(), util::SERVER.ip());
    assert_ne!(own.port(), util::SERVER.port());
    assert_eq!(peer.local_addr(), Some(own));
    assert_eq!(texts(&mut peer), ["hello"], "what was queued came along");

    peer.put_packet(b"welcome").unwrap();
    assert_eq!(poll_texts(&mut client), ["welcome"]);
    assert_eq!(client.packet_addr(), Some(own));
    assert_eq!(client.remote_addr(), Some(own));
    client.put_packet(b"to the new port").unwrap();
    assert_eq!(world.poll().queued, 1);
    assert_eq!(texts(&mut peer), ["to the new port"]);
    assert_eq!(world.server.peer_count(), 1);
}

#[test]
fn what_still_reaches_the_port_listened_on_is_the_same_peers() {
    let mut world = World::new();
    let (mut client, mut peer) = pair(&mut world, 1);
    world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    texts(&mut peer);
    for _ in 0..3 {
        client.put_packet(b"never switched").unwrap();
        let report = world.poll();
        assert_counts!(report, queued: 1, new_connections: 0);
        assert_eq!(texts(&mut peer), ["never switched"]);
    }
}

#[test]
fn with_the_client_packets_leave_from_the_old_port_until_it_has_switched() {
    let mut world = World::new();
    let mut client = world.client(1);
    client.put_packet(b"hello").unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    let own = world.server.dedicate_socket(&mut peer, Switch::WithClient).unwrap();
    assert_eq!(peer.local_addr(), Some(util::SERVER));
    peer.put_packet(own.port().to_string().as_bytes()).unwrap();

    let port: u16 = poll_texts(&mut client)[0].parse().unwrap();
    client.connect_to_host((util::SERVER.ip(), port)).unwrap();
    peer.put_packet(b"still from the old port").unwrap();
    assert_eq!(poll_texts(&mut client), [""; 0], "the client hears the new port only");
    client.put_packet(b"here I am").unwrap();
    world.poll();
    assert_eq!(texts(&mut peer), ["hello", "here I am"]);
    assert_eq!(peer.local_addr(), Some(own));
    peer.put_packet(b"from the new port").unwrap();
    assert_eq!(poll_texts(&mut client), ["from the new port"]);
}

#[test]
fn strangers_are_not_heard_on_the_new_port() {
    let mut world = World::new();
    let (_client, mut peer) = pair(&mut world, 1);
    let own = world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    let mut stranger = PacketPeerUdp::with_transport(world.another_host());
    stranger.set_dest_address(own).unwrap();
    stranger.put_packet(b"let me in").unwrap();
    let report = world.poll();
    assert_counts!(report, received: 0, new_connections: 0, "the network itself keeps them out");
    assert_eq!(texts(&mut peer), ["hello"]);
}

#[test]
fn the_client_follows_its_host_only_and_once() {
    let mut world = World::new();
    let (mut client, mut peer) = pair(&mut world, 1);
    let here = client.local_addr().unwrap().port();
    let to_client = SocketAddr::from(([10, 0, 1, 1], here));
    let say = |host: [u8; 4], text: &[u8]| {
        let mut other = PacketPeerUdp::with_transport(world.network.host(host));
        other.bind((Ipv4Addr::from(host), 0)).unwrap();
        other.set_dest_address(to_client).unwrap();
        other.put_packet(text).unwrap();
    };
    say([10, 0, 0, 99], b"another host");
    assert_eq!(poll_texts(&mut client), [""; 0]);
    assert_eq!(client.stats().drops.stranger, 1);

    world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    peer.put_packet(b"first").unwrap();
    say([10, 0, 0, 1], b"a third port of the server's host");
    assert_eq!(poll_texts(&mut client), ["first"]);
    assert_eq!(client.stats().drops.stranger, 2);
}

#[test]
fn its_socket_is_closed_when_the_peer_ends() {
    let mut world = World::with_limits(Limits::new().idle_timeout(Some(millis(100))));
    let free = |world: &World, addr: SocketAddr| {
        let mut probe = PacketPeerUdp::with_transport(world.network.host(util::SERVER.ip()));
        probe.bind(addr).is_ok()
    };
    let mut peers: Vec<_> = (1..=4).map(|last| pair(&mut world, last).1).collect();
    let mut ports = Vec::new();
    for peer in &mut peers {
        ports.push(world.server.dedicate_socket(peer, Switch::AtOnce).unwrap());
    }
    assert!(ports.iter().all(|&port| !free(&world, port)));

    world.server.close(peers[0].id()).unwrap();
    assert!(free(&world, ports[0]));
    peers.remove(1);
    world.poll();
    assert!(free(&world, ports[1]));
    assert_eq!(world.poll_after(millis(100)).idle, 2);
    assert!(free(&world, ports[2]) && free(&world, ports[3]));
    assert_eq!(peers[2].close_reason(), Some(CloseReason::Idle));
}

#[test]
fn stop_closes_all_and_listening_again_works() {
    let mut world = World::new();
    let (_client, mut peer) = pair(&mut world, 1);
    world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    world.server.stop();
    assert_eq!(peer.state(), PeerState::Ended(CloseReason::ServerStopped));
    assert!(peer.put_packet(b"too late").is_err());
    world.server.listen(util::SERVER).unwrap();
    let (mut client, mut peer) = pair(&mut world, 2);
    peer.put_packet(b"anew").unwrap();
    assert_eq!(poll_texts(&mut client), ["anew"]);
}

#[test]
fn limits_and_counters_are_as_on_the_shared_socket() {
    let limits = Limits::new().queue(QueueLimits::new().packets(2)).quota_per_poll(Some(4));
    let mut world = World::with_limits(limits);
    let (mut client, mut peer) = pair(&mut world, 1);
    let own = world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    peer.put_packet(b"follow me").unwrap();
    poll_texts(&mut client);
    for _ in 0..6 {
        client.put_packet(b"x").unwrap();
    }
    assert_eq!(client.remote_addr(), Some(own));
    world.poll();
    let stats = peer.stats();
    assert_counts!(stats, received: 7, drops.quota: 2, drops.queue_packets: 3);
    let stats = world.server.stats();
    assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total());
}

#[test]
fn the_budget_is_shared_and_what_is_left_comes_with_the_next_poll() {
    let mut world = World::with_limits(Limits::new().max_known_per_poll(4));
    let (mut own_client, mut own) = pair(&mut world, 1);
    let (mut client, peer) = pair(&mut world, 2);
    world.server.dedicate_socket(&mut own, Switch::AtOnce).unwrap();
    own.put_packet(b"follow me").unwrap();
    poll_texts(&mut own_client);
    for _ in 0..10 {
        own_client.put_packet(b"x").unwrap();
        client.put_packet(b"x").unwrap();
    }
    let report = world.poll();
    assert_counts!(report, received: 4, more_waiting: true);
    assert!(own.available_packet_count() > 1 && peer.available_packet_count() > 1, "neither starves the other");
    while world.poll().more_waiting {}
    assert_eq!((own.available_packet_count(), peer.available_packet_count()), (11, 11));
}

#[test]
fn every_send_mode_and_the_broadcast_use_the_new_port() {
    for mode in [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        let network = Network::new();
        let config = ServerConfig::new().send_mode(mode);
        let mut server = UdpServer::with_transport(config, network.host(util::SERVER.ip())).unwrap();
        server.listen(util::SERVER).unwrap();
        let mut clients = [following_client(&network, 1), following_client(&network, 2)];
        let mut peers = Vec::new();
        for client in &mut clients {
            client.put_packet(b"hello").unwrap();
            server.poll().unwrap();
            peers.extend(server.take_connection());
        }
        let own = server.dedicate_socket(&mut peers[0], Switch::AtOnce).unwrap();
        for peer in &mut peers {
            peer.put_packet(b"one").unwrap();
            peer.put_packet(b"two").unwrap();
        }
        server.broadcast(b"all").unwrap();
        server.flush().unwrap();
        assert_eq!(poll_texts(&mut clients[0]), ["one", "two", "all"], "{mode:?}");
        assert_eq!(poll_texts(&mut clients[1]), ["one", "two", "all"], "{mode:?}");
        assert_eq!(clients[0].packet_addr(), Some(own), "{mode:?}");
        assert_eq!(clients[1].packet_addr(), Some(util::SERVER), "{mode:?}");
        let stats = server.stats();
        assert_counts!(stats, sent: 6, send_queued: 0, send_drops.total(): 0, "{mode:?}");
    }
}

#[test]
fn what_cannot_be_is_a_typed_error_and_harms_nobody() {
    let mut world = World::new();
    let (mut client, mut peer) = pair(&mut world, 1);
    let mut other = World::new();
    assert!(matches!(other.server.dedicate_socket(&mut peer, Switch::AtOnce), Err(DedicateError::UnknownPeer(_))));
    let (_, mut same_id) = pair(&mut other, 1);
    assert_eq!(same_id.id().to_string(), peer.id().to_string());
    assert!(matches!(world.server.dedicate_socket(&mut same_id, Switch::AtOnce), Err(DedicateError::UnknownPeer(_))));

    world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    assert!(matches!(world.server.dedicate_socket(&mut peer, Switch::AtOnce), Err(DedicateError::AlreadyDedicated)));
    peer.put_packet(b"still here").unwrap();
    assert_eq!(poll_texts(&mut client), ["still here"]);
    peer.close();
    assert!(matches!(world.server.dedicate_socket(&mut peer, Switch::AtOnce), Err(DedicateError::UnknownPeer(_))));
}

#[test]
fn a_server_that_goes_by_ids_gives_no_sockets() {
    let ids = ConnectionIds::new(|bytes| bytes.first().map(|&byte| ConnectionId(byte.into())));
    let mut world = World::with_config(ServerConfig::new().identity(Identity::ConnectionId(ids)));
    let (_client, mut peer) = pair(&mut world, 1);
    assert!(matches!(world.server.dedicate_socket(&mut peer, Switch::AtOnce), Err(DedicateError::GoesByIds)));
}

/// The same over real sockets, several at once, found by the system's readiness call.
#[test]
fn real_sockets_of_their_own_are_served_by_the_servers_poll() {
    for listen in ["127.0.0.1:0", "*:0"] {
        let mut server = UdpServer::new();
        server.listen(listen).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_port().unwrap()));
        let mut clients: Vec<_> = (0..20)
            .map(|_| {
                let mut client = PacketPeerUdp::new();
                client.set_follow_port(true).unwrap();
                client.connect_to_host(address).unwrap();
                client
            })
            .collect();
        let mut peers = Vec::new();
        for client in &mut clients {
            client.put_packet(b"hello").unwrap();
            let mut peer = eventually("a connection", || {
                server.wait(Some(millis(10))).unwrap();
                server.poll().unwrap();
                server.take_connection()
            });
            server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
            peer.put_packet(b"follow me").unwrap();
            peers.push(peer);
        }
        for (number, client) in clients.iter_mut().enumerate() {
            eventually("the answer from the new port", || {
                client.wait(Some(millis(10))).unwrap();
                client.poll().unwrap();
                client.get_packet().unwrap()
            });
            assert_eq!(client.remote_addr(), peers[number].local_addr());
            client.put_packet(&[number as u8]).unwrap();
        }
        for (number, peer) in peers.iter_mut().enumerate() {
            assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"hello");
            let packet = eventually("the client's packet on the new port", || {
                // Polls for others may have received it already.
                let packet = peer.get_packet().unwrap();
                server.poll().unwrap();
                packet
            });
            assert_eq!(*packet, [number as u8]);
        }
        assert_eq!(server.stats().connections.opened, 20);
    }
}

#[test]
fn a_wait_is_ended_by_a_datagram_to_a_socket_of_a_peers_own() {
    let mut server = UdpServer::new();
    server.listen("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    server.wait(Some(Duration::from_secs(10))).unwrap();
    server.poll().unwrap();
    let mut peer = server.take_connection().unwrap();
    let own = server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    client.send_to(b"to the new port", own).unwrap();
    let begin = Instant::now();
    server.wait(Some(Duration::from_secs(60))).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(30));
    assert_eq!(server.poll().unwrap().queued, 1);
}

/// A server whose sends a test can watch and hinder, and a client that has gone over to its peer's own port.
struct Switched {
    network: Network,
    server: UdpServer,
    hooks: Hooks,
    client: PacketPeerUdp,
    peer: PacketPeerUdp,
    own: SocketAddr,
}

impl Switched {
    fn new(mode: SendMode) -> Self {
        let network = Network::new();
        let host = Wrapped::new(network.host(util::SERVER.ip()));
        let hooks = host.hooks.clone();
        let limits = Limits::new().idle_timeout(Some(millis(100)));
        let mut server = UdpServer::with_transport(ServerConfig::new().send_mode(mode).limits(limits), host).unwrap();
        server.listen(util::SERVER).unwrap();
        let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 1, 1]));
        client.connect_to_host(util::SERVER).unwrap();
        client.put_packet(b"hello").unwrap();
        server.poll().unwrap();
        let mut peer = server.take_connection().unwrap();
        let own = server.dedicate_socket(&mut peer, Switch::WithClient).unwrap();
        client.connect_to_host(own).unwrap();
        client.put_packet(b"here I am").unwrap();
        server.poll().unwrap();
        assert_eq!(peer.local_addr(), Some(own));
        Self { network, server, hooks, client, peer, own }
    }

    /// Another peer, on the port listened on.
    fn other(&mut self) -> PacketPeerUdp {
        let mut other = PacketPeerUdp::with_transport(self.network.host([10, 0, 1, 2]));
        other.connect_to_host(util::SERVER).unwrap();
        other.put_packet(b"hello").unwrap();
        self.server.poll().unwrap();
        self.server.take_connection().unwrap()
    }

    /// The client has heard just this, nothing is left over, and the port is free again.
    #[track_caller]
    fn heard_and_released(mut self, goodbyes: &[&str]) {
        assert_eq!(poll_texts(&mut self.client), goodbyes);
        assert_eq!(self.client.packet_addr(), (!goodbyes.is_empty()).then_some(self.own));
        let mut probe = PacketPeerUdp::with_transport(self.network.host(util::SERVER.ip()));
        probe.bind(self.own).expect("the socket of its own is closed");
        let stats = self.server.stats();
        assert_eq!(stats.put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats}");
        assert_eq!(stats.send_queued, 0);
    }
}

#[test]
fn a_goodbye_before_the_server_closes_the_peer_leaves_from_its_own_port() {
    let mut game = Switched::new(SendMode::OnFlush);
    game.peer.put_packet(b"goodbye").unwrap();
    game.server.close(game.peer.id()).unwrap();
    game.server.flush().unwrap();
    game.heard_and_released(&["goodbye"]);
}

#[test]
fn a_goodbye_of_a_handle_that_goes_leaves_from_its_own_port() {
    let mut game = Switched::new(SendMode::OnFlush);
    let stand_in = game.other();
    game.peer.put_packet(b"goodbye").unwrap();
    drop(std::mem::replace(&mut game.peer, stand_in));
    game.server.poll().unwrap();
    game.heard_and_released(&["goodbye"]);
}

/// What another thread does between the flush of a poll and the look at who has closed: here the send to somebody else
/// does it.
#[test]
fn a_goodbye_in_the_middle_of_a_poll_leaves_from_its_own_port() {
    let mut game = Switched::new(SendMode::OnFlush);
    let mut for_other = game.other();
    for_other.put_packet(b"something").unwrap();
    let to_other = for_other.remote_addr().unwrap();
    let leaving = Mutex::new(Some(std::mem::replace(&mut game.peer, for_other)));
    game.hooks.before_send(move |to| {
        if let Some(mut peer) = leaving.lock().unwrap().take_if(|_| to == to_other) {
            peer.put_packet(b"goodbye").unwrap();
        }
        Ok(())
    });
    let report = game.server.poll().unwrap();
    assert_eq!(report.closed, 1);
    game.server.flush().unwrap();
    game.heard_and_released(&["goodbye"]);
}

#[test]
fn what_waits_for_a_peer_that_goes_idle_leaves_from_its_own_port() {
    let mut game = Switched::new(SendMode::OnFlush);
    // Blocked when the poll flushes, and no more when it finds the peer idle.
    game.peer.put_packet(b"are you there?").unwrap();
    let mut blocked = 1;
    game.hooks.before_send(move |_| {
        blocked -= 1;
        if blocked >= 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    game.network.advance(millis(100));
    assert_eq!(game.server.poll().unwrap().idle, 1);
    game.server.flush().unwrap();
    game.heard_and_released(&["are you there?"]);
}

#[test]
fn a_goodbye_that_the_system_takes_later_still_leaves_from_its_own_port() {
    for mode in [SendMode::OnFlush, SendMode::QueueWhenBlocked] {
        let mut game = Switched::new(mode);
        game.hooks.before_send(|_| Err(io::ErrorKind::WouldBlock.into()));
        for text in ["one", "two", "three"] {
            game.peer.put_packet(text.as_bytes()).unwrap();
        }
        game.server.close(game.peer.id()).unwrap();
        assert_eq!(game.server.flush().unwrap().waiting, 3, "{mode:?}");
        game.server.poll().unwrap();
        game.hooks.clear();
        game.server.poll().unwrap();
        game.heard_and_released(&["one", "two", "three"]);
    }
}

#[test]
fn a_stop_sends_the_goodbye_from_the_own_port() {
    let mut game = Switched::new(SendMode::OnFlush);
    game.peer.put_packet(b"goodbye").unwrap();
    game.server.stop();
    game.heard_and_released(&["goodbye"]);
}

#[test]
fn what_cannot_be_sent_from_the_own_port_before_a_stop_is_counted() {
    let mut game = Switched::new(SendMode::OnFlush);
    game.hooks.before_send(|_| Err(io::ErrorKind::WouldBlock.into()));
    game.peer.put_packet(b"goodbye").unwrap();
    game.server.close(game.peer.id()).unwrap();
    game.server.stop();
    assert_eq!(game.server.stats().send_drops.unsent, 1);
    game.heard_and_released(&[]);
}

/// Before the client has gone over, its packets leave from the port listened on, also the last.
#[test]
fn a_goodbye_to_a_client_that_never_switched_leaves_from_the_port_listened_on() {
    let network = Network::new();
    let config = ServerConfig::new().send_mode(SendMode::OnFlush);
    let mut server = UdpServer::with_transport(config, network.host(util::SERVER.ip())).unwrap();
    server.listen(util::SERVER).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 1, 1]));
    client.connect_to_host(util::SERVER).unwrap();
    client.put_packet(b"hello").unwrap();
    server.poll().unwrap();
    let mut peer = server.take_connection().unwrap();
    server.dedicate_socket(&mut peer, Switch::WithClient).unwrap();
    peer.put_packet(b"goodbye").unwrap();
    server.close(peer.id()).unwrap();
    server.flush().unwrap();
    assert_eq!(poll_texts(&mut client), ["goodbye"]);
}

/// One datagram from where no answer can go: the server goes on, and says so by an error of its own.
#[test]
fn a_sender_to_whom_there_is_no_route_gets_no_socket_and_a_typed_error() {
    for kind in [
        io::ErrorKind::NetworkUnreachable,
        io::ErrorKind::HostUnreachable,
        io::ErrorKind::AddrNotAvailable,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::InvalidInput,
    ] {
        let network = Network::new();
        let host = Wrapped::new(network.host(util::SERVER.ip()));
        let hooks = host.hooks.clone();
        let mut server = UdpServer::with_transport(ServerConfig::new(), host).unwrap();
        server.listen(util::SERVER).unwrap();
        let mut client = following_client(&network, 1);
        client.put_packet(b"hello").unwrap();
        server.poll().unwrap();
        let mut peer = server.take_connection().unwrap();
        hooks.before_connect(move |_| Err(kind.into()));
        match server.dedicate_socket(&mut peer, Switch::AtOnce) {
            Err(DedicateError::Unreachable(error)) => assert_eq!(error.kind(), kind),
            other => panic!("{kind:?}: {other:?}"),
        }
        peer.put_packet(b"by the port listened on").unwrap();
        assert_eq!(poll_texts(&mut client), ["by the port listened on"]);
        hooks.clear();
        server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    }
}

/// A datagram to a socket of its own ends the wait, whatever is around that socket.
#[track_caller]
fn assert_a_datagram_ends_the_wait(mut server: UdpServer, how: &str) {
    server.listen("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    let mut peer = accept(&mut server);
    let own = server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    let waker = server.waker().unwrap();
    // Nothing tells from outside whether the server waits already; it has to end either way.
    for late in [0, 20] {
        let begin = Instant::now();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(millis(late));
                client.send_to(b"to the new port", own).unwrap();
            });
            server.wait(Some(Duration::from_secs(60))).unwrap()
        });
        assert_eq!(outcome, WaitOutcome::Ready, "{how}");
        assert!(begin.elapsed() < Duration::from_secs(30), "{how}");
        eventually("the packet", || (server.poll().unwrap().queued == 1).then_some(()));
    }
    assert_eq!(server.wait(Some(MOMENT)).unwrap(), WaitOutcome::TimedOut, "{how}");
    std::thread::scope(|scope| {
        scope.spawn(|| waker.wake());
        assert_eq!(server.wait(Some(Duration::from_secs(60))).unwrap(), WaitOutcome::Woken, "{how}");
    });
}

#[test]
fn a_wait_is_ended_by_a_datagram_to_an_own_socket_behind_conditioned_links() {
    for (how, link) in [("perfect", Link::PERFECT), ("slow", Link::new().latency(millis(30)))] {
        let sockets = Conditioned::new(SystemSockets, link.clone(), link, 1);
        assert_a_datagram_ends_the_wait(UdpServer::with_transport(ServerConfig::new(), sockets).unwrap(), how);
    }
}

#[test]
fn a_wait_is_ended_by_a_datagram_to_an_own_socket_behind_any_transport() {
    for shows_sockets in [false, true] {
        let sockets = Wrapped { shows_sockets, ..Wrapped::new(SystemSockets) };
        assert_a_datagram_ends_the_wait(UdpServer::with_transport(ServerConfig::new(), sockets).unwrap(), "wrapped");
    }
}

#[test]
fn what_an_own_socket_holds_back_is_sent_while_the_server_waits() {
    let slow = Link::new().latency(millis(30));
    let sockets = Conditioned::new(SystemSockets, slow, Link::PERFECT, 1);
    let mut server = UdpServer::with_transport(ServerConfig::new(), sockets).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    let mut peer = accept(&mut server);
    server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    peer.put_packet(b"later").unwrap();
    let waker = server.waker().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut buffer = [0; 8];
            let received = client.recv(&mut buffer);
            waker.wake();
            assert_eq!(&buffer[..received.expect("it comes while the server waits")], b"later");
        });
        assert_eq!(server.wait(Some(Duration::from_secs(60))).unwrap(), WaitOutcome::Woken);
    });
}

#[test]
fn in_virtual_time_a_server_with_own_sockets_never_waits() {
    let mut world = World::new();
    let (mut client, mut peer) = pair(&mut world, 1);
    world.server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    assert_eq!(world.server.wait(None).unwrap(), WaitOutcome::TimedOut);
    peer.put_packet(b"follow me").unwrap();
    poll_texts(&mut client);
    client.put_packet(b"to the new port").unwrap();
    assert_eq!(world.server.wait(None).unwrap(), WaitOutcome::Ready);
    world.poll();
    world.server.waker().unwrap().wake();
    assert_eq!(world.server.wait(None).unwrap(), WaitOutcome::Woken);
}

/// What the kernel drops at a socket of a peer's own is in the server's counter and in the peer's, and stays there.
#[cfg(all(target_os = "linux", not(packetpeer_portable)))]
#[test]
fn what_the_kernel_drops_at_an_own_socket_is_counted() {
    let socket = packetpeer::SocketOptions::new().receive_buffer(Some(4096));
    let mut server = UdpServer::with_config(ServerConfig::new().socket(socket)).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    let mut peer = accept(&mut server);
    assert_eq!(peer.stats().kernel_drops, None, "the port listened on is nobody's alone");
    let own = server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    for _ in 0..200 {
        client.send_to(&[0; 100], own).unwrap();
    }
    server.poll().unwrap();
    let received = peer.stats().received - 1;
    assert!(received < 200);
    assert_eq!(peer.stats().kernel_drops, Some(200 - received));
    assert_eq!(server.stats().kernel_drops, Some(200 - received));
    server.close(peer.id()).unwrap();
    assert_eq!(peer.stats().kernel_drops, Some(200 - received));
    assert_eq!(server.stats().kernel_drops, Some(200 - received));
    server.stop();
    assert_eq!(peer.stats().kernel_drops, Some(200 - received));
    assert_eq!(server.stats().kernel_drops, Some(200 - received));
    server.listen("127.0.0.1:0").unwrap();
    assert_eq!(server.stats().kernel_drops, Some(200 - received));
}

#[cfg(all(target_os = "linux", not(packetpeer_portable)))]
#[test]
fn what_the_kernel_drops_at_a_stand_alone_peers_socket_is_counted() {
    let mut peer = PacketPeerUdp::new();
    assert_eq!(peer.stats().kernel_drops, None);
    peer.set_receive_buffer(Some(4096)).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut received = 0;
    for sockets in 1..=2 {
        peer.bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            sender.send_to(&[0; 100], peer.local_addr().unwrap()).unwrap();
        }
        peer.poll().unwrap();
        received = peer.stats().received;
        assert_eq!(peer.stats().kernel_drops, Some(sockets * 200 - received));
        peer.close();
    }
    assert_eq!(peer.stats().kernel_drops, Some(400 - received));
}
