//! The link conditioner around other sockets: exactly in virtual time around those of an in-memory host, and around
//! real ones as far as a busy machine allows, which is that nothing comes before its time.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::sim::{Conditioned, Host, Link, LinkControl, Network};
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, SystemSockets, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{PacketPeerUdp, SendMode, ServerConfig, UdpServer, WaitOutcome};

mod util;

use util::noisy::{Noisy, Step};
use util::{
    MOMENT, PATIENCE, SERVER, World, accept, assert_counts, eventually, loopback_server, millis, poll_texts, texts,
};

const NANO: Duration = Duration::from_nanos(1);

fn latency(millis: u64) -> Link {
    Link::new().latency(util::millis(millis))
}

/// A client of the world's server behind two links.
fn client_behind(world: &World, outgoing: Link, incoming: Link) -> (PacketPeerUdp, LinkControl) {
    let sockets = Conditioned::new(world.another_host(), outgoing, incoming, 1);
    let control = sockets.control();
    let mut client = PacketPeerUdp::with_transport(sockets);
    client.connect_to_host(SERVER).unwrap();
    (client, control)
}

#[test]
fn latency_is_exact_in_both_directions() {
    let mut world = World::new();
    let (mut client, control) = client_behind(&world, latency(30), latency(20));
    client.put_packet(b"hello").unwrap();
    world.network.advance(millis(30) - NANO);
    client.poll().unwrap();
    assert_eq!(world.poll().received, 0);
    world.network.advance(NANO);
    assert_eq!(world.poll().received, 0, "nobody has driven the client's socket");
    client.poll().unwrap();
    assert_eq!(world.poll().received, 1);

    let mut peer = world.server.take_connection().unwrap();
    peer.put_packet(b"welcome").unwrap();
    assert!(poll_texts(&mut client).is_empty());
    world.network.advance(millis(20) - NANO);
    assert!(poll_texts(&mut client).is_empty());
    world.network.advance(NANO);
    assert_eq!(poll_texts(&mut client), ["welcome"]);
    assert_counts!(control.outgoing_stats(), passed: 1);
    assert_counts!(control.incoming_stats(), passed: 1);
}

#[test]
fn a_put_and_a_wait_send_what_is_due_too() {
    let mut world = World::new();
    let (mut client, _) = client_behind(&world, latency(30), Link::PERFECT);
    client.put_packet(b"first").unwrap();
    world.network.advance(millis(30));
    client.put_packet(b"second").unwrap();
    assert_eq!(world.poll().received, 1);
    world.network.advance(millis(30));
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::TimedOut, "virtual time does not pass by waiting");
    assert_eq!(world.poll().received, 1);
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut peer), ["first", "second"]);
}

#[test]
fn a_wait_in_virtual_time_knows_what_is_due() {
    let mut world = World::new();
    let (mut client, _) = client_behind(&world, Link::PERFECT, latency(20));
    client.put_packet(b"hello").unwrap();
    world.poll();
    world.server.take_connection().unwrap().put_packet(b"welcome").unwrap();
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::TimedOut);
    world.network.advance(millis(20));
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::Ready);
    assert_eq!(poll_texts(&mut client), ["welcome"]);
}

/// Everything that arrives of 3 000 datagrams, with the millisecond in which it does.
fn trace(seed: u64) -> Vec<(u64, Vec<u8>)> {
    let world = World::new();
    let link = Link::BAD_HOTEL.corrupt_ppm(10_000);
    let sockets = Conditioned::new(world.another_host(), link, Link::PERFECT, seed);
    let mut receiver = world.client(1);
    let mut sender = PacketPeerUdp::with_transport(sockets);
    sender.set_dest_address(receiver.local_addr().unwrap()).unwrap();
    receiver.connect_to_host("10.0.0.250:1000").unwrap();
    sender.bind("10.0.0.250:1000").unwrap();
    let mut trace = Vec::new();
    for time in 0..10_000_u64 {
        if time % 3 == 0 && time < 9_000 {
            sender.put_packet(&time.to_le_bytes()).unwrap();
        }
        world.network.advance(millis(1));
        sender.poll().unwrap();
        receiver.poll().unwrap();
        while let Some(packet) = receiver.get_packet().unwrap() {
            trace.push((time, packet.into_vec()));
        }
    }
    trace
}

