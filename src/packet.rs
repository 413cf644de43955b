//! [`Packet`], and the pool its memory comes from and goes back to.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One received datagram: its bytes, its sender, and when it was received.
///
/// It derefs to its bytes, mutably too, so that a layer above can decrypt in place. An empty packet is a datagram of
/// no bytes, not the absence of one. When it is dropped, on whatever thread, its memory goes back to the pool that it
/// came from; keep packets for a frame, not for minutes, or copy what you keep.
pub struct Packet {
    // `None` only while the packet is being taken apart.
    body: Option<Box<Body>>,
}

pub(crate) struct Body {
    bytes: Vec<u8>,
    sender: SocketAddr,
    received_at: Instant,
    /// Where the memory goes back to; `None` while it is there.
    home: Option<Arc<Pool>>,
}

impl Packet {
    /// A packet with memory of its own, for implementations of [`PacketPeer`](crate::PacketPeer) outside this crate.
    pub fn new(bytes: Vec<u8>, sender: SocketAddr, received_at: Instant) -> Self {
        Self { body: Some(Box::new(Body { bytes, sender, received_at, home: None })) }
    }

    /// The address that the datagram came from. IPv4 is shown as IPv4, also where the socket is a dual-stack one.
    #[doc(alias = "get_packet_ip")]
    #[doc(alias = "get_packet_port")]
    pub fn sender(&self) -> SocketAddr {
        self.body().sender
    }

    /// The time of the poll that took the datagram from the socket.
    pub fn received_at(&self) -> Instant {
        self.body().received_at
    }

    /// Shortens the packet to `len` bytes, as a layer above does that strips a trailer. No effect on a shorter packet.
    pub fn truncate(&mut self, len: usize) {
        self.body_mut().bytes.truncate(len);
    }

    /// The bytes as a vector of the caller's own. The memory leaves the pool for good.
    pub fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.body_mut().bytes)
    }

    fn body(&self) -> &Body {
        self.body.as_ref().expect("a packet has its body until it is dropped")
    }

    fn body_mut(&mut self) -> &mut Body {
        self.body.as_mut().expect("a packet has its body until it is dropped")
    }
}

impl Drop for Packet {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if let Some(pool) = body.home.take() {
            pool.put_back(body);
        }
    }
}

impl Deref for Packet {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.body().bytes
    }
}

impl DerefMut for Packet {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.body_mut().bytes
    }
}

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Packet {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("sender", &self.sender()).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Smallest buffer the pool makes, in bytes; the next sizes are its powers of two up to 64 KiB.
const SMALLEST: usize = 128;
const SIZES: usize = 10;
const LARGEST: usize = SMALLEST << (SIZES - 1);

/// Idle packet memory, last in first out so that it is warm, one stack a size.
///
/// What lies in the pool is capped; what is out is bounded by the caps on waiting packets.
pub(crate) struct Pool {
    idle: Mutex<Idle>,
    max_idle_bytes: usize,
    /// Takes that found no idle buffer and went to the allocator.
    misses: AtomicU64,
}

#[derive(Default)]
struct Idle {
    #[expect(clippy::vec_box, reason = "the boxes are what is recycled")]
    by_size: [Vec<Box<Body>>; SIZES],
    bytes: usize,
}

impl Pool {
    pub(crate) fn new(max_idle_bytes: usize) -> Arc<Self> {
        Arc::new(Self { idle: Mutex::default(), max_idle_bytes, misses: AtomicU64::new(0) })
    }

    /// A packet with a copy of `bytes`.
    pub(crate) fn packet(self: &Arc<Self>, bytes: &[u8], sender: SocketAddr, received_at: Instant) -> Packet {
        let size = size_class(bytes.len());
        let recycled = size.and_then(|size| self.idle().take(size));
        let mut body = recycled.unwrap_or_else(|| self.make(size, bytes.len(), sender, received_at));
        body.bytes.extend_from_slice(bytes);
        body.sender = sender;
        body.received_at = received_at;
        body.home = Some(Arc::clone(self));
        Packet { body: Some(body) }
    }

    #[cold]
    fn make(&self, size: Option<usize>, len: usize, sender: SocketAddr, received_at: Instant) -> Box<Body> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let capacity = size.map_or(len, |size| SMALLEST << size);
        Box::new(Body { bytes: Vec::with_capacity(capacity), sender, received_at, home: None })
    }

    /// Takes that went to the allocator so far. In a steady state this stands still.
    pub(crate) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    fn put_back(&self, mut body: Box<Body>) {
        let capacity = body.bytes.capacity();
        // A buffer that a caller took or grew no longer is of a size of ours.
        let Some(size) = size_class(capacity).filter(|&size| SMALLEST << size == capacity) else { return };
        body.bytes.clear();
        let mut idle = self.idle();
        if idle.bytes + cost(size) <= self.max_idle_bytes {
            idle.bytes += cost(size);
            idle.by_size[size].push(body);
        }
    }

    /// What lies idle, in bytes.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.idle().bytes
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.idle();
        f.debug_struct("Pool")
            .field("idle_bytes", &idle.bytes)
            .field("max_idle_bytes", &self.max_idle_bytes)
            .field("misses", &self.misses())
            .finish()
    }
}

impl Idle {
    fn take(&mut self, size: usize) -> Option<Box<Body>> {
        let body = self.by_size[size].pop()?;
        self.bytes -= cost(size);
        Some(body)
    }
}

/// What an idle buffer of this size keeps allocated.
const fn cost(size: usize) -> usize {
    (SMALLEST << size) + size_of::<Body>()
}

/// Which of the sizes holds `len` bytes.
fn size_class(len: usize) -> Option<usize> {
    // The number of bits above those of the smallest.
    (len <= LARGEST).then(|| (usize::BITS - (len.max(SMALLEST) - 1).leading_zeros() - SMALLEST.ilog2()) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 9))
    }

    #[test]
    fn memory_comes_back_and_is_used_again() {
        let pool = Pool::new(1 << 20);
        for len in [0, 1, 64, 128, 129, 1200, 65_507] {
            let bytes = vec![7; len];
            drop(pool.packet(&bytes, sender(), Instant::now()));
            let misses = pool.misses();
            let packet = pool.packet(&bytes, sender(), Instant::now());
            assert_eq!(&*packet, &bytes[..]);
            assert_eq!(pool.misses(), misses, "{len} bytes were allocated twice");
        }
    }

    #[test]
    fn what_lies_in_the_pool_is_capped() {
        let pool = Pool::new(1024);
        let packets: Vec<_> = (0..100).map(|_| pool.packet(&[1; 100], sender(), Instant::now())).collect();
        drop(packets);
        assert_eq!(pool.idle().by_size[0].len(), 1024 / cost(0));
        assert_eq!(pool.idle().bytes, 1024 / cost(0) * cost(0));
    }

    #[test]
    fn taken_bytes_leave_the_pool() {
        let pool = Pool::new(1 << 20);
        assert_eq!(pool.packet(b"keep", sender(), Instant::now()).into_vec(), b"keep");
        assert_eq!(pool.idle().bytes, 0);
    }

    #[test]
    fn a_packet_outlives_its_pool() {
        let pool = Pool::new(1 << 20);
        let mut packet = pool.packet(b"later", sender(), Instant::now());
        drop(pool);
        packet[0] = b'L';
        packet.truncate(3);
        assert_eq!(&*packet, b"Lat");
        assert_eq!(packet.sender(), sender());
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!([0, 128, 129, 256, 257, 65_536].map(|len| size_class(len).unwrap()), [0, 0, 1, 1, 2, 9]);
        assert_eq!(size_class(65_537), None);
    }
}
