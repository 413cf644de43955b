use std::net::SocketAddr;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::buffers::Buffers;
use super::endpoints::Endpoints;
use super::fast_hash::FastHash;
use super::link::{Link, LinkStats};
use super::link_end::{Ends, LinkEnd};
use super::link_state::{LinkState, nanos};
use super::schedule::Schedule;
use crate::datagram::ReceiveBatch;

/// How far the clock goes: links count nanoseconds in 64 bits.
const END_OF_TIME: Duration = Duration::from_nanos(u64::MAX);

/// Everything in a network: the clock, the endpoints, the links, and what is in flight on them.
pub(super) struct NetworkState {
    start: Instant,
    elapsed: Duration,
    seed: u64,
    pub(super) endpoints: Endpoints,
    /// What was set, by the ends that were named.
    settings: IndexMap<(LinkEnd, LinkEnd), Link>,
    /// By the addresses that something was sent from and to. None is ever removed.
    links: IndexMap<Ends, CountedLink, FastHash>,
    under_way: Schedule<Flight>,
    buffers: Buffers,
    lost: u64,
}

/// The link from one address to another.
#[derive(Debug)]
struct CountedLink {
    state: LinkState,
    stats: LinkStats,
}

/// A datagram under way.
#[derive(Debug)]
struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
    /// The index of its link.
    link: usize,
}

impl NetworkState {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            start: Instant::now(),
            elapsed: Duration::ZERO,
            seed,
            endpoints: Endpoints::default(),
            settings: IndexMap::new(),
            links: IndexMap::default(),
            under_way: Schedule::new(),
            buffers: Buffers::default(),
            lost: 0,
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    pub(super) fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Moves the clock, and delivers what is due by then.
    pub(super) fn advance(&mut self, by: Duration) {
        self.elapsed = self.elapsed.saturating_add(by).min(END_OF_TIME);
        self.deliver_due();
    }

    /// In how long the next datagram arrives.
    pub(super) fn next_arrival(&self) -> Option<Duration> {
        self.under_way.next_due().map(|due| Duration::from_nanos(due).saturating_sub(self.elapsed))
    }

    pub(super) fn in_flight(&self) -> usize {
        self.under_way.len()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn set_link(&mut self, from: LinkEnd, to: LinkEnd, settings: Link) {
        self.settings.insert((from, to), settings);
        let now = nanos(self.elapsed);
        for (ends, link) in self.links.iter_mut().filter(|(ends, _)| ends.are(from, to)) {
            link.state.set_link(settings_between(&self.settings, *ends), now);
        }
    }

    pub(super) fn link_settings(&self, ends: Ends) -> Link {
        settings_between(&self.settings, ends)
    }

    pub(super) fn link_stats(&self, from: LinkEnd, to: LinkEnd) -> LinkStats {
        let mut sum = LinkStats::default();
        for (_, link) in self.links.iter().filter(|(ends, _)| ends.are(from, to)) {
            sum += link.stats;
        }
        sum
    }

    /// The index of the link from one address to another.
    fn link(&mut self, ends: Ends) -> usize {
        if let Some(index) = self.links.get_index_of(&ends) {
            return index;
        }
        let state = LinkState::new(settings_between(&self.settings, ends), self.seed, &ends.name());
        self.links.insert_full(ends, CountedLink { state, stats: LinkStats::default() }).0
    }

    /// Sends a datagram on its way; where nothing delays it, it arrives.
    pub(super) fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = nanos(self.elapsed);
        let link = self.link(Ends::new(from.ip(), to.ip()));
        let CountedLink { state, stats } = &mut self.links[link];
        let Ok(passage) = state.judge(now, bytes.len(), stats) else { return };
        for due in passage.arrivals() {
            let flight = Flight { from, to, bytes: passage.deliver(self.buffers.copy(bytes)), link };
            if due > now {
                self.links[link].state.depart(bytes.len());
                self.under_way.add(due, flight);
            } else {
                self.land(flight);
            }
        }
    }

    fn deliver_due(&mut self) {
        let now = nanos(self.elapsed);
        while let Some(taken) = self.under_way.take_due(now) {
            let flight = taken.value;
            self.links[flight.link].state.arrive(flight.bytes.len());
            self.land(flight);
        }
    }

    /// Gives it to the endpoint bound there when it arrives.
    fn land(&mut self, flight: Flight) {
        let Flight { from, to, bytes, link } = flight;
        match self.endpoints.at(to) {
            Some(receiver) if receiver.accepts(from, bytes.len()) => receiver.push(from, bytes),
            _ => {
                self.buffers.recycle(bytes);
                self.links[link].stats.undelivered += 1;
                self.lost += 1;
            }
        }
    }

    /// Hands out what waits at an endpoint, as far as `batch` has room.
    pub(super) fn receive(&mut self, endpoint: usize, batch: &mut ReceiveBatch) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint) else { return };
        while !batch.is_full() {
            let Some((from, bytes)) = endpoint.pop() else { break };
            batch.push(from, &bytes);
            self.buffers.recycle(bytes);
        }
    }

    /// Takes back the memory of what a closed endpoint has never handed out.
    pub(super) fn lose(&mut self, unread: impl ExactSizeIterator<Item = Vec<u8>>) {
        self.lost += unread.len() as u64;
        for bytes in unread {
            self.buffers.recycle(bytes);
        }
    }
}

/// The most specific link that was set for these ends.
fn settings_between(settings: &IndexMap<(LinkEnd, LinkEnd), Link>, ends: Ends) -> Link {
    ends.settable_as().iter().find_map(|named| settings.get(named)).cloned().unwrap_or_default()
}
