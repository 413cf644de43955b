use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::Mailbox;
use super::address::Key;
use crate::peer_id::PeerId;

/// Everybody the server knows, peers and pending connections: found by id or by key, and peers in the order in which
/// they were last heard from.
///
/// The map hashes with the standard library's SipHash under a random key: senders choose their addresses.
#[derive(Debug, Default)]
pub(super) struct Table {
    by_key: IndexMap<Key, PeerId>,
    slots: Vec<Slot>,
    /// Slots without an entry, to be used again last in, first out.
    free: Vec<u32>,
    silence: Silence,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    mailbox: Arc<Mailbox>,
    key: Key,
    last_heard: Instant,
    /// The poll that last heard from it, and how much it has delivered in that: what a quota is held against.
    poll: u32,
    in_poll: u32,
    /// Taken from among the pending. Only peers are in the order of silence.
    is_peer: bool,
    /// In the list of peers with packets waiting.
    listed: bool,
    quieter: Option<u32>,
    livelier: Option<u32>,
    /// Few ever move.
    trail: Option<Box<Trail>>,
}

/// Where a connection was before it moved, the latest first: what is overtaken on its way may be older than the last move.
#[derive(Debug, Default)]
struct Trail([Option<Previous>; 4]);

/// An address that was left, and how long stragglers from there are welcome.
#[derive(Debug)]
struct Previous {
    addr: SocketAddr,
    until: Instant,
}

/// Ends of the doubly linked list of peers, in the order in which they were last heard from.
#[derive(Debug, Default)]
struct Silence {
    quietest: Option<u32>,
    liveliest: Option<u32>,
}

