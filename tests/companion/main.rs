//! What a companion crate needs, by the public API alone: a stream transport with a server of its own (`stream.rs`), and
//! a cipher that stands on any peer and any server (`cipher.rs`), stacked twice, over UDP and over the stream, boxed and
//! not, on real sockets and in virtual time. As long as this compiles, no back door is needed.

#[cfg(not(all(windows, target_env = "gnu")))]
#[path = "../util/allocator.rs"]
mod allocator;
mod cipher;
mod pipes;
mod stream;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::error::{GetError, PollError, PutError, UnknownPeer};
use packetpeer::identity::PeerIds;
use packetpeer::sim::{Link, LinkEnd, Network};
use packetpeer::socket::Clock;
use packetpeer::{CloseReason, PacketPeer, PacketPeerUdp, PacketServer, PeerState, Peers, ServerConfig, UdpServer};

use cipher::{Sealed, SealedServer};
use pipes::VirtualGate;
use stream::{GREETING_WITHIN, StreamPeer, StreamServer};

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7777);
const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 50_000);
const FRAME: Duration = Duration::from_millis(16);
const KEYS: [u32; 2] = [0x0bad_cafe, 0xfeed_f00d];

/// Packets of a game, and how many of them may be on their way without an answer.
const PACKETS: u32 = 500;
const WINDOW: u32 = 24;

/// A server with the cipher twice on it.
fn sealed_twice<S: PacketServer>(server: S) -> SealedServer<SealedServer<S>> {
    SealedServer::new(SealedServer::new(server, KEYS[0]), KEYS[1])
}

/// A client of such a server.
fn client_of_it<P: PacketPeer>(peer: P) -> Sealed<Sealed<P>> {
    Sealed::new(Sealed::new(peer, KEYS[0]), KEYS[1])
}

/// The packet of this number: of a length of its own, sometimes none at all.
fn packet(number: u32) -> Vec<u8> {
    let len = number.wrapping_mul(37) % 300;
    (0..len).map(|at| (number.wrapping_mul(31) + at) as u8).collect()
}

/// One side that answers all, and one that wants each answer, in order. Written once, for every transport.
fn play<S: PacketServer + ?Sized>(
    server: &mut S,
    client: &mut dyn PacketPeer,
    mut pass_time: impl FnMut(),
) -> Peers<S, u32> {
    let mut peers = Peers::<S, u32>::new();
    let (mut sent, mut received) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    while received < PACKETS {
        assert!(Instant::now() < deadline, "{received} of {PACKETS} answers; {client:?} of {server:?}");
        // The client's frame.
        client.poll().unwrap();
        while let Some(answer) = client.get_packet().unwrap() {
            assert_eq!(*answer, packet(received), "answer {received}");
            received += 1;
        }
        while sent < PACKETS && sent - received < WINDOW && client.can_put(packet(sent).len()) {
            client.put_packet(&packet(sent)).unwrap();
            sent += 1;
        }
        // The server's.
        server.poll().unwrap();
        peers.update(server, |_, _| Some(0), |_, _, _, reason| panic!("left: {reason}"));
        while let Some((_, peer, answered)) = peers.next_ready() {
            // What cannot be answered now is taken later: a stream loses nothing.
            while peer.can_put(peer.max_packet_size().min(300)) {
                let Some(question) = peer.get_packet().unwrap() else { break };
                peer.put_packet(&question).unwrap();
                *answered += 1;
            }
        }
        server.flush().unwrap();
        pass_time();
    }
    assert_eq!(peers.iter().map(|(_, _, &answered)| answered).collect::<Vec<_>>(), [PACKETS]);
    for stats in [client.stats(), peers.iter().next().unwrap().1.stats()] {
        assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total(), "{stats}");
        assert_eq!(stats.put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats}");
    }
    peers
}

/// On real sockets a frame is short.
fn sleep() {
    thread::sleep(Duration::from_micros(200));
}

fn udp_on_loopback() -> (UdpServer, PacketPeerUdp) {
    let mut server = UdpServer::new();
    server.listen("127.0.0.1:0").unwrap();
    let mut client = PacketPeerUdp::new();
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    (server, client)
}

fn stream_on_loopback() -> (StreamServer, StreamPeer) {
    let gate = TcpListener::bind("127.0.0.1:0").unwrap();
    gate.set_nonblocking(true).unwrap();
    let server = StreamServer::at(gate, Clock::system());
    let addr = server.local_addr().unwrap();
    let pipe = TcpStream::connect(addr).unwrap();
    pipe.set_nonblocking(true).unwrap();
    (server, StreamPeer::over(Box::new(pipe), addr, Clock::system()))
}

