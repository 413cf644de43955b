use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::error::ConfigError;
use crate::prefix::IpPrefix;
use crate::setters::setters;

/// What a server allows; may be changed while it runs, by [`UdpServer::set_limits`](crate::UdpServer::set_limits).
///
/// Make one by [`Limits::new`] and the setters, each named after the field it sets.
///
/// ```
/// use std::time::Duration;
/// use packetpeer::Limits;
///
/// let limits = Limits::new().max_peers(200).idle_timeout(Some(Duration::from_secs(10)));
/// assert_eq!(limits.max_pending_connections, 16);
/// ```
///
/// # What to set
///
/// | | a match of 16 | a shard of 1,000 | a hub of 100,000 |
/// |---|---|---|---|
/// | [`max_pending_connections`](Self#structfield.max_pending_connections) | 16 | 64 | 1,024: all who may join in one frame |
/// | [`max_pending_per_ip`](Self#structfield.max_pending_per_ip) | 4 | 16 | 16; exempt your proxies |
/// | [`max_peers_per_ip`](Self#structfield.max_peers_per_ip) | 8 | as it is | as it is, or 1,024 where carriers share addresses |
/// | [`pending_lifetime`](Self#structfield.pending_lifetime) | 10 s | 10 s | 2 s |
/// | [`max_peers`](Self#structfield.max_peers) | 16 and some who come back | 1,100 | 110,000 |
/// | [`idle_timeout`](Self#structfield.idle_timeout) | 10 s | 30 s | 30 s |
/// | [`queue`](Self#structfield.queue) | as it is | 64 packets, 64 KiB | 16 packets, 16 KiB |
/// | [`max_queued_bytes`](Self#structfield.max_queued_bytes) | 4 MiB | 64 MiB | 256 MiB |
/// | [`max_known_per_poll`](Self#structfield.max_known_per_poll) | 1,024 | 16,384 | 65,536, and a thread for the poll |
/// | [`max_unknown_per_poll`](Self#structfield.max_unknown_per_poll) | 1,024 | 16,384 | 16,384 |
/// | [`max_replies_per_poll`](Self#structfield.max_replies_per_poll) | 128 | 2,048 | 2,048 |
/// | [`quota_per_poll`](Self#structfield.quota_per_poll) | `None` | 32 | 8 |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections that may wait to be taken. Default 16, as Godot. 0 refuses unknown senders and leaves peers working.
    ///
    /// A frame's worth of arrivals has to fit; whoever finds no room has to send again. Where many come from one
    /// address that is not [exempt](Self#structfield.exempt_from_per_ip), as clients of a load test on another machine
    /// do, raise [`max_pending_per_ip`](Self#structfield.max_pending_per_ip) too.
    pub max_pending_connections: usize,
    /// Connections from one IPv4 address, or one IPv6 /64, that may wait to be taken. Default 8.
    ///
    /// A connection waits until the game takes it, which is one frame: behind one address, eight people would have to
    /// say hello within the same 16 ms before a ninth has to say it again. And one address that floods has half of the
    /// default 16 places at most, so that others find some.
    pub max_pending_per_ip: usize,
    /// Peers and pending connections from one IPv4 address, or one IPv6 /64, together. Default 256; `None` = as many as
    /// [`max_peers`](Self#structfield.max_peers). Lowering it ends nobody and admits nobody.
    ///
    /// Without it, a stranger that speaks from ever new ports of one address has all places within seconds. 256 is more
    /// than play from one address in earnest. A household has a handful of players, a school or a LAN party behind one
    /// address some hundred. A carrier shares an address among its customers by giving each a block of some 64 to 1,000
    /// ports, so that there are between 64 and 1,000 households behind it; that a quarter of the largest such crowd
    /// plays the same game on the same server at once does not happen by chance. Where it is no chance, as with a game
    /// for one school, raise it, or [exempt](Self#structfield.exempt_from_per_ip) the address. And 256 of the default
    /// 4,096 places are a sixteenth: it takes sixteen addresses to fill the server, and one tells you that it is there
    /// (`peers_per_ip_full`).
    ///
    /// A peer counts with the address from which it was first heard, also when it has moved to another since: it could
    /// move out of the count otherwise. Peers that the server speaks to first, by
    /// [`connect`](crate::UdpServer::connect), count and are never refused, since it is the game that chose them.
    /// A peer that was exempt on arrival is not counted later, and one that was not goes on being counted. Link-local
    /// IPv6 addresses are one /64, so a whole LAN that speaks by them counts as one address.
    pub max_peers_per_ip: Option<usize>,
    /// Addresses that [`max_pending_per_ip`](Self#structfield.max_pending_per_ip) and
    /// [`max_peers_per_ip`](Self#structfield.max_peers_per_ip) are not for. Default: those of this machine, 127.0.0.0/8
    /// and ::1, so that a test on one machine meets neither limit.
    ///
    /// Behind a proxy or load balancer all players share its address: exempt that. If it runs on this machine, they are
    /// exempt by default; if that is not what you want, give an empty list.
    pub exempt_from_per_ip: Vec<IpPrefix>,
    /// How long a connection may wait to be taken. Default 10 s; `None` = for ever.
    pub pending_lifetime: Option<Duration>,
    /// Peers and pending connections together. Default 4,096. Lowering it ends nobody and admits nobody.
    ///
    /// Each costs well under 512 bytes while nothing waits for it, and again some seconds after much did.
    pub max_peers: usize,
    /// A peer from which nothing comes for so long has ended. Default 30 s; `None` = never, as Godot.
    ///
    /// Peers are judged by a poll that has seen the socket empty: what a peer sent may otherwise still wait there, behind
    /// a flood or a hitch of the program. Under a flood that no poll gets to the end of, silence of twice this time ends
    /// a peer all the same, as soon as polls have gone on like that for this time. So it takes twice this time and one
    /// poll at most, whatever strangers send. After a pause between two polls of this time or longer the count of
    /// such polls starts anew, since what waits then is as old as the pause.
    ///
    /// Without it, clients that vanish without a word fill [`max_peers`](Self#structfield.max_peers) in the end.
    pub idle_timeout: Option<Duration>,
    /// What becomes of the address of a peer that was closed on this side. Default: forgotten, as in Godot.
    pub after_close: AfterClose,
    /// Addresses refused at a time; beyond, the one refused first is forgotten. Default 4,096; at least 1 with
    /// [`AfterClose::Refuse`].
    pub max_refused_addresses: usize,
    /// What may wait in the queue of one peer.
    pub queue: QueueLimits,
    /// What may wait to be sent to one peer, in the [modes](SendMode) that let something wait. Default as for
    /// [`queue`](Self#structfield.queue).
    pub send_queue: QueueLimits,
    /// Payload that may wait in the queues of all peers together, in bytes; received and to be sent each. Default 64
    /// MiB. A [broadcast](crate::UdpServer::broadcast) that waits is one copy, and counts once.
    ///
    /// Memory for a packet comes in sizes of a power of two from 128 bytes on, with some 100 bytes of bookkeeping: at
    /// worst a one-byte packet costs 256 bytes, and a large one twice its size. As much again may lie idle in the pool,
    /// less after this is lowered and more after it is raised.
    pub max_queued_bytes: usize,
    /// Datagrams of peers and pending connections that one poll takes from the socket. Default 16,384; at least 1.
    ///
    /// Sockets of single peers have half of it where they are busy. This bounds the length of a poll, some 10 ms with the
    /// default. What is left waits in the system for the next:
    /// where more comes than the budget takes, the system's buffer stays full, and adds its length in time to every
    /// latency.
    pub max_known_per_poll: usize,
    /// Datagrams of unknown senders that one poll takes from the socket and lets nobody have. Default 16,384; at least
    /// 1.
    pub max_unknown_per_poll: usize,
    /// Answers that one poll sends for the [filter](crate::UdpServer::set_filter), also to those that it lets in, and for the
    /// [function that decides on moves](crate::identity::OnMove::ask). Default 2,048. What they would have answered beyond that is
    /// dropped.
    ///
    /// An answer costs four times what a drop does, and the sender may be forged: without this limit, a flood of questions
    /// would make polls that much longer.
    pub max_replies_per_poll: usize,
    /// Datagrams of one peer that one poll takes for its queue, whether they find room or not; what is more is dropped.
    /// Default: `None`, no quota; at least 1.
    ///
    /// Some times what a client rightly sends per frame, so that one who floods does not use up what others share: the
    /// poll's budget and the queued bytes.
    pub quota_per_poll: Option<usize>,
}