impl Table {
    /// Adds somebody new, as pending.
    pub(super) fn insert(&mut self, key: Key, now: Instant, mailbox: impl FnOnce(PeerId) -> Arc<Mailbox>) -> PeerId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: PeerId::FIRST_GENERATION, entry: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        let id = PeerId::new(index, slot.generation);
        slot.entry = Some(Entry {
            mailbox: mailbox(id),
            key,
            last_heard: now,
            poll: 0,
            in_poll: 0,
            is_peer: false,
            listed: false,
            quieter: None,
            livelier: None,
            trail: None,
        });
        self.by_key.insert(key, id);
        id
    }

    /// Makes a peer of a pending connection.
    pub(super) fn accept(&mut self, id: PeerId, now: Instant) -> Option<&Arc<Mailbox>> {
        let entry = self.entry_mut(id)?;
        entry.is_peer = true;
        entry.last_heard = now;
        self.append_to_silence(id.slot());
        self.mailbox(id)
    }

    /// Notes that something came; returns how much had come before in the same poll.
    pub(super) fn heard_from(&mut self, id: PeerId, now: Instant, poll: u32) -> Option<usize> {
        let entry = self.entry_mut(id)?;
        let (was, is_peer) = (entry.last_heard, entry.is_peer);
        entry.last_heard = now;
        if entry.poll != poll {
            (entry.poll, entry.in_poll) = (poll, 0);
        }
        let before = entry.in_poll;
        entry.in_poll += 1;
        let index = id.slot();
        // Within one poll all times are equal, and so is the place in the order.
        if is_peer && was != now && self.silence.liveliest != Some(index) {
            self.unlink_from_silence(index);
            self.append_to_silence(index);
        }
        Some(before as usize)
    }

    /// Lets a connection go on at `addr`; stragglers from where it was are welcome until `until`.
    pub(super) fn follow(&mut self, id: PeerId, addr: SocketAddr, until: Instant) {
        let Some(entry) = self.entry_mut(id) else { return };
        let Trail(left) = &mut **entry.trail.get_or_insert_default();
        left.rotate_right(1);
        left[0] = Some(Previous { addr: entry.mailbox.remote(), until });
        entry.mailbox.set_remote(addr);
    }

    /// Whether a connection was at `addr` not long ago.
    pub(super) fn was_at(&self, id: PeerId, addr: SocketAddr, now: Instant) -> bool {
        let trail = self.entry(id).and_then(|entry| entry.trail.as_deref());
        let mut left = trail.into_iter().flat_map(|Trail(left)| left.iter().flatten());
        left.any(|previous| previous.addr == addr && now < previous.until)
    }

    /// The peer last heard from the longest time ago, if that is `timeout` or longer.
    pub(super) fn longest_silent(&self, now: Instant, timeout: Duration) -> Option<PeerId> {
        let index = self.silence.quietest?;
        let slot = self.slots.get(index as usize)?;
        let entry = slot.entry.as_ref()?;
        (now.saturating_duration_since(entry.last_heard) >= timeout).then(|| PeerId::new(index, slot.generation))
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<Arc<Mailbox>> {
        if self.entry(id)?.is_peer {
            self.unlink_from_silence(id.slot());
        }
        let slot = self.slots.get_mut(id.index())?;
        let entry = slot.entry.take()?;
        slot.generation = next_generation(slot.generation);
        self.by_key.swap_remove(&entry.key);
        self.free.push(id.slot());
        Some(entry.mailbox)
    }

    /// Somebody, as long as there is anybody.
    pub(super) fn last(&self) -> Option<PeerId> {
        self.by_key.last().map(|(_, &id)| id)
    }

    pub(super) fn key(&self, id: PeerId) -> Option<Key> {
        self.entry(id).map(|entry| entry.key)
    }

    pub(super) fn find(&self, key: &Key) -> Option<PeerId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn mailbox(&self, id: PeerId) -> Option<&Arc<Mailbox>> {
        self.entry(id).map(|entry| &entry.mailbox)
    }

    pub(super) fn is_peer(&self, id: PeerId) -> bool {
        self.entry(id).is_some_and(|entry| entry.is_peer)
    }

    /// Marks whether the peer is in the list of those with packets waiting; returns whether that is a change.
    pub(super) fn set_listed(&mut self, id: PeerId, listed: bool) -> bool {
        self.entry_mut(id).is_some_and(|entry| std::mem::replace(&mut entry.listed, listed) != listed)
    }

    /// Peers and pending connections.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Those that were taken.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.by_key.values().filter_map(|&id| self.entry(id)).filter(|entry| entry.is_peer).map(|entry| &entry.mailbox)
    }

    fn entry(&self, id: PeerId) -> Option<&Entry> {
        self.slots.get(id.index()).filter(|slot| slot.generation == id.generation())?.entry.as_ref()
    }

    fn entry_mut(&mut self, id: PeerId) -> Option<&mut Entry> {
        self.slots.get_mut(id.index()).filter(|slot| slot.generation == id.generation())?.entry.as_mut()
    }

    fn append_to_silence(&mut self, index: u32) {
        let liveliest = self.silence.liveliest.replace(index);
        match liveliest.and_then(|index| self.at(index)) {
            Some(before) => before.livelier = Some(index),
            None => self.silence.quietest = Some(index),
        }
        if let Some(entry) = self.at(index) {
            entry.quieter = liveliest;
            entry.livelier = None;
        }
    }

    fn unlink_from_silence(&mut self, index: u32) {
        let Some((quieter, livelier)) = self.at(index).map(|entry| (entry.quieter, entry.livelier)) else { return };
        match quieter.and_then(|index| self.at(index)) {
            Some(before) => before.livelier = livelier,
            None => self.silence.quietest = livelier,
        }
        match livelier.and_then(|index| self.at(index)) {
            Some(after) => after.quieter = quieter,
            None => self.silence.liveliest = quieter,
        }
    }

    fn at(&mut self, index: u32) -> Option<&mut Entry> {
        self.slots.get_mut(index as usize)?.entry.as_mut()
    }
}

/// After four billion users of one slot an id comes round again; the generation of stand-alone peers is left out.
fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(PeerId::FIRST_GENERATION)
}
