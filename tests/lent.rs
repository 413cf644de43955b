//! What the simulation lends to transports of one's own: its clock, its links, seeds, and a queue over a link. A small
//! stream lives by them, beside a server and a client that speak UDP over the same network.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use packetpeer::sim::{BurstLoss, Fate, InFlight, Link, LinkEnd, Network};
use packetpeer::socket::Clock;
use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};

mod util;

use util::{SERVER, Trace, assert_counts, millis};

const CLIENT: [u8; 4] = [10, 0, 0, 2];
const SERVER_HOST: [u8; 4] = [10, 0, 0, 1];
const FRAME: Duration = Duration::from_nanos(1_000_000_000 / 60);

/// After this time without an acknowledgement something is sent again.
const RESEND: Duration = Duration::from_millis(300);

/// A stream in one direction: numbered chunks, which are sent again until they are acknowledged, and come out in order.
struct Stream {
    network: Network,
    clock: Clock,
    data: InFlight<(u32, Vec<u8>)>,
    acknowledgements: InFlight<u32>,
    /// What was sent and not acknowledged: when it is sent again, and what it is.
    unacknowledged: BTreeMap<u32, (Instant, Vec<u8>)>,
    next: u32,
    /// What came too early.
    early: BTreeMap<u32, Vec<u8>>,
    expected: u32,
    received: VecDeque<Vec<u8>>,
}

impl Stream {
    fn new(network: &Network) -> Self {
        Self {
            clock: network.clock(),
            data: InFlight::new(network.seed("stream, data")),
            acknowledgements: InFlight::new(network.seed("stream, acknowledgements")),
            network: network.clone(),
            unacknowledged: BTreeMap::new(),
            next: 0,
            early: BTreeMap::new(),
            expected: 0,
            received: VecDeque::new(),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.unacknowledged.insert(self.next, (self.clock.now(), bytes.to_vec()));
        self.next += 1;
        self.send_due(self.clock.now());
    }

    fn poll_at(&mut self, now: Instant) {
        while let Some(arrival) = self.data.due(now) {
            assert!(arrival.at <= now);
            let (number, bytes) = arrival.item;
            let back = self.network.link(SERVER_HOST, CLIENT);
            self.acknowledgements.send(number, 8, &back, now);
            if number >= self.expected {
                self.early.insert(number, bytes);
            }
            while let Some(bytes) = self.early.remove(&self.expected) {
                self.expected += 1;
                self.received.push_back(bytes);
            }
        }
        while let Some(arrival) = self.acknowledgements.due(now) {
            self.unacknowledged.remove(&arrival.item);
        }
        self.send_due(now);
    }

    fn send_due(&mut self, now: Instant) {
        let there = self.network.link(CLIENT, SERVER_HOST);
        for (&number, (at, bytes)) in self.unacknowledged.iter_mut().filter(|(_, (at, _))| *at <= now) {
            self.data.send((number, bytes.clone()), 8 + bytes.len(), &there, now);
            *at = now + RESEND;
        }
    }
}

/// What came by datagrams, what came by the stream, and when; as one number each.
struct Outcome {
    datagrams: u64,
    stream: u64,
    chunks: u32,
    resent: u64,
}

/// Ten seconds of both over a bad link that is gone for half a second; of one of them alone where the other is `None`.
fn play(seed: u64, datagrams: bool, stream: bool) -> Outcome {
    let network = Network::with_seed(seed);
    let bad = Link::MOBILE_4G.loss_ppm(50_000).reorder_ppm(50_000).reorder_delay(millis(40)).duplicate_ppm(20_000);
    network.set_link(LinkEnd::Any, LinkEnd::Any, bad.clone());
    let start = network.now();
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host(SERVER_HOST)).unwrap();
    server.listen(SERVER).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host(CLIENT));
    client.connect_to_host(SERVER).unwrap();
    let mut lent = Stream::new(&network);
    let (mut of_datagrams, mut of_stream, mut chunks) = (Trace::new(), Trace::new(), 0_u32);
    let mut player = None;
    for frame in 0..600_u32 {
        if datagrams {
            client.put_packet(&frame.to_le_bytes()).unwrap();
        }
        if stream && frame < 540 {
            lent.write(&frame.to_le_bytes());
        }
        network.advance(FRAME);
        if frame == 100 {
            network.set_link(CLIENT, LinkEnd::Any, bad.clone().black_out(true));
        } else if frame == 130 {
            network.set_link(CLIENT, LinkEnd::Any, bad.clone());
        }
        let at = (network.now() - start).as_nanos().to_le_bytes();
        server.poll().unwrap();
        player = player.or_else(|| server.take_connection());
        while let Some(packet) = player.as_mut().and_then(|player| player.get_packet().unwrap()) {
            of_datagrams.add(&at);
            of_datagrams.add(&packet);
        }
        lent.poll_at(server.now());
        while let Some(bytes) = lent.received.pop_front() {
            assert_eq!(bytes, chunks.to_le_bytes(), "in order, and none is missing");
            chunks += 1;
            of_stream.add(&at);
            of_stream.add(&bytes);
        }
    }
    let resent = lent.data.stats().offered - u64::from(lent.next);
    Outcome { datagrams: of_datagrams.hash(), stream: of_stream.hash(), chunks, resent }
}

