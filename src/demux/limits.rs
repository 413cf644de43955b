use std::time::Duration;

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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections that may wait to be taken. Default 16, as Godot. 0 refuses the unknown and leaves peers working.
    ///
    /// A frame's worth of arrivals has to fit: set it to the number of players you can welcome a frame.
    pub max_pending_connections: usize,
    /// How long a connection may wait to be taken. Default 10 s; `None` = for ever.
    pub pending_lifetime: Option<Duration>,
    /// Peers and pending connections together. Default 4 096. Lowering it ends nobody and admits nobody.
    pub max_peers: usize,
    /// A peer from which nothing comes for so long has ended. Default 30 s; `None` = never.
    ///
    /// Without it, clients that vanish without a word fill `max_peers` in the end.
    pub idle_timeout: Option<Duration>,
    /// What may wait in the queue of one peer.
    pub queue: QueueLimits,
    /// Payload that may wait in the queues of all peers together, in bytes. Default 64 MiB.
    pub max_queued_bytes: usize,
    /// Largest datagram accepted, in bytes. Default 65 527, the most that UDP carries.
    pub max_packet_size: usize,
    /// Datagrams of peers and pending connections that one poll takes from the socket. Default 16 384.
    ///
    /// This bounds the length of a poll, some 10 ms with the default. What is left waits in the system for the next.
    pub max_known_per_poll: usize,
    /// Datagrams of the unknown that one poll takes from the socket and drops for want of room. Default 16 384.
    pub max_unknown_per_poll: usize,
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

impl Default for QueueLimits {
    fn default() -> Self {
        Self { packets: 512, bytes: 256 << 10, when_full: WhenFull::DropNewest }
    }
}

impl QueueLimits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`packets`](Self#structfield.packets).
    #[must_use]
    pub fn packets(mut self, packets: usize) -> Self {
        self.packets = packets;
        self
    }

    /// Sets [`bytes`](Self#structfield.bytes).
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets [`when_full`](Self#structfield.when_full).
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_pending_connections: 16,
            pending_lifetime: Some(Duration::from_secs(10)),
            max_peers: 4096,
            idle_timeout: Some(Duration::from_secs(30)),
            queue: QueueLimits::default(),
            max_queued_bytes: 64 << 20,
            max_packet_size: crate::socket::MAX_PAYLOAD_V6,
            max_known_per_poll: 16_384,
            max_unknown_per_poll: 16_384,
        }
    }
}

impl Limits {
    /// The defaults, which suit a game of some hundred players.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`max_pending_connections`](Self#structfield.max_pending_connections).
    #[must_use]
    pub fn max_pending_connections(mut self, connections: usize) -> Self {
        self.max_pending_connections = connections;
        self
    }

    /// Sets [`pending_lifetime`](Self#structfield.pending_lifetime).
    #[must_use]
    pub fn pending_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.pending_lifetime = lifetime;
        self
    }

    /// Sets [`max_peers`](Self#structfield.max_peers).
    #[must_use]
    pub fn max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    /// Sets [`idle_timeout`](Self#structfield.idle_timeout).
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// Sets [`queue`](Self#structfield.queue).
    #[must_use]
    pub fn queue(mut self, limits: QueueLimits) -> Self {
        self.queue = limits;
        self
    }

    /// Sets [`max_queued_bytes`](Self#structfield.max_queued_bytes).
    #[must_use]
    pub fn max_queued_bytes(mut self, bytes: usize) -> Self {
        self.max_queued_bytes = bytes;
        self
    }

    /// Sets [`max_packet_size`](Self#structfield.max_packet_size).
    #[must_use]
    pub fn max_packet_size(mut self, bytes: usize) -> Self {
        self.max_packet_size = bytes;
        self
    }

    /// Sets [`max_known_per_poll`](Self#structfield.max_known_per_poll).
    #[must_use]
    pub fn max_known_per_poll(mut self, datagrams: usize) -> Self {
        self.max_known_per_poll = datagrams;
        self
    }

    /// Sets [`max_unknown_per_poll`](Self#structfield.max_unknown_per_poll).
    #[must_use]
    pub fn max_unknown_per_poll(mut self, datagrams: usize) -> Self {
        self.max_unknown_per_poll = datagrams;
        self
    }
}
