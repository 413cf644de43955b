//! What strangers can take from a server, in numbers: those of SECURITY.md.

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use packetpeer::sim::{Host, Network};
use packetpeer::socket::{BindAddr, BindOptions, TransportFactory};
use packetpeer::{FirstDatagram, Limits, PacketPeerUdp, ServerConfig, UdpServer, Verdict};

mod util;

use util::{SERVER, World, millis};

const FRAME: Duration = Duration::from_nanos(16_666_667);

/// The smallest hello that has room for a token.
const HELLO: [u8; 32] = [b'H'; 32];

/// Sends one datagram, from an address that is forged, or is the sender's own: here nobody can tell.
fn send_from(host: &Host, port: u16, bytes: &[u8]) {
    let mut options = BindOptions::new(BindAddr::Any(port));
    options.receive_buffer = Some(0); // what is answered reaches nobody
    host.bind(&options).unwrap().send(bytes, SERVER, None).unwrap();
}

/// Lets in who sends back the token of its address, and remembers nobody.
fn ask_for_tokens(server: &mut UdpServer) {
    let secret = RandomState::new();
    server.set_filter(move |datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>| {
        let token = secret.hash_one(datagram.sender).to_le_bytes();
        if datagram.bytes.starts_with(&token) {
            return Verdict::Accept;
        }
        reply.extend(token);
        Verdict::Reply
    });
}

/// Lets the game take everybody that comes, and read from all.
fn take_all(server: &mut UdpServer, peers: &mut Vec<PacketPeerUdp>) {
    server.poll().unwrap();
    peers.extend(std::iter::from_fn(|| server.take_connection()));
    peers.retain_mut(|peer| {
        while let Ok(Some(_)) = peer.get_packet() {}
        peer.close_reason().is_none()
    });
}

/// Floods with hellos from one address, each from a port of its own, for so many frames; a player talks meanwhile.
fn flood_from_one_address(world: &mut World, frames: u16) -> (Vec<PacketPeerUdp>, u64) {
    let (mut player, peer) = world.pair(1);
    let attacker = world.network.host([203, 0, 113, 7]);
    let mut peers = vec![peer];
    for frame in 0..frames {
        player.put_packet(b"input").unwrap();
        (0..100).for_each(|number| send_from(&attacker, 1_000 + 100 * frame + number, &HELLO));
        world.network.advance(FRAME);
        take_all(&mut world.server, &mut peers);
    }
    let delivered = peers[0].stats().delivered - 1;
    (peers, delivered)
}

#[test]
fn one_address_takes_its_places_and_no_more_of_a_game_that_takes_all_comers() {
    let mut world = World::new();
    let limits = world.server.limits().clone();
    let most = limits.max_peers_per_ip.unwrap();
    let frames = (most / limits.max_pending_per_ip) as u16; // 32: half a second
    let (peers, _) = flood_from_one_address(&mut world, frames - 1);
    assert!(peers.len() < 1 + most, "not yet");

    let mut world = World::new();
    let (peers, delivered) = flood_from_one_address(&mut world, 256);
    assert_eq!((peers.len(), delivered), (1 + most, 256), "a sixteenth of all, and a player does not notice");
    assert!(world.server.stats().drops.peers_per_ip_full > 20_000);
    let mut newcomer = world.client(2);
    newcomer.put_packet(b"hello").unwrap();
    world.poll();
    assert!(world.server.take_connection().is_some(), "nor does a newcomer");
}

#[test]
fn without_a_cap_on_peers_one_address_takes_all_places() {
    let limits = Limits::new().max_peers_per_ip(None);
    let mut world = World::with_limits(limits.clone());
    let frames = (limits.max_peers / limits.max_pending_per_ip) as u16; // 512: 8.5 seconds
    let (peers, _) = flood_from_one_address(&mut world, frames - 1);
    assert!(peers.len() < limits.max_peers, "not yet");

    let mut world = World::with_limits(limits.clone());
    let (peers, delivered) = flood_from_one_address(&mut world, frames);
    assert_eq!(peers.len(), limits.max_peers);
    assert_eq!(delivered, frames.into(), "a player does not notice");
    let mut newcomer = world.client(2);
    newcomer.put_packet(b"hello").unwrap();
    world.poll();
    assert!(world.server.take_connection().is_none() && world.server.stats().drops.peers_full > 0);

    // Silence for the idle timeout, and the places are free again.
    let mut peers = peers;
    world.network.advance(limits.idle_timeout.unwrap());
    take_all(&mut world.server, &mut peers);
    newcomer.put_packet(b"hello").unwrap();
    take_all(&mut world.server, &mut peers);
    assert_eq!(peers.len(), 1);
}

