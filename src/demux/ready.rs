use std::sync::{Arc, Weak};

use super::mailbox::Mailbox;
use super::table::{Member, Table};
use crate::peer_id::{LocalId, PeerId};

/// Peers that were handed a packet and perhaps still have it.
#[derive(Debug, Default)]
pub(super) struct ReadyList {
    peers: Vec<LocalId>,
    /// Peers that ended with packets waiting, for as long as their handles live.
    ended: Vec<(PeerId, Weak<Mailbox>)>,
    /// How many of those there may be before the ones with nothing left are looked for.
    ended_room: usize,
}

impl ReadyList {
    /// Lists a peer with packets; pending connections are nobody's yet.
    #[inline]
    pub(super) fn note(&mut self, id: LocalId, member: &mut Member) {
        if member.is_peer && !member.listed && member.mailbox.waiting() > 0 {
            member.listed = true;
            self.peers.push(id);
        }
    }

    /// Keeps the list in proportion to the table also where nobody ever asks for it. Between two polls it grows by each
    /// peer once at most.
    pub(super) fn tidy(&mut self, table: &Table) {
        if self.peers.len() > 2 * table.len() {
            self.peers.retain(|&id| table.own_member(id).is_some());
        }
    }

    /// Goes on listing a peer that has ended, if something waits and there is a handle to take it.
    pub(super) fn note_ended(&mut self, id: PeerId, mailbox: &Arc<Mailbox>) {
        if !mailbox.is_ready() {
            return;
        }
        if self.ended.len() >= self.ended_room {
            self.forget_taken();
        }
        self.ended.push((id, Arc::downgrade(mailbox)));
    }

    /// Appends to `out` the peers that have packets waiting, and takes those that have not off the list.
    pub(super) fn read(&mut self, table: &mut Table, out: &mut Vec<PeerId>) {
        self.peers.retain(|&id| {
            let Some(member) = table.own_member_mut(id) else { return false };
            member.listed = member.mailbox.is_ready();
            member.listed
        });
        out.extend(self.peers.iter().map(|&id| table.id_of(id)));
        self.forget_taken();
        out.extend(self.ended.iter().map(|(id, _)| id));
    }

    /// Takes ended peers off the list whose packets have been taken, or can be taken by nobody any more.
    fn forget_taken(&mut self) {
        self.ended.retain(|(_, mailbox)| mailbox.upgrade().is_some_and(|mailbox| mailbox.is_ready()));
        self.ended_room = 2 * self.ended.len() + 64;
    }

    /// Forgets all but those that have ended.
    pub(super) fn clear(&mut self) {
        self.peers.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::demux::test_house::House;
    use crate::peer_state::CloseReason;

    fn note(ready: &mut ReadyList, house: &mut House, id: PeerId) {
        ready.note(id.local(), house.table.member_mut(id).unwrap());
    }

    fn read(ready: &mut ReadyList, house: &mut House) -> Vec<PeerId> {
        let mut out = Vec::new();
        ready.read(&mut house.table, &mut out);
        out
    }

    #[test]
    fn a_peer_is_listed_once_and_until_nothing_waits() {
        let (mut house, mut ready) = (House::new(), ReadyList::default());
        let (peer, silent, pending) = (house.peer(1), house.peer(2), house.pending(3));
        house.push(pending);
        for _ in 0..2 {
            house.push(peer);
            [peer, silent, pending].into_iter().for_each(|id| note(&mut ready, &mut house, id));
        }
        assert_eq!(read(&mut ready, &mut house), [peer]);
        house.mailbox(peer).take();
        assert_eq!(read(&mut ready, &mut house), [peer]);
        house.mailbox(peer).take();
        assert_eq!(read(&mut ready, &mut house), []);
        house.push(peer);
        note(&mut ready, &mut house, peer);
        assert_eq!(read(&mut ready, &mut house), [peer]);
    }

    #[test]
    fn one_that_has_ended_is_listed_until_its_packets_are_taken() {
        let (mut house, mut ready) = (House::new(), ReadyList::default());
        let ids = [1, 2].map(|port| house.peer(port));
        for id in ids {
            house.push(id);
            note(&mut ready, &mut house, id);
        }
        let handles = ids.map(|id| {
            let (_, mailbox) = house.table.remove(id).unwrap();
            mailbox.end(CloseReason::Idle);
            ready.note_ended(id, &mailbox);
            mailbox
        });
        assert_eq!(read(&mut ready, &mut house), ids);
        handles[0].take();
        assert_eq!(read(&mut ready, &mut house), [ids[1]]);
        drop(handles);
        assert_eq!(read(&mut ready, &mut house), [], "nor where there is no handle any more");
    }

    #[test]
    fn the_list_does_not_grow_with_those_that_come_and_go() {
        let (mut house, mut ready) = (House::new(), ReadyList::default());
        let kept: Vec<_> = (0..100)
            .filter_map(|port| {
                let id = house.peer(port);
                house.push(id);
                note(&mut ready, &mut house, id);
                ready.tidy(&house.table);
                let (_, mailbox) = house.table.remove(id)?;
                ready.note_ended(id, &mailbox);
                (port == 99).then_some(mailbox)
            })
            .collect();
        assert!(ready.peers.len() <= 2 && ready.ended.len() <= 65, "{ready:?}");
        assert_eq!(read(&mut ready, &mut house), [kept[0].id()]);
    }
}
