//! The seam between the library and the system: [`Transport`] moves datagrams, a [`TransportFactory`] makes transports.
//!
//! [`UdpServer`](crate::UdpServer) and [`PacketPeerUdp`](crate::PacketPeerUdp) use the system's UDP sockets
//! ([`SystemSockets`]) unless they are given another factory, such as a host of the in-memory network in
//! [`sim`](crate::sim). A program that wants to count, delay, encrypt or record what crosses the wire wraps one
//! transport in another.
//!
//! # A custom transport
//!
//! A [`TransportFactory`] opens transports by [`bind`](TransportFactory::bind), or says by a [`RefusedOption`] which option
//! it cannot grant, and says by which [`Clock`](TransportFactory::clock) its servers and peers live. A [`Transport`] then
//! has to
//!
//! - [`receive`](Transport::receive) what waits, or report that nothing does;
//! - [`send`](Transport::send) one datagram, and [`send_batch`](Transport::send_batch) many: if it has no better means, by
//!   [`send_one_by_one`], with 1 as [`max_segments`](Transport::max_segments);
//! - [`connect`](Transport::connect) to one remote, or return [`Unsupported`](std::io::ErrorKind::Unsupported): then
//!   [`connect_to_host`](crate::PacketPeerUdp::connect_to_host) fails and no peer gets a socket of its own, but servers
//!   work;
//! - know its [`local_addr`](Transport::local_addr);
//! - [`wait`](Transport::wait) until something has arrived. **Only this may block**: everything else is called within a
//!   frame, `receive` and the sends from any thread, several at once.
//!
//! The other methods are properties of a transport, with defaults for one that does not know them: options, kernel
//! counters, buffers, the real socket.
//!
//! A remote must not be able to end a server: an error that it can cause is noise, see
//! [`receive`](Transport::receive). A wait ends when the [`Interrupt`] it is given is raised, which is what a
//! [`Waker`](crate::Waker) does.
//!
//! # The clock
//!
//! With [`Clock::system`], time passes by itself. A virtual clock stands still until the program moves it: it times polls
//! and idle peers, and nothing waits for it. A factory that wraps another returns the inner one's clock, whatever it is:
//! with another, the server's time-outs and the inner transport's delays would drift apart.
//!
//! # Wrapping
//!
//! A wrapper returns the transport it wraps from [`inner`](Transport::inner). Properties are then those of the inner
//! transport, unless the wrapper overrides them; the methods that move datagrams have to be forwarded explicitly, so that
//! none is lost because it was forgotten. This one counts what is sent and received, and changes nothing:
//!
//! ```
//! use std::io;
//! use std::net::{IpAddr, SocketAddr};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
//! use std::time::Duration;
//! use packetpeer::socket::{BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, SystemSockets};
//! use packetpeer::socket::{Transport, TransportFactory};
//! use packetpeer::{ServerConfig, UdpServer};
//!
//! #[derive(Debug, Default)]
//! struct Count { received: AtomicUsize, sent: AtomicUsize }
//!
//! #[derive(Debug)]
//! struct Counting(Arc<Count>);
//!
//! impl TransportFactory for Counting {
//!     fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
//!         Ok(Box::new(Counted { inner: SystemSockets.bind(options)?, count: Arc::clone(&self.0) }))
//!     }
//!     fn clock(&self) -> Clock {
//!         SystemSockets.clock()
//!     }
//! }
//!
//! #[derive(Debug)]
//! struct Counted { inner: Box<dyn Transport>, count: Arc<Count> }
//!
//! impl Transport for Counted {
//!     fn inner(&self) -> Option<&dyn Transport> {
//!         Some(&*self.inner)
//!     }
//!     fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
//!         let before = batch.len();
//!         let result = self.inner.receive(batch);
//!         self.count.received.fetch_add(batch.len() - before, Relaxed);
//!         result
//!     }
//!     fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
//!         self.inner.send(bytes, to, from)?;
//!         self.count.sent.fetch_add(1, Relaxed);
//!         Ok(())
//!     }
//!     fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
//!         let sent = self.inner.send_batch(batch)?;
//!         self.count.sent.fetch_add(sent, Relaxed);
//!         Ok(sent)
//!     }
//!     fn max_segments(&self) -> usize {
//!         self.inner.max_segments()
//!     }
//!     fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
//!         self.inner.connect(remote)
//!     }
//!     fn local_addr(&self) -> io::Result<SocketAddr> {
//!         self.inner.local_addr()
//!     }
//!     fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
//!         self.inner.wait(timeout, interrupt)
//!     }
//! }
//!
//! let count = Arc::new(Count::default());
//! let mut server = UdpServer::with_transport(ServerConfig::new(), Counting(Arc::clone(&count)))?;
//! server.listen("127.0.0.1:0")?;
//! server.send_to(server.local_addr().unwrap(), b"hello")?;
//! server.wait(None)?;
//! server.poll()?;
//! assert_eq!((count.sent.load(Relaxed), count.received.load(Relaxed)), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The properties of a wrapper have to fit what it does to datagrams:
//!
//! | a wrapper that | has to |
//! |---|---|
//! | adds something to each datagram | lowers [`max_payload`](Transport::max_payload) and [`path_payload`](Transport::path_payload), and receives into a [`ReceiveBatch`] of its own whose [slots](ReceiveBatch::slot_len) are longer by that |
//! | changes or judges each datagram that is sent | fills a [`SendBatch`] of its own, or leaves `send_batch` to [`send_one_by_one`], with 1 as `max_segments` |
//! | drops some of what it receives | asks the inner one again, until the batch is full or nothing more waits: a batch with room says that the socket is empty. When it has dropped as many as there was room for, it answers [`Interrupted`](std::io::ErrorKind::Interrupted) and is asked again, at most 4,096 times in a poll: or a flood of what it drops would hold the poll for ever |
//! | holds received datagrams back | answers false to [`waits_by_socket`](Transport::waits_by_socket), and wakes from `wait` when the time of one has come |
//! | speaks to other addresses than it is told | says what [`reaches`](Transport::reaches), [`this_host`](Transport::this_host) and [`is_broadcast`](Transport::is_broadcast) are for those |

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
mod socket_ref;
mod sys;
mod transport;
mod udp;

pub use crate::clock::Clock;
pub use crate::datagram::{Datagram, ReceiveBatch};
pub use bind::{BindAddr, BindOptions, RefusedOption, ToBindAddr};
pub(crate) use intake::{Left, Sink, receive_all};
pub use interrupt::Interrupt;
pub use multicast::Interface;
pub(crate) use noise::{blocked_by_missing_broadcast_flag, is_blocked, is_out_of_descriptors};
pub(crate) use ready_set::ReadySet;
pub(crate) use remote::{check_remote, meant};
pub(crate) use send::{MaxPayload, drop_reason, reason, send, send_back, send_batch, send_drop_reason};
pub(crate) use send_batch::MAX_MESSAGES;
pub use send_batch::{Message, SendBatch};
pub(crate) use shared_transport::{SharedTransport, TransportOwner};
pub use socket_ref::SocketRef;
pub use transport::{MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, Transport, TransportFactory, TransportOption, send_one_by_one};
pub use udp::SystemSockets;
