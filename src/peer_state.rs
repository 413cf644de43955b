use std::fmt;

/// Whether a peer can send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerState {
    /// A stand-alone peer that has no socket yet.
    Unbound,
    /// The connection is being made: the remote has not answered, or the handshake goes on. It becomes
    /// [`Open`](Self::Open) or [`Ended`](Self::Ended) by a poll. A UDP peer is never in this state, since UDP asks
    /// nobody; streams and layers with a handshake are.
    Connecting,
    /// Packets come and go.
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
    /// A UDP peer ends for one of the first four only: UDP says no goodbye and shakes no hands. The others are for peers
    /// over streams and for layers, so that code above any transport knows one set of words.
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
        /// The remote closed it in order: it said goodbye, or ended its stream.
        ClosedByRemote: "closed by the remote",
        /// There never was a connection: nobody listens there, or the remote turned it down.
        Refused: "refused by the remote",
        /// The remote, or something in between, broke the connection off without a goodbye.
        Reset: "reset by the remote",
        /// The two sides did not come to terms: version, certificate, token or key.
        HandshakeFailed: "the handshake failed",
        /// No connection came about, or no answer came, in the time that the protocol gives.
        TimedOut: "timed out",
        /// The remote broke the protocol's rules in a way after which nothing can be made of what follows, such as a
        /// frame of a forbidden length.
        Malformed: "the remote broke the protocol",
    }
}

impl CloseReason {
    /// The reason as a byte, never 0.
    pub(crate) fn code(self) -> u8 {
        self as u8 + 1
    }

    /// The reason of a [code](Self::code); `None` for every other byte.
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
