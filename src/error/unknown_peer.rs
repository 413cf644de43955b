use std::error::Error;
use std::fmt;

use crate::peer_id::PeerId;

/// The server has no such peer: it has ended, or the id is another server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownPeer(pub PeerId);

impl fmt::Display for UnknownPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no peer {}", self.0)
    }
}

impl Error for UnknownPeer {}
