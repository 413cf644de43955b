use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::limits::{Limits, QueueLimits, SendMode, WhenFull};
use super::payload::{Copied, CountCopies, Payload};
use super::queue::Room;
use super::send_counters::SendCounters;
use super::tally::{Tally, Volume};
use crate::clock::Clock;
use crate::packet::PacketPool;
use crate::peer_id::{LocalId, PeerId};
use crate::stats::ServerStats;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use crate::sync::mpsc::{Receiver, Sender, channel};
use crate::sync::{Mutex, MutexGuard};

/// What a server shares with all its peers' handles: counters that handles add to, and the lists by which they notify it.
/// `M` is what a peer and its handle share, of which nothing is known here.
#[derive(Debug)]
pub(crate) struct Common<M> {
    /// The number of the server, which is a part of all its peers' ids.
    server: u32,
    /// A handle that ends tells the next poll by this: no lock, no system call, from whatever thread.
    closed: Sender<PeerId>,
    /// What handles have taken.
    delivered: Tally,
    /// What they left when they went.
    unread: Tally,
    sends: SendCounters,
    pool: PacketPool,
    send_mode: SendMode,
    send_limits: SendLimits,
    /// Peers that have something to send, each once.
    to_flush: Mutex<Vec<Arc<M>>>,
    /// Peers whose queues have begun to take memory since the server looked, each once.
    grown: Mutex<Vec<LocalId>>,
    /// For handles, which layers above ask for the time, even when the server has stopped. Nothing in here reads it.
    clock: Clock,
    /// Some time or other, for packets that have not been received.
    epoch: Instant,
}

/// What handles have to know of the server's limits. A put while they change may meet some new and some old ones.
#[derive(Debug, Default)]
struct SendLimits {
    packets: AtomicUsize,
    bytes: AtomicUsize,
    drop_oldest: AtomicBool,
    max_queued_bytes: AtomicUsize,
    /// What every remote can be sent in one datagram.
    max_payload: AtomicUsize,
}

