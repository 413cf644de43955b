//! The model: everybody in one map in the order of arrival, every look-up a walk. Times count from the network's start.

mod party;
mod receive;
mod send;
mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use packetpeer::error::{GetError, GetIntoError};
use packetpeer::identity::{ConnectionId, Switch};
use packetpeer::limits::AfterClose;
use packetpeer::stats::{PollReport, ReceiveDrops, SendDrops, ServerStats, TableSizes};
use packetpeer::{CloseReason, Limits};

use crate::rig::Sent;
use crate::setup::{Reach, SERVER_IPS, Setup, Style};
use party::{OwnSocket, Route};
pub(crate) use party::{Party, Stage, Waiting, Who};
use wire::Wire;

pub(crate) type DropCounter = fn(&mut ReceiveDrops) -> &mut u64;
pub(crate) type SendDropCounter = fn(&mut SendDrops) -> &mut u64;

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) setup: Setup,
    /// The network's clock.
    pub(crate) clock: Duration,
    /// What time it is for the call that is being made.
    now: Duration,
    /// The time that the last poll was told, which a caller's own clock may have said, and the network's clock then.
    told: Duration,
    clock_when_told: Duration,
    pub(crate) limits: Limits,
    pub(crate) listening: Option<Reach>,
    sessions: u32,
    pub(crate) draining: bool,
    pub(crate) filter: Option<Style>,
    pub(crate) filter_asked: u64,
    pub(crate) filter_had_room: u64,
    replies_left: usize,
    pub(crate) parties: BTreeMap<usize, Party>,
    own_sockets: Vec<OwnSocket>,
    own_turn: usize,
    is_own_turn: bool,
    /// The first and the last of the polls in a row that have not seen the sockets empty.
    flooded: Option<(Duration, Duration)>,
    /// The last of them came after a long pause.
    after_pause: bool,
    next_name: usize,
    /// The most that were known at a time.
    pub(crate) most_known: usize,
    /// Those that no poll has seen yet, in the order in which they were closed.
    closed_handles: Vec<usize>,
    refused: Vec<(Who, Duration)>,
    pub(crate) ended: Vec<Ended>,
    pub(crate) moved: Vec<Moved>,
    /// Those that have something to send.
    to_flush: Vec<usize>,
    /// Which of the server's addresses clients speak to.
    pub(crate) ways: BTreeMap<SocketAddr, IpAddr>,
    /// How many datagrams the system still takes.
    pub(crate) room: usize,
    /// What has left, in order.
    pub(crate) sent: Vec<Sent>,
    stats: ServerStats,
    report: PollReport,
    pub(crate) wire: Wire,
}

#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: usize,
    pub(crate) reason: CloseReason,
    polled: bool,
}

#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) name: usize,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) confirmed: bool,
    polled: bool,
}

