use std::fmt;
use std::ops::AddAssign;

use super::connections::ConnectionCounts;
use super::drops::{ReceiveDrops, SendDrops};
use super::peer::PeerStats;
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

/// A peer's numbers, added to those of its server: for a server of one's own that counts at its peers. Those of a
/// [`UdpServer`](crate::UdpServer) include them already.
///
/// ```
/// use packetpeer::stats::{PeerStats, ServerStats};
///
/// let mut peer = PeerStats::default();
/// peer.put = 2;
/// let mut server = ServerStats::default();
/// server += peer;
/// assert_eq!(server.put, 2);
/// ```
impl AddAssign<PeerStats> for ServerStats {
    fn add_assign(&mut self, peer: PeerStats) {
        // Each field by its name, so that none that a peer may get is left out.
        let PeerStats {
            received,
            received_bytes,
            delivered,
            queued,
            queued_bytes,
            drops,
            kernel_drops,
            noise,
            put,
            sent,
            sent_bytes,
            send_queued,
            send_drops,
        } = peer;
        *self += Self {
            received,
            received_bytes,
            delivered,
            queued,
            queued_bytes,
            consumed: 0,
            drops,
            kernel_drops,
            noise,
            put,
            sent,
            sent_bytes,
            send_queued,
            send_drops,
            connections: ConnectionCounts::default(),
            pool_misses: 0,
        };
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
    use crate::stats::DropReason;

    #[test]
    fn a_difference_is_what_was_added_in_between() {
        let mut before = ServerStats { received: 5, queued: 3, ..ServerStats::default() };
        before.drops.add(DropReason::Quota, 2);
        let mut after = ServerStats { received: 9, queued: 1, ..before };
        after.drops.add(DropReason::Quota, 1);
        let between = after.since(&before);
        assert_eq!(between.received, 4);
        assert_eq!(between.queued, 1);
        assert_eq!(between.drops.quota, 1);
        assert_eq!(between.drops.total(), 1);
    }

    #[test]
    fn a_peers_numbers_can_be_added_to_those_of_its_server() {
        let (drops, send_drops) =
            (ReceiveDrops { quota: 6, ..Default::default() }, SendDrops { failed: 13, ..Default::default() });
        let peer = PeerStats {
            received: 1,
            received_bytes: 2,
            delivered: 3,
            queued: 4,
            queued_bytes: 5,
            drops,
            kernel_drops: Some(7),
            noise: 8,
            put: 9,
            sent: 10,
            sent_bytes: 11,
            send_queued: 12,
            send_drops,
        };
        let mut server = ServerStats { consumed: 100, ..ServerStats::default() };
        server += peer;
        server += peer;
        for stat in peer.iter() {
            let group = if stat.group == "peer" { "server" } else { stat.group };
            let sum = server.iter().find(|sum| (sum.group, sum.name) == (group, stat.name)).unwrap();
            assert_eq!(sum.value, 2 * stat.value, "{stat:?}");
        }
        assert_eq!(server.consumed, 100);
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
