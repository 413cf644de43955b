use std::time::Duration;

use crate::counters::labelled_counters;
use crate::setters::setters;

/// What a link does to the datagrams that cross it, in one direction. By default nothing: it is perfect.
///
/// Probabilities are in parts per million (ppm) of the datagrams that come so far; more than a million counts as that.
/// Everything is drawn from a seeded generator in integers, so the same seed and the same datagrams at the same times
/// have the same fate on every system. Each kind of impairment draws numbers of its own: to change the loss does not
/// change which datagrams are duplicated.
///
/// A datagram meets them in this order: black-out, [`max_payload`](Self#structfield.max_payload),
/// [`rate`](Self#structfield.rate) and its queue, loss, corruption, [`latency`](Self#structfield.latency) and
/// [`jitter`](Self#structfield.jitter), reordering, duplication. What is lost has used up its share of the rate. What
/// is not [reordered](Self#structfield.reorder_ppm) arrives in the order in which it was sent.
///
/// ```
/// use std::time::Duration;
/// use packetpeer::sim::Link;
///
/// let link = Link::new().latency(Duration::from_millis(40)).jitter(Duration::from_millis(5)).loss_ppm(20_000);
/// assert_ne!(link, Link::PERFECT);
/// let worse = Link::preset("4g").unwrap().loss_ppm(50_000);
/// assert!(worse.burst_loss.is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Time from the last byte sent to arrival. Default 0.
    pub latency: Duration,
    /// How much the latency of each datagram may differ, in either direction: it is uniform over the whole nanoseconds from
    /// `latency - jitter` to `latency + jitter`, and where that is less than 0, it is 0. Default 0.
    ///
    /// It does not reorder: where a datagram would overtake the one sent before it, it arrives together with it.
    pub jitter: Duration,
    /// Datagrams lost independently of each other, in ppm. Default 0.
    pub loss_ppm: u32,
    /// Loss that comes in bursts, on top of `loss_ppm`. Default `None`.
    pub burst_loss: Option<BurstLoss>,
    /// Datagrams that arrive twice, in ppm. The copy has a latency of its own, and does not count for the rate. Default
    /// 0.
    pub duplicate_ppm: u32,
    /// Datagrams that are held back by `reorder_delay`, so that later ones may overtake them, in ppm. Default 0.
    pub reorder_ppm: u32,
    /// How much later the held back arrive. Default 0: none is overtaken.
    pub reorder_delay: Duration,
    /// Datagrams that arrive with one bit flipped, in ppm; an empty one has none. Default 0.
    ///
    /// Checksums keep nearly all such datagrams from real programs; it is meant for testing decoders.
    pub corrupt_ppm: u32,
    /// Payload that crosses in a second, in bytes, one datagram after the other. Default `None`: any. `Some(0)` =
    /// nothing.
    pub rate: Option<u64>,
    /// Payload that may wait for the rate, in bytes, with what remains of the datagram that is being sent. What would
    /// go beyond is dropped; what comes to an idle link never is. Default 64 KiB. Without a rate nothing waits.
    pub queue_bytes: usize,
    /// Largest payload that passes, in bytes: the MTU of the path less 28 bytes of headers over IPv4, 48 over IPv6.
    /// Longer ones are dropped without a word, as by a router that sends no ICMP. Default `None`: any.
    #[doc(alias = "mtu")]
    pub max_payload: Option<usize>,
    /// Whether everything is dropped, as in a tunnel. Default: no.
    pub black_out: bool,
}

/// Loss in bursts, by the model of Gilbert and Elliott: the link is in a good state or in a bad one, may change from
/// one to the other before each datagram, and loses datagrams in either with a probability of its own. It begins in the
/// good one.
///
/// The bad state lasts for 1,000,000 / `leave_ppm` datagrams on average, and the link is in it for `enter_ppm` /
/// (`enter_ppm` + `leave_ppm`) of all datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BurstLoss {
    /// Changes from good to bad, in ppm of the datagrams in the good state. Default 0.
    pub enter_ppm: u32,
    /// Changes from bad to good, in ppm of the datagrams in the bad state. Default 0: never again.
    pub leave_ppm: u32,
    /// Datagrams lost in the good state, in ppm. Default 0.
    pub good_loss_ppm: u32,
    /// Datagrams lost in the bad state, in ppm. Default 0.
    pub bad_loss_ppm: u32,
}