#[test]
fn a_stream_and_datagrams_share_one_virtual_time_and_none_disturbs_the_other() {
    let both = play(7, true, true);
    assert_eq!(both.chunks, 540, "a stream loses nothing");
    assert!(both.resent > 30, "its link did: {}", both.resent);
    let again = play(7, true, true);
    assert_eq!((again.datagrams, again.stream), (both.datagrams, both.stream), "the same outcome per seed");
    let other = play(8, true, true);
    assert!(other.datagrams != both.datagrams && other.stream != both.stream);
    assert_eq!(other.chunks, 540);
    assert_eq!(play(7, true, false).datagrams, both.datagrams, "the stream draws no numbers of the network");
    assert_eq!(play(7, false, true).stream, both.stream, "nor the network of the stream's");
}

#[test]
fn what_is_lent_arrives_when_a_datagram_does() {
    let network = Network::new();
    network.set_link(LinkEnd::Any, LinkEnd::Any, Link::new().latency(millis(30)));
    network.set_link(CLIENT, SERVER_HOST, Link::new().latency(millis(50)).rate(Some(1000)));
    let mut server = UdpServer::with_transport(ServerConfig::new(), network.host(SERVER_HOST)).unwrap();
    server.listen(SERVER).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host(CLIENT));
    client.connect_to_host(SERVER).unwrap();
    network.advance(millis(7));

    let mut way = InFlight::new(network.seed("way"));
    for _ in 0..3 {
        client.put_packet(&[0; 100]).unwrap();
        way.send((), 100, &network.link(CLIENT, SERVER_HOST), network.now());
    }
    for number in 1..=3 {
        let step = network.next_arrival().unwrap();
        assert_eq!(way.next_due(), Some(network.now() + step));
        network.advance(step - Duration::from_nanos(1));
        assert_eq!((server.poll().unwrap().received, way.due(network.now())), (0, None));
        network.advance(Duration::from_nanos(1));
        assert_eq!(server.poll().unwrap().received, 1);
        assert_eq!(way.due(network.now()).unwrap().at, network.now());
        assert_eq!(way.len(), 3 - number);
    }
    assert_eq!(way.next_due(), None);
    assert_eq!(way.stats(), network.link_stats(CLIENT, SERVER_HOST));
}

#[test]
fn the_link_that_holds_is_the_most_specific_one() {
    let network = Network::new();
    let named = |millis| Link::new().latency(Duration::from_millis(millis));
    assert_eq!(network.link(CLIENT, SERVER_HOST), Link::PERFECT);
    network.set_link(LinkEnd::Any, LinkEnd::Any, named(1));
    assert_eq!(network.link(CLIENT, SERVER_HOST), named(1));
    network.set_link(LinkEnd::Any, SERVER_HOST, named(2));
    assert_eq!(network.link(CLIENT, SERVER_HOST), named(2));
    network.set_link(CLIENT, LinkEnd::Any, named(3));
    assert_eq!(network.link(CLIENT, SERVER_HOST), named(3));
    network.set_link(CLIENT, SERVER_HOST, named(4));
    assert_eq!(network.link(CLIENT, SERVER_HOST), named(4));
    assert_eq!(network.link("::ffff:10.0.0.2".parse::<std::net::Ipv6Addr>().unwrap(), SERVER_HOST), named(4));
    assert_eq!(network.link(SERVER_HOST, CLIENT), named(1), "the other direction is another link");
}

