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
