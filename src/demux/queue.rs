use std::collections::VecDeque;

use super::limits::{QueueLimits, WhenFull};
use crate::packet::Packet;
use crate::stats::{DropReason, SendDropReason};

/// Packets that wait, to be taken or to be sent; bounded by count and bytes.
#[derive(Debug)]
pub(crate) struct PacketQueue<P> {
    /// The one that has waited longest. Most queues never hold more, and so take no memory beside themselves.
    first: Option<P>,
    /// Made when it is needed, and kept until [`PacketQueue::shrink`].
    #[allow(clippy::box_collection, reason = "most queues do without, and are a third as large for it")]
    others: Option<Box<VecDeque<P>>>,
    bytes: usize,
}

/// Which bound of a queue was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Packets,
    Bytes,
    /// That of all queues together.
    ServerBytes,
}

impl From<Bound> for DropReason {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Packets => Self::QueuePackets,
            Bound::Bytes => Self::QueueBytes,
            Bound::ServerBytes => Self::ServerBytes,
        }
    }
}

impl From<Bound> for SendDropReason {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Packets => Self::QueuePackets,
            Bound::Bytes => Self::QueueBytes,
            Bound::ServerBytes => Self::ServerBytes,
        }
    }
}

/// What a packet counts for in the bytes of all queues together.
pub(crate) trait Weigh {
    /// Its bytes, but for those of memory that it shares with packets of other queues.
    fn weight(&self) -> usize;

    /// Its bytes, which do not change while it waits.
    fn size(&self) -> usize;
}

impl Weigh for Packet {
    fn weight(&self) -> usize {
        self.size()
    }

    fn size(&self) -> usize {
        self.whole().len()
    }
}

/// What a push into a full queue cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow {
    pub(crate) bound: Bound,
    /// Packets dropped, and what they weighed. The new one is among them if it was refused.
    pub(crate) packets: u64,
    pub(crate) bytes: usize,
    pub(crate) refused: bool,
}

/// How many bytes more may wait in all queues together: fewer than none where a limit was lowered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Room(i64);

impl Room {
    pub(super) fn left(limit: usize, waiting: u64) -> Self {
        let saturated = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        Self(saturated(limit as u64) - saturated(waiting))
    }

    pub(super) fn holds(self, len: usize) -> bool {
        len as i64 <= self.0
    }

    /// Enough for anything.
    pub(super) fn any() -> Self {
        Self(i64::MAX)
    }

    pub(super) fn shrink(&mut self, by: usize) {
        self.0 -= by as i64;
    }

    pub(super) fn grow(&mut self, by: usize) {
        self.0 += by as i64;
    }
}

impl Overflow {
    /// All queues together have no room for a packet of this weight more.
    fn no_room(weight: usize) -> Self {
        Self { bound: Bound::ServerBytes, packets: 1, bytes: weight, refused: true }
    }
}

impl<P: Weigh> PacketQueue<P> {
    /// Adds a packet; says what had to go instead, which may be the packet itself.
    pub(crate) fn push(&mut self, packet: P, limits: &QueueLimits) -> Option<Overflow> {
        let overflow = self.full(packet.size(), limits).map(|bound| self.make_room(bound, &packet, limits));
        if overflow.is_some_and(|lost| lost.refused) {
            return overflow;
        }
        self.add(packet);
        overflow
    }

    /// As [`push`](Self::push), where all queues together have `room`.
    pub(super) fn push_within(&mut self, packet: P, limits: &QueueLimits, room: Room) -> Option<Overflow> {
        let weight = packet.weight();
        if room.holds(weight) { self.push(packet, limits) } else { Some(Overflow::no_room(weight)) }
    }

    /// Whether a packet of `len` bytes, which weighs as much, can be [added](Self::add) without anything being dropped.
    #[inline]
    pub(super) fn fits(&self, len: usize, limits: &QueueLimits, room: Room) -> bool {
        // Most find the queue empty, and there is not much to be asked then.
        let fits = match self.first {
            None => limits.packets > 0 && len <= limits.bytes,
            Some(_) => self.full(len, limits).is_none(),
        };
        fits && room.holds(len)
    }

    /// Adds a packet for which there is room. Returns whether it takes memory of the queue's.
    #[inline]
    pub(super) fn add(&mut self, packet: P) -> bool {
        self.bytes += packet.size();
        if self.first.is_none() {
            self.first = Some(packet);
            return false;
        }
        self.others.get_or_insert_default().push_back(packet);
        true
    }

    /// Whether it takes memory beside itself and its packets.
    pub(super) fn has_grown(&self) -> bool {
        self.others.is_some()
    }

    /// Whether it needs that memory for what waits now.
    #[inline]
    pub(super) fn has_several(&self) -> bool {
        self.others.as_ref().is_some_and(|others| !others.is_empty())
    }

    /// Gives back the memory that is not needed for what waits now.
    pub(super) fn shrink(&mut self) {
        match &mut self.others {
            Some(others) if !others.is_empty() => others.shrink_to_fit(),
            others => *others = None,
        }
    }

