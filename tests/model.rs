//! The server against a model of it: random things are done to both, and after each they have to agree in everything
//! that can be seen from outside, down to the last counter.
//!
//! A run has 10 000 cases. `PACKETPEER_CASES` sets another number, and `PACKETPEER_SEED` the seed of the first; each
//! next case has the next seed. A case that fails prints its seed and the shortest list of steps that still fails.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};
use std::{env, thread};

use packetpeer::sim::Network;
use packetpeer::{
    AfterClose, BindError, CloseReason, ConnectError, GetError, GetIntoError, IpPrefix, Limits, PacketPeerUdp, PeerId,
    PeerState, PeerStats, PollReport, PutError, QueueLimits, ReceiveDrops, SendDrops, ServerConfig, ServerStats,
    SocketOptions, UdpServer, Verdict, WhenFull,
};

const CASES: u64 = 10_000;
const STEPS: usize = 100;

const SERVER_V4: &str = "10.0.0.1:7777";
const SERVER_V6: &str = "[2001:db8:1::1]:7777";
const SERVER_PORT: u16 = 7777;

/// What a socket of the network holds where nobody asks for a size, in bytes.
const SYSTEMS_BUFFER: usize = 212_992;

/// Some share an IP address, and those of 2001:db8:0:0::/64 count as one.
const CLIENTS: [&str; 9] = [
    "10.0.0.2:1000",
    "10.0.0.2:1001",
    "10.0.0.2:1002",
    "10.0.0.3:1000",
    "10.1.0.4:1000",
    "[2001:db8::2]:1000",
    "[2001:db8::3]:1000",
    "[2001:db8::3]:1001",
    "[2001:db8:0:1::2]:1000",
];

/// Whom the server speaks to of itself: the clients, two that are not there, and port 0.
static TARGETS: LazyLock<Vec<SocketAddr>> = LazyLock::new(|| {
    let others = ["10.0.0.9:9", "[2001:db8::9]:9", "10.0.0.2:0"];
    CLIENTS.iter().chain(&others).map(|addr| addr.parse().unwrap()).collect()
});

fn server_addr_for(other: SocketAddr) -> SocketAddr {
    if other.is_ipv4() { SERVER_V4 } else { SERVER_V6 }.parse().unwrap()
}

/// What a case starts with.
#[derive(Debug)]
struct Setup {
    limits: Limits,
    max_packet_size: usize,
    receive_buffer: Option<usize>,
}

/// One thing that is done. Handles, peers and clients are meant modulo how many there are, so that a list of steps
/// stays a list of steps when some are left out.
#[derive(Debug, Clone)]
enum Step {
    Send { client: usize, kind: u8, size: usize, count: usize },
    Collect { client: usize },
    Advance { millis: u64 },
    Poll,
    PollAt { millis_from_now: i64 },
    Take,
    Get { handle: usize },
    GetAll { handle: usize },
    GetInto { handle: usize, room: usize },
    Put { handle: usize, size: usize },
    CloseHandle { handle: usize },
    DropHandle { handle: usize },
    ServerClose { peer: usize },
    Connect { target: usize },
    SendTo { target: usize, size: usize },
    Drain,
    Stop,
    Listen { on: Reach },
    Filter { style: Option<Style> },
    Limits { limits: Box<Limits> },
    Nonsense { limits: Box<Limits> },
    MaxPending { connections: usize },
    Ready,
    Ended,
}

/// Which senders a bound address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Both,
    V4,
    V6,
}

impl Reach {
    fn reaches(self, addr: SocketAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => addr.is_ipv4(),
            Self::V6 => addr.is_ipv6(),
        }
    }
}

/// What a filter does.
#[derive(Debug, Clone, Copy)]
enum Style {
    /// It follows the first byte.
    ByKind,
    Ignore,
    Consume,
    Accept,
}

fn decide(style: Style, bytes: &[u8]) -> (Verdict, Vec<u8>) {
    let reply = |len: usize| bytes.iter().copied().cycle().take(len).collect();
    let by_kind = |kind: u8| match kind % 8 {
        0 => (Verdict::Ignore, reply(1)),
        1 => (Verdict::Consume, reply(1)),
        2 => (Verdict::Reply, reply(bytes.len())),
        3 => (Verdict::Reply, reply(bytes.len() - 1)),
        4 => (Verdict::Reply, reply(bytes.len() + 1)),
        _ => (Verdict::Accept, reply(1)),
    };
    match style {
        Style::ByKind => bytes.first().map_or((Verdict::Reply, Vec::new()), |&kind| by_kind(kind)),
        Style::Ignore => (Verdict::Ignore, Vec::new()),
        Style::Consume => (Verdict::Consume, Vec::new()),
        Style::Accept => (Verdict::Accept, Vec::new()),
    }
}

/// Bytes that tell which datagram they are, as far as they go.
fn payload(kind: u8, mark: u32, size: usize) -> Vec<u8> {
    let mut bytes = vec![kind; size];
    for (byte, mark) in bytes.iter_mut().skip(1).zip(mark.to_le_bytes()) {
        *byte = mark;
    }
    bytes
}

// ---------------------------------------------------------------------------------------------------------------------
// The model: everybody in one map in the order of arrival, every look-up a walk. Times count from the network's start.

#[derive(Debug)]
struct Model {
    /// What the last poll was told, and what it was by the network's clock then.
    now: Duration,
    polled_at: Duration,
    /// The first and the last of the polls in a row that have not seen the socket empty.
    flooded: Option<(Duration, Duration)>,
    after_pause: bool,
    limits: Limits,
    max_packet_size: usize,
    listening: Option<Reach>,
    draining: bool,
    filter: Option<Style>,
    filter_asked: u64,
    replies: u64,
    parties: BTreeMap<usize, Party>,
    next_name: usize,
    /// The most that were known at a time.
    most_known: usize,
    /// Those that no poll has seen yet, in the order in which they were closed.
    closed_handles: Vec<usize>,
    refused: Vec<(SocketAddr, Duration)>,
    ended: Vec<Ended>,
    stats: ServerStats,
    report: PollReport,
    wire: Wire,
}

/// Somebody the server knows, or whose handle is still held.
#[derive(Debug)]
struct Party {
    addr: SocketAddr,
    stage: Stage,
    /// Whether it counts for its IP address is settled when it comes.
    counts: bool,
    queue: VecDeque<Waiting>,
    last_heard: Duration,
    offered_in_poll: usize,
    end: Option<CloseReason>,
    known: bool,
    held: bool,
    stats: PeerStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pending { since: Duration },
    Peer,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    at: Duration,
}

#[derive(Debug)]
struct Ended {
    name: usize,
    reason: CloseReason,
    polled: bool,
}

/// What is on its way.
#[derive(Debug)]
struct Wire {
    to_server: Inbox,
    to_clients: BTreeMap<SocketAddr, Inbox>,
    lost: u64,
}

/// What waits in the buffer of a socket.
#[derive(Debug)]
struct Inbox {
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    capacity: usize,
}

