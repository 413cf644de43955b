use std::time::Duration;

use super::link::{Link, LinkDrop, LinkStats};
use super::random::Random;

/// Payload and overhead under way on one link, at most, in bytes.
const MAX_UNDER_WAY: usize = 16 << 20;

/// What a datagram that is under way costs beside its payload, in bytes.
const OVERHEAD: usize = 256;

const NANOS_A_SECOND: u128 = 1_000_000_000;

/// A [`Link`] at work: decides what becomes of each datagram, and when it arrives. It holds none of them, and reads no
/// clock; times are nanoseconds from a beginning of the owner's.
#[derive(Debug)]
pub(super) struct LinkState {
    link: Link,
    is_perfect: bool,
    // The link's times, in nanoseconds.
    latency: u64,
    jitter: u64,
    reorder_delay: u64,
    dice: Dice,
    in_burst: bool,
    /// When the last byte that was accepted has been sent at the link's rate: so many nanoseconds, and this part of
    /// one, over the rate.
    busy_until: u64,
    busy_part: u128,
    /// When the last that is not reordered arrives: none after it arrives earlier.
    last_due: u64,
    under_way: usize,
}

/// One generator per impairment.
#[derive(Debug)]
struct Dice {
    loss: Random,
    burst_state: Random,
    burst_loss: Random,
    corrupt: Random,
    bit: Random,
    jitter: Random,
    reorder: Random,
    duplicate: Random,
    copy_jitter: Random,
}

/// How a datagram passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passage {
    /// When it arrives.
    pub(super) due: u64,
    /// When a copy of it arrives, if there is one.
    pub(super) copy_due: Option<u64>,
    /// Which of its bits is flipped, if one is.
    pub(super) flipped_bit: Option<usize>,
    reordered: bool,
}

impl Passage {
    /// Whether nothing is done to it, and it arrives now.
    pub(super) fn is_plain(&self, now: u64) -> bool {
        self.due <= now && self.copy_due.is_none() && self.flipped_bit.is_none()
    }

    /// When it arrives, and when its copy does.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = u64> + use<> {
        [Some(self.due), self.copy_due].into_iter().flatten()
    }

    /// The bytes as they arrive.
    pub(super) fn deliver(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some(bit) = self.flipped_bit {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes
    }
}

impl LinkState {
    /// A link whose chances are those of `seed` and the numbers that name it.
    pub(super) fn new(link: Link, seed: u64, name: &[u64]) -> Self {
        let base = Random::derived(seed, name).next();
        let die = |number: u64| Random::derived(base, &[number]);
        let dice = Dice {
            loss: die(0),
            burst_state: die(1),
            burst_loss: die(2),
            corrupt: die(3),
            bit: die(4),
            jitter: die(5),
            reorder: die(6),
            duplicate: die(7),
            copy_jitter: die(8),
        };
        let mut state = Self {
            link: Link::PERFECT,
            is_perfect: true,
            latency: 0,
            jitter: 0,
            reorder_delay: 0,
            dice,
            in_burst: false,
            busy_until: 0,
            busy_part: 0,
            last_due: 0,
            under_way: 0,
        };
        state.set_link(link, 0);
        state
    }

    /// Changes the link for what comes from now on. What is under way keeps its time, and may be overtaken; what waits
    /// for the rate goes on waiting, as if it were sent at the new one.
    pub(super) fn set_link(&mut self, link: Link, now: u64) {
        if link == self.link {
            return;
        }
        let backlog = self.backlog(now);
        self.latency = nanos(link.latency);
        self.jitter = nanos(link.jitter);
        self.reorder_delay = nanos(link.reorder_delay);
        // Another model begins in its good state, as a new link does.
        self.in_burst &= link.burst_loss == self.link.burst_loss;
        self.is_perfect = link == Link { queue_bytes: link.queue_bytes, ..Link::PERFECT };
        self.link = link;
        self.last_due = 0;
        self.busy_until = now;
        self.busy_part = 0;
        self.keep_busy(backlog);
    }

    pub(super) fn is_perfect(&self) -> bool {
        self.is_perfect
    }

    /// What becomes of a datagram of `len` bytes that comes now, or why it is dropped.
    pub(super) fn judge(&mut self, now: u64, len: usize, stats: &mut LinkStats) -> Result<Passage, LinkDrop> {
        if self.is_perfect && self.under_way == 0 {
            stats.pass(1);
            return Ok(Passage { due: now, copy_due: None, flipped_bit: None, reordered: false });
        }
        let passage = self.decide(now, len).inspect_err(|&reason| stats.drop(reason))?;
        stats.pass(1);
        stats.duplicated += u64::from(passage.copy_due.is_some());
        stats.reordered += u64::from(passage.reordered);
        stats.corrupted += u64::from(passage.flipped_bit.is_some());
        Ok(passage)
    }

