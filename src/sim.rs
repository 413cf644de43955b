//! An in-memory network in virtual time, and bad links for it and for real sockets: tests of netcode without luck.
//!
//! Servers and peers are the very [`UdpServer`](crate::UdpServer) and [`PacketPeerUdp`](crate::PacketPeerUdp) that a game
//! ships with; only their sockets come from a [`Host`] of a [`Network`]. Time stands still until
//! [`Network::advance`] moves it, and nothing blocks. Unless links are set, datagrams arrive at once and in order.
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::{Limits, PacketPeerUdp, ServerConfig, UdpServer, sim::Network};
//!
//! let network = Network::new();
//! let config = ServerConfig::new().limits(Limits::new().idle_timeout(Some(Duration::from_secs(5))));
//! let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1]));
//! server.listen(7777)?;
//! let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
//! client.connect_to_host("10.0.0.1:7777")?;
//! client.put_packet(b"hello")?;
//! server.poll()?;
//! let peer = server.take_connection().unwrap();
//!
//! network.advance(Duration::from_millis(4_999));
//! assert_eq!(server.poll()?.idle, 0);
//! network.advance(Duration::from_millis(1));
//! assert_eq!(server.poll()?.idle, 1);
//! assert_eq!(peer.close_reason(), Some(packetpeer::CloseReason::Idle));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Bad links
//!
//! A [`Link`] delays, loses, repeats, reorders and damages what crosses it, and has a rate and a queue. Between hosts of a
//! network it is set by [`Network::set_link`], also while the game runs:
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};
//! use packetpeer::sim::{Link, LinkEnd, Network};
//!
//! let network = Network::with_seed(7); // the same seed, the same fate of every datagram, on every system
//! network.set_link(LinkEnd::Any, LinkEnd::Any, Link::MOBILE_4G);
//! let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1]));
//! server.listen(7777)?;
//! let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
//! client.connect_to_host("10.0.0.1:7777")?;
//!
//! let mut seen = 0;
//! for _second in 0..10 {
//!     for _frame in 0..60 {
//!         client.put_packet(b"my input")?;
//!         network.advance(Duration::from_secs(1) / 60);
//!         seen += server.poll()?.received;
//!     }
//! }
//! assert!((500..600).contains(&seen), "some were lost, and some are under way");
//!
//! let stats = network.link_stats([10, 0, 0, 2], [10, 0, 0, 1]);
//! assert_eq!(stats.offered, 600);
//! assert_eq!(stats.passed + stats.duplicated, (seen + network.in_flight()) as u64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Between real programs, [`Conditioned`] puts the same link around the sockets of any other
//! [`TransportFactory`](crate::socket::TransportFactory). It is ordinary public code, there in release builds too, so that a
//! game can offer it to its testers; the example `bad_network` puts it between any client and any server.

mod buffers;
mod conditioned;
mod fast_hash;
mod lane;
mod link;
mod network;
mod random;
mod schedule;

pub use conditioned::{Conditioned, LinkControl};
pub use link::{BurstLoss, Link, LinkStats};
pub use network::{Host, LinkEnd, Network};
