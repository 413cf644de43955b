//! Datagrams as they are received: many of them in one block of memory.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Room for the datagrams of one [`Transport::receive`](crate::socket::Transport::receive).
///
/// Servers and peers supply it. A transport that wraps another may receive into one of its own, and push what it lets pass
/// into the one it was given.
///
/// The memory is one zeroed block, so the system hands out real pages only for slots that were really written.
pub struct ReceiveBatch {
    bytes: Box<[u8]>,
    slot_len: usize,
    /// Bytes from one slot to the next: at least 1, so that slots without room are as many as others.
    stride: usize,
    received: Vec<Received>,
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
struct Received {
    sender: SocketAddr,
    len: usize,
    cut: bool,
    local: Option<IpAddr>,
}

/// One datagram of a [`ReceiveBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// Where it came from.
    pub sender: SocketAddr,
    /// Its payload.
    pub bytes: &'a [u8],
    /// The datagram was longer than the slot; its end is lost.
    pub cut: bool,
    /// Which address of this host it was sent to, where the transport was asked to find out. What was sent to a broadcast
    /// address or a group has the one to answer from, or `None`: the system's choice.
    pub local: Option<IpAddr>,
}

impl<'a> Datagram<'a> {
    /// A whole one, sent to an address of this host that nobody has asked for. Its fields can be changed: by a transport
    /// that knows more of it, or that plays back what was recorded.
    ///
    /// ```
    /// use packetpeer::socket::{Datagram, ReceiveBatch};
    ///
    /// let mut recorded = Datagram::new(([192, 0, 2, 1], 9).into(), b"hello");
    /// recorded.local = Some([192, 0, 2, 2].into());
    /// let mut batch = ReceiveBatch::new(4, 1200);
    /// batch.push_datagram(&recorded);
    /// assert_eq!(batch.iter().next(), Some(recorded));
    /// ```
    pub fn new(sender: SocketAddr, bytes: &'a [u8]) -> Self {
        Self { sender, bytes, cut: false, local: None }
    }
}

/// One datagram of a [`ReceiveBatch`], where it lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived<'a> {
    received: &'a Received,
    /// Its payload.
    pub(crate) bytes: &'a [u8],
}

impl ReceiveBatch {
    /// Room for `slots` datagrams of `slot_len` bytes each. Where that is 0, of each its sender alone.
    pub fn new(slots: usize, slot_len: usize) -> Self {
        let stride = slot_len.max(1);
        Self {
            bytes: vec![0; slots * stride].into_boxed_slice(),
            slot_len,
            stride,
            received: Vec::with_capacity(slots),
            limit: slots,
        }
    }

    /// Room for `slots` datagrams with payloads of up to `longest` bytes each. A slot has one byte more, for systems that do
    /// not report that they have cut a datagram: one that fills the slot was too long.
    pub(crate) fn for_payloads(slots: usize, longest: usize) -> Self {
        Self::new(slots, longest + 1)
    }

    /// Adds a datagram, cut where it is longer than a slot. Ignored when the batch is full.
    pub fn push(&mut self, sender: SocketAddr, bytes: &[u8]) {
        self.push_datagram(&Datagram::new(sender, bytes));
    }

    /// Adds a datagram of another batch, or one of which more is known than its sender. Ignored when this one is full.
    pub fn push_datagram(&mut self, datagram: &Datagram<'_>) {
        let Some(slot) = self.next_slot() else { return };
        let len = datagram.bytes.len().min(slot.len());
        slot[..len].copy_from_slice(&datagram.bytes[..len]);
        self.commit(datagram.sender, len, datagram.cut || datagram.bytes.len() > len, datagram.local);
    }

    /// The room for each datagram, in bytes. A transport that removes something from each datagram receives into a batch
    /// with slots longer by that.
    pub fn slot_len(&self) -> usize {
        self.slot_len
    }

