//! [`Packet`], and [`PacketPool`], which its memory comes from and returns to.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::address::canonical;

/// One received datagram: its bytes, its sender, and when it was received.
///
/// It derefs to its bytes, mutably too. An empty packet is a datagram of no bytes, not the absence of one. When it is
/// dropped, on any thread, its memory returns to the [`PacketPool`] that it came from; keep packets for a frame, not for
/// minutes, or copy what you keep.
///
/// # For layers
///
/// A layer between a game and a transport (a cipher, a compressor, a protocol with headers) passes on the packet that it
/// was given, and so allocates nothing:
///
/// - it changes the bytes in place, as a cipher does;
/// - it removes its header and its trailer by [`strip_front`](Self::strip_front) and [`strip_back`](Self::strip_back), which
///   move no byte of the payload, however many layers are stacked;
/// - where the payload is not a part of the received bytes, because it was compressed, or where there are several payloads
///   in one datagram, it makes a packet with the same sender and time, in memory of the same pool, by
///   [`derive`](Self::derive) or [`derive_zeroed`](Self::derive_zeroed).
///
/// ```
/// use packetpeer::Packet;
///
/// /// Undoes what the layer did at the other end: a number in front, a sum of the payload at the end, all else inverted.
/// /// `None` for a packet that cannot have come from there.
/// fn open(mut packet: Packet) -> Option<(u32, Packet)> {
///     let number = u32::from_be_bytes(packet.strip_front(4)?.try_into().ok()?);
///     let sum = packet.strip_back(1)?[0];
///     packet.iter_mut().for_each(|byte| *byte = !*byte);
///     (packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)) == sum).then_some((number, packet))
/// }
///
/// let received = Packet::new(vec![0, 0, 0, 7, !1, !2, 3], ([192, 0, 2, 1], 9).into(), std::time::Instant::now());
/// let (number, payload) = open(received).unwrap();
/// assert_eq!((number, &*payload), (7, &[1, 2][..]));
/// ```
///
/// When sending, a layer is given `&[u8]` and copies it, with what it adds, into a buffer that it keeps from put to put:
/// there is no head room in front of the bytes. The copy was measured at 15 ns per packet, where receiving one costs 750:
/// too little to justify a rule that every game, layer and transport would have to keep.
pub struct Packet {
    // `None` only while the packet is being taken apart.
    body: Option<Box<Body>>,
}

pub(crate) struct Body {
    bytes: Vec<u8>,
    /// How many of `bytes` layers have removed, at the front and at the back. They stay where they are, so that nothing is
    /// moved, and what was removed can be read.
    stripped: [u32; 2],
    sender: SocketAddr,
    received_at: Instant,
    /// Where the memory goes back to; `None` while it lies there.
    home: Option<PacketPool>,
}

// Queues hold packets; and glibc's allocator gives 88 bytes to whoever asks for 73 to 88.
const _: () = assert!(size_of::<Packet>() == size_of::<usize>());
const _: () = assert!(size_of::<Body>() <= 88);

impl Packet {
    /// A packet in the vector's memory, which belongs to no pool; for implementations of
    /// [`PacketPeer`](crate::PacketPeer) outside this crate.
    ///
    /// It makes one small allocation beside the vector's; [`PacketPool::packet`] and [`derive`](Self::derive) make none in
    /// a steady state. `sender` is converted to the form described at [`sender`](Self::sender).
    pub fn new(bytes: Vec<u8>, sender: SocketAddr, received_at: Instant) -> Self {
        let body = Body { bytes, stripped: [0, 0], sender: canonical(sender), received_at, home: None };
        Self { body: Some(Box::new(body)) }
    }

    /// A packet with a copy of `bytes` and with the sender and time of this one, in memory of this one's pool: for a layer
    /// that makes new bytes from what it received.
    ///
    /// In a steady state it allocates nothing. If this packet belongs to no pool, like those from [`Packet::new`], it makes
    /// two allocations. A miss of a server's pool counts in its
    /// [`pool_misses`](crate::stats::ServerStats::pool_misses).
    #[must_use]
    pub fn derive(&self, bytes: &[u8]) -> Self {
        let Body { sender, received_at, home, .. } = self.body();
        match home {
            Some(pool) => pool.copy(bytes, sender, *received_at),
            None => Self::new(bytes.to_vec(), *sender, *received_at),
        }
    }

