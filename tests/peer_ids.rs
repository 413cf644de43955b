//! Names of peers that servers outside of the crate give.

use std::collections::HashSet;

use packetpeer::identity::PeerIds;
use packetpeer::{PacketPeerUdp, PeerId, UdpServer};

mod util;
use util::World;

#[test]
fn an_id_is_never_issued_again_and_its_index_is() {
    let mut ids = PeerIds::new();
    let mut seen = HashSet::new();
    let kept = ids.issue();
    for _ in 0..1_000 {
        let id = ids.issue();
        assert!(seen.insert(id) && ids.contains(id));
        assert_eq!((id.index(), ids.len()), (1, 2));
        assert!(ids.release(id));
        assert!(!ids.contains(id) && !ids.release(id), "a second release is none");
    }
    assert!(ids.contains(kept));
    assert!(ids.release(kept) && ids.is_empty());
}

#[test]
fn the_index_released_last_is_issued_first() {
    let mut ids = PeerIds::new();
    let all: Vec<PeerId> = (0..4).map(|_| ids.issue()).collect();
    assert_eq!(all.iter().map(|id| id.index()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(ids.release(all[2]) && ids.release(all[0]));
    assert_eq!([(); 3].map(|()| ids.issue().index()), [0, 2, 4]);
}

#[test]
fn ids_of_one_server_are_nobodys_at_another() {
    let (mut one, mut other) = (PeerIds::new(), PeerIds::default());
    let (here, there) = (one.issue(), other.issue());
    assert_eq!(here.index(), there.index());
    assert_ne!(here, there);
    assert!(!one.contains(there) && !one.release(there) && one.contains(here));

    let mut world = World::new();
    let (_client, peer) = world.pair(1);
    assert!(!one.contains(peer.id()) && !one.contains(PacketPeerUdp::new().id()));
    for foreign in [here, there, PeerId::stand_alone()] {
        assert!(world.server.close(foreign).is_err());
        assert_ne!(foreign, peer.id());
    }
    assert!(UdpServer::new().close(here).is_err());
}

#[test]
fn stand_alone_ids_differ() {
    let ids: HashSet<PeerId> = (0..100).flat_map(|_| [PeerId::stand_alone(), PacketPeerUdp::new().id()]).collect();
    assert_eq!(ids.len(), 200);
}
