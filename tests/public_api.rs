//! What every user of the crate relies on without saying so: checked at compile time where it can be.

use std::any::Any;
use std::collections::{BTreeSet, HashSet};
use std::error::Error;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use packetpeer::error::InvalidAddress;
use packetpeer::error::{
    BindError, ConnectError, GetError, GetIntoError, OptionError, PollError, PutError, UnknownPeer, WaitError,
};
use packetpeer::limits::{QueueLimits, WhenFull};
use packetpeer::sim::{
    Arrival, BurstLoss, Conditioned, Fate, Host, InFlight, Link, LinkControl, LinkEnd, LinkStats, Network,
};
use packetpeer::socket::Interface;
use packetpeer::socket::{
    BindAddr, BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, SocketRef, SystemSockets, Transport,
    TransportFactory, TransportOption,
};
use packetpeer::stats::{
    ConnectionCounts, PeerStats, PollReport, ReceiveDrops, SendDrops, ServerStats, Stat, StatKind, TableSizes,
};
use packetpeer::{
    CloseReason, Limits, Packet, PacketPeer, PacketPeerUdp, PacketPool, PeerId, PeerState, ServerConfig, SocketOptions,
    UdpServer, WaitOutcome, Waker,
};

mod util;

/// May be a resource or a component of Bevy, may be sent to and shared with other threads.
const fn is_shareable<T: Any + Send + Sync + Debug>() {}

const _: () = {
    is_shareable::<UdpServer>();
    is_shareable::<ServerConfig>();
    is_shareable::<SocketOptions>();
    is_shareable::<Limits>();
    is_shareable::<QueueLimits>();
    is_shareable::<WhenFull>();
    is_shareable::<PacketPeerUdp>();
    is_shareable::<PeerId>();
    is_shareable::<packetpeer::identity::PeerIds>();
    is_shareable::<packetpeer::Peers<UdpServer, u32>>();
    is_shareable::<Box<dyn packetpeer::PacketServer<Peer = PacketPeerUdp>>>();
    is_shareable::<PeerState>();
    is_shareable::<CloseReason>();
    is_shareable::<Packet>();
    is_shareable::<PacketPool>();
    is_shareable::<TableSizes>();
    is_shareable::<Interface>();
    is_shareable::<WaitOutcome>();
    is_shareable::<Waker>();
    is_shareable::<PollReport>();
    is_shareable::<ServerStats>();
    is_shareable::<PeerStats>();
    is_shareable::<ReceiveDrops>();
    is_shareable::<SendDrops>();
    is_shareable::<ConnectionCounts>();
    is_shareable::<Stat>();
    is_shareable::<StatKind>();
    is_shareable::<Network>();
    is_shareable::<Host>();
    is_shareable::<Link>();
    is_shareable::<BurstLoss>();
    is_shareable::<LinkEnd>();
    is_shareable::<LinkStats>();
    is_shareable::<InFlight<Vec<u8>>>();
    is_shareable::<Arrival<Vec<u8>>>();
    is_shareable::<Fate>();
    is_shareable::<Conditioned<SystemSockets>>();
    is_shareable::<LinkControl>();
    is_shareable::<SystemSockets>();
    is_shareable::<BindAddr>();
    is_shareable::<BindOptions>();
    is_shareable::<ReceiveBatch>();
    is_shareable::<Interrupt>();
    is_shareable::<SendBatch<'static>>();
    is_shareable::<Clock>();
    is_shareable::<TransportOption>();
    is_shareable::<SocketRef<'static>>();
    is_shareable::<Box<dyn Transport>>();
    is_shareable::<Box<dyn TransportFactory>>();
};

/// `dyn PacketPeer` is a type.
const fn is_peer<T: PacketPeer + ?Sized>() {}

const _: () = {
    is_peer::<PacketPeerUdp>();
    is_peer::<dyn PacketPeer>();
    is_peer::<dyn PacketPeer + Send + Sync>();
    is_peer::<Box<dyn PacketPeer>>();
    is_peer::<&mut dyn PacketPeer>();
    is_peer::<Box<PacketPeerUdp>>();
    // A resource or a component, whatever is beneath.
    is_shareable::<Box<dyn PacketPeer>>();
};

const fn is_error<T: Error + Any + Send + Sync>() {}

const _: () = {
    is_error::<BindError>();
    is_error::<ConnectError>();
    is_error::<GetError>();
    is_error::<GetIntoError>();
    is_error::<InvalidAddress>();
    is_error::<OptionError>();
    is_error::<PollError>();
    is_error::<PutError>();
    is_error::<UnknownPeer>();
    is_error::<WaitError>();
};

const fn is_plain_data<T: Copy + Ord + Hash + Display>() {}

const _: () = {
    is_plain_data::<PeerId>();
    assert!(size_of::<PeerId>() == 12);
    // There are as many handles as players.
    assert!(size_of::<PacketPeerUdp>() <= 64);
};

#[test]
fn ids_of_peers_are_distinct_and_can_be_sorted_hashed_and_printed() {
    let peers: Vec<_> = (0..10).map(|_| PacketPeerUdp::new()).collect();
    let ids = || peers.iter().map(PacketPeerUdp::id);
    assert_eq!(ids().collect::<HashSet<_>>().len(), 10);
    assert_eq!(ids().collect::<BTreeSet<_>>().len(), 10);

    let mut world = util::World::new();
    let (_client, peer) = world.pair(1);
    assert_eq!(peer.id().to_string(), "0.1");
    assert_eq!(peer.id().index(), 0);
    assert!(ids().all(|id| id != peer.id()), "a stand-alone peer has the id of a server's");
}
