use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::served::{Served, Switch};
use super::standalone::Standalone;
use super::waker::{WaitOutcome, Waker};
use crate::demux::{ConnectionId, Mailbox, QueueLimits};
use crate::error::{BindError, ConnectError, GetError, GetIntoError, OptionError, PollError, PutError, WaitError};
use crate::packet::Packet;
use crate::packet_peer::PacketPeer;
use crate::peer_id::PeerId;
use crate::peer_state::PeerState;
use crate::socket::{Interface, SharedTransport, SocketRef, ToBindAddr, TransportFactory, TransportOption};
use crate::stats::PeerStats;

/// One end of a UDP conversation: a peer taken from a [`UdpServer`](crate::UdpServer), or a socket of its own.
///
/// Godot's `PacketPeerUDP`. The handle is the connection: dropping it ends the peer.
///
/// # Stand-alone
///
/// A client makes one by [`new`](Self::new), says whom to talk to by [`connect_to_host`](Self::connect_to_host), calls
/// [`poll`](Self::poll) once a frame, and takes what has come:
///
/// ```
/// use packetpeer::PacketPeerUdp;
///
/// let mut peer = PacketPeerUdp::new();
/// peer.connect_to_host("127.0.0.1:4433")?;
/// peer.put_packet(b"hello")?;
/// peer.poll()?;
/// while let Some(packet) = peer.get_packet()? {
///     println!("{} bytes from {}", packet.len(), packet.sender());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Taken from a server
///
/// The server's poll receives for it; its own [`poll`](Self::poll) has nothing to do. It sends through the server's
/// socket to the one address it stands for. It may move to another thread. Socket options are the server's, so the
/// methods that change them answer [`ServersPeer`](OptionError::ServersPeer).
///
/// # When it has ended
///
/// [`state`](Self::state) says why. [`put_packet`](Self::put_packet) is an error at once and reaches nobody;
/// [`get_packet`](Self::get_packet) first hands out what had been received. A stand-alone peer can be bound or
/// connected again, and then starts with nothing left of its past.
#[derive(Debug)]
#[doc(alias = "PacketPeerUDP")]
pub struct PacketPeerUdp {
    kind: Kind,
    last_sender: Option<SocketAddr>,
}

#[derive(Debug)]
enum Kind {
    Served(Served),
    // Several times the size of the other, and there are many of the other.
    Standalone(Box<Standalone>),
}

impl PacketPeerUdp {
    /// A stand-alone peer without a socket yet.
    pub fn new() -> Self {
        Self::stand_alone(Standalone::new())
    }

    /// A stand-alone peer whose sockets come from `factory`, for instance from a host of the in-memory
    /// [network](crate::sim::Network).
    pub fn with_transport(factory: impl TransportFactory + 'static) -> Self {
        Self::stand_alone(Standalone::with_factory(Arc::new(factory)))
    }

