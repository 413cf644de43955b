use std::fmt;

/// Whether a peer can send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// A stand-alone peer that has no socket yet.
    Unbound,
    /// The connection is being made: the remote has not answered yet, or the handshake is in progress. A poll changes this
    /// to [`Open`](Self::Open) or [`Ended`](Self::Ended). Only streams and layers with a handshake have this state: UDP has
    /// no connection to make.
    Connecting,
    /// Packets can be sent and received.
    Open,
    /// Nothing is sent or received any more. What had been received can still be taken.
    Ended(CloseReason),
}

impl fmt::Display for PeerState {
    /// For people; one that has ended says why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unbound => f.write_str("unbound"),
            Self::Connecting => f.write_str("connecting"),
            Self::Open => f.write_str("open"),
            Self::Ended(reason) => write!(f, "ended: {reason}"),
        }
    }
}

/// The reasons, each with what is printed for it: the one place where a new one is added.
macro_rules! close_reasons {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $reason:ident: $text:literal,)* }) => {
        $(#[$about])*
        pub enum $name {
            $($(#[$doc])* $reason,)*
        }

        impl $name {
            /// Every reason, in the order of declaration.
            const ALL: &[Self] = &[$(Self::$reason,)*];
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$reason => $text,)*
                })
            }
        }
    };
}

close_reasons! {
    /// Why a peer ended.
    ///
    /// A UDP peer ends only for one of the first four: UDP has no goodbye and no handshake. The others are for peers over
    /// streams and for layers, so that code over any transport has one set of reasons.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[non_exhaustive]
    CloseReason {
        /// This side closed it: the handle, by `close` or by being dropped, or the server, by its `close`.
        Closed: "closed on this side",
        /// Nothing came from it for the idle timeout.
        Idle: "nothing received for the idle timeout",
        /// The server stopped listening, or was dropped.
        ServerStopped: "the server stopped",
        /// The system took the socket away or reported it unusable.
        SocketFailed: "the socket failed",
        /// The remote closed it in an orderly manner: it said goodbye, or ended its stream.
        ClosedByRemote: "closed by the remote",
        /// There never was a connection: nothing listens there, or the remote refused it.
        Refused: "refused by the remote",
        /// The remote, or something in between, broke the connection without a goodbye.
        Reset: "reset by the remote",
        /// The two sides did not agree: on a version, certificate, token or key.
        HandshakeFailed: "the handshake failed",
        /// The connection was not made, or an answer did not arrive, within the time that the protocol allows.
        TimedOut: "timed out",
        /// The remote broke the protocol so that nothing after it can be decoded, for instance by a frame of a forbidden
        /// length.
        Malformed: "the remote broke the protocol",
    }
}

impl CloseReason {
    /// The reason as a byte, never 0.
    pub(crate) fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The reason with this [code](Self::code); `None` for any other byte.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_peer_that_has_ended_prints_why() {
        assert_eq!(PeerState::Connecting.to_string(), "connecting");
        assert_eq!(PeerState::Ended(CloseReason::Idle).to_string(), format!("ended: {}", CloseReason::Idle));
    }

    #[test]
    fn every_reason_has_a_byte_and_a_text_of_its_own() {
        for &reason in CloseReason::ALL {
            assert_ne!(reason.code(), 0, "0 is for peers that are open");
            assert_eq!(CloseReason::of_code(reason.code()), Some(reason));
        }
        let texts: HashSet<_> = CloseReason::ALL.iter().map(CloseReason::to_string).collect();
        assert_eq!(texts.len(), CloseReason::ALL.len());
        let decoded = (0..=u8::MAX).filter_map(CloseReason::of_code);
        assert_eq!(decoded.collect::<Vec<_>>(), CloseReason::ALL);
    }
}
