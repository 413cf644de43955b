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
