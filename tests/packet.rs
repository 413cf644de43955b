//! `Packet`: an owned datagram.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use packetpeer::Packet;

mod util;

use util::{World, millis};

/// A packet as a server's peer received it, and the address it came from.
fn received(bytes: &[u8]) -> (Packet, SocketAddr) {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    client.put_packet(bytes).unwrap();
    world.poll();
    (peer.get_packet().unwrap().unwrap(), client.local_addr().unwrap())
}

#[test]
fn a_packet_is_its_bytes() {
    let (packet, _) = received(b"some bytes");
    assert_eq!(&*packet, b"some bytes");
    assert_eq!(packet.as_ref(), b"some bytes");
    assert_eq!(packet.len(), 10);
    assert!(!packet.is_empty());
    assert_eq!(packet.into_vec(), b"some bytes");
}

#[test]
fn a_packet_can_be_changed_in_place() {
    let (mut packet, _) = received(b"some bytes");
    packet[0] = b'S';
    packet.as_mut()[5] = b'B';
    assert_eq!(&*packet, b"Some Bytes");
}

#[test]
fn a_packet_can_be_shortened_and_not_lengthened() {
    let (mut packet, sender) = received(b"some bytes");
    packet.truncate(11);
    assert_eq!(&*packet, b"some bytes");
    packet.truncate(4);
    assert_eq!(&*packet, b"some");
    packet.truncate(0);
    assert!(packet.is_empty());
    assert_eq!(packet.sender(), sender);
    assert_eq!(packet.into_vec(), b"");
}

#[test]
fn a_packet_knows_where_it_came_from_and_when() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    for wait in [5, 0, 7] {
        client.put_packet(b"x").unwrap();
        world.poll_after(millis(wait));
        let now = world.network.now();
        world.network.advance(millis(100));
        let packet = peer.get_packet().unwrap().unwrap();
        assert_eq!((packet.sender(), packet.received_at()), (client.local_addr().unwrap(), now));
    }
}

#[test]
fn a_packet_outlives_its_peer_its_server_and_its_thread() {
    let (packet, sender) = received(b"some bytes");
    let packet = thread::spawn(move || packet).join().unwrap();
    assert_eq!((&*packet, packet.sender()), (&b"some bytes"[..], sender));
    thread::spawn(move || drop(packet)).join().unwrap();
}

#[test]
fn a_packet_keeps_its_bytes_while_others_come_and_go() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let mut next = |byte: u8| {
        client.put_packet(&[byte; 50]).unwrap();
        world.poll();
        peer.get_packet().unwrap().unwrap()
    };
    let kept = next(1);
    for byte in 2..100 {
        let mut packet = next(byte);
        assert_eq!(*packet, [byte; 50]);
        packet.fill(0);
        packet.truncate(usize::from(byte) % 50);
    }
    assert_eq!(*kept, [1; 50]);
}

#[test]
fn in_a_steady_state_the_memory_of_packets_is_used_again() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let mut misses_after_a_frame = || {
        for len in [0, 10, 1_200, 65_507] {
            client.put_packet(&vec![0; len]).unwrap();
        }
        world.poll();
        while let Some(packet) = peer.get_packet().unwrap() {
            drop(packet);
        }
        world.server.stats().pool_misses
    };
    let misses = misses_after_a_frame();
    assert!(misses > 0);
    for _ in 0..100 {
        assert_eq!(misses_after_a_frame(), misses);
    }
}

#[test]
fn a_packet_can_be_made_by_hand() {
    let (sender, time) = (SocketAddr::from(([192, 0, 2, 1], 9)), Instant::now());
    let packet = Packet::new(b"bytes".to_vec(), sender, time);
    assert_eq!((&*packet, packet.sender(), packet.received_at()), (&b"bytes"[..], sender, time));
}