#[test]
fn a_token_keeps_the_places_for_those_who_receive_at_their_address() {
    let mut world = World::new();
    let (mut player, peer) = world.pair(1);
    ask_for_tokens(&mut world.server);
    let attacker = world.network.host([203, 0, 113, 7]);
    let mut peers = vec![peer];
    for frame in 0..256 {
        player.put_packet(b"input").unwrap();
        (0..100).for_each(|number| send_from(&attacker, 1_000 + 100 * frame + number, &HELLO));
        world.network.advance(FRAME);
        take_all(&mut world.server, &mut peers);
    }
    assert_eq!((peers.len(), peers[0].stats().delivered), (1, 257));
    assert_eq!(world.server.stats().consumed, 25_600);

    let mut newcomer = world.client(2);
    newcomer.put_packet(&HELLO).unwrap();
    take_all(&mut world.server, &mut peers);
    newcomer.poll().unwrap();
    let token = newcomer.get_packet().unwrap().unwrap();
    newcomer.put_packet(&token).unwrap();
    take_all(&mut world.server, &mut peers);
    assert_eq!(peers.len(), 2);
}

/// A game that sends 20 world states of 800 bytes a second to whoever is in; somebody has used the address of a victim.
fn bytes_sent_to_a_victim(asks_for_tokens: bool) -> u64 {
    let mut world = World::new();
    if asks_for_tokens {
        ask_for_tokens(&mut world.server);
    }
    send_from(&world.network.host([203, 0, 113, 7]), 1_000, &HELLO);
    let mut peers = Vec::new();
    for _ in 0..20 * 60 {
        take_all(&mut world.server, &mut peers);
        peers.iter_mut().for_each(|peer| peer.put_packet(&[0; 800]).unwrap());
        world.network.advance(millis(50));
    }
    assert!(peers.is_empty());
    world.network.link_stats(SERVER.ip(), [203, 0, 113, 7]).offered * if asks_for_tokens { 8 } else { 800 }
}

#[test]
fn one_forged_datagram_makes_a_game_send_until_the_idle_timeout() {
    // 30 seconds at 16 000 bytes: 15 000 bytes for each that was sent.
    assert_eq!(bytes_sent_to_a_victim(false), 30 * 20 * 800);
    assert_eq!(bytes_sent_to_a_victim(true), 8, "a token, and nothing more");
}

#[test]
fn a_stand_alone_peer_hears_its_server_alone() {
    let network = Network::new();
    let config = ServerConfig::new().limits(Limits::new());
    let mut server = UdpServer::with_transport(config, network.host(SERVER.ip())).unwrap();
    server.listen(SERVER).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
    client.connect_to_host(SERVER).unwrap();
    let client_addr = client.local_addr().unwrap();
    // Another host, and another port of the same.
    for addr in [SocketAddr::from(([203, 0, 113, 7], 7777)), SocketAddr::new(SERVER.ip(), 7778)] {
        let socket = network.host(addr.ip()).bind(&BindOptions::new(BindAddr::Addr(addr))).unwrap();
        socket.send(b"I am your server", client_addr, None).unwrap();
    }
    client.poll().unwrap();
    assert!(client.get_packet().unwrap().is_none());
    assert_eq!(network.lost(), 2);
    // Who forges the server's address is the server, and has to guess the client's port alone.
    server.send_to(client_addr, b"from the very address").unwrap();
    client.poll().unwrap();
    assert_eq!(&*client.get_packet().unwrap().unwrap(), b"from the very address");
}
