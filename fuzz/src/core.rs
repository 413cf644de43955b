//! A server's life: whatever the bytes say is sent to it, asked of it and done to it, on sockets that report whatever
//! errors the bytes say. After each step what it shows has to agree with what was done.
//!
//! `tests/model` compares a server with a whole model of it, on a network that works. Here is less of a model, and
//! more that can happen: errors of every kind at every call, sends that wait, connection ids that move, sockets of single
//! peers, handles of a server that is gone, packets that are kept, and limits without sense or end.

mod identity;
mod oversight;
mod settings;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use packetpeer::error::PollError;
use packetpeer::stats::{PollReport, ServerStats};
use packetpeer::{CloseReason, Limits, Packet, PacketPeerUdp, PeerId, PeerState, SendMode, ServerConfig, SocketOptions, UdpServer};

use crate::input::Input;
use crate::wire::{Accepted, Wire};
use identity::{Known, Style};
use oversight::Oversight;

/// Steps of one life, at most. More of them is slower and reaches nothing new.
const STEPS: usize = 150;

/// Handles that a life holds at a time, at most.
const HANDLES: usize = 12;

/// Datagrams of a life, at most, in either direction.
const DATAGRAMS: usize = 600;

/// Packets that the game keeps for a while.
const KEPT: usize = 6;

/// Bytes of a datagram that tell which it is: two of the fuzzer's choice, and its number.
const NUMBERED: usize = 6;

// What is sent begins with what it is.
const PUT: u8 = 0xa0;
const BROADCAST: u8 = 0xb0;
const REPLY: u8 = 0xc0;
const SENT_TO: u8 = 0xd0;

/// The entry of the fuzzer.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    world.listen(&mut input);
    world.check();
    for _ in 0..STEPS {
        if input.is_at_end() {
            break;
        }
        world.step(&mut input);
        world.check();
    }
    world.finish();
}

struct World {
    wire: Wire,
    server: UdpServer,
    config: Config,
    /// Which of the servers that have been there this is: an id means something only to the server that gave it.
    life: u32,
    handles: Vec<Handle>,
    /// Peers whose handle was closed or dropped, and which no poll has seen yet.
    closing: BTreeSet<PeerId>,
    /// Whom this server has reported as ended.
    ended: BTreeMap<PeerId, CloseReason>,
    /// Where each was when it was looked at last, as far as moves have been told.
    whereabouts: BTreeMap<PeerId, SocketAddr>,
    arrivals: Vec<Arrival>,
    kept: Vec<(Packet, Vec<u8>)>,
    tally: Tally,
    /// What the filter and who decides on moves have written, for the present poll.
    answers: Arc<Mutex<u64>>,
    /// Limits hold for what comes after they were set.
    before: Before,
    /// Of the handles' owners: which of their puts left last.
    left_last: BTreeMap<u16, u32>,
    next_owner: u16,
    next_number: u32,
    oversight: Oversight,
    /// Whether the last poll left something in the socket: then the next may find peers idle all the same.
    more_waited: bool,
    /// Whether it is asked after each poll who has ended and moved, as it should be.
    asks_each_poll: bool,
}

/// What holds for a server from its making on.
#[derive(Debug, Clone)]
struct Config {
    limits: Limits,
    send_mode: SendMode,
    max_packet_size: usize,
    identity: Known,
}

struct Handle {
    peer: PacketPeerUdp,
    life: u32,
    owner: u16,
    puts: u64,
    got: u64,
    /// The number of the datagram that was taken last, by the socket that it came by.
    taken_last: BTreeMap<usize, u32>,
    /// Where it was when it was looked at last, and whether that was confirmed.
    place: (Option<SocketAddr>, bool),
    /// What has gone to addresses as long as they were not, in bytes.
    sent_unconfirmed: BTreeMap<SocketAddr, usize>,
    /// What waited when it was looked at last.
    queued: u64,
    queued_bytes: u64,
    send_queued: u64,
}

/// A datagram that was sent to the server.
struct Arrival {
    from: SocketAddr,
    bytes: Vec<u8>,
    socket: usize,
    was_taken: bool,
}