    /// As [`derive`](Self::derive), but with `len` bytes of zero, to be overwritten: a decompressor needs no buffer of its
    /// own. Ask for the most that may come out, then [`truncate`](Self::truncate) to what did.
    ///
    /// Bound `len`: a remote that chooses it chooses how much is allocated.
    ///
    /// ```
    /// # use packetpeer::Packet;
    /// # /// Each byte as many times as the one before it says.
    /// # fn decompress(bytes: &[u8], out: &mut [u8]) -> Option<usize> {
    /// #     let runs = bytes.chunks_exact(2).flat_map(|run| std::iter::repeat_n(run[1], run[0].into()));
    /// #     runs.enumerate().try_fold(0, |_, (at, byte)| { *out.get_mut(at)? = byte; Some(at + 1) })
    /// # }
    /// /// `None` if that is not a compressed payload, or is larger than any that the game sends.
    /// fn decompressed(packet: &Packet) -> Option<Packet> {
    ///     let mut payload = packet.derive_zeroed(4096);
    ///     let len = decompress(packet, &mut payload)?;
    ///     payload.truncate(len);
    ///     Some(payload)
    /// }
    /// # let received = Packet::new(vec![3, 7, 1, 9], ([192, 0, 2, 1], 9).into(), std::time::Instant::now());
    /// # assert_eq!(*decompressed(&received).unwrap(), [7, 7, 7, 9]);
    /// ```
    #[must_use]
    pub fn derive_zeroed(&self, len: usize) -> Self {
        let Body { sender, received_at, home, .. } = self.body();
        match home {
            Some(pool) => pool.zeros(len, sender, *received_at),
            None => Self::new(vec![0; len], *sender, *received_at),
        }
    }

    /// The address that the datagram came from. IPv4 is shown as IPv4, also where the socket is a dual-stack one; the
    /// flow information of IPv6 is 0, the scope id of a link-local address is kept.
    #[doc(alias = "get_packet_ip")]
    #[doc(alias = "get_packet_port")]
    pub fn sender(&self) -> SocketAddr {
        self.body().sender
    }

    /// The time of the poll that took the datagram from the socket.
    pub fn received_at(&self) -> Instant {
        self.body().received_at
    }

    /// Removes the first `len` bytes and returns them, for a layer that reads its header. `None` if the packet is shorter,
    /// which then stays as it is.
    ///
    /// No byte is moved: those removed stay in the packet's memory, hidden, and return to the pool with it. At either end
    /// they can be 4 GiB less one byte in all, which is more than any datagram has; beyond that, it is `None` too.
    #[must_use = "a packet that is shorter is left as it is"]
    pub fn strip_front(&mut self, len: usize) -> Option<&[u8]> {
        let body = self.body_mut();
        let Range { start, end } = body.visible();
        let front = start.checked_add(len).filter(|front| *front <= end)?;
        body.stripped[0] = u32::try_from(front).ok()?;
        Some(&body.bytes[start..front])
    }

    /// Removes the last `len` bytes and returns them, for a layer that checks its trailer. `None` if the packet is shorter,
    /// which then stays as it is. See [`strip_front`](Self::strip_front).
    #[must_use = "a packet that is shorter is left as it is"]
    pub fn strip_back(&mut self, len: usize) -> Option<&[u8]> {
        let body = self.body_mut();
        let Range { start, end } = body.visible();
        let back = end.checked_sub(len).filter(|back| *back >= start)?;
        body.stripped[1] = u32::try_from(body.bytes.len() - back).ok()?;
        Some(&body.bytes[back..end])
    }

    /// Shortens the packet to `len` bytes. No effect on a shorter packet. [`strip_back`](Self::strip_back) is for a
    /// trailer of known length.
    pub fn truncate(&mut self, len: usize) {
        let body = self.body_mut();
        let visible = body.visible();
        if len < visible.len() {
            body.bytes.truncate(visible.start + len);
            body.stripped[1] = 0;
        }
    }

