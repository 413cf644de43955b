use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::link::{Link, LinkStats};
use crate::datagram::ReceiveBatch;

/// Changes the links of a [`Conditioned`](super::Conditioned) while it runs, and reads their counters. Clones control the
/// same links.
#[derive(Debug, Clone)]
pub struct LinkControl {
    links: Arc<LinkPair>,
}

/// What all sockets of a [`Conditioned`](super::Conditioned) share.
#[derive(Debug)]
pub(super) struct LinkPair {
    seed: u64,
    opened: AtomicU64,
    pub(super) outgoing: Mutex<SharedLink>,
    pub(super) incoming: Mutex<SharedLink>,
    /// Room to receive into, while nobody does: half a MiB each, and as many as threads have received at a time.
    pub(super) rooms: Mutex<Vec<ReceiveBatch>>,
}

/// The link of all sockets in one direction, as it was set, and what it has done at all of them.
#[derive(Debug)]
pub(super) struct SharedLink {
    pub(super) settings: Link,
    /// Grows with every change of the settings.
    pub(super) version: u64,
    pub(super) stats: LinkStats,
}

impl LinkControl {
    pub(super) fn new(outgoing: Link, incoming: Link, seed: u64) -> Self {
        let shared = |settings| Mutex::new(SharedLink { settings, version: 0, stats: LinkStats::default() });
        let links = LinkPair {
            seed,
            opened: AtomicU64::new(0),
            outgoing: shared(outgoing),
            incoming: shared(incoming),
            rooms: Mutex::default(),
        };
        Self { links: Arc::new(links) }
    }

    /// What the sockets are to have.
    pub(super) fn links(&self) -> Arc<LinkPair> {
        Arc::clone(&self.links)
    }

    /// Changes the link of what is sent from now on. What is held keeps its time.
    pub fn set_outgoing(&self, link: Link) {
        lock(&self.links.outgoing).set_link(link);
    }

    /// Changes the link of what arrives from now on. What is held keeps its time.
    pub fn set_incoming(&self, link: Link) {
        lock(&self.links.incoming).set_link(link);
    }

    /// The link of what is sent.
    pub fn outgoing(&self) -> Link {
        lock(&self.links.outgoing).settings.clone()
    }

    /// The link of what arrives.
    pub fn incoming(&self) -> Link {
        lock(&self.links.incoming).settings.clone()
    }

    /// What has become of what was sent, over all sockets, also those closed since.
    pub fn outgoing_stats(&self) -> LinkStats {
        lock(&self.links.outgoing).stats
    }

    /// What has become of what arrived, over all sockets, also those closed since.
    pub fn incoming_stats(&self) -> LinkStats {
        lock(&self.links.incoming).stats
    }
}

impl LinkPair {
    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Opens one more socket: how many there were before it.
    pub(super) fn next_number(&self) -> u64 {
        self.opened.fetch_add(1, Ordering::Relaxed)
    }
}

impl SharedLink {
    fn set_link(&mut self, settings: Link) {
        self.settings = settings;
        self.version += 1;
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
