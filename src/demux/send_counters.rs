use super::tally::{Tally, Volume};
use crate::stats::{SendDropReason, SendDrops};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was to be sent and what became of it; handles count from their own threads.
///
/// A put begins as one that was sent at once, as one that is queued, or as another. That makes it count as a put, and no
/// count of what became of it takes part in that, so that the one can be checked by the other.
#[derive(Debug, Default)]
pub(crate) struct SendCounters {
    /// What handles have sent at once: most of what most servers send, so it is counted by one addition.
    at_once: Tally,
    /// What was put and had to wait, and what of that waits no more. Their bytes are those of memory: a broadcast is
    /// there once.
    queued: Tally,
    unqueued: Tally,
    /// Puts that are in neither: refused to a handle, or the server's own, which have not to wait.
    other_puts: AtomicU64,
    /// What the server has sent: by flush, by broadcast, and to others than peers.
    sent_by_server: Tally,
    drops: [AtomicU64; SendDropReason::ALL.len()],
}

impl SendCounters {
    pub(super) fn count_sent_at_once(&self, bytes: usize) {
        self.at_once.add(bytes);
    }

    /// Counts puts that are neither sent at once by a handle nor queued, whatever becomes of them.
    pub(crate) fn count_other_puts(&self, puts: u64) {
        self.other_puts.fetch_add(puts, Relaxed);
    }

    /// Counts datagrams that the server has sent.
    pub(crate) fn count_sent_by_server(&self, datagrams: u64, bytes: u64) {
        self.sent_by_server.add_all(datagrams, bytes);
    }

    pub(super) fn count_drops(&self, reason: SendDropReason, datagrams: u64) {
        self.drops[reason as usize].fetch_add(datagrams, Relaxed);
    }

    /// Counts a put that has to wait; its bytes, if it has memory of its own.
    pub(super) fn count_queued(&self, bytes: usize) {
        self.queued.add(bytes);
    }

    /// Counts the bytes of what many peers' queues share.
    pub(super) fn count_queued_copy(&self, bytes: usize) {
        self.queued.add_all(0, bytes as u64);
    }

    pub(crate) fn count_unqueued(&self, packets: u64, bytes: usize) {
        self.unqueued.add_all(packets, bytes as u64);
    }

    /// What waits to be sent, of how many that had to wait.
    pub(super) fn waiting(&self) -> (Volume, u64) {
        // What is gone first: a flush in between then makes this too much, not too little.
        let gone = self.unqueued.read();
        let queued = self.queued.read();
        let waiting = Volume {
            packets: queued.packets.saturating_sub(gone.packets),
            bytes: queued.bytes.saturating_sub(gone.bytes),
        };
        (waiting, queued.packets)
    }

    pub(crate) fn drops(&self, reason: SendDropReason) -> u64 {
        self.drops[reason as usize].load(Relaxed)
    }

    pub(crate) fn read(&self) -> SendStats {
        let mut drops = SendDrops::default();
        for &reason in SendDropReason::ALL {
            drops.add(reason, self.drops(reason));
        }
        let (at_once, by_server) = (self.at_once.read(), self.sent_by_server.read());
        let (waiting, queued) = self.waiting();
        SendStats {
            put: at_once.packets + queued + self.other_puts.load(Relaxed),
            sent: at_once.packets + by_server.packets,
            sent_bytes: at_once.bytes + by_server.bytes,
            queued: waiting.packets,
            drops,
        }
    }
}

/// What [`SendCounters`] stand at.
pub(crate) struct SendStats {
    pub(crate) put: u64,
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) queued: u64,
    pub(crate) drops: SendDrops,
}
