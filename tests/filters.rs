//! What a filter sees, what it may decide, and what comes of it: one that is set, and one that is lent for a poll.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use packetpeer::error::PollError;
use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, Switch};
use packetpeer::stats::{PollReport, ServerStats};
use packetpeer::{FirstDatagram, Limits, PacketPeerUdp, ServerConfig, UdpServer, Verdict};

mod util;

use util::wrapped::Wrapped;
use util::{SERVER, World, assert_counts, millis, poll_texts, texts};

#[track_caller]
fn assert_all_are_counted(server: &UdpServer) -> ServerStats {
    let stats = server.stats();
    assert_eq!(stats.received, stats.delivered + stats.queued + stats.consumed + stats.drops.total(), "{stats:#?}");
    assert_eq!(stats.put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats:#?}");
    stats
}

/// Polls with a filter that decides so on everything, and writes so.
fn poll_with_verdict(world: &mut World, verdict: Verdict, text: &str) -> PollReport {
    let report = world.server.poll_with(|_, reply| {
        reply.extend_from_slice(text.as_bytes());
        verdict
    });
    report.unwrap()
}

/// A client that has said so.
fn client_saying(world: &World, number: u8, text: &str) -> PacketPeerUdp {
    let mut client = world.client(number);
    client.put_packet(text.as_bytes()).unwrap();
    client
}

// One that is lent for a poll.

#[test]
fn a_filter_of_one_poll_may_borrow_and_change_what_the_program_has() {
    let mut world = World::new();
    let tickets = HashMap::from([("blue", 1), ("red", 2)]);
    let mut seats: Vec<(SocketAddr, i32)> = Vec::new();
    let clients =
        [client_saying(&world, 1, "red"), client_saying(&world, 2, "green"), client_saying(&world, 3, "blue")];
    let report = world.server.poll_with(|datagram, _| {
        let Some(&seat) = std::str::from_utf8(datagram.bytes).ok().and_then(|name| tickets.get(name)) else {
            return Verdict::Ignore;
        };
        seats.push((datagram.sender, seat));
        Verdict::Accept
    });
    let report = report.unwrap();
    assert_counts!(report, new_connections: 2, dropped: 1);
    let [red, _, blue] = clients.map(|client| client.local_addr().unwrap());
    assert_eq!(seats, [(red, 2), (blue, 1)]);
    assert_eq!(assert_all_are_counted(&world.server).drops.filtered, 1);
}

#[test]
fn it_is_asked_for_its_poll_alone_and_instead_of_the_one_set() {
    let mut world = World::new();
    world.server.set_filter(|_, _| Verdict::Ignore);
    let mut client = client_saying(&world, 1, "first");
    assert_eq!(poll_with_verdict(&mut world, Verdict::Consume, "").consumed, 1);
    client.put_packet(b"second").unwrap();
    assert_eq!(world.poll().dropped, 1, "the one set is asked again");
    world.server.clear_filter();
    client.put_packet(b"third").unwrap();
    assert_eq!(poll_with_verdict(&mut world, Verdict::Consume, "").consumed, 1);
    client.put_packet(b"fourth").unwrap();
    assert_eq!(world.poll().new_connections, 1, "and none, where none is set");
}

#[test]
fn it_is_told_the_time_of_its_poll() {
    let mut world = World::new();
    let _client = client_saying(&world, 1, "hello");
    let later = world.network.now() + millis(500);
    let mut told: Option<Instant> = None;
    let report = world.server.poll_at_with(later, |datagram, _| {
        told = Some(datagram.received_at);
        Verdict::Accept
    });
    assert_eq!((report.unwrap().new_connections, told), (1, Some(later)));
    let mut closed = UdpServer::new();
    let never = |_: &FirstDatagram<'_>, _: &mut Vec<u8>| -> Verdict { unreachable!("nothing comes") };
    assert!(matches!(closed.poll_with(never), Err(PollError::NotOpen)));
    assert!(matches!(closed.poll_at_with(later, never), Err(PollError::NotOpen)));
}

#[test]
fn if_it_panics_what_came_behind_is_counted_as_with_the_one_set() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    let _first = client_saying(&world, 2, "let me in");
    let _bad = client_saying(&world, 3, "die");
    client.put_packet(b"behind it").unwrap();
    let poll = AssertUnwindSafe(|| {
        world.server.poll_with(|datagram, _| {
            assert_ne!(datagram.bytes, b"die");
            Verdict::AcceptAndConsume
        })
    });
    assert!(catch_unwind(poll).is_err());
    assert_eq!(assert_all_are_counted(&world.server).drops.panicked, 2);
    client.put_packet(b"on we go").unwrap();
    world.poll();
    assert_eq!(texts(&mut peer), ["on we go"]);
    let stats = assert_all_are_counted(&world.server);
    assert_counts!(stats, consumed: 1, drops.panicked: 2);
    assert_eq!(world.server.pending_count(), 1);
}

