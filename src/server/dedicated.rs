//! Sockets that single peers have for themselves.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::outgoing::Outgoing;
use crate::address::is_of_one_host;
use crate::datagram::ReceiveBatch;
use crate::demux::{Demux, Mailbox};
use crate::error::DedicateError;
use crate::peer::Switch;
use crate::peer_id::PeerId;
use crate::socket::{
    BindAddr, Interrupt, Left, ReadySet, SharedTransport, Sink, Transport, TransportOwner, is_out_of_descriptors,
    receive_all,
};

#[derive(Debug, Default)]
pub(super) struct DedicatedSockets {
    sockets: Vec<Option<Dedicated>>,
    by_peer: HashMap<PeerId, usize>,
    set: ReadySet,
    ready: Vec<usize>,
    /// How many peers had ended when the sockets of those that had were closed.
    ended: u64,
    /// Sockets of ended peers that are still there, since the system would not take all that was to leave by them.
    lingering: usize,
    /// What the kernel has dropped at those closed since, where it tells.
    kernel_drops: Option<u64>,
    /// Where the next poll begins, so that the same socket is not always first.
    turn: usize,
    /// Whose turn it is where a poll's budget cannot be divided.
    is_own_turn: bool,
}

#[derive(Debug)]
struct Dedicated {
    mailbox: Arc<Mailbox>,
    switch: Switch,
    transport: TransportOwner,
    /// Where the handle finds what the kernel has dropped here when the socket is closed.
    kernel_drops: Arc<OnceLock<u64>>,
    lingers: bool,
}

impl Dedicated {
    /// Whether the peer's packets leave by this socket.
    fn is_in_use(&self) -> bool {
        self.switch == Switch::AtOnce || self.mailbox.has_switched()
    }
}

impl DedicatedSockets {
    /// Takes a peer's socket over; the cell is given what the kernel has dropped there, when it is closed.
    pub(super) fn add(
        &mut self,
        mailbox: Arc<Mailbox>,
        switch: Switch,
        transport: TransportOwner,
    ) -> Arc<OnceLock<u64>> {
        let token = self.sockets.iter().position(Option::is_none).unwrap_or(self.sockets.len());
        self.set.add(token, transport.get().io());
        if token == self.sockets.len() {
            self.sockets.push(None);
        }
        self.by_peer.insert(mailbox.id(), token);
        let kernel_drops = Arc::new(OnceLock::new());
        let handles = Arc::clone(&kernel_drops);
        self.sockets[token] = Some(Dedicated { mailbox, switch, transport, kernel_drops, lingers: false });
        handles
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
        dedicated.is_in_use().then(|| dedicated.transport.get())
    }

    /// Closes the sockets of peers that have ended, once what these have put has left by them: the client may hear
    /// nothing else any more. What the system would not take at once goes with a later flush, and the socket after it.
    pub(super) fn release_ended(&mut self, demux: &Demux, outgoing: &mut Outgoing) {
        let ended = demux.ended_so_far();
        let nobody_new = std::mem::replace(&mut self.ended, ended) == ended;
        if self.by_peer.is_empty() || (nobody_new && self.lingering == 0) {
            return;
        }
        for token in 0..self.sockets.len() {
            let Some(dedicated) = &mut self.sockets[token] else { continue };
            if demux.has(dedicated.mailbox.id()) {
                continue;
            }
            if !dedicated.is_in_use() || !outgoing.flush_peer(&dedicated.mailbox, dedicated.transport.get()) {
                self.close(token);
            } else if !std::mem::replace(&mut dedicated.lingers, true) {
                // Nobody is to be heard there any more.
                self.set.remove(token);
                self.lingering += 1;
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
        self.by_peer.remove(&dedicated.mailbox.id());
        self.lingering -= usize::from(dedicated.lingers);
        if let Some(drops) = dedicated.transport.get().io().kernel_drops() {
            self.kernel_drops = Some(self.kernel_drops.unwrap_or(0).saturating_add(drops));
            let _ = dedicated.kernel_drops.set(drops);
        }
        dedicated.transport.close();
    }

    /// What the kernel has dropped at all these sockets so far, also those closed since, where it tells.
    pub(super) fn kernel_drops(&self) -> Option<u64> {
        let open = self.sockets.iter().flatten().filter_map(|own| own.transport.get().io().kernel_drops());
        open.fold(self.kernel_drops, |sum, drops| Some(sum.unwrap_or(0).saturating_add(drops)))
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
    pub(super) fn drain(&mut self, demux: &mut Demux, batch: &mut ReceiveBatch, mut budget: usize) -> (usize, bool) {
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
            let token = self.ready[(self.turn % count + step) % count];
            let Some(dedicated) = &self.sockets[token] else { continue };
            let peer = dedicated.mailbox.id();
            let mut intake = OwnSocketIntake { demux, peer, budget };
            let left = receive_all(dedicated.transport.get().io(), batch, &mut intake);
            budget = intake.budget;
            match left {
                Ok(left) => all_empty &= left == Left::Nothing,
                // Closed when this poll looks which peers have ended.
                Err(_) => demux.fail(peer),
            }
        }
        (budget, all_empty)
    }

    /// Whether something may come to these sockets, or be due to leave by them, without ending a [wait](Self::wait) for
    /// them and for the server's: then they have to be asked from time to time.
    pub(super) fn have_to_be_asked(&self, first: &dyn Transport) -> bool {
        self.set.has_to_be_asked(first)
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
        self.set.wait(first, transport, &mut self.ready, timeout, interrupt)
    }
}

/// Where a peer's own socket is bound to, at a port that the system chooses: to the address that the peer speaks to,
/// where that is known.
pub(super) fn bind_addr(listens_on: SocketAddr, mailbox: &Mailbox) -> BindAddr {
    // At a group's address nothing but the group is heard.
    let ip = if is_of_one_host(listens_on) { Some(listens_on.ip()) } else { mailbox.local() };
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
struct OwnSocketIntake<'a> {
    demux: &'a mut Demux,
    peer: PeerId,
    budget: usize,
}

impl Sink for OwnSocketIntake<'_> {
    fn budget(&self) -> usize {
        self.budget
    }

    fn take(&mut self, batch: &ReceiveBatch) {
        self.budget = self.budget.saturating_sub(batch.len());
        self.demux.take_own_batch(self.peer, batch);
    }

    fn truncated(&mut self) {
        self.demux.count_truncated();
    }

    fn noise(&mut self) {
        self.demux.count_noise();
    }
}

impl DedicateError {
    pub(super) fn from_io(error: io::Error) -> Self {
        if is_out_of_descriptors(&error) {
            return Self::OutOfDescriptors(error);
        }
        match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => Self::OutOfPorts(error),
            _ => Self::Io(error),
        }
    }
}
