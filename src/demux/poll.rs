//! One poll: [`Demux::begin`], [`Demux::take_batch`] for what the port listened on has received and
//! [`Demux::take_own_batch`] for what a peer's own socket has, [`Demux::finish`].

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::admit::Rules;
use super::filter::{FilterFn, FirstDatagram};
use super::flooded::Flooded;
use super::meeting::Meeting;
use super::roster::Demux;
use crate::address::{canonical, is_answerable};
use crate::datagram::{Arrived, ReceiveBatch};
use crate::peer_id::{LocalId, PeerId};
use crate::peer_state::CloseReason;
use crate::stats::{DropReason, PollReport, SendDropReason};

/// How many datagrams more one poll takes from the port listened on. Those of peers and pending connections, and those
/// of others, have a budget each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgets {
    pub(crate) known: usize,
    pub(crate) unknown: usize,
}

impl Budgets {
    /// How many may be taken from the socket: whose a datagram is shows only when it has been taken.
    pub(crate) fn least(self) -> usize {
        self.known.min(self.unknown)
    }

    fn charge(&mut self, whose: Whose) {
        match whose {
            // A transport of somebody's own may push more than it was asked for.
            Whose::Known => self.known = self.known.saturating_sub(1),
            Whose::Unknown => self.unknown = self.unknown.saturating_sub(1),
        }
    }
}

/// Whose a datagram was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// A peer's, or a pending connection's.
    Known,
    /// An unknown sender's, and it has not become a peer.
    Unknown,
}

/// What a function of the program has written, to be sent back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply<'a> {
    /// The address of this host that was spoken to, where the transport tells.
    pub(crate) from: Option<IpAddr>,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'a [u8],
}

/// What the core asks of others while it takes a batch.
pub(crate) struct Outside<'a, 'f> {
    /// Asked about the datagrams of unknown senders, instead of the filter that is set.
    pub(crate) filter: Option<&'a mut FilterFn<'f>>,
    /// Sends a reply, or returns the reason under which to count that it was not sent.
    pub(crate) send: &'a dyn Fn(&Reply<'_>) -> Result<(), SendDropReason>,
}

impl Demux {
    /// Starts a poll, which takes datagrams of up to `max_packet_size` bytes: processes what handles closed, and lets pending
    /// connections and refused addresses expire.
    pub(crate) fn begin(&mut self, now: Instant, max_packet_size: usize) {
        self.settle_panic();
        self.ledger.begin_poll();
        self.time.tell(now);
        self.max_packet_size = max_packet_size;
        self.replies.begin(self.limits.max_replies_per_poll);
        self.polls = self.polls.wrapping_add(1);
        self.news.begin_poll();
        self.ready.tidy(&self.table);
        self.take_up_all_closed(self.time.now());
        self.give_back_memory();
        self.admission.refused.expire(self.time.now());
        self.expire_pending();
    }

    /// Counts what was lost if a function of the program has panicked since the last poll began.
    fn settle_panic(&mut self) {
        let lost = self.looked_up.lost_by_panic();
        self.looked_up.unstake();
        self.ledger.stats.drops.add(DropReason::Panicked, lost);
    }

    fn expire_pending(&mut self) {
        let Some(lifetime) = self.limits.pending_lifetime else { return };
        while let Some(id) = self.admission.pending.take_older_than(self.time.now(), lifetime) {
            self.ledger.count_expired();
            self.forget_pending(id, DropReason::PendingExpired);
        }
    }

    /// Gives each datagram that the port listened on has received to its peer, makes a pending connection of it, or
    /// drops it, and counts which.
    ///
    /// Inlined into its one caller: compiled beside the rest of the core, it loses [`Demux::deliver`] out of the loop,
    /// for 50 instructions per datagram.
    #[inline]
    pub(crate) fn take_batch(&mut self, batch: &ReceiveBatch, budgets: &mut Budgets, outside: &mut Outside<'_, '_>) {
        self.look_up(batch);
        for (place, arrived) in batch.arrived().enumerate() {
            let cut = self.is_cut(&arrived);
            // Most are from a peer that is known by its address, and that is all there is to them.
            let known = self.looked_up.by_address(place, &self.table);
            if known.is_some_and(|peer| self.deliver(peer, None, &arrived, cut)) {
                budgets.charge(Whose::Known);
                continue;
            }
            budgets.charge(self.meet_and_answer(place, &arrived, cut, outside));
        }
    }

