//! The side of a mailbox that sends: the handle puts in, a flush takes out.

use std::sync::Arc;

use super::contents::Contents;
use super::limits::{QueueLimits, SendMode};
use super::mailbox::Mailbox;
use super::payload::Payload;
use super::queue::{PacketQueue, Room, Weigh};
use crate::peer_state::CloseReason;
use crate::stats::SendDropReason;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

/// What became of a packet that was to wait to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posted {
    Queued,
    Ended(CloseReason),
    Full,
}

impl Mailbox {
    /// Bytes for this peer, in memory of the pool.
    pub(crate) fn payload(&self, bytes: &[u8]) -> Payload {
        self.shared.payload(bytes, &self.first_remote)
    }

    /// Lets `payload` wait for the next flush.
    pub(crate) fn post(self: &Arc<Self>, payload: Payload) -> Posted {
        let limits = self.shared.send_queue_limits();
        let (room, len, weight) = match &payload {
            Payload::Own(packet) => (self.shared.send_room(), packet.size(), packet.size()),
            // It has its room already, once for all its peers.
            Payload::Shared(_) => (Room::any(), payload.len(), 0),
        };
        let mut contents = self.contents();
        // Asked under the lock: who ends a peer takes it afterwards, so nothing is posted behind the last flush.
        if let Some(reason) = self.ended() {
            return Posted::Ended(reason);
        }
        self.shared.sends().count_queued(weight);
        let queue = contents.outbox.queue.get_or_insert_default();
        if queue.fits(len, &limits, room) {
            let is_one_of_several = queue.add(payload);
            self.note_posted(&mut contents, is_one_of_several);
        } else {
            self.note_posted(&mut contents, true);
            if !self.post_with_care(&mut contents, payload, &limits, room) {
                return Posted::Full;
            }
        }
        if !contents.outbox.listed {
            contents.outbox.listed = true;
            self.shared.list_to_flush(Arc::clone(self));
        }
        Posted::Queued
    }

    /// Whether a put of `size` bytes finds room: where it has to wait, and at an address that is not confirmed.
    #[inline]
    pub(crate) fn can_put(&self, size: usize) -> bool {
        let mode = self.shared.send_mode();
        (mode == SendMode::Now && !self.has_moved()) || self.has_room_for(size, mode)
    }

    fn has_room_for(&self, size: usize, mode: SendMode) -> bool {
        // No slice is longer, and no sum of sizes runs over.
        if isize::try_from(size).is_err() {
            return false;
        }
        let mut contents = self.contents();
        let has_to_wait = match mode {
            SendMode::Now => false,
            SendMode::QueueWhenBlocked => contents.outbox.listed,
            SendMode::OnFlush => true,
        };
        let none = PacketQueue::default();
        let queue = contents.outbox.queue.as_deref().unwrap_or(&none);
        if has_to_wait && !queue.fits(size, &self.shared.send_queue_limits(), self.shared.send_room()) {
            return false;
        }
        let waits = (queue.bytes(), queue.len());
        contents.whereabouts().is_none_or(|whereabouts| whereabouts.has_room(size, waits))
    }

    /// The part of [`Mailbox::post`] where something has to be dropped. Returns whether `payload` waits now.
    #[cold]
    fn post_with_care(&self, contents: &mut Contents, payload: Payload, limits: &QueueLimits, room: Room) -> bool {
        let queue = contents.outbox.queue.get_or_insert_default();
        let Some(lost) = queue.push_within(payload, limits, room) else { return true };
        let sends = self.shared.sends();
        contents.drops.add_unsent(lost.bound.into(), lost.packets);
        sends.count_unqueued(lost.packets, lost.bytes);
        sends.count_drops(lost.bound.into(), lost.packets);
        !lost.refused
    }

    /// Whether something waits to be sent, so that what is put now has to wait too.
    pub(crate) fn is_sending(&self) -> bool {
        self.contents().outbox.listed
    }

