//! What the tests of several concerns start from: some who are known, and what they share with their handles.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::key::Key;
use super::limits::{QueueLimits, SendMode};
use super::mailbox::{Common, Mailbox};
use super::origin::Origin;
use super::queue::Room;
use super::table::Table;
use super::time::Tick;
use crate::clock::Clock;
use crate::packet::{Packet, PacketPool};
use crate::peer_id::PeerId;

pub(super) struct House {
    pub(super) table: Table,
    pub(super) shared: Arc<Common>,
    pub(super) start: Instant,
}

impl House {
    pub(super) fn new() -> Self {
        let (server, start) = (7, Instant::now());
        let pool = PacketPool::new(0);
        let (shared, _closed) = Common::new(server, pool, SendMode::Now, Clock::new(move || start));
        Self { table: Table::new(server), shared, start }
    }

    pub(super) fn tick(&self, seconds: u64) -> Tick {
        Tick::at(self.start + Duration::from_secs(seconds), self.start)
    }

    pub(super) fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// A pending connection from this port, which counts with the others.
    pub(super) fn pending(&mut self, port: u16) -> PeerId {
        let (addr, shared) = (Self::addr(port), Arc::clone(&self.shared));
        let mailbox = |id| Arc::new(Mailbox::new(id, None, addr, shared));
        self.table.insert(Key::of(&addr), Some(Origin::of(addr.ip())), Tick::default(), mailbox)
    }

    pub(super) fn peer(&mut self, port: u16) -> PeerId {
        let id = self.pending(port);
        self.table.accept(id, Tick::default());
        id
    }

    pub(super) fn mailbox(&self, id: PeerId) -> Arc<Mailbox> {
        Arc::clone(self.table.mailbox(id).expect("it is known"))
    }

    /// A packet comes for somebody.
    pub(super) fn push(&self, id: PeerId) {
        let packet = Packet::new(vec![1], Self::addr(1), self.start);
        let overflow = self.mailbox(id).push(packet, &None, &QueueLimits::new(), Room::any());
        assert_eq!(overflow, None);
    }
}
