use std::fmt::Debug;
use std::ops::Deref;
use std::sync::Arc;

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
    counted_by: Arc<dyn CountCopies>,
}

/// What has counted the bytes of a copy as waiting.
pub(super) trait CountCopies: Debug + Send + Sync {
    /// So many of them wait no more.
    fn count_copy_gone(&self, bytes: usize);
}

impl Copied {
    pub(super) fn new(packet: Packet, counted_by: Arc<dyn CountCopies>) -> Self {
        Self { packet, counted_by }
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        self.counted_by.count_copy_gone(self.packet.size());
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
