//! Errors that a socket reports between datagrams, for instance because a client is gone: they are counted, and cost
//! nobody a packet. Errors that say that the socket is dead end what used it.

use std::io::ErrorKind;

use packetpeer::error::{GetError, PollError, PutError};
use packetpeer::identity::{ConnectionId, ConnectionIds, Identity};
use packetpeer::limits::QueueLimits;
use packetpeer::sim::Network;
use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerState, ServerConfig, UdpServer};

mod util;

use util::noisy::{Noisy, Step};
use util::{SERVER, World, assert_counts, poll_texts, texts};

const NOISE: [ErrorKind; 5] = [
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionRefused,
    ErrorKind::HostUnreachable,
    ErrorKind::Interrupted,
    ErrorKind::TimedOut,
];

/// What Windows answers to a receive about something sent earlier: to a closed port (WSAECONNRESET, which
/// `SIO_UDP_CONNRESET` switches off, but not on sockets that others have made), with too few hops (WSAENETRESET), to where
/// there is no way.
#[cfg(windows)]
const NUMBERS: [i32; 4] = [10_054, 10_052, 10_051, 10_065];
#[cfg(unix)]
const NUMBERS: [i32; 4] = [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::EMSGSIZE];

const FATAL: [ErrorKind; 2] = [ErrorKind::NotConnected, ErrorKind::InvalidInput];

/// A server on a noisy socket, in a world without another server.
fn noisy_world() -> (World, Noisy) {
    let mut world = World::new();
    world.server.stop();
    let noisy = Noisy::new(world.network.host(SERVER.ip()));
    let limits = Limits::new().queue(QueueLimits::new().packets(10_000));
    world.server = UdpServer::with_transport(ServerConfig::new().limits(limits), noisy.clone()).unwrap();
    world.server.listen(SERVER).unwrap();
    (world, noisy)
}

/// Every kind of noise before the first datagram, together with some, and between them.
fn storm() -> impl Iterator<Item = Step> {
    NOISE.into_iter().flat_map(|kind| [Step::Fail(kind), Step::TakeAndFail(kind), Step::Fail(kind), Step::Take])
}

#[test]
fn noise_costs_a_server_no_datagram_and_no_poll() {
    let (mut world, noisy) = noisy_world();
    let mut pairs = [1, 2].map(|number| world.pair(number));
    for number in 0..5_000 {
        pairs[number % 2].0.put_packet(number.to_string().as_bytes()).unwrap();
    }
    noisy.script(storm());
    let report = world.poll();
    assert_eq!(noisy.steps_left(), 0);
    assert_counts!(report, received: 5_000, queued: 5_000, noise: 15, more_waiting: false);
    assert_counts!(world.server.stats(), noise: 15, drops.total(): 0);
    for (parity, (_, peer)) in pairs.iter_mut().enumerate() {
        let sent: Vec<_> = (parity..5_000).step_by(2).map(|number| number.to_string()).collect();
        assert_eq!(texts(peer), sent);
    }
}

#[test]
fn noise_by_the_systems_own_numbers_costs_nobody_a_datagram_or_a_poll() {
    let (mut world, noisy) = noisy_world();
    let (mut client, mut peer) = world.pair(1);
    let mut alone = PacketPeerUdp::with_transport(noisy.clone());
    alone.connect_to_host(world.client(2).local_addr().unwrap()).unwrap();
    for number in NUMBERS {
        client.put_packet(b"to the server").unwrap();
        noisy.script([Step::FailByNumber(number); 3]);
        let report = world.poll();
        assert_counts!(report, received: 1, noise: 3, "{number}");
        assert_eq!(texts(&mut peer), ["to the server"]);
        noisy.script([Step::FailByNumber(number); 2]);
        assert!(poll_texts(&mut alone).is_empty(), "{number}");
    }
    assert_counts!(world.server.stats(), noise: 12, drops.total(): 0);
    assert_eq!((alone.stats().noise, alone.state()), (8, PeerState::Open));
}

/// WSAEMSGSIZE: on Windows all that is heard of a datagram that is longer than the room for it.
#[cfg(windows)]
#[test]
fn a_truncation_by_number_is_a_datagram_received_and_dropped() {
    let (mut world, noisy) = noisy_world();
    let (mut client, mut peer) = world.pair(1);
    client.put_packet(b"after two that were too long").unwrap();
    noisy.script([Step::FailByNumber(10_040); 2]);
    let report = world.poll();
    assert_counts!(report, received: 3, queued: 1, noise: 0);
    assert_eq!(world.server.stats().drops.too_large, 2);
    assert_eq!(texts(&mut peer), ["after two that were too long"]);
}

