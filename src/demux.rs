//! The core: who is a peer, who is pending, what waits where, who went idle.
//!
//! It has no socket, no clock and no `unsafe`: datagrams and times are given to it, so that everything it decides can be
//! tested exactly. One poll is [`Demux::begin`], [`Demux::sort`] for each datagram, [`Demux::finish`].
//!
//! The server's thread owns the [`Demux`]. What it shares with the handles of its peers, which may be on other threads,
//! is one [`Mailbox`] a peer and one [`Shared`] a server.

mod address;
mod limits;
mod mailbox;
mod pending;
mod queue;
mod shared;
mod table;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

pub(crate) use address::canonical;
pub use limits::{Limits, QueueLimits, WhenFull};
pub(crate) use mailbox::{Bell, Mailbox};
pub(crate) use queue::PacketQueue;
pub(crate) use shared::Shared;

use crate::error::UnknownPeer;
use crate::lifetime::CloseReason;
use crate::packet::Pool;
use crate::peer_id::PeerId;
use crate::stats::{DropReason, PollReport, ServerStats};
use address::Key;
use pending::Pending;
use table::Table;

/// Sorts the datagrams of one server by sender.
#[derive(Debug)]
pub(crate) struct Demux {
    limits: Limits,
    table: Table,
    pending: Pending,
    /// Peers that were handed a packet and perhaps still have it; see [`Demux::ready`].
    ready: Vec<PeerId>,
    shared: Arc<Shared>,
    /// Peers whose handle was closed or dropped.
    closed: Receiver<PeerId>,
    pool: Arc<Pool>,
    /// The latest time anybody told.
    now: Instant,
    stats: ServerStats,
    report: PollReport,
}

/// Whose a sorted datagram was: each kind has a budget of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sorted {
    /// A peer's, or a pending connection's.
    Known,
    /// Somebody's for whom there was no room.
    Unknown,
}

impl Demux {
    pub(crate) fn new(limits: Limits, now: Instant) -> Self {
        let (shared, closed) = Shared::new();
        Self {
            pool: Pool::new(limits.max_queued_bytes),
            limits,
            table: Table::default(),
            pending: Pending::default(),
            ready: Vec::new(),
            shared,
            closed,
            now,
            stats: ServerStats::default(),
            report: PollReport::default(),
        }
    }

