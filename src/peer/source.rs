use std::net::SocketAddr;

use crate::address::is_answerable;

/// From whom packets are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Anybody,
    /// From there only; the system filters.
    Connected(SocketAddr),
    /// From there, or from the first other port of the same host that sends; filtered here, since the system would let
    /// only one port pass.
    Host {
        first: SocketAddr,
        then: Option<SocketAddr>,
    },
}

impl Source {
    /// Whether a packet from `sender` is taken; and where packets go from now on, if that changes by it.
    pub(super) fn admits(&mut self, sender: SocketAddr) -> (bool, Option<SocketAddr>) {
        match self {
            Self::Anybody => (true, None),
            Self::Connected(remote) => (*remote == sender, None),
            Self::Host { first, then } => {
                if sender == *first || Some(sender) == *then {
                    return (true, None);
                }
                let scope = |addr: SocketAddr| if let SocketAddr::V6(addr) = addr { addr.scope_id() } else { 0 };
                let is_same_host = sender.ip() == first.ip() && scope(sender) == scope(*first);
                let follows = then.is_none() && is_same_host && is_answerable(sender);
                if follows {
                    *then = Some(sender);
                }
                (follows, *then)
            }
        }
    }
}