    /// The bytes as a vector, which the caller owns. The memory leaves the pool for good. If bytes were removed in front,
    /// the others move up.
    pub fn into_vec(mut self) -> Vec<u8> {
        let body = self.body_mut();
        let Range { start, end } = body.visible();
        body.stripped = [0, 0];
        let mut bytes = std::mem::take(&mut body.bytes);
        bytes.truncate(end);
        bytes.drain(..start);
        bytes
    }

    /// The bytes of a packet from which no layer has removed anything, as with all that wait in the queues of this crate.
    #[inline]
    pub(crate) fn whole(&self) -> &[u8] {
        let body = self.body();
        debug_assert_eq!(body.stripped, [0, 0]);
        &body.bytes
    }

    #[inline]
    fn body(&self) -> &Body {
        self.body.as_ref().expect("a packet has its body until it is dropped")
    }

    #[inline]
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

    #[inline]
    fn deref(&self) -> &[u8] {
        let body = self.body();
        // Most packets are whole.
        if body.stripped == [0, 0] { &body.bytes } else { body.rest() }
    }
}

impl DerefMut for Packet {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let body = self.body_mut();
        if body.stripped == [0, 0] { &mut body.bytes } else { body.rest_mut() }
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

/// Memory for packets, used again and again: for custom transports, which make packets from what they receive.
///
/// A packet's memory returns to its pool when the packet is dropped, on any thread, and is the first to be reused, while
/// it is warm in the cache. The idle memory is capped; the maker of the packets has to bound how much is in use at a time.
/// A pool is cheap to clone, its clones are the same pool, and packets keep it alive.
///
/// The memory comes in ten sizes, the powers of two from 128 bytes to 64 KiB. A larger packet takes its memory from the
/// allocator, and returns it there. Each server and each stand-alone peer of this crate has its own pool, from which
/// [`Packet::derive`] takes.
///
/// ```
/// use std::time::Instant;
/// use packetpeer::PacketPool;
///
/// let pool = PacketPool::new(256 << 10);
/// let sender = ([192, 0, 2, 1], 9).into();
/// for number in 0..100_u8 {
///     let packet = pool.packet(&[number; 1200], sender, Instant::now());
///     assert_eq!(*packet, [number; 1200]);
/// }
/// assert_eq!(pool.misses(), 1);
/// ```
#[derive(Clone)]
pub struct PacketPool {
    pool: Arc<Pool>,
}

struct Pool {
    idle: Mutex<Idle>,
    /// Takes that found no idle buffer and went to the allocator.
    misses: AtomicU64,
}

/// Idle packet memory, last in first out so that it is warm, one stack per size.
#[derive(Default)]
struct Idle {
    by_size: Stacks,
    bytes: usize,
    max_bytes: usize,
}

type Stacks = [Vec<Box<Body>>; SIZES];

impl PacketPool {
    /// An empty pool that keeps up to `max_idle_bytes` of idle memory. It takes none before the first packet.
    pub fn new(max_idle_bytes: usize) -> Self {
        let idle = Idle { max_bytes: max_idle_bytes, ..Idle::default() };
        Self { pool: Arc::new(Pool { idle: Mutex::new(idle), misses: AtomicU64::new(0) }) }
    }

    /// Changes how much may lie here. What lies here beyond goes back to the allocator.
    pub fn set_max_idle_bytes(&self, max: usize) {
        let mut beyond = Stacks::default();
        let mut idle = self.idle();
        idle.max_bytes = max;
        for size in (0..SIZES).rev() {
            let excess = idle.bytes.saturating_sub(max).div_ceil(cost(size)).min(idle.by_size[size].len());
            let stack = &mut idle.by_size[size];
            beyond[size] = stack.split_off(stack.len() - excess);
            // Also a list that is empty now because all its packets are out: it may have been long.
            stack.shrink_to_fit();
            idle.bytes -= excess * cost(size);
        }
        // Nobody has to wait for the allocator.
        drop(idle);
        drop(beyond);
    }

