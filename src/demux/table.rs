use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use indexmap::map::raw_entry_v1::RawEntryApiV1;

use super::key::Key;
use super::mailbox::Mailbox;
use super::origin::{Crowd, Origin};
use super::silence::Silence;
use super::time::Tick;
use super::whereabouts::NewAddress;
use crate::peer_id::{LocalId, PeerId};

/// Everybody the server knows, peers and pending connections: found by id or by key, and peers by their silence.
///
/// The map hashes with the standard library's SipHash under a random key: senders choose their addresses.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The number of the server, without which an id is nobody's here.
    server: u32,
    by_key: IndexMap<Key, LocalId>,
    slots: Vec<Slot>,
    /// Slots without a member, to be used again last in, first out.
    free: Vec<u32>,
    silence: Silence,
    /// Peers and pending connections by the address from which they came, but for those that were exempt then.
    crowd: Crowd,
    /// Where connections were that have moved: few ever do. Boxed, since a hash table has up to twice the room it needs.
    moved: HashMap<PeerId, Box<Trail>>,
    peers: usize,
    /// Counts changes of the table: as long as it stands still, what was found still holds.
    changes: u64,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    member: Option<Member>,
}

/// What the server itself knows of a peer or a pending connection.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) last_heard: Tick,
    /// A poll, and how many datagrams came in that: what a quota is held against.
    poll: u32,
    in_poll: u32,
    /// Taken from among the pending.
    pub(super) is_peer: bool,
    /// In the list of peers with packets waiting.
    pub(super) listed: bool,
    /// Counted with its origin, since that was not exempt when it came.
    counted: bool,
}

impl Member {
    /// Counts one more datagram of this poll; returns how many that makes.
    pub(super) fn count_in_poll(&mut self, poll: u32) -> usize {
        if self.poll != poll {
            (self.poll, self.in_poll) = (poll, 0);
        }
        self.in_poll += 1;
        self.in_poll as usize
    }
}

/// Where a connection was before it moved, the latest first: what is overtaken on its way may be older than the last
/// move.
#[derive(Debug, Default)]
struct Trail([Option<Previous>; 4]);

/// An address that was left, and how long stragglers from there are welcome.
#[derive(Debug)]
struct Previous {
    addr: SocketAddr,
    until: Instant,
}

impl Table {
    pub(super) fn new(server: u32) -> Self {
        Self { server, ..Self::default() }
    }

