use std::fmt;

use super::drops::{ReceiveDrops, SendDrops};
use super::table;
use crate::counters::counters;

counters! {
    /// What a peer has seen so far. For a server's peer the server's counters include these.
    PeerStats in "peer" {
        /// Datagrams that came from this peer.
        received: u64 as Counter,
        /// Payload of the datagrams that came from this peer, in bytes.
        received_bytes: u64 as Counter,
        /// Datagrams handed out to the program.
        /// By `get_packet` or `get_packet_into`.
        delivered: u64 as Counter,
        /// Datagrams that wait to be taken now.
        queued: u64 as Gauge,
        /// Payload of the datagrams that wait to be taken now, in bytes.
        queued_bytes: u64 as Gauge,
        /// Received datagrams that nobody got, by reason.
        drops: ReceiveDrops as Counter through iter,
        /// Datagrams that the kernel dropped because the buffer of this peer's socket was full.
        /// Where it tells (Linux), also at a stand-alone peer's former sockets. `None` for a server's peer without [a
        /// socket of its own](crate::UdpServer::dedicate_socket): drops at the port listened on belong to no single peer.
        kernel_drops: Option<u64> as Counter,
        /// Errors of this peer's own socket that were nothing but noise.
        /// Counted for a stand-alone peer only.
        noise: u64 as Counter,
        /// Datagrams that were to be sent to this peer, whatever became of them.
        /// Each put of the handle and each broadcast to the peer. What the server sends to its address
        /// [statelessly](crate::UdpServer::send_to) counts for the server alone.
        put: u64 as Counter,
        /// Datagrams that the system accepted for sending, of those that were put.
        sent: u64 as Counter,
        /// Payload of the datagrams that the system accepted for sending, in bytes.
        sent_bytes: u64 as Counter,
        /// Datagrams that wait to be sent by the next flush.
        send_queued: u64 as Gauge,
        /// Datagrams that were not sent, by reason.
        send_drops: SendDrops as Counter through iter,
    }
}

impl fmt::Display for PeerStats {
    /// A small table, one line per subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        table::write_traffic(f, [self.received, self.received_bytes, self.delivered, self.queued, self.queued_bytes])?;
        writeln!(f, "  dropped       {:>12}  {}", self.drops.total(), self.drops)?;
        table::write_sends(f, [self.put, self.sent, self.sent_bytes, self.send_queued], &self.send_drops)?;
        table::write_kernel_drops(f, self.kernel_drops)?;
        write!(f, "socket noise    {:>12}", self.noise)
    }
}