impl Inbox {
    fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), capacity }
    }

    fn accept(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        let cost = |bytes: &[u8]| bytes.len() + 256;
        let waiting: usize = self.waiting.iter().map(|(_, bytes)| cost(bytes)).sum();
        let fits = waiting + cost(bytes) <= self.capacity;
        if fits {
            self.waiting.push_back((from, bytes.to_vec()));
        }
        fits
    }
}

impl Wire {
    fn new(server_capacity: usize) -> Self {
        let clients = CLIENTS.iter().map(|addr| (addr.parse().unwrap(), Inbox::new(SYSTEMS_BUFFER)));
        Self { to_server: Inbox::new(server_capacity), to_clients: clients.collect(), lost: 0 }
    }

    fn carry_to_server(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.lost += u64::from(!self.to_server.accept(from, bytes));
    }

    fn carry_to_client(&mut self, to: SocketAddr, bytes: &[u8]) {
        let from = server_addr_for(to);
        let accepted = self.to_clients.get_mut(&to).is_some_and(|inbox| inbox.accept(from, bytes));
        self.lost += u64::from(!accepted);
    }
}

impl Model {
    fn new(setup: &Setup) -> Self {
        Self {
            now: Duration::ZERO,
            polled_at: Duration::ZERO,
            flooded: None,
            after_pause: false,
            limits: setup.limits.clone(),
            max_packet_size: setup.max_packet_size,
            listening: None,
            draining: false,
            filter: None,
            filter_asked: 0,
            replies: 0,
            parties: BTreeMap::new(),
            next_name: 0,
            most_known: 0,
            closed_handles: Vec::new(),
            refused: Vec::new(),
            ended: Vec::new(),
            stats: ServerStats::default(),
            report: PollReport::default(),
            wire: Wire::new(setup.receive_buffer.unwrap_or(SYSTEMS_BUFFER)),
        }
    }

    /// Polls at a time of the caller's; by the network's clock it is `clock`.
    fn poll(&mut self, at: Duration, clock: Duration) -> PollReport {
        self.report = PollReport::default();
        self.now = self.now.max(at);
        self.polled_at = clock;
        self.ended.retain(|ended| !ended.polled);
        for name in std::mem::take(&mut self.closed_handles) {
            if self.parties.get(&name).is_some_and(|party| party.known) {
                self.take_up_closed(name, self.now);
                self.report.closed += 1;
            }
        }
        // One that is refused for a shorter time than those before it keeps its place until they are over.
        while self.refused.first().is_some_and(|&(_, until)| until <= self.now) {
            self.refused.remove(0);
        }
        self.expire_pending();
        self.parties.values_mut().for_each(|party| party.offered_in_poll = 0);

        let (mut known, mut unknown) = (self.limits.max_known_per_poll, self.limits.max_unknown_per_poll);
        self.report.more_waiting = true;
        while known > 0 && unknown > 0 {
            let Some((sender, bytes)) = self.wire.to_server.waiting.pop_front() else {
                self.report.more_waiting = false;
                break;
            };
            let whose = if self.sort(sender, &bytes) { &mut known } else { &mut unknown };
            *whose -= 1;
        }
        self.end_the_idle();
        self.ended.iter_mut().for_each(|ended| ended.polled = true);
        self.report
    }

    fn expire_pending(&mut self) {
        let Some(lifetime) = self.limits.pending_lifetime else { return };
        let now = self.now;
        let is_over = |party: &Party| matches!(party.stage, Stage::Pending { since } if now - since >= lifetime);
        for name in self.names(is_over) {
            self.stats.connections.expired += 1;
            self.report.expired += 1;
            self.forget_pending(name, |drops| &mut drops.pending_expired);
        }
    }

    fn end_the_idle(&mut self) {
        let Some(timeout) = self.limits.idle_timeout else {
            (self.flooded, self.after_pause) = (None, false);
            return;
        };
        let now = self.now;
        let silence = match self.flooded_for(timeout) {
            None => timeout,
            Some(time) if time >= timeout => 2 * timeout,
            Some(_) => return,
        };
        for name in self.names(|party| party.is_open_peer() && now.saturating_sub(party.last_heard) >= silence) {
            self.stats.connections.idle += 1;
            self.report.idle += 1;
            self.end(name, CloseReason::Idle, now);
        }
    }

    /// For how long no poll has seen the socket empty. The first long pause begins that anew.
    fn flooded_for(&mut self, timeout: Duration) -> Option<Duration> {
        if !self.report.more_waiting {
            self.flooded = None;
            self.after_pause = false;
            return None;
        }
        let now = self.now;
        let (mut since, last) = self.flooded.unwrap_or((now, now));
        let is_pause = now - last >= timeout;
        if is_pause && !self.after_pause {
            since = now;
        }
        self.after_pause = is_pause;
        self.flooded = Some((since, now));
        Some(now - since)
    }

    /// What time it is between two polls.
    fn between(&self, clock: Duration) -> Duration {
        self.now + (clock - self.polled_at)
    }

    /// Returns whether it was for somebody known.
    fn sort(&mut self, sender: SocketAddr, bytes: &[u8]) -> bool {
        // Of what is too long, one byte more than is accepted is read.
        let seen = bytes.len().min(self.max_packet_size + 1) as u64;
        self.stats.received += 1;
        self.stats.received_bytes += seen;
        self.report.received += 1;
        let known = self.find_open(sender);
        if let Some(party) = known.and_then(|name| self.parties.get_mut(&name)) {
            party.stats.received += 1;
            party.stats.received_bytes += seen;
            party.last_heard = party.last_heard.max(self.now);
            // What is too long uses up the quota too.
            party.offered_in_poll += usize::from(bytes.len() > self.max_packet_size);
        }
        if bytes.len() > self.max_packet_size {
            self.lose(known, 1, |drops| &mut drops.too_large);
            return known.is_some();
        }
        let Some(name) = known.or_else(|| self.meet(sender, bytes)) else { return false };
        self.deliver(name, bytes);
        true
    }

    /// Somebody unknown: admitted under a name, or not.
    fn meet(&mut self, sender: SocketAddr, bytes: &[u8]) -> Option<usize> {
        if self.refused.iter().any(|&(addr, until)| addr == sender && self.now < until) {
            self.lose(None, 1, |drops| &mut drops.refused);
            return None;
        }
        if let Some(style) = self.filter {
            self.filter_asked += 1;
            let (verdict, reply) = decide(style, bytes);
            if verdict == Verdict::Ignore {
                self.lose(None, 1, |drops| &mut drops.filtered);
                return None;
            }
            if verdict == Verdict::Reply && reply.len() > bytes.len() {
                self.lose(None, 1, |drops| &mut drops.reply_too_long);
                return None;
            }
            if verdict != Verdict::Accept {
                self.stats.consumed += 1;
                self.report.consumed += 1;
                if verdict == Verdict::Reply {
                    self.replies += 1;
                    self.stats.put += 1;
                    self.send(sender, &reply);
                }
                return None;
            }
        }
        self.admit(sender, bytes.len())
    }