    /// Starts a poll: takes up what handles closed, and lets pending connections expire.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.report = PollReport::default();
        // Time never runs backwards, whatever the caller's clock does.
        self.now = self.now.max(now);
        while let Ok(id) = self.closed.try_recv() {
            self.take_up_closed(id);
        }
        let Some(lifetime) = self.limits.pending_lifetime else { return };
        while let Some(id) = self.pending.take_older_than(self.now, lifetime) {
            self.stats.connections.expired += 1;
            self.report.expired += 1;
            self.forget_pending(id, DropReason::PendingExpired);
        }
    }

    /// Gives one datagram to its peer, makes a pending connection of it, or drops it; each is counted.
    pub(crate) fn sort(&mut self, sender: SocketAddr, bytes: &[u8], cut: bool) -> Sorted {
        self.stats.received += 1;
        self.stats.received_bytes += bytes.len() as u64;
        self.report.received += 1;

        let key = Key::of(sender);
        let known = self.find_open(&key);
        if cut || bytes.len() > self.limits.max_packet_size {
            self.count_drops(DropReason::TooLarge, 1);
            return if known.is_some() { Sorted::Known } else { Sorted::Unknown };
        }
        let id = match known {
            Some(id) => id,
            None => match self.no_room_for_one_more() {
                Some(reason) => {
                    self.count_drops(reason, 1);
                    return Sorted::Unknown;
                }
                None => self.admit(key, canonical(sender)),
            },
        };
        self.deliver(id, canonical(sender), bytes);
        Sorted::Known
    }

    /// Counts an error of the socket that is nothing but noise.
    pub(crate) fn count_noise(&mut self) {
        self.stats.noise += 1;
        self.report.noise += 1;
    }

    /// Counts a datagram of which the system says no more than that it was too long to be received.
    pub(crate) fn count_truncated(&mut self) {
        self.stats.received += 1;
        self.report.received += 1;
        self.count_drops(DropReason::TooLarge, 1);
    }

    /// Ends a poll. Peers are judged idle only where the socket was seen empty: what they sent may still wait there.
    pub(crate) fn finish(&mut self, socket_was_empty: bool) -> PollReport {
        if let (true, Some(timeout)) = (socket_was_empty, self.limits.idle_timeout) {
            while let Some(id) = self.table.longest_silent(self.now, timeout) {
                self.stats.connections.idle += 1;
                self.report.idle += 1;
                self.end(id, CloseReason::Idle);
            }
        }
        self.report.more_waiting = !socket_was_empty;
        self.report
    }

    /// The pending connection that came first; from now on it is a peer.
    pub(crate) fn take(&mut self) -> Option<Arc<Mailbox>> {
        let id = self.pending.take_oldest()?;
        let mailbox = Arc::clone(self.table.accept(id, self.now)?);
        self.stats.connections.taken += 1;
        self.list_as_ready(id);
        Some(mailbox)
    }

    /// Ends a peer from the server's side.
    pub(crate) fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        if !self.table.is_peer(id) || !self.is_open(id) {
            return Err(UnknownPeer(id));
        }
        self.stats.connections.closed += 1;
        self.end(id, CloseReason::Closed);
        Ok(())
    }

    /// Ends every peer and forgets every pending connection.
    pub(crate) fn end_all(&mut self, reason: CloseReason) {
        while let Some(id) = self.pending.take_newest() {
            self.forget_pending(id, DropReason::Unread);
        }
        for mailbox in self.table.clear() {
            mailbox.end(reason);
        }
        self.ready.clear();
    }

    /// Changes the limits; they hold from now on. Pending connections beyond a lowered cap go, the newest first.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        while self.pending.len() > self.limits.max_pending_connections {
            let Some(id) = self.pending.take_newest() else { break };
            self.stats.connections.trimmed += 1;
            self.forget_pending(id, DropReason::PendingTrimmed);
        }
    }

    /// Appends to `out` the peers that have packets waiting, and takes those that have not off the list.
    pub(crate) fn ready(&mut self, out: &mut Vec<PeerId>) {
        let table = &mut self.table;
        self.ready.retain(|&id| {
            let waits = table.mailbox(id).is_some_and(|mailbox| mailbox.waiting() > 0);
            if !waits {
                table.set_listed(id, false);
            }
            waits
        });
        out.extend_from_slice(&self.ready);
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn peer_count(&self) -> usize {
        self.table.len() - self.pending.len()
    }

    /// The peers that were taken and have not ended, and their addresses.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        self.table.peers().filter(|mailbox| mailbox.ended().is_none()).map(|mailbox| (mailbox.id(), mailbox.remote()))
    }

    /// The peer of this address, if there is one.
    pub(crate) fn find(&self, addr: SocketAddr) -> Option<PeerId> {
        self.find_open(&Key::of(addr)).filter(|&id| self.table.is_peer(id))
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let mut stats = self.stats;
        self.shared.add_to(&mut stats);
        stats.pool_misses = self.pool.misses();
        stats
    }

    /// Which limit stands in the way of one more connection.
    fn no_room_for_one_more(&self) -> Option<DropReason> {
        if self.pending.len() >= self.limits.max_pending_connections {
            Some(DropReason::PendingFull)
        } else if self.table.len() >= self.limits.max_peers {
            Some(DropReason::PeersFull)
        } else {
            None
        }
    }

    fn admit(&mut self, key: Key, remote: SocketAddr) -> PeerId {
        // An entry whose handle was closed since the poll began is no connection any more; its address is free.
        if let Some(closed) = self.table.find(&key) {
            self.take_up_closed(closed);
        }
        let shared = Arc::clone(&self.shared);
        let id = self.table.insert(key, self.now, |id| Arc::new(Mailbox::new(id, remote, shared)));
        self.pending.push(id, self.now);
        self.stats.connections.opened += 1;
        self.report.new_connections += 1;
        id
    }

    fn deliver(&mut self, id: PeerId, sender: SocketAddr, bytes: &[u8]) {
        let Some(mailbox) = self.table.heard_from(id, self.now) else { return };
        let packet = self.pool.packet(bytes, sender, self.now);
        let overflow = mailbox.push(packet, &self.limits.queue, self.limits.max_queued_bytes);
        if let Some(lost) = overflow {
            self.count_drops(lost.reason, lost.packets);
        }
        if overflow.is_none_or(|lost| !lost.refused) {
            self.report.queued += 1;
            self.list_as_ready(id);
        }
    }

    /// Puts a peer with packets on the list of those; pending connections are nobody's yet.
    fn list_as_ready(&mut self, id: PeerId) {
        let waits = self.table.mailbox(id).is_some_and(|mailbox| mailbox.waiting() > 0);
        if waits && self.table.is_peer(id) && self.table.set_listed(id, true) {
            self.forget_ended_on_ready_list();
            self.ready.push(id);
        }
    }

    /// Keeps the list in proportion to the table also where nobody ever asks for it.
    fn forget_ended_on_ready_list(&mut self) {
        if self.ready.len() > 2 * self.table.len() {
            let table = &self.table;
            self.ready.retain(|&id| table.is_peer(id));
        }
    }

    fn end(&mut self, id: PeerId, reason: CloseReason) {
        if let Some(mailbox) = self.table.remove(id) {
            mailbox.end(reason);
        }
    }

    /// Removes a peer that its handle has ended, if that has not been done.
    fn take_up_closed(&mut self, id: PeerId) {
        if self.table.remove(id).is_some() {
            self.stats.connections.closed += 1;
            self.report.closed += 1;
        }
    }

    fn forget_pending(&mut self, id: PeerId, reason: DropReason) {
        let Some(mailbox) = self.table.remove(id) else { return };
        self.count_drops(reason, mailbox.discard());
    }

    fn count_drops(&mut self, reason: DropReason, datagrams: u64) {
        self.stats.drops.add(reason, datagrams);
        self.report.dropped += datagrams as usize;
    }

    fn find_open(&self, key: &Key) -> Option<PeerId> {
        self.table.find(key).filter(|&id| self.is_open(id))
    }

    fn is_open(&self, id: PeerId) -> bool {
        self.table.mailbox(id).is_some_and(|mailbox| mailbox.ended().is_none())
    }
}
