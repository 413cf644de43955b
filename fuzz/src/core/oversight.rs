//! What has to hold of own sockets, of time between polls, and of what is remembered.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use packetpeer::identity::Switch;
use packetpeer::stats::ServerStats;
use packetpeer::{CloseReason, PeerId, UdpServer};

use super::World;
use crate::wire::Accepted;

/// What the server's thread keeps at hand beside the pool, in bytes.
const STASH: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Oversight {
    /// By owner: the socket of a peer's own, and how it is used.
    own_sockets: BTreeMap<u16, Own>,
    /// The latest time that a poll was told, and the network's then.
    told: Instant,
    clock_when_told: Instant,
    /// When each peer was taken or connected, as the server should see it, unless it has been found to be idle since.
    held_since: BTreeMap<PeerId, Instant>,
    refused: usize,
}

#[derive(Debug)]
struct Own {
    socket: usize,
    switch: Switch,
    in_use: bool,
}

impl Oversight {
    pub(super) fn new(now: Instant) -> Self {
        Self { own_sockets: BTreeMap::new(), told: now, clock_when_told: now, held_since: BTreeMap::new(), refused: 0 }
    }

    /// A poll, or a listen, says what time it is.
    pub(super) fn tell(&mut self, time: Instant, clock: Instant) {
        self.told = self.told.max(time);
        self.clock_when_told = clock;
    }

    pub(super) fn hold(&mut self, peer: PeerId, clock: Instant) {
        self.held_since.insert(peer, self.told + (clock - self.clock_when_told));
    }

    /// A filter that is lent for a poll is asked about each datagram that makes a connection, and each that a filter
    /// can drop.
    pub(super) fn check_lent(&self, asked: u64, before: &ServerStats, server: &UdpServer) {
        let since = server.stats().since(before);
        let decided = since.connections.opened + since.drops.filtered;
        assert!(decided <= asked, "{decided} decided by a filter that was asked {asked} times");
        assert!(asked <= since.received, "asked {asked} times about {}", since.received);
    }

    /// What a peer puts leaves by the socket that it has for itself, at once or from some time on, also when it has
    /// ended.
    pub(super) fn check_way(&mut self, owner: u16, accepted: &Accepted, remote: Option<SocketAddr>) {
        assert!(remote.is_none_or(|remote| remote == accepted.to), "by the own socket of somebody else");
        let Some(own) = self.own_sockets.get_mut(&owner) else {
            return assert_eq!(remote, None, "by the own socket of somebody else");
        };
        own.in_use |= own.switch == Switch::AtOnce || accepted.by == own.socket;
        if own.in_use {
            assert_eq!(accepted.by, own.socket, "a peer's packets have gone back to the port listened on");
        }
    }
}

impl World {
    pub(super) fn note_own_socket(&mut self, index: usize, switch: Switch) {
        let socket = *self.wire.state().open().last().expect("it was opened");
        let owner = self.handles[index].owner;
        self.oversight.own_sockets.insert(owner, Own { socket, switch, in_use: false });
    }

    /// Whoever is idle has been silent for the time-out at least since they were taken or connected.
    pub(super) fn check_idle(&mut self, timeout: Option<Duration>) {
        for handle in self.handles.iter().filter(|handle| handle.life == self.life) {
            if handle.peer.close_reason() != Some(CloseReason::Idle) {
                continue;
            }
            let Some(since) = self.oversight.held_since.remove(&handle.peer.id()) else { continue };
            let silent = self.oversight.told.saturating_duration_since(since);
            assert!(timeout.is_some_and(|timeout| silent >= timeout), "idle after {silent:?} of {timeout:?}");
        }
    }

    pub(super) fn check_tables(&mut self) {
        let (sizes, limits) = (self.server.table_sizes(), self.server.limits());
        assert_eq!((sizes.peers, sizes.pending), (self.server.peer_count(), self.server.pending_count()));
        let known = sizes.peers + sizes.pending;
        assert!(known <= sizes.places, "{known} in {} places", sizes.places);
        assert!(sizes.moved <= known, "{} of {known} have moved", sizes.moved);
        assert!(sizes.refused <= limits.max_refused_addresses.max(self.oversight.refused), "{} refused", sizes.refused);
        self.oversight.refused = sizes.refused;
        let most = limits.max_queued_bytes.saturating_add(STASH);
        assert!(sizes.pool_bytes <= most, "{} bytes in the pool", sizes.pool_bytes);
    }
}
