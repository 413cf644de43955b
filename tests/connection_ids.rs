//! Servers that know their peers by an id in each datagram, over the in-memory network: who is who, who moves where,
//! and what is counted, exactly. Random lives of such servers are in `tests/model`.

use std::net::SocketAddr;
use std::time::Duration;

use packetpeer::error::ConnectError;
use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, MoveAttempt, MoveVerdict, Moved, OnMove, WithoutId};
use packetpeer::limits::AfterClose;
use packetpeer::{CloseReason, FirstDatagram, Limits, PacketPeerUdp, SendMode, ServerConfig, SocketOptions, Verdict};

mod util;

use util::{SERVER, World, millis, poll_texts, texts};

/// The smallest step of time.
const TICK: Duration = Duration::from_nanos(1);

const ANNA: ConnectionId = ConnectionId(0x000a_11a0_0000_0001);
const BERT: ConnectionId = ConnectionId(0xffff_ffff_ffff_ffff);

const HOME: &str = "10.0.1.1:1000";
const AWAY: &str = "10.0.2.2:2000";
const FAR_AWAY: &str = "10.0.3.3:3000";

/// A datagram with an id is a `#`, the id, and the rest.
fn read_id(datagram: &[u8]) -> Option<ConnectionId> {
    let id = datagram.strip_prefix(b"#")?.first_chunk()?;
    Some(ConnectionId(u64::from_be_bytes(*id)))
}

fn with_id(id: ConnectionId, rest: &[u8]) -> Vec<u8> {
    [b"#", &id.0.to_be_bytes()[..], rest].concat()
}

fn ids() -> ConnectionIds {
    ConnectionIds::new(read_id)
}

fn world(ids: ConnectionIds) -> World {
    world_with_limits(ids, Limits::new())
}

fn world_with_limits(ids: ConnectionIds, limits: Limits) -> World {
    World::with_config(ServerConfig::new().limits(limits).identity(Identity::ConnectionId(ids)))
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A socket at this address, which speaks to the server.
fn socket(world: &World, at: &str) -> PacketPeerUdp {
    let mut socket = PacketPeerUdp::with_transport(world.network.host(addr(at).ip()));
    socket.bind(addr(at)).unwrap();
    socket.set_dest_address(SERVER).unwrap();
    socket
}

fn say(socket: &mut PacketPeerUdp, id: ConnectionId, text: &str) {
    socket.put_packet(&with_id(id, text.as_bytes())).unwrap();
}

/// What waits for a peer, without the id in front, which is its own.
#[track_caller]
fn heard(peer: &mut PacketPeerUdp) -> Vec<String> {
    let own = with_id(peer.connection_id().unwrap(), b"");
    let packets = std::iter::from_fn(|| peer.get_packet().unwrap());
    packets.map(|packet| String::from_utf8(packet.strip_prefix(&own[..]).unwrap().to_vec()).unwrap()).collect()
}

/// Anna at home: her socket, and her peer, which has been heard.
fn anna_at_home(world: &mut World) -> (PacketPeerUdp, PacketPeerUdp) {
    let mut home = socket(world, HOME);
    say(&mut home, ANNA, "hello");
    world.poll();
    let mut anna = world.server.take_connection().expect("the hello makes a connection");
    assert_eq!(heard(&mut anna), ["hello"]);
    (home, anna)
}

fn moved(world: &mut World) -> Vec<Moved> {
    let mut moved = Vec::new();
    world.server.take_moved(&mut moved);
    moved
}

/// From where to where, for each move since this was asked last.
fn moves(world: &mut World) -> Vec<(SocketAddr, SocketAddr)> {
    moved(world).iter().map(|moved| (moved.from, moved.to)).collect()
}

#[track_caller]
fn assert_equations_hold(world: &World, peers: &[&PacketPeerUdp]) {
    let stats = world.server.stats();
    assert_eq!(stats.received, stats.delivered + stats.queued + stats.consumed + stats.drops.total(), "{stats:#?}");
    for peer in peers {
        let stats = peer.stats();
        assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total(), "{stats:#?}");
    }
}

// Who is who.

