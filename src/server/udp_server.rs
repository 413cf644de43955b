use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::config::{ServerConfig, SocketOptions};
use super::dedicated::DedicatedSockets;
use super::intake::PortIntake;
use super::outgoing::Outgoing;
use crate::clock::Clock;
use crate::datagram::ReceiveBatch;
use crate::demux::{Budgets, Demux, FilterFn, FirstDatagram, Verdict};
use crate::error::{BindError, ConfigError, PollError};
use crate::notices::Notices;
use crate::peer::SocketWait;
use crate::peer_state::CloseReason;
use crate::socket::{Left, SystemSockets, ToBindAddr, Transport, TransportFactory, TransportOwner, receive_all};
use crate::stats::PollReport;

/// Datagrams that one call of the system takes.
const BATCH: usize = 64;

/// Listens on one UDP port and sorts what comes by sender, into a [`PacketPeerUdp`](crate::PacketPeerUdp) each.
///
/// Godot's `UDPServer`. Everything advances in [`poll`](Self::poll): call it once per frame, then take new connections,
/// then read from the peers. Nothing happens between polls, on no thread.
///
/// A datagram from an unknown address makes a *pending connection*; the next
/// [`take_connection`](Self::take_connection) makes a peer of it, and hands out a handle that has the datagram already.
/// What may be pending, known and waiting is bounded by [`Limits`](crate::Limits); what is dropped is counted in
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
    /// The options of the socket listened on, and of peers' own.
    pub(super) config: SocketOptions,
    /// The options of the next one.
    pub(super) next_config: SocketOptions,
    pub(super) factory: Arc<dyn TransportFactory>,
    pub(super) clock: Clock,
    pub(super) demux: Demux,
    pub(super) listening: Option<Listening>,
    pub(super) wait: SocketWait,
    pub(super) outgoing: Outgoing,
    pub(super) dedicated: DedicatedSockets,
    pub(super) notices: Notices,
    /// Of the sockets listened on before the present one; those of peers' own are counted with these.
    pub(super) kernel_drops: Option<u64>,
    /// The transport's time when the core was told the time last: by a poll, or by `listen`.
    told_time_at: Instant,
}

#[derive(Debug)]
pub(super) struct Listening {
    pub(super) transport: TransportOwner,
    pub(super) batch: ReceiveBatch,
}

/// # Life cycle
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

    /// From a configuration that has been checked.
    fn made_of(config: ServerConfig, factory: Arc<dyn TransportFactory>) -> Self {
        let ServerConfig { limits, socket, send_mode, identity } = config;
        let clock = factory.clock();
        let told_time_at = clock.now();
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
            told_time_at,
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
    /// remote what is for others. [`PacketPeerUdp::from_std`](crate::PacketPeerUdp::from_std) accepts one.
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
        self.config.clone_from(&self.next_config);
        // The polls may be at a caller's time, before or ahead of the clock's. The earlier of both is told: of a later one
        // no time would pass for the core until that of the polls has caught up.
        let now = self.time_of_polls().min(self.now());
        self.demux.tell_time(now);
        self.told_time_at = self.told_time_at.max(self.now());
        self.demux.shared().set_max_payload(transport.get().max_payload().to_all());
        let batch = ReceiveBatch::for_payloads(BATCH, self.config.max_packet_size);
        self.listening = Some(Listening { transport, batch });
        self.warn_of_a_small_buffer();
        Ok(())
    }

    /// Admits nobody new from now on, and forgets connections that have not been taken; peers go on as before. For a
    /// server that is to be taken down when the last match is over: see [`is_drained`](Self::is_drained). Until
    /// [`stop`](Self::stop).
    pub fn drain(&mut self) {
        self.demux.drain();
    }

    /// Whether the server admits nobody new: [`drain`](Self::drain) was called.
    pub fn is_draining(&self) -> bool {
        self.demux.is_draining()
    }

    /// Whether the server is draining and no peer is left.
    pub fn is_drained(&self) -> bool {
        self.is_draining() && self.peer_count() == 0
    }

    /// Ends all peers, forgets pending connections and closes the port. The remotes are not told. What peers had put before
    /// is sent, as far as the system takes it at once; the rest is counted as
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
}

/// # The frame
///
/// [`flush`](Self::flush) ends it.
impl UdpServer {
    /// Takes what has arrived from the socket and sorts it; ends what has gone idle. Call it once per frame, or more
    /// often.
    ///
    /// It takes at most what [`Limits`](crate::Limits) allow per poll. Network noise, such as ICMP answers that a client is
    /// gone, is counted and never ends it; [`Transport::receive`] lists the errors that do.
    ///
    /// In this order:
    ///
    /// 1. what waits to be sent leaves, as by [`flush`](Self::flush);
    /// 2. peers end whose handle was closed or dropped since the last poll, and pending connections that nobody took in
    ///    time are forgotten, so that their places are free for those that come next;
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

    /// As [`poll`](Self::poll), but for this poll `filter` decides on the datagrams of unknown senders, instead of the filter
    /// that is [set](Self::set_filter). It may borrow, and change, the program's own data. Otherwise the same rules hold as
    /// there, also if it panics.
    ///
    /// ```
    /// use packetpeer::{UdpServer, Verdict};
    /// # use std::collections::HashSet;
    /// # use std::net::IpAddr;
    ///
    /// let mut server = UdpServer::new();
    /// server.listen("127.0.0.1:0")?;
    /// # let banned: HashSet<IpAddr> = HashSet::new();
    /// let mut turned_away = 0;
    /// server.poll_with(|datagram, reply| match datagram.bytes {
    ///     _ if banned.contains(&datagram.sender.ip()) => {
    ///         turned_away += 1;
    ///         Verdict::Ignore
    ///     }
    ///     [b'?', ..] if !datagram.has_room => {
    ///         reply.extend_from_slice(b"F"); // the server is full
    ///         Verdict::Reply
    ///     }
    ///     [b'?', ..] => Verdict::Accept,
    ///     _ => Verdict::Ignore,
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

    /// As [`poll_with`](Self::poll_with), at the time `now`, as with [`poll_at`](Self::poll_at).
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
        let Listening { transport, batch } = self.listening.as_mut().ok_or(PollError::NotOpen)?;
        // Of a clock that goes back, no time has passed until it is where it was.
        self.told_time_at = self.told_time_at.max(by_transport);
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

    /// The time by the clock of the transport, at which [`poll`](Self::poll) polls: the system's, or that of an in-memory
    /// network. It works when the server is not listening, too, and ignores the times given to [`poll_at`](Self::poll_at).
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// What time it is between two polls: that of the last, and what has passed since by the transport's clock.
    pub(super) fn time_of_polls(&self) -> Instant {
        let passed = self.now().saturating_duration_since(self.told_time_at);
        let last = self.demux.now();
        last.checked_add(passed).unwrap_or(last)
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
