use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// Names one peer of one server, for as long as the program runs.
///
/// Small, `Copy`, and never used again for another peer: when a peer has ended, a later one may get its
/// [`index`](Self::index) but not its id. An id means something only to the server that gave it: to every other server
/// of the program it names nobody. A stand-alone [`PacketPeerUdp`](crate::PacketPeerUdp) has an id too, unequal to
/// every id of a server.
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

    /// Unique among the stand-alone peers of the process, until four billion of them have been made.
    pub(crate) fn stand_alone(index: u32) -> Self {
        Self { server: 0, index, generation: 0 }
    }

    /// A small number for tables of the caller's own: below the largest number of peers the server ever had at a time,
    /// pending ones included. Peers of different servers may have the same.
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

impl fmt::Display for PeerId {
    /// `index.generation`, for log lines; which server it is, is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}