#[test]
fn two_connections_behind_one_address_are_two_peers_and_are_never_mixed() {
    let mut world = world(ids());
    let mut home = socket(&world, HOME);
    say(&mut home, ANNA, "I am Anna");
    say(&mut home, BERT, "I am Bert");
    assert_eq!(world.poll().new_connections, 2);
    let mut anna = world.server.take_connection().unwrap();
    let mut bert = world.server.take_connection().unwrap();
    assert_eq!((anna.connection_id(), bert.connection_id()), (Some(ANNA), Some(BERT)));
    assert_eq!((anna.remote_addr(), bert.remote_addr()), (Some(addr(HOME)), Some(addr(HOME))));

    for round in 0..100 {
        say(&mut home, if round % 3 == 0 { ANNA } else { BERT }, &round.to_string());
    }
    world.poll();
    let of = |wanted: bool| (0..100).filter(move |round| (round % 3 == 0) == wanted).map(|round| round.to_string());
    assert_eq!(heard(&mut anna)[1..], of(true).collect::<Vec<_>>());
    assert_eq!(heard(&mut bert)[1..], of(false).collect::<Vec<_>>());
    assert_equations_hold(&world, &[&anna, &bert]);

    // One's end is not the other's.
    drop(anna);
    say(&mut home, BERT, "still here");
    assert_eq!(world.poll().closed, 1);
    assert_eq!(heard(&mut bert), ["still here"]);
}

#[test]
fn a_peer_is_found_by_its_id() {
    let mut world = world(ids());
    let (mut home, anna) = anna_at_home(&mut world);
    say(&mut home, BERT, "not taken yet");
    world.poll();
    assert_eq!(world.server.find_connection(ANNA), Some(anna.id()));
    assert_eq!(world.server.find_connection(BERT), None, "a pending connection is no peer");
    assert_eq!(world.server.find(addr(HOME)), None, "nobody is known by that address");
    assert_eq!(world.server.peers().collect::<Vec<_>>(), [(anna.id(), addr(HOME))]);
    drop(anna);
    assert_eq!(world.server.find_connection(ANNA), None);
}

#[test]
fn who_has_ended_is_new_when_the_id_comes_again() {
    let mut world = world(ids());
    let (mut home, anna) = anna_at_home(&mut world);
    let before = anna.id();
    drop(anna);
    say(&mut home, ANNA, "again");
    let report = world.poll();
    assert_eq!((report.closed, report.new_connections), (1, 1));
    let mut anna = world.server.take_connection().unwrap();
    assert_ne!(anna.id(), before);
    assert_eq!(heard(&mut anna), ["again"]);
}

#[test]
fn an_unknown_id_meets_the_filter_and_the_limits() {
    let limits = Limits::new().max_pending_connections(2).max_peers(3).max_pending_per_ip(2);
    let mut world = world_with_limits(ids(), limits);
    world.server.set_filter(|datagram: &FirstDatagram<'_>, _| match datagram.id {
        Some(ConnectionId(0)) => Verdict::Ignore,
        _ => Verdict::Accept,
    });
    let mut home = socket(&world, HOME);
    for id in [0, 1, 2, 3] {
        say(&mut home, ConnectionId(id), "");
    }
    assert_eq!(world.poll().new_connections, 2);
    let drops = world.server.stats().drops;
    assert_eq!((drops.filtered, drops.pending_full, drops.total()), (1, 1, 2));

    let _peers = [world.server.take_connection().unwrap(), world.server.take_connection().unwrap()];
    [3, 4].into_iter().for_each(|id| say(&mut home, ConnectionId(id), ""));
    assert_eq!(world.poll().new_connections, 1);
    assert_eq!(world.server.stats().drops.peers_full, 1);

    world.server.set_limits(Limits::new().max_pending_per_ip(1)).unwrap();
    say(&mut home, ConnectionId(4), "");
    say(&mut home, ConnectionId(1), "who is known, is not asked");
    world.poll();
    assert_eq!(world.server.stats().drops.pending_per_ip_full, 1);
    world.server.drain();
    say(&mut home, ConnectionId(5), "");
    world.poll();
    assert_eq!(world.server.stats().drops.draining, 1 + 1, "what was pending, and what came");
    assert_equations_hold(&world, &[]);
}

// Datagrams without an id.

#[test]
fn a_datagram_without_an_id_is_dropped_and_counted() {
    let mut world = world(ids());
    let (mut home, mut anna) = anna_at_home(&mut world);
    for bytes in [&b""[..], b"#", b"#1234567", b"hello, nice to meet you"] {
        home.put_packet(bytes).unwrap();
    }
    let report = world.poll();
    assert_eq!((report.received, report.dropped, report.new_connections), (4, 4, 0));
    assert_eq!(world.server.stats().drops.no_id, 4);
    assert_eq!(heard(&mut anna), [""; 0], "not even from the address of a peer");
    assert_equations_hold(&world, &[&anna]);
}

