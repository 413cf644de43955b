//! The seam between the library and the system: [`Transport`] moves datagrams, a [`TransportFactory`] makes transports.
//!
//! [`UdpServer`](crate::UdpServer) and [`PacketPeerUdp`](crate::PacketPeerUdp) use the system's UDP sockets
//! ([`SystemSockets`]) unless they are given another factory, such as a host of the in-memory network in
//! [`sim`](crate::sim). A program that wants to count, delay, encrypt or record what crosses the wire wraps one
//! transport in another.

mod bind;
mod intake;
mod interrupt;
mod multicast;
mod noise;
mod ready_set;
mod remote;
mod send;
mod send_batch;
mod shared_transport;
mod sys;
mod transport;
mod udp;

pub use crate::clock::Clock;
pub use crate::datagram::{Datagram, ReceiveBatch};
pub use bind::{BindAddr, BindOptions, ToBindAddr};
pub(crate) use intake::{Left, Sink, receive_all};
pub use interrupt::Interrupt;
pub use multicast::Interface;
pub(crate) use noise::{blocked_by_missing_broadcast_flag, is_blocked, is_out_of_descriptors};
pub(crate) use ready_set::ReadySet;
pub(crate) use remote::{check_remote, meant};
pub(crate) use send::{check_size, drop_reason, max_payload, reason, send, send_back, send_drop_reason};
pub(crate) use send_batch::MAX_MESSAGES;
pub use send_batch::{Message, SendBatch};
pub(crate) use shared_transport::{SharedTransport, TransportOwner};
pub use transport::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Transport, TransportFactory, TransportOption};
pub use udp::{SocketRef, SystemSockets};
