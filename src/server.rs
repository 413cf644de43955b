//! [`UdpServer`]: one socket, sorted into a handle a peer.

mod config;
mod dedicated;
mod notices;
mod outgoing;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use config::{ServerConfig, SocketOptions};

use crate::demux::{
    ConnectionId, Demux, Filter, FirstDatagram, Limits, Moved, NotConnected, Sorted, Verdict, canonical,
};
use crate::error::{BindError, ConfigError, ConnectError, DedicateError, PollError, PutError, UnknownPeer, WaitError};
use crate::lifetime::CloseReason;
use crate::peer::{PacketPeerUdp, SocketWait, Switch, WaitOutcome, Waker, send};
use crate::peer_id::PeerId;
use crate::socket::{
    Drained, MAX_PAYLOAD_V4, ReceiveBatch, SharedTransport, Sink, SocketRef, SystemSockets, ToBindAddr, Transport,
    TransportFactory, TransportOwner, drain,
};
use crate::stats::{FlushReport, PollReport, ServerStats, TableSizes};
use dedicated::DedicatedSockets;
use notices::Notices;
use outgoing::Outgoing;

/// Datagrams that one call of the system takes.
const BATCH: usize = 64;

/// Listens on one UDP port and sorts what comes by sender, into a [`PacketPeerUdp`] each.
///
/// Godot's `UDPServer`. Everything advances in [`poll`](Self::poll): call it once a frame, then take new connections,
/// then read from the peers. Nothing happens between polls, on no thread.
///
/// A datagram from an unknown address makes a *pending connection*; the next
/// [`take_connection`](Self::take_connection) makes a peer of it, and hands out a handle that has the datagram already.
/// What may be pending, known and waiting is bounded by [`Limits`]; what is dropped is counted in
/// [`stats`](Self::stats).
///
/// ```
/// use packetpeer::{PacketPeerUdp, UdpServer};
///
/// let mut server = UdpServer::new();
/// server.listen("127.0.0.1:0")?;
/// let mut client = PacketPeerUdp::new();
/// client.connect_to_host(server.local_addr().unwrap())?;
/// client.put_packet(b"hello")?;
///
/// # server.wait(None)?;
/// server.poll()?;
/// let mut peer = server.take_connection().expect("the hello makes a connection");
/// assert_eq!(peer.remote_addr(), client.local_addr());
/// assert_eq!(&*peer.get_packet()?.unwrap(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[doc(alias = "UDPServer")]
pub struct UdpServer {
    config: SocketOptions,
    factory: Arc<dyn TransportFactory>,
    demux: Demux,
    listening: Option<Listening>,
    wait: SocketWait,
    outgoing: Outgoing,
    dedicated: DedicatedSockets,
    notices: Notices,
    /// Of the sockets listened on before the present one.
    kernel_drops: Option<u64>,
}

#[derive(Debug)]
struct Listening {
    transport: TransportOwner,
    batch: ReceiveBatch,
    /// The transport's time at the last poll, or at `listen`.
    polled_at: Instant,
}

impl Listening {
    fn now(&self) -> Instant {
        self.transport.get().io().now()
    }
}

impl UdpServer {
    /// A server that does not listen yet, with the default [`ServerConfig`].
    pub fn new() -> Self {
        Self::with_config(ServerConfig::default())
    }

    /// A server that does not listen yet.
    pub fn with_config(config: ServerConfig) -> Self {
        Self::with_transport(config, SystemSockets)
    }

    /// A server whose sockets come from `factory`, for instance from a host of the in-memory
    /// [network](crate::sim::Network).
    pub fn with_transport(config: ServerConfig, factory: impl TransportFactory + 'static) -> Self {
        let ServerConfig { limits, socket, send_mode, identity } = config;
        Self {
            config: socket,
            demux: Demux::new(limits, identity, send_mode, factory.now()),
            factory: Arc::new(factory),
            listening: None,
            wait: SocketWait::default(),
            outgoing: Outgoing::default(),
            dedicated: DedicatedSockets::default(),
            notices: Notices::new(),
            kernel_drops: None,
        }
    }

