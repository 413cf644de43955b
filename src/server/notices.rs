use std::time::{Duration, Instant};

use crate::stats::{DropReason, ReceiveDrops};

/// A kind of notice is given at most this often.
const PAUSE: Duration = Duration::from_secs(60);

/// Log lines about limits that were reached: one a kind and minute, however many datagrams it was.
#[derive(Debug)]
pub(super) struct Notices {
    told: ReceiveDrops,
    last: [Option<Instant>; DropReason::ALL.len()],
    /// Something has been held back because its kind was told of recently.
    has_more: bool,
}

impl Notices {
    pub(super) fn new() -> Self {
        Self { told: ReceiveDrops::default(), last: [None; DropReason::ALL.len()], has_more: false }
    }

    /// Whether there is something to be told that was too early to tell.
    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Says what has been dropped for want of room since it was said last, where that is long enough ago.
    pub(super) fn tell(&mut self, now: Instant, drops: &ReceiveDrops) {
        self.has_more = false;
        for (&reason, last) in DropReason::ALL.iter().zip(&mut self.last) {
            let new = drops.get(reason) - self.told.get(reason);
            let recently = last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE);
            if new == 0 || !is_a_limit(reason) {
                continue;
            }
            if recently {
                self.has_more = true;
                continue;
            }
            *last = Some(now);
            self.told.add(reason, new);
            log::warn!("{new} datagrams dropped: {}", reason.label());
        }
    }
}

/// Whether a limit was reached that may be set too low. The others are what the program has asked for.
fn is_a_limit(reason: DropReason) -> bool {
    use DropReason as Reason;
    matches!(
        reason,
        Reason::PendingFull
            | Reason::PendingPerIpFull
            | Reason::PeersPerIpFull
            | Reason::PeersFull
            | Reason::QueuePackets
            | Reason::QueueBytes
            | Reason::ServerBytes
            | Reason::TooLarge
            | Reason::PendingExpired
            | Reason::ReplyTooLong
            | Reason::ReplyBudget
    )
}
