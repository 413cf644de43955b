//! Layers above a [`PacketPeerUdp`] allocate nothing, once everybody has spoken: two ciphers, one in the other, and a
//! compressor above them.
//!
//! Allocations are counted per thread, so that tests beside one another stay out of it. Not on MinGW, where the variables
//! of a thread are themselves allocated.
#![cfg(not(all(windows, target_env = "gnu")))]

use std::time::Instant;

use packetpeer::{Packet, PacketPeerUdp, PacketPool, SendMode, ServerConfig};

mod util;

use util::{SERVER, World};

#[path = "util/allocator.rs"]
mod allocator;

/// Allocations of this thread during `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = allocator::allocations();
    work();
    allocator::allocations() - before
}

/// A cipher that keeps nothing secret: a number of four bytes in front, the payload mixed with the key and that number, a
/// sum of four bytes behind.
struct Cipher {
    key: u8,
    sealed: u32,
    buffer: Vec<u8>,
}

impl Cipher {
    const OVERHEAD: usize = 8;

    fn new(key: u8) -> Self {
        Self { key, sealed: 0, buffer: Vec::new() }
    }

    fn seal(&mut self, payload: &[u8]) -> &[u8] {
        self.sealed += 1;
        let number = self.sealed.to_be_bytes();
        let mask = self.key ^ number[3];
        self.buffer.clear();
        self.buffer.extend_from_slice(&number);
        self.buffer.extend(payload.iter().map(|byte| byte ^ mask));
        self.buffer.extend_from_slice(&Self::sum(payload).to_be_bytes());
        &self.buffer
    }

    fn open(&self, mut packet: Packet) -> Option<Packet> {
        let mask = self.key ^ packet.strip_front(4)?[3];
        let sum = u32::from_be_bytes(packet.strip_back(4)?.try_into().ok()?);
        packet.iter_mut().for_each(|byte| *byte ^= mask);
        (Self::sum(&packet) == sum).then_some(packet)
    }

    fn sum(payload: &[u8]) -> u32 {
        payload.iter().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)))
    }
}

/// How a layer hands on bytes that it did not receive as they are.
#[derive(Debug, Clone, Copy)]
enum Expansion {
    /// Made in a buffer of its own, and copied.
    Derived,
    /// Made in the packet.
    InPlace,
}

/// A compressor of runs: their lengths and their bytes.
struct Runs {
    expansion: Expansion,
    packed: Vec<u8>,
    unpacked: Vec<u8>,
}

impl Runs {
    const MAX: usize = 2048;

    fn new(expansion: Expansion) -> Self {
        Self { expansion, packed: Vec::new(), unpacked: vec![0; Self::MAX] }
    }

    fn pack(&mut self, payload: &[u8]) -> &[u8] {
        self.packed.clear();
        for run in payload.chunk_by(|a, b| a == b).flat_map(|run| run.chunks(255)) {
            self.packed.extend_from_slice(&[run.len() as u8, run[0]]);
        }
        &self.packed
    }

    fn unpack(&mut self, packet: Packet) -> Option<Packet> {
        match self.expansion {
            Expansion::Derived => {
                let len = Self::expand(&packet, &mut self.unpacked)?;
                Some(packet.derive(&self.unpacked[..len]))
            }
            Expansion::InPlace => {
                let mut payload = packet.derive_zeroed(Self::MAX);
                let len = Self::expand(&packet, &mut payload)?;
                payload.truncate(len);
                Some(payload)
            }
        }
    }

    fn expand(packed: &[u8], mut out: &mut [u8]) -> Option<usize> {
        let room = out.len();
        for run in packed.chunks(2) {
            let &[len, byte] = run else { return None };
            let (filled, rest) = std::mem::take(&mut out).split_at_mut_checked(len.into())?;
            filled.fill(byte);
            out = rest;
        }
        Some(room - out.len())
    }
}