    fn admit(&mut self, sender: SocketAddr, size: usize) -> Option<usize> {
        let counts = self.counts(sender);
        let pending = self.pending().filter(|(_, party)| party.counts_with(sender.ip())).count();
        let known = self.names(|party| party.known && party.counts_with(sender.ip())).len();
        if self.draining {
            self.lose(None, 1, |drops| &mut drops.draining);
        } else if self.pending().count() >= self.limits.max_pending_connections {
            self.lose(None, 1, |drops| &mut drops.pending_full);
        } else if self.known_count() >= self.limits.max_peers {
            self.lose(None, 1, |drops| &mut drops.peers_full);
        } else if counts && pending >= self.limits.max_pending_per_ip {
            self.lose(None, 1, |drops| &mut drops.pending_per_ip_full);
        } else if counts && self.limits.max_peers_per_ip.is_some_and(|max| known >= max) {
            self.lose(None, 1, |drops| &mut drops.peers_per_ip_full);
        } else {
            let name = self.add(sender, Stage::Pending { since: self.now });
            let party = self.party(name);
            party.stats.received = 1;
            party.stats.received_bytes = size as u64;
            self.stats.connections.opened += 1;
            self.report.new_connections += 1;
            return Some(name);
        }
        None
    }

    fn counts(&self, addr: SocketAddr) -> bool {
        !self.limits.exempt_from_per_ip.iter().any(|prefix| prefix.contains(addr.ip()))
    }

    fn deliver(&mut self, name: usize, bytes: &[u8]) {
        let queued_bytes = self.queued_bytes();
        let (limits, now) = (self.limits.clone(), self.now);
        let party = self.party(name);
        party.offered_in_poll += 1;
        if limits.quota_per_poll.is_some_and(|quota| party.offered_in_poll > quota) {
            return self.lose(Some(name), 1, |drops| &mut drops.quota);
        }
        if queued_bytes + bytes.len() > limits.max_queued_bytes {
            return self.lose(Some(name), 1, |drops| &mut drops.server_bytes);
        }
        let queue = &mut party.queue;
        let full_by_packets = queue.len() >= limits.queue.packets;
        let fits = |queue: &VecDeque<Waiting>| {
            queue.len() < limits.queue.packets && bytes_of(queue) + bytes.len() <= limits.queue.bytes
        };
        let could_ever_fit = fits(&VecDeque::new());
        let mut lost = 0;
        while limits.queue.when_full == WhenFull::DropOldest && could_ever_fit && !fits(queue) {
            queue.pop_front();
            lost += 1;
        }
        if fits(queue) {
            queue.push_back(Waiting { bytes: bytes.to_vec(), at: now });
            self.report.queued += 1;
        } else {
            lost += 1;
        }
        if full_by_packets {
            self.lose(Some(name), lost, |drops| &mut drops.queue_packets);
        } else {
            self.lose(Some(name), lost, |drops| &mut drops.queue_bytes);
        }
    }

    fn take(&mut self, clock: Duration) -> Option<usize> {
        let name = self.pending().next()?.0;
        self.stats.connections.taken += 1;
        self.accept(name, clock);
        Some(name)
    }

