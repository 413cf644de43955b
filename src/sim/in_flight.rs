use std::time::{Duration, Instant};

use super::link::{Link, LinkDrop, LinkStats};
use super::link_state::{LinkState, Passage, nanos};
use super::schedule::Schedule;

/// What is under way over one [`Link`] in one direction, for a transport of one's own: the queue that the in-memory
/// [`Network`](super::Network) and [`Conditioned`](super::Conditioned) sockets use themselves, for items of any kind.
///
/// What is sent comes out again when it arrives, later, twice or never, as the link has it. It reads no clock: whoever
/// owns it hands it the time, and polls it at that. A transport that lives on a network takes the link from
/// [`Network::link`](super::Network::link), a seed from [`Network::seed`](super::Network::seed) and the time from
/// [`Network::clock`](super::Network::clock).
///
/// Each has the whole rate of the link for itself, as each pair of addresses of a network has. Memory of items that have
/// arrived is used again. No more than 16 MiB are under way, with 256 bytes for each item beside its own.
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
    /// From when on time is counted: that of the first send.
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

/// What becomes of something that was given to an [`InFlight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It passes.
    Arrives {
        /// When it arrives.
        at: Instant,
        /// When a copy of it arrives, where the link has made one.
        copy_at: Option<Instant>,
    },
    /// Lost by chance, singly or in a burst.
    Lost,
    /// Dropped in a [black-out](Link#structfield.black_out).
    BlackedOut,
    /// Longer than [`Link::max_payload`](Link#structfield.max_payload).
    TooLarge,
    /// The queue of [`Link::queue_bytes`](Link#structfield.queue_bytes) was full, or 16 MiB were under way.
    QueueFull,
}

impl Fate {
    /// When it arrives; `None` where it does not.
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

/// Something that has arrived by an [`InFlight`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival<T> {
    /// What was sent.
    pub item: T,
    /// When it has arrived, which may be before it was asked for.
    pub at: Instant,
    /// Which of its bits the link has flipped, if one: the 8 × nth and the following 7 are those of byte n, the lowest
    /// first. The item is as it was sent, since only its owner knows its bytes.
    pub flipped_bit: Option<usize>,
}

impl<T> InFlight<T> {
    /// Nothing under way, with chances that depend on `seed` and on nothing else.
    pub fn new(seed: u64) -> Self {
        Self {
            state: LinkState::new(Link::PERFECT, seed, &[]),
            start: None,
            items: Schedule::new(),
            stats: LinkStats::default(),
        }
    }

    /// Sends an item of so many bytes over the link, as it is now: where it differs from the one before, that is a change
    /// of the link, and what is under way keeps its time.
    ///
    /// Of what does not arrive nothing is kept. A stream, which may lose nothing, sends a copy, and sends it again when
    /// its time-out is over.
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

    /// When the next arrives: how far a test may move the clock without being late. `None` where nothing is under way.
    pub fn next_due(&self) -> Option<Instant> {
        Some(after(self.start?, self.items.next_due()?))
    }

    /// How many are under way, or have arrived and were not taken.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing is under way, and all that has arrived was taken.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// What the link has done so far; [`undelivered`](LinkStats#structfield.undelivered) is for the owner to know.
    pub fn stats(&self) -> LinkStats {
        self.stats
    }
}

fn after(start: Instant, nanos: u64) -> Instant {
    start + Duration::from_nanos(nanos)
}
