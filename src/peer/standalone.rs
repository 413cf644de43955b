use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::waker::{SocketWait, WaitOutcome, Waker};
use crate::address::{canonical, is_answerable};
use crate::clock::Clock;
use crate::datagram::{Datagram, ReceiveBatch};
use crate::demux::{PacketQueue, QueueLimits};
use crate::error::{
    BindError, ConfigError, ConnectError, GetError, GetIntoError, OptionError, PollError, PutError, WaitError,
};
use crate::notices::Notices;
use crate::packet::{Packet, PacketPool};
use crate::peer_id::PeerId;
use crate::peer_state::{CloseReason, PeerState};
use crate::socket::{
    BindAddr, BindOptions, Interface, MaxPayload, Sink, SocketRef, SystemSockets, ToBindAddr, Transport,
    TransportFactory, TransportOption, blocked_by_missing_broadcast_flag, check_remote, meant, receive_all, send,
};
use crate::stats::{DropReason, PeerStats, SendDropReason};

/// Datagrams that one poll takes from the socket.
const MAX_PER_POLL: usize = 4096;

/// Datagrams that one call of the system takes: few, since each has room for the largest.
const BATCH: usize = 4;
const SLOT: usize = 1 << 16;

thread_local! {
    /// Room to receive into, while no peer of this thread does. With one each, the thousands of clients of a load test
    /// would take a GiB.
    #[allow(clippy::missing_const_for_thread_local, reason = "it is; for MinGW and Android the lint does not see that")]
    static ROOM: Cell<Option<ReceiveBatch>> = const { Cell::new(None) };
}

/// A peer with a socket of its own.
pub(super) struct Standalone {
    id: PeerId,
    factory: Arc<dyn TransportFactory>,
    clock: Clock,
    socket: Socket,
    inbox: Inbox,
    destination: Option<SocketAddr>,
    source: Source,
    follow_port: bool,
    broadcast: bool,
    receive_buffer: Option<usize>,
    wait: SocketWait,
    notices: Notices,
}

/// From whom packets are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Anybody,
    /// From there only; the system filters.
    Connected(SocketAddr),
    /// From there, or from the first other port of the same host that sends; filtered here, since the system would let
    /// only one port pass.
    Host {
        first: SocketAddr,
        then: Option<SocketAddr>,
    },
}

impl Source {
    /// Whether a packet from `sender` is taken; and where packets go from now on, if that changes by it.
    fn admits(&mut self, sender: SocketAddr) -> (bool, Option<SocketAddr>) {
        match self {
            Self::Anybody => (true, None),
            Self::Connected(remote) => (*remote == sender, None),
            Self::Host { first, then } => {
                if sender == *first || Some(sender) == *then {
                    return (true, None);
                }
                let scope = |addr: SocketAddr| if let SocketAddr::V6(addr) = addr { addr.scope_id() } else { 0 };
                let is_same_host = sender.ip() == first.ip() && scope(sender) == scope(*first);
                let follows = then.is_none() && is_same_host && is_answerable(sender);
                if follows {
                    *then = Some(sender);
                }
                (follows, *then)
            }
        }
    }
}

enum Socket {
    Unbound,
    Open(Open),
    Ended(CloseReason),
}

struct Open {
    transport: Box<dyn Transport>,
    local_addr: SocketAddr,
    max_payload: MaxPayload,
}

/// What has been received and not yet taken, and the counters.
struct Inbox {
    queue: PacketQueue<Packet>,
    limits: QueueLimits,
    pool: PacketPool,
    stats: PeerStats,
}

impl Standalone {
    pub(super) fn new() -> Self {
        Self::with_factory(Arc::new(SystemSockets))
    }

    pub(super) fn with_factory(factory: Arc<dyn TransportFactory>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let limits = QueueLimits::default();
        Self {
            id: PeerId::stand_alone(NEXT.fetch_add(1, Ordering::Relaxed)),
            clock: factory.clock(),
            factory,
            socket: Socket::Unbound,
            inbox: Inbox {
                queue: PacketQueue::default(),
                limits,
                pool: PacketPool::new(limits.bytes),
                stats: PeerStats::default(),
            },
            destination: None,
            source: Source::Anybody,
            follow_port: false,
            broadcast: false,
            receive_buffer: None,
            wait: SocketWait::default(),
            notices: Notices::new(),
        }
    }

