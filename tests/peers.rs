//! A server's handles in one container: who joined, who has something to say, who left.

use std::net::SocketAddr;
use std::time::Instant;

use packetpeer::error::{PollError, UnknownPeer};
use packetpeer::stats::{FlushReport, PollReport, Stat};
use packetpeer::{
    CloseReason, Limits, PacketPeer, PacketPeerUdp, PacketServer, PeerId, Peers, ServerConfig, UdpServer,
};

mod util;
use util::{SERVER, World, assert_counts, millis};

/// A server, the container of its handles with a number for each, and what it was told.
struct Hall {
    world: World,
    peers: Peers<UdpServer, u32>,
    joined: u32,
    /// Numbers of those that left, why, and what had not been read.
    left: Vec<(u32, CloseReason, Vec<String>)>,
}

impl Hall {
    fn new() -> Self {
        Self::with_limits(Limits::new())
    }

    fn with_limits(limits: Limits) -> Self {
        Self { world: World::with_limits(limits), peers: Peers::new(), joined: 0, left: Vec::new() }
    }

    /// With this many clients, numbered from 1 on, each of which has said hello and has been heard.
    fn with_clients(clients: u8) -> (Self, Vec<PacketPeerUdp>) {
        let mut hall = Self::new();
        let mut clients: Vec<_> = (1..=clients).map(|number| hall.world.client(number)).collect();
        say(&mut clients, "hello");
        hall.frame();
        assert_eq!(hall.peers.len(), clients.len());
        hall.read_all();
        (hall, clients)
    }

    fn frame(&mut self) {
        self.world.poll();
        self.update();
    }

    fn update(&mut self) {
        let joined = &mut self.joined;
        self.peers.update(
            &mut self.world.server,
            |_, _| {
                *joined += 1;
                Some(*joined)
            },
            |_, mut peer, number, reason| {
                assert_eq!(peer.close_reason(), Some(reason));
                self.left.push((number, reason, texts_of(&mut peer)));
            },
        );
    }

    /// What the ready ones have said, in their order.
    fn read_all(&mut self) -> Vec<(u32, String)> {
        let mut read = Vec::new();
        while let Some((id, peer, &mut number)) = self.peers.next_ready() {
            assert_eq!(peer.id(), id);
            read.extend(texts_of(peer).into_iter().map(|text| (number, text)));
        }
        read
    }

    fn ready_numbers(&mut self) -> Vec<u32> {
        std::iter::from_fn(|| self.peers.next_ready().map(|(_, _, &mut number)| number)).collect()
    }

    fn id_of(&self, number: u32) -> PeerId {
        self.peers.iter().find(|&(_, _, &other)| other == number).expect("it is here").0
    }

    /// Who left since this was asked last, and why.
    fn take_left(&mut self) -> Vec<(u32, CloseReason)> {
        self.left.drain(..).map(|(number, reason, _)| (number, reason)).collect()
    }

    fn here(&self) -> Vec<u32> {
        self.peers.iter().map(|(_, _, &number)| number).collect()
    }
}

/// Everything that waits, until there is nothing or the peer has ended.
fn texts_of(peer: &mut impl PacketPeer) -> Vec<String> {
    std::iter::from_fn(|| peer.get_packet().ok().flatten())
        .map(|packet| String::from_utf8(packet.into_vec()).unwrap())
        .collect()
}

fn say(clients: &mut [PacketPeerUdp], text: &str) {
    clients.iter_mut().for_each(|client| client.put_packet(text.as_bytes()).unwrap());
}

#[test]
fn one_call_tells_who_joined_who_has_packets_and_who_left() {
    let (mut hall, mut clients) = Hall::with_clients(3);
    assert_eq!(hall.here(), [1, 2, 3]);
    assert_eq!(hall.peers.iter().map(|(id, ..)| id.index()).collect::<Vec<_>>(), [0, 1, 2]);

    hall.world.server.close(hall.id_of(1)).unwrap();
    clients[2].put_packet(b"two").unwrap();
    let mut late = hall.world.client(4);
    late.put_packet(b"four").unwrap();
    hall.frame();
    assert_eq!(hall.take_left(), [(1, CloseReason::Closed)]);
    assert_eq!(hall.read_all(), [(3, "two".into()), (4, "four".into())]);
    assert_eq!(hall.here(), [4, 2, 3], "the last takes the place of the one that left");
}

