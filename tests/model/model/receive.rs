//! What becomes of what arrives.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use packetpeer::Verdict;
use packetpeer::identity::{ConnectionId, MoveVerdict};

use super::party::Bound;
use super::{Model, Moved, Party, Stage, Waiting, Who, YEAR};
use crate::setup::{Ids, Move, NAMELESS, decide, decide_move};

/// What a datagram's sender is for the budgets of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sorted {
    Known,
    Unknown,
}

/// A datagram, as the server sees it.
struct Datagram<'a> {
    sender: SocketAddr,
    /// Which of the server's addresses it came to, where that is asked for.
    local: Option<IpAddr>,
    /// Of what is too long, one byte more than is accepted.
    bytes: &'a [u8],
    cut: bool,
}

impl Model {
    /// Takes what waits in all sockets, as far as the budgets go. Returns whether all were seen empty.
    pub(super) fn receive_all(&mut self) -> bool {
        self.parties.values_mut().for_each(|party| party.offered_in_poll = 0);
        let budget = self.limits.max_known_per_poll;
        let for_own = self.share_of_own_sockets(budget);
        let (left, own_empty) = self.receive_from_own_sockets(for_own);
        let (mut known, mut unknown) = (budget - for_own + left, self.limits.max_unknown_per_poll);
        while known > 0 && unknown > 0 {
            let Some((sender, bytes)) = self.wire.to_server.waiting.pop_front() else { return own_empty };
            match self.sort(sender, &bytes) {
                Sorted::Known => known -= 1,
                Sorted::Unknown => unknown -= 1,
            }
        }
        false
    }

    /// Half of the budget at most is for sockets of single peers; what cannot be halved is for both in turn.
    fn share_of_own_sockets(&mut self, budget: usize) -> usize {
        if budget > 1 {
            return budget.div_ceil(2);
        }
        self.is_own_turn = !self.is_own_turn;
        usize::from(self.is_own_turn)
    }

    /// Returns what is left of the budget, and whether all were seen empty.
    fn receive_from_own_sockets(&mut self, mut budget: usize) -> (usize, bool) {
        let hearing = |&index: &usize| !self.own_sockets[index].lingers;
        let hearing: Vec<usize> = (0..self.own_sockets.len()).filter(hearing).collect();
        let has_some = |&index: &usize| !self.own_sockets[index].inbox.waiting.is_empty();
        let mut ready: VecDeque<usize> = hearing.iter().copied().filter(has_some).collect();
        if !hearing.is_empty() {
            // Not the same is always first.
            self.own_turn += usize::from(budget > 0);
            let turn = self.own_turn.checked_rem(ready.len()).unwrap_or(0);
            ready.rotate_left(turn);
        }
        let mut all_empty = true;
        for index in ready {
            let own = &mut self.own_sockets[index];
            let name = own.name;
            let taken: Vec<_> = own.inbox.waiting.drain(..budget.min(own.inbox.waiting.len())).collect();
            budget -= taken.len();
            all_empty &= budget > 0;
            for (sender, bytes) in taken {
                self.sort_own(name, sender, &bytes);
            }
        }
        (budget, all_empty)
    }

    fn sort_own(&mut self, name: usize, sender: SocketAddr, bytes: &[u8]) {
        let datagram = self.count_received(sender, None, bytes);
        if datagram.sender != self.party(name).remote {
            return self.lose(None, 1, |drops| &mut drops.stranger);
        }
        if let Some(own) = &mut self.party(name).own {
            own.switched = true;
        }
        self.hear(name, &datagram);
    }

    fn sort(&mut self, sender: SocketAddr, bytes: &[u8]) -> Sorted {
        let local = self.ways.get(&sender).copied().filter(|_| self.setup.pins);
        let datagram = self.count_received(sender, local, bytes);
        let who = self.setup.id_in(datagram.bytes).map_or(Who::Addr(datagram.sender), Who::Id);
        let known = self.find_open(who);
        if datagram.sender.port() == 0 || datagram.sender.ip().is_unspecified() {
            let reason: super::DropCounter = |drops| &mut drops.unanswerable;
            return self.turn_away_or_refuse(known, datagram.bytes, reason);
        }
        match known {
            Some(name) => self.meet_again(name, &datagram),
            None => self.meet(who, &datagram),
        }
    }

