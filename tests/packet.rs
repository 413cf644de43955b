//! `Packet`: an owned datagram.

use std::net::SocketAddr;
use std::thread;
use std::time::Instant;

use packetpeer::{Packet, PacketPool};

mod util;

use util::{SERVER, World, assert_counts, millis};

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

/// Of no pool.
fn by_hand(bytes: &[u8]) -> Packet {
    Packet::new(bytes.to_vec(), SocketAddr::from(([192, 0, 2, 1], 9)), Instant::now())
}

#[test]
fn a_packet_made_by_hand_shows_its_sender_as_received_ones_do() {
    let mapped = "[::ffff:192.0.2.1]:9".parse().unwrap();
    let pool = PacketPool::new(0);
    for packet in [
        Packet::new(vec![], mapped, Instant::now()),
        pool.packet(b"", mapped, Instant::now()),
        pool.zeroed(0, mapped, Instant::now()),
    ] {
        assert_eq!(packet.sender(), SocketAddr::from(([192, 0, 2, 1], 9)));
    }
}

#[test]
fn layers_take_their_headers_and_trailers_away() {
    for mut packet in [received(b"outer inner payload sum total").0, by_hand(b"outer inner payload sum total")] {
        assert_eq!(packet.strip_front(6), Some(&b"outer "[..]));
        assert_eq!(packet.strip_back(6), Some(&b" total"[..]));
        assert_eq!(*packet, *b"inner payload sum");
        assert_eq!(packet.strip_back(4), Some(&b" sum"[..]));
        assert_eq!(packet.strip_front(6), Some(&b"inner "[..]));
        packet[0] = b'P';
        packet.as_mut()[6] = b'D';
        assert_eq!((packet.as_ref(), packet.len()), (&b"PayloaD"[..], 7));
        assert!(format!("{packet:?}").contains("len: 7"), "{packet:?}");
        packet.truncate(8);
        assert_eq!(*packet, *b"PayloaD");
        packet.truncate(6);
        assert_eq!(packet.strip_back(1), Some(&b"a"[..]));
        assert_eq!(packet.into_vec(), b"Paylo");
    }
}

#[test]
fn nothing_is_taken_away_from_a_packet_that_is_shorter() {
    let mut packet = by_hand(b"some bytes");
    packet.strip_front(2).unwrap();
    packet.strip_back(2).unwrap();
    for len in [7, 8, 10, 11, usize::MAX - 1, usize::MAX] {
        assert_eq!(packet.strip_front(len), None, "{len}");
        assert_eq!(packet.strip_back(len), None, "{len}");
        assert_eq!(*packet, *b"me byt", "{len}");
    }
    assert_eq!(packet.strip_front(0), Some(&[][..]));
    assert_eq!(packet.strip_back(0), Some(&[][..]));
    assert_eq!(packet.strip_front(6), Some(&b"me byt"[..]));
    assert!(packet.is_empty());
    assert_eq!(packet.strip_front(1), None);
    assert_eq!(packet.strip_back(1), None);
    assert_eq!(packet.strip_front(0), Some(&[][..]));
    packet.truncate(0);
    assert_eq!(packet.into_vec(), b"");
}

#[test]
fn a_packet_is_the_same_as_a_vector_whatever_is_done_to_it() {
    let mut random = 1_u32;
    let mut up_to = |max: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % (max + 1)
    };
    let pool = PacketPool::new(1 << 20);
    for round in 0..2_000 {
        let mut model: Vec<u8> = (0..up_to(300)).map(|byte| byte as u8).collect();
        let mut packet = pool.packet(&model, SERVER, Instant::now());
        for _ in 0..up_to(6) {
            // Too much now and then.
            let len = up_to(model.len() / 2 + 2);
            match up_to(4) {
                0 if len <= model.len() => {
                    let rest = model.split_off(len);
                    assert_eq!(packet.strip_front(len), Some(&*model), "round {round}");
                    model = rest;
                }
                1 if len <= model.len() => {
                    let taken = model.split_off(model.len() - len);
                    assert_eq!(packet.strip_back(len), Some(&*taken), "round {round}");
                }
                0 => assert_eq!(packet.strip_front(len), None),
                1 => assert_eq!(packet.strip_back(len), None),
                2 => {
                    packet.truncate(len);
                    model.truncate(len);
                }
                3 => {
                    packet.iter_mut().for_each(|byte| *byte = !*byte);
                    model.iter_mut().for_each(|byte| *byte = !*byte);
                }
                _ => assert_eq!(*packet.derive(&packet), *model),
            }
            assert_eq!(*packet, *model, "round {round}");
        }
        if round % 3 == 0 {
            assert_eq!(packet.into_vec(), model, "round {round}");
        }
    }
}