const QUEUE_BYTES: usize = 64 << 10;

impl Link {
    /// A link that changes nothing. The default.
    pub const PERFECT: Self = Self {
        latency: Duration::ZERO,
        jitter: Duration::ZERO,
        loss_ppm: 0,
        burst_loss: None,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        reorder_delay: Duration::ZERO,
        corrupt_ppm: 0,
        rate: None,
        queue_bytes: QUEUE_BYTES,
        max_payload: None,
        black_out: false,
    };

    /// Fibre to the home: 5 ms, 100 Mbit/s.
    pub const FIBRE: Self = Self {
        latency: Duration::from_millis(5),
        jitter: Duration::from_micros(500),
        loss_ppm: 10,
        rate: Some(12_500_000),
        queue_bytes: 256 << 10,
        max_payload: Some(1472),
        ..Self::PERFECT
    };

    /// DSL with PPPoE: 18 ms, 10 Mbit/s behind a large buffer, hardly any loss.
    pub const DSL: Self = Self {
        latency: Duration::from_millis(18),
        jitter: Duration::from_millis(2),
        loss_ppm: 200,
        rate: Some(1_250_000),
        queue_bytes: 128 << 10,
        max_payload: Some(1464),
        ..Self::PERFECT
    };

    /// Wi-Fi that is shared with the neighbours: 8 ms, give or take 6, with short bursts of loss.
    pub const WIFI: Self = Self {
        latency: Duration::from_millis(8),
        jitter: Duration::from_millis(6),
        loss_ppm: 1_000,
        burst_loss: Some(BurstLoss { enter_ppm: 2_000, leave_ppm: 200_000, good_loss_ppm: 0, bad_loss_ppm: 400_000 }),
        duplicate_ppm: 100,
        reorder_ppm: 500,
        reorder_delay: Duration::from_millis(5),
        rate: Some(3_000_000),
        max_payload: Some(1472),
        ..Self::PERFECT
    };

    /// 4G on the move: 45 ms, give or take 20, with bursts of loss at every change of the cell. By name `4g`.
    pub const MOBILE_4G: Self = Self {
        latency: Duration::from_millis(45),
        jitter: Duration::from_millis(20),
        loss_ppm: 2_000,
        burst_loss: Some(BurstLoss { enter_ppm: 2_000, leave_ppm: 100_000, good_loss_ppm: 0, bad_loss_ppm: 500_000 }),
        duplicate_ppm: 200,
        reorder_ppm: 2_000,
        reorder_delay: Duration::from_millis(25),
        rate: Some(750_000),
        queue_bytes: 128 << 10,
        max_payload: Some(1400),
        ..Self::PERFECT
    };

    /// The Wi-Fi of a bad hotel: 90 ms, give or take 60, some 7 % lost, 60 kB/s. It drops whatever is longer than 1,372
    /// bytes.
    pub const BAD_HOTEL: Self = Self {
        latency: Duration::from_millis(90),
        jitter: Duration::from_millis(60),
        loss_ppm: 10_000,
        burst_loss: Some(BurstLoss { enter_ppm: 5_000, leave_ppm: 50_000, good_loss_ppm: 0, bad_loss_ppm: 700_000 }),
        duplicate_ppm: 2_000,
        reorder_ppm: 10_000,
        reorder_delay: Duration::from_millis(40),
        rate: Some(60_000),
        queue_bytes: 32 << 10,
        max_payload: Some(1372),
        ..Self::PERFECT
    };