    /// Takes all that waits to be sent, the oldest first, for a flush, which counts what then waits no more. Until
    /// [`Mailbox::flushed`] says so, what is put waits behind it. What is over the budget of an address that is not
    /// confirmed is counted here, and gone; returns how many datagrams that were.
    pub(crate) fn take_to_send(&self, each: impl FnMut(Payload)) -> usize {
        let mut contents = self.contents();
        // Where nothing is sent past a flush, what is put in the meantime waits for the next one anyway.
        contents.outbox.listed = self.shared.send_mode() != SendMode::OnFlush;
        if self.has_moved() {
            return self.take_to_send_with_care(contents, each);
        }
        if let Some(queue) = &mut contents.outbox.queue {
            queue.take_all(each);
        }
        0
    }

    /// The rest of [`Mailbox::take_to_send`] where the remote has moved, and what goes there may be limited.
    #[inline(never)]
    fn take_to_send_with_care(&self, mut contents: MutexGuard<'_, Contents>, mut each: impl FnMut(Payload)) -> usize {
        let Contents { outbox, rare, .. } = &mut *contents;
        let whereabouts = rare.as_mut().and_then(|rare| rare.moved.as_mut());
        let (Some(queue), Some(whereabouts)) = (&mut outbox.queue, whereabouts) else { return 0 };
        let (mut dropped, mut bytes) = (0, 0);
        queue.take_all(|payload| match whereabouts.charge(payload.len()) {
            Ok(()) => each(payload),
            Err(_) => {
                dropped += 1;
                bytes += payload.weight();
            }
        });
        if dropped > 0 {
            let sends = self.shared.sends();
            sends.count_unqueued(dropped, bytes);
            sends.count_drops(SendDropReason::Unconfirmed, dropped);
            contents.drops.add_unsent(SendDropReason::Unconfirmed, dropped);
        }
        dropped as usize
    }

    /// Gives back what could not be sent yet; the last first, so that the order is as before.
    pub(crate) fn send_later(self: &Arc<Self>, payload: Payload) {
        let mut contents = self.contents();
        // It is charged when it is taken again. Nobody moves during a flush, so this is the address that was charged.
        if let Some(whereabouts) = contents.whereabouts() {
            whereabouts.refund(payload.len());
        }
        contents.outbox.queue.get_or_insert_default().push_front(payload);
        self.note_posted(&mut contents, true);
        if !std::mem::replace(&mut contents.outbox.listed, true) {
            self.shared.list_to_flush(Arc::clone(self));
        }
    }

    /// Ends this peer's part of a flush.
    pub(crate) fn flushed(self: &Arc<Self>) {
        if self.shared.send_mode() == SendMode::OnFlush {
            return;
        }
        let mut contents = self.contents();
        contents.outbox.listed = contents.outbox.queue.as_ref().is_some_and(|queue| queue.len() > 0);
        if contents.outbox.listed {
            self.shared.list_to_flush(Arc::clone(self));
        }
    }

    /// Counts a datagram of a flush or broadcast that was sent. The caller counts it for the server, and is the
    /// server's thread.
    pub(crate) fn count_flushed(&self, bytes: usize) {
        self.flushed.add(bytes);
    }

    /// Counts a broadcast that this peer is among. The caller counts it for the server, and is the server's thread.
    pub(crate) fn count_broadcast(&self) {
        self.broadcasts.store(self.broadcasts.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Counts a datagram that the handle, which calls, has sent at once.
    pub(crate) fn count_sent_at_once(&self, bytes: usize) {
        self.shared.sends().count_sent_at_once(bytes);
        self.sent_at_once.add(bytes);
    }

    /// Counts a datagram that was not sent. That it was put is counted elsewhere.
    #[cold]
    pub(crate) fn count_unsent(&self, reason: SendDropReason) {
        self.shared.sends().count_drops(reason, 1);
        self.contents().drops.add_unsent(reason, 1);
    }
}
