use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::{ServerConfig, SocketOptions};
use super::dedicated::{DedicatedSockets, bind_addr};
use super::intake::{PortIntake, send_stateless};
use super::outgoing::Outgoing;
use super::routes::Routes;
use crate::clock::Clock;
use crate::datagram::ReceiveBatch;
use crate::demux::{
    Budgets, ConnectionId, Demux, Filter, FilterFn, FirstDatagram, Limits, Moved, NotConnected, Verdict,
};
use crate::error::{BindError, ConfigError, ConnectError, DedicateError, PollError, PutError, UnknownPeer, WaitError};
use crate::notices::Notices;
use crate::peer::{PacketPeerUdp, SocketWait, Switch, WaitOutcome, Waker};
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;
use crate::socket::{
    Left, MaxPayload, SharedTransport, SocketRef, SystemSockets, ToBindAddr, Transport, TransportFactory,
    TransportOwner, check_remote, meant, receive_all,
};
use crate::stats::{FlushReport, PollReport, ServerStats, TableSizes};

/// Datagrams that one call of the system takes.
const BATCH: usize = 64;

/// How long a wait sleeps before it looks again, where something may change that does not end it.
const NAP: Duration = Duration::from_millis(1);

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
    /// Those of the socket listened on, and of peers' own.
    config: SocketOptions,
    /// Those of the next one.
    next_config: SocketOptions,
    factory: Arc<dyn TransportFactory>,
    clock: Clock,
    demux: Demux,
    listening: Option<Listening>,
    wait: SocketWait,
    outgoing: Outgoing,
    dedicated: DedicatedSockets,
    notices: Notices,
    /// Of the sockets listened on before the present one; those of peers' own are counted with these.
    kernel_drops: Option<u64>,
}

#[derive(Debug)]
struct Listening {
    transport: TransportOwner,
    batch: ReceiveBatch,
    /// The transport's time at the last poll, or at `listen`.
    polled_at: Instant,
}

impl UdpServer {
    /// A server that does not listen yet, with the default [`ServerConfig`].
    pub fn new() -> Self {
        Self::made_of(ServerConfig::default(), Arc::new(SystemSockets))
    }

    /// A server that does not listen yet.
    ///
    /// # Errors
    ///
    /// A value of the configuration makes no sense.
    pub fn with_config(config: ServerConfig) -> Result<Self, ConfigError> {
        Self::with_transport(config, SystemSockets)
    }

    /// A server whose sockets come from `factory`, for instance from a host of the in-memory
    /// [network](crate::sim::Network).
    ///
    /// # Errors
    ///
    /// A value of the configuration makes no sense.
    pub fn with_transport(config: ServerConfig, factory: impl TransportFactory + 'static) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self::made_of(config, Arc::new(factory)))
    }

