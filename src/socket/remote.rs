//! Which host an address means, and whether one can answer from there: for a server and a stand-alone peer alike.

use std::net::{IpAddr, SocketAddr};

use super::transport::Transport;
use crate::address::canonical;
use crate::error::ConnectError;

/// The address that answers to what is sent to `to` come from: an unspecified one means this host. Canonical.
pub(crate) fn meant(transport: &dyn Transport, to: SocketAddr) -> SocketAddr {
    let to = canonical(to);
    if to.ip().is_unspecified() { canonical(transport.this_host(to)) } else { to }
}

/// Refuses an address that is nobody's own: packets go there, and none come from there.
pub(crate) fn check_remote(transport: &dyn Transport, to: SocketAddr) -> Result<(), ConnectError> {
    match to.ip() {
        ip if ip.is_multicast() => Err(ConnectError::Multicast),
        IpAddr::V4(_) if transport.is_broadcast(to) => Err(ConnectError::Broadcast),
        _ => Ok(()),
    }
}
