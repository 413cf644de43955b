//! The equations that `stats` promises, after every step of a long random life of a server.

use std::thread;

use packetpeer::limits::{AfterClose, QueueLimits, WhenFull};
use packetpeer::stats::ServerStats;
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, SocketOptions};

mod util;

use util::{SERVER, World, assert_counts, eventually, millis};

#[track_caller]
fn assert_equations_hold(stats: &ServerStats, peers: &[PacketPeerUdp], puts: u64, seed: u64) {
    for peer in peers {
        let stats = peer.stats();
        let accounted = stats.delivered + stats.queued + stats.drops.total();
        assert_eq!(stats.received, accounted, "seed {seed}: {stats:#?}");
        let accounted = stats.sent + stats.send_queued + stats.send_drops.total();
        assert_eq!(stats.put, accounted, "seed {seed}: {stats:#?}");
    }
    let accounted = stats.delivered + stats.queued + stats.drops.total();
    assert_eq!(stats.received, accounted, "seed {seed}: received = delivered + queued + dropped; {stats:#?}");
    let accounted = stats.sent + stats.send_queued + stats.send_drops.total();
    assert_eq!(stats.put, accounted, "seed {seed}: put = sent + waiting + not sent; {stats:#?}");
    assert_eq!(puts, stats.put, "seed {seed}: {stats:#?}");
}

/// Small limits, so that each of them is met.
fn random_limits(rng: &mut fastrand::Rng) -> Limits {
    let when_full = if rng.bool() { WhenFull::DropNewest } else { WhenFull::DropOldest };
    Limits::new()
        .max_pending_connections(rng.usize(0..4))
        .max_pending_per_ip(rng.usize(0..3))
        .max_peers_per_ip(rng.bool().then(|| rng.usize(0..2)))
        .after_close(if rng.bool() { AfterClose::Forget } else { AfterClose::Refuse(millis(50)) })
        .quota_per_poll(rng.bool().then_some(2))
        .pending_lifetime(rng.bool().then_some(millis(30)))
        .max_peers(rng.usize(2..10))
        .idle_timeout(rng.bool().then_some(millis(80)))
        .queue(QueueLimits::new().packets(rng.usize(0..12)).bytes(rng.usize(0..400)).when_full(when_full))
        .send_queue(QueueLimits::new().packets(rng.usize(0..6)).bytes(rng.usize(0..300)).when_full(when_full))
        .max_queued_bytes(rng.usize(0..1500))
        .max_known_per_poll(rng.usize(1..80))
        .max_unknown_per_poll(rng.usize(1..80))
}

/// Stops with nothing left in the socket, which nobody would count.
fn stop(world: &mut World) {
    while world.poll().more_waiting {}
    world.server.stop();
}

