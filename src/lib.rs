//! A Godot-style, polled UDP library for games.
//!
//! A non-blocking [`UdpServer`] sorts datagrams by sender into [`PacketPeerUdp`] handles, with a capped queue of
//! pending connections; a client is a [`PacketPeerUdp`] with a socket of its own. Everything advances in one explicit
//! `poll()` that the game calls once per frame. There is no thread, no async runtime and no wire format in it.
//!
//! # A server
//!
//! ```
//! use packetpeer::{PacketPeerUdp, UdpServer};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut server = UdpServer::new();
//!     server.listen(0)?; // on every address, IPv6 and IPv4; 0 = a port that the system chooses
//!     println!("listening on {}", server.local_addr().unwrap());
//!     let mut players: Vec<PacketPeerUdp> = Vec::new();
//!     loop {
//!         server.poll()?;
//!         while let Some(player) = server.take_connection() {
//!             println!("{} joined as {}", player.remote_addr().unwrap(), player.id());
//!             players.push(player);
//!         }
//!         players.retain_mut(|player| {
//!             while let Ok(Some(packet)) = player.get_packet() {
//!                 let _ = player.put_packet(&packet); // the game goes here
//!             }
//!             player.close_reason().is_none() // gone quiet for the idle timeout?
//!         });
//!         std::thread::sleep(std::time::Duration::from_millis(16)); // the rest of the frame
//! #       break Ok(()); // the documentation's tests end after one frame
//!     }
//! }
//! ```
//!
//! # A client
//!
//! ```
//! use packetpeer::PacketPeerUdp;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut peer = PacketPeerUdp::new();
//!     peer.connect_to_host(("localhost", 4433))?; // looks the name up; blocks for that
//!     loop {
//!         peer.poll()?;
//!         while let Some(packet) = peer.get_packet()? {
//!             println!("{} bytes from {}", packet.len(), packet.sender());
//!         }
//!         if let Err(error) = peer.put_packet(b"my input") {
//!             println!("not sent: {error}"); // for instance because nobody listens there (yet)
//!         }
//!         std::thread::sleep(std::time::Duration::from_millis(16)); // the rest of the frame
//! #       break Ok(());
//!     }
//! }
//! ```
//!
//! # The rule of the frame loop
//!
//! Each frame: [`poll`](UdpServer::poll) → [`take_connection`](UdpServer::take_connection) until `None` →
//! [`get_packet`](PacketPeerUdp::get_packet) from each peer until `Ok(None)` → step the game →
//! [`put_packet`](PacketPeerUdp::put_packet).
//!
//! - Only `poll` receives. Getters do no input or output, so nothing changes under the game's hands within a frame.
//! - Take *all* packets each frame. One packet per frame falls behind a client that sends faster than the game draws.
//! - `put_packet` sends at once. Poll more often than you draw where a round trip must not take a frame; each packet
//!   tells [when it was received](Packet::received_at).
//! - With thousands of peers, ask [`UdpServer::ready`] which have packets waiting, instead of asking each.
//!
//! # The life of a peer
//!
//! | stage | begins with | what works |
//! |---|---|---|
//! | pending | the first datagram of an unknown address | packets are kept; forgotten after [`Limits::pending_lifetime`] |
//! | peer | [`UdpServer::take_connection`] | everything |
//! | ended | [`close`](PacketPeerUdp::close), the drop of the handle, [`UdpServer::close`], [`UdpServer::stop`], silence for [`Limits::idle_timeout`] | what was received can still be taken, then [`GetError::Ended`](error::GetError::Ended) says why; puts are errors |
//!
//! The handle is the connection: as long as it lives the address is known, and when it is dropped the peer has ended.
//! UDP has no goodbye: the other side is not told, unless your protocol tells it before. The address is forgotten at
//! the next poll, and its next datagram makes a new connection.
//!
//! # Addresses
//!
//! A bare port opens one IPv6 socket that serves IPv4 too (dual stack), or an IPv4 socket where the system has no IPv6.
//! Senders are told apart by one form of their address, the one you see everywhere: IPv4 is IPv4, also where the socket
//! reports it mapped into IPv6; the IPv6 flow label is left out; the scope of a link-local address stays, so that it can
//! be answered. As a destination, an unspecified address means this host, on every system: a client on the same host
//! connects to the [`local_addr`](UdpServer::local_addr) of a server on a bare port. A port is exclusive: a second server
//! on it gets [`BindError::AddressInUse`](error::BindError::AddressInUse), on every system. Members of a multicast group on
//! one host share theirs, by [`PacketPeerUdp::bind_shared`].
//!
//! # How large a packet may be
//!
//! A datagram carries up to 65,507 bytes over IPv4 and 65,527 over IPv6, and the crate takes all of them; one byte more
//! is [`PutError::TooLarge`](error::PutError::TooLarge). A datagram larger than some 1,200 bytes travels in fragments on
//! many paths, is lost if one of them is, and does not pass every router. An empty datagram is a datagram: it is sent, received, and makes a
//! connection.
//!
//! # What is dropped, and where it is counted
//!
//! Nothing here grows without bound, and nothing is lost in silence. Each datagram that nobody gets is counted under
//! one reason in [`ServerStats::drops`](stats::ServerStats::drops) and, where there is a peer, in
//! [`PeerStats::drops`](stats::PeerStats::drops); see [`ReceiveDrops`](stats::ReceiveDrops) for the reasons and [`Limits`]
//! for what sets them. [`ServerStats::send_drops`](stats::ServerStats::send_drops) counts what was not sent. Two equations
//! hold, for a server and for each peer, whenever no other thread is inside a call: *received = delivered + queued +
//! consumed + Σ drops*, and *put = sent + waiting + Σ send drops*. What the kernel drops because its own buffer is full
//! between two polls was never received, and is in neither; Linux tells how many these were
//! ([`ServerStats::kernel_drops`](stats::ServerStats::kernel_drops)). Poll often enough for
//! [`UdpServer::receive_buffer_size`], and read that after `listen`. A limit that is reached is also logged, by one line per
//! kind and minute at most (`log::warn!`), for each server and each stand-alone peer; the server's next poll logs what
//! handles could not put.
//!
//! ICMP answers to something sent earlier, resets, interrupted calls: counted as
//! [noise](stats::ServerStats#structfield.noise), and the poll goes on to the next datagram.
//!
//! # Strangers
//!
//! A datagram from an unknown address makes a pending connection, as far as [`Limits`] allow: 16 at a time, 8 of them
//! from one IP address, and 256 peers per address; this machine's own addresses are exempt. A
//! [filter](UdpServer::set_filter) sees such datagrams before anything is remembered of their senders: it can answer
//! one-shot questions, or demand proof of the address first, as the example `cookie_server` does, so that spoofed senders
//! cost neither memory nor a place in the queue. [`UdpServer::connect`] is the other way round: the server speaks first.
//!
//! # Which identity?
//!
//! How a server recognises a sender is configurable, by [`ServerConfig::identity`]; a socket of its own is given to
//! single peers, by [`UdpServer::dedicate_socket`]. The times are processor time per datagram of 200 bytes over loopback,
//! at 1,000 peers that all speak in a frame, on 2 virtual cores; trust the ratios.
//!
//! | | [address](identity::Identity::Address) | [connection id](identity::Identity::ConnectionId) | [socket of its own](identity::Switch) |
//! |---|---|---|---|
//! | known by | IP address and port | 64 bits in each datagram, read by your function | address and port, sorted by the kernel |
//! | to receive a datagram | 0.75 µs | 0.75 µs, and 8 bytes more on the wire | 1.6 µs; 8 µs where 1 of 100 speaks |
//! | a poll that finds nothing | 0.7 µs | 0.7 µs | 62 µs for 1,000 such sockets |
//! | to be known | 440 bytes | the same; some 400 more once it has moved | a descriptor, a port, 3 KB in the kernel, a receive buffer |
//! | client behind a NAT | works | works | [`WithClient`](identity::Switch::WithClient): where the NAT keeps one port for all destinations; [`AtOnce`](identity::Switch::AtOnce): where it lets answers in from any port, which most do not |
//! | the NAT gives it another port | a new connection; the old one ends by its idle timeout | the same connection, reported by [`UdpServer::take_moved`]; the new address gets three times what came from it until the game [confirms](UdpServer::confirm_move) it | not heard on its own port any more; a new connection at the shared one |
//! | firewall of the server | one port | one port | `AtOnce`: one port and answers; `WithClient`: all ports that the system may choose |
//! | who forges the address | is that peer | is nobody without the id; with one of their own, turns three times what they send on whom they like | is that peer; with `AtOnce` also chooses the client's port; and uses up sockets where they are given to all |
//! | who guesses or overhears the id | – | is that peer, and moves it, unless [a proof is asked for](identity::OnMove::ask) | – |
//! | choose it for | the default: LAN, short sessions, clients in Godot | phones, long sessions, whatever crosses NATs | few peers that must not share a buffer with the others: a server's servers, spectators' relays |
//!
//! A client that changes networks has to connect again, whatever the server goes by: its socket stays at the address from
//! which it was connected, where answers no longer come. Have a rule such as "nothing heard for two seconds: call
//! [`connect_to_host`](PacketPeerUdp::connect_to_host) again", which says more. With connection ids the server then goes on
//! with the same connection; by address it is a new one.
//!
//! An id is all that tells its client from others: draw it from the system's source of randomness and do not log it, as
//! in the example `connection_id_client`. It is not encryption. Sockets of their own buy isolation, not speed.
//!
//! # When to send
//!
//! [`put_packet`](PacketPeerUdp::put_packet) sends at once. [`SendMode`] has two more: what the system will not
//! take waits, or everything waits for [`UdpServer::flush`] at the end of the frame, which costs less where several
//! packets go to one peer. [`UdpServer::wait`] sends first what waits. [`UdpServer::broadcast`] sends to all.
//!
//! # Threads
//!
//! Everything public is `Send + Sync`. The server polls on one thread, its peers may be on others: each handle and the
//! server share one mailbox, locked for the move of one packet, or by a flush for the move of all that waits for that
//! peer, and never across a call of the system. Slow work on one player then delays neither the poll nor the others; the
//! example `worker_pool` shows it. [`PacketPeerUdp::wait`] sleeps until the server's poll has something for that peer,
//! and [`UdpServer::wait`] until a socket of the server's has. If one thread cannot keep up, run several servers on one
//! port: [`SocketOptions::share_port`].
//!
//! # Errors and panics
//!
//! [`error`] has one small enum per kind of operation, and a table from Godot's codes. Whatever a remote sends, nothing
//! panics, nothing is allocated without bound and nothing is logged per packet. A function of yours that panics, such as a
//! filter, ends that `poll` and loses the rest of its batch, counted as
//! [`panicked`](stats::ReceiveDrops#structfield.panicked).
//!
//! # Testing netcode in virtual time
//!
//! [`sim`] is a network in memory with a clock that you move: the same server and peers, without sockets and sleeps, so
//! that minutes of a game over a bad network are a unit test with the same outcome each time. Step all sides, move the
//! clock by a frame, assert; a [`sim::Link`] loses, delays and reorders from a seed.
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::sim::{Link, LinkEnd, Network};
//! use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};
//!
//! fn a_minute_of_inputs_arrives() -> Result<(), Box<dyn std::error::Error>> {
//!     let network = Network::with_seed(1);
//!     network.set_link(LinkEnd::Any, LinkEnd::Any, Link::MOBILE_4G);
//!     let mut server = UdpServer::with_transport(ServerConfig::new(), network.host([10, 0, 0, 1]))?;
//!     server.listen(7777)?;
//!     let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
//!     client.connect_to_host("10.0.0.1:7777")?;
//!
//!     let (mut player, mut inputs) = (None, 0);
//!     for _frame in 0..60 * 60 {
//!         client.put_packet(b"my input")?; // your client's frame
//!         network.advance(Duration::from_secs(1) / 60);
//!         server.poll()?; // your server's frame
//!         player = player.or_else(|| server.take_connection());
//!         while let Some(_input) = player.as_mut().map_or(Ok(None), |player| player.get_packet())? {
//!             inputs += 1;
//!         }
//!     }
//!     assert!((3_500..3_600).contains(&inputs), "{inputs} of 3,600 arrived");
//!     Ok(())
//! }
//! # a_minute_of_inputs_arrives().unwrap();
//! ```
//!
//! The documentation of [`sim`] goes on with a game-like test, and with what was measured of links.
//! [`sim::Conditioned`] puts the same links around real sockets.
//!
//! # What it is not
//!
//! - Not a protocol: no reliability, no ordering, no fragmentation, no handshake. ENet-, renet- or home-made protocols
//!   go on top, through [`PacketPeer`].
//! - Not encryption: any host that can send from an address *is* that address. Put DTLS or another layer above.
//! - Not TCP, not WebSocket, not QUIC; and not async: a runtime's own sockets serve it better.
//!
//! # Coming from Godot
//!
//! | Godot | here | difference |
//! |---|---|---|
//! | `UDPServer.new()` | [`UdpServer::new`] | |
//! | `listen(port, bind_address)` | [`UdpServer::listen`] | `listen(4433)`, `listen("127.0.0.1:4433")`; the port is exclusive |
//! | `poll()` | [`UdpServer::poll`] | takes at most a budget; returns counts; a stray error does not end it |
//! | `is_connection_available()` | [`UdpServer::is_connection_available`] | |
//! | `take_connection()` | [`UdpServer::take_connection`] | `None` instead of null |
//! | `is_listening()` | [`UdpServer::is_listening`] | |
//! | `get_local_port()` | [`UdpServer::local_port`] | `None` when closed |
//! | `stop()` | [`UdpServer::stop`] | peers keep what they had received, and say why they ended |
//! | `max_pending_connections` | [`UdpServer::max_pending_connections`], [`set_max_pending_connections`](UdpServer::set_max_pending_connections) | raising keeps all, lowering drops the newest (Godot has it the other way round) |
//! | `PacketPeerUDP.new()` | [`PacketPeerUdp::new`] | |
//! | `bind(port, address, recv_buf_size)` | [`PacketPeerUdp::bind`], [`set_queue_limits`](PacketPeerUdp::set_queue_limits) | |
//! | `connect_to_host(host, port)` | [`PacketPeerUdp::connect_to_host`] | `("localhost", 4433)` works, and blocks for the look-up |
//! | `set_dest_address(host, port)` | [`PacketPeerUdp::set_dest_address`] | an error on a connected or server's peer |
//! | `is_bound()` | [`PacketPeerUdp::is_bound`] | |
//! | `is_socket_connected()` | [`PacketPeerUdp::is_socket_connected`] | |
//! | `get_available_packet_count()` | [`PacketPeerUdp::available_packet_count`] | does no input; never -1 |
//! | `get_packet()` | [`PacketPeerUdp::get_packet`] | does no input; `Ok(None)` = nothing now |
//! | `get_packet_error()` | the `Err` of [`get_packet`](PacketPeerUdp::get_packet) | |
//! | `get_packet_ip()`, `get_packet_port()` | [`PacketPeerUdp::packet_addr`], [`Packet::sender`] | |
//! | `put_packet(bytes)` | [`PacketPeerUdp::put_packet`] | says why not; sends empty packets; never spins |
//! | `get_max_packet_size()` | [`PacketPeerUdp::max_packet_size`] | what UDP really carries |
//! | `close()` | [`PacketPeerUdp::close`] | |
//! | `wait()` | [`PacketPeerUdp::wait`] | has a time-out, and a [`Waker`] ends it |
//! | `get_local_port()` | [`PacketPeerUdp::local_addr`] | |
//! | `set_broadcast_enabled(on)` | [`PacketPeerUdp::set_broadcast_enabled`] | holds for sockets opened later too; a broadcast address is for [`set_dest_address`](PacketPeerUdp::set_dest_address), since nobody answers from there |
//! | `join_multicast_group(address, interface)` | [`PacketPeerUdp::join_multicast_group`] | [`Interface::by_name`](socket::Interface::by_name) for the name; bind first, [shared](PacketPeerUdp::bind_shared) for several members on one host |
//! | `leave_multicast_group(address, interface)` | [`PacketPeerUdp::leave_multicast_group`] | |
//! | `get_var()`, `put_var()`, `encode_buffer_max_size` | – | bytes only: decoding what strangers send is the game's choice |
//! | – | [`PacketPeerUdp::poll`] | Godot's getters poll behind your back |
//! | – | [`ready`](UdpServer::ready), [`take_ended`](UdpServer::take_ended), [`peers`](UdpServer::peers), [`find`](UdpServer::find), [`close`](UdpServer::close) | who has something to say, who left, who is there |
//! | – | [`connect`](UdpServer::connect), [`send_to`](UdpServer::send_to), [`broadcast`](UdpServer::broadcast) | the server speaks first |
//!
//! The differences that are meant, and which trap each removes:
//!
//! - A client's socket is read by [`PacketPeerUdp::poll`] only. In Godot counting or taking packets reads it, and an
//!   error of the socket hides what is queued.
//! - Counts are counts, errors are typed: no -1, no `FAILED` for everything.
//! - Dropping a handle ends the connection, as in Godot, where it surprises; here
//!   [`take_connection`](UdpServer::take_connection) is `#[must_use]`, and keeping the handle keeps the player.
//! - After `close` or `stop`, puts are errors. Godot opens a new socket and sends from another port.
//! - `close` and `connect_to_host` leave no packets of the past behind, whole or phantom.
//! - Silent players end after [`Limits::idle_timeout`], 30 seconds, and connections nobody takes after
//!   [`Limits::pending_lifetime`], 10 seconds. `None` gives Godot's way: never.
//! - A poll takes at most a budget of datagrams, so that a flood does not stop the frame.
//! - A second server on the same port is an error. In Godot on Linux it takes the first one's traffic.
//! - A peer's queue holds 512 packets or 256 KiB, and takes memory only for what waits. Godot's ring is 64 KiB, and 192
//!   KiB are taken at once.
//! - Finding the sender's peer is a hash look-up. In Godot it walks a list.
//!
//! # Modules
//!
//! Each uses only those below it in this table; `CONTRIBUTING.md` in the repository has the whole order.
//!
//! | module | what is in it |
//! |---|---|
//! | `server` | [`UdpServer`], [`ServerConfig`] |
//! | `peer` | [`PacketPeerUdp`], [`Waker`] |
//! | [`sim`] | the in-memory network, and bad links for it and for real sockets, behind the same seam |
//! | `notices` | the lines that the crate logs about limits: one per kind and minute |
//! | `demux` | the core: who is a peer, who is pending, what waits where; [`Limits`], [`limits`], [`identity`] |
//! | [`socket`] | the seam to the system: [`Transport`](socket::Transport), and the real sockets |
//! | `peers` | [`Peers`]: the handles of a server, in one container |
//! | `packet_peer`, `packet_server` | the traits [`PacketPeer`] and [`PacketServer`], which other transports and layers implement too |
//! | `packet` | [`Packet`], and [`PacketPool`], where its memory comes from and goes back to |
//! | [`stats`], [`error`] | counters and reports; errors, and the table from Godot's codes |
//!
//! # Crates beside this one
//!
//! Another transport, a cipher or an engine's plug-in needs nothing but this public API. Every peer is a [`PacketPeer`],
//! every server a [`PacketServer`], and [`Peers`] holds a server's handles. [`PacketPool`] makes packets,
//! [`identity::PeerIds`] issues peer ids, a [`Clock`](socket::Clock) gives all of them one time, and [`sim`] lends its virtual
//! time. The repository's `tests/companion` builds a stream server and a cipher from these.

