use std::net::SocketAddr;

use super::filter::{Filter, FilterFn, FirstDatagram, Verdict};
use super::identity::Identity;
use super::key::Key;
use super::limits::Limits;
use super::meeting::Meeting;
use super::origin::Origin;
use super::pending::Pending;
use super::refused::Refused;
use super::replies::Replies;
use super::table::Table;
use crate::stats::DropReason;

/// Decides which unknown senders are let in: not refused ones, then as the filter says, and then only if there is room.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pub(super) pending: Pending,
    pub(super) refused: Refused,
    pub(super) filter: Option<Filter>,
    /// Nobody new is admitted any more.
    pub(super) draining: bool,
}

/// What the rules of admission look at, and do not change.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) limits: &'a Limits,
    pub(super) identity: &'a Identity,
    pub(super) table: &'a Table,
}

impl Admission {
    /// What becomes of the datagram of an unknown sender. The filter comes before the caps, so that it works when they are
    /// reached, and is told whether they are. A filter given for this poll is asked instead of the one that is set.
    pub(super) fn decide(
        &self,
        key: &Key,
        first: &mut FirstDatagram<'_>,
        rules: Rules<'_>,
        filter: Option<&mut FilterFn<'_>>,
        replies: &mut Replies,
    ) -> Meeting {
        if self.refused.contains(key, first.received_at) {
            return Meeting::Drop(DropReason::Refused);
        }
        let obstacle = self.obstacle(first, rules);
        first.has_room = obstacle.is_none();
        let verdict = match (filter, &self.filter) {
            (Some(filter), _) => filter(first, replies.blank()),
            (None, Some(filter)) => filter.decide(first, replies.blank()),
            (None, None) => Verdict::Accept,
        };
        match (verdict, obstacle) {
            (Verdict::Ignore, _) => Meeting::Drop(DropReason::Filtered),
            (Verdict::Consume, _) => Meeting::Consume,
            (Verdict::Reply, _) => replies.permit(first.bytes.len()).map_or_else(Meeting::Drop, |()| Meeting::Answer),
            (Verdict::Accept | Verdict::AcceptAndConsume | Verdict::AcceptAndReply, Some(reason)) => {
                Meeting::Drop(reason)
            }
            (Verdict::Accept, None) => Meeting::Admit,
            (Verdict::AcceptAndConsume, None) => Meeting::AdmitAndConsume,
            (Verdict::AcceptAndReply, None) => {
                replies.permit(first.bytes.len()).map_or_else(Meeting::Drop, |()| Meeting::AdmitAndAnswer)
            }
        }
    }

    /// The obstacle to a connection with this sender, if there is one.
    fn obstacle(&self, first: &FirstDatagram<'_>, rules: Rules<'_>) -> Option<DropReason> {
        if first.id.is_none() && !rules.identity.knows_by_address() {
            return Some(DropReason::NoId);
        }
        if self.draining {
            Some(DropReason::Draining)
        } else if self.pending.len() >= rules.limits.max_pending_connections {
            Some(DropReason::PendingFull)
        } else if rules.table.len() >= rules.limits.max_peers {
            Some(DropReason::PeersFull)
        } else {
            counted_origin(rules.limits, first.sender).and_then(|origin| self.no_room_for(origin, rules))
        }
    }

    fn no_room_for(&self, origin: Origin, Rules { limits, table, .. }: Rules<'_>) -> Option<DropReason> {
        if self.pending.count_from(origin) >= limits.max_pending_per_ip {
            return Some(DropReason::PendingPerIpFull);
        }
        let is_full = limits.max_peers_per_ip.is_some_and(|max| table.count_from(origin) >= max);
        is_full.then_some(DropReason::PeersPerIpFull)
    }

    /// Begins anew, with no sender refused and none pending.
    pub(super) fn reset(&mut self) {
        self.refused.shrink_to(0);
        self.draining = false;
    }
}