#[test]
fn the_same_seed_makes_the_same_trace() {
    let first = trace(1);
    assert!((2_000..3_000).contains(&first.len()), "{}", first.len());
    assert_eq!(first, trace(1));
    assert_ne!(first, trace(2));
}

#[test]
fn every_socket_has_links_of_its_own_and_the_counters_are_of_all() {
    let world = World::new();
    let sockets = Conditioned::new(world.another_host(), Link::new().loss_ppm(500_000), Link::PERFECT, 1);
    let control = sockets.control();
    let seen: HashSet<Vec<String>> = (0..4_u8)
        .map(|number| {
            let mut receiver = world.client(number);
            receiver.close();
            receiver.bind(1000).unwrap();
            let mut sender = PacketPeerUdp::with_transport(sockets.clone());
            sender.set_dest_address(SocketAddr::from(([10, 0, 1, number], 1000))).unwrap();
            (0..100).for_each(|number| sender.put_packet(number.to_string().as_bytes()).unwrap());
            poll_texts(&mut receiver)
        })
        .collect();
    assert_eq!(seen.len(), 4, "each lost others");
    let stats = control.outgoing_stats();
    assert_counts!(stats, offered: 400, passed: seen.iter().map(|texts| texts.len() as u64).sum());
}

#[test]
fn links_change_while_running() {
    let mut world = World::new();
    let (mut client, control) = client_behind(&world, latency(30), Link::PERFECT);
    client.put_packet(b"slow").unwrap();
    control.set_outgoing(Link::PERFECT);
    client.put_packet(b"fast").unwrap();
    control.set_outgoing(Link::new().black_out(true));
    client.put_packet(b"lost").unwrap();
    control.set_outgoing(latency(10));
    client.put_packet(b"middling").unwrap();
    assert_eq!((control.outgoing(), control.incoming()), (latency(10), Link::PERFECT));
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    for (time, arrives) in [(0, vec!["fast"]), (10, vec!["middling"]), (20, vec!["slow"]), (100, vec![])] {
        world.network.advance(millis(time));
        client.poll().unwrap();
        world.poll();
        assert_eq!(texts(&mut peer), arrives);
    }
    let stats = control.outgoing_stats();
    assert_counts!(stats, offered: 4, passed: 3, blacked_out: 1);

    peer.put_packet(b"at once").unwrap();
    assert_eq!(poll_texts(&mut client), ["at once"]);
    control.set_incoming(latency(40));
    peer.put_packet(b"later").unwrap();
    assert!(poll_texts(&mut client).is_empty());
    control.set_incoming(Link::PERFECT);
    peer.put_packet(b"at once").unwrap();
    assert_eq!(poll_texts(&mut client), ["at once"]);
    world.network.advance(millis(40));
    assert_eq!(poll_texts(&mut client), ["later"]);
}

#[test]
fn perfect_links_change_nothing() {
    let mut world = World::new();
    let (mut client, control) = client_behind(&world, Link::PERFECT, Link::PERFECT);
    for number in 0..100 {
        client.put_packet(number.to_string().as_bytes()).unwrap();
    }
    assert_eq!(world.poll().received, 100);
    let mut peer = world.server.take_connection().unwrap();
    for text in texts(&mut peer) {
        peer.put_packet(text.as_bytes()).unwrap();
    }
    assert_eq!(poll_texts(&mut client).len(), 100);
    for stats in [control.outgoing_stats(), control.incoming_stats()] {
        assert_eq!(stats.to_string(), "offered 100, passed 100");
    }
    assert_eq!(client.stats().noise, 0);
}

#[test]
fn what_is_too_long_for_a_server_is_counted_as_such_behind_a_link_too() {
    let network = Network::new();
    let sockets = Conditioned::new(network.host(SERVER.ip()), Link::PERFECT, latency(1), 1);
    let socket = packetpeer::SocketOptions::new().max_packet_size(100);
    let mut server = UdpServer::with_transport(ServerConfig::new().socket(socket), sockets).unwrap();
    server.listen(SERVER).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
    client.connect_to_host(SERVER).unwrap();
    for size in [100, 101, 0, 60_000] {
        client.put_packet(&vec![1; size]).unwrap();
    }
    server.poll().unwrap();
    network.advance(millis(1));
    let report = server.poll().unwrap();
    assert_counts!(report, received: 4, queued: 2);
    assert_counts!(server.stats(), drops.too_large: 2);
}

