use std::fmt;

/// Names one peer of one server, for as long as the server exists.
///
/// Small, `Copy`, and never used again for another peer: when a peer has ended, a later one may get its
/// [`index`](Self::index) but not its id. An id means something only to the server that gave it. A stand-alone
/// [`PacketPeerUdp`](crate::PacketPeerUdp) has an id too, unequal to every id of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    index: u32,
    generation: u32,
}

impl PeerId {
    /// Generation 0 is kept for stand-alone peers.
    pub(crate) const FIRST_GENERATION: u32 = 1;

    pub(crate) fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// Unique among the stand-alone peers of the process, until four billion of them have been made.
    pub(crate) fn stand_alone(index: u32) -> Self {
        Self { index, generation: 0 }
    }

    /// A small number for tables of the caller's own: below the largest number of peers the server ever had at a time,
    /// pending ones included.
    pub fn index(self) -> usize {
        self.index as usize
    }

    pub(crate) fn slot(self) -> u32 {
        self.index
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for PeerId {
    /// `index.generation`, for log lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}