/// A network with a delay that is not the same in both directions.
fn network() -> Network {
    let network = Network::with_seed(11);
    network.set_link(CLIENT.ip(), LinkEnd::Any, Link::new().latency(Duration::from_millis(30)));
    network.set_link(SERVER.ip(), LinkEnd::Any, Link::new().latency(Duration::from_millis(50)));
    network
}

fn udp_in(network: &Network) -> (UdpServer, PacketPeerUdp) {
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host(SERVER.ip())).unwrap();
    server.listen(SERVER).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host(CLIENT.ip()));
    client.connect_to_host(SERVER).unwrap();
    (server, client)
}

fn stream_in(network: &Network) -> (StreamServer, StreamPeer) {
    let gate = VirtualGate::new(network, SERVER);
    let client = StreamPeer::over(Box::new(gate.connect(CLIENT)), SERVER, network.clock());
    (StreamServer::at(gate, network.clock()), client)
}

#[test]
fn a_cipher_stacked_twice_over_udp() {
    let (server, client) = udp_on_loopback();
    play(&mut sealed_twice(server), &mut client_of_it(client), sleep);
    let network = network();
    let (server, client) = udp_in(&network);
    play(&mut sealed_twice(server), &mut client_of_it(client), || network.advance(FRAME));
}

#[test]
fn a_cipher_stacked_twice_over_a_stream() {
    let (server, client) = stream_on_loopback();
    play(&mut sealed_twice(server), &mut client_of_it(client), sleep);
    let network = network();
    let (server, client) = stream_in(&network);
    play(&mut sealed_twice(server), &mut client_of_it(client), || network.advance(FRAME));
}

/// Which transport it is, is chosen while the program runs.
#[test]
fn boxed_peers_and_servers_are_peers_and_servers() {
    let network = network();
    let (udp, udp_client) = udp_in(&network);
    let (stream, stream_client) = stream_in(&network);
    let clients: [Box<dyn PacketPeer>; 2] = [Box::new(udp_client), Box::new(stream_client)];
    let [udp_client, stream_client] = clients.map(client_of_it);
    let mut udp: Box<dyn PacketServer<Peer = _>> = Box::new(sealed_twice(udp));
    let mut stream: Box<dyn PacketServer<Peer = _>> = Box::new(sealed_twice(stream));
    play(&mut *udp, &mut Box::new(udp_client), || network.advance(FRAME));
    play(&mut *stream, &mut Box::new(stream_client), || network.advance(FRAME));
}

/// The same frames take the same virtual time, whatever the machine does meanwhile.
#[test]
fn both_transports_live_in_one_virtual_time() {
    let run = || {
        let network = network();
        let start = network.now();
        let (mut server, mut client) = stream_in(&network);
        let peers = play(&mut server, &mut client, || network.advance(FRAME));
        drop(peers);
        let (mut server, mut client) = udp_in(&network);
        play(&mut server, &mut client, || network.advance(FRAME));
        network.now() - start
    };
    let took = run();
    assert!(took > 2 * Duration::from_millis(80), "{took:?}");
    assert_eq!(run(), took);
}

#[test]
fn what_was_not_sealed_is_counted_and_costs_nothing_else() {
    let network = network();
    let (server, client) = udp_in(&network);
    let (mut server, mut client) = (sealed_twice(server), client_of_it(client));
    let mut forger = PacketPeerUdp::with_transport(network.host([10, 0, 0, 9]));
    forger.connect_to_host(SERVER).unwrap();
    for len in 0..40 {
        forger.put_packet(&vec![7; len]).unwrap();
    }
    client.put_packet(b"sealed").unwrap();
    // Well sealed by the inner key alone.
    client.inner_mut().put_packet(b"half sealed, and long enough for the rest").unwrap();
    network.advance(Duration::from_secs(1));
    server.poll().unwrap();
    let mut got = Vec::new();
    let mut undecodable = Vec::new();
    let mut peers = Vec::new();
    while let Some(mut peer) = server.take_connection() {
        while let Some(packet) = peer.get_packet().unwrap() {
            got.push(packet.to_vec());
        }
        let stats = peer.stats();
        assert_eq!(stats.received, stats.delivered + stats.drops.total(), "{stats}");
        undecodable.push(stats.drops.undecodable);
        peers.push(peer);
    }
    undecodable.sort_unstable();
    assert_eq!((got, undecodable), (vec![b"sealed".to_vec()], vec![1, 40]));
    assert_eq!(server.inner().inner().stats().drops.undecodable, 0, "layers count it, and the server does not");
}