#[test]
fn a_poll_takes_no_more_than_its_budget_and_leaves_the_rest_for_the_next() {
    let network = Network::new();
    let limits = packetpeer::Limits::new().max_known_per_poll(70).max_unknown_per_poll(70);
    let sockets = Conditioned::new(network.host(SERVER.ip()), Link::PERFECT, latency(1), 1);
    let mut server = UdpServer::with_transport(ServerConfig::new().limits(limits), sockets).unwrap();
    server.listen(SERVER).unwrap();
    let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
    client.connect_to_host(SERVER).unwrap();
    (0..100).for_each(|_| client.put_packet(b"x").unwrap());
    server.poll().unwrap();
    network.advance(millis(1));
    let first = server.poll().unwrap();
    assert!(first.received == 70 && first.more_waiting, "{first:?}");
    let rest = server.poll().unwrap();
    assert!(rest.received == 30 && !rest.more_waiting, "{rest:?}");
}

#[test]
fn errors_of_the_socket_reach_who_polls() {
    for incoming in [Link::PERFECT, latency(5)] {
        let mut world = World::new();
        let noisy = Noisy::new(world.another_host());
        let mut client = PacketPeerUdp::with_transport(Conditioned::new(noisy.clone(), latency(1), incoming, 1));
        client.connect_to_host(SERVER).unwrap();
        client.put_packet(b"hello").unwrap();
        world.network.advance(millis(1));
        client.poll().unwrap();
        world.poll();
        world.server.take_connection().unwrap().put_packet(b"welcome").unwrap();
        noisy.script([
            Step::Fail(io::ErrorKind::ConnectionReset),
            Step::TakeAndFail(io::ErrorKind::ConnectionRefused),
            Step::Fail(io::ErrorKind::ConnectionReset),
        ]);
        client.poll().unwrap();
        world.network.advance(millis(5));
        assert_eq!(poll_texts(&mut client), ["welcome"]);
        assert_counts!(client.stats(), noise: 3);
        assert_eq!(noisy.steps_left(), 0);

        noisy.script([Step::Fail(io::ErrorKind::BrokenPipe)]);
        assert!(client.poll().is_err());
    }
}

#[test]
fn an_error_that_a_wait_meets_is_left_for_the_poll() {
    let world = World::new();
    let noisy = Noisy::new(world.another_host());
    let mut client = PacketPeerUdp::with_transport(Conditioned::new(noisy.clone(), Link::PERFECT, latency(5), 1));
    client.connect_to_host(SERVER).unwrap();
    noisy.script([Step::Fail(io::ErrorKind::ConnectionReset)]);
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::Ready);
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::Ready, "it is still there for who waits again");
    assert_eq!(client.stats().noise, 0);
    client.poll().unwrap();
    assert_eq!(client.stats().noise, 1);
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::TimedOut);
}

#[test]
fn a_socket_that_closes_sends_at_once_what_it_holds() {
    let mut world = World::new();
    let (mut client, control) = client_behind(&world, latency(30), latency(30));
    client.put_packet(b"hello").unwrap();
    client.put_packet(b"goodbye").unwrap();
    client.close();
    assert_eq!(world.poll().received, 2);
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut peer), ["hello", "goodbye"]);
    assert_eq!(control.outgoing_stats().undelivered, 0);

    client.connect_to_host(SERVER).unwrap();
    client.put_packet(b"hello").unwrap();
    world.network.advance(millis(30));
    client.poll().unwrap();
    world.poll();
    world.server.take_connection().unwrap().put_packet(b"welcome").unwrap();
    assert!(poll_texts(&mut client).is_empty());
    client.close();
    let stats = control.incoming_stats();
    assert_counts!(stats, passed: 1, undelivered: 1, "it was held, and nobody is left to take it");
}