/// What becomes of the address of a peer that was closed on this side, by its handle or by
/// [`UdpServer::close`](crate::UdpServer::close).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AfterClose {
    /// Forgotten: its next datagram makes a new connection.
    #[default]
    Forget,
    /// Refused for so long: its datagrams are dropped and counted. For those who were thrown out, and so that what was
    /// on its way when a game ended does not start another. [`UdpServer::connect`](crate::UdpServer::connect) lifts it.
    Refuse(Duration),
}

/// What may wait in one queue of packets; with both, the first that is reached holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueLimits {
    /// Packets. Default 512.
    pub packets: usize,
    /// Payload in bytes. Default 256 KiB, which is four of the largest datagrams.
    pub bytes: usize,
    /// Which packet goes when one more would be too much. Default: the one that has just arrived, as in Godot.
    pub when_full: WhenFull,
}

/// Which packet is dropped when a queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// The one that has just arrived: right where early packets matter, as in a download.
    #[default]
    DropNewest,
    /// As many of those that wait longest as it takes: right where only the latest state matters.
    DropOldest,
}

/// When a server's peers send what is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SendMode {
    /// At once, in `put_packet`. What the system will not take is an error,
    /// [`PutError::WouldBlock`](crate::error::PutError::WouldBlock). The default.
    #[default]
    Now,
    /// At once, and what the system will not take waits for the next [`flush`](crate::UdpServer::flush),
    /// [`poll`](crate::UdpServer::poll) or [`wait`](crate::UdpServer::wait). Later packets to the same peer wait behind
    /// it, so that order is kept.
    QueueWhenBlocked,
    /// By [`flush`](crate::UdpServer::flush), all of a frame together; by the next [`poll`](crate::UdpServer::poll) or
    /// [`wait`](crate::UdpServer::wait) where that is forgotten. It saves calls of the system, most of all where several packets go to one peer: those
    /// of a size leave as one segmented send where the system can (`UDP_SEGMENT`).
    OnFlush,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { packets: 512, bytes: 256 << 10, when_full: WhenFull::DropNewest }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pending_connections: 16,
            max_pending_per_ip: 8,
            max_peers_per_ip: Some(256),
            exempt_from_per_ip: vec![
                IpPrefix::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
                IpPrefix::new(Ipv6Addr::LOCALHOST.into(), 128),
            ],
            pending_lifetime: Some(Duration::from_secs(10)),
            max_peers: 4096,
            idle_timeout: Some(Duration::from_secs(30)),
            after_close: AfterClose::Forget,
            max_refused_addresses: 4096,
            queue: QueueLimits::default(),
            send_queue: QueueLimits::default(),
            max_queued_bytes: 64 << 20,
            max_known_per_poll: 16_384,
            max_unknown_per_poll: 16_384,
            max_replies_per_poll: 2048,
            quota_per_poll: None,
        }
    }
}

