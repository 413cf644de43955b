use crate::counters::labelled_counters;

labelled_counters! {
    /// What became of a server's connections.
    ConnectionCounts in "connections" {
        /// Unknown senders that became pending connections.
        opened: "opened",
        /// Pending connections that were taken, and so became peers.
        taken: "taken",
        /// Peers that the server spoke to first.
        /// By [`UdpServer::connect`](crate::UdpServer::connect).
        connected: "connected",
        /// Connections that moved to another address.
        moved: "moved",
        /// Pending connections that nobody took in time.
        expired: "expired",
        /// Pending connections removed by a lowered cap.
        trimmed: "trimmed",
        /// Peers ended on this side, by their handle or by the server.
        /// The end of a handle is counted by the next poll.
        closed: "closed",
        /// Peers ended because nothing came from them for the idle timeout.
        idle: "idle",
    }
}