    fn count_received<'a>(&mut self, sender: SocketAddr, local: Option<IpAddr>, bytes: &'a [u8]) -> Datagram<'a> {
        let longest = self.setup.max_packet_size;
        let cut = bytes.len() > longest;
        let bytes = &bytes[..bytes.len().min(longest + 1)];
        self.stats.received += 1;
        self.stats.received_bytes += bytes.len() as u64;
        self.report.received += 1;
        let mut sender = sender;
        if sender == NAMELESS.parse().unwrap() {
            sender.set_port(0);
        }
        Datagram { sender, local, bytes, cut }
    }

    /// Somebody known, perhaps at a new address.
    fn meet_again(&mut self, name: usize, datagram: &Datagram<'_>) -> Sorted {
        let &Datagram { sender, bytes, .. } = datagram;
        let now = self.now;
        let party = self.party(name);
        if party.remote == sender {
            party.credit(bytes.len());
        }
        if party.is_or_was_at(sender, now) {
            self.hear(name, datagram);
            return Sorted::Known;
        }
        if datagram.cut {
            return self.refuse(name, bytes, |drops| &mut drops.too_large);
        }
        let ids = self.setup.ids.expect("those known by address do not move");
        let (verdict, reply) = match ids.on_move {
            Move::Follow => (MoveVerdict::Follow, Vec::new()),
            Move::Refuse => (MoveVerdict::Refuse, Vec::new()),
            Move::Ask => decide_move(bytes),
        };
        match verdict {
            MoveVerdict::Refuse => return self.refuse(name, bytes, |drops| &mut drops.move_refused),
            MoveVerdict::Challenge => return self.answer(Some(name), datagram, &reply),
            _ => self.follow(name, ids, datagram, verdict == MoveVerdict::FollowProved),
        }
        self.hear(name, datagram);
        Sorted::Known
    }

    fn follow(&mut self, name: usize, ids: Ids, datagram: &Datagram<'_>, is_proved: bool) {
        let until = self.now.checked_add(ids.grace).unwrap_or(self.now + YEAR);
        let to = datagram.sender;
        let party = self.party(name);
        let from = party.remote;
        party.follow(to, datagram.local, datagram.bytes.len(), until);
        if is_proved {
            party.confirmed = to;
        }
        let (confirmed, is_pending) = (party.is_confirmed(), party.is_pending());
        self.stats.connections.moved += 1;
        self.report.moved += 1;
        if is_pending {
            return;
        }
        match self.moved.iter_mut().find(|moved| moved.name == name) {
            Some(moved) => (moved.to, moved.confirmed) = (to, confirmed),
            None => self.moved.push(Moved { name, from, to, confirmed, polled: false }),
        }
    }

    /// A datagram of a connection that goes no further.
    fn refuse(&mut self, name: usize, bytes: &[u8], reason: super::DropCounter) -> Sorted {
        self.count_of(name, bytes);
        self.lose(Some(name), 1, reason);
        Sorted::Unknown
    }

    fn count_of(&mut self, name: usize, bytes: &[u8]) {
        let party = self.party(name);
        party.stats.received += 1;
        party.stats.received_bytes += bytes.len() as u64;
    }

    /// A datagram of somebody known, which shows that they are there.
    fn hear(&mut self, name: usize, datagram: &Datagram<'_>) {
        let &Datagram { sender, bytes, cut, local } = datagram;
        self.count_of(name, bytes);
        let (quota, now) = (self.limits.quota_per_poll, self.now);
        let party = self.party(name);
        party.last_heard = party.last_heard.max(now);
        // What is too long uses up the quota too.
        party.offered_in_poll += 1;
        let over_quota = quota.is_some_and(|quota| party.offered_in_poll > quota);
        if cut {
            return self.lose(Some(name), 1, |drops| &mut drops.too_large);
        }
        if over_quota {
            return self.lose(Some(name), 1, |drops| &mut drops.quota);
        }
        // A straggler says nothing of where the answers go.
        if party.remote == sender {
            party.local = local.or(party.local);
        }
        self.queue(name, Waiting { bytes: bytes.to_vec(), from: sender, at: now });
    }

    fn queue(&mut self, name: usize, packet: Waiting) {
        if self.queued_bytes() + packet.bytes.len() > self.limits.max_queued_bytes {
            return self.lose(Some(name), 1, |drops| &mut drops.server_bytes);
        }
        let limits = self.limits.queue;
        let admission = self.party(name).inbox.admit(packet, &limits);
        self.report.queued += usize::from(admission.admitted);
        match admission.bound {
            Bound::Packets => self.lose(Some(name), admission.lost, |drops| &mut drops.queue_packets),
            Bound::Bytes => self.lose(Some(name), admission.lost, |drops| &mut drops.queue_bytes),
        }
    }

    /// Somebody unknown.
    fn meet(&mut self, who: Who, datagram: &Datagram<'_>) -> Sorted {
        let bytes = datagram.bytes;
        if datagram.cut {
            return self.turn_away(|drops| &mut drops.too_large);
        }
        if self.refused.iter().any(|&(refused, until)| refused == who && self.now < until) {
            return self.turn_away(|drops| &mut drops.refused);
        }
        let obstacle = self.obstacle(who, datagram.sender);
        let (verdict, reply) = match self.filter {
            None => (Verdict::Accept, Vec::new()),
            Some(style) => {
                self.filter_asked += 1;
                self.filter_had_room += u64::from(obstacle.is_none());
                decide(style, bytes)
            }
        };
        match verdict {
            Verdict::Ignore => return self.turn_away(|drops| &mut drops.filtered),
            Verdict::Consume => {
                self.count_consumed();
                return Sorted::Unknown;
            }
            Verdict::Reply => return self.answer(None, datagram, &reply),
            _ => {}
        }
        if let Some(reason) = obstacle {
            return self.turn_away(reason);
        }
        let answers = verdict == Verdict::AcceptAndReply;
        if answers {
            if let Err(reason) = self.permit(datagram, &reply) {
                return self.turn_away(reason);
            }
        }
        let name = self.admit(who, datagram.sender);
        if verdict == Verdict::Accept {
            self.hear(name, datagram);
            return Sorted::Known;
        }
        self.party(name).local = datagram.local;
        self.count_consumed();
        if answers {
            let _ = self.send_stateless(datagram.sender, datagram.local, &reply);
        }
        Sorted::Known
    }

    fn count_consumed(&mut self) {
        self.stats.consumed += 1;
        self.report.consumed += 1;
    }

    fn turn_away_or_refuse(&mut self, name: Option<usize>, bytes: &[u8], reason: super::DropCounter) -> Sorted {
        match name {
            Some(name) => self.refuse(name, bytes, reason),
            None => self.turn_away(reason),
        }
    }

    fn turn_away(&mut self, reason: super::DropCounter) -> Sorted {
        self.lose(None, 1, reason);
        Sorted::Unknown
    }

    /// Sends back what a function of the caller's has written, to somebody unknown or on a move of somebody known.
    fn answer(&mut self, name: Option<usize>, datagram: &Datagram<'_>, reply: &[u8]) -> Sorted {
        match self.permit(datagram, reply) {
            Ok(()) => {
                self.count_consumed();
                let _ = self.send_stateless(datagram.sender, datagram.local, reply);
                Sorted::Unknown
            }
            Err(reason) => self.turn_away_or_refuse(name, datagram.bytes, reason),
        }
    }

    /// Whether a reply may go, which then is one less for this poll.
    fn permit(&mut self, datagram: &Datagram<'_>, reply: &[u8]) -> Result<(), super::DropCounter> {
        if reply.len() > datagram.bytes.len() {
            return Err(|drops| &mut drops.reply_too_long);
        }
        if self.replies_left == 0 {
            return Err(|drops| &mut drops.reply_budget);
        }
        self.replies_left -= 1;
        Ok(())
    }

    /// What stands in the way of a connection.
    fn obstacle(&self, who: Who, sender: SocketAddr) -> Option<super::DropCounter> {
        let is_nobody = matches!(who, Who::Addr(_)) && self.setup.ids.is_some_and(|ids| !ids.by_address);
        let counts = self.counts(sender);
        let pending = self.pending().filter(|(_, party)| party.counts_with(sender.ip())).count();
        let known = self.names(|party| party.known && party.counts_with(sender.ip())).len();
        if is_nobody {
            Some(|drops| &mut drops.no_id)
        } else if self.draining {
            Some(|drops| &mut drops.draining)
        } else if self.pending().count() >= self.limits.max_pending_connections {
            Some(|drops| &mut drops.pending_full)
        } else if self.known_count() >= self.limits.max_peers {
            Some(|drops| &mut drops.peers_full)
        } else if counts && pending >= self.limits.max_pending_per_ip {
            Some(|drops| &mut drops.pending_per_ip_full)
        } else if counts && self.limits.max_peers_per_ip.is_some_and(|max| known >= max) {
            Some(|drops| &mut drops.peers_per_ip_full)
        } else {
            None
        }
    }

    fn admit(&mut self, who: Who, sender: SocketAddr) -> usize {
        let name = self.add(who, sender, Stage::Pending { since: self.now });
        self.stats.connections.opened += 1;
        self.report.new_connections += 1;
        name
    }

    /// By which id somebody is known.
    pub(crate) fn id_of(party: &Party) -> Option<ConnectionId> {
        match party.who {
            Who::Addr(_) => None,
            Who::Id(id) => Some(id),
        }
    }
}