    pub(super) fn from_std(socket: UdpSocket) -> Result<Self, BindError> {
        let mut peer = Self::new();
        let remote = socket.peer_addr().ok().map(canonical);
        let transport = peer.factory.adopt(socket).map_err(BindError::from)?;
        peer.open(transport)?;
        peer.destination = remote;
        peer.source = remote.map_or(Source::Anybody, Source::Connected);
        Ok(peer)
    }

    pub(super) fn bind(&mut self, addr: impl ToBindAddr, shared: bool) -> Result<(), BindError> {
        if matches!(self.socket, Socket::Open(_)) {
            return Err(BindError::AlreadyOpen);
        }
        let mut options = self.bind_options(addr.to_bind_addr()?);
        options.reuse_address = shared;
        self.bind_as(&options)
    }

    pub(super) fn connect_to_host(&mut self, host: impl ToSocketAddrs) -> Result<(), ConnectError> {
        let candidates = resolve(host)?;
        // A connected socket hears one port only, and stays connected.
        if self.follow_port && matches!(self.source, Source::Connected(_)) {
            return Err(ConnectError::Connected);
        }
        let remote = match &mut self.socket {
            Socket::Open(open) => {
                let remote = connect_to_first(&mut *open.transport, &candidates, self.follow_port)?;
                open.local_addr = open.transport.local_addr().map_or(open.local_addr, canonical);
                remote
            }
            // The new socket takes the place of none, or of an ended one, only when it is connected.
            Socket::Unbound | Socket::Ended(_) => {
                let mut transport = self.socket_by(&self.bind_options(BindAddr::Any(0))).map_err(ConnectError::Bind)?;
                let remote = connect_to_first(&mut *transport, &candidates, self.follow_port)?;
                self.open(transport).map_err(ConnectError::Bind)?;
                remote
            }
        };
        self.inbox.discard();
        self.destination = Some(remote);
        self.source =
            if self.follow_port { Source::Host { first: remote, then: None } } else { Source::Connected(remote) };
        Ok(())
    }

    pub(super) fn set_dest_address(&mut self, host: impl ToSocketAddrs) -> Result<(), ConnectError> {
        if self.is_connected() {
            return Err(ConnectError::Connected);
        }
        let mut candidates = resolve(host)?;
        // Without a socket this host has no address yet: `open` will tell.
        if let Socket::Open(open) = &self.socket {
            let found = candidates.into_iter().map(|candidate| meant(&*open.transport, candidate));
            candidates = found.filter(|&candidate| open.transport.reaches(candidate)).collect();
        }
        let first = *candidates.first().ok_or(ConnectError::WrongFamily)?;
        let reachable = candidates.len() == 1 || self.has_route(first);
        let chosen = if reachable { None } else { candidates.iter().copied().find(|&to| self.has_route(to)) };
        self.destination = Some(chosen.unwrap_or(first));
        if matches!(self.socket, Socket::Ended(_)) {
            self.inbox.discard();
            self.socket = Socket::Unbound;
        }
        Ok(())
    }

    /// Whether the system knows a way to `to`. Connecting a datagram socket asks just that, and sends nothing.
    fn has_route(&self, to: SocketAddr) -> bool {
        let scratch = self.socket_by(&BindOptions::new(BindAddr::Any(0)));
        scratch.is_ok_and(|mut scratch| scratch.reaches(to) && scratch.connect(to).is_ok())
    }

    pub(super) fn poll(&mut self) -> Result<(), PollError> {
        let Socket::Open(open) = &mut self.socket else { return Err(PollError::NotOpen) };
        let now = self.clock.now();
        let mut intake = PeerIntake {
            inbox: &mut self.inbox,
            source: &mut self.source,
            destination: &mut self.destination,
            now,
            left: MAX_PER_POLL,
            overflowed: false,
        };
        // While a thread ends its variables are gone, and a peer may still be polled by the end of another.
        let room = ROOM.try_with(Cell::take).ok().flatten();
        let mut batch = room.unwrap_or_else(|| ReceiveBatch::new(BATCH, SLOT));
        let left = receive_all(&*open.transport, &mut batch, &mut intake);
        let _ = ROOM.try_with(|room| room.set(Some(batch)));
        if intake.overflowed || self.notices.has_more() {
            self.notices.tell(now, &self.inbox.stats.drops);
        }
        match left {
            Ok(_) => Ok(()),
            Err(error) => {
                self.end(CloseReason::SocketFailed);
                Err(PollError::SocketFailed(error))
            }
        }
    }