#[test]
fn a_peer_that_is_not_drained_is_ready_again_at_the_next_update() {
    let (mut hall, mut clients) = Hall::with_clients(2);
    say(&mut clients, "first");
    say(&mut clients, "second");
    hall.frame();
    let (_, peer, _) = hall.peers.next_ready().unwrap();
    assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"first");
    // The other one is not even looked at in this frame.
    hall.frame();
    assert_eq!(
        hall.read_all(),
        [(1, "second"), (2, "first"), (2, "second")].map(|(number, text)| (number, text.to_owned()))
    );
    assert!(hall.peers.next_ready().is_none());
    hall.update();
    assert!(hall.peers.next_ready().is_none(), "all have been drained");
}

#[test]
fn who_is_refused_is_in_no_list_from_then_on() {
    let mut world = World::new();
    let mut peers: Peers<UdpServer> = Peers::new();
    let mut clients = [1, 2].map(|number| world.client(number));
    say(&mut clients, "hello");
    world.poll();
    let mut seen = 0;
    let mut joined = |_: &mut UdpServer, peer: &mut PacketPeerUdp| {
        seen += 1;
        assert_eq!(texts_of(peer), ["hello"]);
        peer.put_packet(if seen == 1 { b"full" } else { b"welcome" }).unwrap();
        (seen == 2).then_some(())
    };
    peers.update(&mut world.server, &mut joined, |_, _, (), _| panic!("nobody left"));
    assert_eq!(clients.each_mut().map(util::poll_texts), [["full"], ["welcome"]]);
    assert_eq!(peers.len(), 1);
    assert_eq!(world.poll().closed, 1);
    peers.update(&mut world.server, joined, |_, _, (), _| panic!("it was never in"));
    assert_eq!((peers.len(), world.server.peer_count()), (1, 1));
}

#[test]
fn a_peer_that_the_game_closes_leaves_once_with_what_it_holds() {
    let (mut hall, mut clients) = Hall::with_clients(2);
    say(&mut clients, "last words");
    hall.frame();
    let id = hall.id_of(1);
    hall.peers.get_mut(id).unwrap().0.close();
    assert!(hall.peers.contains(id), "until the next poll has taken it up");
    hall.frame();
    assert_eq!(hall.left, [(1, CloseReason::Closed, vec!["last words".to_owned()])]);
    assert!(!hall.peers.contains(id) && hall.peers.get(id).is_none());
    assert_eq!(hall.ready_numbers(), [2]);
    hall.frame();
    assert_eq!(hall.left.len(), 1);
}

#[test]
fn a_peer_closed_while_it_is_on_the_ready_list_is_still_handed_out() {
    let (mut hall, mut clients) = Hall::with_clients(2);
    say(&mut clients, "words");
    hall.frame();
    let id = hall.id_of(1);
    hall.world.server.close(id).unwrap();
    assert_eq!(hall.read_all(), [(1, "words".into()), (2, "words".into())]);
    hall.frame();
    assert_eq!(hall.left, [(1, CloseReason::Closed, vec![])]);
}

#[test]
fn a_peer_that_ends_before_it_was_ever_in_an_update_joins_and_leaves_in_the_same() {
    let mut hall = Hall::new();
    let client = hall.world.server.connect("10.0.1.1:5".parse::<SocketAddr>().unwrap()).unwrap();
    let id = client.id();
    hall.world.server.close(id).unwrap();
    assert!(hall.peers.insert(client, 7).is_none());
    hall.update();
    assert_eq!(hall.take_left(), [(7, CloseReason::Closed)]);

    // And one that its joining closes is kept until the next poll has seen that.
    let mut client = hall.world.client(1);
    client.put_packet(b"hello").unwrap();
    hall.world.poll();
    hall.peers.update(
        &mut hall.world.server,
        |_, peer| {
            peer.close();
            Some(8)
        },
        |_, _, _, _| panic!("not yet"),
    );
    hall.frame();
    assert_eq!(hall.left, [(8, CloseReason::Closed, vec!["hello".to_owned()])]);
}

#[test]
fn silent_peers_leave_as_idle() {
    let mut hall = Hall::with_limits(Limits::new().idle_timeout(Some(millis(100))));
    let mut clients = [1, 2].map(|number| hall.world.client(number));
    say(&mut clients, "hello");
    hall.frame();
    hall.world.network.advance(millis(60));
    say(&mut clients[..1], "here");
    hall.frame();
    hall.world.network.advance(millis(60));
    hall.frame();
    assert_eq!(hall.left, [(2, CloseReason::Idle, vec!["hello".to_owned()])]);
    assert_eq!(hall.read_all(), [(1, "hello".into()), (1, "here".into())]);
}