    /// How many more datagrams are asked for.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.received.len())
    }

    /// Whether no further datagram is asked for.
    pub fn is_full(&self) -> bool {
        self.received.len() >= self.limit
    }

    /// Datagrams pushed since the last clear.
    pub fn len(&self) -> usize {
        self.received.len()
    }

    /// Whether nothing was pushed since the last clear.
    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The slots that datagrams are to be written into, in this order, by a system call that fills several.
    #[cfg(all(any(target_os = "linux", target_os = "android"), not(packetpeer_portable)))]
    pub(crate) fn free_slots(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        let used = self.received.len();
        let free = self.limit.saturating_sub(used);
        let slot_len = self.slot_len;
        self.bytes.chunks_mut(self.stride).skip(used).take(free).map(move |slot| &mut slot[..slot_len])
    }

    /// The bytes the next datagram is to be written into, if the batch is not full.
    pub(crate) fn next_slot(&mut self) -> Option<&mut [u8]> {
        if self.is_full() {
            return None;
        }
        let start = self.received.len() * self.stride;
        self.bytes.get_mut(start..start + self.slot_len)
    }

    /// Declares the first `len` bytes of the next slot to be a datagram from `sender`.
    pub(crate) fn commit(&mut self, sender: SocketAddr, len: usize, cut: bool, local: Option<IpAddr>) {
        self.received.push(Received { sender, len, cut, local });
    }

    /// Empties the batch and asks for at most `limit` datagrams, or as many as there are slots.
    pub fn clear(&mut self, limit: usize) {
        self.received.clear();
        self.limit = limit.min(self.received.capacity());
    }

    /// What has been pushed since the last clear, in that order.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.arrived().map(|arrived| arrived.datagram())
    }

    /// The same, without a copy of anything.
    pub(crate) fn arrived(&self) -> impl Iterator<Item = Arrived<'_>> {
        let slots = self.bytes.chunks_exact(self.stride);
        self.received.iter().zip(slots).map(|(received, slot)| Arrived { received, bytes: &slot[..received.len] })
    }
}

impl<'a> Arrived<'a> {
    pub(crate) fn sender(&self) -> &'a SocketAddr {
        &self.received.sender
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.received.cut
    }

    pub(crate) fn local(&self) -> &'a Option<IpAddr> {
        &self.received.local
    }

    pub(crate) fn datagram(&self) -> Datagram<'a> {
        let Received { sender, cut, local, .. } = *self.received;
        Datagram { sender, bytes: self.bytes, cut, local }
    }
}

impl fmt::Debug for ReceiveBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBatch")
            .field("received", &self.received)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_keeps_to_its_limit_and_says_what_it_cut() {
        let sender = SocketAddr::from(([127, 0, 0, 1], 7));
        let mut batch = ReceiveBatch::new(4, 8);
        batch.clear(2);
        batch.push(sender, b"short");
        assert!(!batch.is_full());
        batch.push(sender, b"longer than a slot");
        assert!(batch.is_full());
        batch.push(sender, b"one too many");

        let seen: Vec<_> = batch.iter().map(|datagram| (datagram.bytes, datagram.cut)).collect();
        assert_eq!(seen, [(&b"short"[..], false), (&b"longer t"[..], true)]);
    }

    /// It panicked.
    #[test]
    fn slots_without_room_say_who_has_sent() {
        let sender = SocketAddr::from(([127, 0, 0, 1], 7));
        let mut batch = ReceiveBatch::new(2, 0);
        assert_eq!(batch.iter().count(), 0);
        for bytes in [&b"x"[..], b"", b"one too many"] {
            batch.push(sender, bytes);
        }
        let seen: Vec<_> = batch.iter().map(|datagram| (datagram.sender, datagram.bytes, datagram.cut)).collect();
        assert_eq!(seen, [(sender, &b""[..], true), (sender, b"", false)]);
        assert!(ReceiveBatch::new(0, 0).is_full());
    }
}
