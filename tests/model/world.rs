//! The server beside its model: each step is done to both.

mod checks;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use packetpeer::error::{BindError, ConnectError, DedicateError, PutError};
use packetpeer::identity::{ConnectionId, Switch};
use packetpeer::sim::Network;
use packetpeer::stats::{PeerStats, ReceiveDrops, SendDrops};
use packetpeer::{FirstDatagram, Limits, PacketPeerUdp, PeerId, UdpServer, Verdict};

use crate::model::{Model, Waiting};
use crate::rig::Rig;
use crate::setup::{
    CLIENTS, IDS, Reach, SERVER_IPS, SERVER_PORT, SERVER_V4, SERVER_V6, Setup, Style, TARGETS, decide, payload,
    server_addr_for,
};
use crate::steps::Step;
use checks::Before;
pub(crate) use checks::{agree, holds};

pub(crate) struct World {
    network: Network,
    start: Instant,
    rig: Rig,
    server: UdpServer,
    /// Never polled: what it gives ids to is nobody at the other.
    foreign: Vec<PacketPeerUdp>,
    _other_server: UdpServer,
    clients: Vec<Client>,
    handles: Vec<Handle>,
    /// Every id that was ever given, and the model's name for it.
    ids: Vec<(PeerId, usize)>,
    asked: Arc<Asked>,
    /// Datagrams made so far: each bears its number.
    marks: u32,
    model: Model,
    before: Before,
}

/// How often filters were asked, and how often they were told that there is room.
#[derive(Default)]
struct Asked {
    questions: AtomicU64,
    with_room: AtomicU64,
}

impl Asked {
    fn decide(&self, style: Style, datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>) -> Verdict {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.with_room.fetch_add(u64::from(datagram.has_room), Ordering::Relaxed);
        let (verdict, bytes) = decide(style, datagram.bytes);
        reply.extend(bytes);
        verdict
    }
}

struct Client {
    addr: SocketAddr,
    peer: PacketPeerUdp,
}

pub(crate) struct Handle {
    name: usize,
    peer: PacketPeerUdp,
    /// What waited when it was looked at last.
    waited: PeerStats,
}

/// What a case has met.
pub(crate) struct Outcome {
    pub(crate) drops: ReceiveDrops,
    pub(crate) send_drops: SendDrops,
    pub(crate) happened: Vec<(&'static str, u64)>,
}

impl World {
    pub(crate) fn new(setup: &Setup) -> Self {
        let network = Network::new();
        let host =
            SERVER_IPS[1..].iter().fold(network.host(ip(SERVER_IPS[0])), |host, addr| host.with_address(ip(addr)));
        let rig = Rig::new(host);
        let mut model = Model::new(setup);
        for (number, client) in CLIENTS.iter().enumerate() {
            let client: SocketAddr = client.parse().unwrap();
            let way = ip(SERVER_IPS[number % 2 + if client.is_ipv4() { 0 } else { 2 }]);
            rig.state().ways.insert(client, way);
            model.ways.insert(client, way);
        }
        let (other_server, foreign) = another_server(&network);
        Self {
            start: network.now(),
            server: UdpServer::with_transport(setup.config(), rig.clone()).unwrap(),
            foreign,
            _other_server: other_server,
            clients: CLIENTS.iter().map(|addr| Client::new(&network, addr.parse().unwrap())).collect(),
            handles: Vec::new(),
            ids: Vec::new(),
            asked: Arc::default(),
            marks: 0,
            model,
            before: Before::default(),
            rig,
            network,
        }
    }

