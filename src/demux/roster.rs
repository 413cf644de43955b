//! The peers: how they come to be, and how they end.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::admit::{Admission, counted_origin};
use super::filter::Filter;
use super::flooded::Flooded;
use super::identity::{ConnectionId, Identity};
use super::key::Key;
use super::ledger::Ledger;
use super::limits::{AfterClose, Limits, SendMode};
use super::lookup::LookedUp;
use super::mailbox::{Common, Mailbox};
use super::memory::GiveBack;
use super::news::News;
use super::ready::ReadyList;
use super::replies::Replies;
use super::table::Table;
use super::time::{Time, far_after};
use crate::address::canonical;
use crate::clock::Clock;
use crate::error::UnknownPeer;
use crate::packet::{PacketPool, Stash};
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;
use crate::stats::DropReason;
use crate::sync::Mutex;
use crate::sync::mpsc::Receiver;

/// Sorts the datagrams of one server by sender.
///
/// Its peers are here; one poll is in `poll.rs`, what comes from a new address in `moves.rs`, and what can be asked
/// of it in `queries.rs`.
#[derive(Debug)]
pub(crate) struct Demux {
    pub(super) limits: Limits,
    pub(super) identity: Identity,
    pub(super) table: Table,
    pub(super) admission: Admission,
    pub(super) looked_up: LookedUp,
    pub(super) replies: Replies,
    pub(super) news: News,
    pub(super) ready: ReadyList,
    pub(super) give_back: GiveBack,
    pub(super) shared: Arc<Common>,
    pub(super) stash: Stash,
    /// Peers whose handle was closed or dropped. Never locked: the mutex is there so that a server is `Sync`.
    closed: Mutex<Receiver<PeerId>>,
    pub(super) time: Time,
    /// Polls so far, for quotas.
    pub(super) polls: u32,
    /// Largest datagram accepted by the present poll, in bytes.
    pub(super) max_packet_size: usize,
    pub(super) flooded: Flooded,
    pub(super) ledger: Ledger,
}

/// Why [`Demux::connect`] made no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotConnected {
    Known(PeerId),
    PeersFull,
}

impl Demux {
    pub(crate) fn new(limits: Limits, identity: Identity, send_mode: SendMode, clock: Clock) -> Self {
        let now = clock.now();
        let server = PeerId::next_server();
        let (shared, closed) = Common::new(server, PacketPool::new(limits.max_queued_bytes), send_mode, clock);
        shared.set_limits(&limits);
        Self {
            limits,
            identity,
            table: Table::new(server),
            admission: Admission::default(),
            looked_up: LookedUp::default(),
            replies: Replies::default(),
            news: News::default(),
            ready: ReadyList::default(),
            give_back: GiveBack::default(),
            stash: Stash::of(shared.pool().clone()),
            shared,
            closed: Mutex::new(closed),
            time: Time::starting_at(now),
            polls: 0,
            max_packet_size: 0,
            flooded: Flooded::default(),
            ledger: Ledger::default(),
        }
    }

    /// Sets the time.
    pub(crate) fn tell_time(&mut self, now: Instant) {
        self.time.tell(now);
    }

