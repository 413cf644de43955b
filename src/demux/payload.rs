use std::ops::Deref;
use std::sync::Arc;

use super::common::Common;
use super::queue::Weigh;
use crate::packet::Packet;

/// The bytes of a datagram that waits to be sent.
#[derive(Debug)]
pub(crate) enum Payload {
    /// For one peer. The memory of packets serves in both directions.
    Own(Packet),
    /// For many: a broadcast is copied once.
    Shared(Arc<Copied>),
}

/// The bytes of a broadcast. Of all that may wait to be sent they take their part once, until the last peer's queue has
/// let go of them.
#[derive(Debug)]
pub(crate) struct Copied {
    packet: Packet,
    shared: Arc<Common>,
}

impl Copied {
    /// The caller has counted `packet` as waiting.
    pub(super) fn new(packet: Packet, shared: Arc<Common>) -> Self {
        Self { packet, shared }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.shared.sends().count_unqueued(0, self.packet.size());
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(packet) => packet.whole(),
            Self::Shared(copied) => copied.packet.whole(),
        }
    }
}

impl Weigh for Payload {
    fn weight(&self) -> usize {
        match self {
            Self::Own(packet) => packet.size(),
            Self::Shared(_) => 0,
        }
    }

    fn size(&self) -> usize {
        self.len()
    }
}
