//! Requests that wait for their reply.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use packetpeer::PeerId;

/// At most so many requests, each for so long.
///
/// The key is the id that goes upstream and comes back. Ids only rise, and each request has the same time, so the
/// table's order is that of the deadlines too: who has waited longest is found without looking at the others.
pub(crate) struct InFlight {
    requests: BTreeMap<u64, Request>,
    next_id: u64,
    max: usize,
    timeout: Duration,
}

/// Whose request it was, and by which number the client knows it.
pub(crate) struct Request {
    pub(crate) client: PeerId,
    pub(crate) number: u32,
    deadline: Instant,
}

impl InFlight {
    /// `first_id` had better be random: a late reply to a gateway of yesterday, on the same port, is then no request's.
    pub(crate) fn new(first_id: u32, max: usize, timeout: Duration) -> Self {
        // So far apart that no run comes to where another has begun, and none comes to the end.
        Self { requests: BTreeMap::new(), next_id: u64::from(first_id) << 31, max, timeout }
    }

    /// The id of a new request, which no other has had or will have; `None` where there are too many.
    pub(crate) fn add(&mut self, client: PeerId, number: u32, now: Instant) -> Option<u64> {
        if self.requests.len() >= self.max {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.requests.insert(id, Request { client, number, deadline: now + self.timeout });
        Some(id)
    }

    /// Takes the request of this id out: a second reply finds nothing, nor does one that is too late.
    pub(crate) fn take(&mut self, id: u64) -> Option<Request> {
        self.requests.remove(&id)
    }

    /// Takes out one whose time is over, the oldest first.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Request> {
        let oldest = self.requests.first_entry()?;
        (oldest.get().deadline <= now).then(|| oldest.remove())
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }
}
