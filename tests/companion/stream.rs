//! A stream transport of one's own: packets behind their lengths, one handle per stream, polled with the server.
//!
//! It knows nothing of the crate but what is public, and nothing of sockets: what carries the bytes is a [`Pipe`].

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use packetpeer::error::{GetError, PollError, PutError, UnknownPeer};
use packetpeer::identity::PeerIds;
use packetpeer::socket::Clock;
use packetpeer::stats::{FlushReport, PeerStats, PollReport, Stat};
use packetpeer::{CloseReason, Packet, PacketPeer, PacketPool, PacketServer, PeerId, PeerState};

use crate::pipes::{Gate, Pipe};

/// Longest packet, in bytes.
pub(crate) const MAX_PACKET: usize = 2_000;
/// Packets that wait to be taken, and bytes that wait to leave. What comes after them stays in the pipe, or is not put.
const MAX_WAITING: usize = 32;
const MAX_UNSENT: usize = 3 * MAX_PACKET;
/// What the server says first; until then a client is connecting.
const GREETING: u8 = 0xa5;
pub(crate) const GREETING_WITHIN: Duration = Duration::from_secs(5);

/// What the two sides of a handle share: the handle, and the server that polls for it.
#[derive(Debug)]
struct Stream {
    id: PeerId,
    pipe: Box<dyn Pipe>,
    remote: SocketAddr,
    state: PeerState,
    since: Instant,
    inbox: VecDeque<Packet>,
    pool: PacketPool,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    stats: PeerStats,
}

