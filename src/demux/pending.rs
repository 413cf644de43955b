use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::peer_id::PeerId;

/// Connections that wait to be taken, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: PeerId,
    since: Instant,
}

impl Pending {
    pub(super) fn push(&mut self, id: PeerId, now: Instant) {
        self.queue.push_back(Entry { id, since: now });
    }

    pub(super) fn take_oldest(&mut self) -> Option<PeerId> {
        self.queue.pop_front().map(|entry| entry.id)
    }

    pub(super) fn take_newest(&mut self) -> Option<PeerId> {
        self.queue.pop_back().map(|entry| entry.id)
    }

    /// The oldest, if it has waited for `lifetime` or longer.
    pub(super) fn take_older_than(&mut self, now: Instant, lifetime: Duration) -> Option<PeerId> {
        let oldest = self.queue.front()?;
        if now.saturating_duration_since(oldest.since) < lifetime {
            return None;
        }
        self.take_oldest()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}
