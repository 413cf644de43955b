use crate::counters::gauges;

gauges! {
    /// How much a server remembers at the moment: for a dashboard, and to see that nothing grows that should not.
    ///
    /// Each is bounded by [`Limits`](crate::Limits); SECURITY.md has the sum in bytes.
    TableSizes in "tables" {
        /// Peers that have not ended.
        peers: usize,
        /// Pending connections.
        pending: usize,
        /// Places for peers and pending connections, free ones included.
        /// Free ones are reused first, so this is the most that there ever were at a time.
        places: usize,
        /// Addresses, or connection ids, that are refused after a close.
        /// At the time of the last poll.
        refused: usize,
        /// Connections of which a former address is remembered, for stragglers after a move.
        moved: usize,
        /// Memory for packets that lies ready in the pool, in bytes.
        pool_bytes: usize,
    }
}
