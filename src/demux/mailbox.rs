use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError};

use super::queue::Overflow;
use super::shared::SendCounters;
use super::{PacketQueue, QueueLimits, Shared};
use crate::error::GetIntoError;
use crate::lifetime::CloseReason;
use crate::packet::Packet;
use crate::peer_id::PeerId;
use crate::stats::{DropReason, PeerStats, ReceiveDrops, SendDropReason};
use crate::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What the server and a peer's handle share: the queue of received packets, whether the peer has ended, and counters.
///
/// Only the server pushes, only the handle takes, either may end it. The lock is held for the move of one packet, never
/// across a system call; asking whether anything waits, and whether it has ended, takes no lock.
pub(crate) struct Mailbox {
    id: PeerId,
    remote: SocketAddr,
    shared: Arc<Shared>,
    /// 0 while open, else a [`CloseReason`]; see `encode`.
    ended: AtomicU8,
    waiting: AtomicU32,
    sends: SendCounters,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    queue: PacketQueue,
    /// Which address of this host the remote spoke to last, where the transport tells.
    local: Option<IpAddr>,
    received: u64,
    received_bytes: u64,
    delivered: u64,
    drops: ReceiveDrops,
    bell: Option<Arc<dyn Bell>>,
}

/// Rung when something has changed for whoever waits for a mailbox.
pub(crate) trait Bell: Send + Sync {
    fn ring(&self);
}

impl Mailbox {
    pub(super) fn new(id: PeerId, remote: SocketAddr, shared: Arc<Shared>) -> Self {
        Self {
            id,
            remote,
            shared,
            ended: AtomicU8::new(OPEN),
            waiting: AtomicU32::new(0),
            sends: SendCounters::default(),
            inbox: Mutex::default(),
        }
    }

    /// Queues a packet; says what was dropped instead, which may be the packet itself.
    pub(super) fn push(
        &self,
        packet: Packet,
        local: Option<IpAddr>,
        limits: &QueueLimits,
        max_queued_bytes: usize,
    ) -> Option<Overflow> {
        let len = packet.len();
        let mut inbox = self.inbox();
        inbox.local = local;
        inbox.received += 1;
        inbox.received_bytes += len as u64;
        let overflow = if self.shared.queued_bytes().saturating_add(len) > max_queued_bytes {
            Some(Overflow { reason: DropReason::ServerBytes, packets: 1, bytes: len, refused: true })
        } else {
            inbox.queue.push(packet, limits)
        };
        if let Some(lost) = overflow {
            inbox.drops.add(lost.reason, lost.packets);
        }
        self.publish_waiting(&inbox);
        let bell = inbox.bell.clone();
        drop(inbox);

        // What was dropped to make room had been counted as queued; the packet itself had not.
        self.shared.count_queued(len);
        if let Some(lost) = overflow {
            self.shared.count_unqueued(lost.packets, lost.bytes);
        }
        if let Some(bell) = bell {
            bell.ring();
        }
        overflow
    }

    /// Counts a datagram that is not even offered to the queue.
    pub(super) fn count_dropped(&self, reason: DropReason, bytes: usize) {
        let mut inbox = self.inbox();
        inbox.received += 1;
        inbox.received_bytes += bytes as u64;
        inbox.drops.add(reason, 1);
    }

    /// Takes the packet that has waited longest.
    pub(crate) fn take(&self) -> Option<Packet> {
        if self.waiting() == 0 {
            return None;
        }
        self.take_from(&mut self.inbox())
    }

    /// Copies the packet that has waited longest into `buffer`, unless it is too long for it. Returns the length, and the
    /// sender.
    pub(crate) fn take_into(&self, buffer: &mut [u8]) -> Result<Option<(usize, SocketAddr)>, GetIntoError> {
        if self.waiting() == 0 {
            return Ok(None);
        }
        let mut inbox = self.inbox();
        let Some(size) = inbox.queue.front().map(|packet| packet.len()) else { return Ok(None) };
        let room = buffer.len();
        let Some(target) = buffer.get_mut(..size) else { return Err(GetIntoError::BufferTooSmall { size, room }) };
        let packet = self.take_from(&mut inbox);
        drop(inbox);
        Ok(packet.map(|packet| {
            target.copy_from_slice(&packet);
            (size, packet.sender())
        }))
    }

    /// Takes whatever waits out of circulation. Returns how many packets that were; the caller counts why.
    pub(super) fn discard(&self) -> u64 {
        let queue = {
            let mut inbox = self.inbox();
            let queue = std::mem::take(&mut inbox.queue);
            self.publish_waiting(&inbox);
            queue
        };
        self.shared.count_unqueued(queue.len() as u64, queue.bytes());
        queue.len() as u64
    }

    /// Ends the peer, unless it has ended already. Returns whether it was this call.
    pub(super) fn end(&self, reason: CloseReason) -> bool {
        let ended = self.ended.compare_exchange(OPEN, encode(reason), Ordering::Release, Ordering::Relaxed).is_ok();
        if ended {
            let bell = self.inbox().bell.clone();
            if let Some(bell) = bell {
                bell.ring();
            }
        }
        ended
    }

    /// Ends the peer from its handle, on whatever thread: an atomic mark, and a word to the server's next poll.
    pub(crate) fn close(&self) {
        let mark = encode(CloseReason::Closed);
        if self.ended.compare_exchange(OPEN, mark, Ordering::Release, Ordering::Relaxed).is_ok() {
            self.shared.announce_closed(self.id);
        }
    }

