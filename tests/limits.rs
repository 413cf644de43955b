//! What a server allows, over the in-memory network and in virtual time: counts and durations are exact.

use std::net::SocketAddr;
use std::time::Duration;

use packetpeer::limits::{AfterClose, QueueLimits, WhenFull};
use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerState, ServerConfig, SocketOptions};

mod util;

use util::{SERVER, World, assert_counts, millis, texts};

/// The smallest step of time.
const TICK: Duration = Duration::from_nanos(1);

/// A server to which clients 0, 1, … have said hello one after another.
fn world_with_callers(limits: Limits, callers: u8) -> (World, Vec<PacketPeerUdp>) {
    let world = World::with_limits(limits);
    let clients = (0..callers).map(|number| {
        let mut client = world.client(number);
        client.put_packet(format!("I am {number}").as_bytes()).unwrap();
        client
    });
    let clients = clients.collect();
    (world, clients)
}

fn take_all(world: &mut World) -> Vec<PacketPeerUdp> {
    std::iter::from_fn(|| world.server.take_connection()).collect()
}

fn remotes(peers: &[PacketPeerUdp]) -> Vec<SocketAddr> {
    peers.iter().map(|peer| peer.remote_addr().unwrap()).collect()
}

fn addrs(clients: &[PacketPeerUdp]) -> Vec<SocketAddr> {
    clients.iter().map(|client| client.local_addr().unwrap()).collect()
}

// Pending connections.

#[test]
fn where_three_may_be_pending_exactly_the_first_three_of_five_can_be_taken() {
    let (mut world, clients) = world_with_callers(Limits::new().max_pending_connections(3), 5);
    let report = world.poll();
    assert_counts!(report, received: 5, new_connections: 3, dropped: 2);
    let mut peers = take_all(&mut world);
    assert_eq!(remotes(&peers), addrs(&clients)[..3]);
    for (number, peer) in peers.iter_mut().enumerate() {
        assert_eq!(texts(peer), [format!("I am {number}")]);
    }
    assert_eq!(world.server.stats().drops.pending_full, 2);

    world.poll();
    assert!(!world.server.is_connection_available());
    assert!(world.server.take_connection().is_none());
}

#[test]
fn sixteen_may_be_pending_by_default() {
    let (mut world, _clients) = world_with_callers(Limits::new(), 20);
    world.poll();
    assert_eq!(world.server.pending_count(), 16);
    assert_eq!(world.server.stats().drops.pending_full, 4);
}

#[test]
fn raising_the_cap_keeps_all_that_are_pending() {
    let (mut world, clients) = world_with_callers(Limits::new().max_pending_connections(3), 3);
    world.poll();
    for cap in [4, 16, 16, 3] {
        world.server.set_max_pending_connections(cap);
        assert_eq!(world.server.max_pending_connections(), cap);
        assert_eq!(world.server.pending_count(), 3);
    }
    assert_eq!(remotes(&take_all(&mut world)), addrs(&clients));
    assert_eq!(world.server.stats().drops.total(), 0);
}

#[test]
fn lowering_the_cap_forgets_the_newest_beyond_it_and_counts_them() {
    let (mut world, mut clients) = world_with_callers(Limits::new(), 5);
    clients[4].put_packet(b"and something more").unwrap();
    world.poll();
    world.server.set_max_pending_connections(2);
    assert_eq!(world.server.pending_count(), 2);
    let stats = world.server.stats();
    assert_counts!(stats, connections.trimmed: 3, drops.pending_trimmed: 4, drops.total(): 4);
    assert_counts!(stats, queued: 2, queued_bytes: 12);

    assert_eq!(remotes(&take_all(&mut world)), addrs(&clients)[..2]);
    // Who was forgotten is unknown again.
    clients[4].put_packet(b"again").unwrap();
    world.poll();
    assert_eq!(texts(&mut world.server.take_connection().unwrap()), ["again"]);
}

#[test]
fn a_cap_of_zero_refuses_the_unknown_and_leaves_peers_working() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    world.server.set_max_pending_connections(0);
    let mut unknown = world.client(2);
    unknown.put_packet(b"let me in").unwrap();
    client.put_packet(b"still here").unwrap();
    let report = world.poll();
    assert_counts!(report, received: 2, queued: 1, dropped: 1, new_connections: 0);
    assert!(!world.server.is_connection_available());
    assert_eq!(texts(&mut peer), ["still here"]);
    peer.put_packet(b"so am I").unwrap();
    assert_eq!(util::poll_texts(&mut client), ["so am I"]);
    assert_eq!(world.server.stats().drops.pending_full, 1);

    world.server.set_max_pending_connections(1);
    unknown.put_packet(b"please").unwrap();
    world.poll();
    assert_eq!(texts(&mut world.server.take_connection().unwrap()), ["please"]);
}

