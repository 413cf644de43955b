//! Which host an address means, and whether one can answer from there: for a server and a stand-alone peer alike.

use std::net::{IpAddr, SocketAddr};

use super::transport::Transport;
use crate::address::canonical;
use crate::error::ConnectError;

/// The address that answers to what is sent to `to` come from: an unspecified one means this host, and a scope says
/// something of the addresses of one link only. Canonical.
pub(crate) fn meant(transport: &dyn Transport, to: SocketAddr) -> SocketAddr {
    let mut to = canonical(to);
    if to.ip().is_unspecified() {
        to = canonical(transport.this_host(to));
    }
    match &mut to {
        SocketAddr::V6(v6) if !v6.ip().is_unicast_link_local() && !v6.ip().is_multicast() => v6.set_scope_id(0),
        _ => {}
    }
    to
}

/// Refuses an address that is nobody's own: packets go there, and none come from there.
pub(crate) fn check_remote(transport: &dyn Transport, to: SocketAddr) -> Result<(), ConnectError> {
    match to.ip() {
        ip if ip.is_multicast() => Err(ConnectError::Multicast),
        IpAddr::V4(_) if transport.is_broadcast(to) => Err(ConnectError::Broadcast),
        _ => Ok(()),
    }
}
