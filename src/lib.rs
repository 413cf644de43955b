//! placeholder
#![allow(missing_docs)]
mod demux;
pub mod error;
mod lifetime;
mod packet;
mod peer;
mod peer_id;
mod server;
pub mod sim;
pub mod socket;
pub mod stats;

pub use demux::{Limits, QueueLimits, WhenFull};
pub use error::{
    BindError, ConnectError, GetError, GetIntoError, InvalidAddress, OptionError, PollError, PutError, UnknownPeer,
    WaitError,
};
pub use lifetime::{CloseReason, PeerState};
pub use packet::Packet;
pub use peer::{PacketPeer, PacketPeerUdp, WaitOutcome, Waker};
pub use peer_id::PeerId;
pub use server::{ServerConfig, SocketOptions, UdpServer};
pub use socket::{Interface, ToBindAddr};
pub use stats::{PeerStats, PollReport, ReceiveDrops, SendDrops, ServerStats};