#[test]
fn a_pending_connection_expires_on_time() {
    let (mut world, mut clients) = world_with_callers(Limits::new().pending_lifetime(Some(millis(500))), 1);
    world.poll();
    world.network.advance(millis(300));
    clients[0].put_packet(b"hurry").unwrap();
    world.poll();
    assert_eq!(world.poll_after(millis(200) - TICK).expired, 0);
    assert_eq!(world.server.pending_count(), 1);

    let report = world.poll_after(TICK);
    assert_counts!(report, expired: 1, dropped: 2);
    assert_eq!(world.server.pending_count(), 0);
    let stats = world.server.stats();
    assert_counts!(stats, connections.expired: 1, drops.pending_expired: 2, queued: 0);
}

#[test]
fn a_pending_connection_without_a_lifetime_stays() {
    let limits = Limits::new().pending_lifetime(None).idle_timeout(Some(millis(1)));
    let (mut world, _clients) = world_with_callers(limits, 1);
    world.poll();
    world.poll_after(Duration::from_secs(1_000_000));
    assert_eq!(world.server.pending_count(), 1);
    let peer = world.server.take_connection().unwrap();
    assert_eq!(world.poll().idle, 0, "its silence counts from when it was taken");
    assert_eq!(peer.state(), PeerState::Open);
}

#[test]
fn who_expired_is_a_new_connection_when_it_speaks_in_that_very_poll() {
    let limits = Limits::new().pending_lifetime(Some(millis(10))).max_pending_connections(1);
    let (mut world, mut clients) = world_with_callers(limits, 1);
    world.poll();
    clients[0].put_packet(b"again").unwrap();
    let report = world.poll_after(millis(10));
    assert_counts!(report, expired: 1, new_connections: 1);
    assert_eq!(texts(&mut world.server.take_connection().unwrap()), ["again"]);
}

// Peers.

#[test]
fn max_peers_counts_peers_and_pending_connections_together() {
    let (mut world, mut clients) = world_with_callers(Limits::new().max_peers(2), 1);
    world.poll();
    let first = world.server.take_connection().unwrap();
    for number in 1..4 {
        let mut client = world.client(number);
        client.put_packet(b"me too").unwrap();
        clients.push(client);
    }
    let report = world.poll();
    assert_counts!(report, new_connections: 1, dropped: 2);
    assert_eq!(world.server.stats().drops.peers_full, 2);

    drop(first);
    clients[3].put_packet(b"now?").unwrap();
    assert_eq!(world.poll().new_connections, 1);
    assert_eq!(world.server.stats().drops.peers_full, 2);
}

#[test]
fn lowering_max_peers_ends_nobody_and_admits_nobody() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let (_other_client, other) = world.pair(2);
    world.server.set_limits(Limits::new().max_peers(1)).unwrap();
    world.client(3).put_packet(b"room for me?").unwrap();
    client.put_packet(b"still here").unwrap();
    assert_eq!(world.poll().new_connections, 0);
    assert_eq!(world.server.peer_count(), 2);
    assert_eq!(texts(&mut peer), ["still here"]);
    assert_eq!(other.state(), PeerState::Open);
    assert_eq!(world.server.stats().drops.peers_full, 1);
}

// Idleness.

#[test]
fn a_silent_peer_goes_idle_on_time() {
    let mut world = World::with_limits(Limits::new().idle_timeout(Some(millis(5_000))));
    let (mut client, mut peer) = world.pair(1);
    assert_eq!(world.poll_after(millis(5_000) - TICK).idle, 0);
    assert_eq!(peer.state(), PeerState::Open);
    // The last moment is early enough, and silence counts anew.
    client.put_packet(b"here").unwrap();
    assert_eq!(world.poll().idle, 0);
    assert_eq!(world.poll_after(millis(5_000) - TICK).idle, 0);

    assert_eq!(world.poll_after(TICK).idle, 1);
    assert_eq!(peer.state(), PeerState::Ended(CloseReason::Idle));
    assert_eq!(world.server.peer_count(), 0);
    assert_eq!(world.server.stats().connections.idle, 1);
    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"here");
    assert_eq!(peer.get_packet().unwrap_err(), packetpeer::error::GetError::Ended(CloseReason::Idle));
    assert!(matches!(peer.put_packet(b"x"), Err(packetpeer::error::PutError::Ended(CloseReason::Idle))));

    client.put_packet(b"back").unwrap();
    assert_eq!(world.poll().new_connections, 1);
}

