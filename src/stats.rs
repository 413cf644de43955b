//! What happened, in plain numbers: one counter per reason.
//!
//! Counters only grow, from the making of a server or peer on, across `stop` and `listen`; `queued` and `send_queued`
//! are what they are at the moment. Reading them is cheap enough for every frame: a server's are plain loads, a peer's
//! takes its mailbox's lock for as long as it takes to copy them. Where the kernel tells what it has dropped it is asked
//! for that, by one system call per socket: the one listened on, and each that a peer has
//! [for itself](crate::UdpServer::dedicate_socket).
//!
//! Two equations hold whenever no other thread is inside a call:
//!
//! - received = delivered + queued + consumed + the sum of all [`ReceiveDrops`];
//! - put = sent + `send_queued` + the sum of all [`SendDrops`].
//!
//! The counters on either side of the second are kept apart: what is put is counted where it comes in, and what became
//! of it where that shows.
//!
//! [`ReceiveDrops`], [`SendDrops`], [`ConnectionCounts`] and [`LinkStats`](crate::sim::LinkStats) have an `iter` that
//! gives each counter under its field's name, which stays what it is: for exporters. What `Display` prints is for
//! people, and may change.

use std::fmt;

use crate::demux::Bound;

/// What a server has seen so far. See the [module](self) for the equations that hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ServerStats {
    /// Datagrams taken from the socket.
    pub received: u64,
    /// Their payload, in bytes.
    pub received_bytes: u64,
    /// Datagrams handed out by `get_packet` or `get_packet_into`.
    pub delivered: u64,
    /// Datagrams that wait in the peers' queues now.
    pub queued: u64,
    /// Their payload, in bytes.
    pub queued_bytes: u64,
    /// Datagrams of unknown senders that the [filter](crate::UdpServer::set_filter) took for itself or answered.
    pub consumed: u64,
    /// Received datagrams that nobody got, by reason.
    pub drops: ReceiveDrops,
    /// Datagrams that the kernel dropped because a socket's buffer was full, where it tells (Linux): at the port
    /// listened on and at the sockets of single peers, also those closed since. They were never received and are in no
    /// other counter.
    pub kernel_drops: Option<u64>,
    /// Errors of the socket that were nothing but noise, such as ICMP answers to what had been sent.
    pub noise: u64,
    /// Datagrams that were to be sent, whatever became of them: each put of a handle, each peer that a broadcast was
    /// for, each [`send_to`](crate::UdpServer::send_to), and each answer of the
    /// [filter](crate::UdpServer::set_filter) and of the [function that decides on moves](crate::identity::OnMove::ask).
    pub put: u64,
    /// Of these, those that the system accepted for sending.
    pub sent: u64,
    /// Their payload, in bytes.
    pub sent_bytes: u64,
    /// Datagrams that wait to be sent, by the next flush, one for each peer that a broadcast waits for.
    pub send_queued: u64,
    /// Datagrams that were not sent, by reason.
    pub send_drops: SendDrops,
    /// What became of connections.
    pub connections: ConnectionCounts,
    /// Packets whose memory came from the allocator because the pool had none. In a steady state this stands still.
    pub pool_misses: u64,
}

/// How much a server remembers at the moment: for a dashboard, and to see that nothing grows that should not.
///
/// Each is bounded by [`Limits`](crate::Limits); SECURITY.md has the sum in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TableSizes {
    /// Peers.
    pub peers: usize,
    /// Pending connections.
    pub pending: usize,
    /// Places for either; those that are free are used again first, so this is the most that there ever were at a time.
    pub places: usize,
    /// Addresses, or connection ids, that are refused after a close, at the time of the last poll.
    pub refused: usize,
    /// Connections of which a former address is remembered, for stragglers after a move.
    pub moved: usize,
    /// Memory for packets that lies ready in the pool, in bytes.
    pub pool_bytes: usize,
}