impl<M> Common<M> {
    pub(super) fn new(
        server: u32,
        pool: PacketPool,
        send_mode: SendMode,
        clock: Clock,
    ) -> (Arc<Self>, Receiver<PeerId>) {
        let (closed, receiver) = channel();
        let shared = Self {
            server,
            pool,
            send_mode,
            send_limits: SendLimits::default(),
            to_flush: Mutex::default(),
            grown: Mutex::default(),
            epoch: clock.now(),
            clock,
            closed,
            delivered: Tally::default(),
            unread: Tally::default(),
            sends: SendCounters::default(),
        };
        (Arc::new(shared), receiver)
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn server(&self) -> u32 {
        self.server
    }

    /// What of all that was queued waits no more, because of handles.
    pub(super) fn gone(&self) -> Volume {
        let (delivered, unread) = (self.delivered.read(), self.unread.read());
        Volume { packets: delivered.packets + unread.packets, bytes: delivered.bytes + unread.bytes }
    }

    pub(super) fn count_delivered(&self, bytes: usize) {
        self.delivered.add(bytes);
    }

    pub(super) fn count_unread(&self, packets: u64, bytes: usize) {
        self.unread.add_all(packets, bytes as u64);
    }

    /// Tells the server's next poll that this peer's handle has ended it.
    pub(super) fn announce_closed(&self, id: PeerId) {
        // Without a server there is nobody left to tell.
        let _ = self.closed.send(id);
    }

    pub(super) fn set_limits(&self, limits: &Limits) {
        self.pool.set_max_idle_bytes(limits.max_queued_bytes);
        self.send_limits.packets.store(limits.send_queue.packets, Relaxed);
        self.send_limits.bytes.store(limits.send_queue.bytes, Relaxed);
        self.send_limits.drop_oldest.store(limits.send_queue.when_full == WhenFull::DropOldest, Relaxed);
        self.send_limits.max_queued_bytes.store(limits.max_queued_bytes, Relaxed);
    }

    /// How much may wait to be sent to one peer.
    pub(super) fn send_queue_limits(&self) -> QueueLimits {
        let limits = &self.send_limits;
        let when_full = if limits.drop_oldest.load(Relaxed) { WhenFull::DropOldest } else { WhenFull::DropNewest };
        QueueLimits { packets: limits.packets.load(Relaxed), bytes: limits.bytes.load(Relaxed), when_full }
    }

    /// How many bytes more may wait to be sent to all peers together.
    pub(super) fn send_room(&self) -> Room {
        Room::left(self.send_limits.max_queued_bytes.load(Relaxed), self.sends.waiting().0.bytes)
    }

    /// Sets what every remote can be sent in one datagram, in bytes, by the transport that the server now has.
    pub(crate) fn set_max_payload(&self, bytes: usize) {
        self.send_limits.max_payload.store(bytes, Relaxed);
    }

    /// What every remote can be sent in one datagram, in bytes; some perhaps more.
    pub(crate) fn max_payload(&self) -> usize {
        self.send_limits.max_payload.load(Relaxed)
    }

    pub(crate) fn send_mode(&self) -> SendMode {
        self.send_mode
    }

    pub(super) fn pool(&self) -> &PacketPool {
        &self.pool
    }

    /// Bytes for one peer, in memory of the pool.
    pub(super) fn payload(&self, bytes: &[u8], to: &SocketAddr) -> Payload {
        Payload::Own(self.pool.copy(bytes, to, self.epoch))
    }

    pub(crate) fn list_to_flush(&self, mailbox: Arc<M>) {
        self.to_flush().push(mailbox);
    }

    /// Takes a peer off the list of those that have something to send.
    pub(crate) fn take_off_list(&self, mailbox: &Arc<M>) {
        self.to_flush().retain(|listed| !Arc::ptr_eq(listed, mailbox));
    }

    /// How many peers have something to send.
    pub(super) fn listed_to_flush(&self) -> usize {
        self.to_flush().len()
    }

    /// Exchanges the list of peers that have something to send with an empty one, whose memory is used again.
    pub(crate) fn swap_to_flush(&self, peers: &mut Vec<Arc<M>>) {
        std::mem::swap(&mut *self.to_flush(), peers);
    }

    /// Says that a peer's queues take memory, which may be given back some time after they were used last.
    #[cold]
    pub(super) fn list_grown(&self, id: LocalId) {
        self.grown().push(id);
    }

    /// Hands over the peers listed since the last time.
    pub(super) fn take_grown(&self, each: impl FnMut(LocalId)) {
        let mut grown = self.grown();
        grown.drain(..).for_each(each);
        // After a burst of many at once, which comes again only when they have all rested.
        grown.shrink_to(1024);
    }

    fn grown(&self) -> MutexGuard<'_, Vec<LocalId>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_flush(&self) -> MutexGuard<'_, Vec<Arc<M>>> {
        self.to_flush.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sends(&self) -> &SendCounters {
        &self.sends
    }

    pub(super) fn add_to(&self, stats: &mut ServerStats) {
        stats.delivered = self.delivered.read().packets;
        stats.drops.unread += self.unread.read().packets;
        let sends = self.sends.read();
        stats.put = sends.put;
        stats.sent = sends.sent;
        stats.sent_bytes = sends.sent_bytes;
        stats.send_queued = sends.queued;
        stats.send_drops = sends.drops;
    }
}

impl<M: Debug + Send + Sync + 'static> Common<M> {
    /// Bytes for many peers, once, in memory of the pool; where all that waits may not become that much, `None`.
    pub(crate) fn copy(self: &Arc<Self>, bytes: &[u8]) -> Option<Arc<Copied>> {
        if !self.send_room().holds(bytes.len()) {
            return None;
        }
        self.sends.count_queued_copy(bytes.len());
        let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let packet = self.pool.copy(bytes, &nobody, self.epoch);
        Some(Arc::new(Copied::new(packet, Arc::<Self>::clone(self))))
    }
}

impl<M: Debug + Send + Sync> CountCopies for Common<M> {
    fn count_copy_gone(&self, bytes: usize) {
        self.sends.count_unqueued(0, bytes);
    }
}
