//! The field lists of all counters: what they name, that they name everything, and that servers and layers of other
//! crates can fill the same structs.

use std::collections::BTreeSet;
use std::fmt::Debug;

use packetpeer::sim::LinkStats;
use packetpeer::stats::{
    FlushReport, PeerStats, PollReport, ReceiveDrops, SendDrops, ServerStats, Stat, StatKind, TableSizes,
};

mod util;

use util::assert_counts;

/// A struct of counters as it is printed, and as its field list tells it.
struct Listed {
    name: &'static str,
    printed: String,
    stats: Vec<Stat>,
}

fn listed<T: Debug>(value: T, stats: impl Iterator<Item = Stat>) -> Listed {
    let name = std::any::type_name::<T>().rsplit(':').next().unwrap();
    Listed { name, printed: format!("{value:?}"), stats: stats.collect() }
}

/// One of each, with numbers of their own in a few fields.
fn one_of_each() -> Vec<Listed> {
    let (server, peer) = (server_stats(), peer_stats());
    let mut link = LinkStats::default();
    (link.offered, link.passed, link.undelivered) = (31, 32, 33);
    let mut sizes = TableSizes::default();
    (sizes.peers, sizes.places, sizes.pool_bytes) = (41, 42, 43);
    let mut poll = PollReport::default();
    (poll.received, poll.new_connections, poll.more_waiting) = (51, 52, true);
    let mut flush = FlushReport::default();
    (flush.sent, flush.failed, flush.waiting) = (61, 62, 63);
    vec![
        listed(server, server.iter()),
        listed(peer, peer.iter()),
        listed(server.drops, server.drops.iter()),
        listed(server.send_drops, server.send_drops.iter()),
        listed(server.connections, server.connections.iter()),
        listed(sizes, sizes.iter()),
        listed(link, link.iter()),
        listed(poll, poll.iter()),
        listed(flush, flush.iter()),
    ]
}

/// As a server of another crate would fill it.
fn server_stats() -> ServerStats {
    let mut stats = ServerStats::default();
    stats.received = 101;
    stats.received_bytes = 102;
    stats.delivered = 103;
    stats.queued = 104;
    stats.queued_bytes = 105;
    stats.consumed = 106;
    stats.drops = receive_drops();
    stats.kernel_drops = Some(107);
    stats.noise = 108;
    stats.put = 109;
    stats.sent = 110;
    stats.sent_bytes = 111;
    stats.send_queued = 112;
    stats.send_drops = send_drops();
    stats.connections.opened = 113;
    stats.connections.idle = 114;
    stats.pool_misses = 115;
    stats
}

/// As a layer of another crate would fill it.
fn peer_stats() -> PeerStats {
    let mut stats = PeerStats::default();
    stats.received = 11;
    stats.received_bytes = 12;
    stats.delivered = 2;
    stats.queued = 5;
    stats.queued_bytes = 6;
    stats.drops = receive_drops();
    stats.kernel_drops = Some(13);
    stats.noise = 14;
    stats.put = 15;
    stats.sent = 16;
    stats.sent_bytes = 17;
    stats.send_queued = 18;
    stats.send_drops = send_drops();
    stats
}

fn receive_drops() -> ReceiveDrops {
    let mut drops = ReceiveDrops::default();
    (drops.pending_full, drops.undecodable, drops.unread) = (1, 3, 7);
    drops
}

fn send_drops() -> SendDrops {
    let mut drops = SendDrops::default();
    (drops.would_block, drops.unconfirmed) = (8, 9);
    drops
}

/// The fields and numbers in what `Debug` prints of a struct and those in it; `None` has no number.
fn numbers_in(printed: &str) -> Vec<(String, u64)> {
    let plain = printed.replace("Some(", "").replace(')', "").replace("true", "1").replace("false", "0");
    let fields = plain.split([',', '{', '}']).filter_map(|part| part.trim().split_once(": "));
    let mut numbers: Vec<_> = fields.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect();
    numbers.sort();
    numbers
}

