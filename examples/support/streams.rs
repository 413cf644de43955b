//! Streams of numbered datagrams, by which an example's client shows that an echo server gives everybody their own:
//! each byte that comes back is checked.
//!
//! Stop-and-wait, the simplest of all protocols over a path that loses: one datagram is on its way at a time, sent
//! again until it has come back, and then the next. A game would not wait; it sends what is newer.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use packetpeer::PacketPeer;
use packetpeer::error::PutError;

/// The stream's name and the datagram's number; what follows is made from both.
pub(crate) const HEADER: usize = 12;

/// After this long a datagram, or its answer, is lost.
const PATIENCE: Duration = Duration::from_millis(100);

/// One stream, and what became of it so far.
pub(crate) struct Stream {
    /// Random, so that no other stream has it, also of another client of the same server.
    name: u64,
    count: u32,
    size: usize,
    /// After this long without an answer nobody is there.
    give_up_after: Duration,
    /// How many have come back; also the number of the one on its way.
    confirmed: u32,
    on_the_way: Option<OnTheWay>,
    payload: Vec<u8>,
    resent: usize,
    late: usize,
    strange: usize,
    given_up: bool,
}

struct OnTheWay {
    first_sent: Instant,
    last_sent: Instant,
}

impl Stream {
    /// A stream of `count` datagrams of `size` bytes, which gives up when one is not answered for so long.
    pub(crate) fn new(count: u32, size: usize, give_up_seconds: f64) -> Result<Self, Box<dyn Error>> {
        // Name and number have to fit, and the whole into a datagram.
        super::check("size", size, HEADER..=super::MAX_SIZE)?;
        Ok(Self {
            name: fastrand::u64(..),
            count,
            size,
            give_up_after: Duration::try_from_secs_f64(give_up_seconds)?,
            confirmed: 0,
            on_the_way: None,
            payload: Vec::new(),
            resent: 0,
            late: 0,
            strange: 0,
            given_up: false,
        })
    }

    /// One frame of the stream's life: takes what has come, and sends what is due.
    pub(crate) fn exchange(&mut self, peer: &mut impl PacketPeer) -> Result<(), Box<dyn Error>> {
        peer.poll()?;
        while let Some(packet) = peer.get_packet()? {
            self.take(&packet);
        }
        let Some(payload) = self.due(peer.now()) else { return Ok(()) };
        match peer.put_packet(payload) {
            // What the system would not take, or nobody was there for (yet), is as good as lost: it is sent again.
            Ok(()) | Err(PutError::WouldBlock | PutError::Refused) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The datagram to be sent now: the next, or the one that is lost.
    pub(crate) fn due(&mut self, now: Instant) -> Option<&[u8]> {
        if self.is_over() {
            return None;
        }
        match &mut self.on_the_way {
            None => {
                self.on_the_way = Some(OnTheWay { first_sent: now, last_sent: now });
                self.payload = self.payload(self.confirmed);
            }
            Some(sent) if now.duration_since(sent.first_sent) >= self.give_up_after => {
                self.given_up = true;
                return None;
            }
            Some(sent) if now.duration_since(sent.last_sent) >= PATIENCE => {
                sent.last_sent = now;
                self.resent += 1;
            }
            Some(_) => return None,
        }
        Some(&self.payload)
    }

    /// Takes what may be the answer.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if self.on_the_way.is_some() && bytes == self.payload {
            self.confirmed += 1;
            self.on_the_way = None;
        } else if self.is_of_before(bytes) {
            self.late += 1;
        } else {
            self.strange += 1;
        }
    }

    /// Datagrams that have come back.
    pub(crate) fn confirmed(&self) -> u32 {
        self.confirmed
    }

    /// Whether all have come back, or nobody answers any more.
    pub(crate) fn is_over(&self) -> bool {
        self.confirmed == self.count || self.given_up
    }

    /// Whether this is an answer that has come before: the datagram was sent twice, or doubled on its way.
    fn is_of_before(&self, bytes: &[u8]) -> bool {
        let number = bytes.get(8..HEADER).and_then(|number| number.try_into().ok()).map(u32::from_be_bytes);
        number.is_some_and(|number| number < self.confirmed && bytes == self.payload(number))
    }

    fn payload(&self, number: u32) -> Vec<u8> {
        let mut payload = [&self.name.to_be_bytes()[..], &number.to_be_bytes()].concat();
        let mut filler = fastrand::Rng::with_seed(self.name.wrapping_add(number.into()));
        payload.resize_with(self.size, || filler.u8(..));
        payload
    }
}

/// What became of many streams.
#[derive(Default)]
pub(crate) struct Summary {
    streams: usize,
    complete: usize,
    confirmed: usize,
    resent: usize,
    late: usize,
    strange: usize,
}

impl Summary {
    pub(crate) fn of<'a>(streams: impl IntoIterator<Item = &'a Stream>) -> Self {
        let mut sum = Self::default();
        for stream in streams {
            sum.streams += 1;
            sum.complete += usize::from(stream.confirmed == stream.count);
            sum.confirmed += stream.confirmed as usize;
            sum.resent += stream.resent;
            sum.late += stream.late;
            sum.strange += stream.strange;
        }
        sum
    }

    /// Whether every datagram has come back, to its own stream and whole.
    pub(crate) fn is_perfect(&self) -> bool {
        self.complete == self.streams && self.strange == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { streams, complete, confirmed, resent, late, strange } = self;
        write!(f, "{complete} of {streams} streams complete, {confirmed} datagrams confirmed, {resent} sent again, ")?;
        write!(f, "{late} answered again, {strange} damaged or another stream's")
    }
}