    /// A stand-alone peer on a socket of the standard library, which becomes non-blocking. A connected socket makes a
    /// connected peer.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn from_std(socket: UdpSocket) -> Result<Self, BindError> {
        Standalone::from_std(socket).map(Self::stand_alone)
    }

    pub(crate) fn served(mailbox: Arc<Mailbox>, transport: Weak<SharedTransport>) -> Self {
        Self { kind: Kind::Served(Served::new(mailbox, transport)), last_sender: None }
    }

    pub(crate) fn is_handle_of(&self, mailbox: &Arc<Mailbox>) -> bool {
        matches!(&self.kind, Kind::Served(peer) if std::ptr::eq(peer.mailbox(), Arc::as_ptr(mailbox)))
    }

    pub(crate) fn use_own_socket(
        &mut self,
        transport: Weak<SharedTransport>,
        switch: Switch,
        kernel_drops: Arc<OnceLock<u64>>,
    ) {
        if let Kind::Served(peer) = &mut self.kind {
            peer.use_own_socket(transport, switch, kernel_drops);
        }
    }

    fn stand_alone(peer: Standalone) -> Self {
        Self { kind: Kind::Standalone(Box::new(peer)), last_sender: None }
    }

    /// Opens a socket on an address of this machine; see [`ToBindAddr`] for what an address may be. The port is also
    /// the one that sends leave from.
    ///
    /// The port is this peer's alone, unless all that want it [share](Self::bind_shared) it. Needed only to be found at
    /// a known port: connecting and sending open a socket by themselves.
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the peer stays as it was.
    pub fn bind(&mut self, addr: impl ToBindAddr) -> Result<(), BindError> {
        match &mut self.kind {
            Kind::Served(_) => Err(BindError::ServersPeer),
            Kind::Standalone(peer) => peer.bind(addr, false),
        }?;
        self.last_sender = None;
        Ok(())
    }

    /// As [`bind`](Self::bind), on a port that other sockets may have too, if each of them asks for it (`SO_REUSEADDR`,
    /// on macOS and BSD with `SO_REUSEPORT`): so that one host can have several members of a multicast group.
    ///
    /// Every member receives what is sent to a group that it has [joined](Self::join_multicast_group).
    ///
    /// **For multicast only.** What is sent to an address of this host reaches *one* of the sockets on the port, and
    /// which one is the system's affair. And the port is not protected: on Linux and Windows programs of other users
    /// may ask for it too. So have unicast on another peer, with a port of its own. To spread clients over several
    /// servers there is [`SocketOptions::share_port`](crate::SocketOptions#structfield.share_port).
    ///
    /// A socket that does not ask keeps the port for itself, and cannot have one that is shared. Name the port: 0 is
    /// one of the system's choice, for the first member to find one. The in-memory network shares no port.
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv4Addr};
    /// use std::time::Duration;
    /// use packetpeer::socket::Interface;
    /// use packetpeer::PacketPeerUdp;
    ///
    /// let group = IpAddr::from([239, 255, 77, 1]);
    /// let on = Interface::Addr(Ipv4Addr::LOCALHOST);
    /// let mut members = [PacketPeerUdp::new(), PacketPeerUdp::new()];
    /// let mut port = 0;
    /// for member in &mut members {
    ///     member.bind_shared((Ipv4Addr::UNSPECIFIED, port))?;
    ///     member.join_multicast_group(group, on)?;
    ///     port = member.local_addr().unwrap().port();
    /// }
    ///
    /// let mut sender = PacketPeerUdp::new();
    /// sender.bind("127.0.0.1:0")?;
    /// sender.set_multicast_interface(on)?;
    /// sender.set_dest_address((group, port))?;
    /// sender.put_packet(b"to all of you")?;
    /// for member in &mut members {
    ///     member.wait(Some(Duration::from_secs(5)))?;
    ///     member.poll()?;
    ///     assert_eq!(&*member.get_packet()?.unwrap(), b"to all of you");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the peer stays as it was.
    #[doc(alias = "SO_REUSEADDR")]
    pub fn bind_shared(&mut self, addr: impl ToBindAddr) -> Result<(), BindError> {
        match &mut self.kind {
            Kind::Served(_) => Err(BindError::ServersPeer),
            Kind::Standalone(peer) => peer.bind(addr, true),
        }?;
        self.last_sender = None;
        Ok(())
    }

    /// Fixes the remote (`connect(2)`): packets go there, and packets from anywhere else are dropped and counted.
    /// Nothing is sent.
    ///
    /// `host` may be an address, a text such as `"203.0.113.7:4433"`, or a name and port such as `("localhost", 4433)`.
    /// **A name is looked up in this call, which blocks**; do that outside the frame loop, or resolve elsewhere and
    /// pass the address. Of a host's several addresses it takes the first that the socket can reach. A peer without a
    /// socket opens one that speaks both IP versions. May be called again to change the remote; what was received from
    /// the former is dropped.
    ///
    /// An unspecified address, such as the [`local_addr`](crate::UdpServer::local_addr) of a server on a bare port, means
    /// this host, on every system: the address that the peer is bound to, if it is bound to one, or else the loopback
    /// address. [`remote_addr`](Self::remote_addr) shows whom the peer is connected to. From a broadcast address or a
    /// group nobody answers, so these are errors: have them as a [destination](Self::set_dest_address).
    ///
    /// **A peer stays at the address of this host from which it was connected.** When a telephone goes from Wi-Fi to
    /// mobile, or a laptop wakes up in another network, puts are [`PutError::Unreachable`] with IPv4, for ever, and the
    /// [`state`](Self::state) is still [`Open`](PeerState::Open); with IPv6 they may go on to succeed, and no answer
    /// comes. So have a rule in the client: where nothing has come for a time in which something should have, such as two
    /// seconds in a game whose server sends all the time, call this again with the same address, and again after the next
    /// two seconds. The socket keeps its port, and gets the address that the routing table now says. To the server that is
    /// a new address: a new connection, or, where it goes by [connection ids](crate::identity::Identity), the same one.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]; the peer stays as it was.
    pub fn connect_to_host(&mut self, host: impl ToSocketAddrs) -> Result<(), ConnectError> {
        match &mut self.kind {
            Kind::Served(_) => Err(ConnectError::ServersPeer),
            Kind::Standalone(peer) => peer.connect_to_host(host),
        }?;
        self.last_sender = None;
        Ok(())
    }

    /// Says where packets go without fixing from where they may come. The socket is opened by the first put, or by
    /// [`bind`](Self::bind).
    ///
    /// As for [`connect_to_host`](Self::connect_to_host), **a name is looked up in this call, which blocks**, the first
    /// address that can be reached is taken, and an unspecified one means this host, as soon as there is a socket. Broadcast
    /// and multicast addresses are fine; enable [broadcasts](Self::set_broadcast_enabled) first, so that a way to them is
    /// found.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]; the destination stays as it was.
    pub fn set_dest_address(&mut self, host: impl ToSocketAddrs) -> Result<(), ConnectError> {
        match &mut self.kind {
            Kind::Served(_) => Err(ConnectError::ServersPeer),
            Kind::Standalone(peer) => peer.set_dest_address(host),
        }
    }

    /// Takes what has arrived from the socket, at most 4 096 datagrams. Call it once a frame, or more often.
    ///
    /// Nothing to do, and no error, for a server's peer.
    ///
    /// # Errors
    ///
    /// See [`PollError`]. Noise of the network, such as an answer that nobody listens, is counted and no error.
    pub fn poll(&mut self) -> Result<(), PollError> {
        match &mut self.kind {
            Kind::Served(_) => Ok(()),
            Kind::Standalone(peer) => peer.poll(),
        }
    }

    /// What time it is where this peer's packets come from: that of the system for real sockets, and the virtual one on the
    /// in-memory [network](crate::sim::Network). For layers above, so that their timers go by the clock by which the peer is
    /// polled.
    ///
    /// A server's peer has the server's clock, also after the server has stopped.
    pub fn now(&self) -> Instant {
        match &self.kind {
            Kind::Served(peer) => peer.clock_now(),
            Kind::Standalone(peer) => peer.clock_now(),
        }
    }

    /// Sends `bytes` as one datagram; none at all make an empty datagram. Never blocks and never spins.
    ///
    /// It is sent at once, but for a server's peer where the server's [`SendMode`](crate::SendMode) says otherwise: then
    /// `Ok` may also say that it waits to be sent.
    ///
    /// # Errors
    ///
    /// See [`PutError`]; the datagram was not sent, does not wait either, and is counted under its reason.
    pub fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        match &mut self.kind {
            Kind::Served(peer) => peer.put(bytes),
            Kind::Standalone(peer) => peer.put(bytes),
        }
    }

    /// Takes the packet that has waited longest; `Ok(None)` where none waits now. Does no input or output.
    ///
    /// A peer that has ended is no failure of the frame, so do not let `?` make one of it:
    ///
    /// ```
    /// # use packetpeer::PacketPeerUdp;
    /// # fn game(_: &[u8]) {}
    /// /// Reads all that has come. Returns whether the peer goes on.
    /// fn read(peer: &mut PacketPeerUdp) -> bool {
    ///     loop {
    ///         match peer.get_packet() {
    ///             Ok(Some(packet)) => game(&packet),
    ///             Ok(None) => return true,
    ///             Err(_ended) => return false,
    ///         }
    ///     }
    /// }
    /// # let _ = read;
    /// ```
    ///
    /// # Errors
    ///
    /// There is nothing and never will be: see [`GetError`].
    pub fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        match &self.kind {
            // Most calls find nothing: each frame's last one for each peer.
            Kind::Served(peer) if peer.has_nothing_now() => Ok(None),
            _ => self.take_packet(),
        }
    }

    #[inline(never)]
    fn take_packet(&mut self) -> Result<Option<Packet>, GetError> {
        let packet = match &mut self.kind {
            Kind::Served(peer) => peer.get(),
            Kind::Standalone(peer) => peer.get(),
        }?;
        if let Some(packet) = &packet {
            self.last_sender = Some(packet.sender());
        }
        Ok(packet)
    }

    /// Copies the packet that has waited longest to the start of `buffer` and returns its length in bytes; `Ok(None)`
    /// where none waits now. Does no input or output.
    ///
    /// # Errors
    ///
    /// See [`GetIntoError`]; a packet that does not fit stays where it is.
    pub fn get_packet_into(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, GetIntoError> {
        match &self.kind {
            Kind::Served(peer) if peer.has_nothing_now() => Ok(None),
            _ => self.take_packet_into(buffer),
        }
    }

    #[inline(never)]
    fn take_packet_into(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, GetIntoError> {
        let packet = match &mut self.kind {
            Kind::Served(peer) => peer.get_up_to(buffer.len()),
            Kind::Standalone(peer) => peer.get_up_to(buffer.len()),
        }?;
        let Some(packet) = packet else { return Ok(None) };
        let bytes = packet.whole();
        buffer[..bytes.len()].copy_from_slice(bytes);
        self.last_sender = Some(packet.sender());
        Ok(Some(bytes.len()))
    }

    /// Ends the peer. What had been received can still be taken, and what was put before and waits is still sent; the
    /// remote is not told. Never blocks and never fails; a second call does nothing.
    ///
    /// A server forgets the address at its next poll: a datagram that comes from there afterwards is a new connection.
    pub fn close(&mut self) {
        match &mut self.kind {
            Kind::Served(peer) => peer.mailbox().close(),
            Kind::Standalone(peer) => peer.close(),
        }
    }

    /// Blocks until something has come, a [`Waker`] wakes, or `timeout` is over (`None` = never).
    ///
    /// For programs that have no frame to draw. A stand-alone peer waits for its socket: poll afterwards. A server's
    /// peer waits for its own queue, which the server's poll fills on another thread. On the in-memory network it never
    /// blocks.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, WaitError> {
        match &mut self.kind {
            Kind::Served(peer) => peer.wait(timeout),
            Kind::Standalone(peer) => peer.wait(timeout),
        }
    }

    /// A handle by which another thread can end a [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// [`WaitError::Io`] where the system has no more descriptors for it.
    pub fn waker(&mut self) -> Result<Waker, WaitError> {
        match &mut self.kind {
            Kind::Served(peer) => Ok(peer.waker()),
            Kind::Standalone(peer) => peer.waker(),
        }
    }

    /// Allows or forbids sending to broadcast addresses (`SO_BROADCAST`), as a
    /// [destination](Self::set_dest_address). Forbidden by default. Holds for the sockets that this peer opens later too,
    /// from before anything is sent by them.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_broadcast_enabled(&mut self, enabled: bool) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_broadcast_enabled(enabled)
    }

    /// Receives what is sent to a multicast group on this peer's port, from now until it is left or closed.
    ///
    /// Bind first, to the group's port:
    ///
    /// - of every address of the group's IP version, `0.0.0.0` or `[::]`. That works everywhere. Bound to one address
    ///   of the host, a peer receives groups on Windows only; bound to the group's own address, it receives on Unix
    ///   only, and that group alone; and a bare port (both IP versions) has IPv4 groups not on every system;
    /// - by [`bind_shared`](Self::bind_shared) where others on this host may want the same group and port.
    ///
    /// From the first join on, of all groups only those that this peer has joined are received. Before, a peer on every
    /// address hears on Linux what anybody on the host has joined on that port (`IP_MULTICAST_ALL`). What is sent to an
    /// address of the host comes as ever.
    ///
    /// A membership is of one interface. `interface` says which: on a host with several it is better named than
    /// [`Default`](Interface::Default). IPv6 takes an [`Index`](Interface::Index) ([`Interface::by_name`]), and needs
    /// it for groups of the link, `ff02::/16`.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn join_multicast_group(&mut self, group: IpAddr, interface: Interface) -> Result<(), OptionError> {
        self.stand_alone_mut()?.join_group(group, interface)
    }

    /// Leaves a multicast group again, on the interface on which it was joined. What had been received before can still
    /// be polled and taken.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn leave_multicast_group(&mut self, group: IpAddr, interface: Interface) -> Result<(), OptionError> {
        self.stand_alone_mut()?.leave_group(group, interface)
    }

    /// Chooses the interface that multicast packets leave by. Default: the routing table's choice.
    ///
    /// On a bare port, this and the two options below are those of both IP versions on Linux, Android and Windows. macOS,
    /// iOS and FreeBSD have them there for IPv6 groups only, and leave those of IPv4 as they are: bind to `0.0.0.0` for
    /// these.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_multicast_interface(&mut self, interface: Interface) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_option(TransportOption::MulticastInterface(interface))
    }

    /// How many hops multicast packets travel. Default 1: the local network; 0: this host, but Linux lets IPv4
    /// ones out all the same where nobody on it has joined the group.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_multicast_ttl(&mut self, hops: u8) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_option(TransportOption::MulticastTtl(hops))
    }

    /// Whether multicast packets sent here reach members on this very host (`IP_MULTICAST_LOOP`). Default: yes.
    ///
    /// On Windows it is the receiver that decides: set it on both. What is sent by the loopback interface comes back in
    /// any case.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_multicast_loop(&mut self, enabled: bool) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_option(TransportOption::MulticastLoop(enabled))
    }

    /// Lets the next [`connect_to_host`](Self::connect_to_host) take the server's first answer from another port of the
    /// same host, and go on with that port: for servers that give each client a socket of its own
    /// ([`Switch::AtOnce`]). [`remote_addr`](Self::remote_addr) then shows the new port. Off by default.
    ///
    /// Only the host connected to is heard, its first port and the one that it answered from first. Whoever can forge
    /// that host's address can choose the port. A peer that was connected without this has to be closed first. Of a
    /// host name's several addresses the first is taken, without asking for a way to it.
    ///
    /// # Errors
    ///
    /// [`OptionError::ServersPeer`].
    pub fn set_follow_port(&mut self, follow: bool) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_follow_port(follow);
        Ok(())
    }

    /// Bytes to ask of the system for datagrams that wait for the next poll (`SO_RCVBUF`), by the sockets that a
    /// stand-alone peer opens from now on; `None`, the default, leaves the system's own, on Linux some 256 small
    /// datagrams.
    ///
    /// For a peer that receives more between two polls, such as many replies at a time. What is refused is asked for
    /// again by half; what was granted is in [`receive_buffer_size`](Self::receive_buffer_size). Raise
    /// [`set_queue_limits`](Self::set_queue_limits) too. A server has
    /// [`SocketOptions::receive_buffer`](crate::SocketOptions#structfield.receive_buffer).
    ///
    /// # Errors
    ///
    /// [`OptionError::ServersPeer`]; [`OptionError::InvalidConfig`] for `Some(0)`, and what was asked for before stays.
    pub fn set_receive_buffer(&mut self, bytes: Option<usize>) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_receive_buffer(bytes)
    }

    /// How much may wait to be taken from a stand-alone peer. What comes beyond is dropped, counted, and logged by one line
    /// per kind and minute. A server's peers follow the server's [`Limits::queue`](crate::Limits#structfield.queue).
    ///
    /// # Errors
    ///
    /// [`OptionError::ServersPeer`].
    pub fn set_queue_limits(&mut self, limits: QueueLimits) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_queue_limits(limits);
        Ok(())
    }

    /// This peer's id.
    pub fn id(&self) -> PeerId {
        match &self.kind {
            Kind::Served(peer) => peer.mailbox().id(),
            Kind::Standalone(peer) => peer.id(),
        }
    }

    /// The connection id by which a server knows this peer, where it goes by ids.
    pub fn connection_id(&self) -> Option<ConnectionId> {
        match &self.kind {
            Kind::Served(peer) => peer.mailbox().connection(),
            Kind::Standalone(_) => None,
        }
    }

    /// Whether packets come and go, and if not, why.
    pub fn state(&self) -> PeerState {
        match &self.kind {
            Kind::Served(peer) => peer.mailbox().ended().map_or(PeerState::Open, PeerState::Ended),
            Kind::Standalone(peer) => peer.state(),
        }
    }

    /// Why the peer has ended; `None` as long as it has not.
    pub fn close_reason(&self) -> Option<crate::CloseReason> {
        if let PeerState::Ended(reason) = self.state() { Some(reason) } else { None }
    }

    /// Packets that can be taken without a further poll. Does no input or output.
    #[doc(alias = "get_available_packet_count")]
    pub fn available_packet_count(&self) -> usize {
        match &self.kind {
            Kind::Served(peer) => peer.mailbox().waiting(),
            Kind::Standalone(peer) => peer.available_packet_count(),
        }
    }

    /// The sender of the packet taken last, `None` before the first.
    #[doc(alias = "get_packet_ip")]
    #[doc(alias = "get_packet_port")]
    pub fn packet_addr(&self) -> Option<SocketAddr> {
        self.last_sender
    }

    /// Where packets go: a server's peer knows it from the start, a stand-alone peer when it has been told. A peer
    /// known by a connection id may move.
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Served(peer) => Some(peer.mailbox().remote()),
            Kind::Standalone(peer) => peer.destination(),
        }
    }

    /// Whether the remote is known to receive where it is. Of a server's peer that is so until it moves, which one known
    /// by a [connection id](crate::identity::Identity::ConnectionId) does, and again from
    /// [`UdpServer::confirm_move`](crate::UdpServer::confirm_move) on, or when it is back where it was so last; until
    /// then no more than three times what came from there is sent. Of a stand-alone peer it is always so.
    pub fn is_address_confirmed(&self) -> bool {
        match &self.kind {
            Kind::Served(peer) => peer.mailbox().is_confirmed(),
            Kind::Standalone(_) => true,
        }
    }

    /// Where the socket is bound to by which packets leave: for a server's peer, the server's, or its own if it was
    /// given [one](crate::UdpServer::dedicate_socket). `None` without a socket.
    #[doc(alias = "get_local_port")]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Served(peer) => peer.local_addr(),
            Kind::Standalone(peer) => peer.local_addr(),
        }
    }

    /// Whether the peer has a socket to receive by. It says nothing about the remote.
    pub fn is_bound(&self) -> bool {
        self.state() == PeerState::Open
    }

    /// Whether the remote is fixed, so that packets come from nowhere else. It says nothing about whether anybody is
    /// there.
    pub fn is_socket_connected(&self) -> bool {
        match &self.kind {
            Kind::Served(peer) => peer.mailbox().ended().is_none(),
            Kind::Standalone(peer) => peer.is_connected(),
        }
    }

    /// Largest packet that can be sent to the remote, in bytes: 65,507 over IPv4, 65,527 over IPv6, or what the socket's
    /// [transport](crate::socket::Transport::max_payload) says. Above some 1,200 the network may have to cut it in
    /// pieces, and loses all where it loses one.
    pub fn max_packet_size(&self) -> usize {
        match &self.kind {
            Kind::Served(peer) => peer.max_packet_size(),
            Kind::Standalone(peer) => peer.max_packet_size(),
        }
    }

    /// The socket of a stand-alone peer, to set options the crate does not know or to wait for it beside others.
    #[doc(alias = "AsFd")]
    #[doc(alias = "AsSocket")]
    pub fn socket(&self) -> Option<SocketRef<'_>> {
        match &self.kind {
            Kind::Served(_) => None,
            Kind::Standalone(peer) => peer.socket(),
        }
    }

    /// Bytes the system granted a stand-alone peer's socket for datagrams that wait for the next poll, where it tells.
    pub fn receive_buffer_size(&self) -> Option<usize> {
        match &self.kind {
            Kind::Served(_) => None,
            Kind::Standalone(peer) => peer.receive_buffer_size(),
        }
    }

    /// What this peer has seen so far.
    ///
    /// Where the kernel tells what it has dropped, this asks it, if the peer has a socket for itself: one system call.
    pub fn stats(&self) -> PeerStats {
        match &self.kind {
            Kind::Served(peer) => peer.stats(),
            Kind::Standalone(peer) => peer.stats(),
        }
    }

    fn stand_alone_mut(&mut self) -> Result<&mut Standalone, OptionError> {
        match &mut self.kind {
            Kind::Served(_) => Err(OptionError::ServersPeer),
            Kind::Standalone(peer) => Ok(peer),
        }
    }
}

impl Default for PacketPeerUdp {
    fn default() -> Self {
        Self::new()
    }
}

impl PacketPeer for PacketPeerUdp {
    fn poll(&mut self) -> Result<(), PollError> {
        self.poll()
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        self.get_packet()
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.put_packet(bytes)
    }

    fn available_packet_count(&self) -> usize {
        self.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.max_packet_size()
    }
}
