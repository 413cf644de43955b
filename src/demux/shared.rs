use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::{Limits, Mailbox, Payload, QueueLimits, SendMode};
use crate::packet::Pool;

use crate::peer_id::PeerId;
use crate::stats::{SendDropReason, SendDrops, ServerStats};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::sync::mpsc::{Receiver, Sender, channel};
use crate::sync::{Mutex, MutexGuard};

/// What a server shares with all its peers' handles: counters that handles add to, and the list of handles closed.
#[derive(Debug)]
pub(crate) struct Shared {
    /// A handle that ends tells the next poll by this: no lock, no system call, from whatever thread.
    closed: Sender<PeerId>,
    /// What has been queued so far. Only the server's thread writes these two, so they need no read-modify-write.
    queued: AtomicU64,
    queued_bytes: AtomicU64,
    /// What of that is queued no more: delivered, or removed for another reason.
    delivered: AtomicU64,
    delivered_bytes: AtomicU64,
    removed: AtomicU64,
    removed_bytes: AtomicU64,
    unread: AtomicU64,
    sends: SendCounters,
    pool: Arc<Pool>,
    send_mode: SendMode,
    send_limits: Mutex<SendLimits>,
    /// Peers that have something to send, each once.
    to_flush: Mutex<Vec<Arc<Mailbox>>>,
    /// Some time or other, for packets that have not been received.
    epoch: Instant,
}

/// What handles have to know of the server's limits.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendLimits {
    pub(super) queue: QueueLimits,
    pub(super) max_queued_bytes: usize,
}

impl Shared {
    pub(super) fn new(pool: Arc<Pool>, send_mode: SendMode, epoch: Instant) -> (Arc<Self>, Receiver<PeerId>) {
        let (closed, receiver) = channel();
        let shared = Self {
            pool,
            send_mode,
            send_limits: Mutex::new(SendLimits { queue: QueueLimits::default(), max_queued_bytes: usize::MAX }),
            to_flush: Mutex::default(),
            epoch,
            closed,
            queued: AtomicU64::new(0),
            queued_bytes: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            delivered_bytes: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            removed_bytes: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            sends: SendCounters::default(),
        };
        (Arc::new(shared), receiver)
    }

    /// Bytes that wait in all queues together.
    pub(super) fn queued_bytes(&self) -> usize {
        let gone = self.delivered_bytes.load(Relaxed) + self.removed_bytes.load(Relaxed);
        usize::try_from(self.queued_bytes.load(Relaxed).saturating_sub(gone)).unwrap_or(usize::MAX)
    }

    /// For the server's thread only.
    pub(super) fn count_queued(&self, bytes: usize) {
        self.queued.store(self.queued.load(Relaxed) + 1, Relaxed);
        self.queued_bytes.store(self.queued_bytes.load(Relaxed) + bytes as u64, Relaxed);
    }

    pub(super) fn count_delivered(&self, bytes: usize) {
        self.delivered.fetch_add(1, Relaxed);
        self.delivered_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn count_unread(&self, packets: u64, bytes: usize) {
        self.count_unqueued(packets, bytes);
        self.unread.fetch_add(packets, Relaxed);
    }

    pub(super) fn count_unqueued(&self, packets: u64, bytes: usize) {
        self.removed.fetch_add(packets, Relaxed);
        self.removed_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Tells the server's next poll that this peer's handle has ended it.
    pub(super) fn announce_closed(&self, id: PeerId) {
        // Without a server there is nobody left to tell.
        let _ = self.closed.send(id);
    }

    pub(super) fn set_limits(&self, limits: &Limits) {
        *self.send_limits.lock().unwrap_or_else(PoisonError::into_inner) =
            SendLimits { queue: limits.send_queue, max_queued_bytes: limits.max_queued_bytes };
    }

    pub(super) fn send_limits(&self) -> SendLimits {
        *self.send_limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send_mode(&self) -> SendMode {
        self.send_mode
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Bytes for one peer, in memory of the pool.
    pub(super) fn payload(&self, bytes: &[u8], to: SocketAddr) -> Payload {
        Payload::Own(self.pool.packet(bytes, to, self.epoch))
    }

    pub(crate) fn list_to_flush(&self, mailbox: Arc<Mailbox>) {
        self.to_flush().push(mailbox);
    }

    /// Exchanges the list of peers that have something to send with an empty one, whose memory is used again.
    pub(crate) fn swap_to_flush(&self, peers: &mut Vec<Arc<Mailbox>>) {
        std::mem::swap(&mut *self.to_flush(), peers);
    }

    fn to_flush(&self) -> MutexGuard<'_, Vec<Arc<Mailbox>>> {
        self.to_flush.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sends(&self) -> &SendCounters {
        &self.sends
    }

    pub(super) fn add_to(&self, stats: &mut ServerStats) {
        stats.delivered = self.delivered.load(Relaxed);
        let gone = stats.delivered + self.removed.load(Relaxed);
        stats.queued = self.queued.load(Relaxed).saturating_sub(gone);
        stats.queued_bytes = self.queued_bytes() as u64;
        stats.drops.unread += self.unread.load(Relaxed);
        let sends = self.sends.read();
        stats.sent = sends.sent;
        stats.sent_bytes = sends.sent_bytes;
        stats.send_queued = sends.queued;
        stats.send_drops = sends.drops;
    }
}

/// What became of sends; handles count from their own threads.
#[derive(Debug, Default)]
pub(crate) struct SendCounters {
    sent: AtomicU64,
    sent_bytes: AtomicU64,
    queued: AtomicU64,
    queued_bytes: AtomicU64,
    drops: [AtomicU64; SendDropReason::ALL.len()],
}

impl SendCounters {
    /// Counts one datagram: its bytes if it was sent, else why it was not.
    pub(crate) fn count(&self, outcome: Result<usize, SendDropReason>) {
        match outcome {
            Ok(bytes) => self.count_sent(1, bytes as u64),
            Err(reason) => self.count_drops(reason, 1),
        }
    }

    /// Counts several datagrams that were sent.
    pub(crate) fn count_sent(&self, datagrams: u64, bytes: u64) {
        self.sent.fetch_add(datagrams, Relaxed);
        self.sent_bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn count_drops(&self, reason: SendDropReason, datagrams: u64) {
        self.drops[reason as usize].fetch_add(datagrams, Relaxed);
    }

    pub(super) fn count_queued(&self, bytes: usize) {
        self.queued.fetch_add(1, Relaxed);
        self.queued_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn count_unqueued(&self, packets: u64, bytes: usize) {
        self.queued.fetch_sub(packets, Relaxed);
        self.queued_bytes.fetch_sub(bytes as u64, Relaxed);
    }

    pub(super) fn queued_bytes(&self) -> usize {
        usize::try_from(self.queued_bytes.load(Relaxed)).unwrap_or(usize::MAX)
    }

    pub(crate) fn read(&self) -> SendStats {
        let mut drops = SendDrops::default();
        for (&reason, count) in SendDropReason::ALL.iter().zip(&self.drops) {
            drops.add(reason, count.load(Relaxed));
        }
        SendStats {
            sent: self.sent.load(Relaxed),
            sent_bytes: self.sent_bytes.load(Relaxed),
            queued: self.queued.load(Relaxed),
            drops,
        }
    }
}

/// What [`SendCounters`] stand at.
pub(crate) struct SendStats {
    pub(crate) sent: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) queued: u64,
    pub(crate) drops: SendDrops,
}