#[test]
fn a_client_is_connecting_until_it_is_greeted_and_says_so() {
    let network = network();
    let (mut server, mut client) = stream_in(&network);
    assert_eq!(client.state(), PeerState::Connecting);
    assert!(!client.can_put(1));
    assert!(matches!(client.put_packet(b"early"), Err(PutError::NotReady)));
    while client.state() == PeerState::Connecting {
        server.poll().unwrap();
        client.poll().unwrap();
        network.advance(FRAME);
    }
    assert_eq!(client.state(), PeerState::Open);
    client.put_packet(b"now").unwrap();
}

/// By the clock of the network, to the frame.
#[test]
fn a_client_that_nobody_greets_times_out() {
    let network = network();
    let (_server, mut client) = stream_in(&network);
    let start = network.now();
    while client.poll().is_ok() && client.state() == PeerState::Connecting {
        network.advance(FRAME);
    }
    assert_eq!(client.close_reason(), Some(CloseReason::TimedOut));
    assert!((GREETING_WITHIN..GREETING_WITHIN + FRAME).contains(&(network.now() - start)));
    assert!(matches!(client.poll(), Err(PollError::Ended(CloseReason::TimedOut))));
    assert!(matches!(client.get_packet(), Err(GetError::Ended(CloseReason::TimedOut))));
    assert!(matches!(client.put_packet(b""), Err(PutError::Ended(CloseReason::TimedOut))));
}

#[test]
fn each_end_has_its_reason() {
    let ends = |raw: &[u8], close: bool| {
        let gate = TcpListener::bind("127.0.0.1:0").unwrap();
        gate.set_nonblocking(true).unwrap();
        let mut server = StreamServer::at(gate, Clock::system());
        let mut raw_client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        raw_client.write_all(raw).unwrap();
        let raw_client = (!close).then_some(raw_client);
        let mut peers = Peers::<StreamServer>::new();
        let mut ended = None;
        let deadline = Instant::now() + Duration::from_secs(20);
        while ended.is_none() {
            assert!(Instant::now() < deadline, "no end");
            server.poll().unwrap();
            peers.update(
                &mut server,
                |_, _| Some(()),
                |_, mut peer, (), reason| {
                    let mut packets = 0;
                    while let Ok(Some(_)) = peer.get_packet() {
                        packets += 1;
                    }
                    ended = Some((packets, reason));
                },
            );
            sleep();
        }
        drop(raw_client);
        ended.unwrap()
    };
    assert_eq!(ends(&[], true), (0, CloseReason::ClosedByRemote));
    assert_eq!(ends(&[0xff; 4], false), (0, CloseReason::Malformed));
    assert_eq!(ends(&[1, 0, 0, 0, b'x', 0xff, 0xff, 0xff, 0xff], false), (1, CloseReason::Malformed));

    let (mut server, mut client) = stream_on_loopback();
    server.poll().unwrap();
    let peer = server.take_connection().unwrap();
    server.stop();
    assert_eq!(peer.close_reason(), Some(CloseReason::ServerStopped));
    drop(peer);
    drop(server);
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.close_reason().is_none() && Instant::now() < deadline {
        let _ = client.poll();
        sleep();
    }
    assert_eq!(client.close_reason(), Some(CloseReason::ClosedByRemote));

    // Something else answers on that port.
    let gate = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = gate.local_addr().unwrap();
    let pipe = TcpStream::connect(addr).unwrap();
    pipe.set_nonblocking(true).unwrap();
    let mut client = StreamPeer::over(Box::new(pipe), addr, Clock::system());
    gate.accept().unwrap().0.write_all(b"220 mail").unwrap();
    while client.poll().is_ok() && client.close_reason().is_none() {
        assert!(Instant::now() < deadline);
        sleep();
    }
    assert_eq!(client.close_reason(), Some(CloseReason::HandshakeFailed));
}

