use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts packets and their bytes, from any thread, at the price of one atomic addition per packet.
///
/// Both counts share one word. Long before either could run into the other, what has gathered there moves to words of
/// their own.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Packets in the upper bits, bytes in the lower.
    recent: AtomicU64,
    packets: AtomicU64,
    bytes: AtomicU64,
}

const BYTES_BITS: u32 = 36;
const BYTES: u64 = (1 << BYTES_BITS) - 1;
/// The highest bit of either count.
const HALF_FULL: u64 = 1 << (BYTES_BITS - 1) | 1 << 63;

/// A number of packets, and of bytes in them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    /// Counts one packet of `len` bytes, at most what a datagram holds.
    pub(crate) fn add(&self, len: usize) {
        let before = self.recent.fetch_add(1 << BYTES_BITS | len as u64, Relaxed);
        if before & HALF_FULL != 0 {
            self.put_away();
        }
    }

    /// Counts several packets.
    pub(crate) fn add_all(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    #[cold]
    fn put_away(&self) {
        let recent = self.recent.swap(0, Relaxed);
        self.add_all(recent >> BYTES_BITS, recent & BYTES);
    }

    pub(crate) fn read(&self) -> Volume {
        let recent = self.recent.load(Relaxed);
        Volume {
            packets: self.packets.load(Relaxed) + (recent >> BYTES_BITS),
            bytes: self.bytes.load(Relaxed) + (recent & BYTES),
        }
    }
}

/// The same where one thread at a time counts, and any may read: no atomic addition is needed.
#[derive(Debug, Default)]
pub(crate) struct OwnTally {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl OwnTally {
    pub(crate) fn add(&self, len: usize) {
        self.packets.store(self.packets.load(Relaxed) + 1, Relaxed);
        self.bytes.store(self.bytes.load(Relaxed) + len as u64, Relaxed);
    }

    pub(crate) fn read(&self) -> Volume {
        Volume { packets: self.packets.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn neither_count_runs_into_the_other() {
        let tally = Tally::default();
        // Twice past half of the bytes, with some packets; then as many empty ones as it takes to fill their half.
        let (large, empty) = (3 << 19, 3 << 26);
        for _ in 0..large {
            tally.add(1 << 16);
        }
        assert_eq!(tally.read(), Volume { packets: large, bytes: large << 16 });
        tally.recent.fetch_add((empty - 1) << BYTES_BITS, Relaxed);
        tally.add(0);
        tally.add(0);
        assert_eq!(tally.read(), Volume { packets: large + empty + 1, bytes: large << 16 });
        assert!(tally.recent.load(Relaxed) & HALF_FULL == 0);
    }

    #[test]
    fn threads_count_together() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100_000).for_each(|_| tally.add(65_507)));
            }
            tally.add_all(5, 50);
        });
        assert_eq!(tally.read(), Volume { packets: 400_005, bytes: 400_000 * 65_507 + 50 });
    }
}
