//! `can_put`: whoever asks it first loses nothing to a full queue.

use std::net::SocketAddr;

use packetpeer::error::PutError;
use packetpeer::limits::{QueueLimits, WhenFull};
use packetpeer::sim::Network;
use packetpeer::{CloseReason, Limits, PacketPeerUdp, SendMode, ServerConfig};

mod util;

use util::{World, poll_texts};

fn world(mode: SendMode, limits: Limits) -> World {
    World::with_config(ServerConfig::new().send_mode(mode).limits(limits))
}

fn send_queue(limits: QueueLimits) -> Limits {
    Limits::new().send_queue(limits)
}

#[test]
fn a_stand_alone_peer_can_put_where_it_has_somewhere_to_send_to() {
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    assert!(!peer.can_put(0), "nowhere to send to");
    peer.bind(1000).unwrap();
    assert!(!peer.can_put(0), "nowhere to send to, with a socket");
    peer.set_dest_address("10.0.0.2:1000").unwrap();
    assert!(peer.can_put(0) && peer.can_put(65_507) && !peer.can_put(65_508));
    peer.close();
    assert!(!peer.can_put(0), "closed");
    peer.set_dest_address("10.0.0.2:1000").unwrap();
    assert!(peer.can_put(0), "the put will open a socket");
    peer.put_packet(b"").unwrap();
}

#[test]
fn a_destination_that_the_socket_does_not_reach_cannot_be_put_to() {
    let network = Network::new();
    let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 1]));
    peer.set_dest_address("[2001:db8::1]:1000").unwrap();
    assert!(peer.can_put(65_527) && !peer.can_put(65_528));
    peer.bind("10.0.0.1:1000").unwrap();
    assert!(!peer.can_put(0));
    assert!(matches!(peer.put_packet(b""), Err(PutError::WrongFamily { .. })));
}

#[test]
fn a_servers_peer_that_sends_at_once_can_put_until_it_ends() {
    let mut world = world(SendMode::Now, send_queue(QueueLimits::new().packets(0)));
    let (_client, mut peer) = world.pair(1);
    assert!(peer.can_put(0) && peer.can_put(65_507) && !peer.can_put(65_508));
    peer.close();
    assert!(!peer.can_put(0));

    let (_client, peer) = world.pair(2);
    assert!(peer.can_put(0));
    world.server.stop();
    assert_eq!((peer.can_put(0), peer.close_reason()), (false, Some(CloseReason::ServerStopped)));
}

/// Asks before each put, and puts `texts` until the answer is no.
fn put_while_it_can(peer: &mut PacketPeerUdp, text: &str) -> usize {
    let mut put = 0;
    while peer.can_put(text.len()) {
        peer.put_packet(text.as_bytes()).unwrap();
        put += 1;
    }
    assert!(peer.put_packet(text.as_bytes()).is_err());
    put
}

#[test]
fn a_send_queue_takes_what_it_has_room_for_and_again_after_a_flush() {
    for (limits, room) in [
        (send_queue(QueueLimits::new().packets(3)), 3),
        (send_queue(QueueLimits::new().bytes(10)), 2),
        (Limits::new().max_queued_bytes(14), 3),
        (send_queue(QueueLimits::new().bytes(3)), 0),
    ] {
        let mut world = world(SendMode::OnFlush, limits.clone());
        let mut client = world.client(1);
        client.put_packet(b"hi").unwrap();
        world.poll();
        let mut peer = world.server.take_connection().unwrap();
        for _ in 0..3 {
            assert_eq!(put_while_it_can(&mut peer, "four"), room, "{limits:?}");
            world.server.flush().unwrap();
            assert_eq!(poll_texts(&mut client).len(), room);
        }
        let stats = peer.stats();
        assert_eq!(stats.put, stats.sent + stats.send_drops.total(), "{stats}");
        assert_eq!(stats.send_drops.total(), 3, "those that were put without a yes");
    }
}

#[test]
fn what_others_have_put_counts_where_the_room_is_the_servers() {
    let mut world = world(SendMode::OnFlush, Limits::new().max_queued_bytes(14));
    let (_client, mut greedy) = world.pair(1);
    let (_other_client, peer) = world.pair(2);
    assert!(peer.can_put(14));
    greedy.put_packet(&[0; 10]).unwrap();
    assert!(peer.can_put(4) && !peer.can_put(5));
    world.server.flush().unwrap();
    assert!(peer.can_put(14) && !peer.can_put(15));
}

#[test]
fn a_put_that_would_drop_an_older_one_is_no_room() {
    let limits = QueueLimits::new().packets(2).when_full(WhenFull::DropOldest);
    let mut world = world(SendMode::OnFlush, send_queue(limits));
    let (mut client, mut peer) = world.pair(1);
    for text in ["1", "2"] {
        assert!(peer.can_put(1));
        peer.put_packet(text.as_bytes()).unwrap();
    }
    assert!(!peer.can_put(1));
    peer.put_packet(b"3").unwrap();
    world.server.flush().unwrap();
    assert_eq!(poll_texts(&mut client), ["2", "3"]);
}

/// An echo over a small queue, as the trait's example has it.
#[test]
fn an_echo_that_asks_first_loses_no_answer() {
    let mut world = world(SendMode::OnFlush, send_queue(QueueLimits::new().packets(7)));
    let (mut client, mut peer) = world.pair(1);
    let said: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    for text in &said {
        client.put_packet(text.as_bytes()).unwrap();
    }
    let mut heard = Vec::new();
    for frame in 0.. {
        assert!(frame <= 15, "7 a frame");
        world.poll();
        while peer.can_put(2) {
            let Some(packet) = peer.get_packet().unwrap() else { break };
            peer.put_packet(&packet).unwrap();
        }
        world.server.flush().unwrap();
        heard.extend(poll_texts(&mut client));
        if heard.len() == said.len() {
            break;
        }
    }
    assert_eq!(heard, said);
    assert_eq!(peer.stats().send_drops.total(), 0);
}

/// Whatever was put before: a yes is kept, and nothing that waits is dropped for it.
#[test]
fn a_yes_is_kept_in_every_mode() {
    let mut random = fastrand::Rng::with_seed(1);
    for mode in [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
            let queue = QueueLimits::new().packets(5).bytes(500).when_full(when_full);
            let mut world = world(mode, send_queue(queue).max_queued_bytes(800));
            let mut peers: Vec<_> = (1..=3).map(|number| world.pair(number)).collect();
            for _ in 0..2000 {
                let (_, peer) = &mut peers[random.usize(..3)];
                let len = random.usize(..200);
                if peer.can_put(len) {
                    let before = peer.stats().send_drops;
                    peer.put_packet(&vec![0; len]).unwrap();
                    assert_eq!(peer.stats().send_drops, before);
                } else if random.u8(..4) == 0 {
                    world.server.flush().unwrap();
                    peers.iter_mut().for_each(|(client, _)| drop(poll_texts(client)));
                }
            }
        }
    }
}

#[test]
fn what_can_be_put_is_a_datagrams_size_of_the_destination() {
    let network = Network::new();
    for (host, longest) in [("10.0.0.2:1000", 65_507), ("[2001:db8::2]:1000", 65_527)] {
        let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 9]));
        peer.set_dest_address(host.parse::<SocketAddr>().unwrap()).unwrap();
        assert_eq!(peer.max_packet_size(), longest);
        assert!(peer.can_put(longest) && !peer.can_put(longest + 1));
    }
}
