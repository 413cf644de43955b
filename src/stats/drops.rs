use crate::counters::reason_counters;

reason_counters! {
    /// Received datagrams that nobody got, one counter per reason.
    ReceiveDrops in "receive_drops" by
    /// Why a received datagram reaches nobody.
    DropReason {
        /// Datagrams from unknown senders while pending connections were at their limit.
        /// The limit is `max_pending_connections`.
        pending_full = PendingFull: "pending full",
        /// Datagrams from unknown senders whose IP address was at its limit of pending connections.
        /// The limit is `max_pending_per_ip`.
        pending_per_ip_full = PendingPerIpFull: "pending per IP full",
        /// Datagrams from unknown senders whose IP address was at its limit of connections.
        /// The limit is `max_peers_per_ip`, for peers and pending connections together.
        peers_per_ip_full = PeersPerIpFull: "peers per IP full",
        /// Datagrams from unknown senders while the server was at its limit of peers.
        /// The limit is `max_peers`.
        peers_full = PeersFull: "peers full",
        /// Datagrams from unknown senders that the filter ignored.
        filtered = Filtered: "filtered",
        /// Datagrams whose answer was longer than what was received, and so was not sent.
        /// The filter's answer, or that of the function that decides on moves.
        reply_too_long = ReplyTooLong: "reply too long",
        /// Datagrams whose answer came after the poll's budget of answers was used up.
        /// By the filter or by the function that decides on moves; the limit is `max_replies_per_poll`.
        reply_budget = ReplyBudget: "over reply budget",
        /// Datagrams from unknown senders while the server was draining, or pending when that began.
        draining = Draining: "draining",
        /// Datagrams without a connection id, on a server that goes by ids.
        no_id = NoId: "no connection id",
        /// Datagrams with the connection id of a peer, from an address that it may not move to.
        move_refused = MoveRefused: "move refused",
        /// Datagrams to a server from port 0 or an unspecified address, where no answer can arrive.
        /// `0.0.0.0` as a destination means this host. A stand-alone peer takes them: a host without an address sends to
        /// multicast groups from there.
        unanswerable = Unanswerable: "unanswerable",
        /// Datagrams from the address of a closed peer, or with its connection id, while it is refused.
        refused = Refused: "refused after close",
        /// Datagrams from one peer beyond its quota per poll.
        quota = Quota: "over quota",
        /// Datagrams dropped because the peer's queue held as many packets as allowed.
        queue_packets = QueuePackets: "queue full (packets)",
        /// Datagrams dropped because the peer's queue held as many bytes as allowed.
        queue_bytes = QueueBytes: "queue full (bytes)",
        /// Datagrams dropped because the queues of all peers together held as many bytes as allowed.
        server_bytes = ServerBytes: "server full (bytes)",
        /// Datagrams longer than a packet may be, or than the receive buffer.
        /// The limit is `max_packet_size`.
        too_large = TooLarge: "too large",
        /// Datagrams that waited in a pending connection that nobody took in time.
        pending_expired = PendingExpired: "pending expired",
        /// Datagrams that waited in a pending connection that a lowered cap removed.
        pending_trimmed = PendingTrimmed: "pending trimmed",
        /// Datagrams from another sender than the one that the peer's own socket is connected to.
        /// The socket is a stand-alone peer's, or one that a server's peer has [for
        /// itself](crate::UdpServer::dedicate_socket).
        stranger = Stranger: "stranger",
        /// Datagrams lost because a function of the caller's panicked when it was asked about them.
        /// Or about one before them in the same batch; or a transport of the caller's, when it was to send the answer to that.
        panicked = Panicked: "callback panicked",
        /// Datagrams that a layer above could not decode: a bad seal, frame or compression.
        /// Counted only by layers, in the stats that they return: a [`UdpServer`](crate::UdpServer) or
        /// [`PacketPeerUdp`](crate::PacketPeerUdp) does not look into what it carries, and always has 0 here.
        undecodable = Undecodable: "undecodable",
        /// Datagrams that waited in a queue when its owner gave it up.
        /// The handle was dropped, the server stopped, or the peer was bound or connected anew. What a dropped handle
        /// leaves counts as `queued` until the next poll; if the peer had ended before, it is `unread` at once.
        unread = Unread: "unread",
    }
}

reason_counters! {
    /// Datagrams that were put and not sent, one counter per reason.
    SendDrops in "send_drops" by
    /// Why a datagram is not sent.
    SendDropReason {
        /// Datagrams not sent because the system's queue was full.
        would_block = WouldBlock: "would block",
        /// Datagrams not sent because they were longer than a datagram may be, or than the path carries.
        too_large = TooLarge: "too large",
        /// Datagrams put after the peer had ended, or without a destination or a socket.
        not_open = NotOpen: "not open",
        /// Datagrams that the system refused to send for another reason.
        failed = Failed: "failed",
        /// Datagrams not sent because as many packets as allowed were waiting for the peer.
        queue_packets = QueuePackets: "queue full (packets)",
        /// Datagrams not sent because as many bytes as allowed were waiting for the peer.
        queue_bytes = QueueBytes: "queue full (bytes)",
        /// Datagrams not sent because as many bytes as allowed were waiting for all peers together.
        server_bytes = ServerBytes: "server full (bytes)",
        /// Datagrams that were waiting when the server stopped, and that the system did not take.
        unsent = Unsent: "unsent",
        /// Datagrams to an unconfirmed new address, beyond three times the bytes that came from there.
        /// See [`UdpServer::confirm_move`](crate::UdpServer::confirm_move).
        unconfirmed = Unconfirmed: "address not confirmed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::ConnectionCounts;

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
    fn names_are_those_of_the_fields_and_labels_are_for_people() {
        let mut drops = ReceiveDrops::default();
        drops.add(DropReason::PendingPerIpFull, 4);
        let met = drops.iter().find(|stat| stat.value > 0).unwrap();
        assert_eq!((met.group, met.name, met.value), ("receive_drops", "pending_per_ip_full", 4));
        assert_eq!(drops.to_string(), "pending per IP full 4");
        let connections = ConnectionCounts { idle: 2, ..Default::default() };
        let last = connections.iter().last().unwrap();
        assert_eq!((last.name, last.value), ("idle", 2));
        assert_eq!(connections.since(&connections), ConnectionCounts::default());
        let names: Vec<_> = drops.iter().chain(SendDrops::default().iter()).map(|stat| stat.name).collect();
        assert!(
            names.iter().all(|name| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())),
            "{names:?}"
        );
    }

    #[test]
    fn each_reason_is_counted_in_the_field_of_its_place() {
        let (mut drops, mut send_drops) = (ReceiveDrops::default(), SendDrops::default());
        for (&reason, count) in DropReason::ALL.iter().zip(1..) {
            drops.add(reason, count);
            assert_eq!(drops.get(reason), count);
        }
        for (&reason, count) in SendDropReason::ALL.iter().zip(1..) {
            send_drops.add(reason, count);
            assert_eq!(send_drops.get(reason), count);
        }
        assert!(drops.iter().map(|stat| stat.value).eq(1..=DropReason::ALL.len() as u64));
        assert!(send_drops.iter().map(|stat| stat.value).eq(1..=SendDropReason::ALL.len() as u64));
    }
}
