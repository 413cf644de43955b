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
    /// Where the memory goes back to; `None` while it lies there.
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
    #[inline]
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            body.go_home();
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

/// Idle packet memory, last in first out so that it is warm, one stack per size.
///
/// What lies in the pool is capped; what is out is bounded by the caps on waiting packets.
pub(crate) struct Pool {
    idle: Mutex<Idle>,
    /// Takes that found no idle buffer and went to the allocator.
    misses: AtomicU64,
}

#[derive(Default)]
struct Idle {
    by_size: Stacks,
    bytes: usize,
    max_bytes: usize,
}

type Stacks = [Vec<Box<Body>>; SIZES];

impl Pool {
    pub(crate) fn new(max_idle_bytes: usize) -> Arc<Self> {
        let idle = Idle { max_bytes: max_idle_bytes, ..Idle::default() };
        Arc::new(Self { idle: Mutex::new(idle), misses: AtomicU64::new(0) })
    }

    /// Changes how much may lie here. What lies here beyond goes back to the allocator.
    pub(crate) fn set_max_idle_bytes(&self, max: usize) {
        let mut beyond = Stacks::default();
        let mut idle = self.idle();
        idle.max_bytes = max;
        for size in (0..SIZES).rev() {
            let excess = idle.bytes.saturating_sub(max).div_ceil(cost(size)).min(idle.by_size[size].len());
            if excess > 0 {
                let stack = &mut idle.by_size[size];
                beyond[size] = stack.split_off(stack.len() - excess);
                stack.shrink_to_fit();
                idle.bytes -= excess * cost(size);
            }
        }
        // Nobody has to wait for the allocator.
        drop(idle);
        drop(beyond);
    }

    /// A packet with a copy of `bytes`.
    pub(crate) fn packet(self: &Arc<Self>, bytes: &[u8], sender: &SocketAddr, received_at: Instant) -> Packet {
        let size = size_class(bytes.len());
        let recycled = size.and_then(|size| self.idle().take(size));
        let mut body = recycled.unwrap_or_else(|| self.make(size, bytes.len(), sender, received_at));
        body.home = Some(Arc::clone(self));
        body.fill(bytes, sender, received_at)
    }