impl Limits {
    /// The defaults, which suit a game of some hundred players.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        max_pending_connections: usize,
        max_pending_per_ip: usize,
        max_peers_per_ip: Option<usize>,
        exempt_from_per_ip: Vec<IpPrefix>,
        pending_lifetime: Option<Duration>,
        max_peers: usize,
        idle_timeout: Option<Duration>,
        after_close: AfterClose,
        max_refused_addresses: usize,
        queue: QueueLimits,
        send_queue: QueueLimits,
        max_queued_bytes: usize,
        max_known_per_poll: usize,
        max_unknown_per_poll: usize,
        max_replies_per_poll: usize,
        quota_per_poll: Option<usize>,
    }

    /// Finds the first value that makes no sense.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |sense: bool, name, needs| if sense { Ok(()) } else { Err(ConfigError::new(name, needs)) };
        let some_time = |time: Option<Duration>| time.is_none_or(|time| !time.is_zero());
        let after_close = match self.after_close {
            AfterClose::Forget => None,
            AfterClose::Refuse(time) => Some(time),
        };
        refuse(some_time(self.pending_lifetime), "pending_lifetime", "more than zero, or None for no limit")?;
        refuse(some_time(self.idle_timeout), "idle_timeout", "more than zero, or None for no limit")?;
        refuse(some_time(after_close), "after_close", "a time of more than zero, or Forget")?;
        let refuses_nobody = after_close.is_some() && self.max_refused_addresses == 0;
        refuse(!refuses_nobody, "max_refused_addresses", "at least 1, or after_close Forget")?;
        refuse(self.max_known_per_poll > 0, "max_known_per_poll", "at least 1, or a poll takes nothing")?;
        refuse(self.max_unknown_per_poll > 0, "max_unknown_per_poll", "at least 1, or a poll takes nothing")?;
        refuse(self.quota_per_poll != Some(0), "quota_per_poll", "at least 1, or None for no quota")
    }
}

impl QueueLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        packets: usize,
        bytes: usize,
        when_full: WhenFull,
    }
}