/// What one end of a connection has above its peer.
struct Layers {
    outer: Cipher,
    inner: Cipher,
    runs: Runs,
}

impl Layers {
    fn new(expansion: Expansion) -> Self {
        Self { outer: Cipher::new(0x5a), inner: Cipher::new(0xc3), runs: Runs::new(expansion) }
    }

    fn put(&mut self, peer: &mut PacketPeerUdp, payload: &[u8]) {
        let packed = self.runs.pack(payload);
        peer.put_packet(self.outer.seal(self.inner.seal(packed))).unwrap();
    }

    fn get(&mut self, peer: &mut PacketPeerUdp) -> Option<Packet> {
        let packet = peer.get_packet().unwrap()?;
        let (len, of_packet) = (packet.len(), (packet.sender(), packet.received_at()));
        let packet = self.inner.open(self.outer.open(packet).unwrap()).unwrap();
        assert_eq!(packet.len(), len - 2 * Cipher::OVERHEAD);
        let packet = self.runs.unpack(packet).unwrap();
        assert_eq!((packet.sender(), packet.received_at()), of_packet);
        Some(packet)
    }
}

/// A player and a server that echoes, with layers at both ends.
fn echo(world: &mut World, ends: &mut [(PacketPeerUdp, Layers); 2], payloads: &[Vec<u8>]) {
    let [(client, above_client), (peer, above_peer)] = ends;
    for payload in payloads {
        above_client.put(client, payload);
    }
    world.poll();
    let mut echoed = 0;
    while let Some(packet) = above_peer.get(peer) {
        assert_eq!(*packet, *payloads[echoed]);
        above_peer.put(peer, &packet);
        echoed += 1;
    }
    world.server.flush().unwrap();
    client.poll().unwrap();
    for payload in payloads {
        assert_eq!(*above_client.get(client).unwrap(), **payload);
    }
    assert_eq!(echoed, payloads.len());
}

#[test]
fn two_ciphers_and_a_compressor_allocate_nothing_in_a_steady_state() {
    for mode in [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        for expansion in [Expansion::Derived, Expansion::InPlace] {
            let mut world = World::with_config(ServerConfig::new().send_mode(mode));
            let (client, peer) = world.pair(1);
            let mut ends = [client, peer].map(|peer| (peer, Layers::new(expansion)));
            let varied = (0..600).map(|number: u32| (number % 251) as u8).collect();
            let payloads = [vec![], b"input".to_vec(), vec![7; 1_200], varied];
            for frame in 0..40 {
                let allocations = allocations(|| echo(&mut world, &mut ends, &payloads));
                if frame >= 10 {
                    assert_eq!(allocations, 0, "{mode:?}, {expansion:?}, frame {frame}");
                }
            }
        }
    }
}

#[test]
fn a_transport_of_ones_own_makes_packets_without_allocating() {
    let pool = PacketPool::new(64 << 10);
    let cipher = Cipher::new(1);
    let sealed = Cipher::new(1).seal(b"some bytes").to_vec();
    let frame = || {
        let packets = [(); 8].map(|()| cipher.open(pool.packet(&sealed, SERVER, Instant::now())).unwrap());
        assert!(packets.iter().all(|packet| **packet == *b"some bytes"));
        let mut read = pool.zeroed(1_200, SERVER, Instant::now());
        read.fill(7);
    };
    frame();
    assert_eq!((allocations(frame), pool.misses()), (0, 9));
}

#[test]
fn a_packet_of_no_pool_takes_two_allocations() {
    let packet = Packet::new(vec![7; 100], SERVER, Instant::now());
    assert_eq!(allocations(|| drop(packet.derive(b"others"))), 2);
    assert_eq!(allocations(|| drop(packet.derive_zeroed(100))), 2);
    let bytes = packet.into_vec();
    assert_eq!(allocations(|| drop(Packet::new(bytes, SERVER, Instant::now()))), 1);
}