    /// A packet with a copy of `bytes`. `sender` is converted to the form described at [`Packet::sender`].
    #[must_use]
    pub fn packet(&self, bytes: &[u8], sender: SocketAddr, received_at: Instant) -> Packet {
        self.copy(bytes, &canonical(sender), received_at)
    }

    /// As [`packet`](Self::packet), but with `len` bytes of zero, to be overwritten, for instance by a read from a stream;
    /// see [`Packet::derive_zeroed`].
    #[must_use]
    pub fn zeroed(&self, len: usize, sender: SocketAddr, received_at: Instant) -> Packet {
        self.zeros(len, &canonical(sender), received_at)
    }

    /// As [`packet`](Self::packet), for a sender in canonical form.
    pub(crate) fn copy(&self, bytes: &[u8], sender: &SocketAddr, received_at: Instant) -> Packet {
        self.take(bytes.len(), sender, received_at).fill(bytes, sender, received_at)
    }

    fn zeros(&self, len: usize, sender: &SocketAddr, received_at: Instant) -> Packet {
        let mut packet = self.take(len, sender, received_at).fill(&[], sender, received_at);
        packet.body_mut().bytes.resize(len, 0);
        packet
    }

    /// Memory with room for `len` bytes.
    fn take(&self, len: usize, sender: &SocketAddr, received_at: Instant) -> Box<Body> {
        let size = size_class(len);
        let recycled = size.and_then(|size| self.idle().take(size));
        let mut body = recycled.unwrap_or_else(|| self.make(size, len, sender, received_at));
        body.home = Some(self.clone());
        body
    }

    #[cold]
    fn make(&self, size: Option<usize>, len: usize, sender: &SocketAddr, received_at: Instant) -> Box<Body> {
        self.pool.misses.fetch_add(1, Ordering::Relaxed);
        let capacity = size.map_or(len, |size| SMALLEST << size);
        let bytes = Vec::with_capacity(capacity);
        Box::new(Body { bytes, stripped: [0, 0], sender: *sender, received_at, home: None })
    }

    /// How many packets took their memory from the allocator because none lay idle. In a steady state this stands still.
    pub fn misses(&self) -> u64 {
        self.pool.misses.load(Ordering::Relaxed)
    }

    fn put_back(&self, mut body: Box<Body>) {
        let Some(size) = body.size_class() else { return };
        body.clear();
        let mut idle = self.idle();
        if idle.bytes + cost(size) <= idle.max_bytes {
            idle.bytes += cost(size);
            idle.by_size[size].push(body);
        }
    }

    /// What lies idle, in bytes.
    pub fn idle_bytes(&self) -> usize {
        self.idle().bytes
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.pool, &other.pool)
    }
}

impl fmt::Debug for PacketPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.idle();
        f.debug_struct("PacketPool")
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

    /// Which of `bytes` the packet shows.
    fn visible(&self) -> Range<usize> {
        let [front, back] = self.stripped.map(|len| len as usize);
        front..self.bytes.len() - back
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.visible()).unwrap_or_default()
    }

    fn rest_mut(&mut self) -> &mut [u8] {
        let visible = self.visible();
        self.bytes.get_mut(visible).unwrap_or_default()
    }

    /// Makes it ready for another packet.
    fn clear(&mut self) {
        self.bytes.clear();
        self.stripped = [0, 0];
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
    pool: PacketPool,
    by_size: Stacks,
}

impl Stash {
    pub(crate) fn of(pool: PacketPool) -> Self {
        Self { pool, by_size: Stacks::default() }
    }

