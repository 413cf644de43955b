use std::time::{Duration, Instant};

use super::link::{Link, LinkDrop, LinkStats};
use super::link_state::{LinkState, Passage, nanos};
use super::schedule::Schedule;

/// What is in flight over one [`Link`] in one direction, for a custom transport: the queue that the in-memory
/// [`Network`](super::Network) and [`Conditioned`](super::Conditioned) sockets use themselves, for items of any kind.
///
/// An item that is sent arrives later, twice or never, as the link decides. The queue reads no clock: its owner passes the
/// time to each call. A transport on a network takes the link from [`Network::link`](super::Network::link), a seed from
/// [`Network::seed`](super::Network::seed) and the time from [`Network::clock`](super::Network::clock).
///
/// Each queue has the whole rate of the link to itself, as each pair of addresses of a network has. Memory of items that
/// have arrived is reused. At most 16 MiB are in flight, where each item counts 256 bytes beside its own.
///
/// ```
/// use std::time::{Duration, Instant};
/// use packetpeer::sim::{InFlight, Link};
///
/// let link = Link::new().latency(Duration::from_millis(40));
/// let mut way = InFlight::new(7); // the same seed, the same fate of everything
/// let start = Instant::now();
/// let fate = way.send("hello", 5, &link, start);
/// assert_eq!(fate.arrives_at(), Some(start + Duration::from_millis(40)));
/// assert_eq!(way.due(start).map(|arrival| arrival.item), None);
/// assert_eq!(way.due(start + Duration::from_millis(40)).map(|arrival| arrival.item), Some("hello"));
/// ```
#[derive(Debug)]
pub struct InFlight<T> {
    state: LinkState,
    /// The time of the first send, from which time is counted.
    start: Option<Instant>,
    items: Schedule<Flight<T>>,
    stats: LinkStats,
}

#[derive(Debug)]
struct Flight<T> {
    item: T,
    bytes: usize,
    due: u64,
    flipped_bit: Option<usize>,
}

/// What becomes of an item sent by an [`InFlight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// The link lets it pass.
    Arrives {
        /// When it arrives.
        at: Instant,
        /// When a copy of it arrives, if the link has made one.
        copy_at: Option<Instant>,
    },
    /// Lost by chance, singly or in a burst.
    Lost,
    /// Dropped in a [black-out](Link#structfield.black_out).
    BlackedOut,
    /// Dropped because it is longer than [`Link::max_payload`](Link#structfield.max_payload).
    TooLarge,
    /// Dropped because the queue of [`Link::queue_bytes`](Link#structfield.queue_bytes) was full, or 16 MiB in flight.
    QueueFull,
}

impl Fate {
    /// When it arrives; `None` if it does not.
    pub fn arrives_at(self) -> Option<Instant> {
        if let Self::Arrives { at, .. } = self { Some(at) } else { None }
    }
}

impl From<LinkDrop> for Fate {
    fn from(reason: LinkDrop) -> Self {
        match reason {
            LinkDrop::Lost => Self::Lost,
            LinkDrop::BlackOut => Self::BlackedOut,
            LinkDrop::TooLarge => Self::TooLarge,
            LinkDrop::QueueFull => Self::QueueFull,
        }
    }
}

/// An item that has arrived by an [`InFlight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival<T> {
    /// What was sent.
    pub item: T,
    /// When it arrived, which may be before the time of the call.
    pub at: Instant,
    /// Which of its bits the link has flipped, if any: bits 8 × n to 8 × n + 7 are those of byte n, the lowest first. The
    /// item is as it was sent, since only its owner knows its bytes.
    pub flipped_bit: Option<usize>,
}

impl<T> InFlight<T> {
    /// An empty queue, whose random numbers depend on `seed` alone.
    pub fn new(seed: u64) -> Self {
        Self {
            state: LinkState::new(Link::PERFECT, seed, &[]),
            start: None,
            items: Schedule::new(),
            stats: LinkStats::default(),
        }
    }

    /// Sends an item, which counts as `bytes` bytes, over the link as it is now. If `link` differs from that of the call
    /// before, the link has changed; what is in flight keeps its time.
    ///
    /// An item that does not arrive is not kept. A stream, which must lose nothing, sends a copy, and sends it again after a
    /// time-out.
    pub fn send(&mut self, item: T, bytes: usize, link: &Link, now: Instant) -> Fate
    where
        T: Clone,
    {
        let start = *self.start.get_or_insert(now);
        let now = nanos(now.saturating_duration_since(start));
        self.state.set_link(link.clone(), now);
        let passage = match self.state.judge(now, bytes, &mut self.stats) {
            Ok(passage) => passage,
            Err(reason) => return reason.into(),
        };
        let Passage { due, copy_due, flipped_bit, .. } = passage;
        let copy = copy_due.map(|due| Flight { item: item.clone(), bytes, due, flipped_bit });
        self.depart(Flight { item, bytes, due, flipped_bit });
        copy.into_iter().for_each(|copy| self.depart(copy));
        Fate::Arrives { at: after(start, due), copy_at: copy_due.map(|due| after(start, due)) }
    }

    fn depart(&mut self, flight: Flight<T>) {
        self.state.depart(flight.bytes);
        self.items.add(flight.due, flight);
    }

    /// Takes the next that has arrived by `now`, in the order of arrival; `None` where nothing more has. Ask until then.
    pub fn due(&mut self, now: Instant) -> Option<Arrival<T>> {
        let start = self.start?;
        let taken = self.items.take_due(nanos(now.saturating_duration_since(start)))?;
        let Flight { item, bytes, due, flipped_bit } = taken.value;
        self.state.arrive(bytes);
        Some(Arrival { item, at: after(start, due), flipped_bit })
    }

    /// When the next item arrives: up to then a test may move the clock without being late. `None` if nothing is in flight.
    pub fn next_due(&self) -> Option<Instant> {
        Some(after(self.start?, self.items.next_due()?))
    }

    /// How many items are in flight, or have arrived and were not taken.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is under way, and all that has arrived was taken.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What the link has done so far; only the owner can know [`undelivered`](LinkStats#structfield.undelivered).
    pub fn stats(&self) -> LinkStats {
        self.stats
    }
}

fn after(start: Instant, nanos: u64) -> Instant {
    start + Duration::from_nanos(nanos)
}