/// What this server should have counted.
#[derive(Debug, Default)]
struct Tally {
    handed: u64,
    handed_bytes: u64,
    noise: u64,
    delivered: u64,
    /// Puts, broadcasts, answers and what was sent without a peer.
    puts: u64,
    sent: u64,
    sent_bytes: u64,
}

#[derive(Debug, Default)]
struct Before {
    known: usize,
    queued_bytes: u64,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let wire = Wire::new();
        let answers = Arc::default();
        let setup = input.byte();
        let config = Config {
            limits: settings::limits(input),
            send_mode: [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush][usize::from(setup) % 3],
            max_packet_size: input.one_of(&[1, 7, 40, 40, 100, 100, 300, 1200]),
            identity: Known::read(input),
        };
        wire.state().empty_is_an_error = setup & 64 != 0;
        wire.state().max_segments = if setup & 128 != 0 { 4 } else { 1 };
        let server = config.server(&wire, &answers);
        let oversight = Oversight::new(wire.state().now);
        Self {
            oversight,
            wire,
            server,
            config,
            life: 0,
            handles: Vec::new(),
            closing: BTreeSet::new(),
            ended: BTreeMap::new(),
            whereabouts: BTreeMap::new(),
            arrivals: Vec::new(),
            kept: Vec::new(),
            tally: Tally::default(),
            answers,
            before: Before::default(),
            left_last: BTreeMap::new(),
            next_owner: 0,
            next_number: 0,
            more_waited: false,
            asks_each_poll: setup & 32 == 0,
        }
    }

    /// The server is dropped, with or without a stop before; handles outlive it.
    fn start_over(&mut self) {
        self.collect();
        self.server = self.config.server(&self.wire, &self.answers);
        // What the old one gave up by being dropped is no longer seen, but by its handles.
        self.collect();
        self.life += 1;
        self.tally = Tally::default();
        self.closing.clear();
        self.ended.clear();
        self.more_waited = false;
        self.whereabouts.clear();
        self.before = Before::default();
        self.oversight = Oversight::new(self.wire.state().now);
    }

    /// With a filter for this poll alone, or the one that is set.
    fn poll_with(&mut self, at: Instant, filter: Option<Style>) {
        let before = self.server.stats();
        let fatal = self.wire.state().fatal;
        let noise = self.wire.state().noise;
        *self.answers.lock().unwrap() = 0;
        let limits = self.server.limits().clone();
        let result = match filter {
            None => self.server.poll_at(at),
            Some(style) => {
                let answers = &self.answers;
                let mut asked = 0;
                let result = self.server.poll_at_with(at, |datagram, reply| {
                    asked += 1;
                    style.decide(datagram, reply, answers)
                });
                self.oversight.check_lent(asked, &before, &self.server);
                result
            }
        };
        // Answers are counted by the server as something that was to be sent.
        self.tally.puts += self.answers_sent(&before);
        self.tally.noise += self.wire.state().noise - noise;
        match result {
            Ok(report) => {
                self.closing.clear();
                let clock = self.wire.state().now;
                self.oversight.tell(at, clock);
                self.check_idle(limits.idle_timeout);
                self.check_report(&report, &before, &limits);
            }
            Err(PollError::NotOpen) => assert!(!self.server.is_listening(), "a server that listens is open"),
            Err(PollError::SocketFailed(_)) => {
                assert!(self.wire.state().fatal > fatal, "the socket was in order");
                assert!(!self.server.is_listening(), "a socket that failed is closed");
                self.forget_all();
            }
            Err(error) => panic!("{error}"),
        }
        self.collect();
        if self.asks_each_poll {
            self.ask_moved();
            self.ask_ended();
        }
    }

    fn poll(&mut self, at: Instant) {
        self.poll_with(at, None);
    }

    /// Answers of a poll: of those that a function of the caller's has written, some are too long, or too many.
    fn answers_sent(&self, before: &ServerStats) -> u64 {
        let drops = self.server.stats().drops.since(&before.drops);
        *self.answers.lock().unwrap() - drops.reply_too_long - drops.reply_budget
    }

    fn check_report(&mut self, report: &PollReport, before: &ServerStats, limits: &Limits) {
        let since = self.server.stats().since(before);
        assert_eq!(report.received as u64, since.received, "received");
        assert_eq!(report.consumed as u64, since.consumed, "consumed");
        assert_eq!(report.noise as u64, since.noise, "noise");
        assert_eq!(report.new_connections as u64, since.connections.opened, "new connections");
        assert_eq!(report.moved as u64, since.connections.moved, "moved");
        assert_eq!(report.closed as u64, since.connections.closed, "closed");
        assert_eq!(report.idle as u64, since.connections.idle, "idle");
        assert_eq!(report.expired as u64, since.connections.expired, "expired");
        assert_eq!(report.dropped as u64, since.drops.total() - since.drops.unread, "dropped");
        let budget = limits.max_known_per_poll.saturating_add(limits.max_unknown_per_poll);
        assert!(report.received <= budget, "a poll took {} of {budget}", report.received);
        let answers = self.answers_sent(before);
        assert!(answers <= limits.max_replies_per_poll as u64, "a poll sent {answers} answers");
        if report.more_waiting && !self.more_waited {
            assert_eq!(report.idle, 0, "nobody is idle while what they sent may wait");
        }
        self.more_waited = report.more_waiting;
        assert_eq!(self.server.peer_count(), self.server.peers().count(), "who closed is forgotten by a poll");
    }

    /// All of the server's peers are gone: it stopped, or its socket failed.
    fn forget_all(&mut self) {
        self.closing.clear();
        assert_eq!((self.server.peer_count(), self.server.pending_count()), (0, 0), "after the end");
    }

    /// Takes note of what the wire has seen.
    fn collect(&mut self) {
        let mut state = self.wire.state();
        let room = self.config.max_packet_size + 1;
        self.tally.handed += state.handed_sizes.len() as u64;
        self.tally.handed_bytes += state.handed_sizes.drain(..).map(|size| size.min(room) as u64).sum::<u64>();
        let accepted = std::mem::take(&mut state.accepted);
        drop(state);
        for datagram in accepted {
            let remote = self.wire.state().remote_of(datagram.by);
            self.tally.sent += 1;
            self.tally.sent_bytes += datagram.bytes.len() as u64;
            self.check_accepted(&datagram, remote);
        }
    }

    /// What leaves: each put once and in order, no answer longer than its question nor to anybody else.
    fn check_accepted(&mut self, accepted: &Accepted, remote: Option<SocketAddr>) {
        let Accepted { to, bytes, .. } = accepted;
        assert_eq!(canonical(*to), *to, "what is sent goes to canonical addresses");
        let Some(rest) = bytes.get(1..).filter(|_| bytes.len() > NUMBERED) else { return };
        let owner = u16::from_le_bytes([rest[0], rest[1]]);
        let number = u32::from_le_bytes(rest[2..6].try_into().unwrap());
        match bytes[0] {
            PUT => {
                self.oversight.check_way(owner, accepted, remote);
                let index = self.handles.iter().position(|handle| handle.owner == owner);
                self.check_budget(index, *to, bytes.len());
                let last = self.left_last.insert(owner, number);
                assert!(last.is_none_or(|last| last < number), "put {number} of {owner} left after {last:?}");
            }
            REPLY => {
                // After the mark it is as the question was.
                let asked = u32::from_le_bytes(bytes[2..6].try_into().unwrap());
                let question = &self.arrivals[asked as usize];
                assert!(bytes.len() <= question.bytes.len(), "an answer larger than its question");
                assert_eq!(*to, question.from, "an answer to somebody else");
            }
            // To whom of several at one address shows nowhere.
            BROADCAST if self.config.send_mode == SendMode::Now => {
                let mut there = (0..self.handles.len()).filter(|&index| self.handles[index].place.0 == Some(*to));
                let first = there.next().filter(|_| there.next().is_none());
                self.check_budget(first, *to, bytes.len());
            }
            BROADCAST | SENT_TO => {}
            mark => panic!("nobody has sent anything that begins with {mark:#x}"),
        }
    }

    /// An address that nobody has confirmed gets three times what came from it. What leaves in a step leaves for where a
    /// peer was at its beginning: a poll sends before it receives.
    fn check_budget(&mut self, handle: Option<usize>, to: SocketAddr, size: usize) {
        let Some(handle) = handle.map(|index| &mut self.handles[index]) else { return };
        if handle.place != (Some(to), false) {
            return;
        }
        let (identity, room) = (self.config.identity, self.config.max_packet_size + 1);
        let id = handle.peer.connection_id();
        let from_there =
            self.arrivals.iter().filter(|arrival| arrival.from == to && identity.id_in(&arrival.bytes) == id);
        let came: usize = from_there.map(|arrival| arrival.bytes.len().min(room)).sum();
        let sent = handle.sent_unconfirmed.entry(to).or_default();
        *sent += size;
        assert!(id.is_some() && *sent <= 3 * came, "{sent} bytes to {to}, from where {came} came");
    }

    /// A packet that a handle has given out.
    fn check_packet(&mut self, index: usize, bytes: &[u8], sender: SocketAddr) {
        let handle = &mut self.handles[index];
        handle.got += 1;
        if handle.life == self.life {
            self.tally.delivered += 1;
        }
        assert_eq!(handle.peer.packet_addr(), Some(sender), "the sender of the last packet");
        assert!(bytes.len() <= self.config.max_packet_size, "longer than accepted");
        match handle.peer.connection_id() {
            Some(id) => assert_eq!(self.config.identity.id_in(bytes), Some(id), "another connection's"),
            None => assert_eq!(handle.peer.remote_addr(), Some(sender), "another peer's"),
        }
        let Some(number) = number_of(bytes) else { return };
        let arrival = &mut self.arrivals[number as usize];
        assert_eq!(arrival.from, sender, "the sender");
        assert_eq!(arrival.bytes, bytes, "the bytes");
        assert!(!std::mem::replace(&mut arrival.was_taken, true), "datagram {number} was given out twice");
        let last = handle.taken_last.insert(arrival.socket, number);
        assert!(last.is_none_or(|last| last < number), "datagram {number} came after {last:?}");
    }

    fn ask_ended(&mut self) {
        let mut ended = Vec::new();
        self.server.take_ended(&mut ended);
        for (id, reason) in ended {
            let before = self.ended.insert(id, reason);
            assert!(before.is_none(), "{id} ended twice");
            if let Some(handle) = self.handle_of(id) {
                assert_eq!(handle.peer.close_reason(), Some(reason), "why {id} ended");
            }
        }
    }

    fn ask_moved(&mut self) {
        let mut moved = Vec::new();
        self.server.take_moved(&mut moved);
        let movers: BTreeSet<_> = moved.iter().map(|moved| moved.peer).collect();
        assert_eq!(movers.len(), moved.len(), "somebody's move is told twice");
        for moved in moved {
            let known = self.whereabouts.insert(moved.peer, moved.to);
            if self.asks_each_poll {
                assert!(known.is_none_or(|known| known == moved.from), "{} moved from elsewhere", moved.peer);
            }
        }
        if !self.asks_each_poll {
            return;
        }
        for handle in self.handles.iter().filter(|handle| handle.life == self.life) {
            if let (Some(known), Some(remote)) = (self.whereabouts.get(&handle.peer.id()), handle.peer.remote_addr()) {
                assert_eq!(*known, remote, "{} has moved and nobody was told", handle.peer.id());
            }
        }
    }

    fn ask_ready(&mut self) {
        let mut ready = Vec::new();
        self.server.ready(&mut ready);
        let listed: BTreeSet<_> = ready.iter().copied().collect();
        assert_eq!(listed.len(), ready.len(), "somebody is ready twice");
        for handle in self.handles.iter().filter(|handle| handle.life == self.life) {
            // One that has ended too, until what it had received is taken.
            let id = handle.peer.id();
            assert_eq!(listed.contains(&id), handle.peer.available_packet_count() > 0, "whether {id} is ready");
        }
        for id in listed {
            assert!(self.handle_of(id).is_some(), "{id} is ready and nobody can take what waits");
        }
    }

    fn handle_of(&self, id: PeerId) -> Option<&Handle> {
        self.handles.iter().find(|handle| handle.life == self.life && handle.peer.id() == id)
    }

    fn check(&mut self) {
        self.collect();
        self.check_equations();
        self.check_limits();
        self.check_tables();
        self.check_peers();
        for index in 0..self.handles.len() {
            self.check_handle(index);
        }
    }

    fn check_equations(&self) {
        let stats = self.server.stats();
        let tally = &self.tally;
        assert_eq!(stats.received, tally.handed, "received = what the sockets handed over");
        assert_eq!(stats.received_bytes, tally.handed_bytes, "received bytes");
        assert_eq!(stats.noise, tally.noise, "noise");
        assert_eq!(stats.delivered, tally.delivered, "delivered");
        assert_eq!(stats.sent, tally.sent, "sent = what the sockets accepted");
        assert_eq!(stats.sent_bytes, tally.sent_bytes, "sent bytes");
        let received = stats.delivered + stats.queued + stats.consumed + stats.drops.total();
        assert_eq!(stats.received, received, "received = delivered + queued + consumed + drops\n{stats}");
        let put = stats.sent + stats.send_queued + stats.send_drops.total();
        assert_eq!(tally.puts, put, "put = sent + waiting + drops\n{stats}");
        assert_eq!(stats.put, put, "put\n{stats}");
    }

    /// A lowered limit ends nobody and drops nothing that waits, but for pending connections; it stops growth.
    fn check_limits(&mut self) {
        let limits = self.server.limits();
        let pending = self.server.pending_count();
        assert!(pending <= limits.max_pending_connections, "{pending} pending");
        assert_eq!(self.server.is_connection_available(), pending > 0);
        let known = self.server.peer_count() + pending;
        assert!(known <= limits.max_peers.max(self.before.known), "{known} known");
        let queued_bytes = self.server.stats().queued_bytes;
        let most = u64::try_from(limits.max_queued_bytes).unwrap().max(self.before.queued_bytes);
        assert!(queued_bytes <= most, "{queued_bytes} bytes wait");
        self.before = Before { known, queued_bytes };
    }

    /// Who is there by one account is there by all.
    fn check_peers(&self) {
        let peers: Vec<_> = self.server.peers().collect();
        let open: Vec<_> = self
            .handles
            .iter()
            .filter(|handle| handle.life == self.life && handle.peer.state() == PeerState::Open)
            .collect();
        assert_eq!(peers.len(), open.len(), "peers and open handles");
        let most = open.len() + self.closing.len();
        assert!((open.len()..=most).contains(&self.server.peer_count()), "{} peers", self.server.peer_count());
        for handle in open {
            let id = handle.peer.id();
            let remote = handle.peer.remote_addr().expect("a server's peer has a remote");
            assert!(peers.contains(&(id, remote)), "{id} is at {remote}");
            assert_eq!(canonical(remote), remote, "addresses are canonical");
            let found = match handle.peer.connection_id() {
                Some(connection) => self.server.find_connection(connection),
                None => self.server.find(remote),
            };
            assert_eq!(found, Some(id), "{id} at {remote} is found");
            assert!(!self.ended.contains_key(&id), "{id} has ended and is there");
        }
        if !self.server.is_listening() {
            assert_eq!((self.server.peer_count(), self.server.pending_count()), (0, 0), "nobody is there");
        }
    }

    fn check_handle(&mut self, index: usize) {
        let (life, limits) = (self.life, self.server.limits());
        let handle = &mut self.handles[index];
        let stats = handle.peer.stats();
        let received = stats.delivered + stats.queued + stats.drops.total();
        assert_eq!(stats.received, received, "of a peer: received = delivered + queued + drops\n{stats}");
        let put = stats.sent + stats.send_queued + stats.send_drops.total();
        assert_eq!(handle.puts, put, "of a peer: put = sent + waiting + drops\n{stats}");
        assert_eq!(stats.put, put, "of a peer: put\n{stats}");
        assert_eq!(stats.delivered, handle.got, "of a peer: delivered");
        assert_eq!(handle.peer.available_packet_count() as u64, stats.queued, "of a peer: waiting");
        let within = |now: u64, limit: usize, before: u64| now <= u64::try_from(limit).unwrap().max(before);
        assert!(within(stats.queued, limits.queue.packets, handle.queued), "{} packets wait", stats.queued);
        assert!(within(stats.queued_bytes, limits.queue.bytes, handle.queued_bytes), "bytes of a peer");
        assert!(within(stats.send_queued, limits.send_queue.packets, handle.send_queued), "packets to a peer");
        handle.place = (handle.peer.remote_addr(), handle.peer.is_address_confirmed());
        handle.queued = stats.queued;
        handle.queued_bytes = stats.queued_bytes;
        handle.send_queued = stats.send_queued;
        if handle.life != life {
            let ended = matches!(handle.peer.state(), PeerState::Ended(_));
            assert!(ended, "the server has gone and its peer has not ended");
        }
    }

    /// The game is over: nothing may be left of it.
    fn finish(mut self) {
        self.ask_ready();
        self.ask_ended();
        while !self.handles.is_empty() {
            self.drop_handle(0);
        }
        self.wire.state().fates.clear();
        let now = self.wire.state().now;
        self.poll(now);
        self.check();
        self.stop();
        self.check();
        let stats = self.server.stats();
        let left = (stats.queued, stats.queued_bytes, stats.send_queued);
        assert_eq!(left, (0, 0, 0), "what is left after the stop");
        assert_eq!(self.wire.state().open(), [0; 0], "all sockets are closed");
        let connections = stats.connections;
        assert!(connections.taken + connections.expired + connections.trimmed <= connections.opened);
        while let Some(kept) = self.kept.pop() {
            check_kept(&kept);
        }
    }

    fn drop_handle(&mut self, index: usize) {
        let handle = self.handles.swap_remove(index);
        if handle.life == self.life && handle.peer.state() == PeerState::Open {
            self.closing.insert(handle.peer.id());
        }
        drop(handle);
    }

    fn stop(&mut self) {
        self.server.stop();
        self.collect();
        self.forget_all();
        assert!(!self.server.is_listening() && !self.server.is_draining());
        if self.asks_each_poll {
            self.ask_ended();
        }
    }
}

