use crate::peer_id::PeerId;
use crate::stats::DropReason;

/// What becomes of a datagram that is not simply its peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It is this peer's.
    Known(PeerId),
    /// It makes a connection, which receives it.
    Admit,
    Drop(DropReason),
    /// A function of the program's has taken it.
    Consume,
    /// The same, and the reply that was written is to be sent.
    Answer,
}

impl Meeting {
    /// A question that may be answered, or why not.
    pub(super) fn answer(permitted: Result<(), DropReason>) -> Self {
        permitted.map_or_else(Self::Drop, |()| Self::Answer)
    }
}
