//! The handles: [`PacketPeerUdp`], which is a server's peer or a stand-alone socket, and waiting.

mod inbox;
mod resolve;
mod served;
mod source;
mod standalone;
mod udp;
mod udp_as_peer;
mod udp_multicast;
mod udp_stand_alone;
mod waker;

pub use served::Switch;
pub use udp::PacketPeerUdp;
pub(crate) use waker::SocketWait;
pub use waker::{WaitOutcome, Waker};