/// Lives the life that `seed` says, and returns what the server saw.
fn live(seed: u64) -> ServerStats {
    let rng = &mut fastrand::Rng::with_seed(seed);
    let socket = SocketOptions::new().max_packet_size(rng.usize(60..110));
    let mode = *rng.choice(&[SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush]).unwrap();
    let config = ServerConfig::new().limits(random_limits(rng)).socket(socket).send_mode(mode);
    let mut world = World::with_config(config);
    let mut clients: Vec<_> = (0..12).map(|number| world.client(number)).collect();
    let mut peers: Vec<PacketPeerUdp> = Vec::new();
    let mut puts = 0;
    let mut buffer = [0; 48];
    for _ in 0..3_000 {
        let some_peer = (!peers.is_empty()).then(|| rng.usize(..peers.len()));
        match (rng.u8(..100), some_peer) {
            (..40, _) => {
                let len = rng.usize(..100);
                rng.choice(&mut clients).unwrap().put_packet(&vec![7; len]).unwrap();
            }
            (40..55, _) => _ = world.server.poll(),
            (55..63, _) => peers.extend(world.server.take_connection()),
            (63..66, _) => world.network.advance(millis(rng.u64(..40))),
            (66..67, _) if rng.bool() => _ = world.server.flush().unwrap(),
            (66..67, _) => world.server.set_limits(random_limits(rng)).unwrap(),
            (67..68, _) if rng.u8(..8) == 0 => {
                stop(&mut world);
                world.server.listen(SERVER).unwrap();
            }
            (68..84, Some(peer)) => drop(peers[peer].get_packet()),
            (84..89, Some(peer)) => drop(peers[peer].get_packet_into(&mut buffer)),
            (89..95, Some(peer)) => {
                let size = if rng.u8(..5) == 0 { 65_508 } else { rng.usize(..100) };
                puts += 1;
                _ = peers[peer].put_packet(&vec![7; size]);
            }
            (95..96, _) if rng.u8(..4) == 0 => {
                puts += world.server.peers().count() as u64;
                world.server.broadcast(&vec![7; rng.usize(..100)]).unwrap();
            }
            (96..97, Some(peer)) => peers[peer].close(),
            (97..98, Some(peer)) => _ = world.server.close(peers[peer].id()),
            (98.., Some(peer)) => drop(peers.swap_remove(peer)),
            _ => {}
        }
        assert_equations_hold(&world.server.stats(), &peers, puts, seed);
    }

    stop(&mut world);
    drop(peers);
    let stats = world.server.stats();
    assert_equations_hold(&stats, &[], puts, seed);
    assert_counts!(stats, queued: 0, queued_bytes: 0, "seed {seed}: nobody is left to take anything");
    let sent: u64 = clients.iter().map(|client| client.stats().sent).sum();
    let received = clients.iter_mut().map(|client| {
        client.poll().unwrap();
        client.stats().received
    });
    assert_eq!(received.sum::<u64>() + stats.received + world.network.lost(), sent + stats.sent, "seed {seed}");
    stats
}

#[test]
fn no_datagram_of_a_random_life_is_unaccounted_for() {
    let seed = fastrand::u64(..);
    println!("seeds {seed} and the following");
    let mut seen = std::collections::BTreeMap::new();
    for seed in (0..30).map(|n| seed.wrapping_add(n)) {
        let stats = live(seed);
        for stat in stats.drops.iter().chain(stats.send_drops.iter()) {
            *seen.entry(stat.name).or_insert(0) += stat.value;
        }
        *seen.entry("delivered").or_insert(0) += stats.delivered;
    }
    // The scenario is worth its name only if everything happens in it that can.
    let cannot = [
        "stranger",
        "would_block",
        "failed",
        "unsent",
        "filtered",
        "reply_too_long",
        "draining",
        "no_id",
        "move_refused",
        "unconfirmed",
        "reply_budget",
        "unanswerable",
        "panicked",
        "undecodable",
    ];
    for (reason, count) in seen.iter().filter(|(reason, _)| !cannot.contains(reason)) {
        assert!(*count > 0, "nothing was ever counted as {reason:?}: {seen:?}");
    }
}

#[test]
fn the_equations_hold_again_when_other_threads_have_done_their_work() {
    const ECHOES: u64 = 300;
    let mut world = World::with_limits(Limits::new().queue(QueueLimits::new().packets(20)));
    let pairs: Vec<_> = (0..4).map(|number| world.pair(number)).collect();
    thread::scope(|scope| {
        let work = |(mut client, mut peer): (PacketPeerUdp, PacketPeerUdp)| {
            for _ in 0..ECHOES {
                let packet = eventually("a packet", || {
                    client.put_packet(b"x").unwrap();
                    peer.get_packet().unwrap()
                });
                peer.put_packet(&packet).unwrap();
            }
            // Some end with a word, some without.
            if client.local_addr().unwrap().ip().to_string().ends_with(['0', '2']) {
                peer.close();
            }
        };
        let threads: Vec<_> = pairs.into_iter().map(|pair| scope.spawn(move || work(pair))).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            world.poll();
            thread::yield_now();
        }
    });
    world.poll();
    assert_eq!(world.server.peer_count(), 0);
    world.server.stop();
    let stats = world.server.stats();
    assert_equations_hold(&stats, &[], 4 * ECHOES, 0);
    assert_counts!(stats, delivered: 4 + 4 * ECHOES, queued: 0);
}