#[test]
fn the_filter_may_take_or_answer_a_datagram_without_an_id_but_not_let_it_in() {
    let mut world = world(ids());
    world.server.set_filter(|datagram, reply| {
        assert_eq!(datagram.id, read_id(datagram.bytes));
        match datagram.bytes {
            b"ignore" => Verdict::Ignore,
            b"consume" => Verdict::Consume,
            b"accept" => Verdict::Accept,
            _ => {
                reply.extend_from_slice(b"use #...");
                Verdict::Reply
            }
        }
    });
    let mut home = socket(&world, HOME);
    for text in ["ignore", "consume", "accept", "any id?!", "id?"] {
        home.put_packet(text.as_bytes()).unwrap();
    }
    let report = world.poll();
    assert_eq!((report.received, report.consumed, report.dropped, report.new_connections), (5, 2, 3, 0));
    let drops = world.server.stats().drops;
    assert_eq!((drops.filtered, drops.no_id, drops.reply_too_long), (1, 1, 1));
    assert_eq!(poll_texts(&mut home), ["use #..."]);
    assert_equations_hold(&world, &[]);
}

#[test]
fn beside_those_known_by_id_others_may_be_known_by_address() {
    let mut world = world(ids().without_id(WithoutId::ByAddress));
    let (mut home, mut anna) = anna_at_home(&mut world);
    home.put_packet(b"no id, same address").unwrap();
    assert_eq!(world.poll().new_connections, 1);
    let mut nameless = world.server.take_connection().unwrap();
    assert_eq!(nameless.connection_id(), None);
    assert_eq!(world.server.find(addr(HOME)), Some(nameless.id()));

    home.put_packet(b"and more").unwrap();
    say(&mut home, ANNA, "mine");
    world.poll();
    assert_eq!(texts(&mut nameless), ["no id, same address", "and more"]);
    assert_eq!(heard(&mut anna), ["mine"]);

    // Who is known by address cannot move.
    socket(&world, AWAY).put_packet(b"and more").unwrap();
    let report = world.poll();
    assert_eq!((report.moved, report.new_connections), (0, 1));
    assert_equations_hold(&world, &[&anna, &nameless]);
}

// Moves.

#[test]
fn a_known_id_from_a_new_address_takes_the_peer_there() {
    let mut world = world(ids());
    let (mut home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);
    say(&mut away, ANNA, "I am elsewhere now");
    say(&mut away, ANNA, "and stay");
    let report = world.poll();
    assert_eq!((report.moved, report.queued, report.new_connections), (1, 2, 0));
    assert_eq!(anna.remote_addr(), Some(addr(AWAY)));
    assert_eq!(world.server.peers().collect::<Vec<_>>(), [(anna.id(), addr(AWAY))]);
    assert_eq!(heard(&mut anna), ["I am elsewhere now", "and stay"]);
    assert_eq!(anna.packet_addr(), Some(addr(AWAY)));
    assert_eq!(world.server.stats().connections.moved, 1);

    anna.put_packet(b"welcome").unwrap();
    assert_eq!(world.server.broadcast(b"to all").unwrap().sent, 1);
    assert_eq!(poll_texts(&mut away), ["welcome", "to all"]);
    assert_eq!(poll_texts(&mut home), [""; 0]);

    let reported = moved(&mut world);
    assert_eq!(reported.len(), 1);
    assert_eq!((reported[0].peer, reported[0].from, reported[0].to), (anna.id(), addr(HOME), addr(AWAY)));
    assert_eq!(moved(&mut world), [], "once");
    assert_eq!(world.poll().moved, 0);
    assert_equations_hold(&world, &[&anna]);
}

#[test]
fn a_move_nobody_asks_for_is_forgotten_by_the_second_poll_after_it() {
    let mut world = world(ids());
    let (_home, _anna) = anna_at_home(&mut world);
    say(&mut socket(&world, AWAY), ANNA, "");
    world.poll();
    world.poll();
    assert_eq!(moved(&mut world), []);
}