    /// Why the peer has ended, if it has.
    ///
    /// Ask this before asking for packets: whatever was queued before the end is then seen.
    pub(crate) fn ended(&self) -> Option<CloseReason> {
        decode(self.ended.load(Ordering::Acquire))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire) as usize
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Which address of this host the remote spoke to last, where the transport tells.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.inbox().local
    }

    /// From now on `bell` is rung whenever a packet is queued and when the peer ends.
    pub(crate) fn set_bell(&self, bell: Arc<dyn Bell>) {
        self.inbox().bell = Some(bell);
    }

    /// Counts a put: its bytes if it was sent, else why it was not.
    pub(crate) fn count_put(&self, outcome: Result<usize, SendDropReason>) {
        self.sends.count(outcome);
        self.shared.sends().count(outcome);
    }

    pub(crate) fn stats(&self) -> PeerStats {
        let (sent, sent_bytes, send_drops) = self.sends.read();
        let inbox = self.inbox();
        PeerStats {
            received: inbox.received,
            received_bytes: inbox.received_bytes,
            delivered: inbox.delivered,
            queued: inbox.queue.len() as u64,
            queued_bytes: inbox.queue.bytes() as u64,
            drops: inbox.drops,
            noise: 0,
            sent,
            sent_bytes,
            send_drops,
        }
    }

    fn take_from(&self, inbox: &mut Inbox) -> Option<Packet> {
        let packet = inbox.queue.pop()?;
        inbox.delivered += 1;
        self.publish_waiting(inbox);
        self.shared.count_delivered(packet.len());
        Some(packet)
    }

    fn publish_waiting(&self, inbox: &Inbox) {
        self.waiting.store(u32::try_from(inbox.queue.len()).unwrap_or(u32::MAX), Ordering::Release);
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let unread = &self.inbox.get_mut().unwrap_or_else(PoisonError::into_inner).queue;
        self.shared.count_unread(unread.len() as u64, unread.bytes());
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id)
            .field("remote", &self.remote)
            .field("ended", &self.ended())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

const OPEN: u8 = 0;

fn encode(reason: CloseReason) -> u8 {
    match reason {
        CloseReason::Closed => 1,
        CloseReason::Idle => 2,
        CloseReason::ServerStopped => 3,
        CloseReason::SocketFailed => 4,
    }
}

fn decode(mark: u8) -> Option<CloseReason> {
    use CloseReason as Reason;
    [Reason::Closed, Reason::Idle, Reason::ServerStopped, Reason::SocketFailed]
        .into_iter()
        .find(|&reason| encode(reason) == mark)
}

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::sync::mpsc::Receiver;
    use loom::thread;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    fn mailbox() -> (Arc<Mailbox>, Receiver<PeerId>) {
        let (shared, closed) = Shared::new();
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        (Arc::new(Mailbox::new(PeerId::new(0, 1), remote, shared)), closed)
    }

    fn push(mailbox: &Mailbox, byte: u8) {
        let packet = Packet::new(vec![byte], mailbox.remote(), Instant::now());
        assert_eq!(mailbox.push(packet, None, &QueueLimits::new(), usize::MAX), None);
    }

    /// A handle that sees the end has seen every packet queued before it, in order.
    #[test]
    fn nothing_queued_before_the_end_is_missed() {
        loom::model(|| {
            let (mailbox, _closed) = mailbox();
            let server = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    push(&mailbox, 1);
                    push(&mailbox, 2);
                    mailbox.end(CloseReason::Idle);
                })
            };
            let ended = mailbox.ended();
            let taken: Vec<u8> = std::iter::from_fn(|| mailbox.take()).map(|packet| packet[0]).collect();
            assert!([1, 2].starts_with(&taken));
            if ended.is_some() {
                assert_eq!(taken, [1, 2]);
            }
            server.join().unwrap();
        });
    }

    /// Whoever ends first gives the reason, and the server hears of a close exactly when that was the handle.
    #[test]
    fn one_side_ends_and_the_server_hears_of_it_once() {
        loom::model(|| {
            let (mailbox, closed) = mailbox();
            let handle = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    mailbox.close();
                    mailbox.close();
                })
            };
            let server_was_first = mailbox.end(CloseReason::Idle);
            handle.join().unwrap();
            let reason = if server_was_first { CloseReason::Idle } else { CloseReason::Closed };
            assert_eq!(mailbox.ended(), Some(reason));
            assert_eq!(closed.try_recv().is_ok(), !server_was_first);
            assert!(closed.try_recv().is_err());
        });
    }

    /// Received = delivered + queued + drops, whoever was faster.
    #[test]
    fn the_counters_agree_when_both_are_done() {
        loom::model(|| {
            let (mailbox, _closed) = mailbox();
            let handle = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || drop(mailbox.take()))
            };
            let limits = QueueLimits::new().packets(1);
            for byte in [1, 2] {
                let packet = Packet::new(vec![byte], mailbox.remote(), Instant::now());
                mailbox.push(packet, None, &limits, usize::MAX);
            }
            handle.join().unwrap();
            let stats = mailbox.stats();
            assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total());
            let mut server = crate::stats::ServerStats::default();
            mailbox.shared.add_to(&mut server);
            assert_eq!((server.delivered, server.queued), (stats.delivered, stats.queued));
            assert_eq!(mailbox.waiting() as u64, stats.queued);
        });
    }
}