    fn connect(&mut self, addr: SocketAddr, clock: Duration) -> Result<usize, &'static str> {
        let reach = self.listening.ok_or("not listening")?;
        if addr.port() == 0 {
            return Err("no port");
        }
        if !reach.reaches(addr) {
            return Err("wrong family");
        }
        for name in std::mem::take(&mut self.closed_handles) {
            if self.parties.get(&name).is_some_and(|party| party.known) {
                self.take_up_closed(name, self.between(clock));
            }
        }
        let name = match self.find(addr) {
            Some(name) if self.parties[&name].stage == Stage::Peer => return Err("already known"),
            Some(pending) => pending,
            None if self.known_count() >= self.limits.max_peers => return Err("peers full"),
            None => self.add(addr, Stage::Peer),
        };
        self.refused.retain(|&(refused, _)| refused != addr);
        self.stats.connections.connected += 1;
        self.accept(name, clock);
        Ok(name)
    }

    fn accept(&mut self, name: usize, clock: Duration) {
        let now = self.between(clock);
        let party = self.party(name);
        party.stage = Stage::Peer;
        party.last_heard = now;
        party.held = true;
    }

    fn get(&mut self, name: usize) -> Result<Option<Waiting>, GetError> {
        let party = self.party(name);
        match (party.queue.pop_front(), party.end) {
            (Some(packet), _) => {
                party.stats.delivered += 1;
                self.stats.delivered += 1;
                Ok(Some(packet))
            }
            (None, Some(reason)) => Err(GetError::Ended(reason)),
            (None, None) => Ok(None),
        }
    }

    fn get_into(&mut self, name: usize, room: usize) -> Result<Option<Waiting>, GetIntoError> {
        match self.party(name).queue.front().map(|packet| packet.bytes.len()) {
            Some(size) if size > room => Err(GetIntoError::BufferTooSmall { size, room }),
            _ => Ok(self.get(name)?),
        }
    }

    fn put(&mut self, name: usize, bytes: &[u8]) -> Result<(), &'static str> {
        self.stats.put += 1;
        let party = self.party(name);
        party.stats.put += 1;
        let largest = if party.addr.is_ipv4() { 65_507 } else { 65_527 };
        if party.end.is_some() {
            party.stats.send_drops.not_open += 1;
            self.stats.send_drops.not_open += 1;
            return Err("ended");
        }
        if bytes.len() > largest {
            party.stats.send_drops.too_large += 1;
            self.stats.send_drops.too_large += 1;
            return Err("too large");
        }
        party.stats.sent += 1;
        party.stats.sent_bytes += bytes.len() as u64;
        let addr = party.addr;
        self.send(addr, bytes);
        Ok(())
    }

    fn send_to(&mut self, addr: SocketAddr, bytes: &[u8]) -> Result<(), &'static str> {
        self.stats.put += 1;
        let Some(reach) = self.listening else {
            self.stats.send_drops.not_open += 1;
            return Err("not listening");
        };
        if addr.port() == 0 || !reach.reaches(addr) {
            self.stats.send_drops.failed += 1;
            return Err(if addr.port() == 0 { "no port" } else { "wrong family" });
        }
        self.send(addr, bytes);
        Ok(())
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.stats.sent += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        self.wire.carry_to_client(to, bytes);
    }

    fn close_handle(&mut self, name: usize) {
        let party = self.party(name);
        if party.end.is_none() {
            party.end = Some(CloseReason::Closed);
            self.closed_handles.push(name);
        }
    }

    fn drop_handle(&mut self, name: usize) {
        self.close_handle(name);
        self.party(name).held = false;
        self.bury();
    }

    /// Returns whether there was such a peer.
    fn server_close(&mut self, name: usize, clock: Duration) -> bool {
        let is_there = self.parties.get(&name).is_some_and(Party::is_open_peer);
        if is_there {
            let now = if self.listening.is_some() { self.between(clock) } else { self.now };
            self.stats.connections.closed += 1;
            self.end(name, CloseReason::Closed, now);
        }
        is_there
    }

    fn drain(&mut self) {
        self.draining = true;
        for name in self.names(Party::is_pending) {
            self.forget_pending(name, |drops| &mut drops.draining);
        }
    }

    fn stop(&mut self) {
        for name in self.names(Party::is_pending) {
            self.forget_pending(name, |drops| &mut drops.unread);
        }
        for name in self.names(|party| party.known) {
            if self.parties[&name].end.is_some() {
                self.take_up_closed(name, self.now);
            } else {
                self.end(name, CloseReason::ServerStopped, self.now);
            }
        }
        self.refused.clear();
        self.draining = false;
        self.listening = None;
        self.wire.lost += self.wire.to_server.waiting.len() as u64;
        self.wire.to_server.waiting.clear();
    }

    fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        for name in self.names(Party::is_pending).into_iter().rev() {
            let party = &self.parties[&name];
            let ip = party.addr.ip();
            let pending = self.pending().filter(|(other, party)| *other <= name && party.counts_with(ip)).count();
            if party.counts && self.counts(party.addr) && pending > self.limits.max_pending_per_ip {
                self.stats.connections.trimmed += 1;
                self.forget_pending(name, |drops| &mut drops.pending_trimmed);
            }
        }
        let keep = self.limits.max_pending_connections;
        for name in self.names(Party::is_pending).into_iter().skip(keep) {
            self.stats.connections.trimmed += 1;
            self.forget_pending(name, |drops| &mut drops.pending_trimmed);
        }
        self.trim_refused();
    }

    fn trim_refused(&mut self) {
        let beyond = self.refused.len().saturating_sub(self.limits.max_refused_addresses);
        self.refused.drain(..beyond);
    }

    fn add(&mut self, addr: SocketAddr, stage: Stage) -> usize {
        let name = self.next_name;
        self.next_name += 1;
        let party = Party {
            addr,
            stage,
            counts: self.counts(addr),
            queue: VecDeque::new(),
            last_heard: self.now,
            offered_in_poll: 0,
            end: None,
            known: true,
            held: false,
            stats: PeerStats::default(),
        };
        self.parties.insert(name, party);
        self.most_known = self.most_known.max(self.known_count());
        name
    }

    fn take_up_closed(&mut self, name: usize, now: Duration) {
        self.stats.connections.closed += 1;
        self.end(name, CloseReason::Closed, now);
    }

    fn end(&mut self, name: usize, reason: CloseReason, now: Duration) {
        let party = self.party(name);
        let reason = *party.end.get_or_insert(reason);
        let addr = party.addr;
        party.known = false;
        if self.ended.len() >= 2 * self.limits.max_peers.max(self.most_known) {
            self.ended.remove(0);
        }
        self.ended.push(Ended { name, reason, polled: false });
        if let (CloseReason::Closed, AfterClose::Refuse(time)) = (reason, self.limits.after_close) {
            let year = Duration::from_secs(365 * 86_400);
            self.refused.push((addr, now.checked_add(time).unwrap_or(now + year)));
            self.trim_refused();
        }
        self.bury();
    }

    fn forget_pending(&mut self, name: usize, reason: fn(&mut ReceiveDrops) -> &mut u64) {
        let waiting = self.parties.remove(&name).map_or(0, |party| party.queue.len());
        self.lose(None, waiting, reason);
    }

    /// Who is neither known nor held is gone, and what waited for it with it.
    fn bury(&mut self) {
        for name in self.names(|party| !party.known && !party.held) {
            let unread = self.parties.remove(&name).map_or(0, |party| party.queue.len());
            self.stats.drops.unread += unread as u64;
        }
    }

    fn lose(&mut self, whose: Option<usize>, count: usize, reason: fn(&mut ReceiveDrops) -> &mut u64) {
        self.report.dropped += count;
        *reason(&mut self.stats.drops) += count as u64;
        if let Some(name) = whose {
            *reason(&mut self.party(name).stats.drops) += count as u64;
        }
    }

    fn party(&mut self, name: usize) -> &mut Party {
        self.parties.get_mut(&name).expect("who is known or held is not gone")
    }

    fn names(&self, which: impl Fn(&Party) -> bool) -> Vec<usize> {
        self.parties.iter().filter(|(_, party)| which(party)).map(|(&name, _)| name).collect()
    }

    fn find(&self, addr: SocketAddr) -> Option<usize> {
        self.parties.iter().find(|(_, party)| party.known && party.addr == addr).map(|(&name, _)| name)
    }

    fn find_open(&self, addr: SocketAddr) -> Option<usize> {
        self.find(addr).filter(|name| self.parties[name].end.is_none())
    }

    fn pending(&self) -> impl Iterator<Item = (usize, &Party)> {
        self.parties.iter().filter(|(_, party)| party.is_pending()).map(|(&name, party)| (name, party))
    }

    fn known_count(&self) -> usize {
        self.parties.values().filter(|party| party.known).count()
    }

    fn queued_bytes(&self) -> usize {
        self.parties.values().map(|party| bytes_of(&party.queue)).sum()
    }

    fn stats(&self) -> ServerStats {
        let mut stats = self.stats;
        stats.queued = self.parties.values().map(|party| party.queue.len() as u64).sum();
        stats.queued_bytes = self.queued_bytes() as u64;
        stats
    }
}

impl Party {
    fn is_pending(&self) -> bool {
        self.stage != Stage::Peer
    }

    fn is_open_peer(&self) -> bool {
        self.known && self.end.is_none() && self.stage == Stage::Peer
    }

    /// Whether it counts for the IP address, or the IPv6 /64, of `ip`.
    fn counts_with(&self, ip: IpAddr) -> bool {
        let same = match (self.addr.ip(), ip) {
            (IpAddr::V6(own), IpAddr::V6(other)) => network(own) == network(other),
            (own, other) => own == other,
        };
        same && self.counts
    }

    fn stats(&self) -> PeerStats {
        let mut stats = self.stats;
        stats.queued = self.queue.len() as u64;
        stats.queued_bytes = bytes_of(&self.queue) as u64;
        stats
    }
}

fn network(ip: Ipv6Addr) -> [u8; 8] {
    ip.octets()[..8].try_into().expect("half of sixteen bytes")
}

fn bytes_of(queue: &VecDeque<Waiting>) -> usize {
    queue.iter().map(|packet| packet.bytes.len()).sum()
}

// ---------------------------------------------------------------------------------------------------------------------
// The server beside its model.

struct World {
    network: Network,
    start: Instant,
    server: UdpServer,
    clients: Vec<Client>,
    handles: Vec<Handle>,
    /// Every id that was ever given, and the model's name for it.
    ids: Vec<(PeerId, usize)>,
    filter_asked: Arc<AtomicU64>,
    /// Datagrams made so far: each bears its number.
    marks: u32,
    puts: u64,
    model: Model,
    before: Before,
}

