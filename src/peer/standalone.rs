use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::inbox::Inbox;
use super::resolve::{connect_to_first, resolve};
use super::source::Source;
use super::waker::{SocketWait, WaitOutcome, Waker};
use crate::address::canonical;
use crate::clock::Clock;
use crate::demux::QueueLimits;
use crate::error::{
    BindError, ConfigError, ConnectError, GetError, GetIntoError, OptionError, PollError, PutError, WaitError,
};
use crate::packet::Packet;
use crate::peer_id::PeerId;
use crate::peer_state::{CloseReason, PeerState};
use crate::socket::{
    BindAddr, BindOptions, Interface, MaxPayload, SocketRef, SystemSockets, ToBindAddr, Transport, TransportFactory,
    TransportOption, blocked_by_missing_broadcast_flag, drop_reason, meant, send,
};
use crate::stats::{PeerStats, PollReport};

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

impl Standalone {
    pub(super) fn new() -> Self {
        Self::with_factory(Arc::new(SystemSockets))
    }

    pub(super) fn with_factory(factory: Arc<dyn TransportFactory>) -> Self {
        Self {
            id: PeerId::stand_alone(),
            clock: factory.clock(),
            factory,
            socket: Socket::Unbound,
            inbox: Inbox::default(),
            destination: None,
            source: Source::Anybody,
            follow_port: false,
            broadcast: false,
            receive_buffer: None,
            wait: SocketWait::default(),
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

    pub(super) fn poll(&mut self) -> Result<PollReport, PollError> {
        self.poll_at(self.clock_now())
    }

    pub(super) fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        let open = match &self.socket {
            Socket::Unbound => return Err(PollError::NotOpen),
            Socket::Ended(reason) => return Err(PollError::Ended(*reason)),
            Socket::Open(open) => open,
        };
        let received = self.inbox.receive(&*open.transport, &mut self.source, &mut self.destination, now);
        received.map_err(|error| {
            self.end(CloseReason::SocketFailed);
            PollError::SocketFailed(error)
        })
    }

    /// The time by this peer's clock, whether it has a socket or not.
    pub(super) fn clock_now(&self) -> Instant {
        self.clock.now()
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
            Err(error) => drop_reason(error).into_iter().for_each(|reason| stats.send_drops.add(reason, 1)),
        }
        result
    }

    /// Whether there is a destination, and a socket, or one that the next put opens.
    pub(super) fn can_put(&self) -> bool {
        let Some(destination) = self.destination else { return false };
        match &self.socket {
            Socket::Unbound => true,
            Socket::Open(open) => open.transport.reaches(destination),
            Socket::Ended(_) => false,
        }
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
        check(bytes != Some(0), "receive_buffer", "at least 1, or None for the system's")?;
        self.receive_buffer = bytes;
        Ok(())
    }

    pub(super) fn set_queue_limits(&mut self, limits: QueueLimits) -> Result<(), OptionError> {
        check(limits.packets > 0, "queue_limits", "of at least 1 packet, or nothing is ever received")?;
        check(limits.bytes > 0, "queue_limits", "of at least 1 byte, or nothing but empty packets is ever received")?;
        self.inbox.set_limits(limits);
        Ok(())
    }

    pub(super) fn set_max_per_poll(&mut self, datagrams: usize) -> Result<(), OptionError> {
        check(datagrams > 0, "max_per_poll", "at least 1, or a poll takes nothing")?;
        self.inbox.max_per_poll = datagrams;
        Ok(())
    }

    pub(super) fn max_per_poll(&self) -> usize {
        self.inbox.max_per_poll
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

    /// For the destination; without a socket or a destination, the size that is certain.
    pub(super) fn max_packet_size(&self) -> usize {
        let max = if let Socket::Open(open) = &self.socket { open.max_payload } else { MaxPayload::of_udp() };
        self.destination.map_or(max.to_all(), |to| max.to(to))
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
        now.map_or(before, |now| Some(before.unwrap_or(0).saturating_add(now)))
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

/// Refuses a value that makes no sense, where it is given.
fn check(makes_sense: bool, name: &'static str, needs: &'static str) -> Result<(), OptionError> {
    if makes_sense { Ok(()) } else { Err(OptionError::InvalidConfig(ConfigError::new(name, needs))) }
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
