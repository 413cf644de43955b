//! What a program is told without asking: that a limit was reached.

use std::time::{Duration, Instant};

use crate::demux::SendCounters;
use crate::stats::{DropReason, ReceiveDrops, SendDropReason};

/// A kind of notice is given at most this often.
const PAUSE: Duration = Duration::from_secs(60);

/// The limits of what may wait to be sent.
const SEND_LIMITS: [SendDropReason; 3] =
    [SendDropReason::QueuePackets, SendDropReason::QueueBytes, SendDropReason::ServerBytes];

/// Log lines about limits that were reached: one per kind and minute, however many datagrams it was.
#[derive(Debug)]
pub(crate) struct Notices {
    told: ReceiveDrops,
    last: [Option<Instant>; DropReason::ALL.len()],
    /// Something has been held back because its kind was told of recently.
    has_more: bool,
    /// How many were told of each of the [`SEND_LIMITS`], and when.
    sends: [(u64, Option<Instant>); SEND_LIMITS.len()],
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self {
            told: ReceiveDrops::default(),
            last: [None; DropReason::ALL.len()],
            has_more: false,
            sends: [(0, None); SEND_LIMITS.len()],
        }
    }

    /// Whether there is something to be told that was too early to tell.
    pub(crate) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Says what has been dropped for want of room since it was said last, where that is long enough ago.
    pub(crate) fn tell(&mut self, now: Instant, drops: &ReceiveDrops) {
        self.has_more = false;
        for (&reason, last) in DropReason::ALL.iter().zip(&mut self.last) {
            let new = drops.get(reason) - self.told.get(reason);
            let recently = is_recent(*last, now);
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

    /// The same of what was put and found no room to wait in: handles count it on their threads, and the server's says
    /// it.
    pub(crate) fn tell_sends(&mut self, now: Instant, sends: &SendCounters) {
        for (&reason, (told, last)) in SEND_LIMITS.iter().zip(&mut self.sends) {
            let count = sends.drops(reason);
            if count == *told || is_recent(*last, now) {
                continue;
            }
            log::warn!("{} packets not sent: {}", count - *told, reason.label());
            (*told, *last) = (count, Some(now));
        }
    }
}

fn is_recent(last: Option<Instant>, now: Instant) -> bool {
    last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
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
