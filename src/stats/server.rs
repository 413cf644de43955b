use std::fmt;

use super::connections::ConnectionCounts;
use super::drops::{ReceiveDrops, SendDrops};
use super::table;
use crate::counters::counters;

counters! {
    /// What a server has seen so far. See the [module](crate::stats) for the equations that hold.
    ///
    /// ```
    /// # use packetpeer::UdpServer;
    /// # let server = UdpServer::new();
    /// let before = server.stats();
    /// // a second later
    /// println!("{}", server.stats().since(&before));
    /// ```
    ServerStats in "server" {
        /// Datagrams taken from the socket.
        received: u64 as Counter,
        /// Payload of the datagrams taken from the socket, in bytes.
        received_bytes: u64 as Counter,
        /// Datagrams handed out to the program.
        /// By `get_packet` or `get_packet_into`.
        delivered: u64 as Counter,
        /// Datagrams that wait in the peers' queues now.
        queued: u64 as Gauge,
        /// Payload of the datagrams that wait in the peers' queues now, in bytes.
        queued_bytes: u64 as Gauge,
        /// Datagrams of unknown senders that the filter consumed or answered.
        /// See [`UdpServer::set_filter`](crate::UdpServer::set_filter).
        consumed: u64 as Counter,
        /// Received datagrams that nobody got, by reason.
        drops: ReceiveDrops as Counter through iter,
        /// Datagrams that the kernel dropped because a socket's buffer was full.
        /// Where it tells (Linux): at the port listened on and at the sockets of single peers, also those closed since.
        /// They were never received and are in no other counter.
        kernel_drops: Option<u64> as Counter,
        /// Errors of the socket that were nothing but noise.
        /// Such as ICMP answers to what had been sent.
        noise: u64 as Counter,
        /// Datagrams that were to be sent, whatever became of them.
        /// Each put of a handle, each peer of a broadcast, each
        /// [`send_to`](crate::UdpServer::send_to), and each answer of the [filter](crate::UdpServer::set_filter) and of
        /// the [function that decides on moves](crate::identity::OnMove::ask).
        put: u64 as Counter,
        /// Datagrams that the system accepted for sending, of those that were put.
        sent: u64 as Counter,
        /// Payload of the datagrams that the system accepted for sending, in bytes.
        sent_bytes: u64 as Counter,
        /// Datagrams that wait to be sent by the next flush.
        /// One for each peer that a broadcast waits for.
        send_queued: u64 as Gauge,
        /// Datagrams that were not sent, by reason.
        send_drops: SendDrops as Counter through iter,
        /// What became of connections.
        connections: ConnectionCounts as Counter through iter,
        /// Packets whose memory came from the allocator because the pool had none.
        /// In a steady state this stands still.
        pool_misses: u64 as Counter,
    }
}

impl fmt::Display for ServerStats {
    /// A small table, one line per subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write_traffic(f, [self.received, self.received_bytes, self.delivered, self.queued, self.queued_bytes])?;
        writeln!(f, "  consumed      {:>12}", self.consumed)?;
        writeln!(f, "  dropped       {:>12}  {}", self.drops.total(), self.drops)?;
        table::write_sends(f, [self.put, self.sent, self.sent_bytes, self.send_queued], &self.send_drops)?;
        writeln!(f, "connections     {:>12}  {}", self.connections.opened, self.connections)?;
        table::write_kernel_drops(f, self.kernel_drops)?;
        writeln!(f, "socket noise    {:>12}", self.noise)?;
        write!(f, "pool misses     {:>12}", self.pool_misses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{DropReason, PeerStats};

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
}
