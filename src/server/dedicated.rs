//! Sockets that single peers have for themselves.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use crate::demux::{Demux, Mailbox};
use crate::peer::Switch;
use crate::peer_id::PeerId;
use crate::socket::{
    BindAddr, Drained, Interrupt, ReadySet, ReceiveBatch, SharedTransport, Sink, Transport, TransportOwner, drain,
};

#[derive(Debug, Default)]
pub(super) struct DedicatedSockets {
    sockets: Vec<Option<Dedicated>>,
    by_peer: HashMap<PeerId, usize>,
    set: ReadySet,
    ready: Vec<usize>,
    /// How many peers had ended when the sockets of those that had were closed.
    ended: u64,
    /// Where the next poll begins, so that the same socket is not always first.
    turn: usize,
    /// Whose turn it is where a poll's budget cannot be divided.
    is_own_turn: bool,
}

#[derive(Debug)]
struct Dedicated {
    peer: PeerId,
    switch: Switch,
    transport: TransportOwner,
}

impl DedicatedSockets {
    pub(super) fn add(&mut self, peer: PeerId, switch: Switch, transport: TransportOwner) {
        let token = self.sockets.iter().position(Option::is_none).unwrap_or(self.sockets.len());
        self.set.add(token, transport.get().io());
        if token == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[token] = Some(Dedicated { peer, switch, transport });
        self.by_peer.insert(peer, token);
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.by_peer.contains_key(&peer)
    }

    /// The socket by which a peer's packets leave, if it is not the server's.
    pub(super) fn route(&self, mailbox: &Mailbox) -> Option<&SharedTransport> {
        // Most servers have none.
        if self.by_peer.is_empty() {
            return None;
        }
        let dedicated = self.sockets.get(*self.by_peer.get(&mailbox.id())?)?.as_ref()?;
        let switched = dedicated.switch == Switch::AtOnce || mailbox.has_switched();
        switched.then(|| dedicated.transport.get())
    }

    /// Closes the sockets of peers that have ended.
    pub(super) fn release_ended(&mut self, demux: &Demux) {
        let ended = demux.ended_so_far();
        if self.by_peer.is_empty() || std::mem::replace(&mut self.ended, ended) == ended {
            return;
        }
        for token in 0..self.sockets.len() {
            if self.sockets[token].as_ref().is_some_and(|dedicated| !demux.has(dedicated.peer)) {
                self.close(token);
            }
        }
    }

    pub(super) fn close_all(&mut self) {
        for token in 0..self.sockets.len() {
            self.close(token);
        }
    }

    fn close(&mut self, token: usize) {
        let Some(dedicated) = self.sockets[token].take() else { return };
        self.set.remove(token);
        self.by_peer.remove(&dedicated.peer);
        dedicated.transport.close();
    }

    /// How much of a poll's budget is for these sockets: half, so that neither they nor the shared one starve the other.
    /// What cannot be halved is for both in turn.
    pub(super) fn share_of(&mut self, budget: usize) -> usize {
        if budget > 1 {
            return budget.div_ceil(2);
        }
        self.is_own_turn = !self.is_own_turn;
        usize::from(self.is_own_turn)
    }

    /// Moves what waits in these sockets to their peers, at most `budget` datagrams. Returns what is left of the
    /// budget, and whether all were seen empty.
    pub(super) fn drain(
        &mut self,
        demux: &mut Demux,
        batch: &mut ReceiveBatch,
        max: usize,
        mut budget: usize,
    ) -> (usize, bool) {
        if self.set.is_empty() {
            return (budget, true);
        }
        let sockets = &self.sockets;
        let transport = |token: usize| sockets.get(token)?.as_ref().map(|dedicated| dedicated.transport.get().io());
        if self.set.ready(transport, &mut self.ready).is_err() {
            return (budget, false);
        }
        let count = self.ready.len();
        self.turn = self.turn.wrapping_add(usize::from(budget > 0));
        let mut all_empty = true;
        for step in 0..count {
            let token = self.ready[(self.turn + step) % count];
            let Some(dedicated) = &self.sockets[token] else { continue };
            let peer = dedicated.peer;
            let mut intake = Intake { demux, peer, max, budget };
            let drained = drain(dedicated.transport.get().io(), batch, &mut intake);
            budget = intake.budget;
            match drained {
                Ok(drained) => all_empty &= drained == Drained::Empty,
                Err(_) => {
                    demux.fail(peer);
                    self.close(token);
                }
            }
        }
        (budget, all_empty)
    }

    /// Waits for the server's socket and for these.
    pub(super) fn wait(
        &mut self,
        first: &dyn Transport,
        timeout: Option<Duration>,
        interrupt: Option<&Interrupt>,
    ) -> io::Result<bool> {
        let sockets = &self.sockets;
        let transport = |token: usize| sockets.get(token)?.as_ref().map(|dedicated| dedicated.transport.get().io());
        self.set.wait(first, transport, timeout, interrupt)
    }
}

/// Where a peer's own socket is bound to, at a port that the system chooses: to the address that the peer speaks to,
/// where that is known.
pub(super) fn bind_addr(listens_on: SocketAddr, mailbox: &Mailbox) -> BindAddr {
    let ip = if listens_on.ip().is_unspecified() { mailbox.local() } else { Some(listens_on.ip()) };
    match (ip.map(|ip| ip.to_canonical()), mailbox.remote()) {
        (None, _) => BindAddr::Any(0),
        // Means something only with the interface, which is the one on which the peer is heard.
        (Some(IpAddr::V6(ip)), SocketAddr::V6(remote)) if ip.is_unicast_link_local() => {
            BindAddr::Addr(SocketAddrV6::new(ip, 0, 0, remote.scope_id()).into())
        }
        (Some(ip), _) => BindAddr::Addr(SocketAddr::new(ip, 0)),
    }
}

/// One poll's way from one of these sockets to its peer.
struct Intake<'a> {
    demux: &'a mut Demux,
    peer: PeerId,
    /// Largest datagram accepted, in bytes.
    max: usize,
    budget: usize,
}

impl Sink for Intake<'_> {
    fn budget(&self) -> usize {
        self.budget
    }

    fn take(&mut self, batch: &ReceiveBatch) {
        self.budget -= batch.len();
        self.demux.measure_room();
        for arrived in batch.arrived() {
            let cut = arrived.is_cut() || arrived.bytes.len() > self.max;
            self.demux.sort_dedicated(self.peer, &arrived, cut);
        }
    }

    fn truncated(&mut self) {
        self.demux.count_truncated();
    }

    fn noise(&mut self) {
        self.demux.count_noise();
    }
}
