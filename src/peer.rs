//! The handles: [`PacketPeerUdp`], which is a server's peer or a socket of its own, and what one waits by.

mod served;
mod standalone;
mod udp;
mod waker;

pub use served::Switch;
pub use udp::PacketPeerUdp;
pub(crate) use waker::SocketWait;
pub use waker::{WaitOutcome, Waker};
