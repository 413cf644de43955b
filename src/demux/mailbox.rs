use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};

use super::common::Common;
use super::drop_list::DropList;
use super::identity::ConnectionId;
use super::key::Key;
use super::limits::{QueueLimits, SendMode};
use super::payload::Payload;
use super::queue::PacketQueue;
use super::queue::{Overflow, Room, Weigh};
use super::tally::OwnTally;
use super::whereabouts::{NewAddress, OverBudget, Way, Whereabouts};
use crate::error::GetIntoError;
use crate::packet::Packet;
use crate::peer_id::{LocalId, PeerId};
use crate::peer_state::CloseReason;
use crate::stats::{DropReason, PeerStats, SendDropReason};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What the server and a peer's handle share: what has been received and not taken, what has been put and not sent,
/// whether the peer has ended, and counters.
///
/// Only the server receives into it and flushes it, only the handle takes and puts, either may end it. The lock is held
/// for the move of one packet, never across a system call; asking whether anything waits, and whether it has ended,
/// takes no lock.
pub(crate) struct Mailbox {
    id: LocalId,
    connection: Option<ConnectionId>,
    first_remote: SocketAddr,
    /// Whether the remote has ever been another; which it is, is in the contents.
    has_moved: AtomicBool,
    shared: Arc<Common>,
    /// The remote has spoken to the socket that this peer has for itself.
    switched: AtomicBool,
    /// There is no handle any more.
    abandoned: AtomicBool,
    /// 0 while open, else a [`CloseReason`]; see `encode`.
    ended: AtomicU8,
    waiting: AtomicU32,
    /// What the handle has sent at once, and what the server has sent by flush or broadcast. Each counts for itself, so
    /// that neither has to exclude the other.
    sent_at_once: OwnTally,
    flushed: OwnTally,
    /// Broadcasts that it was among. The puts of the handle are counted there.
    broadcasts: AtomicU64,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    inbox: PacketQueue<Packet>,
    outbox: Outbox,
    received: u64,
    received_bytes: u64,
    drops: DropList,
    /// Made when it is needed, which for most peers is never.
    rare: Option<Box<Rare>>,
}

/// What has been put and not sent. Most servers send at once: it takes memory from the first packet on, until the peer
/// has been quiet for a while.
#[derive(Default)]
struct Outbox {
    queue: Option<Box<PacketQueue<Payload>>>,
    /// In the server's list of peers that have something to send, or being flushed.
    listed: bool,
    memory: Memory,
}

/// What is known of the memory of both queues. It stands with one of them because there is room.
#[derive(Default)]
struct Memory {
    /// One of the queues takes some, and the peer is in the server's list of such peers.
    has_grown: bool,
    /// Several packets waited at a time since it was looked at last.
    is_used: bool,
    /// Something was put to wait since then.
    is_posted: bool,
}

/// What most peers do without.
#[derive(Default)]
struct Rare {
    /// Where the remote is, if it has moved. In a place of its own: where replies leave from a pinned address every peer
    /// is rare, and few of them move.
    moved: Option<Box<Whereabouts>>,
    /// Which address of this host the remote has spoken to from where it is, where the transport tells.
    local: Option<IpAddr>,
    bell: Option<Arc<dyn Bell>>,
}

/// Rung when something has changed for whoever waits for a mailbox.
pub(crate) trait Bell: Send + Sync {
    fn ring(&self);
}

/// What became of a packet that was to wait to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posted {
    Queued,
    Ended(CloseReason),
    Full,
}

impl Mailbox {
    pub(super) fn new(id: LocalId, connection: Option<ConnectionId>, remote: SocketAddr, shared: Arc<Common>) -> Self {
        Self {
            id,
            connection,
            first_remote: remote,
            has_moved: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            shared,
            ended: AtomicU8::new(OPEN),
            waiting: AtomicU32::new(0),
            sent_at_once: OwnTally::default(),
            flushed: OwnTally::default(),
            broadcasts: AtomicU64::new(0),
            contents: Mutex::default(),
        }
    }

    /// Queues a received packet, where all the server's queues together have `room` for its bytes; says what was
    /// dropped instead, which may be the packet itself. The caller counts for the server.
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

    /// Says that several packets wait in a queue, which takes memory.
    #[inline]
    fn note_memory(&self, contents: &mut Contents) {
        contents.outbox.memory.is_used = true;
        self.note_growth(contents);
    }

    /// Says that something was put to wait, perhaps behind something else.
    #[inline]
    fn note_posted(&self, contents: &mut Contents, is_one_of_several: bool) {
        let memory = &mut contents.outbox.memory;
        memory.is_posted = true;
        memory.is_used |= is_one_of_several;
        self.note_growth(contents);
    }