    #[inline(never)]
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.inbox.stats.put += 1;
        let result = self.send(bytes);
        let stats = &mut self.inbox.stats;
        match &result {
            Ok(()) => {
                stats.sent += 1;
                stats.sent_bytes += bytes.len() as u64;
            }
            Err(error) => stats.send_drops.add(SendDropReason::from(error), 1),
        }
        result
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        if let Socket::Ended(reason) = self.socket {
            return Err(PutError::Ended(reason));
        }
        if matches!(self.socket, Socket::Unbound) && self.destination.is_some() {
            self.bind_as(&self.bind_options(BindAddr::Any(0))).map_err(PutError::Bind)?;
        }
        let (Socket::Open(open), Some(destination)) = (&self.socket, self.destination) else {
            return Err(PutError::NoDestination);
        };
        match send(&*open.transport, open.max_payload, bytes, destination, None) {
            Err(PutError::PermissionDenied(error))
                if !self.broadcast && blocked_by_missing_broadcast_flag(&*open.transport, &error, destination) =>
            {
                Err(PutError::BroadcastNotEnabled)
            }
            result => result,
        }
    }

    #[inline(never)]
    pub(super) fn get(&mut self) -> Result<Option<Packet>, GetError> {
        match (self.inbox.take(), &self.socket) {
            (None, Socket::Unbound) => Err(GetError::NotOpen),
            (None, Socket::Ended(reason)) => Err(GetError::Ended(*reason)),
            (packet, _) => Ok(packet),
        }
    }

    /// As [`Standalone::get`], unless the packet is longer than `room`.
    #[inline(never)]
    pub(super) fn get_up_to(&mut self, room: usize) -> Result<Option<Packet>, GetIntoError> {
        if let Some(size) = self.inbox.queue.front().map(|packet| packet.len()).filter(|&size| size > room) {
            return Err(GetIntoError::BufferTooSmall { size, room });
        }
        Ok(self.get()?)
    }

    pub(super) fn close(&mut self) {
        if !matches!(self.socket, Socket::Ended(_)) {
            self.end(CloseReason::Closed);
        }
    }

    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, WaitError> {
        if self.inbox.queue.len() > 0 {
            return Ok(WaitOutcome::Ready);
        }
        match &self.socket {
            Socket::Open(open) => {
                let transport = &open.transport;
                self.wait.wait(|interrupt| transport.wait(timeout, interrupt)).map_err(WaitError::Io)
            }
            Socket::Unbound => Err(WaitError::NotOpen),
            Socket::Ended(reason) => Err(WaitError::Ended(*reason)),
        }
    }

    pub(super) fn waker(&mut self) -> Result<Waker, WaitError> {
        self.wait.waker().map_err(WaitError::Io)
    }

    pub(super) fn set_broadcast_enabled(&mut self, enabled: bool) -> Result<(), OptionError> {
        if let Socket::Open(open) = &self.socket {
            set(&*open.transport, TransportOption::Broadcast(enabled))?;
        }
        self.broadcast = enabled;
        Ok(())
    }

    pub(super) fn join_group(&mut self, group: IpAddr, interface: Interface) -> Result<(), OptionError> {
        self.set_option(TransportOption::JoinGroup(multicast(group)?, interface))
    }

    pub(super) fn leave_group(&mut self, group: IpAddr, interface: Interface) -> Result<(), OptionError> {
        self.set_option(TransportOption::LeaveGroup(multicast(group)?, interface))
    }

    pub(super) fn set_option(&self, option: TransportOption) -> Result<(), OptionError> {
        let Socket::Open(open) = &self.socket else { return Err(OptionError::NotOpen) };
        set(&*open.transport, option)
    }

    pub(super) fn set_follow_port(&mut self, follow: bool) {
        self.follow_port = follow;
    }

    pub(super) fn set_receive_buffer(&mut self, bytes: Option<usize>) -> Result<(), OptionError> {
        if bytes == Some(0) {
            let needs = "at least 1, or None for the system's";
            return Err(OptionError::InvalidConfig(ConfigError { name: "receive_buffer", needs }));
        }
        self.receive_buffer = bytes;
        Ok(())
    }

    pub(super) fn set_queue_limits(&mut self, limits: QueueLimits) {
        self.inbox.limits = limits;
    }

    pub(super) fn id(&self) -> PeerId {
        self.id
    }

    pub(super) fn state(&self) -> PeerState {
        match &self.socket {
            Socket::Unbound => PeerState::Unbound,
            Socket::Open(_) => PeerState::Open,
            Socket::Ended(reason) => PeerState::Ended(*reason),
        }
    }

    pub(super) fn available_packet_count(&self) -> usize {
        self.inbox.queue.len()
    }

    pub(super) fn destination(&self) -> Option<SocketAddr> {
        self.destination
    }

    /// To the destination; without a socket or a destination, what is certain.
    pub(super) fn max_packet_size(&self) -> usize {
        let max = if let Socket::Open(open) = &self.socket { open.max_payload } else { MaxPayload::of_udp() };
        self.destination.map_or(max.to_all(), |to| max.to(to))
    }

    /// What time it is for this peer, whether it has a socket or not.
    pub(super) fn clock_now(&self) -> Instant {
        self.clock.now()
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        if let Socket::Open(open) = &self.socket { Some(open.local_addr) } else { None }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.source != Source::Anybody
    }

    pub(super) fn socket(&self) -> Option<SocketRef<'_>> {
        if let Socket::Open(open) = &self.socket { open.transport.socket() } else { None }
    }

    pub(super) fn receive_buffer_size(&self) -> Option<usize> {
        if let Socket::Open(open) = &self.socket { open.transport.receive_buffer_size() } else { None }
    }

    pub(super) fn stats(&self) -> PeerStats {
        let mut stats = self.inbox.stats;
        stats.queued = self.inbox.queue.len() as u64;
        stats.queued_bytes = self.inbox.queue.bytes() as u64;
        stats.kernel_drops = self.kernel_drops();
        stats
    }

    /// What the kernel has dropped at this peer's sockets so far, where it tells.
    fn kernel_drops(&self) -> Option<u64> {
        let before = self.inbox.stats.kernel_drops;
        let now = if let Socket::Open(open) = &self.socket { open.transport.kernel_drops() } else { None };
        now.map_or(before, |now| Some(before.unwrap_or(0) + now))
    }

    fn bind_options(&self, addr: BindAddr) -> BindOptions {
        let mut options = BindOptions::new(addr);
        options.receive_buffer = self.receive_buffer;
        options
    }

    fn bind_as(&mut self, options: &BindOptions) -> Result<(), BindError> {
        let transport = self.socket_by(options)?;
        self.open(transport)
    }

    /// A new socket, which may send to broadcast addresses if this peer may.
    fn socket_by(&self, options: &BindOptions) -> Result<Box<dyn Transport>, BindError> {
        let transport = self.factory.bind(options).map_err(BindError::from)?;
        if self.broadcast {
            transport.set_option(TransportOption::Broadcast(true)).map_err(BindError::from)?;
        }
        Ok(transport)
    }

    /// Starts anew on `transport`: what was left of an earlier socket is gone, so that old packets never pass for new
    /// ones.
    fn open(&mut self, transport: Box<dyn Transport>) -> Result<(), BindError> {
        let local_addr = canonical(transport.local_addr().map_err(BindError::from)?);
        self.destination = self.destination.map(|to| meant(&*transport, to));
        self.inbox.discard();
        let max_payload = MaxPayload::of(&*transport);
        self.socket = Socket::Open(Open { transport, local_addr, max_payload });
        Ok(())
    }

    fn end(&mut self, reason: CloseReason) {
        self.inbox.stats.kernel_drops = self.kernel_drops();
        self.socket = Socket::Ended(reason);
        self.destination = None;
        self.source = Source::Anybody;
    }
}