#[test]
fn a_packet_in_the_very_poll_keeps_a_peer_from_going_idle() {
    let mut world = World::with_limits(Limits::new().idle_timeout(Some(millis(100))));
    let (mut client, peer) = world.pair(1);
    client.put_packet(b"late, but here").unwrap();
    assert_eq!(world.poll_after(millis(1_000)).idle, 0);
    assert_eq!(peer.state(), PeerState::Open);
}

#[test]
fn peers_go_idle_in_the_order_of_their_silence() {
    let mut world = World::with_limits(Limits::new().idle_timeout(Some(millis(100))));
    let mut pairs: Vec<_> = (0..4).map(|number| world.pair(number)).collect();
    // Heard from last at 0, 30, 10 and 20 ms.
    for (at, number) in [(10, 1), (10, 2), (20, 3), (30, 1)] {
        world.network.advance(millis(at) - world.network.elapsed());
        pairs[number].0.put_packet(b"here").unwrap();
        world.poll();
    }
    for (at, gone) in [(99, 0), (100, 1), (109, 1), (110, 2), (119, 2), (120, 3), (129, 3), (130, 4)] {
        world.network.advance(millis(at) - world.network.elapsed());
        world.poll();
        let idle = pairs.iter().filter(|(_, peer)| peer.close_reason() == Some(CloseReason::Idle)).count();
        assert_eq!(idle, gone, "after {at} ms");
    }
}

#[test]
fn without_an_idle_timeout_nobody_goes_idle() {
    let mut world = World::with_limits(Limits::new().idle_timeout(None));
    let (_client, peer) = world.pair(1);
    assert_eq!(world.poll_after(Duration::from_secs(1_000_000)).idle, 0);
    assert_eq!(peer.state(), PeerState::Open);
}

#[test]
fn nobody_is_judged_idle_as_long_as_the_socket_was_not_seen_empty() {
    let mut world = World::with_limits(Limits::new().idle_timeout(Some(millis(100))));
    let (mut client, _peer) = world.pair(1);
    let (mut late_client, late) = world.pair(2);
    let (_silent_client, silent) = world.pair(3);
    world.server.set_limits(world.server.limits().clone().max_known_per_poll(1)).unwrap();
    client.put_packet(b"a").unwrap();
    late_client.put_packet(b"b").unwrap();

    let report = world.poll_after(millis(100));
    assert_counts!(report, received: 1, idle: 0, more_waiting: true);
    let report = world.poll();
    assert_counts!(report, received: 1, idle: 0, more_waiting: true);
    let report = world.poll();
    assert_counts!(report, received: 0, idle: 1, more_waiting: false);
    assert_eq!(late.state(), PeerState::Open);
    assert_eq!(silent.state(), PeerState::Ended(CloseReason::Idle));
}

#[test]
fn pending_connections_expire_also_while_the_socket_is_not_seen_empty() {
    let limits = Limits::new().pending_lifetime(Some(millis(100))).max_known_per_poll(1);
    let (mut world, mut clients) = world_with_callers(limits, 1);
    world.poll();
    let mut other = world.client(7);
    other.put_packet(b"x").unwrap();
    clients[0].put_packet(b"y").unwrap();
    let report = world.poll_after(millis(100));
    assert_counts!(report, expired: 1, more_waiting: true);
}

#[test]
fn time_that_goes_backwards_does_no_harm() {
    let mut world = World::with_limits(Limits::new().idle_timeout(Some(millis(100))));
    let start = world.network.now();
    let (mut client, mut peer) = world.pair(1);
    world.server.poll_at(start + millis(1_000)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(peer.state(), PeerState::Ended(CloseReason::Idle));

    client.put_packet(b"again").unwrap();
    world.server.poll_at(start).unwrap();
    peer = world.server.take_connection().unwrap();
    let packet = peer.get_packet().unwrap().unwrap();
    assert_eq!(packet.received_at(), start + millis(1_000), "time stands still instead");
    for time in [start, start + millis(500), start + millis(1_100) - TICK] {
        assert_eq!(world.server.poll_at(time).unwrap().idle, 0);
    }
    assert_eq!(world.server.poll_at(start + millis(1_100)).unwrap().idle, 1);
}

#[test]
fn a_packet_was_received_at_the_time_of_its_poll() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    client.put_packet(b"x").unwrap();
    world.poll_after(millis(1_234));
    let packet = peer.get_packet().unwrap().unwrap();
    assert_eq!(packet.received_at(), world.network.now());

    peer.put_packet(b"y").unwrap();
    world.network.advance(millis(1));
    client.poll().unwrap();
    assert_eq!(client.get_packet().unwrap().unwrap().received_at(), world.network.now());
}