    /// A packet with a copy of `bytes`.
    #[inline]
    pub(crate) fn packet(&mut self, bytes: &[u8], sender: &SocketAddr, received_at: Instant) -> Packet {
        let Some(size) = size_class(bytes.len()) else { return self.pool.copy(bytes, sender, received_at) };
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
            body.home = Some(self.pool.clone());
        }
        stack.pop().unwrap_or_else(|| {
            let mut body = self.pool.make(Some(size), 0, sender, received_at);
            body.home = Some(self.pool.clone());
            body
        })
    }

    /// Keeps the memory of a packet for the next, or gives it back to the pool.
    pub(crate) fn recycle(&mut self, mut packet: Packet) {
        let of_this_pool = |home: &Option<PacketPool>| home.as_ref().is_some_and(|home| home.is(&self.pool));
        let Some(mut body) = packet.body.take_if(|body| of_this_pool(&body.home)) else { return };
        let Some(size) = body.size_class() else { return };
        body.clear();
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
        let pool = PacketPool::new(1 << 20);
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
        let pool = PacketPool::new(1024);
        let packets: Vec<_> = (0..100).map(|_| pool.packet(&[1; 100], sender(), Instant::now())).collect();
        drop(packets);
        assert_eq!(pool.idle().by_size[0].len(), 1024 / cost(0));
        assert_eq!(pool.idle().bytes, 1024 / cost(0) * cost(0));
    }

    #[test]
    fn the_cap_can_be_changed_both_ways() {
        let pool = PacketPool::new(1 << 20);
        let lie_down = || {
            let sizes = (0..300).map(|number| 100 << (number % 3));
            let packets: Vec<_> = sizes.map(|size| pool.packet(&vec![1; size], sender(), Instant::now())).collect();
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

    /// A list as long as there had been packets stayed, up to eight bytes for each, since nothing was in it.
    #[test]
    fn a_lowered_cap_shortens_the_lists_of_packets_that_are_out() {
        let pool = PacketPool::new(1 << 20);
        let take_all = || (0..1_000).map(|_| pool.packet(&[1], sender(), Instant::now())).collect::<Vec<_>>();
        drop(take_all());
        let out = take_all();
        assert!(pool.idle().by_size[0].capacity() >= out.len());
        pool.set_max_idle_bytes(1_000);
        assert!(pool.idle().by_size.iter().all(|list| list.capacity() == 0));
    }

    #[test]
    fn a_stash_takes_many_at_a_time_and_the_pool_knows() {
        let pool = PacketPool::new(1 << 20);
        let packets: Vec<_> = (0..100).map(|_| pool.packet(b"early", sender(), Instant::now())).collect();
        drop(packets);
        let mut stash = Stash::of(pool.clone());
        let misses = pool.misses();
        let packets: Vec<_> = (0..100).map(|_| stash.packet(b"late", &sender(), Instant::now())).collect();
        assert_eq!(pool.misses(), misses, "all hundred came from the pool");
        assert_eq!(pool.idle().bytes, 0, "all hundred came from the pool");
        assert!(packets.iter().all(|packet| **packet == *b"late"));
        drop(packets);
        assert_eq!(pool.idle().bytes, 100 * cost(0), "and went back there");
    }

    #[test]
    fn a_stash_keeps_what_it_may_soon_need_and_no_more() {
        let pool = PacketPool::new(1 << 30);
        let mut stash = Stash::of(pool.clone());
        for size in 0..SIZES {
            let bytes = vec![7; SMALLEST << size];
            let packets: Vec<_> = (0..100).map(|_| pool.packet(&bytes, sender(), Instant::now())).collect();
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
        let pool = PacketPool::new(1 << 20);
        assert_eq!(pool.packet(b"keep", sender(), Instant::now()).into_vec(), b"keep");
        assert_eq!(pool.idle().bytes, 0);
    }

    #[test]
    fn memory_that_layers_took_bytes_away_from_comes_back_whole() {
        let pool = PacketPool::new(1 << 20);
        let mut stash = Stash::of(pool.clone());
        for by_stash in [false, true] {
            let mut packet = pool.packet(&[7; 128], sender(), Instant::now());
            assert!(packet.strip_front(100).is_some() && packet.strip_back(20).is_some());
            if by_stash {
                stash.recycle(packet)
            } else {
                drop(packet)
            }
            let packet = match by_stash {
                false => pool.packet(&[8; 128], sender(), Instant::now()),
                true => stash.packet(&[8; 128], &sender(), Instant::now()),
            };
            assert_eq!(*packet, [8; 128]);
            assert_eq!(packet.whole(), [8; 128]);
        }
        assert_eq!(pool.misses(), 1);
        assert_eq!(pool.idle_bytes(), cost(0));
    }

    #[test]
    fn a_packet_outlives_its_pool() {
        let pool = PacketPool::new(1 << 20);
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