impl fmt::Debug for Standalone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standalone")
            .field("state", &self.state())
            .field("local_addr", &self.local_addr())
            .field("destination", &self.destination)
            .field("source", &self.source)
            .field("waiting", &self.available_packet_count())
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// Returns whether there was room.
    fn receive(&mut self, sender: SocketAddr, bytes: &[u8], now: Instant) -> bool {
        let packet = self.pool.copy(bytes, &sender, now);
        let Some(lost) = self.queue.push(packet, &self.limits) else { return true };
        self.stats.drops.add(lost.bound.into(), lost.packets);
        false
    }

    fn take(&mut self) -> Option<Packet> {
        let packet = self.queue.pop()?;
        self.stats.delivered += 1;
        Some(packet)
    }

    fn discard(&mut self) {
        let unread = std::mem::take(&mut self.queue);
        self.stats.drops.add(DropReason::Unread, unread.len() as u64);
    }
}

/// One poll's way from the socket to the inbox.
struct PeerIntake<'a> {
    inbox: &'a mut Inbox,
    /// The system filters others only from the time of the connect on.
    source: &'a mut Source,
    destination: &'a mut Option<SocketAddr>,
    now: Instant,
    left: usize,
    /// Something was dropped for want of room.
    overflowed: bool,
}

impl Sink for PeerIntake<'_> {
    fn budget(&self) -> usize {
        self.left
    }

    fn take(&mut self, batch: &ReceiveBatch) {
        self.left -= batch.len();
        for datagram in batch.iter() {
            self.sort(&datagram);
        }
    }

    fn truncated(&mut self) {
        self.inbox.stats.received += 1;
        self.inbox.stats.drops.add(DropReason::TooLarge, 1);
        self.overflowed = true;
    }

    fn noise(&mut self) {
        self.inbox.stats.noise += 1;
    }
}

