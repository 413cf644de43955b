//! The core: who is a peer, who is pending, what waits where, who went idle.
//!
//! It has no socket, no clock and no `unsafe`: datagrams and times are given to it, so that everything it decides can
//! be tested exactly. One poll is [`Demux::begin`], [`Demux::sort`] for each datagram, [`Demux::finish`].
//!
//! The server's thread owns the [`Demux`]. What it shares with the handles of its peers, which may be on other threads,
//! is one [`Mailbox`] per peer and one [`Common`] per server.

mod common;
mod drop_list;
mod filter;
mod identity;
mod key;
mod limits;
mod mailbox;
mod origin;
mod payload;
mod pending;
mod queue;
mod refused;
mod silence;
mod table;
mod tally;
mod whereabouts;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

pub(crate) use common::{Common, SendCounters};
pub(crate) use filter::Filter;
pub use filter::{FirstDatagram, Verdict};
pub use identity::{ConnectionId, ConnectionIds, Identity, MoveAttempt, MoveVerdict, Moved, OnMove, WithoutId};
pub use limits::{AfterClose, Limits, QueueLimits, SendMode, WhenFull};
pub(crate) use mailbox::{Bell, Mailbox, Posted};
pub(crate) use payload::{Copied, Payload};
use queue::{Overflow, Room};
pub(crate) use queue::{PacketQueue, Weigh};
pub(crate) use whereabouts::OverBudget;

use crate::address::{canonical, is_answerable};
use crate::clock::Clock;
use crate::datagram::{Arrived, ReceiveBatch};
use crate::error::UnknownPeer;
use crate::packet::{Packet, PacketPool, Stash};
use crate::peer_id::{LocalId, PeerId};
use crate::peer_state::CloseReason;
use crate::stats::{DropReason, PollReport, ReceiveDrops, SendDropReason, ServerStats, TableSizes};
use crate::sync::Mutex;
use crate::sync::mpsc::Receiver;
use key::Key;
use origin::Origin;
use pending::Pending;
use refused::Refused;
use silence::Tick;
use table::Table;
use tally::Volume;
use whereabouts::NewAddress;

/// Moves that there is memory for all the time, so that a few of them allocate nothing.
const FEW_MOVES: usize = 64;

/// How long the memory of a peer's queues is kept after it was last needed: no less, and not much more.
const MEMORY_REST: Duration = Duration::from_secs(5);

/// Of how many peers one poll looks whether their memory was needed.
const MEMORY_LOOKS: usize = 64;

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
    /// Peers that have ended, and why. Those before `ended_seen` have been there since the last poll, and go with the
    /// next.
    ended: VecDeque<(PeerId, CloseReason)>,
    ended_seen: usize,
    ended_so_far: u64,
    /// The same for peers that have moved to another address: once each, however often they did so within a poll.
    moved: IndexMap<PeerId, Moved>,
    moved_seen: usize,
    /// Polls so far, for quotas.
    polls: u32,
    /// Peers that were handed a packet and perhaps still have it; see [`Demux::ready`].
    ready: Vec<LocalId>,
    /// Peers that ended with packets waiting, for as long as their handles live.
    ended_ready: Vec<(PeerId, Weak<Mailbox>)>,
    /// How many of those there may be before the ones with nothing left are looked for.
    ended_ready_room: usize,
    /// Peers whose queues take memory, and when it was looked whether they need it.
    grown: VecDeque<(Tick, LocalId)>,
    grown_room: usize,
    shared: Arc<Common>,
    stash: Stash,
    /// What has been queued so far and was not dropped from there again, whatever became of it.
    queued: Volume,
    /// How many bytes more may be queued, as of the last look at what handles have taken.
    room: Room,
    /// Peers whose handle was closed or dropped. Never locked: the mutex is there so that a server is `Sync`.
    closed: Mutex<Receiver<PeerId>>,
    /// The latest time anybody told, and the same as a tick.
    now: Instant,
    tick: Tick,
    /// When the server was made.
    epoch: Instant,
    flooded: Flooded,
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