    /// The pending connection that came first; from now on it is a peer. `now` may be later than at the last poll: that
    /// is what its silence counts from.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Arc<Mailbox>> {
        let id = self.admission.pending.take_oldest()?;
        let mailbox = self.accept(id, now)?;
        self.ledger.stats.connections.taken += 1;
        Some(mailbox)
    }

    /// Makes a peer of a remote that has not spoken, or not been taken. `now` as for [`Demux::take`].
    pub(crate) fn connect(
        &mut self,
        addr: SocketAddr,
        connection: Option<ConnectionId>,
        now: Instant,
    ) -> Result<Arc<Mailbox>, NotConnected> {
        // Nobody is refused because of those whose handles are gone, and their list does not grow between two polls.
        self.take_up_all_closed(now);
        self.give_back_memory();
        let remote = canonical(addr);
        let key = connection.map_or_else(|| Key::of(&remote), Key::of_connection);
        let known = self.table.find(&key).and_then(|id| self.still_open(id));
        let id = match known.map(|id| self.admission.pending.take(id).ok_or(id)) {
            Some(Ok(pending)) => pending,
            Some(Err(peer)) => return Err(NotConnected::Known(peer)),
            None if self.table.len() >= self.limits.max_peers => return Err(NotConnected::PeersFull),
            None => self.insert(key, connection, remote),
        };
        self.admission.refused.lift(&key);
        let mailbox = self.accept(id, now).ok_or(NotConnected::Known(id))?;
        self.ledger.stats.connections.connected += 1;
        Ok(mailbox)
    }

    /// Makes a peer of a connection that is no longer pending.
    fn accept(&mut self, id: PeerId, now: Instant) -> Option<Arc<Mailbox>> {
        let mailbox = Arc::clone(self.table.accept(id, self.time.tick_at(now))?);
        if let Some(member) = self.table.member_mut(id) {
            self.ready.note(id.local(), member);
        }
        Some(mailbox)
    }

    /// Makes a pending connection.
    pub(super) fn admit(&mut self, key: Key, connection: Option<ConnectionId>, remote: SocketAddr) -> PeerId {
        let id = self.insert(key, connection, remote);
        self.admission.pending.push(id, self.time.now(), counted_origin(&self.limits, remote));
        self.ledger.count_opened();
        id
    }

    fn insert(&mut self, key: Key, connection: Option<ConnectionId>, remote: SocketAddr) -> PeerId {
        let (shared, origin) = (Arc::clone(&self.shared), counted_origin(&self.limits, remote));
        self.table.insert(key, origin, self.time.tick(), |id| Arc::new(Mailbox::new(id, connection, remote, shared)))
    }

    /// Ends a peer from the server's side. `now` as for [`Demux::take`]: a refusal counts from then.
    pub(crate) fn close(&mut self, id: PeerId, now: Instant) -> Result<(), UnknownPeer> {
        if !self.table.is_peer(id) || !self.is_open(id) {
            return Err(UnknownPeer(id));
        }
        self.end(id, CloseReason::Closed, now);
        Ok(())
    }

    /// Ends a peer whose own socket is of no further use.
    pub(crate) fn fail(&mut self, peer: PeerId) {
        self.end(peer, CloseReason::SocketFailed, self.time.now());
    }

    /// Admits nobody new from now on, and forgets connections that have not been taken.
    pub(crate) fn drain(&mut self) {
        self.admission.draining = true;
        self.forget_all_pending(DropReason::Draining);
    }

    /// Ends every peer, forgets every pending connection, and starts with a clean slate.
    pub(crate) fn end_all(&mut self, reason: CloseReason) {
        self.forget_all_pending(DropReason::Unread);
        while let Some(id) = self.table.last() {
            self.end(id, reason, self.time.now());
        }
        self.ready.clear();
        self.admission.reset();
    }

    /// Ends a peer, unless its handle has done so before.
    pub(super) fn end(&mut self, id: PeerId, reason: CloseReason, now: Instant) {
        let Some((key, mailbox)) = self.table.remove(id) else { return };
        mailbox.end(reason);
        let reason = mailbox.ended().unwrap_or(reason);
        match reason {
            CloseReason::Closed => self.ledger.stats.connections.closed += 1,
            CloseReason::Idle => self.ledger.stats.connections.idle += 1,
            // The server's end, or a reason of another transport's.
            _ => {}
        }
        self.news.tell_ended(id, reason, self.most_ended());
        self.ready.note_ended(id, &mailbox);
        if let (CloseReason::Closed, AfterClose::Refuse(time)) = (reason, self.limits.after_close) {
            self.admission.refused.refuse(key, far_after(now, time), self.limits.max_refused_addresses);
        }
    }

    /// Of how many peers it is remembered that they have ended: of twice as many as there may be, since all may end in
    /// a poll and as many before it. A program that connects and closes without end between two polls exceeds that.
    fn most_ended(&self) -> usize {
        2 * self.limits.max_peers.max(self.table.places()).min(usize::MAX / 2)
    }

    fn next_closed(&mut self) -> Option<PeerId> {
        self.closed.get_mut().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }

    pub(super) fn take_up_all_closed(&mut self, now: Instant) {
        while let Some(id) = self.next_closed() {
            self.take_up_closed(id, now);
        }
    }

    /// Removes a peer that its handle has ended, if that has not been done.
    fn take_up_closed(&mut self, id: PeerId, now: Instant) {
        if self.table.mailbox(id).is_some() {
            self.ledger.report.closed += 1;
            self.end(id, CloseReason::Closed, now);
        }
    }

    /// Somebody whose handle was closed since the poll began is nobody any more.
    pub(super) fn still_open(&mut self, id: PeerId) -> Option<PeerId> {
        if self.is_open(id) {
            return Some(id);
        }
        self.take_up_closed(id, self.time.now());
        None
    }

    pub(super) fn is_open(&self, id: PeerId) -> bool {
        self.table.mailbox(id).is_some_and(|mailbox| mailbox.is_open())
    }

    fn forget_all_pending(&mut self, reason: DropReason) {
        while let Some(id) = self.admission.pending.take_newest() {
            self.forget_pending(id, reason);
        }
    }

    /// Forgets a connection that is pending no more and has not been taken.
    pub(super) fn forget_pending(&mut self, id: PeerId, reason: DropReason) {
        let Some((_, mailbox)) = self.table.remove(id) else { return };
        let unread = mailbox.discard();
        self.ledger.count_unqueued(unread.len() as u64, unread.bytes());
        self.ledger.count_drops(reason, unread.len() as u64);
    }

    pub(super) fn give_back_memory(&mut self) {
        self.give_back.look(self.time.tick(), &self.shared, &self.table);
    }

    pub(crate) fn set_filter(&mut self, filter: Option<Filter>) {
        self.admission.filter = filter;
    }

    /// Changes the limits; they hold from now on. Pending connections beyond a lowered cap go, the newest first.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.shared.set_limits(&limits);
        self.limits = limits;
        for id in self.admission.pending.beyond_per_origin(self.limits.max_pending_per_ip) {
            let addr = self.table.mailbox(id).map(|mailbox| *mailbox.first_remote());
            let is_counted = addr.is_some_and(|addr| counted_origin(&self.limits, addr).is_some());
            if is_counted && self.admission.pending.take(id).is_some() {
                self.trim_pending(id);
            }
        }
        while self.admission.pending.len() > self.limits.max_pending_connections {
            let Some(id) = self.admission.pending.take_newest() else { break };
            self.trim_pending(id);
        }
        self.admission.refused.shrink_to(self.limits.max_refused_addresses);
    }

    fn trim_pending(&mut self, id: PeerId) {
        self.ledger.stats.connections.trimmed += 1;
        self.forget_pending(id, DropReason::PendingTrimmed);
    }
}