#[test]
fn a_field_list_has_every_field_under_its_name_with_its_number() {
    for listed in one_of_each() {
        let mut told: Vec<_> = listed.stats.iter().map(|stat| (stat.name.to_owned(), stat.value)).collect();
        told.sort();
        assert!(!told.is_empty(), "{}", listed.name);
        assert_eq!(told, numbers_in(&listed.printed), "{}", listed.name);
    }
}

#[test]
fn names_are_unique_within_their_groups() {
    for listed in one_of_each() {
        let names: BTreeSet<_> = listed.stats.iter().map(|stat| (stat.group, stat.name)).collect();
        assert_eq!(names.len(), listed.stats.len(), "{}", listed.name);
    }
    // Those of one server, its links and its tables may stand on one page.
    let (server, sizes, link) = (server_stats(), TableSizes::default(), LinkStats::default());
    let page: Vec<_> =
        server.iter().chain(sizes.iter()).chain(link.iter()).chain(PeerStats::default().iter()).collect();
    let names: BTreeSet<_> = page.iter().map(|stat| (stat.group, stat.name)).collect();
    let of_both = ReceiveDrops::default().iter().count() + SendDrops::default().iter().count();
    assert_eq!(names.len(), page.len() - of_both, "a peer has the drops under the names that the server has them");
}

#[test]
fn groups_and_names_are_plain_identifiers() {
    let is_plain = |text: &str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    for listed in one_of_each() {
        for stat in &listed.stats {
            assert!(is_plain(stat.group) && is_plain(stat.name), "{}: {stat:?}", listed.name);
        }
    }
}

#[test]
fn every_help_is_one_plain_sentence_that_fits_on_a_line() {
    for listed in one_of_each() {
        for Stat { name, help, .. } in listed.stats {
            let words = help.strip_suffix('.').unwrap_or_else(|| panic!("{}: {name}: no full stop", listed.name));
            assert!(!words.contains(". "), "{}: {name}: more than one sentence", listed.name);
            assert!(!words.contains(['`', '[', ']', '*', '<', '\\']), "{}: {name}: markup", listed.name);
            assert!(words.starts_with(|first: char| first.is_ascii_uppercase()), "{}: {name}: {help}", listed.name);
            assert!((10..=100).contains(&help.len()), "{}: {name}: {} bytes", listed.name, help.len());
        }
    }
}

#[test]
fn the_parts_of_a_struct_come_after_its_own_numbers_in_groups_of_their_own() {
    let mut groups: Vec<_> = server_stats().iter().map(|stat| stat.group).collect();
    groups.dedup();
    assert_eq!(groups, ["server", "receive_drops", "send_drops", "connections"]);
    let mut groups: Vec<_> = peer_stats().iter().map(|stat| stat.group).collect();
    groups.dedup();
    assert_eq!(groups, ["peer", "receive_drops", "send_drops"]);
}

#[test]
fn what_the_system_does_not_tell_is_left_out() {
    let names = |stats: ServerStats| stats.iter().map(|stat| stat.name).collect::<Vec<_>>();
    let (told, silent) = (names(server_stats()), names(ServerStats::default()));
    assert_eq!(told.len(), silent.len() + 1);
    assert!(told.contains(&"kernel_drops") && !silent.contains(&"kernel_drops"));
}

#[test]
fn only_what_can_go_down_is_a_gauge() {
    let gauges = |stats: &[Stat]| {
        let gauges = stats.iter().filter(|stat| stat.kind == StatKind::Gauge);
        gauges.map(|stat| stat.name).collect::<Vec<_>>()
    };
    for listed in one_of_each() {
        let gauges = gauges(&listed.stats);
        match listed.name {
            "ServerStats" | "PeerStats" => assert_eq!(gauges, ["queued", "queued_bytes", "send_queued"]),
            "TableSizes" | "PollReport" | "FlushReport" => assert_eq!(gauges.len(), listed.stats.len()),
            _ => assert!(gauges.is_empty(), "{}: {gauges:?}", listed.name),
        }
    }
}

fn with_value(mut stat: Stat, value: u64) -> Stat {
    stat.value = value;
    stat
}