impl Config {
    fn server(&self, wire: &Wire, answers: &Arc<Mutex<u64>>) -> UdpServer {
        let socket = SocketOptions::new().max_packet_size(self.max_packet_size);
        let with = |limits| {
            let identity = self.identity.identity(answers);
            let config = ServerConfig::new().limits(limits).socket(socket.clone()).send_mode(self.send_mode);
            UdpServer::with_transport(config.identity(identity), wire.clone())
        };
        let server = with(self.limits.clone());
        assert_eq!(server.is_ok(), settings::make_sense(&self.limits), "what makes no sense is refused: {server:?}");
        server.or_else(|_| with(Limits::new())).expect("the defaults make sense")
    }
}

impl Handle {
    fn new(peer: PacketPeerUdp, life: u32, owner: u16) -> Self {
        let stats = peer.stats();
        let place = (peer.remote_addr(), peer.is_address_confirmed());
        Self {
            peer,
            place,
            sent_unconfirmed: BTreeMap::new(),
            life,
            owner,
            puts: 0,
            got: 0,
            taken_last: BTreeMap::new(),
            queued: stats.queued,
            queued_bytes: stats.queued_bytes,
            send_queued: 0,
        }
    }
}

/// What a packet says must not change while it is kept, whatever its memory's pool does meanwhile.
fn check_kept((packet, bytes): &(Packet, Vec<u8>)) {
    assert_eq!(&**packet, &bytes[..], "a packet that was kept");
}

/// A numbered datagram's number.
fn number_of(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(2..NUMBERED)?.try_into().ok()?))
}

/// The one form of an address, worked out anew: IPv4 is IPv4, and of IPv6 the flow is left out.
fn canonical(addr: SocketAddr) -> SocketAddr {
    let SocketAddr::V6(v6) = addr else { return addr };
    match v6.ip().to_ipv4_mapped() {
        Some(ip) => SocketAddr::from((ip, v6.port())),
        None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
    }
}