/// What a peer has seen so far. For a server's peer the server's counters include these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PeerStats {
    /// Datagrams that came from this peer.
    pub received: u64,
    /// Their payload, in bytes.
    pub received_bytes: u64,
    /// Datagrams handed out by `get_packet` or `get_packet_into`.
    pub delivered: u64,
    /// Datagrams that wait to be taken now.
    pub queued: u64,
    /// Their payload, in bytes.
    pub queued_bytes: u64,
    /// Received datagrams that nobody got, by reason.
    pub drops: ReceiveDrops,
    /// Datagrams that the kernel dropped because the buffer of this peer's socket was full, where it tells (Linux), also
    /// at a stand-alone peer's former sockets. `None` for a server's peer without
    /// [a socket of its own](crate::UdpServer::dedicate_socket): what is dropped at the port listened on is nobody's.
    pub kernel_drops: Option<u64>,
    /// Errors of a stand-alone peer's socket that were nothing but noise.
    pub noise: u64,
    /// Datagrams that were to be sent to this peer, whatever became of them: each put of the handle and each broadcast
    /// that it was among. What the server sends to its address [statelessly](crate::UdpServer::send_to) is the server's
    /// alone.
    pub put: u64,
    /// Of these, those that the system accepted for sending.
    pub sent: u64,
    /// Their payload, in bytes.
    pub sent_bytes: u64,
    /// Datagrams that wait to be sent, by the next flush.
    pub send_queued: u64,
    /// Datagrams that were not sent, by reason.
    pub send_drops: SendDrops,
}

/// A struct of counters: each has its field's name and a label to print.
macro_rules! named_counts {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident: $label:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        #[non_exhaustive]
        pub struct $name {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl $name {
            /// Each with its name, that of the field, in the order of declaration. A name stays what it is, so it may
            /// be a label of an exporter's; names may be added.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($field), self.$field),)*].into_iter()
            }

            /// What has been added since `earlier`, a copy from before.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field),)* }
            }
        }

        impl std::fmt::Display for $name {
            /// Those that are not 0, on one line; `none` where all are.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::stats::write_nonzero(f, [$(($label, self.$field),)*].into_iter())
            }
        }
    };
}
pub(crate) use named_counts;