    #[cold]
    fn make(&self, size: Option<usize>, len: usize, sender: &SocketAddr, received_at: Instant) -> Box<Body> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let capacity = size.map_or(len, |size| SMALLEST << size);
        Box::new(Body { bytes: Vec::with_capacity(capacity), sender: *sender, received_at, home: None })
    }

    /// Takes that went to the allocator so far. In a steady state this stands still.
    pub(crate) fn misses(&self) -> u64 {
        self.misses.load(Ordering::Relaxed)
    }

    fn put_back(&self, mut body: Box<Body>) {
        let Some(size) = body.size_class() else { return };
        body.bytes.clear();
        let mut idle = self.idle();
        if idle.bytes + cost(size) <= idle.max_bytes {
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
            .field("max_idle_bytes", &idle.max_bytes)
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

impl Body {
    fn go_home(mut self: Box<Self>) {
        if let Some(pool) = self.home.take() {
            pool.put_back(self);
        }
    }

    /// A packet in this memory, with a copy of `bytes`, which it has room for.
    fn fill(mut self: Box<Self>, bytes: &[u8], sender: &SocketAddr, received_at: Instant) -> Packet {
        self.bytes.extend_from_slice(bytes);
        self.sender = *sender;
        self.received_at = received_at;
        Packet { body: Some(self) }
    }

    /// Which of the pool's sizes this memory has. Where a caller has taken the bytes away, none.
    fn size_class(&self) -> Option<usize> {
        let capacity = self.bytes.capacity();
        let size = capacity.trailing_zeros().wrapping_sub(SMALLEST.trailing_zeros()) as usize;
        (size < SIZES && capacity.is_power_of_two()).then_some(size)
    }
}

/// Idle memory that the server's thread has for itself, so that it locks the pool once for many packets.
///
/// It holds some hundred KiB at most, beside what lies in the pool.
pub(crate) struct Stash {
    pool: Arc<Pool>,
    by_size: Stacks,
}

impl Stash {
    pub(crate) fn of(pool: Arc<Pool>) -> Self {
        Self { pool, by_size: Stacks::default() }
    }

    /// A packet with a copy of `bytes`.
    #[inline]
    pub(crate) fn packet(&mut self, bytes: &[u8], sender: &SocketAddr, received_at: Instant) -> Packet {
        let Some(size) = size_class(bytes.len()) else { return self.pool.packet(bytes, sender, received_at) };
        let body = match self.by_size[size].pop() {
            Some(body) => body,
            None => self.refill(size, sender, received_at),
        };
        body.fill(bytes, sender, received_at)
    }

    /// What it holds, in bytes.
    pub(crate) fn idle_bytes(&self) -> usize {
        self.by_size.iter().enumerate().map(|(size, stack)| stack.len() * cost(size)).sum()
    }

    /// Takes a lot of buffers from the pool, and one of them out; makes that one where the pool has none. It leaves half
    /// of what is there, so that handles that put packets meanwhile find some too.
    #[cold]
    fn refill(&mut self, size: usize, sender: &SocketAddr, received_at: Instant) -> Box<Body> {
        let stack = &mut self.by_size[size];
        let mut idle = self.pool.idle();
        let idle_stack = &mut idle.by_size[size];
        let lot = lot(size).min(idle_stack.len().div_ceil(2));
        stack.extend(idle_stack.drain(idle_stack.len() - lot..));
        idle.bytes -= lot * cost(size);
        drop(idle);
        for body in &mut *stack {
            body.home = Some(Arc::clone(&self.pool));
        }
        stack.pop().unwrap_or_else(|| {
            let mut body = self.pool.make(Some(size), 0, sender, received_at);
            body.home = Some(Arc::clone(&self.pool));
            body
        })
    }

    /// Keeps the memory of a packet for the next, or gives it back to the pool.
    pub(crate) fn recycle(&mut self, mut packet: Packet) {
        let of_this_pool = |home: &Option<Arc<Pool>>| home.as_ref().is_some_and(|home| Arc::ptr_eq(home, &self.pool));
        let Some(mut body) = packet.body.take_if(|body| of_this_pool(&body.home)) else { return };
        let Some(size) = body.size_class() else { return };
        body.bytes.clear();
        self.by_size[size].push(body);
        if self.by_size[size].len() > 2 * lot(size) {
            self.give_back(size);
        }
    }

    /// Gives a lot of buffers back to the pool.
    #[cold]
    fn give_back(&mut self, size: usize) {
        let stack = &mut self.by_size[size];
        let lot = stack.len() - lot(size);
        stack.iter_mut().take(lot).for_each(|body| body.home = None);
        let mut idle = self.pool.idle();
        let taken = lot.min(idle.max_bytes.saturating_sub(idle.bytes) / cost(size));
        idle.bytes += taken * cost(size);
        // Those that have lain longest; what the pool does not take is freed.
        idle.by_size[size].extend(stack.drain(..lot).take(taken));
    }
}

impl fmt::Debug for Stash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stash").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// How many buffers of a size change hands at a time.
const fn lot(size: usize) -> usize {
    let of_32_kib = (1 << 15) / (SMALLEST << size);
    match of_32_kib {
        0 => 1,
        1..=64 => of_32_kib,
        _ => 64,
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
            drop(pool.packet(&bytes, &sender(), Instant::now()));
            let misses = pool.misses();
            let packet = pool.packet(&bytes, &sender(), Instant::now());
            assert_eq!(&*packet, &bytes[..]);
            assert_eq!(pool.misses(), misses, "{len} bytes were allocated twice");
        }
    }

    #[test]
    fn what_lies_in_the_pool_is_capped() {
        let pool = Pool::new(1024);
        let packets: Vec<_> = (0..100).map(|_| pool.packet(&[1; 100], &sender(), Instant::now())).collect();
        drop(packets);
        assert_eq!(pool.idle().by_size[0].len(), 1024 / cost(0));
        assert_eq!(pool.idle().bytes, 1024 / cost(0) * cost(0));
    }

    #[test]
    fn the_cap_can_be_changed_both_ways() {
        let pool = Pool::new(1 << 20);
        let lie_down = || {
            let sizes = (0..300).map(|number| 100 << (number % 3));
            let packets: Vec<_> = sizes.map(|size| pool.packet(&vec![1; size], &sender(), Instant::now())).collect();
            drop(packets);
        };
        lie_down();
        let all = pool.idle_bytes();
        for max in [all, all / 2, cost(0), 0] {
            pool.set_max_idle_bytes(max);
            assert!((max.saturating_sub(cost(2))..=max).contains(&pool.idle_bytes()), "{} of {max}", pool.idle_bytes());
            let idle = pool.idle();
            assert_eq!(
                idle.by_size.iter().enumerate().map(|(size, s)| s.len() * cost(size)).sum::<usize>(),
                idle.bytes
            );
        }
        pool.set_max_idle_bytes(1 << 20);
        lie_down();
        assert_eq!(pool.idle_bytes(), all);
    }

    #[test]
    fn a_stash_takes_many_at_a_time_and_the_pool_knows() {
        let pool = Pool::new(1 << 20);
        let packets: Vec<_> = (0..100).map(|_| pool.packet(b"early", &sender(), Instant::now())).collect();
        drop(packets);
        let mut stash = Stash::of(Arc::clone(&pool));
        let misses = pool.misses();
        let packets: Vec<_> = (0..100).map(|_| stash.packet(b"late", &sender(), Instant::now())).collect();
        assert_eq!((pool.misses(), pool.idle().bytes), (misses, 0), "all hundred came from the pool");
        assert!(packets.iter().all(|packet| **packet == *b"late"));
        drop(packets);
        assert_eq!(pool.idle().bytes, 100 * cost(0), "and went back there");
    }

    #[test]
    fn a_stash_keeps_what_it_may_soon_need_and_no_more() {
        let pool = Pool::new(1 << 30);
        let mut stash = Stash::of(Arc::clone(&pool));
        for size in 0..SIZES {
            let bytes = vec![7; SMALLEST << size];
            let packets: Vec<_> = (0..100).map(|_| pool.packet(&bytes, &sender(), Instant::now())).collect();
            let idle_before = pool.idle().by_size[size].len();
            packets.into_iter().for_each(|packet| stash.recycle(packet));
            let kept = stash.by_size[size].len();
            assert!((lot(size)..=2 * lot(size)).contains(&kept), "{kept} of {} bytes", bytes.len());
            assert_eq!(pool.idle().by_size[size].len() - idle_before, 100 - kept, "the others are in the pool");
            assert!(lot(size) * (SMALLEST << size) <= 64 << 10);
        }
        let (misses, kept) = (pool.misses(), stash.by_size[0].len());
        assert_eq!(*stash.packet(b"warm", &sender(), Instant::now()), *b"warm");
        assert_eq!(pool.misses(), misses);
        stash.recycle(Packet::new(vec![1; 128], sender(), Instant::now()));
        assert_eq!(stash.by_size[0].len(), kept - 1, "memory of somebody else's is not taken in");
    }

    #[test]
    fn taken_bytes_leave_the_pool() {
        let pool = Pool::new(1 << 20);
        assert_eq!(pool.packet(b"keep", &sender(), Instant::now()).into_vec(), b"keep");
        assert_eq!(pool.idle().bytes, 0);
    }

    #[test]
    fn a_packet_outlives_its_pool() {
        let pool = Pool::new(1 << 20);
        let mut packet = pool.packet(b"later", &sender(), Instant::now());
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