struct Client {
    addr: SocketAddr,
    peer: PacketPeerUdp,
}

struct Handle {
    name: usize,
    peer: PacketPeerUdp,
    puts: u64,
    /// What waited when it was looked at last.
    waited: PeerStats,
}

/// What was there before the step.
#[derive(Default)]
struct Before {
    known: usize,
    queued_bytes: u64,
}

fn agree<T: PartialEq + Debug>(what: &str, server: &T, model: &T) -> Result<(), String> {
    if server == model {
        return Ok(());
    }
    Err(format!("{what}: the server has\n    {server:?}\n  and the model\n    {model:?}"))
}

fn holds(what: &str, holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("broken: {what}")) }
}

impl World {
    fn new(setup: &Setup) -> Self {
        let network = Network::new();
        let socket = SocketOptions::new().max_packet_size(setup.max_packet_size).receive_buffer(setup.receive_buffer);
        let config = ServerConfig::new().limits(setup.limits.clone()).socket(socket);
        let ip = |addr: &str| addr.parse::<SocketAddr>().unwrap().ip();
        let host = network.host(ip(SERVER_V4)).with_address(ip(SERVER_V6));
        Self {
            start: network.now(),
            server: UdpServer::with_transport(config, host),
            clients: CLIENTS.iter().map(|addr| Client::new(&network, addr.parse().unwrap())).collect(),
            handles: Vec::new(),
            ids: Vec::new(),
            filter_asked: Arc::default(),
            marks: 0,
            puts: 0,
            model: Model::new(setup),
            before: Before::default(),
            network,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Send { client, kind, size, count } => self.send(client, kind, size, count),
            Step::Collect { client } => self.collect(client),
            Step::Advance { millis } => self.network.advance(Duration::from_millis(millis)),
            Step::Poll => return self.poll(None),
            Step::PollAt { millis_from_now } => return self.poll(Some(millis_from_now)),
            Step::Take => return self.take(),
            Step::Get { handle } => return self.with_handle(handle, Handle::get).map(drop),
            Step::GetAll { handle } => while self.with_handle(handle, Handle::get)? {},
            Step::GetInto { handle, room } => {
                return self.with_handle(handle, |handle, world| handle.get_into(world, room));
            }
            Step::Put { handle, size } => return self.put(handle, size),
            Step::CloseHandle { handle } => return self.with_handle(handle, Handle::close),
            Step::DropHandle { handle } => self.drop_handle(handle),
            Step::ServerClose { peer } => return self.server_close(peer),
            Step::Connect { target } => return self.connect(TARGETS[target % TARGETS.len()]),
            Step::SendTo { target, size } => return self.send_to(TARGETS[target % TARGETS.len()], size),
            Step::Drain => {
                self.server.drain();
                self.model.drain();
            }
            Step::Stop => {
                self.server.stop();
                self.model.stop();
            }
            Step::Listen { on } => return self.listen(on),
            Step::Filter { style } => self.set_filter(style),
            Step::Limits { ref limits } => return self.set_limits(limits),
            Step::Nonsense { ref limits } => {
                return holds("nonsense is refused", self.server.set_limits((**limits).clone()).is_err());
            }
            Step::MaxPending { connections } => {
                self.server.set_max_pending_connections(connections);
                self.model.set_limits(self.model.limits.clone().max_pending_connections(connections));
            }
            Step::Ready => return self.ready(),
            Step::Ended => return self.ended(),
        }
        Ok(())
    }

    fn mark(&mut self, kind: u8, size: usize) -> Vec<u8> {
        self.marks += 1;
        payload(kind, self.marks, size)
    }

    fn send(&mut self, client: usize, kind: u8, size: usize, count: usize) {
        for _ in 0..count {
            let bytes = self.mark(kind, size);
            let client = &mut self.clients[client % CLIENTS.len()];
            client.peer.put_packet(&bytes).expect("the network takes everything");
            if self.model.listening.is_some_and(|reach| reach.reaches(client.addr)) {
                self.model.wire.carry_to_server(client.addr, &bytes);
            } else {
                self.model.wire.lost += 1;
            }
        }
    }

    /// A client takes what has come for it.
    fn collect(&mut self, client: usize) {
        let Client { addr, peer } = &mut self.clients[client % CLIENTS.len()];
        peer.poll().expect("a client's socket is sound");
        let expected = self.model.wire.to_clients.get_mut(addr).expect("every client has an inbox");
        for (server, bytes) in expected.waiting.drain(..) {
            let packet = peer.get_packet().expect("a client is open").expect("what was sent arrives");
            assert_eq!((&*packet, packet.sender()), (&*bytes, server), "{addr} got something else");
        }
        assert_eq!(
            peer.get_packet().expect("a client is open").map(packetpeer::Packet::into_vec),
            None,
            "{addr} got more"
        );
    }

    fn poll(&mut self, millis_from_now: Option<i64>) -> Result<(), String> {
        let now = self.network.elapsed();
        let (report, at) = match millis_from_now {
            None => (self.server.poll(), now),
            Some(millis) => {
                let by = Duration::from_millis(millis.unsigned_abs());
                let early = millis < 0;
                let instant = if early { self.network.now() - by } else { self.network.now() + by };
                (self.server.poll_at(instant), if early { now.saturating_sub(by) } else { now + by })
            }
        };
        if self.model.listening.is_none() {
            return holds("a closed server does not poll", report.is_err());
        }
        let report = report.map_err(|error| error.to_string())?;
        let limits = self.server.limits();
        let budget = limits.max_known_per_poll + limits.max_unknown_per_poll;
        holds("a poll takes no more than its budgets", report.received < budget)?;
        agree("the report", &report, &self.model.poll(at, now))
    }

    fn take(&mut self) -> Result<(), String> {
        match (self.server.take_connection(), self.model.take(self.network.elapsed())) {
            (Some(peer), Some(name)) => self.adopt(peer, name),
            (None, None) => Ok(()),
            (peer, name) => Err(format!("taken: {peer:?}, and the model says {name:?}")),
        }
    }

    fn adopt(&mut self, peer: PacketPeerUdp, name: usize) -> Result<(), String> {
        agree("the address of the peer", &peer.remote_addr(), &Some(self.model.party(name).addr))?;
        holds("an id is given once", self.ids.iter().all(|&(id, _)| id != peer.id()))?;
        holds("an index is below the most ever known", peer.id().index() < self.model.most_known)?;
        self.ids.push((peer.id(), name));
        let waited = peer.stats();
        self.handles.push(Handle { name, peer, puts: 0, waited });
        Ok(())
    }

