//! The container of a server's handles.

use std::fmt;

use indexmap::IndexMap;

use crate::packet_peer::PacketPeer;
use crate::packet_server::PacketServer;
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;

/// The handles of a server's peers, each with what the program knows of it, a `T`: who joined, who has something to say
/// and who left, in one call per frame.
///
/// It keeps the handles of one server, of any [kind](PacketServer). [`update`](Self::update) once after each poll, then
/// [`next_ready`](Self::next_ready) until it says `None`: the work follows the traffic and not the number of peers, and
/// nothing is allocated as long as there are no more peers than ever before. Dropping the container ends all peers that are
/// in it.
///
/// ```
/// use packetpeer::{Peers, UdpServer};
///
/// let mut server = UdpServer::new();
/// server.listen("127.0.0.1:0")?;
/// let mut players: Peers<UdpServer, String> = Peers::new();
/// let mut names = 1..;
///
/// // Each frame:
/// server.poll()?;
/// players.update(
///     &mut server,
///     |_server, _peer| names.next().map(|number| format!("player {number}")),
///     |_server, _peer, name, reason| println!("{name} left: {reason}"),
/// );
/// while let Some((_id, peer, name)) = players.next_ready() {
///     while let Ok(Some(packet)) = peer.get_packet() {
///         println!("{} bytes from {name}", packet.len());
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Peers<S: PacketServer + ?Sized, T = ()> {
    seats: IndexMap<PeerId, (S::Peer, T)>,
    /// As the server listed them at the last update; those before `next` have been handed out.
    ready: Vec<PeerId>,
    next: usize,
    /// Empty between two updates; kept for its memory.
    ended: Vec<(PeerId, CloseReason)>,
}

impl<S: PacketServer + ?Sized, T> Peers<S, T> {
    /// Nobody yet.
    pub fn new() -> Self {
        Self { seats: IndexMap::new(), ready: Vec::new(), next: 0, ended: Vec::new() }
    }

    /// Takes from the server, in this order:
    ///
    /// 1. all connections, the one pending longest first. `joined` says what to keep of each, and may read what the peer
    ///    has received and answer. `None` refuses it: its handle is dropped, which ends it, and it is in no list from then
    ///    on;
    /// 2. those that have ended. `left` is given each, once, with what was kept of it and the reason: what it still holds
    ///    can be read from its handle;
    /// 3. the list of those that have packets waiting, for [`next_ready`](Self::next_ready). What is left of an earlier
    ///    list goes.
    ///
    /// Call it after each poll, also after one that failed and after a [`stop`](PacketServer::stop): then it is told that
    /// all have left. `server` has to be the same each time; both functions are lent it, to give the peer a socket of its
    /// own or to tell the others.
    ///
    /// A peer that the game closes by its handle, or the server by its id, stays here until the next poll has taken that
    /// up, and is then given to `left`; one that was [removed](Self::remove) is not. Where a frame was left out and with it
    /// the server's word that somebody ended, those are found when the server counts fewer peers than are here.
    pub fn update(
        &mut self,
        server: &mut S,
        mut joined: impl FnMut(&mut S, &mut S::Peer) -> Option<T>,
        mut left: impl FnMut(&mut S, S::Peer, T, CloseReason),
    ) {
        while let Some(mut peer) = server.take_connection() {
            if let Some(kept) = joined(server, &mut peer) {
                self.insert(peer, kept);
            }
        }
        server.take_ended(&mut self.ended);
        for (id, reason) in self.ended.drain(..) {
            if let Some((peer, kept)) = self.seats.swap_remove(&id) {
                left(server, peer, kept, reason);
            }
        }
        if self.seats.len() > server.peer_count() {
            self.part_with_ended(server, left);
        }
        self.next = 0;
        self.ready.clear();
        server.ready(&mut self.ready);
    }

    /// Asks each handle whether it has ended.
    #[cold]
    fn part_with_ended(&mut self, server: &mut S, mut left: impl FnMut(&mut S, S::Peer, T, CloseReason)) {
        let mut index = 0;
        while let Some((&id, (peer, _))) = self.seats.get_index(index) {
            let Some(reason) = peer.close_reason() else {
                index += 1;
                continue;
            };
            // The last one takes this place, and is asked next.
            if let Some((peer, kept)) = self.seats.swap_remove(&id) {
                left(server, peer, kept, reason);
            }
        }
    }

    /// The next peer that has packets waiting, as of the last [`update`](Self::update), in the server's order; each once.
    /// Take as many of its packets as you like: one that is not drained is ready again at the next update.
    ///
    /// ```
    /// # use packetpeer::{Peers, UdpServer};
    /// # let mut players: Peers<UdpServer, u32> = Peers::new();
    /// while let Some((id, peer, score)) = players.next_ready() {
    ///     while let Ok(Some(packet)) = peer.get_packet() {
    ///         *score += 1;
    ///         println!("{} bytes from {id}, who has {score} points", packet.len());
    ///     }
    /// }
    /// ```
    pub fn next_ready(&mut self) -> Option<(PeerId, &mut S::Peer, &mut T)> {
        let left = self.ready.get(self.next..)?;
        let (skipped, index) =
            left.iter().enumerate().find_map(|(skipped, id)| Some((skipped, self.seats.get_index_of(id)?)))?;
        self.next += skipped + 1;
        self.seats.get_index_mut(index).map(|(&id, (peer, kept))| (id, peer, kept))
    }

    /// Puts in a peer that did not come by [`take_connection`](PacketServer::take_connection), such as one of
    /// [`UdpServer::connect`](crate::UdpServer::connect); it has to be the same server's. Returns what was kept under the
    /// same id, which is nothing, as ids are never used again.
    pub fn insert(&mut self, peer: S::Peer, kept: T) -> Option<(S::Peer, T)> {
        self.seats.insert(peer.id(), (peer, kept))
    }

    /// Lets go of a peer. Dropping the handle ends it; `left` is not told.
    #[must_use = "dropping the handle ends the connection: write `drop(...)` where that is meant"]
    pub fn remove(&mut self, id: PeerId) -> Option<(S::Peer, T)> {
        self.seats.swap_remove(&id)
    }

    /// This peer and what is kept of it; `None` where it is not here, or not any more.
    pub fn get(&self, id: PeerId) -> Option<(&S::Peer, &T)> {
        self.seats.get(&id).map(|(peer, kept)| (peer, kept))
    }

    /// As [`get`](Self::get), to read from the peer, to send to it and to change what is kept.
    pub fn get_mut(&mut self, id: PeerId) -> Option<(&mut S::Peer, &mut T)> {
        self.seats.get_mut(&id).map(|(peer, kept)| (peer, kept))
    }

    /// Whether this peer is here.
    pub fn contains(&self, id: PeerId) -> bool {
        self.seats.contains_key(&id)
    }

    /// All of them: in the order in which they joined as long as nobody leaves, and then the last in the place of the one
    /// that has left. The same calls make the same order.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &S::Peer, &T)> {
        self.seats.iter().map(|(&id, (peer, kept))| (id, peer, kept))
    }

    /// As [`iter`](Self::iter), to send to each and to change what is kept.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PeerId, &mut S::Peer, &mut T)> {
        self.seats.iter_mut().map(|(&id, (peer, kept))| (id, peer, kept))
    }

    /// How many are here.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }
}

impl<S: PacketServer + ?Sized, T> Default for Peers<S, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: PacketServer + ?Sized, T: fmt::Debug> fmt::Debug for Peers<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.seats).finish()
    }
}
