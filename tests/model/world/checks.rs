//! Everything that can be seen of the server without changing it, and the lists that it hands over.

use std::fmt::Debug;
use std::sync::atomic::Ordering;

use packetpeer::stats::{PeerStats, ServerStats};
use packetpeer::{Limits, PeerId, PeerState};

use super::{CLIENTS, Handle, Outcome, World};
use crate::model::{Model, Who};
use crate::steps::Step;

/// What the server's thread keeps at hand beside the pool, in bytes.
const STASH: usize = 1 << 20;

/// What was there before the step.
#[derive(Default)]
pub(super) struct Before {
    known: usize,
    queued_bytes: u64,
}

pub(crate) fn agree<T: PartialEq + Debug>(what: &str, server: &T, model: &T) -> Result<(), String> {
    if server == model {
        return Ok(());
    }
    Err(format!("{what}: the server has\n    {server:?}\n  and the model\n    {model:?}"))
}

pub(crate) fn holds(what: &str, holds: bool) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("broken: {what}")) }
}

impl World {
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.check_what_left()?;
        let model = &self.model;
        agree("the server's stats", &self.stats(), &model.stats())?;
        agree("pending connections", &self.server.pending_count(), &model.pending().count())?;
        agree("connection available", &self.server.is_connection_available(), &model.pending().next().is_some())?;
        agree("peers", &self.server.peer_count(), &model.peer_count())?;
        agree("is draining", &self.server.is_draining(), &model.draining)?;
        agree("is drained", &self.server.is_drained(), &(model.draining && model.peer_count() == 0))?;
        agree("is listening", &self.server.is_listening(), &model.listening.is_some())?;
        agree("questions to the filter", &self.asked.questions.load(Ordering::Relaxed), &model.filter_asked)?;
        agree("questions with room", &self.asked.with_room.load(Ordering::Relaxed), &model.filter_had_room)?;
        agree("what the network lost", &self.network.lost(), &model.wire.lost)?;
        self.check_tables()?;
        self.check_who_is_there()?;
        for handle in &mut self.handles {
            handle.check(model)?;
        }
        self.check_equations()?;
        self.check_limits()
    }

    /// What has left in this step: by which socket, from which address, where to, and in which order.
    fn check_what_left(&mut self) -> Result<(), String> {
        let sent = std::mem::take(&mut self.rig.state().sent);
        agree("what has left", &sent, &std::mem::take(&mut self.model.sent))
    }

    fn check_tables(&self) -> Result<(), String> {
        let mut sizes = self.server.table_sizes();
        let pool_bytes = std::mem::take(&mut sizes.pool_bytes);
        agree("the sizes of the tables", &sizes, &self.model.table_sizes())?;
        holds("what lies in the pool is limited", pool_bytes <= self.model.limits.max_queued_bytes + STASH)
    }

    fn check_who_is_there(&self) -> Result<(), String> {
        let mut expected = Vec::new();
        for (&name, party) in self.model.parties.iter().filter(|(_, party)| party.is_open_peer()) {
            expected.push((self.id(name), party.remote));
            let found = match party.who {
                Who::Addr(addr) => self.server.find(addr),
                Who::Id(id) => self.server.find_connection(id),
            };
            agree("who is found", &found, &Some(self.id(name)))?;
        }
        let mut peers: Vec<_> = self.server.peers().collect();
        peers.sort();
        expected.sort();
        agree("who is there", &peers, &expected)
    }

    fn check_equations(&self) -> Result<(), String> {
        let stats = self.stats();
        let accounted = stats.delivered + stats.queued + stats.consumed + stats.drops.total();
        agree("received = delivered + queued + consumed + drops", &stats.received, &accounted)?;
        let accounted = stats.sent + stats.send_queued + stats.send_drops.total();
        agree("put = sent + waiting + drops", &stats.put, &accounted)
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

    pub(super) fn ready(&mut self) -> Result<(), String> {
        let mut ready = Vec::new();
        self.server.ready(&mut ready);
        ready.sort();
        let mut expected: Vec<_> = self.model.ready().into_iter().map(|name| self.id(name)).collect();
        expected.sort();
        agree("who is ready", &ready, &expected)
    }

    pub(super) fn ended(&mut self) -> Result<(), String> {
        let mut ended = Vec::new();
        self.server.take_ended(&mut ended);
        ended.sort_by_key(|&(id, _)| id);
        let mut expected: Vec<_> = self.model.ended.iter().map(|ended| (self.id(ended.name), ended.reason)).collect();
        self.model.ended.clear();
        expected.sort_by_key(|&(id, _)| id);
        agree("who has ended", &ended, &expected)
    }

    pub(super) fn moved(&mut self) -> Result<(), String> {
        let mut moved = Vec::new();
        self.server.take_moved(&mut moved);
        let moved: Vec<_> = moved.iter().map(|moved| (moved.peer, moved.from, moved.to, moved.confirmed)).collect();
        let expected =
            self.model.moved.iter().map(|moved| (self.id(moved.name), moved.from, moved.to, moved.confirmed));
        let expected: Vec<_> = expected.collect();
        self.model.moved.clear();
        agree("who has moved", &moved, &expected)
    }

    fn id(&self, name: usize) -> PeerId {
        self.ids.iter().find(|&&(_, other)| other == name).expect("who was taken has an id").0
    }

    /// The game is over: nothing may be left of it.
    pub(crate) fn finish(mut self) -> Result<Outcome, String> {
        self.ready()?;
        self.ended()?;
        self.moved()?;
        let steps = [Step::SendRoom { datagrams: usize::MAX }, Step::DropAllHandles, Step::Poll { filter: None }];
        for step in steps {
            self.step(&step)?;
            self.check()?;
        }
        if self.server.is_listening() {
            agree("peers at the end", &self.server.peer_count(), &0)?;
        }
        self.ended()?;
        self.step(&Step::Stop)?;
        self.check()?;
        let stats = self.stats();
        agree("what is pending after the stop", &self.server.pending_count(), &0)?;
        agree("who is there after the stop", &self.server.peer_count(), &0)?;
        agree("packets left after the stop", &stats.queued, &0)?;
        agree("bytes left after the stop", &stats.queued_bytes, &0)?;
        agree("packets to be sent after the stop", &stats.send_queued, &0)?;
        self.ready()?;
        (0..CLIENTS.len()).try_for_each(|client| self.collect(client))?;
        let counts = stats.connections;
        let happened = vec![
            ("expired", counts.expired),
            ("trimmed", counts.trimmed),
            ("idle", counts.idle),
            ("moved", counts.moved),
            ("connected", counts.connected),
        ];
        Ok(Outcome { drops: stats.drops, send_drops: stats.send_drops, happened })
    }
}