#[test]
fn a_stopped_server_leaves_nobody_and_can_begin_again() {
    let (mut hall, mut clients) = Hall::with_clients(3);
    say(&mut clients, "unread");
    hall.frame();
    hall.world.server.stop();
    hall.update();
    assert_eq!(hall.left.iter().map(|(number, ..)| *number).collect::<Vec<_>>().len(), 3);
    for (_, reason, unread) in &hall.left {
        assert_eq!((*reason, unread.as_slice()), (CloseReason::ServerStopped, &["unread".to_owned()][..]));
    }
    assert!(hall.peers.is_empty() && hall.peers.next_ready().is_none());
    hall.update();
    assert_eq!(hall.left.len(), 3);

    hall.world.server.listen(SERVER).unwrap();
    say(&mut clients, "again");
    hall.frame();
    assert_eq!(hall.here(), [4, 5, 6]);
}

#[test]
fn those_that_ended_in_frames_left_out_are_found() {
    let (mut hall, _clients) = Hall::with_clients(4);
    hall.world.server.close(hall.id_of(1)).unwrap();
    hall.world.server.close(hall.id_of(4)).unwrap();
    for _ in 0..5 {
        hall.world.poll();
    }
    let mut told = Vec::new();
    hall.world.server.take_ended(&mut told);
    assert_eq!(told, [], "the server has forgotten that by now");
    hall.update();
    assert_eq!(hall.take_left(), [(1, CloseReason::Closed), (4, CloseReason::Closed)]);
    assert_eq!(hall.here(), [3, 2]);
}

#[test]
fn a_peer_that_was_removed_is_told_to_nobody() {
    let (mut hall, mut clients) = Hall::with_clients(3);
    say(&mut clients, "words");
    hall.frame();
    let id = hall.id_of(1);
    let (peer, number) = hall.peers.remove(id).unwrap();
    assert_eq!((peer.id(), number), (id, 1));
    assert!(hall.peers.remove(id).is_none());
    drop(peer);
    assert_eq!(hall.read_all(), [(2, "words".into()), (3, "words".into())]);
    hall.frame();
    assert_eq!(hall.left, []);
    assert_eq!(hall.here(), [3, 2]);
    hall.peers.iter_mut().for_each(|(_, _, number)| *number += 10);
    assert_eq!(hall.here(), [13, 12]);
}

#[test]
fn those_who_are_there_can_be_told_who_comes_and_goes() {
    let mut world = World::new();
    let mut peers: Peers<UdpServer, String> = Peers::new();
    let mut clients = ["ada", "bob"].map(|name| {
        let mut client = world.client(name.as_bytes()[0]);
        client.put_packet(name.as_bytes()).unwrap();
        client
    });
    for frame in 0..2 {
        world.poll();
        peers.update(
            &mut world.server,
            |server, peer| {
                let name = texts_of(peer).concat();
                server.broadcast(format!("{name} comes").as_bytes()).unwrap();
                Some(name)
            },
            |server, _, name, _| {
                server.broadcast(format!("{name} goes").as_bytes()).unwrap();
            },
        );
        if frame == 0 {
            let (_, bob, _) = peers.iter_mut().find(|(_, _, name)| *name == "bob").unwrap();
            bob.close();
        }
    }
    assert_eq!(util::poll_texts(&mut clients[0]), ["ada comes", "bob comes", "bob goes"]);
}

#[test]
fn a_socket_that_fails_leaves_nobody() {
    let mut hall = Hall::new();
    let noisy = util::noisy::Noisy::new(hall.world.network.host([10, 0, 0, 9]));
    hall.world.server = UdpServer::with_transport(ServerConfig::new(), noisy.clone()).unwrap();
    hall.world.server.listen("10.0.0.9:7777").unwrap();
    let mut client = PacketPeerUdp::with_transport(hall.world.another_host());
    client.connect_to_host("10.0.0.9:7777").unwrap();
    client.put_packet(b"hello").unwrap();
    hall.frame();
    noisy.script([util::noisy::Step::Fail(std::io::ErrorKind::NotConnected)]);
    assert!(matches!(hall.world.server.poll(), Err(PollError::SocketFailed(_))));
    hall.update();
    assert_eq!(hall.left, [(1, CloseReason::SocketFailed, vec!["hello".to_owned()])]);
}

