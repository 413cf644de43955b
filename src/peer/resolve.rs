//! From what a caller calls a host to the address that a socket can talk to.

use std::net::{SocketAddr, ToSocketAddrs};

use crate::address::canonical;
use crate::error::ConnectError;
use crate::socket::{Transport, check_remote, meant};

/// Connects to the first of `candidates` to which there is a way.
pub(super) fn connect_to_first(
    transport: &mut dyn Transport,
    candidates: &[SocketAddr],
    follow_port: bool,
) -> Result<SocketAddr, ConnectError> {
    let mut result = Err(ConnectError::WrongFamily);
    for &candidate in candidates {
        let remote = meant(transport, candidate);
        if !transport.reaches(remote) {
            continue;
        }
        if let Err(error) = check_remote(transport, remote) {
            result = Err(error);
            continue;
        }
        // The system would keep the answer from another port away.
        if follow_port {
            return Ok(remote);
        }
        // Not to the candidate: what an unspecified one means may have changed since it was checked.
        match transport.connect(remote) {
            Ok(remote) => return Ok(meant(transport, remote)),
            Err(error) => result = Err(ConnectError::Unreachable(error)),
        }
    }
    result
}

/// The addresses of a host, in the resolver's order. Blocks where a name has to be looked up.
pub(super) fn resolve(host: impl ToSocketAddrs) -> Result<Vec<SocketAddr>, ConnectError> {
    let found: Vec<_> = host.to_socket_addrs().map_err(ConnectError::Unresolved)?.map(canonical).collect();
    if found.is_empty() {
        return Err(ConnectError::Unresolved(std::io::ErrorKind::NotFound.into()));
    }
    let usable: Vec<_> = found.into_iter().filter(|addr| addr.port() != 0).collect();
    if usable.is_empty() { Err(ConnectError::NoPort) } else { Ok(usable) }
}