#[test]
fn no_filter_sees_peers_nor_pending_connections_nor_own_sockets() {
    let mut world = World::new();
    let mut known = PacketPeerUdp::with_transport(world.network.host([10, 0, 1, 1]));
    known.set_dest_address(util::SERVER).unwrap();
    known.put_packet(b"hello").unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut peer), ["hello"]);
    let mut pending = client_saying(&world, 2, "hello");
    world.poll();
    let own_port = world.server.dedicate_socket(&mut peer, Switch::WithClient).unwrap();
    known.put_packet(b"to the port listened on").unwrap();
    pending.put_packet(b"again").unwrap();
    known.set_dest_address(own_port).unwrap();
    known.put_packet(b"to the own port").unwrap();
    let report = world.server.poll_with(|datagram, _| panic!("asked about {datagram:?}"));
    assert_eq!(report.unwrap().queued, 3);
    let mut heard = texts(&mut peer);
    heard.sort();
    assert_eq!(heard, ["to the own port", "to the port listened on"]);
}

// To let in, and keep nothing or answer.

#[test]
fn one_that_is_let_in_and_consumed_begins_without_a_packet() {
    let mut world = World::new();
    let mut client = client_saying(&world, 1, "the last of a handshake");
    let report = poll_with_verdict(&mut world, Verdict::AcceptAndConsume, "nobody is sent this");
    assert_counts!(report, received: 1, consumed: 1, new_connections: 1, queued: 0);
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(Some(peer.remote_addr().unwrap()), client.local_addr());
    assert_eq!((texts(&mut peer), poll_texts(&mut client)), (vec![], vec![]));
    client.put_packet(b"the game").unwrap();
    poll_with_verdict(&mut world, Verdict::Ignore, "");
    assert_eq!(texts(&mut peer), ["the game"]);
    let (stats, of_peer) = (assert_all_are_counted(&world.server), peer.stats());
    assert_counts!(stats, received: 2, consumed: 1, delivered: 1, put: 0);
    assert_counts!(of_peer, received: 1, delivered: 1, "the peer has never had the other");
}

#[test]
fn one_that_is_let_in_and_answered_hears_the_reply_before_the_peer() {
    let mut world = World::new();
    world.server.set_filter(|datagram, reply| {
        reply.extend_from_slice(&datagram.bytes[..7]);
        Verdict::AcceptAndReply
    });
    let mut client = client_saying(&world, 1, "welcome?");
    let report = world.poll();
    assert_counts!(report, consumed: 1, new_connections: 1, queued: 0, dropped: 0);
    let mut peer = world.server.take_connection().unwrap();
    peer.put_packet(b"first word").unwrap();
    assert_eq!(poll_texts(&mut client), ["welcome", "first word"]);
    client.put_packet(b"input").unwrap();
    world.poll();
    assert_eq!(texts(&mut peer), ["input"]);
    let stats = assert_all_are_counted(&world.server);
    assert_counts!(stats, consumed: 1, put: 2, sent: 2);
    assert_eq!(peer.stats().put, 1, "the reply is the server's");
}