// Queues.

/// What a peer has of `sent`, which its client sent at once, under these limits; and that both have counted the rest.
fn kept_of(limits: Limits, sent: &[&str], count: impl Fn(&packetpeer::stats::ReceiveDrops) -> u64) -> Vec<String> {
    let mut world = World::with_limits(limits);
    let (mut client, mut peer) = world.pair(1);
    for text in sent {
        client.put_packet(text.as_bytes()).unwrap();
    }
    world.poll();
    let stats = peer.stats();
    let kept = texts(&mut peer);
    let lost = (sent.len() - kept.len()) as u64;
    assert_eq!((count(&world.server.stats().drops), world.server.stats().drops.total()), (lost, lost));
    assert_eq!((count(&stats.drops), stats.drops.total()), (lost, lost));
    assert_counts!(stats, received: 1 + sent.len() as u64, delivered: 1, queued: kept.len() as u64);
    assert_eq!(stats.queued_bytes, kept.iter().map(|text| text.len() as u64).sum());
    kept
}

#[test]
fn a_queue_full_of_packets_refuses_the_newest() {
    let limits = Limits::new().queue(QueueLimits::new().packets(3));
    assert_eq!(kept_of(limits, &["1", "2", "3", "4", "5"], |drops| drops.queue_packets), ["1", "2", "3"]);
}

#[test]
fn a_queue_full_of_packets_drops_the_oldest_where_asked() {
    let limits = Limits::new().queue(QueueLimits::new().packets(3).when_full(WhenFull::DropOldest));
    assert_eq!(kept_of(limits, &["1", "2", "3", "4", "5"], |drops| drops.queue_packets), ["3", "4", "5"]);
}

#[test]
fn a_queue_full_of_bytes_refuses_the_newest() {
    let limits = Limits::new().queue(QueueLimits::new().bytes(10));
    assert_eq!(kept_of(limits, &["1234", "12345", "12", "1"], |drops| drops.queue_bytes), ["1234", "12345", "1"]);
}

#[test]
fn a_queue_full_of_bytes_drops_the_oldest_where_asked() {
    let limits = Limits::new().queue(QueueLimits::new().bytes(10).when_full(WhenFull::DropOldest));
    assert_eq!(kept_of(limits, &["1234", "12345", "123456"], |drops| drops.queue_bytes), ["123456"]);
}

#[test]
fn a_queue_takes_512_packets_by_default() {
    let sent: Vec<_> = (0..600).map(|number| number.to_string()).collect();
    let sent: Vec<_> = sent.iter().map(String::as_str).collect();
    assert_eq!(kept_of(Limits::new(), &sent, |drops| drops.queue_packets), sent[..512]);
}

#[test]
fn all_queues_together_hold_no_more_bytes_than_allowed() {
    let mut world = World::with_limits(Limits::new().max_queued_bytes(100));
    let mut pairs = [1, 2, 3].map(|number| world.pair(number));
    for (client, _) in &mut pairs {
        client.put_packet(&[7; 40]).unwrap();
    }
    let report = world.poll();
    assert_counts!(report, queued: 2, dropped: 1);
    let stats = world.server.stats();
    assert_counts!(stats, queued_bytes: 80, drops.server_bytes: 1, drops.total(): 1);
    assert_eq!(pairs[2].1.stats().drops.server_bytes, 1);

    pairs[0].1.get_packet().unwrap().unwrap();
    pairs[2].0.put_packet(&[7; 40]).unwrap();
    assert_eq!(world.poll().queued, 1, "what was taken has made room");
}

#[test]
fn a_packet_larger_than_allowed_is_dropped_whole_and_makes_no_connection() {
    let mut world = World::with_config(ServerConfig::new().socket(SocketOptions::new().max_packet_size(8)));
    let (mut client, mut peer) = world.pair(1);
    client.put_packet(b"8 bytes.").unwrap();
    client.put_packet(b"9 bytes..").unwrap();
    world.client(2).put_packet(b"9 bytes..").unwrap();
    let report = world.poll();
    assert_counts!(report, received: 3, queued: 1, dropped: 2, new_connections: 0);
    assert_eq!(texts(&mut peer), ["8 bytes."]);
    assert_eq!(world.server.stats().drops.too_large, 2);
}