#[test]
fn a_connection_moves_between_the_ip_versions() {
    let config = ServerConfig::new().identity(Identity::ConnectionId(ids()));
    let network = packetpeer::sim::Network::new();
    let host = network.host(SERVER.ip()).with_address("2001:db8::1".parse::<std::net::IpAddr>().unwrap());
    let mut server = packetpeer::UdpServer::with_transport(config, host).unwrap();
    server.listen(SERVER.port()).unwrap();
    let mut world = World { network, server };
    let (_home, mut anna) = anna_at_home(&mut world);
    let mut v6 = PacketPeerUdp::with_transport(world.network.host(addr("[2001:db8::2]:1").ip()));
    v6.connect_to_host(addr("[2001:db8::1]:7777")).unwrap();
    say(&mut v6, ANNA, "");
    world.poll();
    assert_eq!(anna.remote_addr(), v6.local_addr());
    assert_eq!(anna.max_packet_size(), 65_527);
    anna.put_packet(b"over there").unwrap();
    assert_eq!(poll_texts(&mut v6), ["over there"]);
}

#[test]
fn what_waits_to_be_sent_goes_to_where_the_peer_is_by_then() {
    let config = ServerConfig::new().identity(Identity::ConnectionId(ids())).send_mode(SendMode::OnFlush);
    let mut world = World::with_config(config);
    let (mut home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);
    say(&mut away, ANNA, "");
    anna.put_packet(b"before the poll that moves her").unwrap(); // which begins with a flush
    world.poll();
    anna.put_packet(b"after it").unwrap();
    world.server.flush().unwrap();
    assert_eq!(poll_texts(&mut home), ["before the poll that moves her"]);
    assert_eq!(poll_texts(&mut away), ["after it"]);
}

#[test]
fn a_pending_connection_moves_too() {
    let mut world = world(ids());
    let mut home = socket(&world, HOME);
    say(&mut home, ANNA, "from home");
    world.poll();
    say(&mut socket(&world, AWAY), ANNA, "from away");
    let report = world.poll();
    assert_eq!((report.moved, report.new_connections), (1, 0));
    let mut anna = world.server.take_connection().unwrap();
    assert_eq!(anna.remote_addr(), Some(addr(AWAY)));
    assert_eq!(heard(&mut anna), ["from home", "from away"]);
}

#[test]
fn a_move_can_be_refused() {
    let mut world = world(ids().on_move(OnMove::refuse()));
    let (mut home, mut anna) = anna_at_home(&mut world);
    let mut thief = socket(&world, AWAY);
    say(&mut thief, ANNA, "I am Anna");
    let report = world.poll();
    assert_eq!((report.received, report.dropped, report.moved, report.queued), (1, 1, 0, 0));
    assert_eq!((world.server.stats().drops.move_refused, anna.stats().drops.move_refused), (1, 1));
    assert_eq!(anna.remote_addr(), Some(addr(HOME)));
    assert_eq!(moved(&mut world), []);

    say(&mut home, ANNA, "no, I am");
    world.poll();
    assert_eq!(heard(&mut anna), ["no, I am"]);
    anna.put_packet(b"I know").unwrap();
    assert_eq!((poll_texts(&mut home), poll_texts(&mut thief)), (vec!["I know".into()], vec![]));
    assert_equations_hold(&world, &[&anna]);
}

/// Demands proof of whoever comes from a new address.
fn ask_for_proof(attempt: &MoveAttempt<'_>, challenge: &mut Vec<u8>) -> MoveVerdict {
    assert_eq!((attempt.id, Some(attempt.id)), (ANNA, read_id(attempt.bytes)));
    match &attempt.bytes[9..] {
        b"proof" => MoveVerdict::Follow,
        b"lie" => MoveVerdict::Refuse,
        b"padding" => {
            challenge.extend_from_slice(b"prove it, please");
            MoveVerdict::Challenge
        }
        _ => {
            challenge.extend_from_slice(&[b'?'; 20]);
            MoveVerdict::Challenge
        }
    }
}

