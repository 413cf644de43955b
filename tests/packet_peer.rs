//! The trait `PacketPeer`: what holds for every peer, whether a server's, stand-alone, or a layer of a user's own.

use packetpeer::error::{GetError, PollError, PutError};
use packetpeer::{CloseReason, Packet, PacketPeer};

mod util;

use util::World;

/// Both ends of a connection as nothing but packet peers, the client's first. The world has to go on polling.
fn ends(world: &mut World) -> [Box<dyn PacketPeer + Send + Sync>; 2] {
    let (client, peer) = world.pair(1);
    [Box::new(client), Box::new(peer)]
}

#[test]
fn a_packet_arrives_as_it_was_put() {
    let mut world = World::new();
    let mut ends = ends(&mut world);
    for (from, to) in [(0, 1), (1, 0)] {
        for bytes in [&b"some bytes"[..], b"", b"\0", &[255; 65_507]] {
            assert_eq!(ends[from].max_packet_size(), 65_507);
            ends[from].put_packet(bytes).unwrap();
            world.poll();
            ends[to].poll().unwrap();
            assert_eq!(ends[to].available_packet_count(), 1);
            let packet = ends[to].get_packet().unwrap().expect("one packet is available");
            assert!(*packet == *bytes, "{} bytes came as {}", bytes.len(), packet.len());
        }
    }
}

#[test]
fn an_empty_peer_has_nothing_now_and_may_have_later() {
    let mut world = World::new();
    for mut end in ends(&mut world) {
        end.poll().unwrap();
        assert_eq!(end.available_packet_count(), 0);
        assert!(matches!(end.get_packet(), Ok(None)));
        assert!(matches!(end.get_packet(), Ok(None)));
    }
}

#[test]
fn several_packets_are_one_datagram_each() {
    let mut world = World::new();
    let [mut client, mut peer] = ends(&mut world);
    for bytes in [&b"one"[..], b"", b"three"] {
        client.put_packet(bytes).unwrap();
    }
    assert_eq!(world.poll().received, 3);
    let packets = std::iter::from_fn(|| peer.get_packet().unwrap()).map(Packet::into_vec);
    assert_eq!(packets.collect::<Vec<_>>(), [&b"one"[..], b"", b"three"]);
}

#[test]
fn a_packet_that_is_too_large_is_refused_with_both_sizes() {
    let mut world = World::new();
    for mut end in ends(&mut world) {
        match end.put_packet(&[0; 65_508]) {
            Err(PutError::TooLarge { size, limit }) => assert_eq!((size, limit), (65_508, 65_507)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.poll().received, 0);
}

/// A layer of a user's own: flips all bits on their way out and in, in place.
struct Flipped<P>(P);

impl<P: PacketPeer> PacketPeer for Flipped<P> {
    fn poll(&mut self) -> Result<(), PollError> {
        self.0.poll()
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        let mut packet = self.0.get_packet()?;
        for byte in packet.iter_mut().flat_map(|packet| packet.iter_mut()) {
            *byte = !*byte;
        }
        Ok(packet)
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        let flipped: Vec<_> = bytes.iter().map(|byte| !byte).collect();
        self.0.put_packet(&flipped)
    }

    fn available_packet_count(&self) -> usize {
        self.0.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.0.max_packet_size()
    }
}

#[test]
fn layers_stack_on_either_end() {
    let mut world = World::new();
    let (client, mut peer) = world.pair(1);
    let mut client = Flipped(client);
    client.put_packet(&[0, 1, 255]).unwrap();
    world.poll();
    let packet = peer.get_packet().unwrap().unwrap();
    assert_eq!(*packet, [255, 254, 0]);
    peer.put_packet(&packet).unwrap();
    client.poll().unwrap();
    assert_eq!(*client.get_packet().unwrap().unwrap(), [0, 1, 255]);

    let mut peer = Flipped(peer);
    world.server.stop();
    assert_eq!(peer.get_packet().unwrap_err(), GetError::Ended(CloseReason::ServerStopped));
}
