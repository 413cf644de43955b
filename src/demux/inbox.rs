//! The side of a mailbox that receives: the server puts in, the handle takes out.

use std::net::IpAddr;

use super::contents::Contents;
use super::limits::QueueLimits;
use super::mailbox::Mailbox;
use super::queue::{Overflow, PacketQueue, Room, Weigh};
use crate::error::GetIntoError;
use crate::packet::Packet;
use crate::stats::DropReason;
use crate::sync::MutexGuard;
use crate::sync::atomic::Ordering;

impl Mailbox {
    /// Queues a received packet, where all the server's queues together have `room` for its bytes; says what was
    /// dropped instead, which may be the packet itself. The caller counts for the server.
    ///
    /// It is inlined into the caller's loop over the batch, and so handles only what nearly all packets need: there is room,
    /// and nothing beside the packet is to be remembered. `local` is a reference, since for most packets it is only asked
    /// whether there is one.
    #[inline]
    pub(super) fn push(
        &self,
        packet: Packet,
        local: &Option<IpAddr>,
        limits: &QueueLimits,
        room: Room,
    ) -> Option<Overflow> {
        let len = packet.size();
        let mut contents = self.contents();
        contents.received += 1;
        contents.received_bytes += len as u64;
        if !contents.inbox.fits(len, limits, room) || local.is_some() || contents.rare.is_some() {
            return self.push_with_care(contents, packet, local, limits, room);
        }
        if contents.inbox.add(packet) {
            self.note_memory(&mut contents);
            self.publish_waiting(&contents);
        } else {
            self.waiting.store(1, Ordering::Release);
        }
        None
    }

    /// The rest of [`Mailbox::push`] where something has to be remembered, dropped, or rung: out of the caller's loop,
    /// to which it would lend its stack frame and its registers.
    #[inline(never)]
    fn push_with_care(
        &self,
        mut contents: MutexGuard<'_, Contents>,
        packet: Packet,
        local: &Option<IpAddr>,
        limits: &QueueLimits,
        room: Room,
    ) -> Option<Overflow> {
        // A straggler spoke from where the answers do not go any more.
        if local.is_some() && contents.is_at(packet.sender()) {
            contents.rare().local = *local;
        }
        let overflow = contents.inbox.push_within(packet, limits, room);
        if let Some(lost) = overflow {
            contents.drops.add(lost.bound.into(), lost.packets);
        }
        self.publish_waiting(&contents);
        if contents.inbox.has_several() {
            self.note_memory(&mut contents);
        }
        let bell = if overflow.is_some_and(|lost| lost.refused) { None } else { contents.bell() };
        drop(contents);
        if let Some(bell) = bell {
            bell.ring();
        }
        overflow
    }

    /// Counts a datagram that is not even offered to the queue.
    pub(super) fn count_dropped(&self, reason: DropReason, bytes: usize) {
        let mut contents = self.contents();
        contents.received += 1;
        contents.received_bytes += bytes as u64;
        contents.drops.add(reason, 1);
    }

    /// Takes the packet that has waited longest.
    #[inline]
    pub(crate) fn take(&self) -> Option<Packet> {
        if self.waiting() == 0 { None } else { self.take_from(&mut self.contents()) }
    }

    /// The same, unless it is longer than `room`.
    #[inline]
    pub(crate) fn take_up_to(&self, room: usize) -> Result<Option<Packet>, GetIntoError> {
        if self.waiting() == 0 {
            return Ok(None);
        }
        let mut contents = self.contents();
        match contents.inbox.front() {
            Some(packet) if packet.size() > room => Err(GetIntoError::BufferTooSmall { size: packet.size(), room }),
            _ => Ok(self.take_from(&mut contents)),
        }
    }

    /// Takes whatever was received out of circulation, and returns it for the caller to count.
    pub(super) fn discard(&self) -> PacketQueue<Packet> {
        let mut contents = self.contents();
        let inbox = std::mem::take(&mut contents.inbox);
        self.publish_waiting(&contents);
        inbox
    }

    #[inline]
    fn take_from(&self, contents: &mut Contents) -> Option<Packet> {
        let packet = contents.inbox.pop()?;
        self.publish_waiting(contents);
        self.shared.count_delivered(packet.size());
        Some(packet)
    }
}
