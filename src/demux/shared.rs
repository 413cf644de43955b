use std::sync::Arc;

use crate::peer_id::PeerId;
use crate::stats::{SendDropReason, SendDrops, ServerStats};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::mpsc::{Receiver, Sender, channel};

/// What a server shares with all its peers' handles: counters that handles add to, and the list of handles closed.
#[derive(Debug)]
pub(crate) struct Shared {
    /// A handle that ends tells the next poll by this: no lock, no system call, from whatever thread.
    closed: Sender<PeerId>,
    queued: AtomicU64,
    queued_bytes: AtomicU64,
    delivered: AtomicU64,
    unread: AtomicU64,
    sends: SendCounters,
}

impl Shared {
    pub(super) fn new() -> (Arc<Self>, Receiver<PeerId>) {
        let (closed, receiver) = channel();
        let shared = Self {
            closed,
            queued: AtomicU64::new(0),
            queued_bytes: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            sends: SendCounters::default(),
        };
        (Arc::new(shared), receiver)
    }

    pub(super) fn queued_bytes(&self) -> usize {
        usize::try_from(self.queued_bytes.load(Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn count_queued(&self, bytes: usize) {
        self.queued.fetch_add(1, Relaxed);
        self.queued_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn count_delivered(&self, bytes: usize) {
        self.count_unqueued(1, bytes);
        self.delivered.fetch_add(1, Relaxed);
    }

    pub(super) fn count_unread(&self, packets: u64, bytes: usize) {
        self.count_unqueued(packets, bytes);
        self.unread.fetch_add(packets, Relaxed);
    }

    pub(super) fn count_unqueued(&self, packets: u64, bytes: usize) {
        self.queued.fetch_sub(packets, Relaxed);
        self.queued_bytes.fetch_sub(bytes as u64, Relaxed);
    }

    /// Tells the server's next poll that this peer's handle has ended it.
    pub(super) fn announce_closed(&self, id: PeerId) {
        // Without a server there is nobody left to tell.
        let _ = self.closed.send(id);
    }

    pub(crate) fn sends(&self) -> &SendCounters {
        &self.sends
    }

    pub(super) fn add_to(&self, stats: &mut ServerStats) {
        stats.queued = self.queued.load(Relaxed);
        stats.queued_bytes = self.queued_bytes.load(Relaxed);
        stats.delivered = self.delivered.load(Relaxed);
        stats.drops.unread += self.unread.load(Relaxed);
        (stats.sent, stats.sent_bytes, stats.send_drops) = self.sends.read();
    }
}

/// What became of sends; handles count from their own threads.
#[derive(Debug, Default)]
pub(crate) struct SendCounters {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    would_block: AtomicU64,
    too_large: AtomicU64,
    not_open: AtomicU64,
    failed: AtomicU64,
}

impl SendCounters {
    /// Counts one datagram: its bytes if it was sent, else why it was not.
    pub(crate) fn count(&self, outcome: Result<usize, SendDropReason>) {
        match outcome {
            Ok(bytes) => {
                self.sent.fetch_add(1, Relaxed);
                self.sent_bytes.fetch_add(bytes as u64, Relaxed);
            }
            Err(reason) => {
                self.counter(reason).fetch_add(1, Relaxed);
            }
        }
    }

    /// Datagrams sent, their bytes, and those not sent.
    pub(crate) fn read(&self) -> (u64, u64, SendDrops) {
        let mut drops = SendDrops::default();
        for &reason in SendDropReason::ALL {
            drops.add(reason, self.counter(reason).load(Relaxed));
        }
        (self.sent.load(Relaxed), self.sent_bytes.load(Relaxed), drops)
    }

    fn counter(&self, reason: SendDropReason) -> &AtomicU64 {
        match reason {
            SendDropReason::WouldBlock => &self.would_block,
            SendDropReason::TooLarge => &self.too_large,
            SendDropReason::NotOpen => &self.not_open,
            SendDropReason::Failed => &self.failed,
        }
    }
}