    /// Opens the port. A bare port number means every address of both IP versions; see [`ToBindAddr`] for the rest.
    /// Port 0 lets the system choose; [`local_port`](Self::local_port) tells.
    ///
    /// The port is this server's alone, on every system.
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the server stays as it was.
    pub fn listen(&mut self, addr: impl ToBindAddr) -> Result<(), BindError> {
        if self.is_listening() {
            return Err(BindError::AlreadyOpen);
        }
        self.check_config()?;
        let options = self.config.bind_options(addr.to_bind_addr()?);
        let transport = self.factory.bind(&options).map_err(BindError::from_io)?;
        self.listen_by(transport, options.pin_reply_address)
    }

    /// Listens on a socket of the standard library, which becomes non-blocking. Of the [`SocketOptions`] only
    /// `max_packet_size` holds; the rest is as the caller has set it.
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the server stays as it was.
    pub fn listen_on(&mut self, socket: std::net::UdpSocket) -> Result<(), BindError> {
        if self.is_listening() {
            return Err(BindError::AlreadyOpen);
        }
        self.check_config()?;
        let transport = self.factory.adopt(socket).map_err(BindError::from_io)?;
        self.listen_by(transport, false)
    }

    fn check_config(&self) -> Result<(), ConfigError> {
        self.limits().check()?;
        self.config.check()
    }

    fn listen_by(&mut self, transport: Box<dyn Transport>, pins_reply_address: bool) -> Result<(), BindError> {
        let transport = TransportOwner::new(transport, pins_reply_address).map_err(BindError::from_io)?;
        let now = transport.get().io().now();
        self.demux.tell_time(now);
        // One byte more than is accepted: what fills it is too long.
        let batch = ReceiveBatch::new(BATCH, self.config.max_packet_size + 1);
        self.listening = Some(Listening { transport, batch, polled_at: now });
        self.warn_of_a_small_buffer();
        Ok(())
    }

    /// Takes what has arrived from the socket and sorts it; ends what has gone idle. Call it once a frame, or more
    /// often.
    ///
    /// It takes at most what [`Limits`] allow a poll. Noise of the network, such as answers that a client is gone, is
    /// counted and never ends it.
    ///
    /// # Errors
    ///
    /// [`PollError::NotOpen`] when not listening. [`PollError::SocketFailed`] when the socket is of no further use: it
    /// has been closed and all peers have ended.
    pub fn poll(&mut self) -> Result<PollReport, PollError> {
        let now = self.listening.as_ref().ok_or(PollError::NotOpen)?.now();
        self.poll_by(now, now)
    }

