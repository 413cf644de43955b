//! Links of whatever configuration, between hosts in memory and around their sockets, with traffic over them in virtual
//! time: whatever the bytes say of latency, rate and chances, each datagram is accounted for, and the same bytes have the
//! same fate twice.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use packetpeer::sim::{BurstLoss, Conditioned, Host, Link, LinkControl, LinkEnd, LinkStats, Network};
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, SocketOptions, UdpServer};

use crate::input::Input;

const STEPS: usize = 120;
const CLIENTS: usize = 3;
const DATAGRAMS: u32 = 1500;

/// The entry of the fuzzer.
pub fn run(data: &[u8]) {
    let trace = play(data);
    assert_eq!(trace, play(data), "the same seed, another trace");
}

fn play(data: &[u8]) -> Vec<Seen> {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..STEPS {
        if input.is_at_end() {
            break;
        }
        world.step(&mut input);
        world.check();
    }
    world.finish()
}

/// Somebody has received this, then.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    at: Duration,
    by: usize,
    bytes: Vec<u8>,
}

struct World {
    network: Network,
    start: Instant,
    /// The links around the server's sockets, where it has any.
    control: Option<LinkControl>,
    server: UdpServer,
    players: Vec<PacketPeerUdp>,
    clients: Vec<PacketPeerUdp>,
    /// What clients have put, with success.
    client_puts: u64,
    next_number: u32,
    /// No link has ever reordered, repeated or been changed, so each sender's datagrams come in order.
    in_order: bool,
    /// No link has ever flipped a bit.
    intact: bool,
    last_number: Vec<Option<u32>>,
    trace: Vec<Seen>,
}

fn server_addr() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7777))
}