#[test]
fn dropping_the_container_ends_all_in_it() {
    let (mut hall, _clients) = Hall::with_clients(2);
    drop(std::mem::take(&mut hall.peers));
    assert_eq!(hall.world.poll().closed, 2);
    assert_eq!(hall.world.server.peer_count(), 0);
}

#[test]
fn the_same_calls_make_the_same_order() {
    let run = || {
        let (mut hall, mut clients) = Hall::with_clients(16);
        let mut orders = vec![hall.here()];
        for number in [3, 16, 4, 11, 9] {
            hall.world.server.close(hall.id_of(number)).unwrap();
        }
        clients.reverse();
        say(&mut clients, "words");
        hall.frame();
        orders.push(hall.ready_numbers());
        orders.push(hall.here());
        orders.push(hall.take_left().into_iter().map(|(number, _)| number).collect());
        orders
    };
    let first = run();
    assert_eq!(first[3], [3, 16, 4, 11, 9]);
    assert_eq!(run(), first);
}

/// A server whose handles are boxed, as one of several kinds of peers would have them.
#[derive(Debug)]
struct Boxed(UdpServer);

impl PacketServer for Boxed {
    type Peer = Box<dyn PacketPeer>;

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        self.0.poll_at(now)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn flush(&mut self) -> Result<FlushReport, PollError> {
        self.0.flush()
    }

    fn take_connection(&mut self) -> Option<Self::Peer> {
        self.0.take_connection().map(|peer| Box::new(peer) as _)
    }

    fn ready(&mut self, ids: &mut Vec<PeerId>) {
        self.0.ready(ids);
    }

    fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        self.0.take_ended(ended);
    }

    fn peer_count(&self) -> usize {
        self.0.peer_count()
    }

    fn pending_count(&self) -> usize {
        self.0.pending_count()
    }

    fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        self.0.close(id)
    }

    fn drain(&mut self) {
        self.0.drain();
    }

    fn is_draining(&self) -> bool {
        self.0.is_draining()
    }

    fn stop(&mut self) {
        self.0.stop();
    }

    fn is_listening(&self) -> bool {
        self.0.is_listening()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.0.local_addr()
    }

    fn visit_stats(&self, visit: &mut dyn FnMut(Stat)) {
        self.0.visit_stats(visit);
    }
}

/// A game that knows nothing of its server: it echoes, and is taken down when the last has left. Returns what happened.
fn play<S: PacketServer + ?Sized>(server: &mut S, clients: &mut [PacketPeerUdp]) -> Vec<String> {
    assert!(server.is_listening() && !server.is_draining());
    assert_eq!(server.local_addr(), Some(SERVER));
    let mut peers: Peers<S, u32> = Peers::new();
    let mut events = Vec::new();
    let mut number = 0;
    for frame in 0..4 {
        match frame {
            0 | 1 => say(clients, "hello"),
            2 => server.drain(),
            _ => peers.iter_mut().for_each(|(_, peer, _)| peer.close()),
        }
        let report = server.poll().unwrap();
        assert_eq!(server.is_connection_available(), report.new_connections > 0);
        let mut left = Vec::new();
        peers.update(
            server,
            |_, _| {
                number += 1;
                Some(number)
            },
            |_, _, number, reason| left.push(format!("{number} left: {reason}")),
        );
        events.append(&mut left);
        while let Some((_, peer, number)) = peers.next_ready() {
            for text in texts_of(peer) {
                peer.put_packet(text.as_bytes()).unwrap();
                events.push(format!("{number}: {text}"));
            }
        }
        server.flush().unwrap();
        assert_counts!(server, pending_count(): 0, peer_count(): peers.len());
        assert_eq!(server.is_drained(), frame == 3);
    }
    for client in clients {
        assert_eq!(util::poll_texts(client), ["hello", "hello"]);
    }
    let mut sent = None;
    server.visit_stats(&mut |stat| {
        if (stat.group, stat.name) == ("server", "sent") {
            sent = Some(stat.value);
        }
    });
    assert_eq!(sent, Some(4));
    server.stop();
    assert!(!server.is_listening() && matches!(server.poll(), Err(PollError::NotOpen)));
    events
}

