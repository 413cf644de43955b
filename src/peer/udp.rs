use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::served::{Served, Switch};
use super::standalone::Standalone;
use super::waker::{WaitOutcome, Waker};
use crate::demux::{ConnectionId, Mailbox};
use crate::error::{BindError, GetError, GetIntoError, OptionError, PollError, PutError, WaitError};
use crate::packet::Packet;
use crate::peer_id::PeerId;
use crate::peer_state::{CloseReason, PeerState};
use crate::socket::{SharedTransport, TransportFactory};
use crate::stats::{PeerStats, PollReport};

/// One end of a UDP conversation: a peer taken from a [`UdpServer`](crate::UdpServer), or a socket of its own.
///
/// Godot's `PacketPeerUDP`. The handle is the connection: dropping it ends the peer.
///
/// # Stand-alone
///
/// A client makes one by [`new`](Self::new), connects it by [`connect_to_host`](Self::connect_to_host), calls
/// [`poll`](Self::poll) once per frame, and takes what has arrived:
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
    pub(super) kind: Kind,
    pub(super) last_sender: Option<SocketAddr>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Served(Served),
    // Several times the size of the other, and there are many of the other.
    Standalone(Box<Standalone>),
}

/// # Making one
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
}

impl Default for PacketPeerUdp {
    fn default() -> Self {
        Self::new()
    }
}

/// # Every peer
impl PacketPeerUdp {
    /// Takes what has arrived from the socket, at most [`max_per_poll`](Self::max_per_poll) datagrams, and reports how many
    /// there were and what became of them. Call it once per frame, or more often.
    ///
    /// The report is of the same type as a server's; its counts of connections are 0. If
    /// [`more_waiting`](PollReport#structfield.more_waiting) is set, the budget was used up: poll again, or leave the rest to
    /// the next frame.
    ///
    /// A server's peer has nothing to do, also when it has ended: the report is empty.
    ///
    /// # Errors
    ///
    /// See [`PollError`]: [`NotOpen`](PollError::NotOpen) before there is a socket, [`SocketFailed`](PollError::SocketFailed)
    /// from the poll that finds it unusable, [`Ended`](PollError::Ended) from then on, and after [`close`](Self::close).
    /// Network noise, such as an ICMP answer that the port is closed, is counted and is not an error.
    pub fn poll(&mut self) -> Result<PollReport, PollError> {
        match &mut self.kind {
            Kind::Served(_) => Ok(PollReport::default()),
            Kind::Standalone(peer) => peer.poll(),
        }
    }

    /// As [`poll`](Self::poll), at the time `now`, which becomes the [`received_at`](Packet::received_at) of the packets it
    /// takes.
    ///
    /// Time never runs backwards: a time earlier than that of a former poll counts as that one. So poll a peer by one clock
    /// only.
    ///
    /// # Errors
    ///
    /// As [`poll`](Self::poll).
    pub fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        match &mut self.kind {
            Kind::Served(_) => Ok(PollReport::default()),
            Kind::Standalone(peer) => peer.poll_at(now),
        }
    }

    /// The time by the clock of this peer's transport: the system's for real sockets, virtual on the in-memory
    /// [network](crate::sim::Network). For layers above, so that their timers go by the same clock as the polls.
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

    /// Whether [`put_packet`](Self::put_packet) would take a packet of `len` bytes now, as far as can be told without asking
    /// the system: `true`, unless
    ///
    /// - the peer has ended, or has no destination;
    /// - the packet is larger than [`max_packet_size`](Self::max_packet_size);
    /// - it would have to wait, by the server's [`SendMode`](crate::SendMode), and the
    ///   [`send_queue`](crate::Limits#structfield.send_queue) or
    ///   [`max_queued_bytes`](crate::Limits#structfield.max_queued_bytes) has no room for it, even if older packets would be
    ///   dropped to make room. It is `true` again after the flush that makes room;
    /// - the peer has moved to an address that is not [confirmed](Self::is_address_confirmed), and the packet exceeds what
    ///   may go there, after all that waits (an empty packet counts as a byte or two).
    ///
    /// Only a put shows whether the system's own queue is full: [`WouldBlock`](PutError::WouldBlock) may come all the same, or
    /// [`QueueFull`](PutError::QueueFull) for a packet larger than the whole send queue in the mode
    /// [`QueueWhenBlocked`](crate::SendMode::QueueWhenBlocked). Does no input or output.
    pub fn can_put(&self, len: usize) -> bool {
        if len > self.max_packet_size() {
            return false;
        }
        match &self.kind {
            Kind::Served(peer) => peer.can_put(len),
            Kind::Standalone(peer) => peer.can_put(),
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
    pub fn close_reason(&self) -> Option<CloseReason> {
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

    /// Whether the remote is known to receive at its address. For a server's peer this is true until it moves, which only a
    /// peer known by a [connection id](crate::identity::Identity::ConnectionId) can. It is true again after
    /// [`UdpServer::confirm_move`](crate::UdpServer::confirm_move), or when the peer returns to the last confirmed address;
    /// until then no more than three times what came from the new address is sent there. Always true for a stand-alone peer.
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
    /// [transport](crate::socket::Transport::max_payload) says. The network may have to cut a packet above some 1,200 bytes
    /// into pieces, and if one of them is lost, the packet is.
    pub fn max_packet_size(&self) -> usize {
        match &self.kind {
            Kind::Served(peer) => peer.max_packet_size(),
            Kind::Standalone(peer) => peer.max_packet_size(),
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
}

impl PacketPeerUdp {
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

    pub(super) fn stand_alone_mut(&mut self) -> Result<&mut Standalone, OptionError> {
        match &mut self.kind {
            Kind::Served(_) => Err(OptionError::ServersPeer),
            Kind::Standalone(peer) => Ok(peer),
        }
    }
}