    /// The ready-made links by name, for command lines and settings. Each is one direction: the same link both ways
    /// makes a round trip of twice its latency.
    ///
    /// | name | latency, ms | lost | lost in bursts | doubled | held back | bytes per second | queue | longest payload |
    /// |---|--:|--:|---|--:|---|--:|--:|--:|
    /// | `perfect` | 0 | 0 | – | 0 | – | any | – | any |
    /// | `fibre` | 5 ± 0.5 | 0.001 % | – | 0 | – | 12,500,000 | 256 KiB | 1,472 |
    /// | `dsl` | 18 ± 2 | 0.02 % | – | 0 | – | 1,250,000 | 128 KiB | 1,464 |
    /// | `wifi` | 8 ± 6 | 0.1 % | 40 % of 5, 1 % of the time | 0.01 % | 0.05 %, 5 ms | 3,000,000 | 64 KiB | 1,472 |
    /// | `4g` | 45 ± 20 | 0.2 % | 50 % of 10, 2 % of the time | 0.02 % | 0.2 %, 25 ms | 750,000 | 128 KiB | 1,400 |
    /// | `bad_hotel` | 90 ± 60 | 1 % | 70 % of 20, 9 % of the time | 0.2 % | 1 %, 40 ms | 60,000 | 32 KiB | 1,372 |
    ///
    /// Bursts are told as the loss within one, its length in datagrams on average, and the share of all datagrams. What
    /// is longer than the last column is dropped without a word: a game that sends 1,400 bytes works on `4g` and on
    /// `bad_hotel` never.
    pub const PRESETS: [(&'static str, Self); 6] = [
        ("perfect", Self::PERFECT),
        ("fibre", Self::FIBRE),
        ("dsl", Self::DSL),
        ("wifi", Self::WIFI),
        ("4g", Self::MOBILE_4G),
        ("bad_hotel", Self::BAD_HOTEL),
    ];

    /// A perfect link.
    pub fn new() -> Self {
        Self::PERFECT
    }

    /// The one of this name among the [`PRESETS`](Self::PRESETS).
    pub fn preset(name: &str) -> Option<Self> {
        Self::PRESETS.into_iter().find(|(known, _)| *known == name).map(|(_, link)| link)
    }

    setters! {
        latency: Duration,
        jitter: Duration,
        loss_ppm: u32,
        burst_loss: Option<BurstLoss>,
        duplicate_ppm: u32,
        reorder_ppm: u32,
        reorder_delay: Duration,
        corrupt_ppm: u32,
        rate: Option<u64>,
        queue_bytes: usize,
        max_payload: Option<usize>,
        black_out: bool,
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::PERFECT
    }
}

impl BurstLoss {
    /// No loss in either state, and no change of it.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        enter_ppm: u32,
        leave_ppm: u32,
        good_loss_ppm: u32,
        bad_loss_ppm: u32,
    }
}

labelled_counters! {
    /// What links have done so far.
    ///
    /// `offered = passed + lost + blacked_out + too_large + queue_full` holds at any time; `passed + duplicated` have
    /// arrived, are still under way, or are among the `undelivered`.
    LinkStats in "link" {
        /// Datagrams that came to a link.
        offered: "offered",
        /// Datagrams that a link let pass.
        passed: "passed",
        /// Copies that a link made of what passed.
        duplicated: "duplicated",
        /// Datagrams that passed and were held back, so that others overtook them.
        /// For [`Link::reorder_delay`].
        reordered: "reordered",
        /// Datagrams that passed with a flipped bit.
        corrupted: "corrupted",
        /// Datagrams lost by chance, singly or in a burst.
        lost: "lost",
        /// Datagrams dropped in a black-out.
        blacked_out: "blacked out",
        /// Datagrams longer than a link carries.
        /// The limit is [`Link::max_payload`].
        too_large: "too large",
        /// Datagrams that found the queue of a link full.
        /// That of [`Link::queue_bytes`], or 16 MiB in flight.
        queue_full: "queue full",
        /// Datagrams or copies that passed but reached no socket at the end of the link.
        /// No socket was bound there, the receive buffer was full, the system would not send the datagram when it was due,
        /// or the socket was closed before.
        undelivered: "undelivered",
    }
}

/// Why a link drops a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkDrop {
    Lost,
    BlackOut,
    TooLarge,
    QueueFull,
}

impl LinkStats {
    pub(super) fn drop(&mut self, reason: LinkDrop) {
        self.offered += 1;
        match reason {
            LinkDrop::Lost => self.lost += 1,
            LinkDrop::BlackOut => self.blacked_out += 1,
            LinkDrop::TooLarge => self.too_large += 1,
            LinkDrop::QueueFull => self.queue_full += 1,
        }
    }

    /// Counts `count` datagrams that passed, and to which nothing was done.
    pub(super) fn pass(&mut self, count: u64) {
        self.offered += count;
        self.passed += count;
    }
}
