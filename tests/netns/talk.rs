//! What clients and servers on different hosts do in every test.

use packetpeer::stats::PeerStats;
use packetpeer::{PacketPeerUdp, UdpServer};

use crate::util::{accept, texts};

/// Lets `client` say hello, and returns the peer that it becomes; the hello has been taken.
#[track_caller]
pub(crate) fn admit(server: &mut UdpServer, client: &mut PacketPeerUdp) -> PacketPeerUdp {
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(server);
    assert_eq!(texts(&mut peer), ["hello"]);
    peer
}

/// Asserts the two equations that `stats` promises, for a server that has been asked to send `put` datagrams.
#[track_caller]
pub(crate) fn assert_counts_add_up(server: &UdpServer, put: u64) {
    let stats = server.stats();
    assert_eq!(stats.received, stats.delivered + stats.queued + stats.consumed + stats.drops.total(), "{stats}");
    assert_eq!(put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats}");
}

/// The same for one peer, of a server or stand-alone.
#[track_caller]
pub(crate) fn assert_peers_counts_add_up(stats: &PeerStats, put: u64) {
    assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total(), "{stats:?}");
    assert_eq!(put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats:?}");
}
