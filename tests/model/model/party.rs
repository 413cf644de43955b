//! Somebody the server knows, or whose handle is still held.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use packetpeer::CloseReason;
use packetpeer::identity::{ConnectionId, Switch};
use packetpeer::limits::{QueueLimits, WhenFull};
use packetpeer::stats::PeerStats;

use super::wire::Inbox;

/// How many times the bytes that came from an address may go there before it is confirmed.
const FACTOR: usize = 3;

/// Addresses that a connection has left, of which stragglers are welcome.
const TRAIL: usize = 4;

/// By what somebody is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Addr(SocketAddr),
    Id(ConnectionId),
}

#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) who: Who,
    pub(crate) stage: Stage,
    /// The IP address that it came from, as long as it counts there: whether it does is settled when it comes.
    pub(crate) counts_at: Option<IpAddr>,
    /// The listening of the server, counted, at which it was met.
    pub(crate) session: u32,
    pub(crate) remote: SocketAddr,
    /// Which of the server's addresses `remote` spoke to.
    pub(crate) local: Option<IpAddr>,
    /// Where it was, and until when stragglers from there are welcome; the latest last.
    pub(crate) left: VecDeque<(SocketAddr, Duration)>,
    /// Where it is known to receive.
    pub(crate) confirmed: SocketAddr,
    /// Bytes that may go to `remote` as long as that is another.
    pub(crate) budget: usize,
    pub(crate) inbox: Queue<Waiting>,
    pub(crate) outbox: Queue<Letter>,
    pub(crate) last_heard: Duration,
    pub(crate) offered_in_poll: usize,
    pub(crate) end: Option<CloseReason>,
    pub(crate) known: bool,
    pub(crate) held: bool,
    /// How its packets leave, where it was ever given a socket of its own.
    pub(crate) own: Option<Route>,
    pub(crate) stats: PeerStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Pending { since: Duration },
    Peer,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) addr: SocketAddr,
    pub(crate) switch: Switch,
    pub(crate) switched: bool,
}

/// The socket that a peer has for itself.
#[derive(Debug)]
pub(crate) struct OwnSocket {
    pub(crate) name: usize,
    pub(crate) addr: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) inbox: Inbox,
    /// Sockets are let go in this order: the first number that was free.
    pub(crate) slot: usize,
    /// Its peer has ended, and something goes on waiting to leave by it.
    pub(crate) lingers: bool,
}

/// A packet that waits to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: SocketAddr,
    pub(crate) at: Duration,
}

/// A packet that waits to be sent. Those of one broadcast share their bytes.
#[derive(Debug, Clone)]
pub(crate) struct Letter(pub(crate) Rc<[u8]>);

impl Letter {
    pub(crate) fn is_copy_of(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

pub(crate) trait Payload {
    fn len(&self) -> usize;
}

impl Payload for Waiting {
    fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Payload for Letter {
    fn len(&self) -> usize {
        self.0.len()
    }
}

#[derive(Debug)]
pub(crate) struct Queue<P>(pub(crate) VecDeque<P>);

/// What became of something that was to wait in a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    pub(crate) admitted: bool,
    /// What was dropped, itself perhaps among it, and which bound that was for.
    pub(crate) lost: usize,
    pub(crate) bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Packets,
    Bytes,
}

impl<P: Payload> Queue<P> {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(Payload::len).sum()
    }

    pub(crate) fn admit(&mut self, packet: P, limits: &QueueLimits) -> Admission {
        let bound = if self.len() >= limits.packets { Bound::Packets } else { Bound::Bytes };
        let could_ever_fit = limits.packets > 0 && packet.len() <= limits.bytes;
        let mut lost = 0;
        while limits.when_full == WhenFull::DropOldest && could_ever_fit && !self.fits(&packet, limits) {
            self.0.pop_front();
            lost += 1;
        }
        let admitted = self.fits(&packet, limits);
        if admitted {
            self.0.push_back(packet);
        }
        Admission { admitted, lost: lost + usize::from(!admitted), bound }
    }

    fn fits(&self, packet: &P, limits: &QueueLimits) -> bool {
        self.len() < limits.packets && self.bytes() + packet.len() <= limits.bytes
    }
}

impl Party {
    pub(crate) fn new(who: Who, stage: Stage, session: u32, remote: SocketAddr, now: Duration) -> Self {
        Self {
            who,
            stage,
            counts_at: None,
            session,
            remote,
            local: None,
            left: VecDeque::new(),
            confirmed: remote,
            budget: 0,
            inbox: Queue::new(),
            outbox: Queue::new(),
            last_heard: now,
            offered_in_poll: 0,
            end: None,
            known: true,
            held: false,
            own: None,
            stats: PeerStats::default(),
        }
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.stage != Stage::Peer
    }

    pub(crate) fn is_open_peer(&self) -> bool {
        self.known && self.end.is_none() && self.stage == Stage::Peer
    }

    pub(crate) fn is_confirmed(&self) -> bool {
        self.remote == self.confirmed
    }

    /// Whether what comes from `addr` is this party's without a move.
    pub(crate) fn is_or_was_at(&self, addr: SocketAddr, now: Duration) -> bool {
        self.remote == addr || self.left.iter().any(|&(left, until)| left == addr && now < until)
    }

    pub(crate) fn follow(&mut self, to: SocketAddr, local: Option<IpAddr>, bytes: usize, until: Duration) {
        self.left.push_back((self.remote, until));
        if self.left.len() > TRAIL {
            self.left.pop_front();
        }
        self.remote = to;
        self.local = local;
        self.budget = 0;
        self.credit(bytes);
    }

    /// So many bytes have come from where it is.
    pub(crate) fn credit(&mut self, bytes: usize) {
        self.budget += FACTOR * bytes;
    }

    /// Whether so many bytes may go where it is; they are charged.
    pub(crate) fn charge(&mut self, bytes: usize) -> bool {
        if self.is_confirmed() {
            return true;
        }
        let left = self.budget.checked_sub(bytes.max(1));
        self.budget = left.unwrap_or(self.budget);
        left.is_some()
    }

    /// So many bytes that were charged have not gone there.
    pub(crate) fn refund(&mut self, bytes: usize) {
        if !self.is_confirmed() {
            self.budget += bytes.max(1);
        }
    }

    /// The address of the socket by which packets leave, if that is not the one listened on.
    pub(crate) fn route(&self) -> Option<SocketAddr> {
        self.own.filter(|own| own.switch == Switch::AtOnce || own.switched).map(|own| own.addr)
    }

    /// Whether it counts for the IP address, or the IPv6 /64, of `ip`.
    pub(crate) fn counts_with(&self, ip: IpAddr) -> bool {
        self.counts_at.is_some_and(|own| same_origin(own, ip))
    }

    pub(crate) fn stats(&self) -> PeerStats {
        let mut stats = self.stats;
        stats.queued = self.inbox.len() as u64;
        stats.queued_bytes = self.inbox.bytes() as u64;
        stats.send_queued = self.outbox.len() as u64;
        stats
    }
}

/// Whether both are one IPv4 address, or of one IPv6 /64.
fn same_origin(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V6(one), IpAddr::V6(other)) => network(one) == network(other),
        (one, other) => one == other,
    }
}

fn network(ip: Ipv6Addr) -> [u8; 8] {
    ip.octets()[..8].try_into().expect("half of sixteen bytes")
}