impl PeerIntake<'_> {
    fn sort(&mut self, datagram: &Datagram<'_>) {
        let bytes = datagram.bytes;
        let sender = canonical(datagram.sender);
        let stats = &mut self.inbox.stats;
        stats.received += 1;
        stats.received_bytes += bytes.len() as u64;
        let (admitted, follow) = self.source.admits(sender);
        if follow.is_some() {
            *self.destination = follow;
        }
        if !admitted {
            stats.drops.add(DropReason::Stranger, 1);
        } else if datagram.cut {
            stats.drops.add(DropReason::TooLarge, 1);
            self.overflowed = true;
        } else {
            self.overflowed |= !self.inbox.receive(sender, bytes, self.now);
        }
    }
}

/// Connects to the first of `candidates` to which there is a way.
fn connect_to_first(
    transport: &mut dyn Transport,
    candidates: &[SocketAddr],
    follow_port: bool,
) -> Result<SocketAddr, ConnectError> {
    let mut result = Err(ConnectError::WrongFamily);
    for &candidate in candidates {
        let remote = meant(transport, candidate);
        if !transport.reaches(remote) {
            continue;
        }
        if let Err(error) = check_remote(transport, remote) {
            result = Err(error);
            continue;
        }
        // The system would keep the answer from another port away.
        if follow_port {
            return Ok(remote);
        }
        match transport.connect(candidate) {
            Ok(remote) => return Ok(meant(transport, remote)),
            Err(error) => result = Err(ConnectError::Unreachable(error)),
        }
    }
    result
}

/// The addresses of a host, in the resolver's order. Blocks where a name has to be looked up.
fn resolve(host: impl ToSocketAddrs) -> Result<Vec<SocketAddr>, ConnectError> {
    let found: Vec<_> = host.to_socket_addrs().map_err(ConnectError::Unresolved)?.map(canonical).collect();
    if found.is_empty() {
        return Err(ConnectError::Unresolved(std::io::ErrorKind::NotFound.into()));
    }
    let usable: Vec<_> = found.into_iter().filter(|addr| addr.port() != 0).collect();
    if usable.is_empty() { Err(ConnectError::NoPort) } else { Ok(usable) }
}

fn multicast(group: IpAddr) -> Result<IpAddr, OptionError> {
    let group = group.to_canonical();
    if group.is_multicast() { Ok(group) } else { Err(OptionError::NotMulticast(group)) }
}

fn set(transport: &dyn Transport, option: TransportOption) -> Result<(), OptionError> {
    transport.set_option(option).map_err(|error| match error.kind() {
        std::io::ErrorKind::Unsupported => OptionError::Unsupported,
        _ => OptionError::Io(error),
    })
}
