//! A cipher that stands on any peer, and the server that hands such peers out: what DTLS or compression would be, with
//! an exclusive-or in the place of the mathematics.

use std::net::SocketAddr;
use std::time::Instant;

use packetpeer::error::{GetError, PollError, PutError, UnknownPeer};
use packetpeer::stats::{FlushReport, PeerStats, PollReport, Stat};
use packetpeer::{CloseReason, Packet, PacketPeer, PacketServer, PeerId, PeerState};

/// What a sealed packet begins with: the number of the packet.
const HEADER: usize = 4;
/// What it ends with: a check sum, over what was sealed and the key.
const TRAILER: usize = 4;

/// A peer whose packets are sealed with a key.
#[derive(Debug)]
pub(crate) struct Sealed<P> {
    inner: P,
    key: u32,
    sent: u32,
    /// Packets that were not sealed with the key.
    undecodable: u64,
    // Kept for its memory.
    sealed: Vec<u8>,
}

impl<P: PacketPeer> Sealed<P> {
    pub(crate) fn new(inner: P, key: u32) -> Self {
        Self { inner, key, sent: 0, undecodable: 0, sealed: Vec::new() }
    }

    pub(crate) fn inner_mut(&mut self) -> &mut P {
        &mut self.inner
    }

    /// Opens a packet where it lies. `None` = it was not sealed with this key.
    fn open(&self, packet: &mut Packet) -> Option<()> {
        let number = read_u32(packet.strip_front(HEADER)?)?;
        let sum = read_u32(packet.strip_back(TRAILER)?)?;
        if sum != check_sum(packet, number ^ self.key) {
            return None;
        }
        mix(packet, number ^ self.key);
        Some(())
    }
}

impl<P: PacketPeer> PacketPeer for Sealed<P> {
    fn id(&self) -> PeerId {
        self.inner.id()
    }

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        self.inner.poll_at(now)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        while let Some(mut packet) = self.inner.get_packet()? {
            if self.open(&mut packet).is_some() {
                return Ok(Some(packet));
            }
            self.undecodable += 1;
        }
        Ok(None)
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        let limit = self.max_packet_size();
        if bytes.len() > limit {
            return Err(PutError::TooLarge { size: bytes.len(), limit });
        }
        let number = self.sent;
        self.sealed.clear();
        self.sealed.extend(number.to_le_bytes());
        self.sealed.extend(bytes);
        let payload = &mut self.sealed[HEADER..];
        mix(payload, number ^ self.key);
        let sum = check_sum(payload, number ^ self.key);
        self.sealed.extend(sum.to_le_bytes());
        self.inner.put_packet(&self.sealed)?;
        self.sent = self.sent.wrapping_add(1);
        Ok(())
    }

    fn can_put(&self, len: usize) -> bool {
        self.inner.can_put(len.saturating_add(HEADER + TRAILER))
    }

    fn available_packet_count(&self) -> usize {
        self.inner.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.inner.max_packet_size().saturating_sub(HEADER + TRAILER)
    }

    fn state(&self) -> PeerState {
        self.inner.state()
    }

    fn close(&mut self) {
        self.inner.close();
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.inner.remote_addr()
    }

    /// What the inner peer has delivered to this layer, and the layer to nobody, is dropped here.
    fn stats(&self) -> PeerStats {
        let mut stats = self.inner.stats();
        stats.delivered -= self.undecodable;
        stats.drops.undecodable += self.undecodable;
        stats
    }
}

fn read_u32(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn mix(bytes: &mut [u8], mut key: u32) {
    for byte in bytes {
        key = key.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte ^= (key >> 24) as u8;
    }
}

fn check_sum(bytes: &[u8], key: u32) -> u32 {
    bytes.iter().fold(key, |sum, &byte| sum.rotate_left(5).wrapping_add(byte.into()).wrapping_mul(0x9e37_79b1))
}

/// A server whose peers are [`Sealed`].
#[derive(Debug)]
pub(crate) struct SealedServer<S> {
    inner: S,
    key: u32,
}

impl<S: PacketServer> SealedServer<S> {
    pub(crate) fn new(inner: S, key: u32) -> Self {
        Self { inner, key }
    }

    pub(crate) fn inner(&self) -> &S {
        &self.inner
    }
}

impl<S: PacketServer> PacketServer for SealedServer<S> {
    type Peer = Sealed<S::Peer>;

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        self.inner.poll_at(now)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn flush(&mut self) -> Result<FlushReport, PollError> {
        self.inner.flush()
    }

    fn take_connection(&mut self) -> Option<Self::Peer> {
        self.inner.take_connection().map(|peer| Sealed::new(peer, self.key))
    }

    fn ready(&mut self, ids: &mut Vec<PeerId>) {
        self.inner.ready(ids);
    }

    fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        self.inner.take_ended(ended);
    }

    fn peer_count(&self) -> usize {
        self.inner.peer_count()
    }

    fn pending_count(&self) -> usize {
        self.inner.pending_count()
    }

    fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        self.inner.close(id)
    }

    fn drain(&mut self) {
        self.inner.drain();
    }

    fn is_draining(&self) -> bool {
        self.inner.is_draining()
    }

    fn stop(&mut self) {
        self.inner.stop();
    }

    fn is_listening(&self) -> bool {
        self.inner.is_listening()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.local_addr()
    }

    fn visit_stats(&self, visit: &mut dyn FnMut(Stat)) {
        self.inner.visit_stats(visit);
    }
}