#[test]
fn a_game_above_the_trait_runs_on_servers_of_every_shape() {
    let events =
        ["1: hello", "2: hello", "1: hello", "2: hello", "1 left: closed on this side", "2 left: closed on this side"];
    let world = || {
        let world = World::new();
        let clients = [1, 2].map(|number| world.client(number));
        (world.server, clients)
    };
    let (mut server, mut clients) = world();
    assert_eq!(play(&mut server, &mut clients), events);

    let (mut server, mut clients) = world();
    let server: &mut dyn PacketServer<Peer = PacketPeerUdp> = &mut server;
    assert_eq!(play(server, &mut clients), events);

    let (server, mut clients) = world();
    let mut server: Box<dyn PacketServer<Peer = Box<dyn PacketPeer>>> = Box::new(Boxed(server));
    assert_eq!(play(&mut server, &mut clients), events);

    let (server, mut clients) = world();
    assert_eq!(play(&mut &mut Boxed(server), &mut clients), events);
}

#[test]
fn a_server_shows_all_its_numbers_each_under_a_name_of_its_own() {
    let (hall, _clients) = Hall::with_clients(2);
    let server = &hall.world.server;
    let mut shown = Vec::new();
    server.visit_stats(&mut |stat| shown.push(stat));
    let expected: Vec<Stat> = server.stats().iter().chain(server.table_sizes().iter()).collect();
    assert_eq!(shown, expected);
    let names: std::collections::HashSet<_> = shown.iter().map(|stat| (stat.group, stat.name)).collect();
    assert_eq!(names.len(), shown.len());
}

/// A server that says of its peers what is not so, and gives them ids that are not its own.
#[derive(Debug)]
struct Liar {
    ids: Vec<PeerId>,
    to_take: Vec<PacketPeerUdp>,
    ended: Vec<(PeerId, CloseReason)>,
    peer_count: usize,
}

impl PacketServer for Liar {
    type Peer = PacketPeerUdp;

    fn poll_at(&mut self, _now: Instant) -> Result<PollReport, PollError> {
        Ok(PollReport::default())
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn flush(&mut self) -> Result<FlushReport, PollError> {
        Ok(FlushReport::default())
    }

    fn take_connection(&mut self) -> Option<Self::Peer> {
        self.to_take.pop()
    }

    fn ready(&mut self, ids: &mut Vec<PeerId>) {
        ids.extend(&self.ids);
    }

    fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        ended.extend(&self.ended);
    }

    fn peer_count(&self) -> usize {
        self.peer_count
    }

    fn pending_count(&self) -> usize {
        self.to_take.len()
    }

    fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        Err(UnknownPeer(id))
    }

    fn drain(&mut self) {}

    fn is_draining(&self) -> bool {
        false
    }

    fn stop(&mut self) {}

    fn is_listening(&self) -> bool {
        true
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }

    fn visit_stats(&self, _visit: &mut dyn FnMut(Stat)) {}
}

#[test]
fn what_a_server_says_wrongly_is_nobodys_harm() {
    let (mut one, mut other, stranger) = (World::new(), World::new(), PeerId::stand_alone());
    let here = [one.pair(1).1, other.pair(1).1, PacketPeerUdp::new()];
    let ids = here.each_ref().map(PacketPeerUdp::id);
    let listed = vec![stranger, ids[0], ids[0], ids[2], stranger, ids[1]];
    let mut server = Liar { ids: listed, to_take: Vec::from(here), ended: Vec::new(), peer_count: usize::MAX };
    let mut peers: Peers<Liar> = Peers::new();
    for peer_count in [usize::MAX, 0] {
        server.peer_count = peer_count;
        peers.update(&mut server, |_, _| Some(()), |_, _, (), reason| panic!("nobody ends, and not by {reason}"));
        let ready: Vec<_> = std::iter::from_fn(|| peers.next_ready().map(|(id, ..)| id)).collect();
        assert_eq!(ready, [ids[0], ids[0], ids[2], ids[1]]);
        assert!(peers.next_ready().is_none());
    }
    server.ended = vec![(stranger, CloseReason::Idle), (ids[1], CloseReason::Reset), (ids[1], CloseReason::Idle)];
    let mut left = Vec::new();
    for _ in 0..2 {
        peers.update(&mut server, |_, _| None, |_, peer, (), reason| left.push((peer.id(), reason)));
    }
    assert_eq!(left, [(ids[1], CloseReason::Reset)]);
    assert_eq!(peers.len(), 2);
}
