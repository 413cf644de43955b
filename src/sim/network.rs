use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::{Link, LinkStats};
use super::link_end::{Ends, LinkEnd};
use super::network_state::NetworkState;
use super::random::Random;
use crate::clock::Clock;

/// A network that exists only in this process. Clones are the same network.
///
/// Between two addresses there is a link in each direction. It is perfect, and what is sent arrives at once, until
/// [`set_link`](Self::set_link) says otherwise.
///
/// A socket keeps what waits to be received in a buffer of 212,992 bytes, as is usual on Linux, or of what its owner
/// asks for: a server by [`SocketOptions::receive_buffer`](crate::SocketOptions#structfield.receive_buffer), 4 MiB by
/// default, a peer by [`set_receive_buffer`](crate::PacketPeerUdp::set_receive_buffer). A datagram takes its payload and
/// 256 bytes; so 828 of one byte fit into the smaller one. What finds no room is [lost](Self::lost).
#[derive(Clone)]
pub struct Network {
    state: Arc<Mutex<NetworkState>>,
}

impl Network {
    /// A network without hosts, at time zero, with seed 0.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// A network whose links draw their chances from `seed`. Each link has chances of its own, which depend on the seed
    /// and on the two addresses and on nothing else, and ports that are left to the system's choice are counted for each
    /// host: to add a host changes nothing for the others.
    pub fn with_seed(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(NetworkState::new(seed))) }
    }

    /// Sets the link from one address to another, in this direction only, for what is sent from now on. What is under
    /// way keeps its time.
    ///
    /// [`LinkEnd::Any`] stands for every address: each pair has a link of its own, with the whole rate. Where several
    /// hold for a pair, it is the one that names both ends, or else the sender, or else the receiver. All sockets of a
    /// host share its links.
    ///
    /// ```
    /// use packetpeer::sim::{Link, LinkEnd, Network};
    ///
    /// let network = Network::new();
    /// network.set_link(LinkEnd::Any, LinkEnd::Any, Link::FIBRE);
    /// network.set_link([10, 0, 0, 2], [10, 0, 0, 1], Link::FIBRE.black_out(true)); // into the tunnel
    /// ```
    pub fn set_link(&self, from: impl Into<LinkEnd>, to: impl Into<LinkEnd>, link: Link) {
        self.state().set_link(from.into().canonical(), to.into().canonical(), link);
    }

    /// The current link from one address to another: for a custom transport whose data an
    /// [`InFlight`](super::InFlight) queue treats as the network treats its datagrams.
    pub fn link(&self, from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Link {
        self.state().link_settings(Ends::new(from.into(), to.into()))
    }

    /// A seed for a purpose of the caller's, such as `"stream 10.0.0.2 > 10.0.0.1"`. It depends only on the network's seed
    /// and on this text: the call changes no random numbers of the network or of another purpose.
    pub fn seed(&self, purpose: &str) -> u64 {
        seed_for(self.state().seed(), purpose)
    }

    /// What the link from one address to another has done so far. With [`LinkEnd::Any`] it is the sum over all links
    /// from or to the other end.
    pub fn link_stats(&self, from: impl Into<LinkEnd>, to: impl Into<LinkEnd>) -> LinkStats {
        self.state().link_stats(from.into().canonical(), to.into().canonical())
    }

    /// Moves the clock, and delivers what is due by then, in the order in which it is due.
    ///
    /// Nobody answers in between: where answers matter, advance by no more than a frame, or
    /// [to the next arrival](Self::next_arrival).
    ///
    /// The clock goes no further than 584 years, which is also the longest that a datagram can be under way.
    pub fn advance(&self, by: Duration) {
        self.state().advance(by);
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.state().now()
    }

    /// The network's clock, which [`advance`](Self::advance) moves: for everything on its hosts, and for anything else that
    /// is to run in the same virtual time.
    pub fn clock(&self) -> Clock {
        let network = self.clone();
        Clock::new(move || network.now())
    }

    /// How far the clock has moved since the network was made.
    pub fn elapsed(&self) -> Duration {
        self.state().elapsed()
    }

    /// How far the clock has to be moved for the next datagram to arrive. `None` where none is under way.
    pub fn next_arrival(&self) -> Option<Duration> {
        self.state().next_arrival()
    }

    /// Datagrams that are under way: sent, and not yet arrived.
    pub fn in_flight(&self) -> usize {
        self.state().in_flight()
    }

    /// Datagrams that reached nobody: nobody was bound there, the receiver's buffer was full, it was connected to
    /// somebody else, or it closed before it had received them. What links drop is in [`link_stats`](Self::link_stats).
    pub fn lost(&self) -> u64 {
        self.state().lost()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, NetworkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seed_for(seed: u64, purpose: &str) -> u64 {
    // Links are named by their addresses, and none begins with this half of one.
    let mut name = vec![u64::MAX, purpose.len() as u64];
    name.extend(purpose.as_bytes().chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    }));
    Random::derived(seed, &name).next()
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Network")
            .field("elapsed", &state.elapsed())
            .field("seed", &state.seed())
            .field("bound", &state.endpoints.bound_count())
            .field("in_flight", &state.in_flight())
            .field("lost", &state.lost())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_purpose_has_a_seed_of_its_own() {
        let purposes = ["", "\0", "a", "b", "ab", "eight by", "eight byt", "eight by\0", "a longer purpose than that"];
        let seeds: std::collections::BTreeSet<_> = purposes.iter().map(|purpose| seed_for(7, purpose)).collect();
        assert_eq!(seeds.len(), purposes.len());
        assert_ne!(seed_for(7, "a"), seed_for(8, "a"));
        // By another implementation: the same on every system.
        assert_eq!(Network::with_seed(7).seed("stream"), 0x8cc0_6c96_2303_cfda);
    }
}