#[test]
fn who_connects_elsewhere_sends_what_is_held_to_the_former_remote() {
    let mut world = World::new();
    let (mut client, _) = client_behind(&world, latency(30), Link::PERFECT);
    let mut other = world.client(1);
    other.close();
    other.bind(1000).unwrap();
    client.put_packet(b"to the server").unwrap();
    client.connect_to_host("10.0.1.1:1000").unwrap();
    client.put_packet(b"to the other").unwrap();
    assert_counts!(world.poll(), received: 1);
    assert_eq!(world.network.lost(), 0);
    world.network.advance(millis(30));
    client.poll().unwrap();
    assert_eq!(poll_texts(&mut other), ["to the other"]);
}

#[test]
fn what_is_held_is_bounded() {
    let world = World::new();
    let (mut client, control) = client_behind(&world, latency(3_600_000), Link::PERFECT);
    (0..20_000).for_each(|_| client.put_packet(&[0; 1_000]).unwrap());
    let stats = control.outgoing_stats();
    assert_counts!(stats, passed: (16 << 20) / 1_256);
    assert_eq!(stats.passed + stats.queue_full, 20_000, "{stats:?}");
}

/// Sockets that refuse to send: 0 = they do not, 1 = they would block, 2 = the network is down.
#[derive(Debug, Clone)]
struct Refusing {
    host: Host,
    mode: Arc<AtomicU8>,
}

impl TransportFactory for Refusing {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(RefusingTransport { inner: self.host.bind(options)?, mode: Arc::clone(&self.mode) }))
    }

    fn clock(&self) -> Clock {
        self.host.clock()
    }
}

#[derive(Debug)]
struct RefusingTransport {
    inner: Box<dyn Transport>,
    mode: Arc<AtomicU8>,
}

impl Transport for RefusingTransport {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.inner.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        match self.mode.load(Ordering::Relaxed) {
            0 => self.inner.send(bytes, to, from),
            1 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Err(io::ErrorKind::NetworkDown.into()),
        }
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.inner.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.inner.wait(timeout, interrupt)
    }
}

#[test]
fn what_the_system_does_not_take_waits_or_is_counted() {
    let mut world = World::new();
    let mode = Arc::new(AtomicU8::new(0));
    let refusing = Refusing { host: world.another_host(), mode: Arc::clone(&mode) };
    let sockets = Conditioned::new(refusing, latency(30), Link::PERFECT, 1);
    let control = sockets.control();
    let mut client = PacketPeerUdp::with_transport(sockets);
    client.connect_to_host(SERVER).unwrap();

    mode.store(1, Ordering::Relaxed);
    client.put_packet(b"first").unwrap();
    world.network.advance(millis(30));
    client.put_packet(b"second").unwrap();
    client.poll().unwrap();
    world.network.advance(millis(30));
    client.poll().unwrap();
    assert_eq!(world.poll().received, 0);
    mode.store(0, Ordering::Relaxed);
    client.poll().unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut peer), ["first", "second"]);
    assert_eq!(control.outgoing_stats().undelivered, 0);

    // What would go at once does not overtake what the system has refused.
    client.put_packet(b"third").unwrap();
    mode.store(1, Ordering::Relaxed);
    world.network.advance(millis(30));
    client.poll().unwrap();
    mode.store(0, Ordering::Relaxed);
    control.set_outgoing(Link::PERFECT);
    client.put_packet(b"fourth").unwrap();
    world.poll();
    assert_eq!(texts(&mut peer), ["third", "fourth"]);
    control.set_outgoing(latency(30));

    client.put_packet(b"never").unwrap();
    mode.store(2, Ordering::Relaxed);
    world.network.advance(millis(30));
    client.poll().unwrap();
    assert_eq!(control.outgoing_stats().undelivered, 1);

    // What goes at once, says at once that it does not go.
    control.set_outgoing(Link::PERFECT);
    assert!(client.put_packet(b"never").is_err());
    mode.store(1, Ordering::Relaxed);
    assert!(matches!(client.put_packet(b"later"), Err(packetpeer::error::PutError::WouldBlock)));
    let stats = control.outgoing_stats();
    assert_counts!(stats, passed: 7, undelivered: 3);
}