/// With whom a sender is counted for the limits per IP address, unless it is exempt.
pub(super) fn counted_origin(limits: &Limits, sender: SocketAddr) -> Option<Origin> {
    let exempt = limits.exempt_from_per_ip.iter().any(|prefix| prefix.contains(sender.ip()));
    (!exempt).then(|| Origin::of(sender.ip()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::demux::identity::{ConnectionId, ConnectionIds};
    use crate::demux::test_house::House;
    use std::time::Duration;

    /// What becomes of a hello from port 9 where the rules are these, and what a filter was told of the room.
    fn decide(
        admission: &Admission,
        house: &House,
        limits: &Limits,
        identity: &Identity,
        verdict: Verdict,
    ) -> (Meeting, Option<bool>) {
        let sender = House::addr(9);
        let mut first = FirstDatagram::new(sender, b"hello", house.start);
        let mut replies = Replies::default();
        replies.begin(limits.max_replies_per_poll);
        let mut told = None;
        let mut filter = |first: &FirstDatagram<'_>, reply: &mut Vec<u8>| {
            told = Some(first.has_room);
            reply.extend_from_slice(b"hi");
            verdict
        };
        let rules = Rules { limits, identity, table: &house.table };
        let meeting = admission.decide(&Key::of(&sender), &mut first, rules, Some(&mut filter), &mut replies);
        (meeting, told)
    }

    #[test]
    fn each_verdict_leads_where_it_says() {
        let (admission, house, limits) = (Admission::default(), House::new(), Limits::new());
        let one_reply_too_many = Limits::new().max_replies_per_poll(0);
        let meeting = |limits: &Limits, verdict| decide(&admission, &house, limits, &Identity::Address, verdict).0;
        for (verdict, expected) in [
            (Verdict::Accept, Meeting::Admit),
            (Verdict::AcceptAndConsume, Meeting::AdmitAndConsume),
            (Verdict::AcceptAndReply, Meeting::AdmitAndAnswer),
            (Verdict::Ignore, Meeting::Drop(DropReason::Filtered)),
            (Verdict::Consume, Meeting::Consume),
            (Verdict::Reply, Meeting::Answer),
        ] {
            assert_eq!(meeting(&limits, verdict), expected, "{verdict:?}");
            let replies = matches!(verdict, Verdict::Reply | Verdict::AcceptAndReply);
            let expected = if replies { Meeting::Drop(DropReason::ReplyBudget) } else { expected };
            assert_eq!(meeting(&one_reply_too_many, verdict), expected, "{verdict:?}");
        }
    }

    #[test]
    fn of_several_obstacles_the_first_is_named() {
        let (mut admission, mut house) = (Admission::default(), House::new());
        let origin = counted_origin(&Limits::new(), House::addr(1));
        for port in [1, 2] {
            admission.pending.push(house.pending(port), house.start, origin);
        }
        let mut limits = Limits::new().max_pending_connections(2).max_peers(2).max_pending_per_ip(2);
        limits = limits.max_peers_per_ip(Some(2));
        admission.draining = true;
        let by_id = Identity::ConnectionId(ConnectionIds::new(|_| None::<ConnectionId>));
        let dropped = |reason| (Meeting::Drop(reason), Some(false));
        let told = |admission: &Admission, limits: &Limits, identity: &Identity| {
            decide(admission, &house, limits, identity, Verdict::AcceptAndReply)
        };
        assert_eq!(told(&admission, &limits, &by_id), dropped(DropReason::NoId));
        assert_eq!(told(&admission, &limits, &Identity::Address), dropped(DropReason::Draining));
        admission.draining = false;
        for (lift, reason) in [
            (Limits::max_pending_connections as fn(Limits, usize) -> Limits, DropReason::PendingFull),
            (Limits::max_peers, DropReason::PeersFull),
            (Limits::max_pending_per_ip, DropReason::PendingPerIpFull),
            (|limits, more| limits.max_peers_per_ip(Some(more)), DropReason::PeersPerIpFull),
        ] {
            assert_eq!(told(&admission, &limits, &Identity::Address), dropped(reason));
            limits = lift(limits, 3);
        }
        assert_eq!(told(&admission, &limits, &Identity::Address), (Meeting::AdmitAndAnswer, Some(true)));
    }

    #[test]
    fn the_refused_are_dropped_before_any_filter() {
        let (mut admission, house, limits) = (Admission::default(), House::new(), Limits::new());
        let until = house.start + Duration::from_secs(1);
        admission.refused.refuse(Key::of(&House::addr(9)), until, 1);
        let refused = decide(&admission, &house, &limits, &Identity::Address, Verdict::Accept);
        assert_eq!(refused, (Meeting::Drop(DropReason::Refused), None));
        admission.reset();
        let admitted = decide(&admission, &house, &limits, &Identity::Address, Verdict::Accept);
        assert_eq!(admitted, (Meeting::Admit, Some(true)));
    }
}