#[test]
fn a_move_can_demand_proof_from_the_new_address() {
    let mut world = world(ids().on_move(OnMove::ask(ask_for_proof)));
    let (mut home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);

    say(&mut away, ANNA, "padding"); // 16 bytes, and so has the challenge
    let report = world.poll();
    assert_eq!((report.consumed, report.moved, report.queued), (1, 0, 0));
    assert_eq!(poll_texts(&mut away), ["prove it, please"]);
    say(&mut away, ANNA, "lie");
    assert_eq!(world.poll().dropped, 1);
    assert_eq!((anna.remote_addr(), anna.stats().drops.move_refused), (Some(addr(HOME)), 1));
    assert_eq!(poll_texts(&mut home), [""; 0], "the old address hears nothing of it");

    say(&mut away, ANNA, "proof");
    let report = world.poll();
    assert_eq!((report.consumed, report.moved, report.queued), (0, 1, 1));
    assert_eq!(moves(&mut world), [(addr(HOME), addr(AWAY))]);
    assert_eq!(heard(&mut anna), ["proof"]);
    // From where she is, and from where she was, nobody is asked.
    say(&mut away, ANNA, "settled");
    say(&mut home, ANNA, "straggler");
    world.poll();
    assert_eq!(heard(&mut anna), ["settled", "straggler"]);
    assert_equations_hold(&world, &[&anna]);
}

#[test]
fn a_challenge_is_no_longer_than_what_was_received_and_within_the_budget() {
    let ids = ids().on_move(OnMove::ask(ask_for_proof));
    let mut world = world_with_limits(ids, Limits::new().max_replies_per_poll(2));
    let (_home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);
    say(&mut away, ANNA, "x");
    world.poll();
    assert_eq!((world.server.stats().drops.reply_too_long, anna.stats().drops.reply_too_long), (1, 1));
    for _ in 0..5 {
        say(&mut away, ANNA, "padding");
    }
    let report = world.poll();
    assert_eq!((report.consumed, report.dropped), (2, 3));
    assert_eq!((world.server.stats().drops.reply_budget, anna.stats().drops.reply_budget), (3, 3));
    assert_eq!(poll_texts(&mut away).len(), 2);
    assert_eq!((anna.remote_addr(), heard(&mut anna)), (Some(addr(HOME)), vec![]));
    assert_equations_hold(&world, &[&anna]);
}

#[test]
fn stragglers_from_the_old_address_are_delivered_for_a_time_and_then_they_are_a_move_back() {
    let mut world = world(ids().old_address_grace(millis(2_000)));
    let (mut home, mut anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);
    say(&mut away, ANNA, "moved");
    world.poll();
    say(&mut home, ANNA, "overtaken");
    world.poll_after(millis(2_000) - TICK);
    let straggler =
        [anna.get_packet().unwrap().unwrap(), anna.get_packet().unwrap().unwrap()].map(|packet| packet.sender());
    assert_eq!(straggler, [addr(AWAY), addr(HOME)]);
    assert_eq!(anna.remote_addr(), Some(addr(AWAY)));
    assert_eq!(moves(&mut world), [], "the move was two polls ago");

    say(&mut home, ANNA, "back");
    assert_eq!(world.poll_after(TICK).moved, 1);
    assert_eq!(moves(&mut world), [(addr(AWAY), addr(HOME))]);
    anna.put_packet(b"hello again").unwrap();
    assert_eq!((poll_texts(&mut home), poll_texts(&mut away)), (vec!["hello again".into()], vec![]));
    assert_eq!(world.server.stats().connections.moved, 2);
}

#[test]
fn without_a_grace_the_last_word_says_where_a_connection_is() {
    let mut world = world(ids().old_address_grace(Duration::ZERO));
    let (mut home, anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);
    say(&mut away, ANNA, "");
    say(&mut home, ANNA, "");
    say(&mut away, ANNA, "");
    assert_eq!(world.poll().moved, 3);
    assert_eq!(moves(&mut world), [(addr(HOME), addr(AWAY))], "each is told once");
    assert_eq!(anna.remote_addr(), Some(addr(AWAY)));
}

/// It was remembered of the last move alone where a connection had been, so that what had been overtaken by two moves
/// took it back to an address where nobody was any more, for the length of the grace.
#[test]
fn a_straggler_from_before_the_last_move_but_one_moves_nobody() {
    let mut world = world(ids());
    let (mut home, mut anna) = anna_at_home(&mut world);
    let (mut away, mut far_away) = (socket(&world, AWAY), socket(&world, FAR_AWAY));
    say(&mut away, ANNA, "first");
    say(&mut far_away, ANNA, "second");
    say(&mut home, ANNA, "overtaken twice");
    say(&mut away, ANNA, "overtaken");
    assert_eq!(world.poll().moved, 2);
    assert_eq!(anna.remote_addr(), Some(addr(FAR_AWAY)));
    assert_eq!(heard(&mut anna), ["first", "second", "overtaken twice", "overtaken"]);
}