    fn with_handle<T: Default>(
        &mut self,
        handle: usize,
        act: impl FnOnce(&mut Handle, &mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.handles.is_empty() {
            return Ok(T::default());
        }
        let index = handle % self.handles.len();
        let mut handle = self.handles.swap_remove(index);
        let result = act(&mut handle, self);
        self.handles.push(handle);
        result
    }

    fn put(&mut self, handle: usize, size: usize) -> Result<(), String> {
        let bytes = self.mark(b'p', size);
        self.with_handle(handle, |handle, world| {
            world.puts += 1;
            handle.puts += 1;
            agree("a put", &outcome(handle.peer.put_packet(&bytes)), &world.model.put(handle.name, &bytes))
        })
    }

    fn drop_handle(&mut self, handle: usize) {
        if self.handles.is_empty() {
            return;
        }
        let Handle { name, peer, .. } = self.handles.swap_remove(handle % self.handles.len());
        drop(peer);
        self.model.drop_handle(name);
    }

    fn server_close(&mut self, peer: usize) -> Result<(), String> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let (id, name) = self.ids[peer % self.ids.len()];
        let closed = self.model.server_close(name, self.network.elapsed());
        agree("a close by the server", &self.server.close(id).is_ok(), &closed)
    }

    fn connect(&mut self, addr: SocketAddr) -> Result<(), String> {
        let result = self.server.connect(addr).map_err(|error| match error {
            ConnectError::NotListening => "not listening",
            ConnectError::NoPort => "no port",
            ConnectError::WrongFamily => "wrong family",
            ConnectError::AlreadyKnown(_) => "already known",
            ConnectError::PeersFull => "peers full",
            _ => "something else",
        });
        match (result, self.model.connect(addr, self.network.elapsed())) {
            (Ok(peer), Ok(name)) => self.adopt(peer, name),
            (server, model) => agree("a connect", &server.map(|peer| peer.id()).err(), &model.err()),
        }
    }

    fn send_to(&mut self, addr: SocketAddr, size: usize) -> Result<(), String> {
        let bytes = self.mark(b's', size);
        self.puts += 1;
        agree("a stateless send", &outcome(self.server.send_to(addr, &bytes)), &self.model.send_to(addr, &bytes))
    }

    fn listen(&mut self, on: Reach) -> Result<(), String> {
        let result = match on {
            Reach::Both => self.server.listen(SERVER_PORT),
            Reach::V4 => self.server.listen(SERVER_V4),
            Reach::V6 => self.server.listen(SERVER_V6),
        };
        if self.model.listening.is_some() {
            return holds("it listens already", matches!(result, Err(BindError::AlreadyOpen)));
        }
        self.model.listening = Some(on);
        self.model.now = self.model.now.max(self.network.elapsed());
        self.model.polled_at = self.network.elapsed();
        result.map_err(|error| format!("it does not listen: {error}"))
    }

    fn set_filter(&mut self, style: Option<Style>) {
        self.model.filter = style;
        let Some(style) = style else { return self.server.clear_filter() };
        let asked = Arc::clone(&self.filter_asked);
        self.server.set_filter(move |datagram, answer| {
            asked.fetch_add(1, Ordering::Relaxed);
            let (verdict, reply) = decide(style, datagram.bytes);
            answer.extend(reply);
            verdict
        });
    }

    fn set_limits(&mut self, limits: &Limits) -> Result<(), String> {
        self.model.set_limits(limits.clone());
        self.server.set_limits(limits.clone()).map_err(|error| error.to_string())?;
        agree("the limits", self.server.limits(), limits)
    }

    fn ready(&mut self) -> Result<(), String> {
        let mut ready = Vec::new();
        self.server.ready(&mut ready);
        ready.sort();
        let has_packets = |party: &Party| party.held && !party.queue.is_empty();
        let mut expected: Vec<_> = self.model.names(has_packets).into_iter().map(|name| self.id(name)).collect();
        expected.sort();
        agree("who is ready", &ready, &expected)
    }

    fn ended(&mut self) -> Result<(), String> {
        let mut ended = Vec::new();
        self.server.ended(&mut ended);
        ended.sort_by_key(|&(id, _)| id);
        let mut expected: Vec<_> = self.model.ended.iter().map(|ended| (self.id(ended.name), ended.reason)).collect();
        self.model.ended.clear();
        expected.sort_by_key(|&(id, _)| id);
        agree("who has ended", &ended, &expected)
    }

    fn id(&self, name: usize) -> PeerId {
        self.ids.iter().find(|&&(_, other)| other == name).expect("who was taken has an id").0
    }

    /// Everything that can be seen without changing it.
    fn check(&mut self) -> Result<(), String> {
        let model = &self.model;
        agree("the server's stats", &self.stats(), &model.stats())?;
        agree("pending connections", &self.server.pending_count(), &model.pending().count())?;
        agree("connection available", &self.server.is_connection_available(), &model.pending().next().is_some())?;
        let peers = model.parties.values().filter(|party| party.known && !party.is_pending()).count();
        agree("peers", &self.server.peer_count(), &peers)?;
        agree("is draining", &self.server.is_draining(), &model.draining)?;
        agree("is drained", &self.server.is_drained(), &(model.draining && peers == 0))?;
        agree("is listening", &self.server.is_listening(), &model.listening.is_some())?;
        agree("questions to the filter", &self.filter_asked.load(Ordering::Relaxed), &model.filter_asked)?;
        agree("what the network lost", &self.network.lost(), &model.wire.lost)?;
        self.check_who_is_there()?;
        for handle in &mut self.handles {
            handle.check(&model.parties[&handle.name], &model.limits)?;
        }
        self.check_equations()?;
        self.check_limits()
    }

    fn check_who_is_there(&self) -> Result<(), String> {
        let mut expected = Vec::new();
        for (&name, party) in self.model.parties.iter().filter(|(_, party)| party.is_open_peer()) {
            expected.push((self.id(name), party.addr));
            agree("who is found", &self.server.find(party.addr), &Some(self.id(name)))?;
        }
        let mut peers: Vec<_> = self.server.peers().collect();
        peers.sort();
        expected.sort();
        agree("who is there", &peers, &expected)
    }

    fn check_equations(&self) -> Result<(), String> {
        let stats = self.stats();
        let accounted = stats.delivered + stats.queued + stats.consumed + stats.drops.total();
        holds("received = delivered + queued + consumed + drops", stats.received == accounted)?;
        let put = self.puts + self.model.replies;
        agree("put", &stats.put, &put)?;
        holds("put = sent + drops", put == stats.sent + stats.send_drops.total())
    }

    /// A lowered limit ends nobody and drops nothing that waits, but for pending connections; it stops growth.
    fn check_limits(&mut self) -> Result<(), String> {
        let limits = self.server.limits();
        let known = self.server.peer_count() + self.server.pending_count();
        let queued_bytes = self.stats().queued_bytes;
        holds("pending connections are limited", self.server.pending_count() <= limits.max_pending_connections)?;
        holds("peers are limited", known <= limits.max_peers.max(self.before.known))?;
        let most = (limits.max_queued_bytes as u64).max(self.before.queued_bytes);
        holds("queued bytes are limited", queued_bytes <= most)?;
        self.before = Before { known, queued_bytes };
        Ok(())
    }

