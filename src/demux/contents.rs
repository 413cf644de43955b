use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::drop_list::DropList;
use super::payload::Payload;
use super::queue::PacketQueue;
use super::whereabouts::{Way, Whereabouts};
use crate::packet::Packet;

/// What a mailbox keeps under its lock.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) inbox: PacketQueue<Packet>,
    pub(super) outbox: Outbox,
    pub(super) received: u64,
    pub(super) received_bytes: u64,
    pub(super) drops: DropList,
    /// Made when it is needed, which for most peers is never.
    pub(super) rare: Option<Box<Rare>>,
}

/// What has been put and not sent. Most servers send at once: it takes memory from the first packet on, until the peer
/// has been quiet for a while.
#[derive(Default)]
pub(super) struct Outbox {
    pub(super) queue: Option<Box<PacketQueue<Payload>>>,
    /// In the server's list of peers that have something to send, or being flushed.
    pub(super) listed: bool,
    pub(super) memory: Memory,
}

/// What is known of the memory of both queues. It stands with one of them because there is room.
#[derive(Default)]
pub(super) struct Memory {
    /// One of the queues takes some, and the peer is in the server's list of such peers.
    pub(super) has_grown: bool,
    /// Several packets waited at a time since it was looked at last.
    pub(super) is_used: bool,
    /// Something was put to wait since then.
    pub(super) is_posted: bool,
}

/// What most peers do without.
#[derive(Default)]
pub(super) struct Rare {
    /// Where the remote is, if it has moved. In a place of its own: where replies leave from a pinned address every peer
    /// is rare, and few of them move.
    pub(super) moved: Option<Box<Whereabouts>>,
    /// Which address of this host the remote has spoken to from where it is, where the transport tells.
    pub(super) local: Option<IpAddr>,
    pub(super) bell: Option<Arc<dyn Bell>>,
}

/// Rung when something has changed for whoever waits for a mailbox.
pub(crate) trait Bell: Send + Sync {
    fn ring(&self);
}

impl Contents {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn bell(&self) -> Option<Arc<dyn Bell>> {
        self.rare.as_ref()?.bell.clone()
    }

    /// Where the remote is, if it has moved.
    pub(super) fn whereabouts(&mut self) -> Option<&mut Whereabouts> {
        self.rare.as_mut()?.moved.as_deref_mut()
    }

    pub(super) fn is_at(&self, sender: SocketAddr) -> bool {
        let moved = self.rare.as_ref().and_then(|rare| rare.moved.as_ref());
        moved.is_none_or(|whereabouts| whereabouts.remote() == sender)
    }

    /// Which way datagrams go, where the remote was heard first at `first_remote`.
    pub(super) fn way(&self, first_remote: SocketAddr) -> Way {
        let Some(rare) = &self.rare else { return Way { to: first_remote, from: None, is_charged: false } };
        match &rare.moved {
            None => Way { to: first_remote, from: rare.local, is_charged: false },
            Some(at) => Way { to: at.remote(), from: rare.local, is_charged: !at.is_confirmed() },
        }
    }
}