    /// Of a configuration that has been checked.
    fn made_of(config: ServerConfig, factory: Arc<dyn TransportFactory>) -> Self {
        let ServerConfig { limits, socket, send_mode, identity } = config;
        let clock = factory.clock();
        Self {
            config: socket.clone(),
            next_config: socket,
            demux: Demux::new(limits, identity, send_mode, clock.clone()),
            clock,
            factory,
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
        let options = self.next_config.bind_options(addr.to_bind_addr()?);
        let transport = self.factory.bind(&options).map_err(BindError::from)?;
        self.listen_by(transport, options.pin_reply_address)
    }

    /// Listens on a socket of the standard library, which becomes non-blocking. Of the [`SocketOptions`] only
    /// `max_packet_size` holds; the rest is as the caller has set it.
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the server stays as it was. A connected socket is [`BindError::Connected`]: it would send to one
    /// remote what is for others. [`PacketPeerUdp::from_std`] takes it.
    pub fn listen_on(&mut self, socket: std::net::UdpSocket) -> Result<(), BindError> {
        if self.is_listening() {
            return Err(BindError::AlreadyOpen);
        }
        if socket.peer_addr().is_ok() {
            return Err(BindError::Connected);
        }
        let transport = self.factory.adopt(socket).map_err(BindError::from)?;
        self.listen_by(transport, false)
    }

    fn listen_by(&mut self, transport: Box<dyn Transport>, pins_reply_address: bool) -> Result<(), BindError> {
        let transport = TransportOwner::new(transport, pins_reply_address).map_err(BindError::from)?;
        let now = self.clock.now();
        self.config.clone_from(&self.next_config);
        self.demux.tell_time(now);
        self.demux.shared().set_max_payload(transport.get().max_payload().to_all());
        let batch = ReceiveBatch::for_payloads(BATCH, self.config.max_packet_size);
        self.listening = Some(Listening { transport, batch, polled_at: now });
        self.warn_of_a_small_buffer();
        Ok(())
    }

    /// Takes what has arrived from the socket and sorts it; ends what has gone idle. Call it once a frame, or more
    /// often.
    ///
    /// It takes at most what [`Limits`] allow a poll. Noise of the network, such as answers that a client is gone, is
    /// counted and never ends it; which errors do is said at [`Transport::receive`].
    ///
    /// In this order:
    ///
    /// 1. what waits to be sent leaves, as by [`flush`](Self::flush);
    /// 2. peers end whose handle was closed or dropped since the last poll, and pending connections that nobody took in
    ///    time are forgotten, so that their places are free for whoever comes next;
    /// 3. [own sockets](Self::dedicate_socket) of single peers are received from, each time beginning with another;
    /// 4. then the port listened on. The order of arrival is kept on each socket, and not between them;
    /// 5. peers from which nothing has come for the idle timeout end, unless more is waiting, by which some of them may
    ///    have spoken.
    ///
    /// # Errors
    ///
    /// [`PollError::NotOpen`] when not listening. [`PollError::SocketFailed`] when the socket is of no further use: it
    /// has been closed and all peers have ended.
    pub fn poll(&mut self) -> Result<PollReport, PollError> {
        let now = self.now();
        self.poll_by(now, now, None)
    }

    /// As [`poll`](Self::poll), at a time of the caller's: for replays, for tests, and for a clock that stands still
    /// while a debugger does. A time before that of the last poll counts as that.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        self.poll_by(now, self.now(), None)
    }

