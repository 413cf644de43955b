//! What becomes of what is put.

use std::net::{IpAddr, SocketAddr};

use packetpeer::SendMode;
use packetpeer::stats::FlushReport;

use super::party::{Bound, Letter};
use super::{Model, SendDropCounter};
use crate::rig::Sent;

/// Largest payload of a datagram over IPv4 and over IPv6, in bytes.
const LARGEST_V4: usize = 65_507;
const LARGEST_V6: usize = 65_527;

/// Why something was not sent.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    Ended,
    TooLarge,
    WouldBlock,
    Unconfirmed,
    /// Counted already, under the limit that was reached.
    Full,
}

/// A broadcast on its way.
struct Broadcast {
    letter: Letter,
    /// It has its room among what waits.
    has_copy: bool,
    report: FlushReport,
}

impl Refusal {
    fn counter(self) -> Option<SendDropCounter> {
        match self {
            Self::Ended => Some(|drops| &mut drops.not_open),
            Self::TooLarge => Some(|drops| &mut drops.too_large),
            Self::WouldBlock => Some(|drops| &mut drops.would_block),
            Self::Unconfirmed => Some(|drops| &mut drops.unconfirmed),
            Self::Full => None,
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::TooLarge => "too large",
            Self::WouldBlock => "would block",
            Self::Unconfirmed => "unconfirmed",
            Self::Full => "queue full",
        }
    }
}

