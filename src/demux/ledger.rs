use super::queue::{Overflow, Room};
use super::tally::Volume;
use crate::stats::{DropReason, PollReport, ServerStats};

/// What was received and what became of it: in all, and in the present poll.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) stats: ServerStats,
    pub(super) report: PollReport,
    /// What has been queued so far and was not dropped from there again, whatever became of it.
    queued: Volume,
    /// How many bytes more may be queued, as of the last look at what handles have taken.
    room: Room,
}

impl Ledger {
    pub(super) fn begin_poll(&mut self) {
        self.report = PollReport::default();
    }

    /// Sees how much handles have taken since the last look, before a batch of datagrams is queued. `gone` is that, and
    /// `limit` how many bytes may wait.
    pub(super) fn measure_room(&mut self, limit: usize, gone: Volume) {
        self.room = Room::left(limit, self.waiting(gone).bytes);
    }

    pub(super) fn room(&self) -> Room {
        self.room
    }

    /// What waits to be taken, in all queues together, where handles have taken what is `gone`.
    pub(super) fn waiting(&self, gone: Volume) -> Volume {
        Volume {
            packets: self.queued.packets.saturating_sub(gone.packets),
            bytes: self.queued.bytes.saturating_sub(gone.bytes),
        }
    }

    pub(super) fn count_received(&mut self, datagrams: usize, bytes: usize) {
        self.stats.received += datagrams as u64;
        self.stats.received_bytes += bytes as u64;
        self.report.received += datagrams;
    }

    pub(super) fn count_queued(&mut self, len: usize) {
        self.report.queued += 1;
        self.queued.packets += 1;
        self.queued.bytes += len as u64;
        self.room.shrink(len);
    }

    /// Counts a datagram of `len` bytes for which something was dropped, perhaps itself.
    #[cold]
    pub(super) fn count_overflow(&mut self, lost: Overflow, len: usize) {
        self.count_drops(lost.bound.into(), lost.packets);
        if !lost.refused {
            self.count_queued(len);
            self.count_unqueued(lost.packets, lost.bytes);
        }
    }

    /// Counts what was queued and is dropped from there.
    pub(super) fn count_unqueued(&mut self, packets: u64, bytes: usize) {
        self.queued.packets -= packets;
        self.queued.bytes -= bytes as u64;
        self.room.grow(bytes);
    }

    pub(super) fn count_drops(&mut self, reason: DropReason, datagrams: u64) {
        self.stats.drops.add(reason, datagrams);
        self.report.dropped += datagrams as usize;
    }

    pub(super) fn count_opened(&mut self) {
        self.stats.connections.opened += 1;
        self.report.new_connections += 1;
    }

    pub(super) fn count_expired(&mut self) {
        self.stats.connections.expired += 1;
        self.report.expired += 1;
    }

    pub(super) fn count_moved(&mut self) {
        self.stats.connections.moved += 1;
        self.report.moved += 1;
    }

    /// Counts a datagram that a function of the program has consumed, or that was answered.
    pub(super) fn count_consumed(&mut self) {
        self.stats.consumed += 1;
        self.report.consumed += 1;
    }

    pub(super) fn count_noise(&mut self) {
        self.stats.noise += 1;
        self.report.noise += 1;
    }

    /// Counts a datagram of which the system says no more than that it was too long to be received.
    pub(super) fn count_truncated(&mut self) {
        self.stats.received += 1;
        self.report.received += 1;
        self.count_drops(DropReason::TooLarge, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demux::queue::Bound;

    #[test]
    fn what_is_received_is_queued_or_dropped_or_consumed() {
        let mut ledger = Ledger::default();
        ledger.measure_room(100, Volume::default());
        ledger.count_received(4, 40);
        ledger.count_queued(10);
        ledger.count_overflow(Overflow { bound: Bound::Packets, packets: 1, bytes: 10, refused: false }, 10);
        ledger.count_overflow(Overflow { bound: Bound::Bytes, packets: 1, bytes: 10, refused: true }, 10);
        ledger.count_consumed();
        ledger.count_truncated();
        let waiting = ledger.waiting(Volume::default());
        assert_eq!(waiting, Volume { packets: 1, bytes: 10 });
        let (stats, drops) = (&ledger.stats, ledger.stats.drops);
        assert_eq!(drops.queue_packets, 1);
        assert_eq!(drops.queue_bytes, 1);
        assert_eq!(drops.too_large, 1);
        assert_eq!(stats.received, waiting.packets + stats.consumed + drops.total());
        assert!(ledger.room().holds(90) && !ledger.room().holds(91));
    }

    #[test]
    fn what_handles_take_makes_room_at_the_next_look() {
        let mut ledger = Ledger::default();
        ledger.measure_room(20, Volume::default());
        ledger.count_queued(20);
        assert!(!ledger.room().holds(1));
        ledger.measure_room(20, Volume { packets: 1, bytes: 20 });
        assert!(ledger.room().holds(20));
        // The limit was lowered below what waits.
        ledger.measure_room(10, Volume::default());
        assert!(!ledger.room().holds(0));
    }
}
