use std::net::SocketAddr;

use super::filter::{Filter, FirstDatagram, Verdict};
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

/// Who is let in: the refused are not, the filter is asked, and then there has to be room.
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
    /// What becomes of the datagram of somebody unknown. The filter comes before the caps, so that it works when they
    /// are reached.
    pub(super) fn decide(
        &self,
        key: &Key,
        first: &FirstDatagram<'_>,
        rules: Rules<'_>,
        replies: &mut Replies,
    ) -> Meeting {
        if self.refused.contains(key, first.received_at) {
            return Meeting::Drop(DropReason::Refused);
        }
        if let Some(filter) = &self.filter {
            match filter.decide(first, replies.blank()) {
                Verdict::Accept => {}
                Verdict::Ignore => return Meeting::Drop(DropReason::Filtered),
                Verdict::Consume => return Meeting::Consume,
                Verdict::Reply => return Meeting::answer(replies.permit(first.bytes.len())),
            }
        }
        self.obstacle(first, rules).map_or(Meeting::Admit, Meeting::Drop)
    }

    /// What stands in the way of a connection with this sender.
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

    /// Begins anew, with nobody refused and nobody pending.
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