    /// As [`poll`](Self::poll), at a time of the caller's: for replays, for tests, and for a clock that stands still
    /// while a debugger does. A time before that of the last poll counts as that.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        let by_transport = self.listening.as_ref().ok_or(PollError::NotOpen)?.now();
        self.poll_by(now, by_transport)
    }

    /// Polls at `now`, which by the transport's clock is `by_transport`.
    fn poll_by(&mut self, now: Instant, by_transport: Instant) -> Result<PollReport, PollError> {
        self.flush()?;
        let Listening { transport, batch, polled_at } = self.listening.as_mut().ok_or(PollError::NotOpen)?;
        *polled_at = by_transport;
        self.demux.begin(now);
        self.dedicated.release_ended(&self.demux);
        let max_packet_size = self.config.max_packet_size;
        let budget = self.demux.limits().max_known_per_poll;
        let for_own = self.dedicated.share_of(budget);
        let (left, own_empty) = self.dedicated.drain(&mut self.demux, batch, max_packet_size, for_own);
        let mut intake = Intake {
            known_left: budget - for_own + left,
            unknown_left: self.demux.limits().max_unknown_per_poll,
            max_packet_size,
            transport: transport.get().io(),
            demux: &mut self.demux,
        };
        match drain(transport.get().io(), batch, &mut intake) {
            Ok(drained) => {
                let report = self.demux.finish(own_empty && drained == Drained::Empty);
                self.dedicated.release_ended(&self.demux);
                if report.dropped > 0 || self.notices.has_more() {
                    self.notices.tell(now, self.demux.drops());
                }
                Ok(report)
            }
            Err(error) => {
                self.end(CloseReason::SocketFailed);
                Err(PollError::SocketFailed(error))
            }
        }
    }

    /// Sends what waits to be sent, in the [modes](crate::SendMode) that let something wait: call it at the end of a
    /// frame. In the others there is nothing to do. What the system will not take now waits for the next flush or poll;
    /// it never blocks and never spins.
    ///
    /// # Errors
    ///
    /// [`PollError::NotOpen`] when not listening. That something was not sent is no error: the report tells, and the
    /// peers' counters.
    pub fn flush(&mut self) -> Result<FlushReport, PollError> {
        let transport = self.listening.as_ref().ok_or(PollError::NotOpen)?.transport.get();
        let (shared, recycle) = self.demux.for_flush();
        Ok(self.outgoing.flush(transport, &self.dedicated, shared, recycle))
    }

    /// Sends `bytes` to every peer, as [`put_packet`](PacketPeerUdp::put_packet) on each would, but with one copy of the
    /// payload at most, and few calls of the system. Pending connections get nothing.
    ///
    /// Returns what was sent, refused and, in the modes that let something wait, left waiting.
    ///
    /// # Errors
    ///
    /// [`PutError::NotListening`], or [`PutError::TooLarge`], and then nobody gets anything. What goes wrong with a
    /// peer is no error: it is counted there.
    pub fn broadcast(&mut self, bytes: &[u8]) -> Result<FlushReport, PutError> {
        let transport = transport_for_broadcast(self.listening.as_ref(), bytes)?;
        let mailboxes = self.demux.mailboxes();
        Ok(self.outgoing.broadcast(transport, &self.dedicated, self.demux.shared(), mailboxes, bytes))
    }

    /// As [`broadcast`](Self::broadcast), to the peers named. Those that have ended get nothing, nor do another server's.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to(&mut self, ids: &[PeerId], bytes: &[u8]) -> Result<FlushReport, PutError> {
        let transport = transport_for_broadcast(self.listening.as_ref(), bytes)?;
        let mailboxes = ids.iter().filter_map(|&id| self.demux.mailbox(id));
        Ok(self.outgoing.broadcast(transport, &self.dedicated, self.demux.shared(), mailboxes, bytes))
    }

    /// The connection that has been pending longest, as a peer; it has received its first packets already. `None` where
    /// none is pending.
    ///
    /// Dropping the handle ends the peer: that is how a connection is refused. Its next datagram makes a new
    /// connection, also one that was on its way when the peer said goodbye, so expect first packets that are no hello;
    /// or set [`Limits::after_close`].
    ///
    /// The idle timeout counts from now, as with [`connect`](Self::connect), and not from its last packet.
    #[must_use = "dropping the handle ends the connection"]
    pub fn take_connection(&mut self) -> Option<PacketPeerUdp> {
        let (transport, now) = (self.listening.as_ref()?.transport.share(), self.now());
        self.demux.take(now).map(|mailbox| PacketPeerUdp::served(mailbox, transport))
    }

    /// Appends to `ids` the peers that have packets waiting, each once, in no particular order. A peer is listed until
    /// it has been drained; one that is taken with packets waiting is listed at once. One that has ended is listed like
    /// the others until its packets are taken or its handle is dropped, after [`stop`](Self::stop) too.
    ///
    /// With it a frame's work follows the traffic and not the number of peers.
    pub fn ready(&mut self, ids: &mut Vec<PeerId>) {
        self.demux.ready(ids);
    }

    /// Appends to `ended` who has ended since this was asked last, and why: peers gone idle, peers closed by their
    /// handle or by the server, and on [`stop`](Self::stop) all of them. Ask after each poll: what one poll has found,
    /// the next forgets. What [`close`](Self::close), [`connect`](Self::connect) or [`stop`](Self::stop) has found
    /// between two polls is kept until the second poll after that, so that a game that asks after each poll sees it.
    ///
    /// Twice as many as [`Limits::max_peers`] are kept. A program that connects and closes more often than that between
    /// two polls loses the earliest; [`stats`](Self::stats) counts them all.
    ///
    /// ```
    /// # use packetpeer::{PeerId, UdpServer};
    /// # use std::collections::HashMap;
    /// # let mut server = UdpServer::new();
    /// # server.listen("127.0.0.1:0")?;
    /// # let mut names: HashMap<PeerId, String> = HashMap::new();
    /// # let mut ended = Vec::new();
    /// server.poll()?;
    /// ended.clear();
    /// server.ended(&mut ended);
    /// for (id, reason) in &ended {
    ///     println!("{} left: {reason}", names.remove(id).unwrap_or_default());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        self.demux.ended(ended);
    }

    /// Appends to `moved` the connections that have gone on at another address since this was asked last, where the
    /// server's [identity](crate::Identity) is a connection id. Their handles send there already. Ask after each poll:
    /// what one poll has found, the next forgets.
    pub fn moved(&mut self, moved: &mut Vec<Moved>) {
        self.demux.moved(moved);
    }

    /// Makes a peer of `addr` from this side: to speak first from the port listened on, as hole punching and server
    /// browsers do. Nothing is sent. A pending connection of that address becomes the peer, with what it has received.
    ///
    /// The idle timeout counts from now: from the time of the last poll and what has passed since by the transport's
    /// clock, also where [`poll_at`](Self::poll_at) is told another time. Peers whose handles are gone are taken up
    /// before it is looked for a place, as the next poll would do, though they are in no report of a poll then.
    ///
    /// The peer counts for [`Limits::max_peers_per_ip`], which does not stand in its way.
    ///
    /// # Errors
    ///
    /// [`ConnectError::AlreadyKnown`], [`PeersFull`](ConnectError::PeersFull),
    /// [`NotListening`](ConnectError::NotListening), [`NoPort`](ConnectError::NoPort) or
    /// [`WrongFamily`](ConnectError::WrongFamily).
    pub fn connect(&mut self, addr: SocketAddr) -> Result<PacketPeerUdp, ConnectError> {
        self.connect_by(addr, None)
    }

    /// As [`connect`](Self::connect), where the server's [identity](crate::Identity) is a connection id: the peer is
    /// known by `id`. A pending connection of that id becomes the peer, and stays at the address from which it has
    /// spoken.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and [`ConnectError::NoConnectionIds`].
    pub fn connect_as(&mut self, addr: SocketAddr, id: ConnectionId) -> Result<PacketPeerUdp, ConnectError> {
        if !self.demux.goes_by_ids() {
            return Err(ConnectError::NoConnectionIds);
        }
        self.connect_by(addr, Some(id))
    }

    fn connect_by(&mut self, addr: SocketAddr, id: Option<ConnectionId>) -> Result<PacketPeerUdp, ConnectError> {
        let listening = self.listening.as_ref().ok_or(ConnectError::NotListening)?;
        if addr.port() == 0 {
            return Err(ConnectError::NoPort);
        }
        if !listening.transport.get().io().reaches(addr) {
            return Err(ConnectError::WrongFamily);
        }
        let transport = listening.transport.share();
        let now = self.now();
        match self.demux.connect(addr, id, now) {
            Ok(mailbox) => Ok(PacketPeerUdp::served(mailbox, transport)),
            Err(NotConnected::Known(id)) => Err(ConnectError::AlreadyKnown(id)),
            Err(NotConnected::PeersFull) => Err(ConnectError::PeersFull),
        }
    }

    /// What time it is between two polls: that of the last, and what has passed since by the transport's clock.
    fn now(&self) -> Instant {
        let passed =
            self.listening.as_ref().map(|listening| listening.now().saturating_duration_since(listening.polled_at));
        let last = self.demux.now();
        last.checked_add(passed.unwrap_or_default()).unwrap_or(last)
    }

    /// Gives a peer a socket of its own, on the same local address and a port that the system chooses, which is
    /// returned. The kernel then sorts its datagrams, and the peer's packets leave by the new port: from now on, or
    /// from the client's first datagram there on, as `switch` says.
    ///
    /// Only the peer's remote is heard on the new port. What still reaches the port listened on stays this peer's, for
    /// as long as it lives: a client that never switches is heard, and makes no second connection. Order is kept on
    /// each of both ports, not between them. The server's poll receives for both, and closes the socket when the peer
    /// ends; limits, counters and time-outs are as before. Give sockets only to clients that have shown that they
    /// receive, for instance by an answer to something you sent: forged first datagrams would use them up. See "Which
    /// identity?" of the crate.
    ///
    /// # Errors
    ///
    /// See [`DedicateError`]; the peer stays on the shared socket, unharmed.
    pub fn dedicate_socket(&mut self, peer: &mut PacketPeerUdp, switch: Switch) -> Result<SocketAddr, DedicateError> {
        let listening = self.listening.as_ref().ok_or(DedicateError::UnknownPeer(UnknownPeer(peer.id())))?;
        let mailbox = self.demux.mailbox(peer.id()).filter(|mailbox| peer.is_handle_of(mailbox));
        let mailbox = mailbox.ok_or(DedicateError::UnknownPeer(UnknownPeer(peer.id())))?;
        if !self.demux.goes_by_address() {
            return Err(DedicateError::GoesByIds);
        }
        if self.dedicated.contains(peer.id()) {
            return Err(DedicateError::AlreadyDedicated);
        }
        let mut options =
            self.config.bind_options(dedicated::bind_addr(listening.transport.get().local_addr(), mailbox));
        options.share_port = false;
        options.pin_reply_address = false;
        let mut transport = self.factory.bind(&options).map_err(DedicateError::from_io)?;
        transport.connect(mailbox.remote()).map_err(DedicateError::from_io)?;
        let transport = TransportOwner::new(transport, false).map_err(DedicateError::from_io)?;
        let local_addr = canonical(transport.get().local_addr());
        peer.use_own_socket(transport.share(), switch);
        self.dedicated.add(peer.id(), switch, transport);
        Ok(local_addr)
    }

    /// Sends one datagram from the port listened on to anybody, and remembers nothing: for answers to those who are to
    /// be no peers. An answer makes a pending connection, as every unknown sender does.
    ///
    /// # Errors
    ///
    /// See [`PutError`]; the datagram was not sent, and is counted under its reason.
    pub fn send_to(&mut self, addr: SocketAddr, bytes: &[u8]) -> Result<(), PutError> {
        let transport = self.listening.as_ref().map(|listening| listening.transport.get().io());
        send_stateless(transport, &self.demux, None, bytes, addr)
    }

    /// Asks `filter` about each datagram of somebody unknown, before anything is remembered of them and before the
    /// limits on connections, so that it works when these are reached. It replaces the filter before it.
    ///
    /// Refused addresses (see [`AfterClose`](crate::AfterClose)) are dropped before it.
    ///
    /// What the filter writes into the vector is sent back where it answers [`Verdict::Reply`]. It runs within `poll`,
    /// for each datagram of a flood too: it should be quick, and must not block. If it panics, so does `poll`; where that
    /// is caught, the server goes on, and what was received in one go with the datagram and comes behind it is lost
    /// ([`panicked`](crate::ReceiveDrops#structfield.panicked)).
    ///
    /// ```
    /// use packetpeer::{UdpServer, Verdict};
    ///
    /// let mut server = UdpServer::new();
    /// server.set_filter(|datagram, reply| match datagram.bytes {
    ///     [b'?', ..] => {
    ///         reply.extend_from_slice(b"!"); // a server browser asks who is here
    ///         Verdict::Reply
    ///     }
    ///     bytes if bytes.starts_with(b"my game 1") => Verdict::Accept,
    ///     _ => Verdict::Ignore,
    /// });
    /// ```
    pub fn set_filter(&mut self, filter: impl Fn(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict + Send + Sync + 'static) {
        self.demux.set_filter(Some(Filter::new(filter)));
    }

    /// Lets everybody unknown in again, as far as the limits allow.
    pub fn clear_filter(&mut self) {
        self.demux.set_filter(None);
    }

    /// Admits nobody new from now on, and forgets who has not been taken; peers go on as before. For a server that is
    /// to be taken down when the last match is over: see [`is_drained`](Self::is_drained). Until [`stop`](Self::stop).
    pub fn drain(&mut self) {
        self.demux.drain();
    }

    /// Ends a peer from the server's side. Its handle can still take what it had received. A refusal by
    /// [`Limits::after_close`] counts from now, as with [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] where it has ended already, its handle is gone, or it is another server's.
    pub fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        let now = self.now();
        self.demux.close(id, now)?;
        self.dedicated.release_ended(&self.demux);
        Ok(())
    }

    /// Ends all peers, forgets pending connections and closes the port. Their remotes are not told. A second call does
    /// nothing; [`listen`](Self::listen) works again, on the same port too, as soon as this returns.
    pub fn stop(&mut self) {
        self.end(CloseReason::ServerStopped);
    }

    fn end(&mut self, reason: CloseReason) {
        self.demux.end_all(reason);
        // What peers put before they ended is still sent, as far as the system takes it; then it is given up.
        let _ = self.flush();
        self.outgoing.give_up(self.demux.shared());
        self.dedicated.close_all();
        self.kernel_drops = self.kernel_drops();
        if let Some(listening) = self.listening.take() {
            listening.transport.close();
        }
    }

    /// Blocks until a datagram has come, a [`Waker`] wakes, or `timeout` is over (`None` = never): for servers that
    /// have nothing to do between datagrams. Poll afterwards. On the in-memory network it never blocks.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, WaitError> {
        let listening = self.listening.as_ref().ok_or(WaitError::NotOpen)?;
        let transport = listening.transport.get().io();
        let dedicated = &mut self.dedicated;
        self.wait.wait(|interrupt| dedicated.wait(transport, timeout, interrupt)).map_err(WaitError::Io)
    }

    /// A handle by which another thread can end a [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// [`WaitError::Io`] where the system has no more descriptors for it.
    pub fn waker(&mut self) -> Result<Waker, WaitError> {
        self.wait.waker().map_err(WaitError::Io)
    }

    /// Changes the limits, all of them: to change some, start from those in force, since `Limits::new()` sets the others
    /// back to their defaults.
    ///
    /// ```
    /// # use packetpeer::UdpServer;
    /// # let mut server = UdpServer::new();
    /// server.set_limits(server.limits().clone().max_peers(500))?;
    /// # Ok::<(), packetpeer::ConfigError>(())
    /// ```
    ///
    /// They hold from now on. Pending connections beyond a lowered cap, that of all or that of one IP address, are
    /// forgotten, the newest first; peers stay. Idle memory beyond a lowered `max_queued_bytes` is freed.
    ///
    /// # Errors
    ///
    /// A value that makes no sense; the limits stay as they were.
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), ConfigError> {
        limits.check()?;
        self.demux.set_limits(limits);
        Ok(())
    }

    /// Changes [`Limits::max_pending_connections`] alone. Raising it keeps all that are pending; lowering it forgets
    /// the newest beyond it, and counts them.
    #[doc(alias = "max_pending_connections")]
    pub fn set_max_pending_connections(&mut self, connections: usize) {
        self.demux.set_limits(self.limits().clone().max_pending_connections(connections));
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        self.demux.limits()
    }

    /// [`Limits::max_pending_connections`].
    #[doc(alias = "get_max_pending_connections")]
    pub fn max_pending_connections(&self) -> usize {
        self.limits().max_pending_connections
    }

    /// Whether the server admits nobody new: [`drain`](Self::drain) was called.
    pub fn is_draining(&self) -> bool {
        self.demux.is_draining()
    }

    /// Whether the server is draining and no peer is left.
    pub fn is_drained(&self) -> bool {
        self.is_draining() && self.peer_count() == 0
    }

    /// Whether [`take_connection`](Self::take_connection) has one. Does no input or output: poll first.
    pub fn is_connection_available(&self) -> bool {
        self.pending_count() > 0
    }

    /// Connections that wait to be taken: what came with the last poll, until they are taken.
    pub fn pending_count(&self) -> usize {
        self.demux.pending_count()
    }

    /// Peers: connections taken and not ended. One whose handle was closed or dropped counts until the next
    /// [`poll`](Self::poll) or [`connect`](Self::connect) takes that up; until then this may be more than there are
    /// [`peers`](Self::peers).
    pub fn peer_count(&self) -> usize {
        self.demux.peer_count()
    }

    /// All peers and their addresses, in no particular order. One whose handle was closed or dropped is none of them from
    /// that moment on.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        self.demux.peers()
    }

    /// The peer that is known by this address, if there is one; of those known by a connection id see
    /// [`find_connection`](Self::find_connection). An IPv4 address may be given as such or mapped into IPv6. Like
    /// [`peers`](Self::peers) it knows none whose handle was closed or dropped.
    pub fn find(&self, addr: SocketAddr) -> Option<PeerId> {
        self.demux.find(addr)
    }

    /// The peer of this connection id, if there is one; where the server's [identity](crate::Identity) is a connection
    /// id.
    pub fn find_connection(&self, id: ConnectionId) -> Option<PeerId> {
        self.demux.find_connection(id)
    }

    /// Whether the port is open.
    pub fn is_listening(&self) -> bool {
        self.listening.is_some()
    }

    /// The address listened on; `None` when not listening.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.listening.as_ref().map(|listening| listening.transport.get().local_addr())
    }

    /// The port listened on; `None` when not listening.
    #[doc(alias = "get_local_port")]
    pub fn local_port(&self) -> Option<u16> {
        self.local_addr().map(|addr| addr.port())
    }

    /// Bytes the system granted for datagrams that wait for the next poll, where it tells. Linux counts its own
    /// bookkeeping in: a small datagram takes some 800 of them.
    pub fn receive_buffer_size(&self) -> Option<usize> {
        self.listening.as_ref()?.transport.get().io().receive_buffer_size()
    }

    /// What the server has seen so far.
    ///
    /// Where the kernel tells what it has dropped, this asks it: one system call.
    pub fn stats(&self) -> ServerStats {
        let mut stats = self.demux.stats();
        stats.kernel_drops = self.kernel_drops();
        stats
    }

    /// How much the server remembers at the moment.
    pub fn table_sizes(&self) -> TableSizes {
        self.demux.table_sizes()
    }

    fn kernel_drops(&self) -> Option<u64> {
        let now = self.listening.as_ref().and_then(|listening| listening.transport.get().io().kernel_drops());
        match (self.kernel_drops, now) {
            (None, None) => None,
            (before, now) => Some(before.unwrap_or(0) + now.unwrap_or(0)),
        }
    }

    /// The socket listened on, to set options the crate does not know or to wait for it beside others.
    #[doc(alias = "AsFd")]
    #[doc(alias = "AsSocket")]
    pub fn socket(&self) -> Option<SocketRef<'_>> {
        self.listening.as_ref()?.transport.get().io().socket()
    }

    fn warn_of_a_small_buffer(&self) {
        let (Some(asked), Some(granted)) = (self.config.receive_buffer, self.receive_buffer_size()) else { return };
        if granted < asked / 2 {
            log::warn!(
                "asked for a receive buffer of {asked} bytes and got {granted}; raise the system's limit \
                 (net.core.rmem_max on Linux) or poll more often"
            );
        }
    }
}