/// A server that echoes on a thread of its own until the test is over, or nothing more comes.
fn with_echo_server(test: impl FnOnce(SocketAddr)) {
    let mut server = loopback_server();
    let addr = server.local_addr().unwrap();
    let waker = server.waker().unwrap();
    thread::scope(|scope| {
        let echo = scope.spawn(move || {
            let mut peers = Vec::new();
            while server.wait(Some(PATIENCE)).unwrap() == WaitOutcome::Ready {
                server.poll().unwrap();
                while let Some(peer) = server.take_connection() {
                    peers.push(peer);
                }
                for peer in &mut peers {
                    while let Ok(Some(packet)) = peer.get_packet() {
                        peer.put_packet(&packet).unwrap();
                    }
                }
            }
        });
        test(addr);
        waker.wake();
        echo.join().unwrap();
    });
}

fn loopback_client(server: SocketAddr, outgoing: Link, incoming: Link) -> (PacketPeerUdp, LinkControl) {
    let sockets = Conditioned::new(SystemSockets, outgoing, incoming, 1);
    let control = sockets.control();
    let mut client = PacketPeerUdp::with_transport(sockets);
    client.connect_to_host(server).unwrap();
    (client, control)
}

#[test]
fn nothing_comes_before_its_time_over_real_sockets() {
    with_echo_server(|server| {
        let (mut client, _) = loopback_client(server, latency(20).jitter(millis(5)), latency(10));
        for _ in 0..10 {
            let start = Instant::now();
            client.put_packet(b"ping").unwrap();
            eventually("the echo", || {
                client.poll().unwrap();
                client.get_packet().unwrap()
            });
            assert!(start.elapsed() >= millis(25), "{:?}", start.elapsed());
        }
    });
}

/// Datagrams of which each direction is measured over real sockets.
const MEASURED: usize = 100;

/// 1 to 9 ms: so much of a spread that each datagram tells whether it has the time that is its own.
fn shaky() -> Link {
    latency(5).jitter(millis(4))
}

/// How much virtual time passes until then, to a microsecond.
fn time_until(network: &Network, mut has_arrived: impl FnMut() -> bool) -> Duration {
    let start = network.elapsed();
    while !has_arrived() {
        network.advance(Duration::from_micros(1));
    }
    network.elapsed() - start
}

/// When something happened: after the first, before the second.
#[derive(Clone, Copy)]
struct Between(Instant, Instant);

fn between<T>(act: impl FnOnce() -> T) -> (Between, T) {
    let begin = Instant::now();
    let value = act();
    (Between(begin, Instant::now()), value)
}

/// Polls until `is_done`; returns the last poll, and the begin of the one before it, or else of the first.
fn poll_until(mut is_done: impl FnMut() -> bool) -> (Instant, Between) {
    let mut before = Instant::now();
    eventually("what is due", || {
        let (poll, is_done) = between(&mut is_done);
        let last = std::mem::replace(&mut before, poll.0);
        is_done.then_some((last, poll))
    })
}

/// However busy the machine is: who polls gets a datagram at the first poll after its time, and at none before.
#[derive(Default)]
struct Lateness {
    late: Vec<Duration>,
    longest_interval: Duration,
}

impl Lateness {
    #[track_caller]
    fn add(&mut self, put: Between, time: Duration, (poll_before, poll): (Instant, Between)) {
        assert!(poll.1 >= put.0 + time - Duration::from_micros(1), "it came before its time, which is {time:?}");
        assert!(poll_before < put.1 + time, "the poll before was late enough");
        self.late.push(poll.1.saturating_duration_since(put.0 + time));
        self.longest_interval = self.longest_interval.max(poll.1 - poll_before);
    }

    fn print(mut self, what: &str) {
        self.late.sort_unstable();
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let (median, most) = (millis(self.late[MEASURED / 2]), millis(self.late[MEASURED - 1]));
        let interval = millis(self.longest_interval);
        println!("| {what}: late by {median:.3} ms, at most {most:.3} | longest interval of polls {interval:.3} ms |");
    }
}

/// Notes when the socket is asked to send.
#[derive(Debug, Clone)]
struct Noting {
    sent: Arc<AtomicUsize>,
}

impl TransportFactory for Noting {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(NotingTransport { inner: SystemSockets.bind(options)?, sent: Arc::clone(&self.sent) }))
    }

    fn clock(&self) -> Clock {
        SystemSockets.clock()
    }
}

#[derive(Debug)]
struct NotingTransport {
    inner: Box<dyn Transport>,
    sent: Arc<AtomicUsize>,
}