/// For how long no poll has seen the socket empty.
#[derive(Debug, Default)]
struct Flooded {
    /// When the first of such polls was, and when the last.
    since: Option<(Tick, Tick)>,
    /// The last came so long after the one before it that what it found may have waited since.
    after_pause: bool,
}

impl Flooded {
    fn note(&mut self, now: Tick, socket_was_empty: bool, timeout: Duration) {
        if socket_was_empty {
            *self = Self::default();
            return;
        }
        let Some((since, last)) = self.since else {
            self.since = Some((now, now));
            return;
        };
        // A pause, as of a hitch, begins it anew. Not so the second in a row: that is how often this server polls.
        let begins_anew = last.is_over(now, timeout) && !self.after_pause;
        self.since = Some((if begins_anew { now } else { since }, now));
        self.after_pause = last.is_over(now, timeout);
    }

    /// Whether that has been so for `timeout` or longer.
    fn is_over(&self, now: Tick, timeout: Duration) -> bool {
        self.since.is_some_and(|(since, _)| since.is_over(now, timeout))
    }
}

/// Whose the datagrams are of the batch that is being sorted.
#[derive(Debug, Default)]
struct LookedUp {
    senders: Vec<Sender>,
    /// Whose they were when they were looked up, and what the table's changes stood at then.
    found: Vec<Found>,
    as_of: u64,
    datagrams: usize,
    /// From which place on the datagrams are lost if the function of the caller's that is being asked does not return:
    /// its number and 1, or 0 where none is asked.
    at_stake: usize,
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
    ByAddress(LocalId),
    /// Known by an id, wherever it came from.
    ById(LocalId),
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
    pub(crate) fn new(limits: Limits, identity: Identity, send_mode: SendMode, clock: Clock) -> Self {
        let now = clock.now();
        let server = PeerId::next_server();
        let (shared, closed) = Common::new(server, PacketPool::new(limits.max_queued_bytes), send_mode, clock);
        shared.set_limits(&limits);
        Self {
            limits,
            table: Table::new(server),
            looked_up: LookedUp::default(),
            pending: Pending::default(),
            refused: Refused::default(),
            identity,
            filter: None,
            reply: Reply::default(),
            replies_left: 0,
            draining: false,
            ended: VecDeque::new(),
            ended_seen: 0,
            ended_so_far: 0,
            moved: IndexMap::new(),
            moved_seen: 0,
            polls: 0,
            ready: Vec::new(),
            ended_ready: Vec::new(),
            ended_ready_room: 0,
            grown: VecDeque::new(),
            grown_room: 0,
            stash: Stash::of(shared.pool().clone()),
            shared,
            queued: Volume::default(),
            room: Room::default(),
            closed: Mutex::new(closed),
            now,
            tick: Tick::default(),
            epoch: now,
            flooded: Flooded::default(),
            stats: ServerStats::default(),
            report: PollReport::default(),
        }
    }

