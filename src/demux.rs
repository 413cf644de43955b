//! The core: who is a peer, who is pending, what waits where, who went idle.
//!
//! It has no socket, no clock and no `unsafe`: datagrams and times are given to it, so that everything it decides can
//! be tested exactly. One poll is [`Demux::begin`], [`Demux::sort`] for each datagram, [`Demux::finish`].
//!
//! The server's thread owns the [`Demux`]. What it shares with the handles of its peers, which may be on other threads,
//! is one [`Mailbox`] a peer and one [`Shared`] a server.

mod address;
mod filter;
mod identity;
mod limits;
mod mailbox;
mod outgoing;
mod pending;
mod prefix;
mod queue;
mod refused;
mod shared;
mod silence;
mod table;
mod tally;
mod whereabouts;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

pub(crate) use address::canonical;
pub(crate) use filter::Filter;
pub use filter::{FirstDatagram, Verdict};
pub use identity::{
    AskOnMove, ConnectionId, ConnectionIds, Identity, MoveAttempt, MoveVerdict, Moved, OnMove, WithoutId,
};
pub use limits::{AfterClose, Limits, QueueLimits, SendMode, WhenFull};
pub(crate) use mailbox::{Bell, Mailbox, Posted};
pub(crate) use outgoing::{Copied, Payload};
pub use prefix::IpPrefix;
pub(crate) use queue::{Bound, PacketQueue, Weigh};
use queue::{Overflow, Room};
pub(crate) use shared::{SendCounters, Shared};
pub(crate) use whereabouts::OverBudget;

use crate::error::UnknownPeer;
use crate::lifetime::CloseReason;
use crate::packet::{Packet, Pool, Stash};
use crate::peer_id::PeerId;
use crate::socket::{Arrived, ReceiveBatch};
use crate::stats::{DropReason, PollReport, ReceiveDrops, SendDropReason, ServerStats, TableSizes};
use crate::sync::Mutex;
use crate::sync::mpsc::Receiver;
use address::Key;
use pending::Pending;
use prefix::Origin;
use refused::Refused;
use table::Table;
use tally::Volume;
use whereabouts::NewAddress;

/// Moves that there is memory for all the time, so that a few of them allocate nothing.
const FEW_MOVES: usize = 64;

/// Sorts the datagrams of one server by sender.
#[derive(Debug)]
pub(crate) struct Demux {
    limits: Limits,
    table: Table,
    looked_up: LookedUp,
    pending: Pending,
    refused: Refused,
    identity: Identity,
    filter: Option<Filter>,
    /// What a function of the caller's writes its reply into: one buffer for all, so that a flood of questions
    /// allocates nothing.
    reply: Reply,
    /// Answers that may be sent in this poll.
    replies_left: usize,
    /// Nobody new is admitted any more.
    draining: bool,
    /// Who has ended, and why. Those before `ended_seen` have been there since the last poll, and go with the next.
    ended: Vec<(PeerId, CloseReason)>,
    ended_seen: usize,
    ended_so_far: u64,
    /// The same for who has moved to another address: however often somebody has done so within a poll, once.
    moved: IndexMap<PeerId, Moved>,
    moved_seen: usize,
    /// Polls so far, for quotas.
    polls: u32,
    /// Peers that were handed a packet and perhaps still have it; see [`Demux::ready`].
    ready: Vec<PeerId>,
    shared: Arc<Shared>,
    stash: Stash,
    /// What has been queued so far and was not dropped from there again, whatever became of it.
    queued: Volume,
    /// How many bytes more may be queued, as of the last look at what handles have taken.
    room: Room,
    /// Peers whose handle was closed or dropped. Never locked: the mutex is there so that a server is `Sync`.
    closed: Mutex<Receiver<PeerId>>,
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
    /// Somebody's who did not become one.
    Unknown,
    /// The same, and [`Demux::reply`] is to be sent back.
    Answer,
}

/// What a function of the caller's writes. It may be an id, or what proves something, and is not shown.
#[derive(Default)]
struct Reply(Vec<u8>);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Why [`Demux::connect`] made no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotConnected {
    Known(PeerId),
    PeersFull,
}

/// Whose the datagrams are of the batch that is being sorted.
#[derive(Debug, Default)]
struct LookedUp {
    senders: Vec<Sender>,
    /// Whose they were when they were looked up, and what the table's changes stood at then.
    found: Vec<Found>,
    as_of: u64,
}

