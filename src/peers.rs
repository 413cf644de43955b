//! [`Peers`]: the container of a server's handles.

use std::fmt;

use indexmap::IndexMap;

use crate::packet_peer::PacketPeer;
use crate::packet_server::PacketServer;
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;

/// The handles of a server's peers, each with a `T` of the program's: which peers joined, which left and which have packets
/// waiting, in one call per frame.
///
/// It keeps the handles of one server, of any [kind](PacketServer). Call [`update`](Self::update) once after each poll, then
/// [`next_ready`](Self::next_ready) until it returns `None`: the work follows the traffic and not the number of peers, and
/// nothing is allocated unless there are more peers than ever before. Dropping the container ends all peers in it.
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
    /// In the order of the server's list at the last update; those before `next` have been handed out.
    ready: Vec<PeerId>,
    next: usize,
    /// Empty between two updates; kept for its memory.
    ended: Vec<(PeerId, CloseReason)>,
}

impl<S: PacketServer + ?Sized, T> Peers<S, T> {
    /// An empty container.
    pub fn new() -> Self {
        Self { seats: IndexMap::new(), ready: Vec::new(), next: 0, ended: Vec::new() }
    }

    /// Takes from the server, in this order:
    ///
    /// 1. all connections, the one pending longest first. `joined` returns what to keep with each peer; it may already read
    ///    what the peer has received, and answer. `None` refuses the connection: its handle is dropped, which ends it, and
    ///    it is never listed;
    /// 2. the peers that have ended. `left` gets each of them once, with what was kept with it and the reason; packets that
    ///    still wait can be read from the handle;
    /// 3. the list of the peers that have packets waiting, for [`next_ready`](Self::next_ready). It replaces an earlier list.
    ///
    /// Call it after each poll, also after one that failed and after a [`stop`](PacketServer::stop): then it is told that
    /// all have left. `server` has to be the same each time; both functions are lent it, to give the peer a socket of its
    /// own or to tell the others.
    ///
    /// A peer that is closed by its handle, or through the server, stays here until the next poll, and is then given to
    /// `left`; one that was [removed](Self::remove) is not. If a frame skips this call, and so misses that a peer ended, that
    /// peer is found when the server counts fewer peers than are here.
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
            // The last one moves to this place, and is asked next.
            if let Some((peer, kept)) = self.seats.swap_remove(&id) {
                left(server, peer, kept, reason);
            }
        }
    }

    /// The next peer that has packets waiting, as of the last [`update`](Self::update), in the server's order; each once.
    /// Take as many of its packets as you like: if some are left, it is ready again after the next update.
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

    /// Adds a peer that did not come from [`take_connection`](PacketServer::take_connection), such as one from
    /// [`UdpServer::connect`](crate::UdpServer::connect); it has to be the same server's. Returns what was kept under the
    /// same id, which is `None`, since ids are never reused.
    pub fn insert(&mut self, peer: S::Peer, kept: T) -> Option<(S::Peer, T)> {
        self.seats.insert(peer.id(), (peer, kept))
    }

    /// Removes a peer. Dropping its handle ends it; `left` does not get it.
    #[must_use = "dropping the handle ends the connection: write `drop(...)` where that is meant"]
    pub fn remove(&mut self, id: PeerId) -> Option<(S::Peer, T)> {
        self.seats.swap_remove(&id)
    }

    /// This peer and what is kept with it; `None` if it is not here, or no longer.
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

    /// All peers, in the order in which they joined until one leaves; then the last one moves to its place. The same calls
    /// give the same order.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &S::Peer, &T)> {
        self.seats.iter().map(|(&id, (peer, kept))| (id, peer, kept))
    }

    /// As [`iter`](Self::iter), to send to each and to change what is kept.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PeerId, &mut S::Peer, &mut T)> {
        self.seats.iter_mut().map(|(&id, (peer, kept))| (id, peer, kept))
    }

    /// How many peers are here.
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