#[test]
fn the_last_four_addresses_of_a_connection_are_remembered() {
    let mut world = world(ids());
    let mut sockets: Vec<_> = (1..=6).map(|port| socket(&world, &format!("10.0.4.4:{port}"))).collect();
    sockets.iter_mut().for_each(|socket| say(socket, ANNA, ""));
    assert_eq!(world.poll().moved, 5);
    sockets[1..].iter_mut().for_each(|socket| say(socket, ANNA, ""));
    assert_eq!(world.poll().moved, 0);
    say(&mut sockets[0], ANNA, "");
    assert_eq!(world.poll().moved, 1);
}

#[test]
fn silence_is_counted_over_moves_and_not_broken_by_who_may_not_move() {
    let limits = Limits::new().idle_timeout(Some(millis(1_000)));
    let mut world = world_with_limits(ids().on_move(OnMove::ask(ask_for_proof)), limits);
    let (_home, anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);
    say(&mut away, ANNA, "proof");
    assert_eq!(world.poll_after(millis(999)).moved, 1);
    assert_eq!(world.poll_after(millis(999)).idle, 0);
    for text in ["lie", "padding"] {
        say(&mut socket(&world, FAR_AWAY), ANNA, text);
    }
    let report = world.poll_after(millis(1));
    assert_eq!((report.idle, report.dropped, report.consumed), (1, 1, 1));
    assert_eq!(anna.close_reason(), Some(CloseReason::Idle));
    assert_eq!(world.server.find_connection(ANNA), None);
    let mut ended = Vec::new();
    world.server.take_ended(&mut ended);
    assert_eq!(ended, [(anna.id(), CloseReason::Idle)]);

    say(&mut away, ANNA, "anybody there?");
    assert_eq!(world.poll().new_connections, 1);
}

/// What is left of a cut datagram shows neither that its owner has moved nor that it is still there.
#[test]
fn a_cut_datagram_moves_nobody_and_keeps_nobody_alive_from_elsewhere() {
    let config = ServerConfig::new()
        .limits(Limits::new().idle_timeout(Some(millis(1_000))))
        .socket(SocketOptions::new().max_packet_size(20))
        .identity(Identity::ConnectionId(ids()));
    let mut world = World::with_config(config);
    let (mut home, mut anna) = anna_at_home(&mut world);
    say(&mut socket(&world, AWAY), ANNA, "three too long");
    let report = world.poll_after(millis(999));
    assert_eq!((report.dropped, report.moved), (1, 0));
    assert_eq!((world.server.stats().drops.too_large, anna.stats().drops.too_large), (1, 1));
    assert_eq!((anna.remote_addr(), heard(&mut anna)), (Some(addr(HOME)), vec![]));
    assert_eq!(world.poll_after(millis(1)).idle, 1);

    // From where she is, she lives.
    say(&mut home, ANNA, "");
    world.poll();
    let anna = world.server.take_connection().unwrap();
    say(&mut home, ANNA, "three too long");
    world.poll_after(millis(999));
    assert_eq!(world.poll_after(millis(1)).idle, 0);
    assert_eq!(anna.stats().drops.too_large, 1);
    assert_equations_hold(&world, &[&anna]);
}

// The server's side.

#[test]
fn an_id_that_was_closed_is_refused_from_wherever_it_comes() {
    let limits = Limits::new().after_close(AfterClose::Refuse(millis(1_000)));
    let mut world = world_with_limits(ids(), limits);
    let (mut home, anna) = anna_at_home(&mut world);
    let mut away = socket(&world, AWAY);
    world.server.close(anna.id()).unwrap();
    say(&mut home, ANNA, "");
    say(&mut away, ANNA, "");
    say(&mut home, BERT, "another player of the same household");
    let report = world.poll();
    assert_eq!((report.dropped, report.new_connections, report.moved), (2, 1, 0));
    assert_eq!(world.server.stats().drops.refused, 2);
    assert_eq!(world.server.take_connection().unwrap().connection_id(), Some(BERT));

    say(&mut away, ANNA, "");
    assert_eq!(world.poll_after(millis(1_000) - TICK).new_connections, 0);
    say(&mut away, ANNA, "");
    assert_eq!(world.poll_after(TICK).new_connections, 1);
}

