use std::ops::Deref;
use std::sync::Arc;

use crate::packet::Packet;

/// The bytes of a datagram that waits to be sent.
#[derive(Debug)]
pub(crate) enum Payload {
    /// For one peer. The memory of packets serves in both directions.
    Own(Packet),
    /// For many: a broadcast is copied once.
    Shared(Arc<[u8]>),
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(packet) => packet,
            Self::Shared(bytes) => bytes,
        }
    }
}