impl Handle {
    fn check(&mut self, model: &Model) -> Result<(), String> {
        let party = &model.parties[&self.name];
        let stats = self.peer.stats();
        agree("a peer's stats", &stats, &party.stats())?;
        agree("a peer's state", &self.peer.state(), &party.end.map_or(PeerState::Open, PeerState::Ended))?;
        agree("packets waiting", &self.peer.available_packet_count(), &party.inbox.len())?;
        agree("where a peer is", &self.peer.remote_addr(), &Some(party.remote))?;
        agree("from where a peer's packets leave", &self.peer.local_addr(), &model.local_addr(party))?;
        agree("a peer's connection id", &self.peer.connection_id(), &Model::id_of(party))?;
        agree("whether a peer's address is confirmed", &self.peer.is_address_confirmed(), &party.is_confirmed())?;
        Self::check_equations(&stats)?;
        self.check_limits(stats, &model.limits)
    }

    fn check_equations(stats: &PeerStats) -> Result<(), String> {
        let accounted = stats.delivered + stats.queued + stats.drops.total();
        agree("of a peer: received = delivered + queued + drops", &stats.received, &accounted)?;
        let accounted = stats.sent + stats.send_queued + stats.send_drops.total();
        agree("of a peer: put = sent + waiting + drops", &stats.put, &accounted)
    }

    fn check_limits(&mut self, stats: PeerStats, limits: &Limits) -> Result<(), String> {
        let within = |now: u64, limit: usize, before: u64| now <= (limit as u64).max(before);
        let (before, now) = (&self.waited, &stats);
        holds("packets of a peer are limited", within(now.queued, limits.queue.packets, before.queued))?;
        holds("bytes of a peer are limited", within(now.queued_bytes, limits.queue.bytes, before.queued_bytes))?;
        let sends = within(now.send_queued, limits.send_queue.packets, before.send_queued);
        holds("packets to a peer are limited", sends)?;
        self.waited = stats;
        Ok(())
    }
}
