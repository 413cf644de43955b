use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::origin::Origin;
use crate::peer_id::PeerId;

/// Connections that wait to be taken, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pending {
    queue: VecDeque<Waiting>,
    /// How many of them come from where; whoever is exempt from that count is in none.
    by_origin: HashMap<Origin, usize>,
}

/// One of them, since when, and where it came from unless that is exempt.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: PeerId,
    since: Instant,
    origin: Option<Origin>,
}

impl Pending {
    pub(super) fn push(&mut self, id: PeerId, now: Instant, origin: Option<Origin>) {
        if let Some(origin) = origin {
            *self.by_origin.entry(origin).or_default() += 1;
        }
        self.queue.push_back(Waiting { id, since: now, origin });
    }

    pub(super) fn take_oldest(&mut self) -> Option<PeerId> {
        let waiting = self.queue.pop_front()?;
        Some(self.uncount(waiting))
    }

    pub(super) fn take_newest(&mut self) -> Option<PeerId> {
        let waiting = self.queue.pop_back()?;
        Some(self.uncount(waiting))
    }

    /// The oldest, if it has waited for `lifetime` or longer.
    pub(super) fn take_older_than(&mut self, now: Instant, lifetime: Duration) -> Option<PeerId> {
        let oldest = self.queue.front()?;
        if now.saturating_duration_since(oldest.since) < lifetime {
            return None;
        }
        self.take_oldest()
    }

    /// Takes one out of turn. Looks through the queue: for what the program itself asks, not for what arrives.
    pub(super) fn take(&mut self, id: PeerId) -> Option<PeerId> {
        let position = self.queue.iter().position(|waiting| waiting.id == id)?;
        let waiting = self.queue.remove(position)?;
        Some(self.uncount(waiting))
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Those that are more than `max` of one origin, the newest first.
    pub(super) fn beyond_per_origin(&self, max: usize) -> Vec<PeerId> {
        let mut left = self.by_origin.clone();
        let beyond = self.queue.iter().rev().filter(|waiting| {
            let Some(count) = waiting.origin.and_then(|origin| left.get_mut(&origin)) else { return false };
            *count -= 1;
            *count >= max
        });
        beyond.map(|waiting| waiting.id).collect()
    }

    pub(super) fn count_from(&self, origin: Origin) -> usize {
        self.by_origin.get(&origin).copied().unwrap_or(0)
    }

    fn uncount(&mut self, waiting: Waiting) -> PeerId {
        if let Some(origin) = waiting.origin {
            if let Some(count) = self.by_origin.get_mut(&origin) {
                *count -= 1;
                if *count == 0 {
                    self.by_origin.remove(&origin);
                }
            }
        }
        waiting.id
    }
}