#[test]
fn a_packet_that_is_dropped_as_too_large_is_counted_at_its_peer_too() {
    let mut world = World::with_config(ServerConfig::new().socket(SocketOptions::new().max_packet_size(8)));
    let (mut client, peer) = world.pair(1);
    client.put_packet(b"9 bytes..").unwrap();
    world.poll();
    assert_eq!(world.server.stats().drops.too_large, 1);
    let stats = peer.stats();
    assert_counts!(stats, received: 2, drops.too_large: 1);
}

#[test]
fn changed_limits_hold_from_the_next_packet_on() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    for _ in 0..3 {
        client.put_packet(b"x").unwrap();
    }
    world.poll();
    world.server.set_limits(Limits::new().queue(QueueLimits::new().packets(1))).unwrap();
    assert_eq!(peer.available_packet_count(), 3, "what is queued stays");
    client.put_packet(b"y").unwrap();
    assert_eq!(world.poll().dropped, 1);
    assert_eq!(texts(&mut peer), ["x", "x", "x"]);
}

// Budgets.

#[test]
fn a_poll_takes_no_more_datagrams_of_the_known_than_its_budget() {
    let mut world = World::with_limits(Limits::new().max_known_per_poll(100));
    let (mut client, mut peer) = world.pair(1);
    for number in 0..250 {
        client.put_packet(number.to_string().as_bytes()).unwrap();
    }
    for (received, more_waiting) in [(100, true), (100, true), (50, false), (0, false)] {
        let report = world.poll();
        assert_counts!(report, received: received, queued: received, more_waiting: more_waiting);
    }
    assert_eq!(texts(&mut peer), (0..250).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_poll_takes_no_more_datagrams_of_the_unknown_than_their_budget() {
    let limits = Limits::new().max_pending_connections(0).max_unknown_per_poll(70).max_known_per_poll(1_000);
    let mut world = World::with_limits(limits);
    let mut unknown = world.client(1);
    for _ in 0..150 {
        unknown.put_packet(b"x").unwrap();
    }
    for (received, more_waiting) in [(70, true), (70, true), (10, false)] {
        let report = world.poll();
        assert_counts!(report, received: received, dropped: received, more_waiting: more_waiting);
    }
    assert_eq!(world.server.stats().drops.pending_full, 150);
}

#[test]
fn datagrams_of_the_unknown_do_not_use_up_the_budget_of_the_known() {
    let mut world = World::with_limits(Limits::new().max_known_per_poll(10).max_unknown_per_poll(20));
    let (mut client, mut peer) = world.pair(1);
    world.server.set_max_pending_connections(0);
    let mut unknown = PacketPeerUdp::with_transport(world.another_host());
    unknown.connect_to_host(SERVER).unwrap();
    for _ in 0..9 {
        unknown.put_packet(b"x").unwrap();
        unknown.put_packet(b"x").unwrap();
        client.put_packet(b"y").unwrap();
    }
    let report = world.poll();
    assert_counts!(report, received: 27, queued: 9, dropped: 18, more_waiting: false);
    assert_eq!(texts(&mut peer).len(), 9);
}

#[test]
fn table_sizes_follow_who_comes_moves_and_goes() {
    let limits = Limits::new().after_close(AfterClose::Refuse(Duration::from_secs(5)));
    let mut world = World::with_limits(limits);
    let (mut client, mut peer) = world.pair(1);
    assert_eq!(world.server.table_sizes().pool_bytes, 0, "who has taken a packet's bytes keeps its memory");
    client.put_packet(b"input").unwrap();
    world.poll();
    drop(peer.get_packet().unwrap());
    let mut other = world.client(2);
    other.put_packet(b"hello").unwrap();
    world.poll();
    let sizes = world.server.table_sizes();
    assert_counts!(sizes, peers: 1, pending: 1, places: 2, refused: 0, moved: 0);
    assert_eq!(sizes.pool_bytes, 0, "what the input gave back, the hello has taken");

    peer.close();
    world.poll();
    let sizes = world.server.table_sizes();
    assert_counts!(sizes, peers: 0, pending: 1, places: 2, refused: 1);
    world.poll_after(Duration::from_secs(10));
    let sizes = world.server.table_sizes();
    assert_counts!(sizes, peers: 0, pending: 0, places: 2, refused: 0);
    assert!((128..512).contains(&sizes.pool_bytes), "{}", sizes.pool_bytes);
}