/// Who a datagram is from.
#[derive(Debug, Clone, Copy)]
struct Sender {
    key: Key,
    hash: u64,
}

/// Who has sent a datagram.
#[derive(Debug, Clone, Copy)]
enum Found {
    Nobody,
    /// Known by the address that it came from.
    ByAddress(PeerId),
    /// Known by an id, wherever it came from.
    ById(PeerId),
}

/// What becomes of a datagram.
enum Meeting {
    /// It is this peer's.
    Known(PeerId),
    /// It makes a connection.
    Admit,
    Drop(DropReason),
    Consumed {
        answer: bool,
    },
}

impl Demux {
    pub(crate) fn new(limits: Limits, identity: Identity, send_mode: SendMode, now: Instant) -> Self {
        let (shared, closed) = Shared::new(Pool::new(limits.max_queued_bytes), send_mode, now);
        shared.set_limits(&limits);
        Self {
            limits,
            table: Table::default(),
            looked_up: LookedUp::default(),
            pending: Pending::default(),
            refused: Refused::default(),
            identity,
            filter: None,
            reply: Reply::default(),
            replies_left: 0,
            draining: false,
            ended: Vec::new(),
            ended_seen: 0,
            ended_so_far: 0,
            moved: IndexMap::new(),
            moved_seen: 0,
            polls: 0,
            ready: Vec::new(),
            stash: Stash::of(Arc::clone(shared.pool())),
            shared,
            queued: Volume::default(),
            room: Room::default(),
            closed: Mutex::new(closed),
            now,
            stats: ServerStats::default(),
            report: PollReport::default(),
        }
    }