impl Default for UdpServer {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One poll's way from the socket to the core.
struct Intake<'a> {
    transport: &'a dyn Transport,
    demux: &'a mut Demux,
    max_packet_size: usize,
    known_left: usize,
    unknown_left: usize,
}

impl Sink for Intake<'_> {
    fn budget(&self) -> usize {
        // Whose a datagram is shows only when it has been taken.
        self.known_left.min(self.unknown_left)
    }

    fn take(&mut self, batch: &ReceiveBatch) {
        self.demux.look_up(batch);
        for (place, arrived) in batch.arrived().enumerate() {
            let cut = arrived.is_cut() || arrived.bytes.len() > self.max_packet_size;
            match self.demux.sort(place, &arrived, cut) {
                Sorted::Known => self.known_left -= 1,
                Sorted::Unknown => self.unknown_left -= 1,
                Sorted::Answer => {
                    self.unknown_left -= 1;
                    let (from, reply) = (*arrived.local(), self.demux.reply());
                    let _ = send_stateless(Some(self.transport), self.demux, from, reply, *arrived.sender());
                }
            }
        }
    }

    fn truncated(&mut self) {
        self.demux.count_truncated();
    }

    fn noise(&mut self) {
        self.demux.count_noise();
    }
}

/// What a broadcast of `bytes` goes out by. Some of the peers may be IPv4 ones, so their limit holds for all.
fn transport_for_broadcast<'a>(
    listening: Option<&'a Listening>,
    bytes: &[u8],
) -> Result<&'a SharedTransport, PutError> {
    let (size, limit) = (bytes.len(), MAX_PAYLOAD_V4);
    if size > limit {
        return Err(PutError::TooLarge { size, limit });
    }
    listening.map(|listening| listening.transport.get()).ok_or(PutError::NotListening)
}

/// Sends a datagram that is no peer's, and counts it.
fn send_stateless(
    transport: Option<&dyn Transport>,
    demux: &Demux,
    from: Option<IpAddr>,
    bytes: &[u8],
    to: SocketAddr,
) -> Result<(), PutError> {
    let result = match transport {
        None => Err(PutError::NotListening),
        Some(_) if to.port() == 0 => Err(PutError::NoPort),
        Some(transport) => send(transport, from, bytes, canonical(to)),
    };
    demux.count_send(match &result {
        Ok(()) => Ok(bytes.len()),
        Err(error) => Err(error.into()),
    });
    result
}