#[test]
fn with_a_reply_that_may_not_go_nobody_is_let_in() {
    let mut world = World::with_limits(Limits::new().max_replies_per_poll(1));
    let mut clients = [1, 2, 3].map(|number| client_saying(&world, number, "four"));
    let mut longer = true;
    let report = world.server.poll_with(|_, reply| {
        reply.extend_from_slice(if std::mem::take(&mut longer) { b"fives" } else { b"yes!" });
        Verdict::AcceptAndReply
    });
    let report = report.unwrap();
    assert_counts!(report, new_connections: 1, consumed: 1, dropped: 2);
    assert_eq!(clients.each_mut().map(poll_texts), [vec![], vec!["yes!".to_owned()], vec![]]);
    let stats = assert_all_are_counted(&world.server);
    assert_counts!(stats, drops.reply_too_long: 1, drops.reply_budget: 1, drops.total(): 2);
    assert_eq!(world.server.take_connection().and_then(|peer| peer.remote_addr()), clients[1].local_addr());
}

/// And what is refused by a limit takes nothing of the replies that a poll may send.
#[test]
fn a_client_that_finds_no_room_hears_no_reply() {
    let mut world = World::with_limits(Limits::new().max_peers(1).max_replies_per_poll(2));
    let mut clients = [1, 2, 3].map(|number| client_saying(&world, number, "let me in"));
    let report = poll_with_verdict(&mut world, Verdict::AcceptAndReply, "come in");
    assert_counts!(report, new_connections: 1, consumed: 1, dropped: 2);
    assert_eq!(clients.each_mut().map(poll_texts), [vec!["come in".to_owned()], vec![], vec![]]);
    clients[1].put_packet(b"let me in").unwrap();
    let report = poll_with_verdict(&mut world, Verdict::AcceptAndConsume, "");
    assert_counts!(report, new_connections: 0, consumed: 0, dropped: 1);
    let stats = assert_all_are_counted(&world.server);
    assert_counts!(stats, drops.peers_full: 3, drops.total(): 3, put: 1);
}

#[test]
fn what_is_written_with_another_verdict_goes_nowhere() {
    for verdict in [Verdict::Accept, Verdict::AcceptAndConsume, Verdict::Ignore, Verdict::Consume] {
        let mut world = World::new();
        let mut client = client_saying(&world, 1, "hello");
        poll_with_verdict(&mut world, verdict, "hi");
        assert_eq!(poll_texts(&mut client), [""; 0], "{verdict:?}");
        assert_eq!(assert_all_are_counted(&world.server).put, 0, "{verdict:?}");
    }
}

/// One that is let in uses up what a poll may take of connections, as if it had been kept.
#[test]
fn a_consumed_first_datagram_counts_with_those_of_peers_in_the_budgets_of_a_poll() {
    let mut world = World::with_limits(Limits::new().max_known_per_poll(2).max_unknown_per_poll(1));
    let _clients = [1, 2, 3].map(|number| client_saying(&world, number, "hello"));
    let mut asked = 0;
    let report = world.server.poll_with(|_, _| {
        asked += 1;
        Verdict::AcceptAndConsume
    });
    assert_eq!((report.unwrap().received, asked), (2, 2));
}

// Whether there is room.

/// What a filter of one poll is told of each datagram that it is asked about.
fn rooms(world: &mut World) -> Vec<bool> {
    let mut rooms = Vec::new();
    let report = world.server.poll_with(|datagram, _| {
        rooms.push(datagram.has_room);
        Verdict::Accept
    });
    let report = report.unwrap();
    assert_eq!(report.new_connections, rooms.iter().filter(|&&room| room).count(), "it is as the filter was told");
    rooms
}