    #[inline]
    fn note_growth(&self, contents: &mut Contents) {
        if !contents.outbox.memory.has_grown {
            contents.outbox.memory.has_grown = true;
            self.shared.list_grown(self.id);
        }
    }

    /// Gives back what memory of the queues was not used since this was asked before. Returns whether there is no more
    /// of it, and so no need to ask again before the peer is [listed](Common::list_grown) anew.
    pub(super) fn give_back_memory(&self) -> bool {
        let mut contents = self.contents();
        let Contents { inbox, outbox: Outbox { queue, memory, .. }, .. } = &mut *contents;
        let (is_used, is_posted) = (std::mem::take(&mut memory.is_used), std::mem::take(&mut memory.is_posted));
        if !is_used {
            inbox.shrink();
            queue.iter_mut().for_each(|queue| queue.shrink());
        }
        if !is_posted {
            queue.take_if(|queue| queue.len() == 0);
        }
        memory.has_grown = inbox.has_grown() || queue.is_some();
        !memory.has_grown
    }

    /// Gives back what memory of the queues nothing needs now, of a peer that has ended: the server, which has done so
    /// until then, knows it no more.
    #[cold]
    pub(crate) fn give_back_all_memory(&self) {
        let mut contents = self.contents();
        contents.inbox.shrink();
        contents.outbox.queue.take_if(|queue| queue.len() == 0);
    }

    /// The rest of [`Mailbox::push`] where something has to be remembered, dropped, or rung.
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

    /// Ends the peer, unless it has ended already. Returns whether it was this call.
    pub(super) fn end(&self, reason: CloseReason) -> bool {
        let ended = self.ended.compare_exchange(OPEN, encode(reason), Ordering::Release, Ordering::Relaxed).is_ok();
        if ended {
            let bell = self.contents().bell();
            if let Some(bell) = bell {
                bell.ring();
            }
        }
        ended
    }

    /// Ends the peer from its handle, on whatever thread: an atomic mark, and a word to the server's next poll.
    pub(crate) fn close(&self) {
        let mark = encode(CloseReason::Closed);
        if self.ended.compare_exchange(OPEN, mark, Ordering::Release, Ordering::Relaxed).is_ok() {
            self.shared.announce_closed(self.id());
        }
    }