#[test]
fn what_layers_take_away_goes_back_to_the_pool_with_the_rest() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let mut misses_after_a_frame = |strip: bool| {
        for len in [20, 1_200] {
            client.put_packet(&vec![7; len]).unwrap();
            world.poll();
            let mut packet = peer.get_packet().unwrap().unwrap();
            assert_eq!(*packet, *vec![7; len]);
            if strip {
                assert!(packet.strip_front(15).is_some() && packet.strip_back(5).is_some());
            }
        }
        world.server.stats().pool_misses
    };
    let misses = misses_after_a_frame(false);
    for frame in 0..100 {
        assert_eq!(misses_after_a_frame(frame % 2 == 0), misses);
    }
}

#[test]
fn a_derived_packet_has_the_sender_the_time_and_the_pool_of_the_other() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let mut misses_after_a_frame = || {
        client.put_packet(b"2x ab").unwrap();
        world.poll_after(millis(5));
        let packet = peer.get_packet().unwrap().unwrap();
        world.network.advance(millis(100));
        let of_packet = (packet.sender(), packet.received_at());
        for derived in [packet.derive(b"abab"), packet.derive_zeroed(4), packet.derive(b"")] {
            assert_eq!((derived.sender(), derived.received_at()), of_packet);
        }
        let mut derived = packet.derive(b"abab");
        drop(packet);
        assert_eq!(*derived, *b"abab");
        derived[3] = 7;
        drop(derived);
        world.server.stats().pool_misses
    };
    let misses = (0..10).map(|_| misses_after_a_frame()).last().unwrap();
    for _ in 0..100 {
        assert_eq!(misses_after_a_frame(), misses);
    }
}

#[test]
fn a_derived_packet_comes_from_the_pool_and_goes_back_there() {
    let pool = PacketPool::new(1 << 20);
    let packet = pool.packet(b"bytes", SERVER, Instant::now());
    let derived = [packet.derive(b"others"), packet.derive_zeroed(100).derive(b"others")];
    assert_eq!((pool.misses(), pool.idle_bytes() > 0), (4, true), "one of zeros has come and gone");
    let of_one = pool.idle_bytes();
    drop(derived);
    assert_eq!(pool.idle_bytes(), 3 * of_one);
    drop(packet);
    assert_eq!(pool.idle_bytes(), 4 * of_one);
}

#[test]
fn a_packet_of_no_pool_derives_others_of_none() {
    let packet = by_hand(b"bytes");
    for derived in [packet.derive(b"others"), packet.derive_zeroed(6).derive(b"others")] {
        assert_eq!((&*derived, derived.sender()), (&b"others"[..], packet.sender()));
        assert_eq!(derived.received_at(), packet.received_at());
    }
    assert_eq!(*packet.derive_zeroed(3), [0; 3]);
}

#[test]
fn zeros_are_zeros_in_memory_that_was_used_before() {
    let pool = PacketPool::new(1 << 20);
    for len in [0, 1, 128, 1_200] {
        drop(pool.packet(&vec![7; len], SERVER, Instant::now()));
        let misses = pool.misses();
        let mut packet = pool.zeroed(len, SERVER, Instant::now());
        assert_eq!((&*packet, pool.misses()), (&*vec![0; len], misses));
        packet.fill(7);
        assert_eq!(*packet.derive_zeroed(len), *vec![0; len]);
    }
}

#[test]
fn a_pool_has_its_memory_back_from_every_thread_and_keeps_no_more_than_it_may() {
    const PACKETS: usize = 40;
    let pool = PacketPool::new(10 << 10);
    let packets: Vec<_> = (0..PACKETS).map(|_| pool.clone().packet(&[1; 1_000], SERVER, Instant::now())).collect();
    assert_counts!(pool, misses(): PACKETS as u64, idle_bytes(): 0);
    thread::spawn(move || drop(packets)).join().unwrap();
    let idle = pool.idle_bytes();
    assert!((8 << 10..=10 << 10).contains(&idle), "{idle}");

    let few: Vec<_> = (0..8).map(|_| pool.packet(&[2; 1_000], SERVER, Instant::now())).collect();
    assert_eq!(pool.misses(), PACKETS as u64);
    drop(few);
    assert_eq!(pool.idle_bytes(), idle);
    pool.set_max_idle_bytes(0);
    assert_eq!(pool.idle_bytes(), 0);
}

#[test]
fn a_packet_larger_than_any_datagram_is_not_kept_in_the_pool() {
    let pool = PacketPool::new(1 << 30);
    for (len, misses) in [(65_536, 1), (65_536, 1), (65_537, 2), (65_537, 3)] {
        let packet = pool.packet(&vec![7; len], SERVER, Instant::now());
        assert_eq!((packet.len(), pool.misses()), (len, misses));
    }
    assert!(pool.idle_bytes() < 2 * 65_536);
}
