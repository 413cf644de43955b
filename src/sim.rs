//! An in-memory network in virtual time, and bad links for it and for real sockets: tests of netcode without luck.
//!
//! Servers and peers are the very [`UdpServer`](crate::UdpServer) and [`PacketPeerUdp`](crate::PacketPeerUdp) that a
//! game ships with; only their sockets come from a [`Host`] of a [`Network`]. Time stands still until
//! [`Network::advance`] moves it, and nothing blocks. Unless links are set, datagrams arrive at once and in order.
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::sim::Network;
//! use packetpeer::{Limits, PacketPeerUdp, ServerConfig, UdpServer};
//!
//! let network = Network::new();
//! let config = ServerConfig::new().limits(Limits::new().idle_timeout(Some(Duration::from_secs(5))));
//! let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1]))?;
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
//! A [`Link`] delays, loses, repeats, reorders and damages what crosses it, and has a rate and a queue. Between hosts
//! of a network it is set by [`Network::set_link`], also while the game runs:
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};
//! use packetpeer::sim::{Link, LinkEnd, Network};
//!
//! let network = Network::with_seed(7); // the same seed, the same fate of every datagram, on every system
//! network.set_link(LinkEnd::Any, LinkEnd::Any, Link::MOBILE_4G);
//! let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1]))?;
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
//! # Testing netcode in virtual time
//!
//! A game whose protocol is a function of packets and time can be played through in a unit test, minutes of it in a
//! moment, over any link and with the same outcome each time. What such a test looks like: step all sides frame by
//! frame, move the clock in between, and assert what players care about, such as that nothing is lost for good and how
//! late it comes.
//!
//! Here a client walks, and repeats each step until the server has acknowledged it, since the link loses some:
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};
//! use packetpeer::sim::{Link, LinkEnd, Network};
//!
//! /// A client that has walked `steps` steps, of which the server has seen `acknowledged`.
//! struct Client { peer: PacketPeerUdp, steps: u32, acknowledged: u32 }
//!
//! impl Client {
//!     fn frame(&mut self, walks: bool) -> Result<(), Box<dyn std::error::Error>> {
//!         self.peer.poll()?;
//!         while let Some(packet) = self.peer.get_packet()? {
//!             let acknowledged = u32::from_le_bytes((*packet).try_into()?);
//!             self.acknowledged = self.acknowledged.max(acknowledged); // older answers may overtake newer ones
//!         }
//!         self.steps += u32::from(walks);
//!         if self.acknowledged < self.steps {
//!             self.peer.put_packet(&self.steps.to_le_bytes())?; // all steps up to this one
//!         }
//!         Ok(())
//!     }
//! }
//!
//! /// Answers how far the player has come.
//! fn server_frame(
//!     server: &mut UdpServer,
//!     player: &mut Option<PacketPeerUdp>,
//!     position: &mut u32,
//! ) -> Result<(), Box<dyn std::error::Error>> {
//!     server.poll()?;
//!     if let Some(new) = server.take_connection() {
//!         *player = Some(new);
//!     }
//!     let Some(player) = player else { return Ok(()) };
//!     while let Some(packet) = player.get_packet()? {
//!         *position = (*position).max(u32::from_le_bytes((*packet).try_into()?));
//!     }
//!     player.put_packet(&position.to_le_bytes())?;
//!     Ok(())
//! }
//!
//! const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);
//!
//! for (name, link) in Link::PRESETS {
//!     let network = Network::with_seed(1);
//!     network.set_link(LinkEnd::Any, LinkEnd::Any, link.clone());
//!     let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1]))?;
//!     server.listen(7777)?;
//!     let mut peer = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
//!     peer.connect_to_host("10.0.0.1:7777")?;
//!     let mut client = Client { peer, steps: 0, acknowledged: 0 };
//!     let (mut player, mut position, mut most_behind) = (None, 0, 0);
//!
//!     for frame in 0..60 * 60 {
//!         client.frame(frame < 59 * 60)?; // a minute, and a second to come to rest
//!         network.advance(FRAME);
//!         server_frame(&mut server, &mut player, &mut position)?;
//!         most_behind = most_behind.max(client.steps - position);
//!         if frame == 30 * 60 {
//!             let tunnel = link.clone().black_out(true);
//!             network.set_link([10, 0, 0, 2], LinkEnd::Any, tunnel);
//!         } else if frame == 32 * 60 {
//!             network.set_link([10, 0, 0, 2], LinkEnd::Any, link.clone());
//!         }
//!     }
//!     println!("{name}: at most {most_behind} frames behind");
//!     assert_eq!((position, client.acknowledged), (59 * 60, 59 * 60), "nothing is lost for good");
//!     assert!((120..160).contains(&most_behind), "{name}: two seconds of tunnel, and {most_behind} frames in all");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! In the repository `tests/match.rs` does this with 64 players that come, vanish and return, for ten minutes over
//! [`Link::MOBILE_4G`]. At 30 inputs and 20 world states a second these are 1.8 million datagrams, and take 0.7 s of
//! processor time in a release build and 1.0 s as `cargo test` builds; at 60 of each, 4.3 million take 1.6 s and 2.1 s
//! (2 virtual cores, with other work on the machine).
//!
//! # What links do, measured
//!
//! Over a million datagrams each, as `cargo test --release --test link -- --nocapture | grep -o '| .*' | sort` prints
//! it. The test fails where a share is more than three standard deviations off, by the theory of its own model, or a
//! time or a rate is not exact.
//!
//! | | configured | measured | off |
//! |---|--:|--:|--:|
//! | loss, 100 ppm | 0.000100 | 0.000098 | -0.20 σ |
//! | loss, 10000 ppm | 0.010000 | 0.010035 | +0.35 σ |
//! | loss, 50000 ppm | 0.050000 | 0.050182 | +0.84 σ |
//! | loss, 500000 ppm | 0.500000 | 0.499619 | -0.76 σ |
//! | loss by Gilbert and Elliott | 0.055455 | 0.055328 | -0.12 σ |
//! | bursts: how many | 4761.904762 | 4795 | +0.50 σ |
//! | bursts: mean length, datagrams | 10.000000 | 10.057560 | +0.42 σ |
//! | bursts: share of those of one | 0.100000 | 0.101981 | +0.46 σ |
//! | duplication | 0.020000 | 0.020156 | +1.11 σ |
//! | reordering | 0.030000 | 0.030006 | +0.04 σ |
//! | corruption | 0.040000 | 0.039939 | -0.31 σ |
//! | corruption: chi² of which bit is flipped | 63.000000 | 78.431383 | +1.37 σ |
//! | latency of each, ms | 12.345678 | 12.345678 | exact |
//! | jitter of ±10 ms: least latency, ms | 20.000000 | 20.000034 | in range |
//! | jitter of ±10 ms: most latency, ms | 40.000000 | 39.999982 | in range |
//! | jitter of ±10 ms: mean latency, ms | 30.000000 | 30.001029 | +0.18 σ |
//! | jitter of ±10 ms: variance, ms² | 33.333333 | 33.313583 | -0.66 σ |
//! | rate over an hour, bytes a second | 60000 | 59999.999 | -0.001 |
//!
//! Over real sockets, behind a [`Conditioned`], each datagram has the time that its seed gives it in virtual time, and
//! goes on with the first poll after that and none before: a test asserts so for each, whatever else the machine does.
//! Polled all the time, half of them are late by some 0.02 ms, or 1 ms while others want the processors, as
//! `cargo test --release --test conditioned -- --nocapture | grep '|'` prints it.
//!
//! # Other transports in the same time
//!
//! A stream, a relay or anything else that a game uses beside its datagrams can run on the same network: a [`Network`]
//! lends its [`clock`](Network::clock), gives the current [`link`](Network::link) between two addresses, and derives a
//! [`seed`](Network::seed) for each purpose. An [`InFlight`] queue then treats what is sent as the network treats its
//! datagrams.
//!
//! Nothing has to be notified when the clock moves: such a transport is polled like everything else, reads the clock (or
//! the `now` it is given), and takes what is [due](InFlight::due). Where the time of answers matters, step to whichever
//! comes first, the network's [`next_arrival`](Network::next_arrival) or the queue's [`next_due`](InFlight::next_due).
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::sim::{InFlight, Link, LinkEnd, Network};
//!
//! let network = Network::with_seed(7);
//! network.set_link(LinkEnd::Any, LinkEnd::Any, Link::new().latency(Duration::from_millis(30)));
//! let (clock, start) = (network.clock(), network.now());
//! let mut way = InFlight::new(network.seed("chat 10.0.0.2 > 10.0.0.1"));
//!
//! way.send("hello", 5, &network.link([10, 0, 0, 2], [10, 0, 0, 1]), clock.now());
//! network.advance(way.next_due().unwrap() - clock.now());
//! assert_eq!(way.due(clock.now()).unwrap().item, "hello");
//! assert_eq!(clock.now() - start, Duration::from_millis(30));
//! ```
//!
//! The repository's `tests/lent.rs` has a small reliable stream beside a UDP server and client.
//!
//! # Real sockets
//!
//! Between real programs, [`Conditioned`] puts the same link around the sockets of any other
//! [`TransportFactory`](crate::socket::TransportFactory). It is ordinary public code, available in release builds too, so
//! that a game can offer it to its testers; the tool `bad_network` in the repository's `crates/lab` puts such a link
//! between any client and any server.

mod buffers;
mod conditioned;
mod conditioned_transport;
mod endpoints;
mod fast_hash;
mod holding_link;
mod host;
mod host_transport;
mod in_flight;
mod link;
mod link_control;
mod link_end;
mod link_state;
mod network;
mod network_state;
mod place;
mod random;
mod schedule;

pub use conditioned::Conditioned;
pub use host::Host;
pub use in_flight::{Arrival, Fate, InFlight};
pub use link::{BurstLoss, Link, LinkStats};
pub use link_control::LinkControl;
pub use link_end::LinkEnd;
pub use network::Network;
