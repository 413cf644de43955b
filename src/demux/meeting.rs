use crate::peer_id::PeerId;
use crate::stats::DropReason;

/// What becomes of a datagram that is not simply its peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It is this peer's.
    Known(PeerId),
    /// It makes a connection, which receives it.
    Admit,
    /// It makes a connection, and a function of the program has consumed it.
    AdmitAndConsume,
    /// The same, and the reply that was written is to be sent.
    AdmitAndAnswer,
    Drop(DropReason),
    /// A function of the program has consumed it.
    Consume,
    /// A function of the program has consumed it, and the reply that was written is to be sent.
    Answer,
}
