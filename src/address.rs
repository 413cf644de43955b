//! The canonical form of an address, by which senders are told apart.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// The one form of an address that this crate shows and compares: IPv4 mapped into IPv6 becomes IPv4; the flow
/// information, which senders choose freely, becomes 0, and so does a [scope](scope_of) that says nothing.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match addr.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), addr.port()),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, v6.port(), 0, scope_of(&v6)).into(),
        },
    }
}

/// The scope id of an address that means nothing without it, which is one of a single link, or a group; else 0. The system
/// leaves it out of other addresses, but a transport of one's own may not, nor may a program that names one.
#[inline]
pub(crate) fn scope_of(addr: &SocketAddrV6) -> u32 {
    let scope = addr.scope_id();
    if scope == 0 || addr.ip().is_unicast_link_local() || addr.ip().is_multicast() { scope } else { 0 }
}

/// Whether an address, in canonical form, that a socket is bound to is one of this host's: neither all of them nor a
/// group's.
pub(crate) fn is_of_one_host(bound: SocketAddr) -> bool {
    !bound.ip().is_unspecified() && !bound.ip().is_multicast()
}

/// Whether a sender, in canonical form, can be sent an answer. Port 0 is nobody's. What goes to an unspecified address
/// goes to this host: a neighbour that forges one would have a server talk to its own machine.
pub(crate) fn is_answerable(sender: SocketAddr) -> bool {
    sender.port() != 0 && !sender.ip().is_unspecified()
}