/// Of counters the difference, of gauges what they are now.
#[track_caller]
fn assert_is_difference(
    between: impl Iterator<Item = Stat>,
    now: impl Iterator<Item = Stat>,
    earlier: impl Iterator<Item = Stat>,
) {
    for ((between, now), earlier) in between.zip(now).zip(earlier) {
        let expected = if now.kind == StatKind::Gauge { now.value } else { now.value - earlier.value };
        assert_eq!(between, with_value(now, expected));
    }
}

#[test]
fn a_difference_has_what_was_added_and_what_waits_now() {
    let (mut server, mut peer) = (server_stats(), peer_stats());
    server += server_stats();
    peer += peer_stats();
    assert_is_difference(server.since(&server_stats()).iter(), server.iter(), server_stats().iter());
    assert_is_difference(peer.since(&peer_stats()).iter(), peer.iter(), peer_stats().iter());
    assert_counts!(peer, queued: 10, since(&peer_stats()).queued: 10, since(&peer_stats()).received: 11);

    let mut link = LinkStats::default();
    (link.offered, link.lost) = (5, 2);
    let before = link;
    (link.offered, link.passed) = (9, 1);
    assert_is_difference(link.since(&before).iter(), link.iter(), before.iter());
    assert_counts!(link, since(&before).offered: 4, since(&before).lost: 0);
}

#[test]
fn a_difference_begins_where_the_system_begins_to_tell() {
    let (before, mut after) = (ServerStats::default(), ServerStats::default());
    after.kernel_drops = Some(3);
    assert_eq!(after.since(&before).kernel_drops, Some(3));
    assert_eq!(before.since(&after).kernel_drops, None);
}

#[test]
fn sums_are_field_by_field() {
    let mut both = server_stats();
    both += ServerStats::default();
    assert_eq!(both, server_stats());
    both += server_stats();
    for (sum, one) in both.iter().zip(server_stats().iter()) {
        assert_eq!(sum, with_value(one, 2 * one.value));
    }
    let (mut report, mut more) = (PollReport::default(), PollReport::default());
    (more.received, more.more_waiting) = (4, true);
    report += more;
    report += PollReport::default();
    assert_counts!(report, received: 4, more_waiting: true);
}

#[test]
fn a_stat_of_ones_own_is_made_like_those_of_the_crate() {
    const ACCEPTED: Stat = Stat::counter("tcp", "accepted", "Streams accepted from the listening socket.", 7);
    assert_eq!(
        (ACCEPTED.group, ACCEPTED.name, ACCEPTED.value, ACCEPTED.kind),
        ("tcp", "accepted", 7, StatKind::Counter)
    );
    assert_eq!(Stat::gauge("tcp", "open", "Streams that are open.", 2).kind, StatKind::Gauge);
}

/// The equation of what was received holds for a layer, too, where it counts what it could not decode.
#[test]
fn a_layer_accounts_for_what_it_could_not_decode() {
    let mut stats = PeerStats::default();
    for decodes in [true, false, true] {
        stats.received += 1;
        if decodes { stats.delivered += 1 } else { stats.drops.undecodable += 1 }
    }
    assert_eq!(stats.received, stats.delivered + stats.drops.total());
    assert_eq!(stats.drops.to_string(), "undecodable 1");
}

#[test]
fn what_servers_and_peers_count_is_listed() {
    let mut world = util::World::new();
    let (mut client, peer) = world.pair(1);
    client.put_packet(b"more").unwrap();
    world.poll();
    let value = |stats: &[Stat], group, name| {
        stats.iter().find(|stat| (stat.group, stat.name) == (group, name)).map(|stat| stat.value)
    };
    let stats: Vec<_> = world.server.stats().iter().chain(world.server.table_sizes().iter()).collect();
    assert_eq!(value(&stats, "server", "received"), Some(2));
    assert_eq!(value(&stats, "connections", "taken"), Some(1));
    assert_eq!(value(&stats, "tables", "peers"), Some(1));
    let stats: Vec<_> = peer.stats().iter().collect();
    assert_eq!((value(&stats, "peer", "received"), value(&stats, "peer", "queued")), (Some(2), Some(1)));
}