fn client_ip(number: usize) -> IpAddr {
    if number == CLIENTS - 1 { "2001:db8::3".parse().unwrap() } else { [192, 0, 2, 10 + number as u8].into() }
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let setup = input.byte();
        let network = Network::with_seed(u64::from(input.byte()));
        let host = network.host(server_addr().ip()).with_address("2001:db8::1".parse::<IpAddr>().unwrap());
        let mode = if setup & 1 == 0 { SendMode::Now } else { SendMode::OnFlush };
        let config = ServerConfig::new()
            .limits(Limits::new().idle_timeout(None).pending_lifetime(None))
            .socket(SocketOptions::new().max_packet_size(1500))
            .send_mode(mode);
        let (mut in_order, mut intact) = (true, true);
        let mut link = || {
            let link = link(input);
            in_order &= link.reorder_ppm == 0 && link.duplicate_ppm == 0;
            intact &= link.corrupt_ppm == 0;
            link
        };
        network.set_link(LinkEnd::Any, LinkEnd::Any, link());
        let (mut server, control) = if setup & 2 == 0 {
            (UdpServer::with_transport(config, host).unwrap(), None)
        } else {
            let conditioned: Conditioned<Host> = Conditioned::new(host, link(), link(), 7);
            let control = conditioned.control();
            (UdpServer::with_transport(config, conditioned).unwrap(), Some(control))
        };
        server.listen(7777).expect("the port is free");
        let clients = (0..CLIENTS).map(|number| client(&network, number)).collect();
        Self {
            start: network.now(),
            network,
            control,
            server,
            players: Vec::new(),
            clients,
            client_puts: 0,
            next_number: 0,
            in_order,
            intact,
            last_number: vec![None; CLIENTS],
            trace: Vec::new(),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..90 => self.put(input),
            90..130 => self.advance(input),
            130..160 => self.advance_to_next_arrival(),
            160..200 => self.server_frame(),
            200..215 => self.poll_clients(),
            215..225 => self.broadcast(),
            225..245 => self.change_link(input),
            _ => self.listen_again(),
        }
    }

    fn put(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let number = usize::from(choice) % CLIENTS;
        let size = [0, 5, 5, 60, 200, 1000, 1500, 9000][usize::from(choice >> 2 & 7)];
        let count = [1, 1, 3, 20, 1, 1, 2, 60][usize::from(choice >> 5)];
        for _ in 0..count {
            if self.next_number >= DATAGRAMS {
                return;
            }
            let mut bytes = [&[number as u8][..], &self.next_number.to_le_bytes()].concat();
            bytes.resize(size, 0x55);
            self.next_number += 1;
            self.client_puts += u64::from(self.clients[number].put_packet(&bytes).is_ok());
        }
    }

    fn advance(&mut self, input: &mut Input<'_>) {
        let time = duration(input);
        self.network.advance(time);
    }

    fn advance_to_next_arrival(&mut self) {
        let under_way = self.network.in_flight();
        let Some(time) = self.network.next_arrival() else { return assert_eq!(under_way, 0, "none will arrive") };
        self.network.advance(time);
        assert!(self.network.in_flight() < under_way, "the next to arrive has arrived");
    }

    /// Takes all that has come, and sends it back.
    fn server_frame(&mut self) {
        self.server.poll().expect("sockets in memory do not fail");
        self.players.extend(std::iter::from_fn(|| self.server.take_connection()));
        for player in &mut self.players {
            while let Ok(Some(packet)) = player.get_packet() {
                check_payload(&packet, self.in_order, self.intact, &mut self.last_number);
                let _ = player.put_packet(&packet);
                let at = packet.received_at() - self.start;
                self.trace.push(Seen { at, by: CLIENTS, bytes: packet.into_vec() });
            }
        }
        self.players.retain(|player| player.close_reason().is_none());
        self.server.flush().expect("it listens");
    }

    fn poll_clients(&mut self) {
        for (by, client) in self.clients.iter_mut().enumerate() {
            client.poll().expect("sockets in memory do not fail");
            while let Ok(Some(packet)) = client.get_packet() {
                let at = packet.received_at() - self.start;
                self.trace.push(Seen { at, by, bytes: packet.into_vec() });
            }
        }
    }

    fn broadcast(&mut self) {
        self.server.broadcast(b"to all").expect("it listens and that is short");
    }

    fn change_link(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let link = link(input);
        self.in_order = false;
        self.intact &= link.corrupt_ppm == 0;
        match (&self.control, choice & 3) {
            (Some(control), 0) => control.set_outgoing(link),
            (Some(control), 1) => control.set_incoming(link),
            _ => {
                let ends = [LinkEnd::Any, server_addr().ip().into(), client_ip(0).into(), client_ip(2).into()];
                let end = |at: u8| ends[usize::from(at & 3)];
                self.network.set_link(end(choice >> 2), end(choice >> 4), link);
            }
        }
    }

    fn listen_again(&mut self) {
        self.server.poll().expect("sockets in memory do not fail");
        self.server.stop();
        self.server.listen(7777).expect("the port is free again");
    }

    fn check(&self) {
        check_stats(&self.network.link_stats(LinkEnd::Any, LinkEnd::Any));
        if let Some(control) = &self.control {
            check_stats(&control.incoming_stats());
            check_stats(&control.outgoing_stats());
        }
        assert_eq!(self.network.in_flight() == 0, self.network.next_arrival().is_none());
    }

    /// The last that is there is taken, and then all that was ever sent is accounted for.
    fn finish(mut self) -> Vec<Seen> {
        self.server_frame();
        self.server.stop();
        self.poll_clients();
        let server = self.server.stats();
        drop(self.server);

        let network = self.network.link_stats(LinkEnd::Any, LinkEnd::Any);
        let (mut from_server, mut to_server) = (server.sent, server.received);
        if let Some(control) = &self.control {
            let (out, into) = (control.outgoing_stats(), control.incoming_stats());
            assert_eq!(server.sent, out.offered, "what the server has sent came to its link");
            from_server = out.passed + out.duplicated - out.undelivered;
            assert_eq!(server.received, into.passed + into.duplicated - into.undelivered, "what the server has got");
            to_server = into.offered;
        }
        assert_eq!(network.offered, self.client_puts + from_server, "what came to the network's links");
        let to_clients: u64 = self.clients.iter().map(|client| client.stats().received).sum();
        let arrived = to_clients + to_server + self.network.lost();
        let under_way = self.network.in_flight() as u64;
        assert_eq!(network.passed + network.duplicated, arrived + under_way, "what passed is somewhere");
        self.trace
    }
}