impl Model {
    pub(crate) fn put(&mut self, name: usize, bytes: &[u8]) -> Result<(), &'static str> {
        self.count_put(name);
        let must_wait = self.has_to_wait(name);
        let mut result = if must_wait { self.post_put(name, bytes) } else { self.put_now(name, bytes) };
        if self.setup.send_mode == SendMode::QueueWhenBlocked && matches!(result, Err(Refusal::WouldBlock)) {
            result = self.post_put(name, bytes);
        }
        result.map_err(|refusal| {
            if let Some(counter) = refusal.counter() {
                self.count_unsent(name, counter, 1);
            }
            refusal.why()
        })
    }

    fn put_now(&mut self, name: usize, bytes: &[u8]) -> Result<(), Refusal> {
        if self.party(name).end.is_some() {
            return Err(Refusal::Ended);
        }
        if !self.party(name).charge(bytes.len()) {
            return Err(if is_too_large(self.party(name).remote, bytes) {
                Refusal::TooLarge
            } else {
                Refusal::Unconfirmed
            });
        }
        if is_too_large(self.party(name).remote, bytes) {
            self.party(name).refund(bytes.len());
            return Err(Refusal::TooLarge);
        }
        if !self.transmit_to(name, bytes) {
            self.party(name).refund(bytes.len());
            return Err(Refusal::WouldBlock);
        }
        Ok(())
    }

    fn post_put(&mut self, name: usize, bytes: &[u8]) -> Result<(), Refusal> {
        if is_too_large(self.party(name).remote, bytes) {
            return Err(Refusal::TooLarge);
        }
        if self.party(name).end.is_some() {
            return Err(Refusal::Ended);
        }
        if self.post(name, Letter(bytes.into())) { Ok(()) } else { Err(Refusal::Full) }
    }

    /// Lets a packet wait for the next flush. Returns whether it does; what is dropped for a limit is counted here.
    fn post(&mut self, name: usize, letter: Letter) -> bool {
        if !self.has_room_for(&letter) {
            self.count_unsent(name, |drops| &mut drops.server_bytes, 1);
            return false;
        }
        self.post_with_room(name, letter)
    }

    /// The same where all the server's queues together have room.
    fn post_with_room(&mut self, name: usize, letter: Letter) -> bool {
        let limits = self.limits.send_queue;
        let admission = self.party(name).outbox.admit(letter, &limits);
        match admission.bound {
            Bound::Packets => self.count_unsent(name, |drops| &mut drops.queue_packets, admission.lost),
            Bound::Bytes => self.count_unsent(name, |drops| &mut drops.queue_bytes, admission.lost),
        }
        if admission.admitted && !self.to_flush.contains(&name) {
            self.to_flush.push(name);
        }
        admission.admitted
    }

    /// Whether one more may wait. The peers of a broadcast share one copy of it.
    fn has_room_for(&self, letter: &Letter) -> bool {
        let mut copies: Vec<&Letter> = vec![letter];
        for waiting in self.parties.values().flat_map(|party| &party.outbox.0) {
            if !copies.iter().any(|copy| copy.is_copy_of(waiting)) {
                copies.push(waiting);
            }
        }
        copies.iter().map(|copy| copy.0.len()).sum::<usize>() <= self.limits.max_queued_bytes
    }

    /// Sends all that waits, those with a socket of their own first.
    pub(crate) fn flush(&mut self) -> FlushReport {
        let mut report = FlushReport::default();
        let listed = std::mem::take(&mut self.to_flush);
        let (own, shared): (Vec<_>, Vec<_>) = listed.into_iter().partition(|&name| self.own_route(name).is_some());
        for name in own {
            self.flush_together(&[name], &mut report);
        }
        self.flush_together(&shared, &mut report);
        self.bury();
        report
    }

    /// Sends what one peer has put, apart from the others. Returns whether something goes on waiting.
    pub(super) fn flush_one(&mut self, name: usize) -> bool {
        if self.parties.get(&name).is_none_or(|party| party.outbox.is_empty()) {
            return false;
        }
        self.to_flush.retain(|&other| other != name);
        self.flush_together(&[name], &mut FlushReport::default());
        !self.party(name).outbox.is_empty()
    }

    /// Sends what waits for these, by one socket.
    fn flush_together(&mut self, names: &[usize], report: &mut FlushReport) {
        let mut letters = Vec::new();
        for &name in names {
            for letter in std::mem::take(&mut self.party(name).outbox.0) {
                if self.party(name).charge(letter.0.len()) {
                    letters.push((name, letter));
                } else {
                    self.count_unsent(name, |drops| &mut drops.unconfirmed, 1);
                    report.failed += 1;
                }
            }
        }
        let sent = self.room.min(letters.len());
        for (name, letter) in letters.drain(..sent) {
            self.transmit_to(name, &letter.0);
            report.sent += 1;
        }
        report.waiting += letters.len();
        // What goes on waiting is given back from the last to the first.
        for (name, letter) in letters.into_iter().rev() {
            let party = self.party(name);
            party.refund(letter.0.len());
            party.outbox.0.push_front(letter);
            if self.setup.send_mode == SendMode::OnFlush && !self.to_flush.contains(&name) {
                self.to_flush.push(name);
            }
        }
        if self.setup.send_mode == SendMode::QueueWhenBlocked {
            let left: Vec<_> = names.iter().copied().filter(|name| !self.parties[name].outbox.is_empty()).collect();
            self.to_flush.extend(left);
        }
    }

    /// What still waits when the socket closes is given up.
    pub(super) fn give_up(&mut self) {
        for name in std::mem::take(&mut self.to_flush) {
            let unsent = std::mem::take(&mut self.party(name).outbox.0).len();
            self.count_unsent(name, |drops| &mut drops.unsent, unsent);
        }
        self.bury();
    }

    /// To those of these that are open peers, in this order.
    pub(crate) fn broadcast(&mut self, names: &[usize], bytes: &[u8]) -> Result<FlushReport, &'static str> {
        if bytes.len() > LARGEST_V4 {
            return Err("too large");
        }
        if self.listening.is_none() {
            return Err("not listening");
        }
        let is_open = |name: &usize| self.parties.get(name).is_some_and(super::Party::is_open_peer);
        let names: Vec<_> = names.iter().copied().filter(is_open).collect();
        names.iter().for_each(|&name| self.count_put(name));
        if self.setup.send_mode == SendMode::QueueWhenBlocked {
            self.flush();
        }
        let mut broadcast = Broadcast { letter: Letter(bytes.into()), has_copy: false, report: FlushReport::default() };
        let mut shared = Vec::new();
        for name in names {
            if self.has_to_wait(name) {
                self.broadcast_later(name, &mut broadcast);
            } else if !self.party(name).charge(bytes.len()) {
                self.count_unsent(name, |drops| &mut drops.unconfirmed, 1);
                broadcast.report.failed += 1;
            } else if self.own_route(name).is_some() {
                self.broadcast_now(name, &mut broadcast);
            } else {
                // These leave together, when all are known.
                shared.push(name);
            }
        }
        for name in shared {
            self.broadcast_now(name, &mut broadcast);
        }
        Ok(broadcast.report)
    }

    /// Whether what is put to a peer may not leave at once.
    fn has_to_wait(&mut self, name: usize) -> bool {
        match self.setup.send_mode {
            SendMode::OnFlush => true,
            SendMode::QueueWhenBlocked => !self.party(name).outbox.is_empty(),
            _ => false,
        }
    }

    fn broadcast_now(&mut self, name: usize, broadcast: &mut Broadcast) {
        let bytes = &broadcast.letter.0;
        if self.transmit_to(name, bytes) {
            broadcast.report.sent += 1;
            return;
        }
        self.party(name).refund(bytes.len());
        if self.setup.send_mode == SendMode::QueueWhenBlocked {
            return self.broadcast_later(name, broadcast);
        }
        self.count_unsent(name, |drops| &mut drops.would_block, 1);
        broadcast.report.failed += 1;
    }

    /// It waits as a copy that all for whom it does share, and that takes its room once.
    fn broadcast_later(&mut self, name: usize, broadcast: &mut Broadcast) {
        broadcast.has_copy |= self.has_room_for(&broadcast.letter);
        if !broadcast.has_copy {
            self.count_unsent(name, |drops| &mut drops.server_bytes, 1);
        }
        if broadcast.has_copy && self.post_with_room(name, broadcast.letter.clone()) {
            broadcast.report.waiting += 1;
        } else {
            broadcast.report.failed += 1;
        }
    }

    pub(crate) fn send_to(&mut self, addr: SocketAddr, bytes: &[u8]) -> Result<(), &'static str> {
        self.send_stateless(addr, None, bytes)
    }

    /// Sends by the port listened on, to somebody who is no peer.
    pub(super) fn send_stateless(
        &mut self,
        to: SocketAddr,
        from: Option<IpAddr>,
        bytes: &[u8],
    ) -> Result<(), &'static str> {
        self.stats.put += 1;
        let drops = &mut self.stats.send_drops;
        let Some(reach) = self.listening else {
            drops.not_open += 1;
            return Err("not listening");
        };
        if to.port() == 0 || !reach.reaches(to) {
            drops.failed += 1;
            return Err(if to.port() == 0 { "no port" } else { "wrong family" });
        }
        if !self.transmit(None, from, to, bytes) {
            self.stats.send_drops.would_block += 1;
            return Err("would block");
        }
        Ok(())
    }

    /// A packet of a peer's leaves. Returns false where the system takes no more.
    fn transmit_to(&mut self, name: usize, bytes: &[u8]) -> bool {
        let own = self.own_route(name);
        let pins = self.setup.pins && own.is_none();
        let party = self.party(name);
        let (to, from) = (party.remote, party.local.filter(|_| pins));
        let sent = self.transmit(own, from, to, bytes);
        if sent {
            let stats = &mut self.party(name).stats;
            stats.sent += 1;
            stats.sent_bytes += bytes.len() as u64;
        }
        sent
    }

    fn transmit(&mut self, by: Option<SocketAddr>, from: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> bool {
        let Some(left) = self.room.checked_sub(1) else { return false };
        self.room = left;
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        self.wire.carry_to_client(by, to, bytes);
        self.sent.push(Sent { by, from, to, bytes: bytes.to_vec() });
        true
    }

    /// The socket of its own by which a peer's packets leave, as long as there is one.
    fn own_route(&self, name: usize) -> Option<SocketAddr> {
        let addr = self.parties[&name].route()?;
        self.own_sockets.iter().any(|own| own.addr == addr).then_some(addr)
    }

    fn count_put(&mut self, name: usize) {
        self.stats.put += 1;
        self.party(name).stats.put += 1;
    }

    fn count_unsent(&mut self, name: usize, counter: SendDropCounter, count: usize) {
        *counter(&mut self.stats.send_drops) += count as u64;
        *counter(&mut self.party(name).stats.send_drops) += count as u64;
    }
}

fn is_too_large(to: SocketAddr, bytes: &[u8]) -> bool {
    bytes.len() > if to.is_ipv4() { LARGEST_V4 } else { LARGEST_V6 }
}