impl Transport for NotingTransport {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.inner.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.inner.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.inner.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.inner.wait(timeout, interrupt)
    }
}

#[test]
fn over_real_sockets_each_leaves_within_a_poll_interval_of_its_time() {
    // What each takes by this seed.
    let mut world = World::new();
    let network = world.network.clone();
    let (mut client, _) = client_behind(&world, shaky(), Link::PERFECT);
    let times = (0..MEASURED).map(|_| {
        client.put_packet(b"x").unwrap();
        time_until(&network, || {
            client.poll().unwrap();
            world.poll().received > 0
        })
    });
    let times: Vec<_> = times.collect();

    let server = loopback_server();
    let noting = Noting { sent: Arc::default() };
    let sockets = Conditioned::new(noting.clone(), shaky(), Link::PERFECT, 1);
    let mut client = PacketPeerUdp::with_transport(sockets);
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    let mut lateness = Lateness::default();
    for (number, time) in times.into_iter().enumerate() {
        let (put, ()) = between(|| client.put_packet(b"x").unwrap());
        assert_eq!(noting.sent.load(Ordering::Relaxed), number, "held back");
        let last = poll_until(|| {
            client.poll().unwrap();
            noting.sent.load(Ordering::Relaxed) > number
        });
        lateness.add(put, time, last);
    }
    lateness.print("what is sent");
}

#[test]
fn over_real_sockets_each_is_received_within_a_poll_interval_of_its_time() {
    let mut world = World::new();
    let (mut client, _) = client_behind(&world, Link::PERFECT, shaky());
    client.put_packet(b"hello").unwrap();
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    let times = (0..MEASURED).map(|_| {
        peer.put_packet(b"x").unwrap();
        time_until(&world.network, || !poll_texts(&mut client).is_empty())
    });
    let times: Vec<_> = times.collect();

    let mut server = loopback_server();
    let (mut client, control) = loopback_client(server.local_addr().unwrap(), Link::PERFECT, shaky());
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(&mut server);
    let mut lateness = Lateness::default();
    for (number, time) in (1..).zip(times) {
        peer.put_packet(b"x").unwrap();
        // It comes to the link with the poll that takes it from the socket.
        let (_, came) = poll_until(|| {
            client.poll().unwrap();
            control.incoming_stats().offered == number
        });
        let last = poll_until(|| {
            client.poll().unwrap();
            client.get_packet().unwrap().is_some()
        });
        lateness.add(came, time, last);
    }
    lateness.print("what is received");
}

/// The put leaves during the wait, and the wait ends when the answer may be taken: nobody polls in between.
#[test]
fn one_wait_is_enough_for_a_round_trip() {
    with_echo_server(|server| {
        let (mut client, _) = loopback_client(server, latency(20), latency(20));
        for timeout in [None, Some(PATIENCE)] {
            let start = Instant::now();
            client.put_packet(b"ping").unwrap();
            assert_eq!(client.wait(timeout).unwrap(), WaitOutcome::Ready);
            assert!((millis(40)..PATIENCE).contains(&start.elapsed()), "{:?}", start.elapsed());
            assert_eq!(poll_texts(&mut client), ["ping"]);
        }
    });
}

#[test]
fn a_wait_for_nothing_ends_on_time_and_a_waker_ends_it_before() {
    let server = loopback_server();
    for link in [Link::PERFECT, latency(1_000)] {
        let (mut client, _) = loopback_client(server.local_addr().unwrap(), link.clone(), link);
        for time in [Duration::ZERO, millis(1), millis(70)] {
            let start = Instant::now();
            assert_eq!(client.wait(Some(time)).unwrap(), WaitOutcome::TimedOut);
            assert!(start.elapsed() >= time);
        }
        let waker = client.waker().unwrap();
        waker.wake();
        assert_eq!(client.wait(None).unwrap(), WaitOutcome::Woken);
        assert_eq!(client.wait(Some(millis(1))).unwrap(), WaitOutcome::TimedOut);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| client.wait(Some(PATIENCE)).unwrap());
            thread::sleep(MOMENT);
            waker.wake();
            assert_eq!(waiting.join().unwrap(), WaitOutcome::Woken);
        });
    }
}