#[test]
fn a_server_can_speak_first_to_an_id() {
    let limits = Limits::new().after_close(AfterClose::Refuse(millis(1_000))).max_peers(2);
    let mut world = world_with_limits(ids(), limits);
    let mut home = socket(&world, HOME);
    let mut anna = world.server.connect_as(addr(HOME), ANNA).unwrap();
    assert_eq!((anna.connection_id(), anna.remote_addr()), (Some(ANNA), Some(addr(HOME))));
    assert_eq!(world.server.find_connection(ANNA), Some(anna.id()));
    anna.put_packet(b"anybody there?").unwrap();
    assert_eq!(poll_texts(&mut home), ["anybody there?"]);

    // Her NAT gave her another port than we were told.
    let mut away = socket(&world, AWAY);
    say(&mut away, ANNA, "yes");
    assert_eq!(world.poll().moved, 1);
    assert_eq!(heard(&mut anna), ["yes"]);

    let known = world.server.connect_as(addr(FAR_AWAY), ANNA);
    assert!(matches!(known, Err(ConnectError::AlreadyKnown(id)) if id == anna.id()), "{known:?}");
    let mut bert = world.server.connect_as(addr(AWAY), BERT).unwrap();
    assert!(matches!(world.server.connect_as(addr(AWAY), ConnectionId(3)), Err(ConnectError::PeersFull)));
    assert!(matches!(world.server.connect_as(addr("10.0.0.9:0"), BERT), Err(ConnectError::NoPort)));

    // It lifts a refusal, also of one whose end no poll has seen yet.
    bert.close();
    let mut bert = world.server.connect_as(addr(AWAY), BERT).unwrap();
    say(&mut away, BERT, "me again");
    world.poll();
    assert_eq!(heard(&mut bert), ["me again"]);
    assert_eq!(world.server.stats().connections.connected, 3);
}

#[test]
fn a_pending_id_that_is_connected_to_stays_where_it_has_spoken() {
    let mut world = world(ids());
    say(&mut socket(&world, HOME), ANNA, "first");
    world.poll();
    let mut anna = world.server.connect_as(addr(AWAY), ANNA).unwrap();
    assert_eq!((world.server.pending_count(), world.server.peer_count()), (0, 1));
    assert_eq!((anna.remote_addr(), heard(&mut anna)), (Some(addr(HOME)), vec!["first".into()]));
}

#[test]
fn a_server_that_goes_by_ids_can_speak_first_to_an_address_where_it_knows_some_by_it() {
    let mut world = world(ids().without_id(WithoutId::ByAddress));
    let mut home = socket(&world, HOME);
    let mut nameless = world.server.connect(addr(HOME)).unwrap();
    home.put_packet(b"no id, but expected").unwrap();
    say(&mut home, ANNA, "somebody else");
    assert_eq!(world.poll().new_connections, 1);
    assert_eq!(texts(&mut nameless), ["no id, but expected"]);
    assert_eq!(nameless.connection_id(), None);
}

/// Such a peer could speak, but never be heard: no datagram would be looked up by its id.
#[test]
fn a_server_that_goes_by_addresses_connects_to_no_id() {
    let mut world = World::new();
    assert!(matches!(world.server.connect_as(addr(HOME), ANNA), Err(ConnectError::NoConnectionIds)));
    assert_eq!(world.server.peer_count(), 0);
}

#[test]
fn whatever_comes_is_read_without_a_panic_and_counted() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut world = world(ids());
    let mut sockets = [HOME, AWAY].map(|at| socket(&world, at));
    let mut peers = Vec::new();
    for _ in 0..2_000 {
        let mut bytes: Vec<u8> = (0..rng.usize(..24)).map(|_| rng.u8(..)).collect();
        // Left to chance no id comes twice.
        if let (Some(first), true) = (bytes.first_mut(), rng.bool()) {
            *first = b'#';
        }
        bytes.iter_mut().skip(1).take(8).for_each(|byte| *byte %= 2);
        rng.choice(&mut sockets).unwrap().put_packet(&bytes).unwrap();
        if rng.u8(..4) == 0 {
            world.poll();
            peers.extend(world.server.take_connection());
            peers.iter_mut().for_each(|peer| while peer.get_packet().unwrap().is_some() {});
            assert_equations_hold(&world, &peers.iter().collect::<Vec<_>>());
        }
    }
    let stats = world.server.stats();
    assert!(stats.drops.no_id > 0 && stats.delivered > 0 && stats.connections.moved > 0, "{stats:#?}");
}
