use crate::counters::gauges;

gauges! {
    /// What one flush did.
    FlushReport in "flush" {
        /// Datagrams that the system accepted.
        sent: usize,
        /// Datagrams that the system refused or, in a broadcast, that found no room to wait.
        /// The reasons are in the peers' [`PeerStats::send_drops`](crate::stats::PeerStats::send_drops).
        failed: usize,
        /// Datagrams that the system would not take now or, in a broadcast, that have to wait.
        /// They leave with a later flush.
        waiting: usize,
    }
}

gauges! {
    /// What one poll did. Plain counts; a poll allocates nothing for it.
    PollReport in "poll" {
        /// Datagrams taken from the socket.
        received: usize,
        /// Datagrams put into the queues of peers and pending connections.
        queued: usize,
        /// Datagrams dropped, for whatever reason.
        /// The reasons are in [`ServerStats::drops`](crate::stats::ServerStats::drops).
        dropped: usize,
        /// Unknown senders that became pending connections.
        new_connections: usize,
        /// Datagrams that the filter consumed or answered.
        consumed: usize,
        /// Connections that have moved to another address.
        /// They are listed by [`UdpServer::take_moved`](crate::UdpServer::take_moved).
        moved: usize,
        /// Peers that ended because their handle was closed or dropped.
        /// They are listed by [`UdpServer::take_ended`](crate::UdpServer::take_ended).
        closed: usize,
        /// Peers that ended because nothing came from them for the idle timeout.
        /// They are listed by [`UdpServer::take_ended`](crate::UdpServer::take_ended).
        idle: usize,
        /// Pending connections that nobody took in time.
        expired: usize,
        /// Errors of the socket that were nothing but noise.
        noise: usize,
        /// Whether the poll used up its budget, so that more may be waiting in the socket.
        /// Poll again, or next frame.
        more_waiting: bool,
    }
}