#[test]
fn noise_alone_leaves_a_server_as_it_is() {
    let (mut world, noisy) = noisy_world();
    let (_client, peer) = world.pair(1);
    for kind in NOISE {
        noisy.script([Step::Fail(kind)]);
        let report = world.poll();
        assert_counts!(report, received: 0, noise: 1, "{kind:?}");
    }
    assert!(world.server.is_listening());
    assert_eq!(peer.state(), PeerState::Open);
}

#[test]
fn noise_costs_a_stand_alone_peer_no_datagram_and_no_poll() {
    let mut world = World::new();
    let noisy = Noisy::new(world.another_host());
    let mut client = PacketPeerUdp::with_transport(noisy.clone());
    client.connect_to_host(SERVER).unwrap();
    client.put_packet(b"hello").unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    let sent: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    for text in &sent {
        peer.put_packet(text.as_bytes()).unwrap();
    }
    noisy.script(storm());
    assert_eq!(poll_texts(&mut client), sent);
    assert_eq!(noisy.steps_left(), 0);
    assert_eq!(client.stats().noise, 15);
    assert_eq!(client.state(), PeerState::Open);
}

#[test]
fn a_dead_socket_ends_the_server_and_its_peers_and_it_can_listen_again() {
    for kind in FATAL {
        let (mut world, noisy) = noisy_world();
        let (mut client, mut peer) = world.pair(1);
        client.put_packet(b"the last word").unwrap();
        world.client(2).put_packet(b"pending").unwrap();
        noisy.script([Step::TakeAndFail(kind)]);
        match world.server.poll() {
            Err(PollError::SocketFailed(error)) => assert_eq!(error.kind(), kind),
            other => panic!("{kind:?} gave {other:?}"),
        }
        assert!(!world.server.is_listening());
        assert_counts!(world.server, peer_count(): 0, pending_count(): 0);
        assert!(matches!(world.server.poll(), Err(PollError::NotOpen)));

        assert_eq!(peer.state(), PeerState::Ended(CloseReason::SocketFailed));
        assert!(matches!(peer.put_packet(b"x"), Err(PutError::Ended(CloseReason::SocketFailed))));
        assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"the last word");
        assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(CloseReason::SocketFailed));

        world.server.listen(SERVER).unwrap();
        client.put_packet(b"again").unwrap();
        assert_eq!(world.poll().new_connections, 1);
        assert_eq!(texts(&mut world.server.take_connection().unwrap()), ["again"]);
    }
}

/// It panicked in the poll after: what the poll before had found was forgotten twice.
#[test]
fn a_server_polls_again_after_its_socket_died_with_moves_and_ends_that_nobody_asked_for() {
    let network = Network::new();
    let noisy = Noisy::new(network.host(SERVER.ip()));
    let ids = ConnectionIds::new(|datagram| datagram.first().map(|&id| ConnectionId(id.into())));
    let config = ServerConfig::new().identity(Identity::ConnectionId(ids));
    let mut server = UdpServer::with_transport(config, noisy.clone()).unwrap();
    server.listen(SERVER).unwrap();
    let client = |number: u8, id: u8| {
        let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 1, number]));
        client.connect_to_host(SERVER).unwrap();
        client.put_packet(&[id]).unwrap();
    };
    (1..=3).for_each(|number| client(number, number));
    server.poll().unwrap();
    let peers: Vec<_> = std::iter::from_fn(|| server.take_connection()).collect();
    client(9, 1);
    for peer in &peers[1..] {
        server.close(peer.id()).unwrap();
    }
    assert_eq!(server.poll().unwrap().moved, 1);

    noisy.script([Step::Fail(FATAL[0])]);
    assert!(matches!(server.poll(), Err(PollError::SocketFailed(_))));
    server.listen(SERVER).unwrap();
    server.poll().unwrap();
    let (mut ended, mut moved) = (Vec::new(), Vec::new());
    server.take_ended(&mut ended);
    server.take_moved(&mut moved);
    assert_eq!((ended, moved), (vec![(peers[0].id(), CloseReason::SocketFailed)], vec![]));
}

#[test]
fn a_dead_socket_ends_a_stand_alone_peer_and_it_can_be_bound_again() {
    for kind in FATAL {
        let world = World::new();
        let noisy = Noisy::new(world.another_host());
        let mut peer = PacketPeerUdp::with_transport(noisy.clone());
        peer.bind(5000).unwrap();
        noisy.script([Step::Fail(kind)]);
        match peer.poll() {
            Err(PollError::SocketFailed(error)) => assert_eq!(error.kind(), kind),
            other => panic!("{kind:?} gave {other:?}"),
        }
        assert_eq!(peer.state(), PeerState::Ended(CloseReason::SocketFailed));
        assert!(matches!(peer.poll(), Err(PollError::Ended(CloseReason::SocketFailed))));
        assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(CloseReason::SocketFailed));
        peer.bind(5000).unwrap();
        assert!(poll_texts(&mut peer).is_empty());
    }
}