/// A time too far away to be expressed is as good as a year.
const YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Model {
    pub(crate) fn new(setup: &Setup) -> Self {
        Self {
            setup: setup.clone(),
            clock: Duration::ZERO,
            now: Duration::ZERO,
            told: Duration::ZERO,
            clock_when_told: Duration::ZERO,
            limits: setup.limits.clone(),
            listening: None,
            sessions: 0,
            draining: false,
            filter: None,
            filter_asked: 0,
            filter_had_room: 0,
            replies_left: 0,
            parties: BTreeMap::new(),
            own_sockets: Vec::new(),
            own_turn: 0,
            is_own_turn: false,
            flooded: None,
            after_pause: false,
            next_name: 0,
            most_known: 0,
            closed_handles: Vec::new(),
            refused: Vec::new(),
            ended: Vec::new(),
            moved: Vec::new(),
            to_flush: Vec::new(),
            ways: BTreeMap::new(),
            room: usize::MAX,
            sent: Vec::new(),
            stats: ServerStats::default(),
            report: PollReport::default(),
            wire: Wire::new(setup.receive_buffer),
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Time.

    pub(crate) fn listen(&mut self, on: Reach) {
        self.listening = Some(on);
        self.sessions += 1;
        // By the time of the polls, which may be a caller's, and never ahead of the clock.
        self.ask_the_clock();
        self.tell(self.now.min(self.clock));
    }

    /// A poll says what time it is. Time never runs backwards.
    fn tell(&mut self, time: Duration) {
        self.told = self.told.max(time);
        self.clock_when_told = self.clock;
        self.now = self.told;
    }

    /// Between polls time goes on by the network's clock, from what the last was told.
    fn ask_the_clock(&mut self) {
        self.now = self.told + (self.clock - self.clock_when_told);
    }

    /// With a filter for this poll alone, if there is one.
    pub(crate) fn poll_with(&mut self, at: Duration, filter: Option<Style>) -> PollReport {
        let set = self.filter;
        self.filter = filter.or(set);
        let report = self.poll(at);
        self.filter = set;
        report
    }

    fn poll(&mut self, at: Duration) -> PollReport {
        self.flush();
        self.report = PollReport::default();
        self.tell(at);
        self.replies_left = self.limits.max_replies_per_poll;
        self.ended.retain(|ended| !ended.polled);
        self.moved.retain(|moved| !moved.polled);
        self.take_up_closed();
        // One that is refused for a shorter time than those before it keeps its place until they are over.
        while self.refused.first().is_some_and(|&(_, until)| until <= self.now) {
            self.refused.remove(0);
        }
        self.expire_pending();
        self.close_own_sockets();
        self.report.more_waiting = !self.receive_all();
        self.end_the_idle();
        self.close_own_sockets();
        self.ended.iter_mut().for_each(|ended| ended.polled = true);
        self.moved.iter_mut().for_each(|moved| moved.polled = true);
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

    /// What the silent have sent may wait in a socket that was not seen empty; but not for ever.
    fn end_the_idle(&mut self) {
        let Some(timeout) = self.limits.idle_timeout else {
            (self.flooded, self.after_pause) = (None, false);
            return;
        };
        let patience = match self.flooded_for(timeout) {
            None => timeout,
            Some(time) if time >= timeout => 2 * timeout,
            Some(_) => return,
        };
        let now = self.now;
        for name in self.names(|party| party.is_open_peer() && now.saturating_sub(party.last_heard) >= patience) {
            self.stats.connections.idle += 1;
            self.report.idle += 1;
            self.end(name, CloseReason::Idle);
        }
    }

    /// For how long no poll has seen the sockets empty. The first long pause begins that anew: what waits after it may
    /// be as old as the pause.
    fn flooded_for(&mut self, timeout: Duration) -> Option<Duration> {
        if !self.report.more_waiting {
            (self.flooded, self.after_pause) = (None, false);
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

    // -----------------------------------------------------------------------------------------------------------------
    // How peers come.

    pub(crate) fn take(&mut self) -> Option<usize> {
        self.listening?;
        let name = self.pending().next()?.0;
        self.ask_the_clock();
        self.stats.connections.taken += 1;
        self.accept(name);
        Some(name)
    }

    pub(crate) fn connect(&mut self, addr: SocketAddr) -> Result<usize, &'static str> {
        if self.setup.ids.is_some_and(|ids| !ids.by_address) {
            return Err("needs an id");
        }
        self.connect_who(addr, Who::Addr(addr))
    }

    pub(crate) fn connect_as(&mut self, addr: SocketAddr, id: ConnectionId) -> Result<usize, &'static str> {
        if self.setup.ids.is_none() {
            return Err("no ids");
        }
        self.connect_who(addr, Who::Id(id))
    }

    fn connect_who(&mut self, addr: SocketAddr, who: Who) -> Result<usize, &'static str> {
        let reach = self.listening.ok_or("not listening")?;
        if addr.port() == 0 {
            return Err("no port");
        }
        if !reach.reaches(addr) {
            return Err("wrong family");
        }
        self.ask_the_clock();
        self.take_up_closed();
        let name = match self.find(who) {
            Some(name) if self.parties[&name].stage == Stage::Peer => return Err("already known"),
            Some(pending) => pending,
            None if self.known_count() >= self.limits.max_peers => return Err("peers full"),
            None => self.add(who, addr, Stage::Peer),
        };
        self.refused.retain(|&(refused, _)| refused != who);
        self.stats.connections.connected += 1;
        self.accept(name);
        Ok(name)
    }

    fn accept(&mut self, name: usize) {
        let now = self.now;
        let party = self.party(name);
        party.stage = Stage::Peer;
        party.last_heard = now;
        party.held = true;
    }

    fn add(&mut self, who: Who, remote: SocketAddr, stage: Stage) -> usize {
        let name = self.next_name;
        self.next_name += 1;
        let mut party = Party::new(who, stage, self.sessions, remote, self.now);
        party.counts_at = self.counts(remote).then_some(remote.ip());
        self.parties.insert(name, party);
        self.most_known = self.most_known.max(self.known_count());
        name
    }

    /// Whether an address is not exempt from the limits per IP address.
    fn counts(&self, addr: SocketAddr) -> bool {
        !self.limits.exempt_from_per_ip.iter().any(|prefix| prefix.contains(addr.ip()))
    }

    // -----------------------------------------------------------------------------------------------------------------
    // What a handle does.

    pub(crate) fn get(&mut self, name: usize) -> Result<Option<Waiting>, GetError> {
        let party = self.party(name);
        match (party.inbox.0.pop_front(), party.end) {
            (Some(packet), _) => {
                party.stats.delivered += 1;
                self.stats.delivered += 1;
                Ok(Some(packet))
            }
            (None, Some(reason)) => Err(GetError::Ended(reason)),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn get_into(&mut self, name: usize, room: usize) -> Result<Option<Waiting>, GetIntoError> {
        match self.party(name).inbox.0.front().map(|packet| packet.bytes.len()) {
            Some(size) if size > room => Err(GetIntoError::BufferTooSmall { size, room }),
            _ => Ok(self.get(name)?),
        }
    }

    pub(crate) fn close_handle(&mut self, name: usize) {
        let party = self.party(name);
        if party.end.is_none() {
            party.end = Some(CloseReason::Closed);
            self.closed_handles.push(name);
        }
    }

    pub(crate) fn drop_handle(&mut self, name: usize) {
        self.close_handle(name);
        self.party(name).held = false;
        self.bury();
    }

    // -----------------------------------------------------------------------------------------------------------------
    // Sockets of single peers.

    /// Where the peer's own socket will be, but for the port.
    pub(crate) fn dedicate(&self, name: usize) -> Result<IpAddr, &'static str> {
        let reach = self.listening.ok_or("unknown peer")?;
        let party = self.parties.get(&name).filter(|party| party.is_open_peer()).ok_or("unknown peer")?;
        if self.setup.ids.is_some() {
            return Err("goes by ids");
        }
        if self.own_sockets.iter().any(|own| own.name == name) {
            return Err("dedicated already");
        }
        let first = SERVER_IPS.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
        let mut of_family = first.filter(|ip| ip.is_ipv4() == party.remote.is_ipv4());
        let any = of_family.next().expect("the server has addresses of both IP versions");
        Ok(reach.ip().or(party.local).unwrap_or(any))
    }

    pub(crate) fn dedicated(&mut self, name: usize, addr: SocketAddr, switch: Switch) {
        let party = self.party(name);
        party.own = Some(Route { addr, switch, switched: false });
        let remote = party.remote;
        let inbox = self.wire.own_inbox();
        let is_free = |slot: &usize| self.own_sockets.iter().all(|own| own.slot != *slot);
        let slot = (0..).find(is_free).expect("there are more numbers than sockets");
        self.own_sockets.push(OwnSocket { name, addr, remote, inbox, slot, lingers: false });
    }

    /// Closes those whose peer has ended, when what waited to leave by them has left.
    fn close_own_sockets(&mut self) {
        let mut all: Vec<_> = self.own_sockets.iter().map(|own| (own.slot, own.name)).collect();
        all.sort_unstable();
        for (slot, name) in all {
            let is_known = self.parties.get(&name).is_some_and(|party| party.known);
            let is_in_use = self.parties.get(&name).is_some_and(|party| party.route().is_some());
            let lingers = !is_known && is_in_use && self.flush_one(name);
            let place = self.own_sockets.iter().position(|own| own.slot == slot).expect("it is there");
            if lingers {
                self.own_sockets[place].lingers = true;
            } else if !is_known {
                self.wire.lost += self.own_sockets.remove(place).inbox.waiting.len() as u64;
            }
        }
        self.bury();
    }

    pub(crate) fn own_socket(&self, number: usize) -> Option<(SocketAddr, SocketAddr)> {
        let own = &self.own_sockets[number.checked_rem(self.own_sockets.len())?];
        Some((own.addr, own.remote))
    }

    pub(crate) fn carry_to_own(&mut self, addr: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        let own = self.own_sockets.iter_mut().find(|own| own.addr == addr).expect("it is open");
        self.wire.carry_to_own(&mut own.inbox, own.remote, from, bytes);
    }

    /// The address from which a peer's packets leave.
    pub(crate) fn local_addr(&self, party: &Party) -> Option<SocketAddr> {
        match party.route() {
            Some(addr) => self.own_sockets.iter().any(|own| own.addr == addr).then_some(addr),
            None => self.listening.filter(|_| party.session == self.sessions).map(Reach::addr),
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // How it ends.

    /// Returns whether there was such a peer.
    pub(crate) fn server_close(&mut self, name: usize) -> bool {
        let is_there = self.parties.get(&name).is_some_and(Party::is_open_peer);
        if is_there {
            self.ask_the_clock();
            self.stats.connections.closed += 1;
            self.end(name, CloseReason::Closed);
            self.close_own_sockets();
        }
        is_there
    }
    /// Returns whether that is where it is, if there is such a peer.
    pub(crate) fn confirm_move(&mut self, name: usize, addr: SocketAddr) -> Option<bool> {
        let party = self.parties.get_mut(&name).filter(|party| party.is_open_peer())?;
        if party.remote == addr {
            party.confirmed = addr;
        }
        Some(party.remote == addr)
    }

    pub(crate) fn drain(&mut self) {
        self.draining = true;
        for name in self.names(Party::is_pending) {
            self.forget_pending(name, |drops| &mut drops.draining);
        }
    }

    pub(crate) fn stop(&mut self) {
        self.now = self.told;
        for name in self.names(Party::is_pending) {
            self.forget_pending(name, |drops| &mut drops.unread);
        }
        for name in self.names(|party| party.known) {
            let closed = self.parties[&name].end.is_some();
            self.stats.connections.closed += u64::from(closed);
            self.end(name, CloseReason::ServerStopped);
        }
        self.closed_handles.clear();
        self.refused.clear();
        self.draining = false;
        self.flush();
        self.give_up();
        self.close_own_sockets();
        self.listening = None;
        self.wire.close_port();
    }

    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        for name in self.names(Party::is_pending).into_iter().rev() {
            self.trim_to_limit_per_ip(name);
        }
        let keep = self.limits.max_pending_connections;
        for name in self.names(Party::is_pending).into_iter().skip(keep) {
            self.trim_pending(name);
        }
        self.trim_refused();
    }

    /// Forgets somebody pending before whom as many came from the same IP address as may wait.
    fn trim_to_limit_per_ip(&mut self, name: usize) {
        let Some(ip) = self.parties[&name].counts_at.filter(|&ip| self.counts(SocketAddr::new(ip, 0))) else { return };
        let before = self.pending().filter(|&(other, party)| other < name && party.counts_with(ip)).count();
        if before >= self.limits.max_pending_per_ip {
            self.trim_pending(name);
        }
    }

    fn trim_pending(&mut self, name: usize) {
        self.stats.connections.trimmed += 1;
        self.forget_pending(name, |drops| &mut drops.pending_trimmed);
    }

    fn trim_refused(&mut self) {
        let beyond = self.refused.len().saturating_sub(self.limits.max_refused_addresses);
        self.refused.drain(..beyond);
    }

    fn take_up_closed(&mut self) {
        for name in std::mem::take(&mut self.closed_handles) {
            if self.parties.get(&name).is_some_and(|party| party.known) {
                self.stats.connections.closed += 1;
                self.report.closed += 1;
                self.end(name, CloseReason::Closed);
            }
        }
    }

    fn end(&mut self, name: usize, reason: CloseReason) {
        let now = self.now;
        let party = self.party(name);
        let reason = *party.end.get_or_insert(reason);
        let who = party.who;
        party.known = false;
        // A game that never asks has a list in proportion to its peers.
        if self.ended.len() >= 2 * self.limits.max_peers.max(self.most_known) {
            self.ended.remove(0);
        }
        self.ended.push(Ended { name, reason, polled: false });
        if let (CloseReason::Closed, AfterClose::Refuse(time)) = (reason, self.limits.after_close) {
            self.refused.retain(|&(refused, _)| refused != who);
            self.refused.push((who, now.checked_add(time).unwrap_or(now + YEAR)));
            self.trim_refused();
        }
        self.bury();
    }

    fn forget_pending(&mut self, name: usize, reason: DropCounter) {
        let waiting = self.parties.remove(&name).map_or(0, |party| party.inbox.len());
        self.lose(None, waiting, reason);
    }

    /// Who is neither known nor held, and has nothing to send nor a socket, is gone, and what waited for it with it.
    fn bury(&mut self) {
        for name in self.names(|party| !party.known && !party.held && party.outbox.is_empty()) {
            if self.own_sockets.iter().any(|own| own.name == name) {
                continue;
            }
            let unread = self.parties.remove(&name).map_or(0, |party| party.inbox.len());
            self.stats.drops.unread += unread as u64;
        }
    }

    fn lose(&mut self, whose: Option<usize>, count: usize, reason: DropCounter) {
        self.report.dropped += count;
        *reason(&mut self.stats.drops) += count as u64;
        if let Some(name) = whose {
            *reason(&mut self.party(name).stats.drops) += count as u64;
        }
    }

    // -----------------------------------------------------------------------------------------------------------------
    // What there is.

    pub(crate) fn party(&mut self, name: usize) -> &mut Party {
        self.parties.get_mut(&name).expect("who is known or held is not gone")
    }

    pub(crate) fn names(&self, which: impl Fn(&Party) -> bool) -> Vec<usize> {
        self.parties.iter().filter(|(_, party)| which(party)).map(|(&name, _)| name).collect()
    }

    fn find(&self, who: Who) -> Option<usize> {
        self.parties.iter().find(|(_, party)| party.known && party.who == who).map(|(&name, _)| name)
    }

    fn find_open(&self, who: Who) -> Option<usize> {
        self.find(who).filter(|name| self.parties[name].end.is_none())
    }

    pub(crate) fn pending(&self) -> impl Iterator<Item = (usize, &Party)> {
        self.parties.iter().filter(|(_, party)| party.is_pending()).map(|(&name, party)| (name, party))
    }

    /// Peers and pending connections.
    fn known_count(&self) -> usize {
        self.parties.values().filter(|party| party.known).count()
    }

    /// Those known that were taken, and not found closed yet.
    pub(crate) fn peer_count(&self) -> usize {
        self.parties.values().filter(|party| party.known && !party.is_pending()).count()
    }

    /// Whom a game by the ready list has to look at.
    pub(crate) fn ready(&self) -> Vec<usize> {
        self.names(|party| party.held && !party.is_pending() && !party.inbox.is_empty())
    }

    fn queued_bytes(&self) -> usize {
        self.parties.values().map(|party| party.inbox.bytes()).sum()
    }

    pub(crate) fn stats(&self) -> ServerStats {
        let mut stats = self.stats;
        let sum = |of: fn(&Party) -> usize| self.parties.values().map(of).sum::<usize>() as u64;
        stats.queued = sum(|party| party.inbox.len());
        stats.queued_bytes = self.queued_bytes() as u64;
        stats.send_queued = sum(|party| party.outbox.len());
        stats
    }

    /// How much is remembered; what lies in the pool is not the model's affair.
    pub(crate) fn table_sizes(&self) -> TableSizes {
        let mut sizes = TableSizes::default();
        sizes.peers = self.peer_count();
        sizes.pending = self.pending().count();
        sizes.places = self.most_known;
        sizes.refused = self.refused.iter().filter(|&&(_, until)| self.told < until).count();
        sizes.moved = self.names(|party| party.known && !party.left.is_empty()).len();
        sizes
    }
}