/// The same, one counter per reason, with an enum of the reasons.
macro_rules! counters {
    (
        $(#[$about:meta])* $name:ident by $(#[$reason_about:meta])* $reason:ident {
            $($(#[$doc:meta])* $field:ident = $variant:ident: $label:literal,)*
        }
    ) => {
        named_counts! {
            $(#[$about])* $name {
                $($(#[$doc])* $field: $label,)*
            }
        }

        $(#[$reason_about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $reason {
            $($variant,)*
        }

        impl $reason {
            /// Every reason, in the order of declaration.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What is printed for it.
            pub(crate) fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }

        impl $name {
            /// The sum of all of them.
            pub fn total(&self) -> u64 {
                self.iter().map(|(_, count)| count).sum()
            }

            pub(crate) fn add(&mut self, reason: $reason, count: u64) {
                match reason {
                    $($reason::$variant => self.$field += count,)*
                }
            }

            #[allow(dead_code, reason = "not every kind of counter is looked up")]
            pub(crate) fn get(&self, reason: $reason) -> u64 {
                match reason {
                    $($reason::$variant => self.$field,)*
                }
            }
        }
    };
}

counters! {
    /// Received datagrams that nobody got, one counter per reason.
    ReceiveDrops by
    /// Why a received datagram reaches nobody.
    DropReason {
        /// From an unknown sender while `max_pending_connections` were pending.
        pending_full = PendingFull: "pending full",
        /// From an unknown sender while `max_pending_per_ip` from the same IP address were pending.
        pending_per_ip_full = PendingPerIpFull: "pending per IP full",
        /// From an unknown sender while `max_peers_per_ip` peers and pending connections were from the same IP address.
        peers_per_ip_full = PeersPerIpFull: "peers per IP full",
        /// From an unknown sender while the server had `max_peers`.
        peers_full = PeersFull: "peers full",
        /// From an unknown sender that the filter ignored.
        filtered = Filtered: "filtered",
        /// Answered, by the filter or by the function that decides on moves, with more than was received: no such
        /// answer is sent.
        reply_too_long = ReplyTooLong: "reply too long",
        /// Answered, by the filter or by the function that decides on moves, after `max_replies_per_poll` answers in
        /// the same poll.
        reply_budget = ReplyBudget: "over reply budget",
        /// From an unknown sender while the server was draining, or pending when that began.
        draining = Draining: "draining",
        /// Without a connection id, on a server that goes by ids.
        no_id = NoId: "no connection id",
        /// With the connection id of a peer, from an address that it may not move to.
        move_refused = MoveRefused: "move refused",
        /// To a server, from port 0 or an unspecified address, where no answer arrives: `0.0.0.0` as a destination means
        /// this host. A stand-alone peer takes them: on a host without an address, groups are spoken to from there.
        unanswerable = Unanswerable: "unanswerable",
        /// From the address of a closed peer, or with its connection id, while it is refused.
        refused = Refused: "refused after close",
        /// More from one peer than its quota per poll.
        quota = Quota: "over quota",
        /// The peer's queue held as many packets as it may.
        queue_packets = QueuePackets: "queue full (packets)",
        /// The peer's queue held as many bytes as it may.
        queue_bytes = QueueBytes: "queue full (bytes)",
        /// The queues of all peers together held as many bytes as they may.
        server_bytes = ServerBytes: "server full (bytes)",
        /// Longer than `max_packet_size`, or than the receive buffer.
        too_large = TooLarge: "too large",
        /// Waited in a pending connection that nobody took in time.
        pending_expired = PendingExpired: "pending expired",
        /// Waited in a pending connection that a lowered cap removed.
        pending_trimmed = PendingTrimmed: "pending trimmed",
        /// From another sender than the one that a stand-alone peer, or a peer's own socket, is connected to.
        stranger = Stranger: "stranger",
        /// Received when a function of the caller's panicked that was asked about it, or about one before it in the same
        /// batch.
        panicked = Panicked: "callback panicked",
        /// Waited in a queue when its owner gave it up: handle dropped, server stopped, peer bound or connected anew.
        /// What a dropped handle leaves counts as `queued` until the poll that takes the end of its peer up; where the
        /// peer had ended before, it is `unread` at once.
        unread = Unread: "unread",
    }
}

counters! {
    /// Datagrams that were put and not sent, one counter per reason.
    SendDrops by
    /// Why a datagram is not sent.
    SendDropReason {
        /// The system's queue was full.
        would_block = WouldBlock: "would block",
        /// Larger than a datagram, or than the way to the destination carries.
        too_large = TooLarge: "too large",
        /// The peer had ended, or there was no destination or no socket.
        not_open = NotOpen: "not open",
        /// The system refused for another reason.
        failed = Failed: "failed",
        /// As many packets waited to be sent to the peer as may.
        queue_packets = QueuePackets: "queue full (packets)",
        /// As many bytes waited to be sent to the peer as may.
        queue_bytes = QueueBytes: "queue full (bytes)",
        /// As many bytes waited to be sent to all peers together as may.
        server_bytes = ServerBytes: "server full (bytes)",
        /// Waited to be sent when the server stopped, and the system took no more.
        unsent = Unsent: "unsent",
        /// The peer has moved to an address that is not [confirmed](crate::UdpServer::confirm_move), and three times
        /// what came from there had been sent.
        unconfirmed = Unconfirmed: "address not confirmed",
    }
}

named_counts! {
    /// What became of a server's connections.
    ConnectionCounts {
        /// Unknown senders that became pending connections.
        opened: "opened",
        /// Pending connections that were taken, and so became peers.
        taken: "taken",
        /// Peers that the server spoke to first, by [`UdpServer::connect`](crate::UdpServer::connect).
        connected: "connected",
        /// Connections that went on at another address.
        moved: "moved",
        /// Pending connections that nobody took in time.
        expired: "expired",
        /// Pending connections removed by a lowered cap.
        trimmed: "trimmed",
        /// Peers ended on this side, by their handle or by the server. A handle's end is counted by the poll after it.
        closed: "closed",
        /// Peers ended because nothing came from them for the idle timeout.
        idle: "idle",
    }
}

/// What one flush did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FlushReport {
    /// Datagrams that the system accepted.
    pub sent: usize,
    /// Datagrams that it refused or, in a broadcast, for which there was no room to wait; why, is in the peers'
    /// [`PeerStats::send_drops`].
    pub failed: usize,
    /// Datagrams that it would not take now or, in a broadcast, that wait because they have to. They leave with a later
    /// flush.
    pub waiting: usize,
}

impl FlushReport {
    pub(crate) fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.waiting += other.waiting;
    }
}

/// What one poll did. Plain counts; a poll allocates nothing for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PollReport {
    /// Datagrams taken from the socket.
    pub received: usize,
    /// Datagrams put into the queues of peers and pending connections.
    pub queued: usize,
    /// Datagrams dropped, for whatever reason; which, is in [`ServerStats::drops`].
    pub dropped: usize,
    /// Unknown senders that became pending connections.
    pub new_connections: usize,
    /// Datagrams that the filter took for itself or answered.
    pub consumed: usize,
    /// Connections that go on at another address. Which, is in [`UdpServer::take_moved`](crate::UdpServer::take_moved).
    pub moved: usize,
    /// Peers that ended because their handle was closed or dropped. Which, is in
    /// [`UdpServer::take_ended`](crate::UdpServer::take_ended).
    pub closed: usize,
    /// Peers that ended because nothing came from them for the idle timeout. Which, is in
    /// [`UdpServer::take_ended`](crate::UdpServer::take_ended).
    pub idle: usize,
    /// Pending connections that nobody took in time.
    pub expired: usize,
    /// Errors of the socket that were nothing but noise.
    pub noise: usize,
    /// The poll used up its budget, and more may be waiting in the socket. Poll again, or next frame.
    pub more_waiting: bool,
}

impl ServerStats {
    /// What has been added since `earlier`, a copy from before: for figures per second. What waits is what waits now.
    ///
    /// ```
    /// # use packetpeer::UdpServer;
    /// # let server = UdpServer::new();
    /// let before = server.stats();
    /// // a second later
    /// println!("{}", server.stats().since(&before));
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            received: self.received.saturating_sub(earlier.received),
            received_bytes: self.received_bytes.saturating_sub(earlier.received_bytes),
            delivered: self.delivered.saturating_sub(earlier.delivered),
            queued: self.queued,
            queued_bytes: self.queued_bytes,
            consumed: self.consumed.saturating_sub(earlier.consumed),
            drops: self.drops.since(&earlier.drops),
            kernel_drops: self.kernel_drops.map(|drops| drops.saturating_sub(earlier.kernel_drops.unwrap_or(0))),
            noise: self.noise.saturating_sub(earlier.noise),
            put: self.put.saturating_sub(earlier.put),
            sent: self.sent.saturating_sub(earlier.sent),
            sent_bytes: self.sent_bytes.saturating_sub(earlier.sent_bytes),
            send_queued: self.send_queued,
            send_drops: self.send_drops.since(&earlier.send_drops),
            connections: self.connections.since(&earlier.connections),
            pool_misses: self.pool_misses.saturating_sub(earlier.pool_misses),
        }
    }
}

