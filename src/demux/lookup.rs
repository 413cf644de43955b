use super::identity::Identity;
use super::key::Key;
use super::table::Table;
use crate::datagram::ReceiveBatch;
use crate::peer_id::{LocalId, PeerId};

/// The peers to which the datagrams of a batch belong: looked up all at once, so that the processor fetches what it needs
/// for one while it waits for another.
#[derive(Debug, Default)]
pub(super) struct LookedUp {
    senders: Vec<Sender>,
    /// Whose they were when they were looked up, and what the table's changes stood at then.
    found: Vec<Found>,
    as_of: u64,
    datagrams: usize,
    /// From which place on the datagrams are lost if the program's function that is being asked does not return: its index
    /// plus 1, or 0 if none is being asked.
    at_stake: usize,
}

/// Who a datagram is from.
#[derive(Debug, Clone, Copy)]
struct Sender {
    key: Key,
    hash: u64,
}

/// Who has sent a datagram.
#[derive(Debug, Clone, Copy)]
enum Found {
    Nobody,
    /// Known by the address that it came from.
    ByAddress(LocalId),
    /// Known by an id, wherever it came from.
    ById(LocalId),
}

impl LookedUp {
    /// Begins a batch of so many datagrams.
    pub(super) fn begin_batch(&mut self, datagrams: usize) {
        self.datagrams = datagrams;
    }

    /// Looks up the peers of the datagrams of `batch`; returns how many bytes the datagrams have.
    pub(super) fn look_up(&mut self, batch: &ReceiveBatch, identity: &Identity, table: &Table) -> usize {
        let Self { senders, found, as_of, .. } = self;
        let mut bytes = 0;
        senders.clear();
        senders.extend(batch.arrived().map(|arrived| {
            bytes += arrived.bytes.len();
            let key = identity.read(arrived.bytes).map_or_else(|| Key::of(arrived.sender()), Key::of_connection);
            Sender { key, hash: table.hash(&key) }
        }));
        found.clear();
        found.extend(senders.iter().map(|sender| match table.find_hashed(&sender.key, sender.hash) {
            None => Found::Nobody,
            Some(id) if sender.key.connection().is_none() => Found::ByAddress(id),
            Some(id) => Found::ById(id),
        }));
        *as_of = table.changes();
        bytes
    }

    /// The peer to which the datagram at `place` belongs by its address alone, if no peer has come or gone since the
    /// look-up.
    #[inline]
    pub(super) fn by_address(&self, place: usize, table: &Table) -> Option<LocalId> {
        match self.found.get(place) {
            Some(&Found::ByAddress(peer)) if self.as_of == table.changes() => Some(peer),
            _ => None,
        }
    }

    pub(super) fn key(&self, place: usize) -> Key {
        self.senders[place].key
    }

    /// Who has the key of the datagram at `place` by now.
    pub(super) fn found(&self, place: usize, table: &Table) -> Option<PeerId> {
        if self.as_of != table.changes() {
            return table.find(&self.senders[place].key);
        }
        match self.found[place] {
            Found::Nobody => None,
            Found::ByAddress(id) | Found::ById(id) => Some(table.id_of(id)),
        }
    }

    /// A function of the program is about to be asked about the datagram at `place`: if it panics, that one and those after
    /// it are lost.
    pub(super) fn stake_from(&mut self, place: usize) {
        self.at_stake = place + 1;
    }

    /// The function has returned.
    pub(super) fn unstake(&mut self) {
        self.at_stake = 0;
    }

    /// How many datagrams were received and lost because a function of the program panicked.
    pub(super) fn lost_by_panic(&self) -> u64 {
        self.at_stake.checked_sub(1).map_or(0, |first| (self.datagrams - first) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_loses_the_datagram_asked_about_and_those_behind_it() {
        let mut looked_up = LookedUp::default();
        looked_up.begin_batch(5);
        assert_eq!(looked_up.lost_by_panic(), 0);
        looked_up.stake_from(0);
        assert_eq!(looked_up.lost_by_panic(), 5);
        looked_up.stake_from(4);
        assert_eq!(looked_up.lost_by_panic(), 1);
        looked_up.unstake();
        assert_eq!(looked_up.lost_by_panic(), 0);
    }
}
