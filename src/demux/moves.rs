//! Datagrams with the id of a known connection, from another address than before.

use std::net::SocketAddr;
use std::time::Instant;

use super::identity::{ConnectionId, MoveAttempt, MoveVerdict};
use super::meeting::Meeting;
use super::roster::Demux;
use super::time::far_after;
use super::whereabouts::NewAddress;
use crate::address::canonical;
use crate::datagram::Arrived;
use crate::error::UnknownPeer;
use crate::peer_id::PeerId;
use crate::stats::DropReason;

impl Demux {
    /// What becomes of a datagram with the id of a connection: it may come from another address than before.
    pub(super) fn meet_again(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        sender: SocketAddr,
        arrived: &Arrived<'_>,
        cut: bool,
    ) -> Meeting {
        let (bytes, now) = (arrived.bytes, self.time.now());
        let (Some(ids), Some(mailbox)) = (self.identity.ids(), self.table.mailbox(peer)) else {
            return Meeting::Known(peer);
        };
        let Err(from) = mailbox.heard_from(sender, bytes.len()) else { return Meeting::Known(peer) };
        if self.table.was_at(peer, sender, now) {
            return Meeting::Known(peer);
        }
        // What is left of it shows neither that its owner has moved nor that it is still there.
        if cut {
            return Meeting::Drop(DropReason::TooLarge);
        }
        let until = far_after(now, ids.grace());
        let attempt = MoveAttempt { peer, id, from, to: sender, bytes, received_at: now };
        let is_proved = match ids.decide(&attempt, self.replies.blank()) {
            MoveVerdict::Refuse => return Meeting::Drop(DropReason::MoveRefused),
            MoveVerdict::Challenge => {
                return self.replies.permit(bytes.len()).map_or_else(Meeting::Drop, |()| Meeting::Answer);
            }
            MoveVerdict::Follow => false,
            MoveVerdict::FollowProved => true,
        };
        let to = NewAddress { remote: sender, local: *arrived.local(), bytes: bytes.len(), is_proved };
        self.follow(peer, from, &to, until);
        Meeting::Known(peer)
    }

    /// Lets a connection go on at a new address. A move of a pending one is told to nobody, since the program does not
    /// know its id yet.
    fn follow(&mut self, peer: PeerId, from: SocketAddr, to: &NewAddress, until: Instant) {
        let confirmed = self.table.follow(peer, from, to, until);
        self.ledger.count_moved();
        if self.table.is_peer(peer) {
            self.news.tell_moved(peer, from, to.remote, confirmed);
        }
    }

    /// Takes note that a peer receives at `addr`. Returns whether that is where it is.
    pub(crate) fn confirm_move(&self, id: PeerId, addr: SocketAddr) -> Result<bool, UnknownPeer> {
        Ok(self.mailbox(id).ok_or(UnknownPeer(id))?.confirm(canonical(addr)))
    }
}