    /// The rest of [`Demux::take_batch`] for a datagram of any sender. Returns whose it was.
    #[inline(never)]
    fn meet_and_answer(
        &mut self,
        place: usize,
        arrived: &Arrived<'_>,
        cut: bool,
        outside: &mut Outside<'_, '_>,
    ) -> Whose {
        let (whose, has_reply) = self.meet(place, arrived, cut, outside.filter.as_deref_mut());
        if has_reply {
            // A transport of the program's may panic too; what it was to answer has been counted.
            self.looked_up.stake_from(place + 1);
            let (from, bytes) = (*arrived.local(), self.replies.bytes());
            let outcome = (outside.send)(&Reply { from, to: canonical(*arrived.sender()), bytes });
            self.count_send(outcome.map(|()| bytes.len()));
            self.looked_up.unstake();
        }
        whose
    }

    /// Gives each datagram from a peer's own socket to that peer. Datagrams of others, from before the socket was connected,
    /// are dropped.
    pub(crate) fn take_own_batch(&mut self, peer: PeerId, batch: &ReceiveBatch) {
        self.measure_room();
        for arrived in batch.arrived() {
            self.ledger.count_received(1, arrived.bytes.len());
            let sender = canonical(*arrived.sender());
            match self.table.mailbox(peer).filter(|mailbox| mailbox.remote() == sender) {
                Some(mailbox) => {
                    mailbox.set_switched();
                    self.deliver_or_lose(peer, sender, &arrived, self.is_cut(&arrived));
                }
                None => self.ledger.count_drops(DropReason::Stranger, 1),
            }
        }
    }

    /// Whether a datagram is too long. One that is cut is, whatever is left of it.
    #[inline]
    fn is_cut(&self, arrived: &Arrived<'_>) -> bool {
        arrived.is_cut() || arrived.bytes.len() > self.max_packet_size
    }

    /// Counts the datagrams of `batch` and looks up whose they are, all at once.
    fn look_up(&mut self, batch: &ReceiveBatch) {
        self.measure_room();
        self.looked_up.begin_batch(batch.len());
        let asks = !self.goes_by_address();
        if asks {
            // The program's function comes next. If it panics, what was taken from the socket is already counted.
            self.looked_up.stake_from(0);
            self.ledger.count_received(batch.len(), batch.arrived().map(|arrived| arrived.bytes.len()).sum());
        }
        let bytes = self.looked_up.look_up(batch, &self.identity, &self.table);
        if !asks {
            self.ledger.count_received(batch.len(), bytes);
        }
        self.looked_up.unstake();
    }

    fn measure_room(&mut self) {
        self.ledger.measure_room(self.limits.max_queued_bytes, self.shared.gone());
    }

    /// Decides what becomes of a datagram of any sender. Returns whose it was, and whether there is a reply to it.
    #[inline(never)]
    fn meet(
        &mut self,
        place: usize,
        arrived: &Arrived<'_>,
        cut: bool,
        filter: Option<&mut FilterFn<'_>>,
    ) -> (Whose, bool) {
        let key = self.looked_up.key(place);
        let connection = key.connection();
        let (sender, bytes) = (canonical(*arrived.sender()), arrived.bytes);
        let known = self.looked_up.found(place, &self.table).and_then(|id| self.still_open(id));
        // A function of the program may be asked to decide, and may panic.
        self.looked_up.stake_from(place);
        let meeting = match (known, connection) {
            _ if !is_answerable(sender) => Meeting::Drop(DropReason::Unanswerable),
            (Some(peer), Some(connection)) => self.meet_again(peer, connection, sender, arrived, cut),
            (Some(peer), None) => Meeting::Known(peer),
            (None, _) if cut => Meeting::Drop(DropReason::TooLarge),
            (None, id) => {
                let mut first = FirstDatagram { id, ..FirstDatagram::new(sender, bytes, self.time.now()) };
                let rules = Rules { limits: &self.limits, identity: &self.identity, table: &self.table };
                self.admission.decide(&key, &mut first, rules, filter, &mut self.replies)
            }
        };
        self.looked_up.unstake();
        let peer = match meeting {
            Meeting::Known(peer) => peer,
            Meeting::Admit => self.admit(key, connection, sender),
            Meeting::Drop(reason) => {
                if let Some(mailbox) = known.and_then(|peer| self.table.mailbox(peer)) {
                    mailbox.count_dropped(reason, bytes.len());
                }
                self.ledger.count_drops(reason, 1);
                return (Whose::Unknown, false);
            }
            Meeting::Consume | Meeting::Answer => {
                self.ledger.count_consumed();
                return (Whose::Unknown, meeting == Meeting::Answer);
            }
            Meeting::AdmitAndConsume | Meeting::AdmitAndAnswer => {
                let peer = self.admit(key, connection, sender);
                // Where answers leave from is known by the datagram that nobody receives.
                if let (Some(local), Some(mailbox)) = (*arrived.local(), self.table.mailbox(peer)) {
                    mailbox.set_local(local);
                }
                self.ledger.count_consumed();
                return (Whose::Known, meeting == Meeting::AdmitAndAnswer);
            }
        };
        self.deliver_or_lose(peer, sender, arrived, cut);
        (Whose::Known, false)
    }