impl fmt::Display for ServerStats {
    /// A small table, one line per subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_traffic(f, [self.received, self.received_bytes, self.delivered, self.queued, self.queued_bytes])?;
        writeln!(f, "  consumed      {:>12}", self.consumed)?;
        writeln!(f, "  dropped       {:>12}  {}", self.drops.total(), self.drops)?;
        write_sends(f, [self.put, self.sent, self.sent_bytes, self.send_queued], &self.send_drops)?;
        writeln!(f, "connections     {:>12}  {}", self.connections.opened, self.connections)?;
        write_kernel_drops(f, self.kernel_drops)?;
        writeln!(f, "socket noise    {:>12}", self.noise)?;
        write!(f, "pool misses     {:>12}", self.pool_misses)
    }
}

impl fmt::Display for PeerStats {
    /// A small table, one line per subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_traffic(f, [self.received, self.received_bytes, self.delivered, self.queued, self.queued_bytes])?;
        writeln!(f, "  dropped       {:>12}  {}", self.drops.total(), self.drops)?;
        write_sends(f, [self.put, self.sent, self.sent_bytes, self.send_queued], &self.send_drops)?;
        write_kernel_drops(f, self.kernel_drops)?;
        write!(f, "socket noise    {:>12}", self.noise)
    }
}

impl From<Bound> for DropReason {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Packets => Self::QueuePackets,
            Bound::Bytes => Self::QueueBytes,
            Bound::ServerBytes => Self::ServerBytes,
        }
    }
}

impl From<Bound> for SendDropReason {
    fn from(bound: Bound) -> Self {
        match bound {
            Bound::Packets => Self::QueuePackets,
            Bound::Bytes => Self::QueueBytes,
            Bound::ServerBytes => Self::ServerBytes,
        }
    }
}

fn write_traffic(f: &mut fmt::Formatter<'_>, counts: [u64; 5]) -> fmt::Result {
    let [received, received_bytes, delivered, queued, queued_bytes] = counts;
    writeln!(f, "received        {received:>12}  {received_bytes} bytes")?;
    writeln!(f, "  delivered     {delivered:>12}")?;
    writeln!(f, "  waiting       {queued:>12}  {queued_bytes} bytes")
}

fn write_sends(f: &mut fmt::Formatter<'_>, counts: [u64; 4], drops: &SendDrops) -> fmt::Result {
    let [put, sent, sent_bytes, queued] = counts;
    writeln!(f, "put             {put:>12}")?;
    writeln!(f, "  sent          {sent:>12}  {sent_bytes} bytes")?;
    writeln!(f, "  to be sent    {queued:>12}")?;
    writeln!(f, "  not sent      {:>12}  {drops}", drops.total())
}

