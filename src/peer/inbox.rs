//! What a stand-alone peer has received and not yet handed out.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::source::Source;
use crate::address::canonical;
use crate::datagram::{Datagram, ReceiveBatch};
use crate::demux::{PacketQueue, QueueLimits};
use crate::notices::Notices;
use crate::packet::{Packet, PacketPool};
use crate::socket::{Left, MAX_PAYLOAD_V6, Sink, Transport, receive_all};
use crate::stats::{DropReason, PeerStats, PollReport};

/// Datagrams that one poll takes from the socket, unless it is told otherwise.
const MAX_PER_POLL: usize = 4096;

/// Datagrams that one call of the system takes: few, since each has room for the largest.
const BATCH: usize = 4;

thread_local! {
    /// Room to receive into, while no peer of this thread does. With one each, the thousands of clients of a load test
    /// would take a GiB.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is; for MinGW and Android the lint does not see that")]
    static ROOM: Cell<Option<ReceiveBatch>> = const { Cell::new(None) };
}

/// What has been received and not yet taken, and the counters.
pub(super) struct Inbox {
    pub(super) queue: PacketQueue<Packet>,
    limits: QueueLimits,
    pub(super) max_per_poll: usize,
    pub(super) stats: PeerStats,
    pool: PacketPool,
    notices: Notices,
    /// The latest time that a poll was given.
    polled_at: Option<Instant>,
}

impl Default for Inbox {
    fn default() -> Self {
        let limits = QueueLimits::default();
        Self {
            queue: PacketQueue::default(),
            limits,
            max_per_poll: MAX_PER_POLL,
            stats: PeerStats::default(),
            pool: PacketPool::new(limits.bytes),
            notices: Notices::new(),
            polled_at: None,
        }
    }
}

impl Inbox {
    /// Takes in what waits in `transport` and is from a `source` that is wanted, which may change where packets go.
    ///
    /// # Errors
    ///
    /// The socket is of no further use. What was received before is in the queue.
    pub(super) fn receive(
        &mut self,
        transport: &dyn Transport,
        source: &mut Source,
        destination: &mut Option<SocketAddr>,
        now: Instant,
    ) -> io::Result<PollReport> {
        let now = self.polled_at.map_or(now, |before| before.max(now));
        self.polled_at = Some(now);
        let left = self.max_per_poll;
        let mut intake =
            Intake { inbox: self, source, destination, now, left, report: PollReport::default(), overflowed: false };
        // While a thread ends its variables are gone, and a peer may still be polled by the end of another.
        let room = ROOM.try_with(Cell::take).ok().flatten();
        let mut batch = room.unwrap_or_else(|| ReceiveBatch::for_payloads(BATCH, MAX_PAYLOAD_V6));
        let left = receive_all(transport, &mut batch, &mut intake);
        let Intake { mut report, overflowed, .. } = intake;
        let _ = ROOM.try_with(|room| room.set(Some(batch)));
        if overflowed || self.notices.has_more() {
            self.notices.tell(now, &self.stats.drops);
        }
        report.more_waiting = left? == Left::PerhapsMore;
        Ok(report)
    }

    pub(super) fn set_limits(&mut self, limits: QueueLimits) {
        self.pool.set_max_idle_bytes(limits.bytes);
        self.limits = limits;
    }

    pub(super) fn take(&mut self) -> Option<Packet> {
        let packet = self.queue.pop()?;
        self.stats.delivered += 1;
        Some(packet)
    }

    pub(super) fn discard(&mut self) {
        let unread = std::mem::take(&mut self.queue);
        self.stats.drops.add(DropReason::Unread, unread.len() as u64);
    }
}

/// One poll's way from the socket to the inbox.
struct Intake<'a> {
    inbox: &'a mut Inbox,
    /// The system filters others only from the time of the connect on.
    source: &'a mut Source,
    destination: &'a mut Option<SocketAddr>,
    now: Instant,
    left: usize,
    report: PollReport,
    /// Something was dropped for want of room.
    overflowed: bool,
}

impl Sink for Intake<'_> {
    fn budget(&self) -> usize {
        self.left
    }

    fn take(&mut self, batch: &ReceiveBatch) {
        self.left = self.left.saturating_sub(batch.len());
        for datagram in batch.iter() {
            self.sort(&datagram);
        }
    }

    fn truncated(&mut self) {
        self.count_received(0);
        self.drop_for_room(DropReason::TooLarge, 1);
    }

    fn noise(&mut self) {
        self.inbox.stats.noise += 1;
        self.report.noise += 1;
    }
}

impl Intake<'_> {
    fn sort(&mut self, datagram: &Datagram<'_>) {
        let sender = canonical(datagram.sender);
        self.count_received(datagram.bytes.len());
        let (admitted, follow) = self.source.admits(sender);
        if follow.is_some() {
            *self.destination = follow;
        }
        if !admitted {
            self.count_dropped(DropReason::Stranger, 1);
        } else if datagram.cut {
            self.drop_for_room(DropReason::TooLarge, 1);
        } else {
            self.queue(sender, datagram.bytes);
        }
    }

    fn queue(&mut self, sender: SocketAddr, bytes: &[u8]) {
        let packet = self.inbox.pool.copy(bytes, &sender, self.now);
        let lost = self.inbox.queue.push(packet, &self.inbox.limits);
        self.report.queued += usize::from(lost.is_none_or(|lost| !lost.refused));
        if let Some(lost) = lost {
            self.drop_for_room(lost.bound.into(), lost.packets);
        }
    }

    fn count_received(&mut self, bytes: usize) {
        self.report.received += 1;
        self.inbox.stats.received += 1;
        self.inbox.stats.received_bytes += bytes as u64;
    }

    fn drop_for_room(&mut self, reason: DropReason, datagrams: u64) {
        self.overflowed = true;
        self.count_dropped(reason, datagrams);
    }

    fn count_dropped(&mut self, reason: DropReason, datagrams: u64) {
        self.report.dropped += datagrams as usize;
        self.inbox.stats.drops.add(reason, datagrams);
    }
}