    /// One of `len` bytes is under way, until it has arrived.
    pub(super) fn depart(&mut self, len: usize) {
        self.under_way = self.under_way.saturating_add(cost(len));
    }

    /// One of `len` bytes is no longer under way.
    pub(super) fn arrive(&mut self, len: usize) {
        self.under_way -= cost(len);
    }

    fn decide(&mut self, now: u64, len: usize) -> Result<Passage, LinkDrop> {
        if self.link.black_out {
            return Err(LinkDrop::BlackOut);
        }
        if self.link.max_payload.is_some_and(|max| len > max) {
            return Err(LinkDrop::TooLarge);
        }
        if self.under_way.saturating_add(cost(len)) > MAX_UNDER_WAY {
            return Err(LinkDrop::QueueFull);
        }
        let sent = self.send_at_rate(now, len).ok_or(LinkDrop::QueueFull)?;
        if self.is_lost() {
            return Err(LinkDrop::Lost);
        }
        let bits = len as u64 * 8;
        let is_corrupt = self.dice.corrupt.chance(self.link.corrupt_ppm) && bits > 0;
        let flipped_bit = is_corrupt.then(|| self.dice.bit.below(bits) as usize);

        let mut due = self.in_order(sent, |dice| &mut dice.jitter);
        let reordered = self.dice.reorder.chance(self.link.reorder_ppm);
        if reordered {
            due = due.saturating_add(self.reorder_delay);
        } else {
            self.last_due = due;
        }
        let is_duplicated = self.dice.duplicate.chance(self.link.duplicate_ppm);
        let copy_due = is_duplicated.then(|| self.in_order(sent, |dice| &mut dice.copy_jitter));
        self.last_due = self.last_due.max(copy_due.unwrap_or(0));
        Ok(Passage { due, copy_due, flipped_bit, reordered })
    }

    /// When the last byte of a datagram has been sent, or `None` where the queue is full.
    fn send_at_rate(&mut self, now: u64, len: usize) -> Option<u64> {
        let Some(rate) = self.link.rate else { return Some(now) };
        if self.busy_until < now {
            self.busy_until = now;
            self.busy_part = 0;
        }
        let backlog = self.backlog(now);
        let is_full = backlog > 0 && backlog + len as u128 > self.link.queue_bytes as u128;
        if is_full || rate == 0 {
            return None;
        }
        self.keep_busy(len as u128);
        Some(self.busy_until)
    }

    /// Payload that the rate has not let pass yet, in bytes; a part of one counts as one.
    fn backlog(&self, now: u64) -> u128 {
        let rate = u128::from(self.link.rate.unwrap_or(0));
        let time = u128::from(self.busy_until.saturating_sub(now));
        (time * rate + self.busy_part).div_ceil(NANOS_A_SECOND)
    }

    /// Adds the time that the rate takes for `bytes`.
    fn keep_busy(&mut self, bytes: u128) {
        let Some(rate) = self.link.rate.filter(|&rate| rate > 0).map(u128::from) else { return };
        let work = bytes * NANOS_A_SECOND + self.busy_part;
        self.busy_until = self.busy_until.saturating_add(u64::try_from(work / rate).unwrap_or(u64::MAX));
        self.busy_part = work % rate;
    }

    fn is_lost(&mut self) -> bool {
        let lost = self.dice.loss.chance(self.link.loss_ppm);
        let Some(burst) = self.link.burst_loss else { return lost };
        let change = if self.in_burst { burst.leave_ppm } else { burst.enter_ppm };
        self.in_burst ^= self.dice.burst_state.chance(change);
        let loss = if self.in_burst { burst.bad_loss_ppm } else { burst.good_loss_ppm };
        self.dice.burst_loss.chance(loss) || lost
    }

    /// When something arrives that was sent at `sent` and overtakes nothing.
    fn in_order(&mut self, sent: u64, jitter: fn(&mut Dice) -> &mut Random) -> u64 {
        let mut due = sent.saturating_add(self.latency);
        if self.jitter > 0 {
            let early_or_late = jitter(&mut self.dice).below(self.jitter.saturating_mul(2).saturating_add(1));
            due = due.saturating_add(early_or_late).saturating_sub(self.jitter).max(sent);
        }
        due.max(self.last_due)
    }
}

fn cost(len: usize) -> usize {
    len.saturating_add(OVERHEAD)
}

/// Nanoseconds, for 584 years; what is longer counts as that.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