impl Stream {
    fn new(id: PeerId, pipe: Box<dyn Pipe>, remote: SocketAddr, pool: PacketPool, now: Instant) -> Self {
        Self {
            id,
            pipe,
            remote,
            state: PeerState::Connecting,
            since: now,
            inbox: VecDeque::new(),
            pool,
            unread: Vec::new(),
            unsent: Vec::new(),
            stats: PeerStats::default(),
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if !matches!(self.state, PeerState::Ended(_)) {
            self.state = PeerState::Ended(reason);
        }
    }

    /// Moves what can be moved. Returns how many packets came.
    fn advance(&mut self, now: Instant) -> usize {
        if matches!(self.state, PeerState::Ended(_)) {
            return 0;
        }
        let before = self.stats.received;
        let result = self.write().and_then(|()| self.read(now));
        match result {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.end(CloseReason::Reset),
            Err(_) => self.end(CloseReason::SocketFailed),
            Ok(()) if self.state == PeerState::Connecting && now >= self.since + GREETING_WITHIN => {
                self.end(CloseReason::TimedOut);
            }
            Ok(()) => {}
        }
        (self.stats.received - before) as usize
    }

    fn write(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.pipe.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, now: Instant) -> io::Result<()> {
        let mut chunk = [0; 4_096];
        while self.inbox.len() < MAX_WAITING {
            match self.pipe.read(&mut chunk) {
                Ok(0) => {
                    self.end(CloseReason::ClosedByRemote);
                    break;
                }
                Ok(len) => self.unread.extend(&chunk[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
            self.take_apart(now);
            if matches!(self.state, PeerState::Ended(_)) {
                break;
            }
        }
        Ok(())
    }

    /// Makes packets of what has been read.
    fn take_apart(&mut self, now: Instant) {
        if self.state == PeerState::Connecting {
            match self.unread.first() {
                None => return,
                Some(&GREETING) => self.state = PeerState::Open,
                Some(_) => return self.end(CloseReason::HandshakeFailed),
            }
            self.unread.remove(0);
        }
        let mut at = 0;
        while let Some(head) = self.unread[at..].first_chunk::<4>() {
            let len = u32::from_le_bytes(*head) as usize;
            if len > MAX_PACKET {
                self.end(CloseReason::Malformed);
                break;
            }
            let Some(bytes) = self.unread.get(at + 4..at + 4 + len) else { break };
            self.inbox.push_back(self.pool.packet(bytes, self.remote, now));
            self.stats.received += 1;
            self.stats.received_bytes += len as u64;
            at += 4 + len;
        }
        self.unread.drain(..at);
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        match self.state {
            PeerState::Ended(reason) => return Err(PutError::Ended(reason)),
            PeerState::Open => {}
            _ => return Err(PutError::NotReady),
        }
        if bytes.len() > MAX_PACKET {
            return Err(PutError::TooLarge { size: bytes.len(), limit: MAX_PACKET });
        }
        if !self.has_room_for(bytes.len()) {
            return Err(PutError::QueueFull);
        }
        self.unsent.extend((bytes.len() as u32).to_le_bytes());
        self.unsent.extend(bytes);
        self.stats.put += 1;
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        Ok(())
    }

    fn has_room_for(&self, len: usize) -> bool {
        self.unsent.len() + 4 + len <= MAX_UNSENT
    }
}

/// One end of a stream, a client's or a server's.
#[derive(Debug)]
pub(crate) struct StreamPeer {
    stream: Arc<Mutex<Stream>>,
    clock: Clock,
    /// The server polls for its peers.
    is_served: bool,
}

impl StreamPeer {
    pub(crate) fn over(pipe: Box<dyn Pipe>, remote: SocketAddr, clock: Clock) -> Self {
        let pool = PacketPool::new(64 * 1_024);
        let stream = Stream::new(PeerId::stand_alone(), pipe, remote, pool, clock.now());
        Self { stream: Arc::new(Mutex::new(stream)), clock, is_served: false }
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().expect("nobody panics with it")
    }
}

impl PacketPeer for StreamPeer {
    fn id(&self) -> PeerId {
        self.stream().id
    }

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        let mut report = PollReport::default();
        if self.is_served {
            return Ok(report);
        }
        let mut stream = self.stream();
        if let PeerState::Ended(reason) = stream.state {
            return Err(PollError::Ended(reason));
        }
        report.received = stream.advance(now);
        report.queued = report.received;
        Ok(report)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        let mut stream = self.stream();
        match (stream.inbox.pop_front(), stream.state) {
            (Some(packet), _) => {
                stream.stats.delivered += 1;
                Ok(Some(packet))
            }
            (None, PeerState::Ended(reason)) => Err(GetError::Ended(reason)),
            (None, _) => Ok(None),
        }
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.stream().put(bytes)
    }

    fn can_put(&self, len: usize) -> bool {
        let stream = self.stream();
        stream.state == PeerState::Open && len <= MAX_PACKET && stream.has_room_for(len)
    }

    fn available_packet_count(&self) -> usize {
        self.stream().inbox.len()
    }

    fn max_packet_size(&self) -> usize {
        MAX_PACKET
    }

    fn state(&self) -> PeerState {
        self.stream().state
    }

    fn close(&mut self) {
        let mut stream = self.stream();
        let _ = stream.write();
        stream.end(CloseReason::Closed);
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        Some(self.stream().remote)
    }

    fn stats(&self) -> PeerStats {
        let stream = self.stream();
        let mut stats = stream.stats;
        stats.queued = stream.inbox.len() as u64;
        stats
    }
}

impl Drop for StreamPeer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Takes streams in at a [`Gate`].
#[derive(Debug)]
pub(crate) struct StreamServer {
    gate: Option<Box<dyn Gate>>,
    clock: Clock,
    ids: PeerIds,
    pool: PacketPool,
    streams: BTreeMap<PeerId, Arc<Mutex<Stream>>>,
    pending: VecDeque<PeerId>,
    ended: Vec<(PeerId, CloseReason)>,
    is_draining: bool,
    accepted: u64,
}

impl StreamServer {
    pub(crate) fn at(gate: impl Gate + 'static, clock: Clock) -> Self {
        Self {
            gate: Some(Box::new(gate)),
            clock,
            ids: PeerIds::new(),
            pool: PacketPool::new(256 * 1_024),
            streams: BTreeMap::new(),
            pending: VecDeque::new(),
            ended: Vec::new(),
            is_draining: false,
            accepted: 0,
        }
    }

    fn accept(&mut self, now: Instant, report: &mut PollReport) {
        while !self.is_draining {
            let Some(Ok((pipe, remote))) = self.gate.as_mut().map(|gate| gate.accept()) else { break };
            let id = self.ids.issue();
            let mut stream = Stream::new(id, pipe, remote, self.pool.clone(), now);
            stream.state = PeerState::Open;
            stream.unsent.push(GREETING);
            self.streams.insert(id, Arc::new(Mutex::new(stream)));
            self.pending.push_back(id);
            self.accepted += 1;
            report.new_connections += 1;
        }
    }

    /// Forgets those that have ended, and says so: of a pending one when it has been taken, with what it had sent.
    fn let_go(&mut self) {
        let Self { streams, ended, ids, pending, .. } = self;
        streams.retain(|&id, stream| {
            let PeerState::Ended(reason) = lock(stream).state else { return true };
            if pending.contains(&id) {
                return true;
            }
            ended.push((id, reason));
            ids.release(id);
            false
        });
    }
}

fn lock(stream: &Arc<Mutex<Stream>>) -> MutexGuard<'_, Stream> {
    stream.lock().expect("nobody panics with it")
}

impl PacketServer for StreamServer {
    type Peer = StreamPeer;

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        if self.gate.is_none() {
            return Err(PollError::NotOpen);
        }
        let mut report = PollReport::default();
        self.accept(now, &mut report);
        for stream in self.streams.values() {
            report.received += lock(stream).advance(now);
        }
        report.queued = report.received;
        self.let_go();
        Ok(report)
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn flush(&mut self) -> Result<FlushReport, PollError> {
        if self.gate.is_none() {
            return Err(PollError::NotOpen);
        }
        for stream in self.streams.values() {
            let mut stream = lock(stream);
            if stream.write().is_err() {
                stream.end(CloseReason::SocketFailed);
            }
        }
        Ok(FlushReport::default())
    }

    fn take_connection(&mut self) -> Option<StreamPeer> {
        let id = self.pending.pop_front()?;
        let stream = Arc::clone(self.streams.get(&id)?);
        Some(StreamPeer { stream, clock: self.clock.clone(), is_served: true })
    }

    fn ready(&mut self, ids: &mut Vec<PeerId>) {
        let pending = &self.pending;
        let has_packets =
            |(id, stream): &(&PeerId, &Arc<Mutex<Stream>>)| !pending.contains(id) && !lock(stream).inbox.is_empty();
        ids.extend(self.streams.iter().filter(has_packets).map(|(&id, _)| id));
    }

    fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        ended.append(&mut self.ended);
    }

    fn peer_count(&self) -> usize {
        self.streams.len() - self.pending.len()
    }

    fn pending_count(&self) -> usize {
        self.pending.len()
    }

    fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        let stream = self.streams.get(&id).ok_or(UnknownPeer(id))?;
        lock(stream).end(CloseReason::Closed);
        self.let_go();
        Ok(())
    }

    fn drain(&mut self) {
        self.is_draining = true;
    }

    fn is_draining(&self) -> bool {
        self.is_draining
    }

    fn stop(&mut self) {
        self.gate = None;
        for id in self.pending.drain(..) {
            self.streams.remove(&id);
            self.ids.release(id);
        }
        for stream in self.streams.values() {
            lock(stream).end(CloseReason::ServerStopped);
        }
        self.let_go();
        self.is_draining = false;
    }

    fn is_listening(&self) -> bool {
        self.gate.is_some()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.gate.as_ref().map(|gate| gate.local_addr())
    }

    fn visit_stats(&self, visit: &mut dyn FnMut(Stat)) {
        visit(Stat::counter("streams", "accepted", "Streams taken in so far.", self.accepted));
        visit(Stat::gauge("streams", "peers", "Peers at the moment.", self.peer_count() as u64));
    }
}