    fn stats(&self) -> ServerStats {
        let mut stats = self.server.stats();
        stats.pool_misses = 0;
        stats
    }

    /// The game is over: nothing may be left of it.
    fn finish(mut self) -> Result<(ReceiveDrops, SendDrops), String> {
        self.ready()?;
        self.ended()?;
        while !self.handles.is_empty() {
            self.drop_handle(0);
        }
        self.poll(None)?;
        self.check()?;
        if self.server.is_listening() {
            agree("peers at the end", &self.server.peer_count(), &0)?;
        }
        self.ended()?;
        self.step(&Step::Stop)?;
        self.check()?;
        let left =
            (self.server.pending_count(), self.server.peer_count(), self.stats().queued, self.stats().queued_bytes);
        agree("what is left after the stop", &left, &(0, 0, 0, 0))?;
        self.ready()?;
        (0..CLIENTS.len()).for_each(|client| self.collect(client));
        Ok((self.stats().drops, self.stats().send_drops))
    }
}

impl Client {
    fn new(network: &Network, addr: SocketAddr) -> Self {
        let mut peer = PacketPeerUdp::with_transport(network.host(addr.ip()));
        peer.bind(addr).expect("the address is free");
        peer.set_dest_address(server_addr_for(addr)).expect("the network is whole");
        Self { addr, peer }
    }
}

impl Handle {
    /// Returns whether there was a packet.
    fn get(&mut self, world: &mut World) -> Result<bool, String> {
        let expected = world.model.get(self.name).map(|packet| packet.map(|Waiting { bytes, at }| (bytes, at)));
        let got = self.peer.get_packet();
        if let Ok(Some(packet)) = &got {
            agree("the sender of a packet", &Some(packet.sender()), &self.peer.remote_addr())?;
            agree("the sender of the last packet", &self.peer.packet_addr(), &self.peer.remote_addr())?;
        }
        let start = world.start;
        let got = got.map(|packet| packet.map(|packet| (packet.to_vec(), packet.received_at() - start)));
        agree("a packet", &got, &expected)?;
        Ok(matches!(got, Ok(Some(_))))
    }

    fn get_into(&mut self, world: &mut World, room: usize) -> Result<(), String> {
        let mut buffer = vec![0; room];
        let got = self.peer.get_packet_into(&mut buffer).map(|len| len.map(|len| buffer[..len].to_vec()));
        let expected = world.model.get_into(self.name, room).map(|packet| packet.map(|packet| packet.bytes));
        agree("a packet into a buffer", &got, &expected)
    }

    fn close(&mut self, world: &mut World) -> Result<(), String> {
        self.peer.close();
        world.model.close_handle(self.name);
        Ok(())
    }

    fn check(&mut self, party: &Party, limits: &Limits) -> Result<(), String> {
        let stats = self.peer.stats();
        agree("a peer's stats", &stats, &party.stats())?;
        agree("a peer's state", &self.peer.state(), &party.end.map_or(PeerState::Open, PeerState::Ended))?;
        agree("packets waiting", &self.peer.available_packet_count(), &party.queue.len())?;
        let accounted = stats.delivered + stats.queued + stats.drops.total();
        holds("of a peer: received = delivered + queued + drops", stats.received == accounted)?;
        agree("of a peer: put", &stats.put, &self.puts)?;
        holds("of a peer: put = sent + drops", self.puts == stats.sent + stats.send_drops.total())?;
        let packets = (limits.queue.packets as u64).max(self.waited.queued);
        holds("packets of a peer are limited", stats.queued <= packets)?;
        let bytes = (limits.queue.bytes as u64).max(self.waited.queued_bytes);
        holds("bytes of a peer are limited", stats.queued_bytes <= bytes)?;
        self.waited = stats;
        Ok(())
    }
}

fn outcome(result: Result<(), PutError>) -> Result<(), &'static str> {
    result.map_err(|error| match error {
        PutError::Ended(_) => "ended",
        PutError::TooLarge { .. } => "too large",
        PutError::WrongFamily { .. } => "wrong family",
        PutError::NotListening => "not listening",
        PutError::NoPort => "no port",
        _ => "something else",
    })
}

// ---------------------------------------------------------------------------------------------------------------------
// Cases.

struct Dice(fastrand::Rng);

impl Dice {
    fn setup(&mut self) -> Setup {
        Setup {
            limits: self.limits(),
            max_packet_size: self.one_of(&[1, 20, 40, 40, 60, 300]),
            receive_buffer: self.one_of(&[None, Some(1200), Some(4 << 20), Some(4 << 20)]),
        }
    }

    fn steps(&mut self) -> Vec<Step> {
        let listen = Step::Listen { on: Reach::Both };
        std::iter::once(listen).chain((1..STEPS).map(|_| self.step())).collect()
    }

    fn step(&mut self) -> Step {
        let handle = self.0.usize(..60);
        match self.0.u32(..100) {
            0..20 => {
                Step::Send { client: handle, kind: self.0.u8(..), size: self.size(), count: self.one_of(&[1, 1, 2, 5]) }
            }
            20..23 => Step::Collect { client: handle },
            23..29 => Step::Advance { millis: self.one_of(&[1, 100, 500, 999, 1000, 3000]) },
            29..46 => Step::Poll,
            46..50 => Step::PollAt { millis_from_now: self.one_of(&[-5000, -1000, -1, 0, 1, 400, 1000]) },
            50..60 => Step::Take,
            60..64 => Step::Get { handle },
            64..67 => Step::GetAll { handle },
            67..70 => Step::GetInto { handle, room: self.one_of(&[0, 5, 19, 64]) },
            70..74 => Step::Put { handle, size: self.one_of(&[0, 1, 30, 1200, 65_508, 65_528]) },
            74..76 => Step::CloseHandle { handle },
            76..79 => Step::DropHandle { handle },
            79..81 => Step::ServerClose { peer: handle },
            81..84 => Step::Connect { target: handle },
            84..86 => Step::SendTo { target: handle, size: self.one_of(&[0, 9, 100]) },
            86 if self.0.u32(..4) == 0 => Step::Drain,
            86 | 87 => Step::Filter { style: self.style() },
            88 if self.0.bool() => Step::Stop,
            88..91 => Step::Listen { on: self.one_of(&[Reach::Both, Reach::Both, Reach::V4, Reach::V6]) },
            91..94 => Step::Limits { limits: self.limits().into() },
            94 => Step::Nonsense { limits: self.nonsense().into() },
            95 => Step::MaxPending { connections: self.0.usize(..4) },
            96..98 => Step::Ready,
            _ => Step::Ended,
        }
    }

    fn size(&mut self) -> usize {
        self.one_of(&[0, 1, 2, 6, 6, 10, 15, 20, 21, 40, 41, 42, 60])
    }

    fn style(&mut self) -> Option<Style> {
        match self.0.u32(..8) {
            0..3 => None,
            3..5 => Some(Style::ByKind),
            5 => Some(Style::Ignore),
            6 => Some(Style::Consume),
            _ => Some(Style::Accept),
        }
    }