fn write_kernel_drops(f: &mut fmt::Formatter<'_>, drops: Option<u64>) -> fmt::Result {
    drops.map_or(Ok(()), |drops| writeln!(f, "kernel dropped  {drops:>12}"))
}

pub(crate) fn write_nonzero(
    f: &mut fmt::Formatter<'_>,
    counts: impl Iterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut separator = "";
    for (label, count) in counts.filter(|&(_, count)| count > 0) {
        write!(f, "{separator}{label} {count}")?;
        separator = ", ";
    }
    if separator.is_empty() { f.write_str("none") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_the_sum_of_its_reasons() {
        let mut drops = ReceiveDrops::default();
        drops.add(DropReason::PendingFull, 2);
        drops.add(DropReason::Unread, 3);
        assert_eq!(drops.total(), 5);
        assert_eq!(drops.to_string(), "pending full 2, unread 3");
        assert_eq!(ReceiveDrops::default().to_string(), "none");
    }

    #[test]
    fn a_difference_is_what_was_added_in_between() {
        let mut before = ServerStats { received: 5, queued: 3, ..ServerStats::default() };
        before.drops.add(DropReason::Quota, 2);
        let mut after = ServerStats { received: 9, queued: 1, ..before };
        after.drops.add(DropReason::Quota, 1);
        let between = after.since(&before);
        assert_eq!((between.received, between.queued, between.drops.quota), (4, 1, 1));
        assert_eq!(between.drops.total(), 1);
    }

    #[test]
    fn a_server_prints_its_counters_as_a_table() {
        let stats = ServerStats { received: 3, received_bytes: 99, delivered: 2, queued: 1, ..ServerStats::default() };
        let text = stats.to_string();
        assert!(text.starts_with("received                   3  99 bytes\n  delivered                2\n"), "{text}");
        assert_eq!(text.lines().count(), 12, "{text}");
    }

    /// Each field has a number of its own, which has to be found in what is printed.
    #[test]
    fn what_is_printed_leaves_no_counter_out() {
        let (drops, send_drops) =
            (ReceiveDrops { quota: 1_001, ..Default::default() }, SendDrops { failed: 1_002, ..Default::default() });
        let connections = ConnectionCounts { opened: 1_003, ..Default::default() };
        let server = ServerStats {
            received: 1_011,
            received_bytes: 1_012,
            delivered: 1_013,
            queued: 1_014,
            queued_bytes: 1_015,
            consumed: 1_016,
            drops,
            kernel_drops: Some(1_017),
            noise: 1_018,
            put: 1_019,
            sent: 1_020,
            sent_bytes: 1_021,
            send_queued: 1_022,
            send_drops,
            connections,
            pool_misses: 1_023,
        };
        let text = server.to_string();
        for number in (1_001..=1_003).chain(1_011..=1_023) {
            assert!(text.contains(&number.to_string()), "{number}:\n{text}");
        }
        let peer = PeerStats {
            received: 1_011,
            received_bytes: 1_012,
            delivered: 1_013,
            queued: 1_014,
            queued_bytes: 1_015,
            drops,
            kernel_drops: Some(1_017),
            noise: 1_018,
            put: 1_019,
            sent: 1_020,
            sent_bytes: 1_021,
            send_queued: 1_022,
            send_drops,
        };
        let text = peer.to_string();
        for number in (1_001..=1_002).chain(1_011..=1_015).chain(1_017..=1_022) {
            assert!(text.contains(&number.to_string()), "{number}:\n{text}");
        }
    }

    #[test]
    fn names_are_those_of_the_fields_and_labels_are_for_people() {
        let mut drops = ReceiveDrops::default();
        drops.add(DropReason::PendingPerIpFull, 4);
        assert_eq!(drops.iter().find(|(_, count)| *count > 0), Some(("pending_per_ip_full", 4)));
        assert_eq!(drops.to_string(), "pending per IP full 4");
        let connections = ConnectionCounts { idle: 2, ..Default::default() };
        assert_eq!(connections.iter().last(), Some(("idle", 2)));
        assert_eq!(connections.since(&connections), ConnectionCounts::default());
        let names: Vec<_> =
            drops.iter().map(|(name, _)| name).chain(SendDrops::default().iter().map(|(name, _)| name)).collect();
        assert!(
            names.iter().all(|name| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())),
            "{names:?}"
        );
    }
}