/// A reader that does not read is sent no more than fits, and loses nothing.
#[test]
fn a_stream_pushes_back() {
    let network = network();
    let (mut server, mut client) = stream_in(&network);
    let mut peers = Peers::<StreamServer>::new();
    let (mut sent, mut frames) = (0_u32, 0);
    while frames < 200 {
        client.poll().unwrap();
        while client.can_put(300) {
            client.put_packet(&packet(sent)).unwrap();
            sent += 1;
        }
        server.poll().unwrap();
        peers.update(&mut server, |_, _| Some(()), |_, _, (), reason| panic!("{reason}"));
        network.advance(FRAME);
        frames += 1;
    }
    assert!(matches!(client.put_packet(&[0; 300]), Err(PutError::QueueFull)));
    let mut received = 0;
    while received < sent {
        client.poll().unwrap();
        server.poll().unwrap();
        peers.update(&mut server, |_, _| Some(()), |_, _, (), reason| panic!("{reason}"));
        while let Some((_, peer, ())) = peers.next_ready() {
            while let Some(next) = peer.get_packet().unwrap() {
                assert_eq!(*next, packet(received));
                received += 1;
            }
        }
        network.advance(FRAME);
    }
}

#[test]
fn an_id_means_something_to_the_server_that_gave_it() {
    let network = network();
    let (mut udp, mut udp_client) = udp_in(&network);
    let (mut stream, mut stream_client) = stream_in(&network);
    udp_client.put_packet(b"hello").unwrap();
    network.advance(Duration::from_secs(1));
    udp.poll().unwrap();
    stream.poll().unwrap();
    network.advance(Duration::from_secs(1));
    stream_client.poll().unwrap();
    let (of_udp, of_stream) = (udp.take_connection().unwrap(), stream.take_connection().unwrap());
    let ids = [of_udp.id(), of_stream.id(), udp_client.id(), stream_client.id(), PeerIds::new().issue()];
    for (place, id) in ids.iter().enumerate() {
        assert!(!ids[..place].contains(id), "{ids:?}");
        assert_eq!(udp.close(*id).is_ok(), place == 0, "{id:?}");
    }
    assert!(matches!(stream.close(of_udp.id()), Err(UnknownPeer(_))));
    stream.close(of_stream.id()).unwrap();
}

/// Names and numbers of any server, for an exporter that knows none of them.
#[test]
fn what_a_server_counts_can_be_listed_without_knowing_which_it_is() {
    fn counted(server: &impl PacketServer) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = Vec::new();
        server.visit_stats(&mut |stat| {
            assert!(!stat.help.is_empty());
            all.push((stat.group, stat.name, stat.value));
        });
        all
    }
    let network = network();
    let (server, client) = udp_in(&network);
    let mut server = sealed_twice(server);
    play(&mut server, &mut client_of_it(client), || network.advance(FRAME));
    assert!(counted(&server).contains(&("server", "received", PACKETS.into())), "{:?}", counted(&server));
    let (mut server, mut client) = stream_in(&network);
    play(&mut server, &mut client, || network.advance(FRAME));
    assert!(counted(&server).contains(&("streams", "accepted", 1)), "{:?}", counted(&server));
}

/// Each layer opens packets where they lie, and seals them in a buffer that it keeps.
#[cfg(not(all(windows, target_env = "gnu")))]
#[test]
fn a_cipher_stacked_twice_allocates_nothing_in_a_steady_state() {
    let network = Network::new();
    let (server, client) = udp_in(&network);
    let (mut server, mut client) = (sealed_twice(server), client_of_it(client));
    let mut peers = Peers::<_, ()>::new();
    let mut echoed = 0;
    let mut frame = |echoed: &mut u32| {
        for number in 0..8 {
            client.put_packet(&[number; 200]).unwrap();
        }
        network.advance(FRAME);
        server.poll().unwrap();
        peers.update(&mut server, |_, _| Some(()), |_, _, (), _| {});
        while let Some((_, peer, ())) = peers.next_ready() {
            while let Some(packet) = peer.get_packet().unwrap() {
                peer.put_packet(&packet).unwrap();
            }
        }
        network.advance(FRAME);
        client.poll().unwrap();
        while let Some(packet) = client.get_packet().unwrap() {
            assert_eq!(packet.len(), 200);
            *echoed += 1;
        }
    };
    (0..50).for_each(|_| frame(&mut echoed));
    let before = allocator::allocations();
    (0..500).for_each(|_| frame(&mut echoed));
    let allocated = allocator::allocations() - before;
    println!("{allocated} allocations for {} packets, each sealed and opened twice, both ways", 500 * 8);
    assert_eq!((allocated, echoed), (0, 550 * 8));
}