fn client(network: &Network, number: usize) -> PacketPeerUdp {
    let ip = client_ip(number);
    let mut client = PacketPeerUdp::with_transport(network.host(ip));
    client.bind((ip, 1000)).expect("the address is free");
    let server = if ip.is_ipv4() { server_addr() } else { "[2001:db8::1]:7777".parse().unwrap() };
    client.set_dest_address(server).expect("the network is whole");
    client
}

fn check_payload(bytes: &[u8], in_order: bool, intact: bool, last: &mut [Option<u32>]) {
    let Some((&sender, rest)) = bytes.split_first().filter(|_| intact) else { return };
    let Some((number, filler)) = rest.split_first_chunk() else { return };
    assert!(filler.iter().all(|&byte| byte == 0x55), "a flipped bit where none is flipped");
    let number = u32::from_le_bytes(*number);
    let before = last[usize::from(sender)].replace(number);
    assert!(!in_order || before.is_none_or(|before| before < number), "{number} came after {before:?}");
}

fn check_stats(stats: &LinkStats) {
    let dropped = stats.lost + stats.blacked_out + stats.too_large + stats.queue_full;
    assert_eq!(stats.offered, stats.passed + dropped, "what came has passed or was dropped: {stats}");
    let most = stats.passed;
    assert!(stats.duplicated <= most && stats.reordered <= most && stats.corrupted <= most, "{stats}");
    assert!(stats.undelivered <= stats.passed + stats.duplicated, "{stats}");
}

fn link(input: &mut Input<'_>) -> Link {
    let choice = input.byte();
    if choice & 15 < 6 {
        return Link::PRESETS[usize::from(choice & 15)].1.clone();
    }
    let mut link = Link::new();
    for _ in 0..choice >> 5 {
        link = match input.byte() & 15 {
            0 | 1 => link.latency(duration(input)),
            2 | 3 => link.jitter(duration(input)),
            4 => link.loss_ppm(ppm(input)),
            5 => {
                let burst = BurstLoss::new().enter_ppm(ppm(input)).leave_ppm(ppm(input));
                link.burst_loss(Some(burst.good_loss_ppm(ppm(input)).bad_loss_ppm(ppm(input))))
            }
            6 => link.duplicate_ppm(ppm(input)),
            7 => link.reorder_ppm(ppm(input)),
            8 => link.reorder_delay(duration(input)),
            9 => link.corrupt_ppm(ppm(input)),
            10 | 11 => link.rate(Some(input.one_of(&[0, 1, 1000, 60_000, 1_000_000, u64::MAX]))),
            12 => link.rate(Some(input.u64())),
            13 => link.queue_bytes(input.one_of(&[0, 1, 1000, 1 << 20, usize::MAX])),
            14 => link.max_payload(Some(input.one_of(&[0, 4, 5, 100, 1400, usize::MAX]))),
            _ => link.black_out(input.bool()),
        };
    }
    link
}

fn ppm(input: &mut Input<'_>) -> u32 {
    match input.byte() {
        0..40 => 1_000_000,
        40..50 => u32::MAX,
        byte => u32::from(byte - 50) * 3000,
    }
}

fn duration(input: &mut Input<'_>) -> Duration {
    let byte = input.byte();
    match byte {
        0..60 => Duration::from_millis(byte.into()),
        60..120 => Duration::from_micros(byte.into()),
        120..160 => Duration::from_nanos(byte.into()),
        160..200 => Duration::from_secs(byte.into()),
        200..240 => Duration::from_nanos(input.u32().into()),
        240..246 => Duration::from_nanos(input.u64()),
        246..252 => Duration::from_nanos(u64::MAX - u64::from(byte)),
        _ => Duration::MAX,
    }
}