/// The README's snippets, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod address;
mod clock;
mod counters;
mod datagram;
mod demux;
pub mod error;
mod notices;
mod packet;
mod packet_peer;
mod packet_server;
mod peer;
mod peer_id;
mod peer_state;
mod peers;
mod prefix;
mod server;
mod setters;
pub mod sim;
pub mod socket;
pub mod stats;
mod sync;

pub use demux::{FirstDatagram, Limits, SendMode, Verdict};
pub use packet::{Packet, PacketPool};
pub use packet_peer::PacketPeer;
pub use packet_server::PacketServer;
pub use peer::{PacketPeerUdp, WaitOutcome, Waker};
pub use peer_id::PeerId;
pub use peer_state::{CloseReason, PeerState};
pub use peers::Peers;
pub use server::{ServerConfig, SocketOptions, UdpServer};

/// How a server recognises a sender, and what it does when one moves: [`ServerConfig::identity`].
///
/// Start with [`Identity`](identity::Identity).
pub mod identity {
    pub use crate::demux::{ConnectionId, ConnectionIds, Identity, MoveAttempt, MoveVerdict, Moved, OnMove, WithoutId};
    pub use crate::peer::Switch;
    pub use crate::peer_id::PeerIds;
}

/// The types of [`Limits`] that are not plain numbers.
pub mod limits {
    pub use crate::demux::{AfterClose, QueueLimits, WhenFull};
    pub use crate::prefix::IpPrefix;
}