    /// Gives a datagram to its peer, if that has not ended; counts what becomes of it. `sender` is left out where the
    /// peer is known by its address.
    #[inline]
    fn deliver(&mut self, id: LocalId, sender: Option<&SocketAddr>, arrived: &Arrived<'_>, cut: bool) -> bool {
        let bytes = arrived.bytes;
        let Some(member) = self.table.own_member_mut(id).filter(|member| member.mailbox.is_open()) else {
            return false;
        };
        member.last_heard = self.time.tick();
        let over_quota = self.limits.quota_per_poll.is_some_and(|quota| member.count_in_poll(self.polls) > quota);
        if cut || over_quota {
            let reason = if cut { DropReason::TooLarge } else { DropReason::Quota };
            member.mailbox.count_dropped(reason, bytes.len());
            self.ledger.count_drops(reason, 1);
            return true;
        }
        let sender = sender.unwrap_or(member.mailbox.first_remote());
        let packet = self.stash.packet(bytes, sender, self.time.now());
        let overflow = member.mailbox.push(packet, arrived.local(), &self.limits.queue, self.ledger.room());
        self.ready.note(id, member);
        match overflow {
            None => self.ledger.count_queued(bytes.len()),
            Some(lost) => self.ledger.count_overflow(lost, bytes.len()),
        }
        true
    }

    /// As [`Demux::deliver`]; what comes for a peer that has just ended, on another thread, is left unread.
    fn deliver_or_lose(&mut self, id: PeerId, sender: SocketAddr, arrived: &Arrived<'_>, cut: bool) {
        if !self.deliver(id.local(), Some(&sender), arrived, cut) {
            self.ledger.count_drops(DropReason::Unread, 1);
        }
    }

    /// Counts an error of the socket that is nothing but noise.
    pub(crate) fn count_noise(&mut self) {
        self.ledger.count_noise();
    }

    /// Counts a datagram of which the system says no more than that it was too long to be received.
    pub(crate) fn count_truncated(&mut self) {
        self.ledger.count_truncated();
    }

    /// Ends a poll. Peers are judged idle where the socket was seen empty: else what they sent may still wait there.
    /// Where it is never seen empty, it takes twice the silence, and polls for as long as the time-out.
    pub(crate) fn finish(&mut self, socket_was_empty: bool) -> PollReport {
        match self.limits.idle_timeout {
            None => self.flooded = Flooded::default(),
            Some(timeout) => self.judge_silence(socket_was_empty, timeout),
        }
        self.news.end_poll();
        self.ledger.report.more_waiting = !socket_was_empty;
        self.ledger.report
    }

    fn judge_silence(&mut self, socket_was_empty: bool, timeout: Duration) {
        let now = self.time.tick();
        self.flooded.note(now, socket_was_empty, timeout);
        if socket_was_empty {
            self.end_silent(timeout);
        } else if self.flooded.is_over(now, timeout) {
            self.end_silent(timeout.saturating_mul(2));
        }
    }

    fn end_silent(&mut self, timeout: Duration) {
        while let Some(id) = self.table.next_silent(self.time.tick(), timeout) {
            self.end(id, CloseReason::Idle, self.time.now());
            self.ledger.report.idle += 1;
        }
    }
}