    /// Adds somebody new, as pending; counted with `origin`, if there is one, for as long as it is here.
    pub(super) fn insert(
        &mut self,
        key: Key,
        origin: Option<Origin>,
        now: Tick,
        mailbox: impl FnOnce(LocalId) -> Arc<Mailbox>,
    ) -> PeerId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: PeerId::FIRST_GENERATION, member: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        let id = LocalId { index, generation: slot.generation };
        slot.member = Some(Member {
            mailbox: mailbox(id),
            last_heard: now,
            poll: 0,
            in_poll: 0,
            is_peer: false,
            listed: false,
            counted: origin.is_some(),
        });
        if let Some(origin) = origin {
            self.crowd.add(origin);
        }
        self.by_key.insert(key, id);
        self.changes += 1;
        id.of(self.server)
    }

    /// Makes a peer of a pending connection.
    pub(super) fn accept(&mut self, id: PeerId, now: Tick) -> Option<&Arc<Mailbox>> {
        let member = self.member_mut(id)?;
        member.is_peer = true;
        member.last_heard = now;
        self.peers += 1;
        self.silence.watch(id.local(), now);
        self.mailbox(id)
    }

    /// Lets a connection go on at `to`; stragglers from where it was are welcome until `until`. Returns whether it is
    /// known to receive there.
    pub(super) fn follow(&mut self, id: PeerId, from: SocketAddr, to: &NewAddress, until: Instant) -> bool {
        let is_confirmed = self.mailbox(id).is_some_and(|mailbox| mailbox.follow(to));
        let Trail(left) = &mut **self.moved.entry(id).or_default();
        left.rotate_right(1);
        left[0] = Some(Previous { addr: from, until });
        is_confirmed
    }

    /// Whether a connection was at `addr` not long ago.
    pub(super) fn was_at(&self, id: PeerId, addr: SocketAddr, now: Instant) -> bool {
        let mut left = self.moved.get(&id).into_iter().flat_map(|trail| trail.0.iter().flatten());
        left.any(|previous| previous.addr == addr && now < previous.until)
    }

    /// The peer last heard from the longest time ago, if that is `timeout` or longer. The caller ends it.
    pub(super) fn next_silent(&mut self, now: Tick, timeout: Duration) -> Option<PeerId> {
        let slots = &self.slots;
        let silent = self.silence.next(now, timeout, |id| member_of(slots, id).map(|member| member.last_heard))?;
        Some(silent.of(self.server))
    }

    pub(super) fn remove(&mut self, id: PeerId) -> Option<(Key, Arc<Mailbox>)> {
        let member = self.slot_mut(id)?.member.take()?;
        let slot = &mut self.slots[id.index()];
        slot.generation = next_generation(slot.generation);
        let key = member.mailbox.key();
        self.by_key.swap_remove(&key);
        self.moved.remove(&id);
        self.free.push(id.local().index);
        self.changes += 1;
        if member.counted {
            self.crowd.remove(Origin::of(member.mailbox.first_remote().ip()));
        }
        if member.is_peer {
            self.peers -= 1;
            let slots = &self.slots;
            self.silence.tidy(self.peers, |id| member_of(slots, id).is_some());
        }
        Some((key, member.mailbox))
    }

    /// Somebody, as long as there is anybody.
    pub(super) fn last(&self) -> Option<PeerId> {
        self.by_key.last().map(|(_, &id)| id.of(self.server))
    }

    pub(super) fn find(&self, key: &Key) -> Option<PeerId> {
        self.by_key.get(key).map(|&id| id.of(self.server))
    }

    /// What [`Table::find_hashed`] asks for. Where there are many to be found, all are hashed first, so that the
    /// processor fetches what it needs for one while it waits for another.
    pub(super) fn hash(&self, key: &Key) -> u64 {
        self.by_key.hasher().hash_one(key)
    }

    pub(super) fn find_hashed(&self, key: &Key, hash: u64) -> Option<LocalId> {
        self.by_key.raw_entry_v1().from_hash(hash, |other| other == key).map(|(_, &id)| id)
    }

    /// The id by which others know one of this table's.
    pub(super) fn id_of(&self, id: LocalId) -> PeerId {
        id.of(self.server)
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn mailbox(&self, id: PeerId) -> Option<&Arc<Mailbox>> {
        self.member(id).map(|member| &member.mailbox)
    }

    pub(super) fn is_peer(&self, id: PeerId) -> bool {
        self.member(id).is_some_and(|member| member.is_peer)
    }

    /// Peers and pending connections.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Those that were taken.
    pub(super) fn peer_count(&self) -> usize {
        self.peers
    }

    /// Peers and pending connections of one origin.
    pub(super) fn count_from(&self, origin: Origin) -> usize {
        self.crowd.from(origin)
    }

    /// Members there ever were at a time.
    pub(super) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Connections of which it is remembered where they were.
    pub(super) fn moved_count(&self) -> usize {
        self.moved.len()
    }

    /// Those that were taken.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        let members = self.by_key.values().filter_map(|&id| member_of(&self.slots, id));
        members.filter(|member| member.is_peer).map(|member| &member.mailbox)
    }

    pub(super) fn member(&self, id: PeerId) -> Option<&Member> {
        member_of(&self.slots, id.local()).filter(|_| id.server() == self.server)
    }

    pub(super) fn member_mut(&mut self, id: PeerId) -> Option<&mut Member> {
        self.slot_mut(id)?.member.as_mut()
    }

    /// As [`Table::member_mut`], by an id from this table.
    #[inline]
    pub(super) fn own_member_mut(&mut self, id: LocalId) -> Option<&mut Member> {
        self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?.member.as_mut()
    }

    pub(super) fn own_member(&self, id: LocalId) -> Option<&Member> {
        member_of(&self.slots, id)
    }

    fn slot_mut(&mut self, id: PeerId) -> Option<&mut Slot> {
        let LocalId { index, generation } = id.local();
        let slot = self.slots.get_mut(index as usize)?;
        (slot.generation == generation && id.server() == self.server).then_some(slot)
    }
}

fn member_of(slots: &[Slot], id: LocalId) -> Option<&Member> {
    slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)?.member.as_ref()
}

/// After four billion users of one slot an id comes round again; the generation of stand-alone peers is left out.
fn next_generation(generation: u32) -> u32 {
    generation.checked_add(1).unwrap_or(PeerId::FIRST_GENERATION)
}