    /// Starts a poll: takes up what handles closed, and lets pending connections and refused addresses expire.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.report = PollReport::default();
        self.tell_time(now);
        self.replies_left = self.limits.max_replies_per_poll;
        self.polls = self.polls.wrapping_add(1);
        // Forgotten once: a poll that fails does not come to its end, where these are counted anew.
        self.ended.drain(..std::mem::take(&mut self.ended_seen));
        self.moved.drain(..std::mem::take(&mut self.moved_seen));
        if self.moved.is_empty() && self.moved.capacity() > 2 * FEW_MOVES {
            self.moved.shrink_to(FEW_MOVES);
        }
        self.forget_ended_on_ready_list();
        while let Some(id) = self.next_closed() {
            self.take_up_closed(id);
        }
        self.refused.expire(self.now);
        let Some(lifetime) = self.limits.pending_lifetime else { return };
        while let Some(id) = self.pending.take_older_than(self.now, lifetime) {
            self.stats.connections.expired += 1;
            self.report.expired += 1;
            self.forget_pending(id, DropReason::PendingExpired);
        }
    }

    /// Says what time it is. Time never runs backwards, whatever the caller's clock does.
    pub(crate) fn tell_time(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Counts the datagrams of `batch` and looks up whose they are, all at once; [`Demux::sort`] for each of them, in
    /// order, comes next.
    pub(crate) fn look_up(&mut self, batch: &ReceiveBatch) {
        self.measure_room();
        let (identity, table) = (&self.identity, &self.table);
        let LookedUp { senders, found, as_of } = &mut self.looked_up;
        let mut bytes = 0;
        senders.clear();
        senders.extend(batch.arrived().map(|arrived| {
            bytes += arrived.bytes.len();
            let key = identity.read(arrived.bytes).map_or_else(|| Key::of(arrived.sender()), Key::of_connection);
            Sender { key, hash: table.hash(&key) }
        }));
        found.clear();
        found.extend(senders.iter().map(|sender| match table.find_hashed(&sender.key, sender.hash) {
            None => Found::Nobody,
            Some(id) if sender.key.connection().is_none() => Found::ByAddress(id),
            Some(id) => Found::ById(id),
        }));
        *as_of = table.changes();
        self.count_received(batch.len(), bytes);
    }

    /// Sees how much handles have taken since the last look, before a batch of datagrams is queued.
    pub(crate) fn measure_room(&mut self) {
        self.room = Room::left(self.limits.max_queued_bytes, self.waiting().bytes);
    }

    /// What waits to be taken, in all queues together.
    fn waiting(&self) -> Volume {
        let gone = self.shared.gone();
        Volume {
            packets: self.queued.packets.saturating_sub(gone.packets),
            bytes: self.queued.bytes.saturating_sub(gone.bytes),
        }
    }

    /// Gives one datagram to its peer, makes a pending connection of it, or drops it, and counts which. It is the one at
    /// `place` in the batch looked up. One that is cut is too long, whatever is left of it.
    #[inline]
    pub(crate) fn sort(&mut self, place: usize, arrived: &Arrived<'_>, cut: bool) -> Sorted {
        // Most are from a peer that is known by its address, and that is all there is to them.
        if let Some(&Found::ByAddress(peer)) = self.looked_up.found.get(place) {
            if self.looked_up.as_of == self.table.changes() && self.deliver(peer, None, arrived, cut) {
                return Sorted::Known;
            }
        }
        self.meet(place, arrived, cut)
    }

    fn count_received(&mut self, datagrams: usize, bytes: usize) {
        self.stats.received += datagrams as u64;
        self.stats.received_bytes += bytes as u64;
        self.report.received += datagrams;
    }

    /// As [`Demux::sort`], with a datagram that may be anybody's.
    #[inline(never)]
    fn meet(&mut self, place: usize, arrived: &Arrived<'_>, cut: bool) -> Sorted {
        let Some(&Sender { key, .. }) = self.looked_up.senders.get(place) else { return Sorted::Unknown };
        let connection = key.connection();
        let (sender, bytes) = (canonical(*arrived.sender()), arrived.bytes);
        let known = self.found(place, &key).and_then(|id| self.still_open(id));
        let meeting = match (known, connection) {
            (Some(peer), Some(connection)) => self.meet_again(peer, connection, sender, arrived, cut),
            (Some(peer), None) => Meeting::Known(peer),
            (None, _) if cut => Meeting::Drop(DropReason::TooLarge),
            (None, connection) => self.meet_unknown(key, connection, sender, bytes),
        };
        let peer = match meeting {
            Meeting::Known(peer) => peer,
            Meeting::Admit => self.admit(key, connection, sender),
            Meeting::Drop(reason) => {
                if let Some(mailbox) = known.and_then(|peer| self.table.mailbox(peer)) {
                    mailbox.count_dropped(reason, bytes.len());
                }
                self.count_drops(reason, 1);
                return Sorted::Unknown;
            }
            Meeting::Consumed { answer } => {
                self.stats.consumed += 1;
                self.report.consumed += 1;
                return if answer { Sorted::Answer } else { Sorted::Unknown };
            }
        };
        self.deliver_or_lose(peer, sender, arrived, cut);
        Sorted::Known
    }

    /// Who has the key of the datagram at `place` by now.
    fn found(&self, place: usize, key: &Key) -> Option<PeerId> {
        if self.looked_up.as_of != self.table.changes() {
            return self.table.find(key);
        }
        match self.looked_up.found.get(place)? {
            Found::Nobody => None,
            Found::ByAddress(id) | Found::ById(id) => Some(*id),
        }
    }

    /// Gives a datagram from a socket of the peer's own to that peer. Somebody else's, from before the socket was
    /// connected, is dropped.
    pub(crate) fn sort_dedicated(&mut self, peer: PeerId, arrived: &Arrived<'_>, cut: bool) {
        self.count_received(1, arrived.bytes.len());
        let sender = canonical(*arrived.sender());
        match self.table.mailbox(peer).filter(|mailbox| mailbox.remote() == sender) {
            Some(mailbox) => {
                mailbox.set_switched();
                self.deliver_or_lose(peer, sender, arrived, cut);
            }
            None => self.count_drops(DropReason::Stranger, 1),
        }
    }

    /// Ends a peer whose own socket is of no further use.
    pub(crate) fn fail(&mut self, peer: PeerId) {
        self.end(peer, CloseReason::SocketFailed);
    }

    /// Whether a peer has not ended, or its handle's end has not been taken up.
    pub(crate) fn has(&self, peer: PeerId) -> bool {
        self.table.mailbox(peer).is_some()
    }

    /// How many peers have ended, one by one.
    pub(crate) fn ended_so_far(&self) -> u64 {
        self.ended_so_far
    }

    /// Whether senders are known by address alone.
    pub(crate) fn goes_by_address(&self) -> bool {
        self.identity.ids().is_none()
    }

    /// What a function of the caller's has written, after [`Sorted::Answer`].
    pub(crate) fn reply(&self) -> &[u8] {
        &self.reply.0
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

    /// Counts a put that is no peer's: its bytes if it was sent, else why it was not.
    pub(crate) fn count_send(&self, outcome: Result<usize, SendDropReason>) {
        let sends = self.shared.sends();
        sends.count_other_put();
        match outcome {
            Ok(bytes) => sends.count_sent_by_server(1, bytes as u64),
            Err(reason) => sends.count_drops(reason, 1),
        }
    }

    /// Ends a poll. Peers are judged idle only where the socket was seen empty: what they sent may still wait there.
    pub(crate) fn finish(&mut self, socket_was_empty: bool) -> PollReport {
        if let (true, Some(timeout)) = (socket_was_empty, self.limits.idle_timeout) {
            while let Some(id) = self.table.next_silent(self.now, timeout) {
                self.end(id, CloseReason::Idle);
                self.report.idle += 1;
            }
        }
        self.report.more_waiting = !socket_was_empty;
        self.ended_seen = self.ended.len();
        self.moved_seen = self.moved.len();
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

    /// Makes a peer of somebody who has not spoken, or not been taken.
    pub(crate) fn connect(
        &mut self,
        addr: SocketAddr,
        connection: Option<ConnectionId>,
    ) -> Result<Arc<Mailbox>, NotConnected> {
        let remote = canonical(addr);
        let key = connection.map_or_else(|| Key::of(&remote), Key::of_connection);
        let known = self.table.find(&key).and_then(|id| self.still_open(id));
        let id = match known.map(|id| self.pending.take(id).ok_or(id)) {
            Some(Ok(pending)) => pending,
            Some(Err(peer)) => return Err(NotConnected::Known(peer)),
            None if self.table.len() >= self.limits.max_peers => return Err(NotConnected::PeersFull),
            None => self.insert(key, connection, remote),
        };
        self.refused.lift(&key);
        let mailbox = Arc::clone(self.table.accept(id, self.now).ok_or(NotConnected::Known(id))?);
        self.stats.connections.connected += 1;
        self.list_as_ready(id);
        Ok(mailbox)
    }

    /// Ends a peer from the server's side.
    pub(crate) fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        if !self.table.is_peer(id) || !self.is_open(id) {
            return Err(UnknownPeer(id));
        }
        self.end(id, CloseReason::Closed);
        Ok(())
    }

    /// Admits nobody new from now on, and forgets who has not been taken.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.forget_all_pending(DropReason::Draining);
    }

    /// Ends every peer, forgets every pending connection, and starts with a clean slate.
    pub(crate) fn end_all(&mut self, reason: CloseReason) {
        self.forget_all_pending(DropReason::Unread);
        while let Some(id) = self.table.last() {
            self.end(id, reason);
        }
        self.ready.clear();
        self.refused.shrink_to(0);
        self.draining = false;
    }

    pub(crate) fn set_filter(&mut self, filter: Option<Filter>) {
        self.filter = filter;
    }

    /// Changes the limits; they hold from now on. Pending connections beyond a lowered cap go, the newest first.
    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.shared.set_limits(&limits);
        self.limits = limits;
        while self.pending.len() > self.limits.max_pending_connections {
            let Some(id) = self.pending.take_newest() else { break };
            self.stats.connections.trimmed += 1;
            self.forget_pending(id, DropReason::PendingTrimmed);
        }
        self.refused.shrink_to(self.limits.max_refused_addresses);
    }

    /// Appends to `out` who has ended, and forgets it.
    pub(crate) fn ended(&mut self, out: &mut Vec<(PeerId, CloseReason)>) {
        out.append(&mut self.ended);
        self.ended_seen = 0;
    }

    /// Appends to `out` who goes on at another address, and forgets it.
    pub(crate) fn moved(&mut self, out: &mut Vec<Moved>) {
        out.extend(self.moved.drain(..).map(|(_, moved)| moved));
        self.moved_seen = 0;
    }

    /// Appends to `out` the peers that have packets waiting, and takes those that have not off the list.
    pub(crate) fn ready(&mut self, out: &mut Vec<PeerId>) {
        let table = &mut self.table;
        self.ready.retain(|&id| {
            let Some(entry) = table.entry_mut(id) else { return false };
            entry.listed = entry.mailbox.waiting() > 0;
            entry.listed
        });
        out.extend_from_slice(&self.ready);
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.pending.len()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(crate) fn peer_count(&self) -> usize {
        self.table.peer_count()
    }

    /// The peers that were taken and have not ended, and their addresses.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        self.mailboxes().map(|mailbox| (mailbox.id(), mailbox.remote()))
    }

    /// The peer of this address, if there is one.
    pub(crate) fn find(&self, addr: SocketAddr) -> Option<PeerId> {
        self.find_peer(&Key::of(&addr))
    }

    /// The peer of this connection id, if there is one.
    pub(crate) fn find_connection(&self, id: ConnectionId) -> Option<PeerId> {
        self.find_peer(&Key::of_connection(id))
    }

    fn find_peer(&self, key: &Key) -> Option<PeerId> {
        self.table.find(key).filter(|&id| self.table.is_peer(id) && self.is_open(id))
    }

    pub(crate) fn goes_by_ids(&self) -> bool {
        self.identity.ids().is_some()
    }

    /// Whether datagrams without an id may be somebody's.
    pub(crate) fn knows_by_address(&self) -> bool {
        self.identity.ids().is_none_or(|ids| ids.knows_by_address())
    }

    /// What a flush needs: what is shared with the handles, and who takes the memory of what has been sent.
    pub(crate) fn for_flush(&mut self) -> (&Arc<Shared>, impl FnMut(Packet)) {
        (&self.shared, |packet| self.stash.recycle(packet))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The mailboxes of the peers that have not ended.
    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.table.peers().filter(|mailbox| mailbox.is_open())
    }

    /// The mailbox of a peer that has not ended.
    pub(crate) fn mailbox(&self, id: PeerId) -> Option<&Arc<Mailbox>> {
        self.table.mailbox(id).filter(|mailbox| self.table.is_peer(id) && mailbox.is_open())
    }

    /// What the core itself has dropped; without what handles left unread.
    pub(crate) fn drops(&self) -> &ReceiveDrops {
        &self.stats.drops
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let mut stats = self.stats;
        self.shared.add_to(&mut stats);
        let waiting = self.waiting();
        stats.queued = waiting.packets;
        stats.queued_bytes = waiting.bytes;
        stats.pool_misses = self.shared.pool().misses();
        stats
    }

    pub(crate) fn table_sizes(&self) -> TableSizes {
        TableSizes {
            peers: self.peer_count(),
            pending: self.pending_count(),
            places: self.table.places(),
            refused: self.refused.len(),
            moved: self.table.moved_count(),
            pool_bytes: self.shared.pool().idle_bytes() + self.stash.idle_bytes(),
        }
    }

    /// What becomes of the datagram of somebody unknown. The filter comes before the caps, so that it works when they
    /// are reached.
    fn meet_unknown(&mut self, key: Key, id: Option<ConnectionId>, sender: SocketAddr, bytes: &[u8]) -> Meeting {
        if self.refused.contains(&key, self.now) {
            return Meeting::Drop(DropReason::Refused);
        }
        if let Some(filter) = &self.filter {
            self.reply.0.clear();
            match filter.decide(&FirstDatagram { sender, bytes, received_at: self.now, id }, &mut self.reply.0) {
                Verdict::Accept => {}
                Verdict::Ignore => return Meeting::Drop(DropReason::Filtered),
                Verdict::Consume => return Meeting::Consumed { answer: false },
                Verdict::Reply => return self.answer(bytes),
            }
        }
        if id.is_none() && self.identity.ids().is_some_and(|ids| !ids.knows_by_address()) {
            return Meeting::Drop(DropReason::NoId);
        }
        self.no_room_for(sender).map_or(Meeting::Admit, Meeting::Drop)
    }

    /// What becomes of a datagram with the id of a connection: it may come from another address than before.
    fn meet_again(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        sender: SocketAddr,
        arrived: &Arrived<'_>,
        cut: bool,
    ) -> Meeting {
        let bytes = arrived.bytes;
        let (Some(ids), Some(mailbox)) = (self.identity.ids(), self.table.mailbox(peer)) else {
            return Meeting::Known(peer);
        };
        let Err(from) = mailbox.heard_from(sender, bytes.len()) else { return Meeting::Known(peer) };
        if self.table.was_at(peer, sender, self.now) {
            return Meeting::Known(peer);
        }
        // What is left of it shows neither that its owner has moved nor that it is still there.
        if cut {
            return Meeting::Drop(DropReason::TooLarge);
        }
        let until = far_after(self.now, ids.grace());
        let attempt = MoveAttempt { peer, id, from, to: sender, bytes, received_at: self.now };
        self.reply.0.clear();
        let is_proved = match ids.decide(&attempt, &mut self.reply.0) {
            MoveVerdict::Refuse => return Meeting::Drop(DropReason::MoveRefused),
            MoveVerdict::Challenge => return self.answer(bytes),
            MoveVerdict::Follow => false,
            MoveVerdict::FollowProved => true,
        };
        let to = NewAddress { remote: sender, local: *arrived.local(), bytes: bytes.len(), is_proved };
        self.follow(peer, from, &to, until);
        Meeting::Known(peer)
    }

    /// Lets a connection go on at a new address. Of one that is pending nobody is told: its id is nobody's yet.
    fn follow(&mut self, peer: PeerId, from: SocketAddr, to: &NewAddress, until: Instant) {
        let confirmed = self.table.follow(peer, from, to, until);
        self.stats.connections.moved += 1;
        self.report.moved += 1;
        if self.table.is_peer(peer) {
            let moved = self.moved.entry(peer).or_insert(Moved { peer, from, to: to.remote, confirmed });
            (moved.to, moved.confirmed) = (to.remote, confirmed);
        }
    }

    /// Takes note that a peer receives where it is.
    pub(crate) fn confirm_move(&self, id: PeerId) -> Result<(), UnknownPeer> {
        self.mailbox(id).ok_or(UnknownPeer(id))?.confirm();
        Ok(())
    }

    /// Sends back what was written, unless that would be more than was received.
    fn answer(&mut self, question: &[u8]) -> Meeting {
        if self.reply.0.len() > question.len() {
            return Meeting::Drop(DropReason::ReplyTooLong);
        }
        let Some(left) = self.replies_left.checked_sub(1) else { return Meeting::Drop(DropReason::ReplyBudget) };
        self.replies_left = left;
        Meeting::Consumed { answer: true }
    }

    /// Which limit stands in the way of one more connection.
    fn no_room_for(&self, sender: SocketAddr) -> Option<DropReason> {
        if self.draining {
            Some(DropReason::Draining)
        } else if self.pending.len() >= self.limits.max_pending_connections {
            Some(DropReason::PendingFull)
        } else if self.table.len() >= self.limits.max_peers {
            Some(DropReason::PeersFull)
        } else {
            let from_there = self.origin(sender).map_or(0, |origin| self.pending.count_from(origin) + 1);
            (from_there > self.limits.max_pending_per_ip).then_some(DropReason::PendingPerIpFull)
        }
    }

    /// With whom a sender is counted for the limit of pending connections an IP address, unless it is exempt.
    fn origin(&self, sender: SocketAddr) -> Option<Origin> {
        let exempt = self.limits.exempt_from_per_ip.iter().any(|prefix| prefix.contains(sender.ip()));
        (!exempt).then(|| Origin::of(sender.ip()))
    }

    fn admit(&mut self, key: Key, connection: Option<ConnectionId>, remote: SocketAddr) -> PeerId {
        let id = self.insert(key, connection, remote);
        self.pending.push(id, self.now, self.origin(remote));
        self.stats.connections.opened += 1;
        self.report.new_connections += 1;
        id
    }

    fn insert(&mut self, key: Key, connection: Option<ConnectionId>, remote: SocketAddr) -> PeerId {
        let shared = Arc::clone(&self.shared);
        self.table.insert(key, self.now, |id| Arc::new(Mailbox::new(id, connection, remote, shared)))
    }

    /// Gives a datagram to its peer, if that has not ended; counts what becomes of it. `sender` is left out where the
    /// peer is known by its address.
    #[inline]
    fn deliver(&mut self, id: PeerId, sender: Option<&SocketAddr>, arrived: &Arrived<'_>, cut: bool) -> bool {
        let bytes = arrived.bytes;
        let Some(entry) = self.table.entry_mut(id).filter(|entry| entry.mailbox.is_open()) else { return false };
        entry.last_heard = self.now;
        let over_quota = self.limits.quota_per_poll.is_some_and(|quota| entry.count_in_poll(self.polls) > quota);
        if cut || over_quota {
            let reason = if cut { DropReason::TooLarge } else { DropReason::Quota };
            entry.mailbox.count_dropped(reason, bytes.len());
            self.count_drops(reason, 1);
            return true;
        }
        let sender = sender.unwrap_or(entry.mailbox.first_remote());
        let packet = self.stash.packet(bytes, sender, self.now);
        let overflow = entry.mailbox.push(packet, arrived.local(), &self.limits.queue, self.room);
        if entry.is_peer && !entry.listed && entry.mailbox.waiting() > 0 {
            entry.listed = true;
            self.ready.push(id);
        }
        match overflow {
            None => self.count_queued(bytes.len()),
            Some(lost) => self.count_overflow(lost, bytes.len()),
        }
        true
    }

    fn count_queued(&mut self, len: usize) {
        self.report.queued += 1;
        self.queued.packets += 1;
        self.queued.bytes += len as u64;
        self.room.shrink(len);
    }

    #[cold]
    fn count_overflow(&mut self, lost: Overflow, len: usize) {
        self.count_drops(lost.bound.into(), lost.packets);
        if !lost.refused {
            self.count_queued(len);
            self.count_unqueued(lost.packets, lost.bytes);
        }
    }

    fn count_unqueued(&mut self, packets: u64, bytes: usize) {
        self.queued.packets -= packets;
        self.queued.bytes -= bytes as u64;
        self.room.grow(bytes);
    }

    /// As [`Demux::deliver`]; what comes for somebody who has just ended, on another thread, is left unread.
    fn deliver_or_lose(&mut self, id: PeerId, sender: SocketAddr, arrived: &Arrived<'_>, cut: bool) {
        if !self.deliver(id, Some(&sender), arrived, cut) {
            self.count_drops(DropReason::Unread, 1);
        }
    }

    /// Puts a peer with packets on the list of those; pending connections are nobody's yet.
    fn list_as_ready(&mut self, id: PeerId) {
        let Some(entry) = self.table.entry_mut(id) else { return };
        if entry.is_peer && !entry.listed && entry.mailbox.waiting() > 0 {
            entry.listed = true;
            self.ready.push(id);
        }
    }

    /// Keeps the list in proportion to the table also where nobody ever asks for it. Between two polls it grows by each
    /// peer once at most.
    fn forget_ended_on_ready_list(&mut self) {
        if self.ready.len() > 2 * self.table.len() {
            let table = &self.table;
            self.ready.retain(|&id| table.is_peer(id));
        }
    }

    /// Ends a peer, unless its handle has done so before.
    fn end(&mut self, id: PeerId, reason: CloseReason) {
        let Some((key, mailbox)) = self.table.remove(id) else { return };
        mailbox.end(reason);
        let reason = mailbox.ended().unwrap_or(reason);
        match reason {
            CloseReason::Closed => self.stats.connections.closed += 1,
            CloseReason::Idle => self.stats.connections.idle += 1,
            CloseReason::ServerStopped | CloseReason::SocketFailed => {}
        }
        self.ended.push((id, reason));
        self.ended_so_far += 1;
        if let (CloseReason::Closed, AfterClose::Refuse(time)) = (reason, self.limits.after_close) {
            self.refused.refuse(key, far_after(self.now, time), self.limits.max_refused_addresses);
        }
    }

    fn next_closed(&mut self) -> Option<PeerId> {
        self.closed.get_mut().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }

    /// Removes a peer that its handle has ended, if that has not been done.
    fn take_up_closed(&mut self, id: PeerId) {
        if self.table.mailbox(id).is_some() {
            self.report.closed += 1;
            self.end(id, CloseReason::Closed);
        }
    }

    fn forget_all_pending(&mut self, reason: DropReason) {
        while let Some(id) = self.pending.take_newest() {
            self.forget_pending(id, reason);
        }
    }

    fn forget_pending(&mut self, id: PeerId, reason: DropReason) {
        let Some((_, mailbox)) = self.table.remove(id) else { return };
        let unread = mailbox.discard();
        self.count_unqueued(unread.len() as u64, unread.bytes());
        self.count_drops(reason, unread.len() as u64);
    }

    fn count_drops(&mut self, reason: DropReason, datagrams: u64) {
        self.stats.drops.add(reason, datagrams);
        self.report.dropped += datagrams as usize;
    }

    /// Somebody whose handle was closed since the poll began is nobody any more.
    fn still_open(&mut self, id: PeerId) -> Option<PeerId> {
        if self.is_open(id) {
            return Some(id);
        }
        self.take_up_closed(id);
        None
    }

    fn is_open(&self, id: PeerId) -> bool {
        self.table.mailbox(id).is_some_and(|mailbox| mailbox.is_open())
    }
}

/// A time too far away to be expressed is as good as a year.
fn far_after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or(now + Duration::from_secs(365 * 86_400))
}