    /// Drops what has to go for `packet`, or says that it is refused.
    #[cold]
    fn make_room(&mut self, bound: Bound, packet: &P, limits: &QueueLimits) -> Overflow {
        let len = packet.size();
        let mut lost = Overflow { bound, packets: 0, bytes: 0, refused: false };
        while self.full(len, limits).is_some() {
            lost.packets += 1;
            // A packet larger than the whole queue may be drops nothing but itself.
            let oldest = match limits.when_full {
                WhenFull::DropOldest if len <= limits.bytes && limits.packets > 0 => self.pop(),
                _ => None,
            };
            match oldest {
                Some(oldest) => lost.bytes += oldest.weight(),
                None => {
                    lost.bytes += packet.weight();
                    lost.refused = true;
                    break;
                }
            }
        }
        lost
    }

    /// Puts back what was popped and could not be sent after all. It had room before, and is given it again.
    pub(crate) fn push_front(&mut self, packet: P) {
        self.bytes += packet.size();
        if let Some(second) = self.first.replace(packet) {
            self.others.get_or_insert_default().push_front(second);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<P> {
        let packet = self.first.take()?;
        if let Some(others) = &mut self.others {
            self.first = others.pop_front();
        }
        self.bytes -= packet.size();
        Some(packet)
    }

    /// Takes all, the oldest first.
    pub(crate) fn take_all(&mut self, mut each: impl FnMut(P)) {
        self.bytes = 0;
        if let Some(first) = self.first.take() {
            each(first);
        }
        if let Some(others) = &mut self.others {
            others.drain(..).for_each(each);
        }
    }

    pub(crate) fn front(&self) -> Option<&P> {
        self.first.as_ref()
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.as_ref().map_or(0, |others| others.len())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which bound stands in the way of a packet of `more` bytes.
    #[inline]
    fn full(&self, more: usize, limits: &QueueLimits) -> Option<Bound> {
        if self.len() >= limits.packets {
            Some(Bound::Packets)
        } else if self.bytes + more > limits.bytes {
            Some(Bound::Bytes)
        } else {
            None
        }
    }
}

impl<P> Default for PacketQueue<P> {
    fn default() -> Self {
        Self { first: None, others: None, bytes: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Instant;

    fn packet(bytes: &[u8]) -> Packet {
        Packet::new(bytes.to_vec(), SocketAddr::from(([192, 0, 2, 1], 9)), Instant::now())
    }

    fn contents(queue: &PacketQueue<Packet>) -> Vec<&[u8]> {
        queue.first.iter().chain(queue.others.iter().flat_map(|others| others.iter())).map(|packet| &**packet).collect()
    }

    fn filled(limits: &QueueLimits, packets: &[&[u8]]) -> PacketQueue<Packet> {
        let mut queue = PacketQueue::default();
        for bytes in packets {
            assert_eq!(queue.push(packet(bytes), limits), None);
        }
        queue
    }

    #[test]
    fn the_newest_is_refused_by_default() {
        let limits = QueueLimits::new().packets(2).bytes(100);
        let mut queue = filled(&limits, &[b"a", b"b"]);
        let lost = queue.push(packet(b"ccc"), &limits).unwrap();
        assert_eq!(lost, Overflow { bound: Bound::Packets, packets: 1, bytes: 3, refused: true });
        assert_eq!(contents(&queue), [b"a", b"b"]);
    }

    #[test]
    fn the_oldest_make_room_where_asked() {
        let limits = QueueLimits::new().packets(10).bytes(6).when_full(WhenFull::DropOldest);
        let mut queue = filled(&limits, &[b"aa", b"bb", b"cc"]);
        let lost = queue.push(packet(b"dddd"), &limits).unwrap();
        assert_eq!(lost, Overflow { bound: Bound::Bytes, packets: 2, bytes: 4, refused: false });
        assert_eq!(contents(&queue), [&b"cc"[..], b"dddd"]);
        assert_eq!(queue.bytes(), 6);
    }

    #[test]
    fn what_can_never_fit_drops_nobody_else() {
        let limits = QueueLimits::new().packets(10).bytes(6).when_full(WhenFull::DropOldest);
        let mut queue = filled(&limits, &[b"aa"]);
        assert!(queue.push(packet(b"7 bytes"), &limits).unwrap().refused);
        assert_eq!(contents(&queue), [b"aa"]);

        let none = QueueLimits::new().packets(0).when_full(WhenFull::DropOldest);
        assert!(PacketQueue::default().push(packet(b""), &none).unwrap().refused);
    }

    #[test]
    fn empty_packets_count_as_packets() {
        let limits = QueueLimits::new().packets(2).bytes(0);
        let mut queue = filled(&limits, &[b"", b""]);
        assert!(queue.push(packet(b""), &limits).is_some());
        assert_eq!(queue.len(), 2);
    }
    #[test]
    fn a_queue_that_shrinks_keeps_what_waits() {
        let limits = QueueLimits::new();
        let mut queue = filled(&limits, &[b"1"]);
        assert!(!queue.has_grown());
        (0..100).for_each(|_| assert!(queue.add(packet(b"x"))));
        (0..99).for_each(|_| drop(queue.pop()));
        queue.shrink();
        assert!(queue.has_grown() && queue.others.as_ref().unwrap().capacity() < 8);
        assert_eq!((contents(&queue), queue.bytes()), (vec![&b"x"[..], b"x"], 2));
        queue.pop();
        queue.shrink();
        assert!(!queue.has_grown());
        assert_eq!((contents(&queue), queue.bytes()), (vec![&b"x"[..]], 1));
    }
}