    /// As [`poll`](Self::poll), and asks `filter` about the datagrams of unknown senders, for this poll and instead of
    /// the one that is [set](Self::set_filter): one that may borrow, and change, what the program has at hand. What is
    /// said there holds for it too, also if it panics.
    ///
    /// ```
    /// use packetpeer::{UdpServer, Verdict};
    /// # use std::collections::HashSet;
    /// # use std::net::IpAddr;
    ///
    /// let mut server = UdpServer::new();
    /// server.listen("127.0.0.1:0")?;
    /// # let banned: HashSet<IpAddr> = HashSet::new();
    /// let mut refused = 0;
    /// server.poll_with(|datagram, reply| {
    ///     if banned.contains(&datagram.sender.ip()) {
    ///         refused += 1;
    ///         return Verdict::Ignore;
    ///     }
    ///     if !datagram.has_room {
    ///         reply.extend_from_slice(b"F"); // the server is full
    ///         return Verdict::Reply;
    ///     }
    ///     Verdict::Accept
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn poll_with(
        &mut self,
        mut filter: impl FnMut(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict,
    ) -> Result<PollReport, PollError> {
        let now = self.now();
        self.poll_by(now, now, Some(&mut filter))
    }

    /// As [`poll_with`](Self::poll_with), at a time of the caller's, as [`poll_at`](Self::poll_at).
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn poll_at_with(
        &mut self,
        now: Instant,
        mut filter: impl FnMut(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict,
    ) -> Result<PollReport, PollError> {
        self.poll_by(now, self.now(), Some(&mut filter))
    }

    /// Polls at `now`, which by the transport's clock is `by_transport`.
    fn poll_by(
        &mut self,
        now: Instant,
        by_transport: Instant,
        filter: Option<&mut FilterFn<'_>>,
    ) -> Result<PollReport, PollError> {
        self.flush()?;
        let Listening { transport, batch, polled_at } = self.listening.as_mut().ok_or(PollError::NotOpen)?;
        *polled_at = by_transport;
        self.demux.begin(now, self.config.max_packet_size);
        self.dedicated.release_ended(&self.demux, &mut self.outgoing);
        let budget = self.demux.limits().max_known_per_poll;
        let for_own = self.dedicated.share_of(budget);
        let (left, own_empty) = self.dedicated.drain(&mut self.demux, batch, for_own);
        let mut intake = PortIntake {
            budgets: Budgets { known: budget - for_own + left, unknown: self.demux.limits().max_unknown_per_poll },
            transport: transport.get(),
            demux: &mut self.demux,
            filter,
        };
        match receive_all(transport.get().io(), batch, &mut intake) {
            Ok(left) => {
                let report = self.demux.finish(own_empty && left == Left::Nothing);
                self.dedicated.release_ended(&self.demux, &mut self.outgoing);
                self.notices.tell_sends(now, self.demux.shared().sends());
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
    /// frame. In the others there is nothing to do. What the system will not take now waits for the next flush, poll or
    /// [`wait`](Self::wait); it never blocks and never spins.
    ///
    /// It sends for peers that have ended too what they had put before.
    ///
    /// # Errors
    ///
    /// [`PollError::NotOpen`] when not listening. That something was not sent is no error: the report tells, and the
    /// peers' counters.
    pub fn flush(&mut self) -> Result<FlushReport, PollError> {
        let transport = self.listening.as_ref().ok_or(PollError::NotOpen)?.transport.get();
        let (shared, recycle) = self.demux.for_flush();
        let routes = Routes { transport, dedicated: &self.dedicated, shared };
        Ok(routes.flush(&mut self.outgoing, recycle))
    }

    /// Sends `bytes` to every peer, as [`put_packet`](PacketPeerUdp::put_packet) on each would, but with one copy of the
    /// payload at most, and few calls of the system. Pending connections get nothing.
    ///
    /// Returns what was sent, refused and, in the modes that let something wait, left waiting, of this broadcast alone:
    /// what has waited before, and leaves before it in [`QueueWhenBlocked`](crate::SendMode::QueueWhenBlocked), is in
    /// the counters and not in the report.
    ///
    /// What has to wait is one copy: of [`max_queued_bytes`](Limits#structfield.max_queued_bytes) it takes its size
    /// once, until the last peer's has left, and of each peer's [`send_queue`](Limits#structfield.send_queue) as much
    /// as a put.
    ///
    /// # Errors
    ///
    /// [`PutError::NotListening`], or [`PutError::TooLarge`], and then nobody gets anything. What goes wrong with a
    /// peer is no error: it is counted there.
    pub fn broadcast(&mut self, bytes: &[u8]) -> Result<FlushReport, PutError> {
        let transport = transport_for_broadcast(self.listening.as_ref(), bytes)?;
        let mailboxes = self.demux.mailboxes();
        let routes = Routes { transport, dedicated: &self.dedicated, shared: self.demux.shared() };
        Ok(routes.broadcast(&mut self.outgoing, mailboxes, bytes))
    }

    /// As [`broadcast`](Self::broadcast), to the peers named: once for each time that a peer is named. Those that have
    /// ended get nothing, nor do another server's, and neither count.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to(&mut self, ids: &[PeerId], bytes: &[u8]) -> Result<FlushReport, PutError> {
        let transport = transport_for_broadcast(self.listening.as_ref(), bytes)?;
        let mailboxes = ids.iter().filter_map(|&id| self.demux.mailbox(id));
        let routes = Routes { transport, dedicated: &self.dedicated, shared: self.demux.shared() };
        Ok(routes.broadcast(&mut self.outgoing, mailboxes, bytes))
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
        let (transport, now) = (self.listening.as_ref()?.transport.share(), self.time_of_polls());
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

    /// Appends to `ended` the peers that have ended since this was asked last, and why: peers gone idle, peers closed
    /// by their handle or by the server, and on [`stop`](Self::stop) all of them. Ask after each poll: what one poll
    /// has found, the next forgets. What [`close`](Self::close), [`connect`](Self::connect) or [`stop`](Self::stop) has
    /// found between two polls is kept until the second poll after that, so that a game that asks after each poll sees
    /// it.
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
    /// server.take_ended(&mut ended);
    /// for (id, reason) in &ended {
    ///     println!("{} left: {reason}", names.remove(id).unwrap_or_default());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        self.demux.ended(ended);
    }

    /// Appends to `moved` the connections that have gone on at another address since this was asked last, where the
    /// server's [identity](crate::identity::Identity) is a connection id. Their handles send there already, but no more than three
    /// times what came from there until it is [confirmed](Self::confirm_move). Ask after each poll: what one poll has
    /// found, the next forgets.
    ///
    /// However often a connection has moved within a poll, it is told once, with where it was first and where it is
    /// now. One that moves while it is pending is not told, since nobody knows its id; whether it is confirmed,
    /// [`is_address_confirmed`](PacketPeerUdp::is_address_confirmed) says when it has been taken.
    pub fn take_moved(&mut self, moved: &mut Vec<Moved>) {
        self.demux.moved(moved);
    }

    /// Says that a peer receives at `addr`, to which it has moved, so that as much may be sent there as before the move
    /// (RFC 9000, 8.2 and 9.3). Returns whether that is where the peer is; if it has gone on since, nothing is confirmed.
    /// The first address of a connection counts as confirmed: admission is up to the [filter](Self::set_filter).
    ///
    /// What confirms an address is something random that was sent there, and to nowhere else, and has come back. So draw
    /// something new for each move [told](Self::take_moved), and take no answer to an older one. The example
    /// `connection_id_server` does that.
    ///
    /// ```
    /// # use packetpeer::{PacketPeerUdp, PeerId, UdpServer};
    /// # use std::collections::HashMap;
    /// # let mut server = UdpServer::new();
    /// # server.listen("127.0.0.1:0")?;
    /// # let mut players: HashMap<PeerId, PacketPeerUdp> = HashMap::new();
    /// # let mut asked: HashMap<PeerId, [u8; 8]> = HashMap::new();
    /// # let mut moved = Vec::new();
    /// # fn random() -> [u8; 8] { [7; 8] }
    /// server.poll()?;
    /// server.take_moved(&mut moved);
    /// for moved in moved.drain(..).filter(|moved| !moved.confirmed) {
    ///     asked.insert(moved.peer, random());
    /// }
    /// for player in players.values_mut().filter(|player| player.available_packet_count() > 0) {
    ///     while let Ok(Some(packet)) = player.get_packet() {
    ///         match asked.get(&player.id()) {
    ///             Some(wanted) if &*packet == wanted => {
    ///                 server.confirm_move(player.id(), packet.sender())?;
    ///             }
    ///             // It may be lost, or its answer: ask again as long as something comes.
    ///             Some(question) if !player.is_address_confirmed() => drop(player.put_packet(question)),
    ///             _ => {} // the game
    ///         }
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] where it has ended, or is another server's.
    pub fn confirm_move(&mut self, id: PeerId, addr: SocketAddr) -> Result<bool, UnknownPeer> {
        self.demux.confirm_move(id, addr)
    }

    /// Makes a peer of `addr` from this side: to speak first from the port listened on, as hole punching and server
    /// browsers do. Nothing is sent to it. A pending connection of that address becomes the peer, with what it has
    /// received. An unspecified address, such as the [`local_addr`](PacketPeerUdp::local_addr) of a peer on a bare
    /// port, means this host: the address listened on, or else the loopback address.
    /// [`remote_addr`](PacketPeerUdp::remote_addr) tells.
    ///
    /// The idle timeout counts from now: from the time of the last poll and what has passed since by the transport's
    /// clock, also where [`poll_at`](Self::poll_at) is told another time. Peers whose handles are gone are taken up
    /// before it is looked for a place, as the next poll would do, though they are in no report of a poll then. If what
    /// they had put waits for a flush, and they are more than twice as many as there ever were peers at a time, it
    /// leaves now.
    ///
    /// The peer counts for [`Limits::max_peers_per_ip`], which does not stand in its way.
    ///
    /// # Errors
    ///
    /// [`ConnectError::AlreadyKnown`], [`PeersFull`](ConnectError::PeersFull),
    /// [`NotListening`](ConnectError::NotListening), [`NoPort`](ConnectError::NoPort),
    /// [`WrongFamily`](ConnectError::WrongFamily), [`Broadcast`](ConnectError::Broadcast),
    /// [`Multicast`](ConnectError::Multicast), or [`NeedsId`](ConnectError::NeedsId) where the server goes by
    /// connection ids alone: what comes from the address would be a connection of its own. There use
    /// [`connect_as`](Self::connect_as).
    pub fn connect(&mut self, addr: SocketAddr) -> Result<PacketPeerUdp, ConnectError> {
        if !self.demux.knows_by_address() {
            return Err(ConnectError::NeedsId);
        }
        self.connect_by(addr, None)
    }

    /// As [`connect`](Self::connect), where the server's [identity](crate::identity::Identity) is a connection id: the peer is
    /// known by `id`. A pending connection of that id becomes the peer, and stays at the address from which it has
    /// spoken.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), but [`ConnectError::NoConnectionIds`] instead of `NeedsId`.
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
        let io = listening.transport.get().io();
        let addr = meant(io, addr);
        if !io.reaches(addr) {
            return Err(ConnectError::WrongFamily);
        }
        check_remote(io, addr)?;
        let transport = listening.transport.share();
        if self.demux.has_to_flush() {
            // The list would grow for ever where handles put and are dropped, and nobody flushes or polls.
            let _ = self.flush();
        }
        let now = self.time_of_polls();
        match self.demux.connect(addr, id, now) {
            Ok(mailbox) => Ok(PacketPeerUdp::served(mailbox, transport)),
            Err(NotConnected::Known(id)) => Err(ConnectError::AlreadyKnown(id)),
            Err(NotConnected::PeersFull) => Err(ConnectError::PeersFull),
        }
    }

    /// What time it is between two polls: that of the last, and what has passed since by the transport's clock.
    fn time_of_polls(&self) -> Instant {
        let passed = self.listening.as_ref().map(|listening| self.now().saturating_duration_since(listening.polled_at));
        let last = self.demux.now();
        last.checked_add(passed.unwrap_or_default()).unwrap_or(last)
    }

    /// Gives a peer a socket of its own, on the same local address and a port that the system chooses, which is
    /// returned. The kernel then sorts its datagrams, and the peer's packets leave by the new port: from now on, or
    /// from the client's first datagram there on, as `switch` says.
    ///
    /// Only the peer's remote is heard on the new port. What still reaches the port listened on stays this peer's, for
    /// as long as it lives: a client that never switches is heard, and makes no second connection. Order is kept on
    /// each of both ports, not between them. The server's poll and [`wait`](Self::wait) are for both, and limits,
    /// counters and time-outs as before. Each such socket has buffers of its own, of the sizes that [`SocketOptions`] ask
    /// for; what the kernel drops there is in both sides' `kernel_drops`.
    ///
    /// The socket is closed when the peer ends, after what the peer had put has left by it. Where the system is busy at
    /// that moment, it is closed by the first poll after the rest has left, or by a stop, and receives nothing meanwhile.
    ///
    /// Give sockets only to clients that have shown that they receive, for instance by an answer to something you sent:
    /// forged first datagrams would use them up. See "Which identity?" of the crate.
    ///
    /// # Errors
    ///
    /// See [`DedicateError`]; the peer stays on the shared socket, unharmed. None is a reason to end the server: a
    /// stranger can cause [`Unreachable`](DedicateError::Unreachable), and enough of them the want of descriptors and
    /// ports.
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
        let mut options = self.config.bind_options(bind_addr(listening.transport.get().local_addr(), mailbox));
        options.share_port = false;
        options.pin_reply_address = false;
        let mut transport = self.factory.bind(&options).map_err(DedicateError::from_io)?;
        transport.connect(mailbox.remote()).map_err(DedicateError::Unreachable)?;
        let transport = TransportOwner::new(transport, false).map_err(DedicateError::from_io)?;
        let local_addr = transport.get().local_addr();
        let way = transport.share();
        let kernel_drops = self.dedicated.add(Arc::clone(mailbox), switch, transport);
        peer.use_own_socket(way, switch, kernel_drops);
        Ok(local_addr)
    }

    /// Sends one datagram from the port listened on to anybody, and remembers nothing: for answers to those who are to
    /// be no peers. An answer makes a pending connection, as every unknown sender does. An unspecified address means this
    /// host, as for [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// See [`PutError`]; the datagram was not sent, and is counted under its reason.
    pub fn send_to(&mut self, addr: SocketAddr, bytes: &[u8]) -> Result<(), PutError> {
        let transport = self.listening.as_ref().map(|listening| listening.transport.get());
        let addr = transport.map_or(addr, |transport| meant(transport.io(), addr));
        send_stateless(transport, &self.demux, None, bytes, addr)
    }

    /// Asks `filter` about each datagram of somebody unknown, before anything is remembered of them and before the
    /// limits on connections, so that it works when these are reached. It replaces the filter before it.
    ///
    /// Refused addresses (see [`AfterClose`](crate::limits::AfterClose)) are dropped before it.
    ///
    /// What the filter writes into the vector is sent back where it answers [`Verdict::Reply`]. It runs within `poll`,
    /// for each datagram of a flood too: it should be quick, and must not block. If it panics, so does `poll`; where that
    /// is caught, the server goes on, and what was received in one go with the datagram and comes behind it is lost
    /// ([`panicked`](crate::stats::ReceiveDrops#structfield.panicked)).
    ///
    /// **No reply may pass for a question**, that of another server with this filter or with one like it: a single
    /// datagram with a forged sender would set the two answering each other for ever. Begin questions and replies
    /// differently, as here, and ignore what is neither. A server that sends back whatever comes has the same trouble.
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

    /// Admits nobody new from now on, and forgets connections that have not been taken; peers go on as before. For a
    /// server that is to be taken down when the last match is over: see [`is_drained`](Self::is_drained). Until
    /// [`stop`](Self::stop).
    pub fn drain(&mut self) {
        self.demux.drain();
    }

    /// Ends a peer from the server's side. Its handle can still take what it had received. What it had put before is
    /// still sent: by the next [`flush`](Self::flush), poll or stop, where it has not left already. A refusal by
    /// [`Limits::after_close`] counts from now, as with [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] where it has ended already, its handle is gone, or it is another server's.
    pub fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        let now = self.time_of_polls();
        self.demux.close(id, now)?;
        self.dedicated.release_ended(&self.demux, &mut self.outgoing);
        Ok(())
    }