    /// Starts a poll: takes up what handles closed, and lets pending connections and refused addresses expire.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.settle_panic();
        self.report = PollReport::default();
        self.tell_time(now);
        self.replies_left = self.limits.max_replies_per_poll;
        self.polls = self.polls.wrapping_add(1);
        self.ended.drain(..self.ended_seen);
        self.moved.drain(..self.moved_seen);
        // Counted anew at the end of the poll, to which it need not come.
        (self.ended_seen, self.moved_seen) = (self.ended.len(), self.moved.len());
        if self.moved.is_empty() && self.moved.capacity() > 2 * FEW_MOVES {
            self.moved.shrink_to(FEW_MOVES);
        }
        self.forget_ended_on_ready_list();
        self.take_up_all_closed(self.now);
        self.give_back_memory();
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
        self.tick = Tick::at(self.now, self.epoch);
    }

    /// The latest time anybody told.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// Counts the datagrams of `batch` and looks up whose they are, all at once; [`Demux::sort`] for each of them, in
    /// order, comes next.
    pub(crate) fn look_up(&mut self, batch: &ReceiveBatch) {
        self.measure_room();
        self.looked_up.datagrams = batch.len();
        if !self.goes_by_address() {
            // The caller's function comes next. If it panics, what was taken from the socket is in the counters.
            self.looked_up.at_stake = 1;
            self.count_received(batch.len(), batch.arrived().map(|arrived| arrived.bytes.len()).sum());
        }
        let (identity, table) = (&self.identity, &self.table);
        let LookedUp { senders, found, as_of, .. } = &mut self.looked_up;
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
        if self.goes_by_address() {
            self.count_received(batch.len(), bytes);
        }
        self.looked_up.at_stake = 0;
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
        // What is decided may be asked of a function of the caller's, which may panic.
        self.looked_up.at_stake = place + 1;
        let meeting = match (known, connection) {
            _ if !is_answerable(sender) => Meeting::Drop(DropReason::Unanswerable),
            (Some(peer), Some(connection)) => self.meet_again(peer, connection, sender, arrived, cut),
            (Some(peer), None) => Meeting::Known(peer),
            (None, _) if cut => Meeting::Drop(DropReason::TooLarge),
            (None, connection) => self.meet_unknown(key, connection, sender, bytes),
        };
        self.looked_up.at_stake = 0;
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

    /// How many datagrams were received and lost because a function of the caller's panicked.
    fn lost_by_panic(&self) -> u64 {
        let LookedUp { datagrams, at_stake, .. } = self.looked_up;
        at_stake.checked_sub(1).map_or(0, |first| (datagrams - first) as u64)
    }

    fn settle_panic(&mut self) {
        let lost = self.lost_by_panic();
        self.looked_up.at_stake = 0;
        self.stats.drops.add(DropReason::Panicked, lost);
    }

    /// Who has the key of the datagram at `place` by now.
    fn found(&self, place: usize, key: &Key) -> Option<PeerId> {
        if self.looked_up.as_of != self.table.changes() {
            return self.table.find(key);
        }
        match self.looked_up.found.get(place)? {
            Found::Nobody => None,
            Found::ByAddress(id) | Found::ById(id) => Some(self.table.id_of(*id)),
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
        self.end(peer, CloseReason::SocketFailed, self.now);
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

    /// Counts a put that is not a peer's: its bytes if it was sent, else why it was not.
    pub(crate) fn count_send(&self, outcome: Result<usize, SendDropReason>) {
        let sends = self.shared.sends();
        sends.count_other_puts(1);
        match outcome {
            Ok(bytes) => sends.count_sent_by_server(1, bytes as u64),
            Err(reason) => sends.count_drops(reason, 1),
        }
    }

    /// Ends a poll. Peers are judged idle where the socket was seen empty: else what they sent may still wait there.
    /// Where it is never seen empty, it takes twice the silence, and polls for as long as the time-out.
    pub(crate) fn finish(&mut self, socket_was_empty: bool) -> PollReport {
        match self.limits.idle_timeout {
            None => self.flooded = Flooded::default(),
            Some(timeout) => self.judge_silence(socket_was_empty, timeout),
        }
        self.report.more_waiting = !socket_was_empty;
        self.ended_seen = self.ended.len();
        self.moved_seen = self.moved.len();
        self.report
    }

    fn judge_silence(&mut self, socket_was_empty: bool, timeout: Duration) {
        self.flooded.note(self.tick, socket_was_empty, timeout);
        if socket_was_empty {
            self.end_silent(timeout);
        } else if self.flooded.is_over(self.tick, timeout) {
            self.end_silent(timeout.saturating_mul(2));
        }
    }

    fn end_silent(&mut self, timeout: Duration) {
        while let Some(id) = self.table.next_silent(self.tick, timeout) {
            self.end(id, CloseReason::Idle, self.now);
            self.report.idle += 1;
        }
    }

    /// The pending connection that came first; from now on it is a peer. `now` may be later than at the last poll: that
    /// is what its silence counts from.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Arc<Mailbox>> {
        let id = self.pending.take_oldest()?;
        let mailbox = Arc::clone(self.table.accept(id, Tick::at(now, self.epoch))?);
        self.stats.connections.taken += 1;
        self.list_as_ready(id);
        Some(mailbox)
    }

    /// Makes a peer of somebody who has not spoken, or not been taken. `now` as for [`Demux::take`].
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
        let id = match known.map(|id| self.pending.take(id).ok_or(id)) {
            Some(Ok(pending)) => pending,
            Some(Err(peer)) => return Err(NotConnected::Known(peer)),
            None if self.table.len() >= self.limits.max_peers => return Err(NotConnected::PeersFull),
            None => self.insert(key, connection, remote),
        };
        self.refused.lift(&key);
        let mailbox = Arc::clone(self.table.accept(id, Tick::at(now, self.epoch)).ok_or(NotConnected::Known(id))?);
        self.stats.connections.connected += 1;
        self.list_as_ready(id);
        Ok(mailbox)
    }

    /// Ends a peer from the server's side. `now` as for [`Demux::take`]: a refusal counts from then.
    pub(crate) fn close(&mut self, id: PeerId, now: Instant) -> Result<(), UnknownPeer> {
        if !self.table.is_peer(id) || !self.is_open(id) {
            return Err(UnknownPeer(id));
        }
        self.end(id, CloseReason::Closed, now);
        Ok(())
    }

    /// Admits nobody new from now on, and forgets connections that have not been taken.
    pub(crate) fn drain(&mut self) {
        self.draining = true;
        self.forget_all_pending(DropReason::Draining);
    }

    /// Ends every peer, forgets every pending connection, and starts with a clean slate.
    pub(crate) fn end_all(&mut self, reason: CloseReason) {
        self.forget_all_pending(DropReason::Unread);
        while let Some(id) = self.table.last() {
            self.end(id, reason, self.now);
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
        for id in self.pending.beyond_per_origin(self.limits.max_pending_per_ip) {
            let addr = self.table.mailbox(id).map(|mailbox| *mailbox.first_remote());
            if addr.is_some_and(|addr| self.origin(addr).is_some()) && self.pending.take(id).is_some() {
                self.stats.connections.trimmed += 1;
                self.forget_pending(id, DropReason::PendingTrimmed);
            }
        }
        while self.pending.len() > self.limits.max_pending_connections {
            let Some(id) = self.pending.take_newest() else { break };
            self.stats.connections.trimmed += 1;
            self.forget_pending(id, DropReason::PendingTrimmed);
        }
        self.refused.shrink_to(self.limits.max_refused_addresses);
    }

    /// Appends to `out` the peers that have ended, and forgets them.
    pub(crate) fn ended(&mut self, out: &mut Vec<(PeerId, CloseReason)>) {
        out.extend(self.ended.drain(..));
        self.ended_seen = 0;
    }

    /// Appends to `out` the peers that go on at another address, and forgets them.
    pub(crate) fn moved(&mut self, out: &mut Vec<Moved>) {
        out.extend(self.moved.drain(..).map(|(_, moved)| moved));
        self.moved_seen = 0;
    }

    /// Appends to `out` the peers that have packets waiting, and takes those that have not off the list.
    pub(crate) fn ready(&mut self, out: &mut Vec<PeerId>) {
        let table = &mut self.table;
        self.ready.retain(|&id| {
            let Some(entry) = table.own_entry_mut(id) else { return false };
            entry.listed = entry.mailbox.is_ready();
            entry.listed
        });
        out.extend(self.ready.iter().map(|&id| self.table.id_of(id)));
        self.forget_ended_ready();
        out.extend(self.ended_ready.iter().map(|(id, _)| id));
    }

    /// Takes ended peers off the list whose packets have been taken, or can be taken by nobody any more.
    fn forget_ended_ready(&mut self) {
        self.ended_ready.retain(|(_, mailbox)| mailbox.upgrade().is_some_and(|mailbox| mailbox.is_ready()));
        self.ended_ready_room = 2 * self.ended_ready.len() + 64;
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
    pub(crate) fn for_flush(&mut self) -> (&Arc<Common>, impl FnMut(Packet)) {
        (&self.shared, |packet| self.stash.recycle(packet))
    }

    pub(crate) fn shared(&self) -> &Arc<Common> {
        &self.shared
    }

    /// Gives back the memory for packets that lies ready, and all that comes back later: handles and packets that are
    /// kept would keep it, where nobody needs it any more.
    pub(crate) fn give_back_idle_memory(&self) {
        self.shared.pool().set_max_idle_bytes(0);
    }

    /// Whether there are so many that wait for a flush that most of them must have ended.
    pub(crate) fn has_to_flush(&self) -> bool {
        self.shared.listed_to_flush() > 2 * self.table.places() + 64
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
        stats.drops.add(DropReason::Panicked, self.lost_by_panic());
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
            refused: self.refused.count(self.now),
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

    /// Lets a connection go on at a new address. A move of a pending one is told to nobody, since the program does not
    /// know its id yet.
    fn follow(&mut self, peer: PeerId, from: SocketAddr, to: &NewAddress, until: Instant) {
        let confirmed = self.table.follow(peer, from, to, until);
        self.stats.connections.moved += 1;
        self.report.moved += 1;
        if self.table.is_peer(peer) {
            let moved = self.moved.entry(peer).or_insert(Moved { peer, from, to: to.remote, confirmed });
            (moved.to, moved.confirmed) = (to.remote, confirmed);
        }
    }

    /// Takes note that a peer receives at `addr`. Returns whether that is where it is.
    pub(crate) fn confirm_move(&self, id: PeerId, addr: SocketAddr) -> Result<bool, UnknownPeer> {
        Ok(self.mailbox(id).ok_or(UnknownPeer(id))?.confirm(canonical(addr)))
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
            self.origin(sender).and_then(|origin| self.no_room_for_origin(origin))
        }
    }

    fn no_room_for_origin(&self, origin: Origin) -> Option<DropReason> {
        if self.pending.count_from(origin) >= self.limits.max_pending_per_ip {
            Some(DropReason::PendingPerIpFull)
        } else {
            let is_full = self.limits.max_peers_per_ip.is_some_and(|max| self.table.count_from(origin) >= max);
            is_full.then_some(DropReason::PeersPerIpFull)
        }
    }

    /// With whom a sender is counted for the limits per IP address, unless it is exempt.
    fn origin(&self, sender: SocketAddr) -> Option<Origin> {
        let exempt = self.limits.exempt_from_per_ip.iter().any(|prefix| prefix.contains(sender.ip()));
        (!exempt).then(|| Origin::of(sender.ip()))
    }

    fn admit(&mut self, key: Key, connection: Option<ConnectionId>, remote: SocketAddr) -> PeerId {
        let id = self.insert(key, connection, remote);
        let origin = self.origin(remote);
        self.pending.push(id, self.now, origin);
        self.stats.connections.opened += 1;
        self.report.new_connections += 1;
        id
    }

    fn insert(&mut self, key: Key, connection: Option<ConnectionId>, remote: SocketAddr) -> PeerId {
        let (shared, origin) = (Arc::clone(&self.shared), self.origin(remote));
        self.table.insert(key, origin, self.tick, |id| Arc::new(Mailbox::new(id, connection, remote, shared)))
    }

    /// Gives a datagram to its peer, if that has not ended; counts what becomes of it. `sender` is left out where the
    /// peer is known by its address.
    #[inline]
    fn deliver(&mut self, id: LocalId, sender: Option<&SocketAddr>, arrived: &Arrived<'_>, cut: bool) -> bool {
        let bytes = arrived.bytes;
        let Some(entry) = self.table.own_entry_mut(id).filter(|entry| entry.mailbox.is_open()) else { return false };
        entry.last_heard = self.tick;
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
        if !self.deliver(id.local(), Some(&sender), arrived, cut) {
            self.count_drops(DropReason::Unread, 1);
        }
    }

    /// Puts a peer with packets on the list of those; pending connections are nobody's yet.
    fn list_as_ready(&mut self, id: PeerId) {
        let Some(entry) = self.table.entry_mut(id) else { return };
        if entry.is_peer && !entry.listed && entry.mailbox.waiting() > 0 {
            entry.listed = true;
            self.ready.push(id.local());
        }
    }

    /// Keeps the list in proportion to the table also where nobody ever asks for it. Between two polls it grows by each
    /// peer once at most.
    fn forget_ended_on_ready_list(&mut self) {
        if self.ready.len() > 2 * self.table.len() {
            let table = &self.table;
            self.ready.retain(|&id| table.own_entry(id).is_some());
        }
    }

    /// Looks at some of the peers whose queues take memory, at those that it has not looked at for longest, and gives
    /// back what was not needed since.
    fn give_back_memory(&mut self) {
        let (now, grown) = (self.tick, &mut self.grown);
        self.shared.take_grown(|id| grown.push_back((now, id)));
        for _ in 0..MEMORY_LOOKS {
            let is_due = |(looked, _): &&(Tick, LocalId)| looked.is_over(now, MEMORY_REST);
            let Some(&(_, id)) = self.grown.front().filter(is_due) else { break };
            self.grown.pop_front();
            let is_done = self.table.own_entry(id).is_none_or(|entry| entry.mailbox.give_back_memory());
            if !is_done {
                self.grown.push_back((now, id));
            }
        }
        // Without peers that are gone, where many come and go between two polls, or faster than this looks at them.
        if self.grown.len() > self.grown_room {
            let table = &self.table;
            self.grown.retain(|&(_, id)| table.own_entry(id).is_some());
            self.grown_room = 2 * self.grown.len() + 64;
        }
        if self.grown.is_empty() {
            self.grown.shrink_to(64);
        }
    }

    /// Ends a peer, unless its handle has done so before.
    fn end(&mut self, id: PeerId, reason: CloseReason, now: Instant) {
        let Some((key, mailbox)) = self.table.remove(id) else { return };
        mailbox.end(reason);
        let reason = mailbox.ended().unwrap_or(reason);
        match reason {
            CloseReason::Closed => self.stats.connections.closed += 1,
            CloseReason::Idle => self.stats.connections.idle += 1,
            CloseReason::ServerStopped | CloseReason::SocketFailed => {}
        }
        self.tell_ended(id, reason);
        if mailbox.is_ready() {
            if self.ended_ready.len() >= self.ended_ready_room {
                self.forget_ended_ready();
            }
            self.ended_ready.push((id, Arc::downgrade(&mailbox)));
        }
        if let (CloseReason::Closed, AfterClose::Refuse(time)) = (reason, self.limits.after_close) {
            self.refused.refuse(key, far_after(now, time), self.limits.max_refused_addresses);
        }
    }

    /// Remembers that a peer has ended. There is room for twice as many as there may be peers, since all may end in a
    /// poll and as many before it. A program that connects and closes without end between two polls exceeds that, and
    /// then the first are forgotten.
    fn tell_ended(&mut self, id: PeerId, reason: CloseReason) {
        self.ended_so_far += 1;
        if self.ended.len() >= 2 * self.limits.max_peers.max(self.table.places()).min(usize::MAX / 2) {
            self.ended.pop_front();
            self.ended_seen = self.ended_seen.saturating_sub(1);
        }
        self.ended.push_back((id, reason));
    }

    fn next_closed(&mut self) -> Option<PeerId> {
        self.closed.get_mut().unwrap_or_else(PoisonError::into_inner).try_recv().ok()
    }

    fn take_up_all_closed(&mut self, now: Instant) {
        while let Some(id) = self.next_closed() {
            self.take_up_closed(id, now);
        }
    }

    /// Removes a peer that its handle has ended, if that has not been done.
    fn take_up_closed(&mut self, id: PeerId, now: Instant) {
        if self.table.mailbox(id).is_some() {
            self.report.closed += 1;
            self.end(id, CloseReason::Closed, now);
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
        self.take_up_closed(id, self.now);
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