#[test]
fn every_fate_is_told_and_counted() {
    let mut way = InFlight::new(1);
    let now = Instant::now();
    assert!(matches!(way.send(0, 10, &Link::PERFECT, now), Fate::Arrives { at, copy_at: None } if at == now));
    assert_eq!(way.due(now).map(|arrival| (arrival.item, arrival.flipped_bit)), Some((0, None)));

    assert_eq!(way.send(1, 10, &Link::new().black_out(true), now), Fate::BlackedOut);
    assert_eq!(way.send(2, 10, &Link::new().max_payload(Some(9)), now), Fate::TooLarge);
    assert_eq!(way.send(3, 10, &Link::new().loss_ppm(1_000_000), now), Fate::Lost);
    let always = BurstLoss::new().bad_loss_ppm(1_000_000).enter_ppm(1_000_000);
    assert_eq!(way.send(4, 10, &Link::new().burst_loss(Some(always)), now), Fate::Lost);
    let slow = Link::new().rate(Some(10)).queue_bytes(10);
    assert!(way.send(5, 10, &slow, now).arrives_at().is_some());
    assert_eq!(way.send(6, 1, &slow, now), Fate::QueueFull);
    assert_eq!(way.next_due(), Some(now + millis(1000)));
    assert_eq!(way.due(now + millis(1000)).map(|arrival| arrival.item), Some(5));

    let twice = Link::new().latency(millis(5)).duplicate_ppm(1_000_000).corrupt_ppm(1_000_000);
    let fate = way.send(7, 10, &twice, now + millis(1000));
    let at = now + millis(1005);
    assert_eq!(fate, Fate::Arrives { at, copy_at: Some(at) });
    let both = [way.due(at).unwrap(), way.due(at).unwrap()];
    assert!(both.iter().all(|arrival| arrival.item == 7 && arrival.flipped_bit.is_some_and(|bit| bit < 80)));
    assert_eq!(both[0].flipped_bit, both[1].flipped_bit);
    assert!(way.is_empty());

    let stats = way.stats();
    let counts = [stats.offered, stats.passed, stats.lost, stats.blacked_out, stats.too_large, stats.queue_full];
    assert_eq!(counts, [8, 3, 2, 1, 1, 1]);
    assert_counts!(stats, duplicated: 1, corrupted: 1, undelivered: 0);
}

#[test]
fn what_is_under_way_keeps_its_time_when_the_link_changes() {
    let mut way = InFlight::new(1);
    let now = Instant::now();
    way.send('a', 10, &Link::new().latency(millis(100)), now);
    way.send('b', 10, &Link::new().latency(millis(10)), now + millis(1));
    let order: Vec<_> = std::iter::from_fn(|| way.due(now + millis(100))).map(|arrival| arrival.item).collect();
    assert_eq!(order, ['b', 'a'], "the newer link is faster");
}

/// 16 MiB, of which each item takes 256 bytes beside its own.
#[test]
fn no_more_is_under_way_than_on_a_link_of_the_network() {
    let mut way = InFlight::new(1);
    let (now, link) = (Instant::now(), Link::new().latency(millis(100)));
    let fates = (0..20_000).map(|item| way.send(item, 768, &link, now));
    assert_eq!(fates.filter(|&fate| fate != Fate::QueueFull).count(), 16 << 10);
    while way.due(now + millis(100)).is_some() {}
    assert_ne!(way.send(0, 768, &link, now + millis(100)), Fate::QueueFull);
}

/// The sum of what is under way ran over, which was a panic, or room for anything.
#[test]
fn an_item_of_any_size_finds_no_room_or_is_alone() {
    let start = Instant::now();
    for link in [Link::PERFECT, Link::new().latency(millis(10))] {
        let mut way = InFlight::new(1);
        let is_perfect = link == Link::PERFECT;
        let fate = way.send("huge", usize::MAX, &link, start);
        assert_eq!(fate.arrives_at(), is_perfect.then_some(start));
        assert_eq!(way.send("small", 1, &link, start).arrives_at().is_some(), !is_perfect);
        assert_eq!(way.send("huge", usize::MAX, &link, start), Fate::QueueFull);
        assert_eq!(
            way.due(start + millis(10)).map(|arrival| arrival.item),
            Some(if is_perfect { "huge" } else { "small" })
        );
        assert!(way.send("small", 1, &link, start).arrives_at().is_some());
    }
}

#[test]
fn time_that_goes_back_stands_still_on_a_link() {
    let start = Instant::now() + Duration::from_secs(9);
    let link = Link::new().latency(millis(10)).rate(Some(1_000));
    let mut way = InFlight::new(1);
    let first = way.send(1, 100, &link, start).arrives_at().unwrap();
    let second = way.send(2, 100, &link, start - Duration::from_secs(5)).arrives_at().unwrap();
    assert_eq!(second - first, millis(100));
    assert!(way.due(start - Duration::from_secs(5)).is_none());
    let arrived: Vec<_> = std::iter::from_fn(|| way.due(second)).map(|arrival| arrival.item).collect();
    assert_eq!(arrived, [1, 2]);
}
