//! The canonical form of an address, by which senders are told apart.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The one form of an address that this crate shows and compares: IPv4 mapped into IPv6 becomes IPv4, the flow
/// information, which senders choose freely, becomes 0. The scope id stays: link-local addresses mean nothing without
/// it.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match addr.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), addr.port()),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        },
    }
}

/// Whether a sender, in canonical form, can be sent an answer. Port 0 is nobody's. What goes to an unspecified address
/// goes to this host: a neighbour that forges one would have a server talk to its own machine.
pub(crate) fn is_answerable(sender: SocketAddr) -> bool {
    sender.port() != 0 && !sender.ip().is_unspecified()
}
