//! Queries to the core, and what it hands over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::identity::{ConnectionId, Moved};
use super::key::Key;
use super::limits::Limits;
use super::mailbox::{Common, Mailbox};
use super::roster::Demux;
use crate::packet::Packet;
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;
use crate::stats::{DropReason, ReceiveDrops, SendDropReason, ServerStats, TableSizes};

impl Demux {
    /// The latest time that was given.
    pub(crate) fn now(&self) -> Instant {
        self.time.now()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.admission.draining
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.admission.pending.len()
    }

    pub(crate) fn peer_count(&self) -> usize {
        self.table.peer_count()
    }

    /// Whether senders are known by address alone.
    pub(crate) fn goes_by_address(&self) -> bool {
        self.identity.ids().is_none()
    }

    pub(crate) fn goes_by_ids(&self) -> bool {
        self.identity.ids().is_some()
    }

    /// Whether datagrams without an id may belong to a peer.
    pub(crate) fn knows_by_address(&self) -> bool {
        self.identity.knows_by_address()
    }

    /// Appends to `out` the peers that have ended, and forgets them.
    pub(crate) fn ended(&mut self, out: &mut Vec<(PeerId, CloseReason)>) {
        self.news.take_ended(out);
    }

    /// Appends to `out` the peers that go on at another address, and forgets them.
    pub(crate) fn moved(&mut self, out: &mut Vec<Moved>) {
        self.news.take_moved(out);
    }

    /// How many peers have ended, one by one.
    pub(crate) fn ended_so_far(&self) -> u64 {
        self.news.ended_so_far()
    }

    /// Appends to `out` the peers that have packets waiting, and takes those that have not off the list.
    pub(crate) fn ready(&mut self, out: &mut Vec<PeerId>) {
        self.ready.read(&mut self.table, out);
    }

    /// The peers that were taken and have not ended, and their addresses.
    pub(crate) fn peers(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        self.mailboxes().map(|mailbox| (mailbox.id(), mailbox.remote()))
    }

    /// The mailboxes of the peers that have not ended.
    pub(crate) fn mailboxes(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.table.peers().filter(|mailbox| mailbox.is_open())
    }

    /// The mailbox of a peer that has not ended.
    pub(crate) fn mailbox(&self, id: PeerId) -> Option<&Arc<Mailbox>> {
        self.table.mailbox(id).filter(|mailbox| self.table.is_peer(id) && mailbox.is_open())
    }

    /// Whether a peer has not ended, or the end of its handle has not been processed.
    pub(crate) fn has(&self, peer: PeerId) -> bool {
        self.table.mailbox(peer).is_some()
    }

    /// The peer of this address, if there is one.
    pub(crate) fn find(&self, addr: SocketAddr) -> Option<PeerId> {
        self.find_peer(&Key::of(&addr))
    }

    /// The peer of this connection id, if there is one.
    pub(crate) fn find_connection(&self, id: ConnectionId) -> Option<PeerId> {
        self.find_peer(&Key::of_connection(id))
    }

    fn find_peer(&self, key: &Key) -> Option<PeerId> {
        self.table.find(key).filter(|&id| self.table.is_peer(id) && self.is_open(id))
    }

    pub(crate) fn shared(&self) -> &Arc<Common> {
        &self.shared
    }

    /// What a flush needs: what is shared with the handles, and what takes the memory of what has been sent.
    pub(crate) fn for_flush(&mut self) -> (&Arc<Common>, impl FnMut(Packet)) {
        (&self.shared, |packet| self.stash.recycle(packet))
    }

    /// Whether there are so many that wait for a flush that most of them must have ended.
    pub(crate) fn has_to_flush(&self) -> bool {
        self.shared.listed_to_flush() > 2 * self.table.places() + 64
    }

    /// Gives back the memory for packets that lies ready, and all that comes back later: handles and packets that are
    /// kept would keep it, where nobody needs it any more.
    pub(crate) fn give_back_idle_memory(&self) {
        self.shared.pool().set_max_idle_bytes(0);
    }

    /// Counts a put that is not a peer's: its bytes if it was sent, else why it was not.
    pub(crate) fn count_send(&self, outcome: Result<usize, SendDropReason>) {
        let sends = self.shared.sends();
        sends.count_other_puts(1);
        match outcome {
            Ok(bytes) => sends.count_sent_by_server(1, bytes as u64),
            Err(reason) => sends.count_drops(reason, 1),
        }
    }

    /// What the core itself has dropped; without what handles left unread.
    pub(crate) fn drops(&self) -> &ReceiveDrops {
        &self.ledger.stats.drops
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let mut stats = self.ledger.stats;
        stats.drops.add(DropReason::Panicked, self.looked_up.lost_by_panic());
        self.shared.add_to(&mut stats);
        let waiting = self.ledger.waiting(self.shared.gone());
        stats.queued = waiting.packets;
        stats.queued_bytes = waiting.bytes;
        stats.pool_misses = self.shared.pool().misses();
        stats
    }

    pub(crate) fn table_sizes(&self) -> TableSizes {
        TableSizes {
            peers: self.peer_count(),
            pending: self.pending_count(),
            places: self.table.places(),
            refused: self.admission.refused.count(self.time.now()),
            moved: self.table.moved_count(),
            pool_bytes: self.shared.pool().idle_bytes() + self.stash.idle_bytes(),
        }
    }
}