    /// As [`Mailbox::close`], where the handle goes with it: nobody takes what waits.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.close();
    }

    /// Whether something waits and there is a handle to take it.
    pub(super) fn is_ready(&self) -> bool {
        self.waiting() > 0 && !self.abandoned.load(Ordering::Acquire)
    }

    /// Why the peer has ended, if it has.
    ///
    /// Ask this before asking for packets: whatever was queued before the end is then seen.
    pub(crate) fn ended(&self) -> Option<CloseReason> {
        decode(self.ended.load(Ordering::Acquire))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ended.load(Ordering::Acquire) == OPEN
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire) as usize
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id.of(self.shared.server())
    }

    /// Whether the remote has spoken to the socket that this peer has for itself.
    pub(crate) fn has_switched(&self) -> bool {
        self.switched.load(Ordering::Acquire)
    }

    pub(super) fn set_switched(&self) {
        self.switched.store(true, Ordering::Release);
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Under which key the server knows this peer; that stays, wherever it moves.
    pub(super) fn key(&self) -> Key {
        self.connection.map_or_else(|| Key::of(&self.first_remote), Key::of_connection)
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        if self.has_moved() { self.contents().way(self.first_remote).to } else { self.first_remote }
    }

    /// Whether the remote has ever been elsewhere than at [`Mailbox::first_remote`].
    pub(crate) fn has_moved(&self) -> bool {
        self.has_moved.load(Ordering::Acquire)
    }

    /// Which way a datagram of `size` bytes goes, which is charged to the budget of an address that is not confirmed:
    /// for a handle, whose peer may move at any time.
    pub(crate) fn way_for(&self, size: usize) -> Result<Way, OverBudget> {
        let mut contents = self.contents();
        if let Some(whereabouts) = contents.whereabouts() {
            whereabouts.charge(size)?;
        }
        Ok(contents.way(self.first_remote))
    }

    /// Takes back what was charged for a datagram of `size` bytes that was not sent. Where the remote is elsewhere by
    /// now, it gains nothing by that.
    #[cold]
    pub(crate) fn refund_way(&self, size: usize, way: Way) {
        if !way.is_charged {
            return;
        }
        if let Some(whereabouts) = self.contents().whereabouts().filter(|whereabouts| whereabouts.remote() == way.to) {
            whereabouts.refund(size);
        }
    }

    /// Charges a datagram of `size` bytes to the budget of an address that is not confirmed, if there is room. For the
    /// server's thread, on which peers move: until it polls, the remote stays where it is.
    #[inline]
    pub(crate) fn charge(&self, size: usize) -> bool {
        !self.has_moved() || self.contents().whereabouts().is_none_or(|whereabouts| whereabouts.charge(size).is_ok())
    }

    /// Takes back what was charged, on the server's thread, for a datagram of `size` bytes that was not sent.
    #[cold]
    pub(crate) fn refund(&self, size: usize) {
        if let Some(whereabouts) = self.contents().whereabouts() {
            whereabouts.refund(size);
        }
    }

    /// Takes note of a datagram of `size` bytes with this connection's id. Where it comes from elsewhere than where the
    /// remote is, says where that is.
    pub(super) fn heard_from(&self, sender: SocketAddr, size: usize) -> Result<(), SocketAddr> {
        if !self.has_moved() {
            return if sender == self.first_remote { Ok(()) } else { Err(self.first_remote) };
        }
        let mut contents = self.contents();
        let Some(whereabouts) = contents.whereabouts() else { return Err(self.first_remote) };
        if whereabouts.remote() != sender {
            return Err(whereabouts.remote());
        }
        whereabouts.credit(size);
        Ok(())
    }

    /// Lets the remote be at another address from now on. Returns whether it is known to receive there.
    pub(super) fn follow(&self, to: &NewAddress) -> bool {
        let mut contents = self.contents();
        let rare = contents.rare();
        rare.local = to.local;
        let first_remote = self.first_remote;
        let whereabouts = rare.moved.get_or_insert_with(|| Box::new(Whereabouts::at(first_remote)));
        whereabouts.follow(to);
        let is_confirmed = whereabouts.is_confirmed();
        self.has_moved.store(true, Ordering::Release);
        is_confirmed
    }

    /// Takes note that the remote receives at `addr`. Returns whether that is where it is.
    pub(super) fn confirm(&self, addr: SocketAddr) -> bool {
        let mut contents = self.contents();
        let Some(whereabouts) = contents.whereabouts() else { return addr == self.first_remote };
        let is_there = whereabouts.remote() == addr;
        if is_there {
            whereabouts.confirm();
        }
        is_there
    }

    /// Whether more may be sent to where the remote is than in proportion to what came from there.
    pub(crate) fn is_confirmed(&self) -> bool {
        !self.has_moved() || self.contents().whereabouts().is_none_or(|whereabouts| whereabouts.is_confirmed())
    }

    /// Where the remote was first heard, which is where one that is known by its address stays.
    pub(crate) fn first_remote(&self) -> &SocketAddr {
        &self.first_remote
    }

    /// Bytes for this peer, in memory of the pool.
    pub(crate) fn payload(&self, bytes: &[u8]) -> Payload {
        self.shared.payload(bytes, &self.first_remote)
    }

    pub(crate) fn shared(&self) -> &Common {
        &self.shared
    }

    /// Which address of this host the remote has spoken to, where the transport tells.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.contents().rare.as_ref().and_then(|rare| rare.local)
    }

    /// From now on `bell` is rung whenever a packet is queued and when the peer ends.
    pub(crate) fn set_bell(&self, bell: Arc<dyn Bell>) {
        self.contents().rare().bell = Some(bell);
    }

    pub(crate) fn stats(&self) -> PeerStats {
        let (at_once, flushed) = (self.sent_at_once.read(), self.flushed.read());
        let contents = self.contents();
        let drops = contents.drops.received();
        let queued = contents.inbox.len() as u64;
        PeerStats {
            received: contents.received,
            received_bytes: contents.received_bytes,
            // Whatever else there was: a peer with a handle loses nothing but what is counted as dropped.
            delivered: contents.received - queued - drops.total(),
            queued,
            queued_bytes: contents.inbox.bytes() as u64,
            drops,
            kernel_drops: None,
            noise: 0,
            // The handle, which asks, adds its own.
            put: self.broadcasts.load(Ordering::Relaxed),
            sent: at_once.packets + flushed.packets,
            sent_bytes: at_once.bytes + flushed.bytes,
            send_queued: contents.outbox.queue.as_ref().map_or(0, |queue| queue.len() as u64),
            send_drops: contents.drops.unsent(),
        }
    }

    #[inline]
    fn take_from(&self, contents: &mut Contents) -> Option<Packet> {
        let packet = contents.inbox.pop()?;
        self.publish_waiting(contents);
        self.shared.count_delivered(packet.size());
        Some(packet)
    }

    fn publish_waiting(&self, contents: &Contents) {
        // More than four billion packets do not fit into any memory.
        self.waiting.store(contents.inbox.len() as u32, Ordering::Release);
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn bell(&self) -> Option<Arc<dyn Bell>> {
        self.rare.as_ref()?.bell.clone()
    }

    /// Where the remote is, if it has moved.
    fn whereabouts(&mut self) -> Option<&mut Whereabouts> {
        self.rare.as_mut()?.moved.as_deref_mut()
    }

    fn is_at(&self, sender: SocketAddr) -> bool {
        let moved = self.rare.as_ref().and_then(|rare| rare.moved.as_ref());
        moved.is_none_or(|whereabouts| whereabouts.remote() == sender)
    }

    /// Which way datagrams go, where the remote was heard first at `first_remote`.
    fn way(&self, first_remote: SocketAddr) -> Way {
        let Some(rare) = &self.rare else { return Way { to: first_remote, from: None, is_charged: false } };
        match &rare.moved {
            None => Way { to: first_remote, from: rare.local, is_charged: false },
            Some(at) => Way { to: at.remote(), from: rare.local, is_charged: !at.is_confirmed() },
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let contents = self.contents.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared.count_unread(contents.inbox.len() as u64, contents.inbox.bytes());
        if let Some(unsent) = &mut contents.outbox.queue {
            let (mut packets, mut bytes) = (0, 0);
            unsent.take_all(|payload| {
                packets += 1;
                bytes += payload.weight();
            });
            let sends = self.shared.sends();
            sends.count_unqueued(packets, bytes);
            sends.count_drops(SendDropReason::Unsent, packets);
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id())
            .field("remote", &self.remote())
            .field("ended", &self.ended())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

const OPEN: u8 = 0;

fn encode(reason: CloseReason) -> u8 {
    match reason {
        CloseReason::Closed => 1,
        CloseReason::Idle => 2,
        CloseReason::ServerStopped => 3,
        CloseReason::SocketFailed => 4,
    }
}

fn decode(mark: u8) -> Option<CloseReason> {
    use CloseReason as Reason;
    if mark == OPEN {
        return None;
    }
    [Reason::Closed, Reason::Idle, Reason::ServerStopped, Reason::SocketFailed]
        .into_iter()
        .find(|&reason| encode(reason) == mark)
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::clock::Clock;
    use crate::demux::SendMode;
    use crate::packet::PacketPool;
    use crate::sync::mpsc::Receiver;
    use loom::thread;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    fn mailbox() -> (Arc<Mailbox>, Receiver<PeerId>) {
        let (shared, closed) = Common::new(1, PacketPool::new(0), SendMode::Now, Clock::system());
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        (Arc::new(Mailbox::new(LocalId { index: 0, generation: 1 }, None, remote, shared)), closed)
    }

    fn push(mailbox: &Mailbox, byte: u8) {
        let packet = Packet::new(vec![byte], mailbox.remote(), Instant::now());
        assert_eq!(mailbox.push(packet, &None, &QueueLimits::new(), Room::left(usize::MAX, 0)), None);
    }

    /// A handle that sees the end has seen every packet queued before it, in order.
    #[test]
    fn nothing_queued_before_the_end_is_missed() {
        loom::model(|| {
            let (mailbox, _closed) = mailbox();
            let server = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    push(&mailbox, 1);
                    push(&mailbox, 2);
                    mailbox.end(CloseReason::Idle);
                })
            };
            let ended = mailbox.ended();
            let taken: Vec<u8> = std::iter::from_fn(|| mailbox.take()).map(|packet| packet[0]).collect();
            assert!([1, 2].starts_with(&taken));
            if ended.is_some() {
                assert_eq!(taken, [1, 2]);
            }
            server.join().unwrap();
        });
    }

    /// Whoever ends first gives the reason, and the server hears of a close exactly when that was the handle.
    #[test]
    fn one_side_ends_and_the_server_hears_of_it_once() {
        loom::model(|| {
            let (mailbox, closed) = mailbox();
            let handle = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    mailbox.close();
                    mailbox.close();
                })
            };
            let server_was_first = mailbox.end(CloseReason::Idle);
            handle.join().unwrap();
            let reason = if server_was_first { CloseReason::Idle } else { CloseReason::Closed };
            assert_eq!(mailbox.ended(), Some(reason));
            assert_eq!(closed.try_recv().is_ok(), !server_was_first);
            assert!(closed.try_recv().is_err());
        });
    }

    /// Received = delivered + queued + drops, whoever was faster.
    #[test]
    fn the_counters_agree_when_both_are_done() {
        loom::model(|| {
            let (mailbox, _closed) = mailbox();
            let handle = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || drop(mailbox.take()))
            };
            let limits = QueueLimits::new().packets(1);
            for byte in [1, 2] {
                let packet = Packet::new(vec![byte], mailbox.remote(), Instant::now());
                mailbox.push(packet, &None, &limits, Room::left(usize::MAX, 0));
            }
            handle.join().unwrap();
            let stats = mailbox.stats();
            assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total());
            let mut server = crate::stats::ServerStats::default();
            mailbox.shared.add_to(&mut server);
            assert_eq!(server.delivered, stats.delivered);
            assert_eq!(mailbox.waiting() as u64, stats.queued);
        });
    }
}
