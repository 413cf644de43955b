use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use super::buffers::Buffers;
use super::link_control::{SharedLink, lock};
use super::link_state::{LinkState, Passage};
use super::schedule::Schedule;
use crate::datagram::Datagram;

/// The link of one socket in one direction, and what it holds back.
#[derive(Debug)]
pub(super) struct HoldingLink {
    state: LinkState,
    /// That of the settings that `state` has now.
    version: u64,
    pub(super) held: Schedule<HeldDatagram>,
    buffers: Buffers,
    /// Somebody is sending what is due. Others leave that to them, so that nothing is overtaken.
    pub(super) is_sending: bool,
}

/// A datagram that is held back: outgoing, or incoming.
#[derive(Debug)]
pub(super) struct HeldDatagram {
    pub(super) bytes: Vec<u8>,
    /// To whom it goes, or from whom it came.
    pub(super) remote: SocketAddr,
    /// The address of this host that it is to come from, or that it was sent to.
    pub(super) local: Option<IpAddr>,
    pub(super) cut: bool,
}

impl HoldingLink {
    /// One whose chances are those of `seed` and the numbers that name it.
    pub(super) fn new(shared: &Mutex<SharedLink>, seed: u64, name: &[u64]) -> Self {
        let SharedLink { settings, version, .. } = &*lock(shared);
        let state = LinkState::new(settings.clone(), seed, name);
        Self { state, version: *version, held: Schedule::new(), buffers: Buffers::default(), is_sending: false }
    }

    /// Takes up a change of the link.
    pub(super) fn follow(&mut self, shared: &SharedLink, now: u64) {
        if self.version != shared.version {
            self.version = shared.version;
            self.state.set_link(shared.settings.clone(), now);
        }
    }

    /// Whether everything goes straight through.
    pub(super) fn is_open(&self) -> bool {
        self.state.is_perfect() && self.held.is_empty() && !self.is_sending
    }

    /// What becomes of a datagram of `len` bytes that comes now; `None` = it is dropped.
    pub(super) fn judge(&mut self, shared: &mut SharedLink, now: u64, len: usize) -> Option<Passage> {
        self.follow(shared, now);
        self.state.judge(now, len, &mut shared.stats).ok()
    }

    /// Whether it goes on at once and as it is, since nothing is to go before it.
    pub(super) fn may_go(&self, passage: &Passage, now: u64) -> bool {
        passage.is_plain(now) && !self.is_sending && self.held.next_due().is_none_or(|due| due > now)
    }

    pub(super) fn hold(&mut self, passage: &Passage, datagram: &Datagram<'_>) {
        let Datagram { sender: remote, bytes, cut, local, .. } = *datagram;
        for due in passage.arrivals() {
            self.state.depart(bytes.len());
            let bytes = passage.deliver(self.buffers.copy(bytes));
            self.held.add(due, HeldDatagram { bytes, remote, local, cut });
        }
    }

    /// Forgets one that was held.
    pub(super) fn let_go(&mut self, held: HeldDatagram) {
        self.state.arrive(held.bytes.len());
        self.buffers.recycle(held.bytes);
    }
}