/// A server waits for ever, and handles on other threads put what is held: it leaves all the same.
#[test]
fn a_wait_sends_what_other_threads_have_put() {
    let sockets = Conditioned::new(SystemSockets, latency(10), Link::PERFECT, 1);
    let mut server = UdpServer::with_transport(ServerConfig::new(), sockets).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let mut client = util::client_of(&server);
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(&mut server);
    let waker = server.waker().unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || server.wait(Some(2 * PATIENCE)).unwrap());
        thread::sleep(MOMENT);
        peer.put_packet(b"welcome").unwrap();
        assert_eq!(&*util::receive(&mut client), b"welcome");
        waker.wake();
        assert_eq!(waiting.join().unwrap(), WaitOutcome::Woken);
    });
}

#[test]
fn each_thread_s_datagrams_stay_in_order() {
    const EACH: usize = 300;
    let world = World::new();
    let sockets = Conditioned::new(world.another_host(), latency(5), Link::PERFECT, 1);
    // Virtual time may pass quickly while a thread waits for its turn.
    let limits = packetpeer::Limits::new().idle_timeout(None);
    let mut server = UdpServer::with_transport(ServerConfig::new().limits(limits), sockets).unwrap();
    server.listen(7777).unwrap();
    let addr = SocketAddr::from(([10, 0, 0, 250], 7777));
    let pairs: Vec<_> = (0..4)
        .map(|number| {
            let mut client = world.client(number);
            client.connect_to_host(addr).unwrap();
            client.put_packet(b"hello").unwrap();
            server.poll().unwrap();
            (client, server.take_connection().unwrap())
        })
        .collect();
    let mut clients = thread::scope(|scope| {
        let (mut clients, mut threads) = (Vec::new(), Vec::new());
        for (client, mut peer) in pairs {
            clients.push(client);
            threads.push(scope.spawn(move || {
                (0..EACH).for_each(|number| peer.put_packet(number.to_string().as_bytes()).unwrap());
                peer
            }));
        }
        while threads.iter().any(|thread| !thread.is_finished()) {
            world.network.advance(millis(1));
            server.poll().unwrap();
        }
        // The peers live until everything has left.
        let peers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        world.network.advance(millis(5));
        server.poll().unwrap();
        drop(peers);
        clients
    });
    for client in &mut clients {
        let expected: Vec<_> = (0..EACH).map(|number| number.to_string()).collect();
        assert_eq!(poll_texts(client), expected);
    }
}

#[test]
fn a_server_s_flush_goes_through_the_link_datagram_by_datagram() {
    for outgoing in [Link::PERFECT, latency(1), Link::new().loss_ppm(200_000)] {
        let sockets = Conditioned::new(SystemSockets, outgoing.clone(), Link::PERFECT, 1);
        let control = sockets.control();
        let mut server = UdpServer::with_transport(ServerConfig::new().send_mode(SendMode::OnFlush), sockets).unwrap();
        server.listen("127.0.0.1:0").unwrap();
        let mut client = util::client_of(&server);
        client.put_packet(b"hello").unwrap();
        let mut peer = accept(&mut server);
        (0..100).for_each(|_| peer.put_packet(&[7; 100]).unwrap());
        assert_eq!(server.flush().unwrap().sent, 100);
        let passed = control.outgoing_stats().passed;
        assert_eq!((control.outgoing_stats().offered, passed == 100), (100, outgoing.loss_ppm == 0));
        let mut received = 0;
        eventually("all that passed", || {
            server.poll().unwrap();
            client.poll().unwrap();
            while client.get_packet().unwrap().is_some() {
                received += 1;
            }
            (received == passed).then_some(())
        });
        assert_eq!(control.outgoing_stats().undelivered, 0);
    }
}

#[test]
fn a_socket_of_the_standard_library_can_be_adopted() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let sockets = Conditioned::new(SystemSockets, Link::PERFECT, latency(20), 1);
    let mut server = UdpServer::with_transport(ServerConfig::new(), sockets).unwrap();
    server.listen_on(socket).unwrap();
    let start = Instant::now();
    util::client_of(&server).put_packet(b"hello").unwrap();
    accept(&mut server);
    // It arrives at the first poll after the put, and may be received so much later.
    assert!(start.elapsed() >= millis(20));
}