    /// Each limit is roomy, or tight.
    fn limits(&mut self) -> Limits {
        let queue = QueueLimits::new()
            .packets(self.roomy_or(512, &[0, 1, 2, 3]))
            .bytes(self.roomy_or(1 << 18, &[0, 10, 30, 60]))
            .when_full(self.one_of(&[WhenFull::DropNewest, WhenFull::DropOldest]));
        Limits::new()
            .max_pending_connections(self.roomy_or(16, &[0, 1, 2, 3]))
            .max_pending_per_ip(self.roomy_or(16, &[0, 1, 2]))
            .max_peers_per_ip(self.roomy_or(Some(256), &[None, Some(0), Some(1), Some(2), Some(3)]))
            .exempt_from_per_ip(self.prefixes())
            .pending_lifetime(self.roomy_or(None, &[1, 1000, 2000].map(|ms| Some(Duration::from_millis(ms)))))
            .max_peers(self.roomy_or(4096, &[0, 1, 2, 4]))
            .idle_timeout(self.roomy_or(None, &[1, 1000, 2000].map(|ms| Some(Duration::from_millis(ms)))))
            .after_close(self.after_close())
            .max_refused_addresses(self.roomy_or(4096, &[1, 2, 3]))
            .queue(queue)
            .max_queued_bytes(self.roomy_or(64 << 20, &[0, 30, 100, 200]))
            .max_known_per_poll(self.roomy_or(16_384, &[1, 2, 4]))
            .max_unknown_per_poll(self.roomy_or(16_384, &[1, 2, 4]))
            .quota_per_poll(self.roomy_or(None, &[1, 2, 4].map(Some)))
    }

    fn nonsense(&mut self) -> Limits {
        let limits = self.limits();
        match self.0.u32(..7) {
            6 => limits.after_close(AfterClose::Refuse(Duration::from_secs(1))).max_refused_addresses(0),
            0 => limits.pending_lifetime(Some(Duration::ZERO)),
            1 => limits.idle_timeout(Some(Duration::ZERO)),
            2 => limits.after_close(AfterClose::Refuse(Duration::ZERO)),
            3 => limits.max_known_per_poll(0),
            4 => limits.max_unknown_per_poll(0),
            _ => limits.quota_per_poll(Some(0)),
        }
    }

    fn prefixes(&mut self) -> Vec<IpPrefix> {
        let prefixes = self.one_of(&["", "", "10.0.0.0/8", "10.0.0.2 2001:db8::/64", "::/0"]);
        prefixes.split_whitespace().map(|prefix| prefix.parse().unwrap()).collect()
    }

    fn after_close(&mut self) -> AfterClose {
        let refuse = |millis| AfterClose::Refuse(Duration::from_millis(millis));
        self.roomy_or(AfterClose::Forget, &[refuse(1), refuse(1000), refuse(3000), AfterClose::Refuse(Duration::MAX)])
    }

    fn roomy_or<T: Copy>(&mut self, roomy: T, tight: &[T]) -> T {
        if self.0.u32(..3) > 0 { roomy } else { self.one_of(tight) }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())]
    }
}

/// Plays the steps. What goes wrong comes back as text, panics too.
fn play(setup: &Setup, steps: &[Step]) -> Result<(ReceiveDrops, SendDrops), String> {
    let game = || {
        let mut world = World::new(setup);
        for (number, step) in steps.iter().enumerate() {
            let result = world.step(step).and_then(|()| world.check());
            result.map_err(|trouble| format!("after step {number}, {step:?}\n  {trouble}"))?;
        }
        world.finish().map_err(|trouble| format!("at the end\n  {trouble}"))
    };
    catch_unwind(AssertUnwindSafe(game)).unwrap_or_else(|panic| Err(format!("panicked: {}", message_of(&*panic))))
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// Leaves out steps as long as what is left still fails.
fn shortened(setup: &Setup, mut steps: Vec<Step>) -> Vec<Step> {
    let mut at = steps.len();
    while at > 0 {
        at -= 1;
        let without = [&steps[..at], &steps[at + 1..]].concat();
        if play(setup, &without).is_err() {
            // What came after may have been needed only for this step.
            at = without.len();
            steps = without;
        }
    }
    steps
}

fn play_seed(seed: u64) -> Result<(ReceiveDrops, SendDrops), String> {
    let mut dice = Dice(fastrand::Rng::with_seed(seed));
    let (setup, steps) = (dice.setup(), dice.steps());
    play(&setup, &steps).map_err(|trouble| {
        let steps = shortened(&setup, steps);
        let shortest = play(&setup, &steps).err().unwrap_or(trouble);
        let steps: Vec<_> = steps.iter().enumerate().map(|(at, step)| format!("  {at}: {step:?}\n")).collect();
        let again = format!("PACKETPEER_SEED={seed} PACKETPEER_CASES=1 cargo test --test model");
        format!("{shortest}\n\n{setup:?}\n{}\nagain: {again}", steps.concat())
    })
}

fn number_from_env(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

#[test]
fn the_server_does_what_the_model_does() {
    let base = number_from_env("PACKETPEER_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = number_from_env("PACKETPEER_CASES").unwrap_or(CASES);
    println!("PACKETPEER_SEED={base} PACKETPEER_CASES={cases}");

    let next = AtomicU64::new(0);
    let seen = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let case = next.fetch_add(1, Ordering::Relaxed);
            if case >= cases {
                return Ok(());
            }
            let outcome = play_seed(base.wrapping_add(case));
            // One failure is enough to read.
            let (drops, send_drops) = outcome.inspect_err(|_| next.store(cases, Ordering::Relaxed))?;
            let mut seen = seen.lock().unwrap();
            drops.iter().for_each(|(reason, count)| *seen.entry(("received", reason)).or_insert(0) += count);
            send_drops.iter().for_each(|(reason, count)| *seen.entry(("sent", reason)).or_insert(0) += count);
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let outcomes: Vec<Result<(), String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect()
    });
    if let Some(trouble) = outcomes.into_iter().find_map(Result::err) {
        panic!("{trouble}");
    }

    let seen = seen.into_inner().unwrap();
    println!("{seen:?}");
    // A stand-alone peer's; those of servers that go by ids; those of servers that let sends wait; and the in-memory
    // network never has enough.
    let impossible = [
        ("received", "stranger"),
        ("received", "no_id"),
        ("received", "move_refused"),
        ("received", "no_port"),
        ("received", "panicked"),
        ("sent", "unconfirmed"),
        ("received", "reply_budget"),
        ("sent", "queue_packets"),
        ("sent", "queue_bytes"),
        ("sent", "server_bytes"),
        ("sent", "unsent"),
        ("sent", "would_block"),
    ];
    let never: Vec<_> = seen.iter().filter(|&(reason, &count)| count == 0 && !impossible.contains(reason)).collect();
    assert!(cases < 1000 || never.is_empty(), "the cases never met: {never:?}");
}