    /// Ends all peers, forgets pending connections and closes the port. Their remotes are not told. What peers had put
    /// before is sent, as far as the system takes it at once; the rest is counted as
    /// [`unsent`](crate::stats::SendDrops#structfield.unsent). A second call does nothing; [`listen`](Self::listen) works
    /// again, on the same port too, as soon as this returns.
    pub fn stop(&mut self) {
        self.end(CloseReason::ServerStopped);
    }

    fn end(&mut self, reason: CloseReason) {
        self.demux.end_all(reason);
        // What peers put before they ended is still sent, as far as the system takes it; then it is given up.
        let _ = self.flush();
        self.outgoing.give_up(self.demux.shared());
        self.dedicated.close_all();
        self.kernel_drops = self.kernel_drops_of_listened();
        if let Some(listening) = self.listening.take() {
            listening.transport.close();
        }
    }

    /// What time it is by the clock of the transport, at which [`poll`](Self::poll) polls: the system's, or that of an
    /// in-memory network. It tells when the server does not listen too, and takes no notice of the times that
    /// [`poll_at`](Self::poll_at) was given.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Blocks until a datagram has come, a [`Waker`] wakes, or `timeout` is over (`None` = never): for servers that
    /// have nothing to do between datagrams. Poll afterwards. On the in-memory network it never blocks.
    ///
    /// First it sends what waits to be sent, as [`flush`](Self::flush) does, and while the system will not take all of
    /// that it looks every millisecond whether it does. What handles on other threads put meanwhile in
    /// [`OnFlush`](crate::SendMode::OnFlush) leaves when the wait ends and the server polls or flushes: let them
    /// [wake](Waker) it.
    ///
    /// It waits for all sockets of the server, those of single peers too. Where one of these cannot be waited for beside
    /// others, as behind [`Conditioned`](crate::sim::Conditioned) links, it sleeps for a millisecond at a time and asks.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, WaitError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let is_blocked = self.flush().map_err(|_| WaitError::NotOpen)?.waiting > 0;
            let listening = self.listening.as_ref().ok_or(WaitError::NotOpen)?;
            let transport = listening.transport.get().io();
            let dedicated = &mut self.dedicated;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let nap = (is_blocked || dedicated.have_to_be_asked(transport)).then_some(NAP);
            let time = left.into_iter().chain(nap).min();
            let outcome =
                self.wait.wait(|interrupt| dedicated.wait(transport, time, interrupt)).map_err(WaitError::Io)?;
            if outcome != WaitOutcome::TimedOut || time == left || self.clock.is_virtual() {
                return Ok(outcome);
            }
        }
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
    /// # Ok::<(), packetpeer::error::ConfigError>(())
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

    /// Changes how the next [`listen`](Self::listen) opens the socket, all of it: to change some, start from those that
    /// [are set](Self::socket_options). An open socket, and those that peers have for themselves, stay as they are.
    ///
    /// # Errors
    ///
    /// A value that makes no sense; the options stay as they were. That the system refuses one, `listen` says:
    /// [`BindError::OptionRefused`].
    pub fn set_socket_options(&mut self, options: SocketOptions) -> Result<(), ConfigError> {
        options.check()?;
        self.next_config = options;
        Ok(())
    }

    /// The options set last: those of the next [`listen`](Self::listen).
    pub fn socket_options(&self) -> &SocketOptions {
        &self.next_config
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

    /// The peer that is known by this address, if there is one, by which this host may be meant as for
    /// [`connect`](Self::connect); of those known by a connection id see
    /// [`find_connection`](Self::find_connection). An IPv4 address may be given as such or mapped into IPv6. Like
    /// [`peers`](Self::peers) it knows none whose handle was closed or dropped.
    pub fn find(&self, addr: SocketAddr) -> Option<PeerId> {
        self.demux.find(meant(self.listening.as_ref()?.transport.get().io(), addr))
    }

    /// The peer of this connection id, if there is one; where the server's [identity](crate::identity::Identity) is a connection
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
    /// Where the kernel tells what it has dropped, this asks it: one system call for the socket listened on, and one for
    /// each that a peer has for itself.
    pub fn stats(&self) -> ServerStats {
        let mut stats = self.demux.stats();
        stats.kernel_drops = sum(self.kernel_drops_of_listened(), self.dedicated.kernel_drops());
        stats
    }

    /// How much the server remembers at the moment.
    pub fn table_sizes(&self) -> TableSizes {
        self.demux.table_sizes()
    }

    /// At the ports listened on so far.
    fn kernel_drops_of_listened(&self) -> Option<u64> {
        let now = self.listening.as_ref().and_then(|listening| listening.transport.get().io().kernel_drops());
        sum(self.kernel_drops, now)
    }

    /// The socket listened on, to set options the crate does not know or to wait for it beside others.
    ///
    /// An option by which the kernel keeps errors for the program, such as `IP_RECVERR`, makes [`wait`](Self::wait)
    /// return at once for as long as these have not been read.
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
        self.demux.give_back_idle_memory();
    }
}

/// What is known of either.
fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).reduce(|one, other| one + other)
}

/// What a broadcast of `bytes` goes out by. Some of the peers may be IPv4 ones, which can be sent less: their limit holds
/// for all.
fn transport_for_broadcast<'a>(
    listening: Option<&'a Listening>,
    bytes: &[u8],
) -> Result<&'a SharedTransport, PutError> {
    let transport = listening.map(|listening| listening.transport.get());
    let limit = transport.map_or_else(MaxPayload::of_udp, SharedTransport::max_payload).to_all();
    if bytes.len() > limit {
        return Err(PutError::TooLarge { size: bytes.len(), limit });
    }
    transport.ok_or(PutError::NotListening)
}