#[test]
fn a_filter_is_told_of_each_limit_that_stands_in_the_way() {
    let roomy = || Limits::new().exempt_from_per_ip(Vec::new());
    let limits = [
        roomy().max_pending_connections(2),
        roomy().max_peers(2),
        roomy().max_pending_per_ip(2),
        roomy().max_peers_per_ip(Some(2)),
    ];
    for limits in limits {
        let mut world = World::with_limits(limits);
        let host = world.network.host([10, 0, 2, 1]);
        let mut clients = [(); 3].map(|()| PacketPeerUdp::with_transport(host.clone()));
        for client in &mut clients {
            client.connect_to_host(util::SERVER).unwrap();
            client.put_packet(b"hello").unwrap();
        }
        assert_eq!(rooms(&mut world), [true, true, false], "{:?}", world.server.limits());
        assert_eq!(assert_all_are_counted(&world.server).drops.total(), 1);
    }
}

#[test]
fn there_is_no_room_in_a_server_that_drains() {
    let mut world = World::new();
    let mut client = client_saying(&world, 1, "hello");
    world.server.drain();
    assert_eq!(rooms(&mut world), [false]);
    client.put_packet(b"may I?").unwrap();
    let report = poll_with_verdict(&mut world, Verdict::Reply, "no");
    assert_eq!((report.consumed, poll_texts(&mut client)), (1, vec!["no".to_owned()]), "it can say so");
}

#[test]
fn there_is_no_room_for_one_without_the_id_that_it_needs() {
    let ids = ConnectionIds::new(|datagram| datagram.strip_prefix(b"#")?.first().map(|&id| ConnectionId(id.into())));
    let mut world = World::with_config(ServerConfig::new().identity(Identity::ConnectionId(ids)));
    let _clients = [client_saying(&world, 1, "hello"), client_saying(&world, 2, "#a")];
    let mut told = Vec::new();
    let report = world.server.poll_with(|datagram, _| {
        told.push((datagram.id, datagram.has_room));
        Verdict::AcceptAndConsume
    });
    assert_eq!(report.unwrap().new_connections, 1);
    assert_eq!(told, [(None, false), (Some(ConnectionId(b'a'.into())), true)]);
    let stats = assert_all_are_counted(&world.server);
    assert_counts!(stats, drops.no_id: 1, consumed: 1);
}

#[test]
fn a_first_datagram_can_be_made_to_test_a_filter_by() {
    let sender = SocketAddr::from(([192, 0, 2, 1], 9));
    let now = Instant::now();
    let mut datagram = FirstDatagram::new(sender, b"hello", now);
    assert_eq!((datagram.sender, datagram.bytes, datagram.received_at), (sender, &b"hello"[..], now));
    assert_eq!((datagram.id, datagram.has_room), (None, true));
    (datagram.id, datagram.has_room) = (Some(ConnectionId(7)), false);
    assert_eq!((datagram.id, datagram.has_room), (Some(ConnectionId(7)), false));
}

/// What came behind it was in no counter.
#[test]
fn what_is_lost_where_a_transport_panics_with_a_reply_is_counted() {
    for verdict in [Verdict::Reply, Verdict::AcceptAndReply] {
        let network = packetpeer::sim::Network::new();
        let wrapped = Wrapped::new(network.host(SERVER.ip()));
        let hooks = wrapped.hooks.clone();
        let mut server = UdpServer::with_transport(ServerConfig::new(), wrapped).unwrap();
        server.listen(SERVER).unwrap();
        let _clients: Vec<_> = (1..=3)
            .map(|number| {
                let mut client =
                    PacketPeerUdp::with_transport(network.host(std::net::IpAddr::from([10, 0, 1, number])));
                client.connect_to_host(SERVER).unwrap();
                client.put_packet(b"hello").unwrap();
                client
            })
            .collect();
        hooks.before_send(|_| panic!("a transport with a fault"));
        let poll = AssertUnwindSafe(|| server.poll_with(|_, _| verdict));
        assert!(catch_unwind(poll).is_err());
        for _ in 0..2 {
            let stats = assert_all_are_counted(&server);
            assert_eq!((stats.received, stats.consumed, stats.drops.panicked), (3, 1, 2));
            server.poll().unwrap();
        }
    }
}