    pub(crate) fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Send { client, kind, id, size, count } => self.send(client, kind, id, size, count),
            Step::SendToOwn { socket, stranger, size, count } => self.send_to_own(socket, stranger, size, count),
            Step::Reroute { client, way } => self.reroute(client, way),
            Step::Collect { client } => self.collect(client)?,
            Step::Advance { millis } => self.advance(Duration::from_millis(millis)),
            Step::Poll { filter } => self.poll(None, filter)?,
            Step::PollAt { filter, millis_from_now } => self.poll(Some(millis_from_now), filter)?,
            Step::Take => self.take()?,
            Step::Get { handle } => self.with_handle(handle, Handle::get).map(drop)?,
            Step::GetAll { handle } => while self.with_handle(handle, Handle::get)? {},
            Step::GetInto { handle, room } => self.with_handle(handle, |handle, world| handle.get_into(world, room))?,
            Step::Put { handle, size } => self.put(handle, size)?,
            Step::Broadcast { size } => self.broadcast(None, size)?,
            Step::BroadcastTo { ref peers, size } => self.broadcast(Some(peers), size)?,
            Step::Flush => self.flush()?,
            Step::Wait => self.wait()?,
            Step::SendRoom { datagrams } => {
                self.rig.state().room = datagrams;
                self.model.room = datagrams;
            }
            Step::CloseHandle { handle } => self.with_handle(handle, Handle::close)?,
            Step::DropHandle { handle } => self.drop_handle(handle),
            Step::DropAllHandles => (0..self.handles.len()).for_each(|_| self.drop_handle(0)),
            Step::ServerClose { peer } => self.server_close(peer)?,
            Step::Foreign { peer } => self.name_foreigners(peer)?,
            Step::Connect { target } => self.connect(TARGETS[target % TARGETS.len()])?,
            Step::ConnectAs { target, id } => {
                self.connect_as(TARGETS[target % TARGETS.len()], ConnectionId(id % IDS))?;
            }
            Step::SendTo { target, size } => self.send_to(TARGETS[target % TARGETS.len()], size)?,
            Step::Dedicate { handle, switch } => self.dedicate(handle, switch)?,
            Step::ConfirmMove { peer, elsewhere } => self.confirm_move(peer, elsewhere)?,
            Step::Drain => {
                self.server.drain();
                self.model.drain();
            }
            Step::Stop => {
                self.server.stop();
                self.model.stop();
            }
            Step::Listen { on } => self.listen(on)?,
            Step::Filter { style } => self.set_filter(style),
            Step::Limits { ref limits } => self.set_limits(limits)?,
            Step::Nonsense { ref limits } => {
                holds("nonsense is refused", self.server.set_limits((**limits).clone()).is_err())?;
            }
            Step::MaxPending { connections } => {
                self.server.set_max_pending_connections(connections);
                self.model.set_limits(self.model.limits.clone().max_pending_connections(connections));
            }
            Step::Ready => self.ready()?,
            Step::Ended => self.ended()?,
            Step::Moved => self.moved()?,
        }
        Ok(())
    }

    // -----------------------------------------------------------------------------------------------------------------
    // The network.

    fn mark(&mut self, kind: u8, id: u8, size: usize) -> Vec<u8> {
        self.marks += 1;
        payload(kind, id, self.marks, size)
    }

    fn send(&mut self, client: usize, kind: u8, id: u8, size: usize, count: usize) {
        for _ in 0..count {
            let bytes = self.mark(kind, id, size);
            let client = &mut self.clients[client % CLIENTS.len()];
            client.send(server_addr_for(client.addr.is_ipv4()), &bytes);
            if self.model.listening.is_some_and(|reach| reach.reaches(client.addr)) {
                self.model.wire.carry_to_server(client.addr, &bytes);
            } else {
                self.model.wire.lost += 1;
            }
        }
    }

    fn send_to_own(&mut self, socket: usize, stranger: Option<usize>, size: usize, count: usize) {
        let Some((own, remote)) = self.model.own_socket(socket) else { return };
        let is_sender = |client: &Client| match stranger {
            None => client.addr == remote,
            Some(stranger) => client.addr == CLIENTS[stranger].parse().unwrap(),
        };
        // A peer may be at an address where there is nobody.
        let Some(sender) = self.clients.iter().position(is_sender) else { return };
        if self.clients[sender].addr.is_ipv4() != own.is_ipv4() {
            return;
        }
        for _ in 0..count {
            let bytes = self.mark(b'o', 0, size);
            self.clients[sender].send(own, &bytes);
            self.model.carry_to_own(own, self.clients[sender].addr, &bytes);
        }
    }

    fn reroute(&mut self, client: usize, way: usize) {
        let client = self.clients[client % CLIENTS.len()].addr;
        let way = ip(SERVER_IPS[if client.is_ipv4() { way } else { 2 + way }]);
        self.rig.state().ways.insert(client, way);
        self.model.ways.insert(client, way);
    }

    /// A client takes what has come for it.
    fn collect(&mut self, client: usize) -> Result<(), String> {
        let Client { addr, peer } = &mut self.clients[client % CLIENTS.len()];
        peer.poll().expect("a client's socket is sound");
        let next = |peer: &mut PacketPeerUdp| peer.get_packet().expect("a client is open");
        let got = std::iter::from_fn(|| next(peer)).map(|packet| (packet.sender(), packet.into_vec()));
        let got: Vec<_> = got.collect();
        let expected = self.model.wire.to_clients.get_mut(addr).expect("every client has an inbox");
        let expected: Vec<_> = expected.waiting.drain(..).collect();
        agree("what a client has received", &got, &expected)
    }

    fn advance(&mut self, by: Duration) {
        self.network.advance(by);
        self.model.clock += by;
    }

    // -----------------------------------------------------------------------------------------------------------------
    // The server.

    fn poll(&mut self, millis_from_now: Option<i64>, filter: Option<Style>) -> Result<(), String> {
        let now = self.network.elapsed();
        let asked = &self.asked;
        let lent = filter
            .map(|style| move |datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>| asked.decide(style, datagram, reply));
        let by = Duration::from_millis(millis_from_now.unwrap_or(0).unsigned_abs());
        let early = millis_from_now.is_some_and(|millis| millis < 0);
        let at = if early { now.saturating_sub(by) } else { now + by };
        let instant = if early { self.network.now() - by } else { self.network.now() + by };
        let report = match (millis_from_now, lent) {
            (None, None) => self.server.poll(),
            (None, Some(lent)) => self.server.poll_with(lent),
            (Some(_), None) => self.server.poll_at(instant),
            (Some(_), Some(lent)) => self.server.poll_at_with(instant, lent),
        };
        if self.model.listening.is_none() {
            return holds("a closed server does not poll", report.is_err());
        }
        let report = report.map_err(|error| error.to_string())?;
        let limits = self.server.limits();
        let budget = limits.max_known_per_poll + limits.max_unknown_per_poll;
        holds("a poll takes no more than its budgets", report.received <= budget)?;
        agree("the report", &report, &self.model.poll_with(at, filter))
    }

    fn take(&mut self) -> Result<(), String> {
        match (self.server.take_connection(), self.model.take()) {
            (Some(peer), Some(name)) => self.adopt(peer, name),
            (None, None) => Ok(()),
            (peer, name) => Err(format!("taken: {peer:?}, and the model says {name:?}")),
        }
    }

    fn adopt(&mut self, peer: PacketPeerUdp, name: usize) -> Result<(), String> {
        agree("the address of the peer", &peer.remote_addr(), &Some(self.model.party(name).remote))?;
        holds("an id is given once", self.ids.iter().all(|&(id, _)| id != peer.id()))?;
        holds("an index is below the most ever known", peer.id().index() < self.model.most_known)?;
        self.ids.push((peer.id(), name));
        let waited = peer.stats();
        self.handles.push(Handle { name, peer, waited });
        Ok(())
    }

    fn connect(&mut self, addr: SocketAddr) -> Result<(), String> {
        let result = self.server.connect(addr);
        let expected = self.model.connect(addr);
        self.connected(result, expected)
    }

    fn connect_as(&mut self, addr: SocketAddr, id: ConnectionId) -> Result<(), String> {
        let result = self.server.connect_as(addr, id);
        let expected = self.model.connect_as(addr, id);
        self.connected(result, expected)
    }

    fn connected(
        &mut self,
        result: Result<PacketPeerUdp, ConnectError>,
        expected: Result<usize, &'static str>,
    ) -> Result<(), String> {
        let result = result.map_err(|error| match error {
            ConnectError::NotListening => "not listening",
            ConnectError::NoPort => "no port",
            ConnectError::WrongFamily => "wrong family",
            ConnectError::AlreadyKnown(_) => "already known",
            ConnectError::PeersFull => "peers full",
            ConnectError::NoConnectionIds => "no ids",
            ConnectError::NeedsId => "needs an id",
            _ => "something else",
        });
        match (result, expected) {
            (Ok(peer), Ok(name)) => self.adopt(peer, name),
            (server, model) => agree("a connect", &server.map(|peer| peer.id()).err(), &model.err()),
        }
    }

    fn server_close(&mut self, peer: usize) -> Result<(), String> {
        let Some(&(id, name)) = self.any_id(peer) else { return Ok(()) };
        agree("a close by the server", &self.server.close(id).is_ok(), &self.model.server_close(name))
    }
    fn confirm_move(&mut self, peer: usize, elsewhere: Option<usize>) -> Result<(), String> {
        let Some(&(id, name)) = self.any_id(peer) else { return Ok(()) };
        let there = elsewhere.map(|client| self.clients[client].addr);
        let here = self.model.parties.get(&name).map(|party| party.remote);
        let addr = there.or(here).unwrap_or(self.clients[0].addr);
        let expected = self.model.confirm_move(name, addr);
        agree("confirming a move", &self.server.confirm_move(id, addr).ok(), &expected)
    }

    fn any_id(&self, peer: usize) -> Option<&(PeerId, usize)> {
        self.ids.get(peer.checked_rem(self.ids.len())?)
    }

    /// To name a peer of another server's does nothing to anybody.
    fn name_foreigners(&mut self, peer: usize) -> Result<(), String> {
        let peer = peer % self.foreign.len();
        let id = self.foreign[peer].id();
        holds("nobody is closed by a foreign id", self.server.close(id).is_err())?;
        holds("nobody is confirmed by a foreign id", self.server.confirm_move(id, self.clients[0].addr).is_err())?;
        let socket = self.server.dedicate_socket(&mut self.foreign[peer], Switch::AtOnce);
        holds("a foreign peer gets no socket", matches!(socket, Err(DedicateError::UnknownPeer(_))))?;
        if let Ok(report) = self.server.broadcast_to(&[id], b"") {
            let expected = self.model.broadcast(&[], b"").expect("the server has sent it");
            agree("a broadcast to a foreign id", &report, &expected)?;
        }
        Ok(())
    }

    fn dedicate(&mut self, handle: usize, switch: Switch) -> Result<(), String> {
        self.with_handle(handle, |handle, world| {
            let result = world.server.dedicate_socket(&mut handle.peer, switch);
            let expected = world.model.dedicate(handle.name);
            let got = result.as_ref().map(SocketAddr::ip).map_err(|error| match error {
                DedicateError::UnknownPeer(_) => "unknown peer",
                DedicateError::GoesByIds => "goes by ids",
                DedicateError::AlreadyDedicated => "dedicated already",
                _ => "something else",
            });
            agree("an own socket", &got, &expected)?;
            if let Ok(addr) = result {
                world.model.dedicated(handle.name, addr, switch);
            }
            Ok(())
        })
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
        self.model.listen(on);
        result.map_err(|error| format!("it does not listen: {error}"))
    }

    fn set_filter(&mut self, style: Option<Style>) {
        self.model.filter = style;
        let Some(style) = style else { return self.server.clear_filter() };
        let asked = Arc::clone(&self.asked);
        self.server.set_filter(move |datagram, reply| asked.decide(style, datagram, reply));
    }

    fn set_limits(&mut self, limits: &Limits) -> Result<(), String> {
        self.model.set_limits(limits.clone());
        self.server.set_limits(limits.clone()).map_err(|error| error.to_string())?;
        agree("the limits", self.server.limits(), limits)
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Sending.

    fn put(&mut self, handle: usize, size: usize) -> Result<(), String> {
        let bytes = self.mark(b'p', 0, size);
        self.with_handle(handle, |handle, world| {
            agree("a put", &outcome(handle.peer.put_packet(&bytes)), &world.model.put(handle.name, &bytes))
        })
    }

    fn broadcast(&mut self, to: Option<&[usize]>, size: usize) -> Result<(), String> {
        let bytes = self.mark(b'b', 0, size);
        let (report, expected) = match to {
            None => {
                // Everybody gets it, in the order in which the server knows them.
                let name = |(peer, _)| self.ids.iter().find(|&&(id, _)| id == peer).map(|&(_, name)| name);
                let names: Vec<_> = self.server.peers().filter_map(name).collect();
                (self.server.broadcast(&bytes), self.model.broadcast(&names, &bytes))
            }
            Some(peers) => {
                let chosen: Vec<_> = peers.iter().filter_map(|&peer| self.any_id(peer).copied()).collect();
                let (ids, names): (Vec<_>, Vec<_>) = chosen.into_iter().unzip();
                (self.server.broadcast_to(&ids, &bytes), self.model.broadcast(&names, &bytes))
            }
        };
        agree("a broadcast", &report.map_err(|error| why(&error)), &expected)
    }

    fn flush(&mut self) -> Result<(), String> {
        let report = self.server.flush();
        if self.model.listening.is_none() {
            return holds("a closed server does not flush", report.is_err());
        }
        agree("a flush", &report.map_err(|error| error.to_string())?, &self.model.flush())
    }

    /// In virtual time it never blocks; and what waits to be sent does not wait on.
    fn wait(&mut self) -> Result<(), String> {
        let result = self.server.wait(None);
        agree("whether a server waits", &result.is_ok(), &self.model.listening.is_some())?;
        if self.model.listening.is_some() {
            self.model.flush();
        }
        Ok(())
    }

    fn send_to(&mut self, addr: SocketAddr, size: usize) -> Result<(), String> {
        let bytes = self.mark(b's', 0, size);
        agree("a stateless send", &outcome(self.server.send_to(addr, &bytes)), &self.model.send_to(addr, &bytes))
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Handles.

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

    fn drop_handle(&mut self, handle: usize) {
        if self.handles.is_empty() {
            return;
        }
        let Handle { name, peer, .. } = self.handles.swap_remove(handle % self.handles.len());
        drop(peer);
        self.model.drop_handle(name);
    }
}

impl Client {
    fn new(network: &Network, addr: SocketAddr) -> Self {
        let mut peer = PacketPeerUdp::with_transport(network.host(addr.ip()));
        peer.bind(addr).expect("the address is free");
        Self { addr, peer }
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        self.peer.set_dest_address(to).expect("the network is whole");
        self.peer.put_packet(bytes).expect("the network takes everything");
    }
}

impl Handle {
    /// Returns whether there was a packet.
    fn get(&mut self, world: &mut World) -> Result<bool, String> {
        let start = world.start;
        let expected = world.model.get(self.name);
        let got = self.peer.get_packet().map(|packet| {
            packet.map(|packet| Waiting {
                bytes: packet.to_vec(),
                from: packet.sender(),
                at: packet.received_at() - start,
            })
        });
        agree("a packet", &got, &expected)?;
        let Ok(Some(packet)) = got else { return Ok(false) };
        agree("the sender of the last packet", &self.peer.packet_addr(), &Some(packet.from))?;
        Ok(true)
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
}

/// A server with peers, none of whose ids mean anything elsewhere.
fn another_server(network: &Network) -> (UdpServer, Vec<PacketPeerUdp>) {
    let mut server = UdpServer::with_transport(packetpeer::ServerConfig::new(), network.host([10, 9, 9, 9])).unwrap();
    server.listen(1).expect("the port is free");
    let mut peer = |port| server.connect(SocketAddr::from(([10, 0, 0, 2], port))).expect("there is room");
    let peers = (1000..1003).map(&mut peer).collect();
    (server, peers)
}

fn ip(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

fn outcome(result: Result<(), PutError>) -> Result<(), &'static str> {
    result.map_err(|error| why(&error))
}

fn why(error: &PutError) -> &'static str {
    match error {
        PutError::Ended(_) => "ended",
        PutError::TooLarge { .. } => "too large",
        PutError::WrongFamily { .. } => "wrong family",
        PutError::NotListening => "not listening",
        PutError::NoPort => "no port",
        PutError::WouldBlock => "would block",
        PutError::QueueFull => "queue full",
        PutError::Unconfirmed { .. } => "unconfirmed",
        _ => "something else",
    }
}
