use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names one peer of one server, for as long as the program runs.
///
/// Small, `Copy`, and never used again for another peer: when a peer has ended, a later one may get its
/// [`index`](Self::index) but not its id. An id means something only to the server that gave it: to every other server
/// of the program it names nobody. A stand-alone [`PacketPeerUdp`](crate::PacketPeerUdp) has an id too, unequal to
/// every id of a server.
///
/// Custom servers and peers get theirs from [`PeerIds`](crate::identity::PeerIds) and from
/// [`stand_alone`](Self::stand_alone), so that a program with several protocols can tell all its peers apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    server: u32,
    index: u32,
    generation: u32,
}

/// A [`PeerId`] without the server, for what a server remembers of each of its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LocalId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl PeerId {
    /// Generation 0 is kept for stand-alone peers.
    pub(crate) const FIRST_GENERATION: u32 = 1;

    /// The number of one more server, unique until four billion of them have been made. 0 is kept for stand-alone peers.
    pub(crate) fn next_server() -> u32 {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        loop {
            match NEXT.fetch_add(1, Ordering::Relaxed) {
                0 => {}
                number => return number,
            }
        }
    }

    /// A new id for a peer that belongs to no server. It differs from every id of a server, and is unique among the
    /// stand-alone peers of the process until four billion of them have been made.
    pub fn stand_alone() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self { server: 0, index: NEXT.fetch_add(1, Ordering::Relaxed), generation: 0 }
    }

    /// A small number to index the caller's own tables: less than the most peers that the server ever had at a time, pending
    /// ones included. Peers of different servers may have the same. A stand-alone peer's is the number of stand-alone peers
    /// made before it.
    pub fn index(self) -> usize {
        self.index as usize
    }

    pub(crate) fn server(self) -> u32 {
        self.server
    }

    pub(crate) fn local(self) -> LocalId {
        LocalId { index: self.index, generation: self.generation }
    }
}

impl LocalId {
    /// The id of this peer of `server`.
    pub(crate) fn of(self, server: u32) -> PeerId {
        PeerId { server, index: self.index, generation: self.generation }
    }
}

/// Issues the peer ids of one custom server, like those of a [`UdpServer`](crate::UdpServer).
///
/// Each `PeerIds` stands for one server: its ids differ from those of every other, of each `UdpServer` and of each
/// stand-alone peer. An [`index`](PeerId::index) is reused once its peer's id was [released](Self::release), the one
/// released last first; an id is never reused. It takes 8 bytes per index, of which there are as many as there ever were
/// peers at a time, and allocates when there are more peers than ever before.
///
/// ```
/// use packetpeer::identity::PeerIds;
///
/// let mut ids = PeerIds::new();
/// let first = ids.issue();
/// assert!(ids.contains(first));
///
/// assert!(ids.release(first));
/// let second = ids.issue();
/// assert_eq!(second.index(), first.index());
/// assert_ne!(second, first);
/// assert!(!ids.contains(first));
/// ```
///
/// # Limits
///
/// There may be four billion ids at a time. An index that has been used four billion times is retired instead of starting
/// over. After four billion servers in one process, `UdpServer`s included, their numbers start over.
#[derive(Debug)]
pub struct PeerIds {
    server: u32,
    /// For each index, the generation of the id that is issued, or is to be issued next.
    generations: Vec<u32>,
    /// Indices to be reused, last in, first out.
    free: Vec<u32>,
    issued: usize,
}

impl PeerIds {
    /// The ids of a new server; none is issued yet.
    pub fn new() -> Self {
        Self { server: PeerId::next_server(), generations: Vec::new(), free: Vec::new(), issued: 0 }
    }

    /// An id that no peer has or ever had.
    ///
    /// # Panics
    ///
    /// If four billion ids are issued and not released. A server limits its peers long before that.
    pub fn issue(&mut self) -> PeerId {
        let index = self.free.pop().unwrap_or_else(|| self.next_index());
        self.issued += 1;
        self.id(index)
    }

    /// Takes an id back when its peer has ended: it names no peer from now on. `false`, with nothing changed, if it was
    /// released before or is another server's.
    pub fn release(&mut self, id: PeerId) -> bool {
        if !self.contains(id) {
            return false;
        }
        self.issued -= 1;
        let generation = &mut self.generations[id.index()];
        match generation.checked_add(1) {
            Some(next) => {
                *generation = next;
                self.free.push(id.index);
            }
            None => *generation = RETIRED,
        }
        true
    }

    /// Whether the id was issued here and is not released.
    pub fn contains(&self, id: PeerId) -> bool {
        id.server == self.server && self.generations.get(id.index()).is_some_and(|&issued| issued == id.generation)
    }

    /// How many ids are issued and not released.
    pub fn len(&self) -> usize {
        self.issued
    }

    /// Whether no id is issued, or all were released.
    pub fn is_empty(&self) -> bool {
        self.issued == 0
    }

    fn next_index(&mut self) -> u32 {
        let index = u32::try_from(self.generations.len()).expect("fewer than four billion ids at a time");
        self.generations.push(PeerId::FIRST_GENERATION);
        index
    }

    fn id(&self, index: u32) -> PeerId {
        PeerId { server: self.server, index, generation: self.generations[index as usize] }
    }
}

impl Default for PeerIds {
    fn default() -> Self {
        Self::new()
    }
}

/// The generation of a retired index: no server's id has it.
const RETIRED: u32 = 0;

impl fmt::Display for PeerId {
    /// `index.generation`, for log lines; which server it is, is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_whose_generations_are_used_up_is_left_out() {
        let mut ids = PeerIds::new();
        let first = ids.issue();
        ids.generations[first.index()] = u32::MAX;
        let last = ids.id(first.index);
        assert!(ids.release(last));
        assert!(!ids.contains(last) && !ids.contains(first) && !ids.release(last));
        assert_eq!((ids.issue().index(), ids.len()), (1, 1));
    }
}
