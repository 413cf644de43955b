//! The life of a stand-alone peer: opened, connected, closed and opened again, on sockets that report whatever errors the
//! bytes say, with datagrams from whomever they say. What it shows has to agree with what was done.

use std::net::SocketAddr;
use std::time::Duration;

use packetpeer::error::{BindError, ConnectError, GetError, GetIntoError, OptionError, PollError, PutError};
use packetpeer::limits::{QueueLimits, WhenFull};
use packetpeer::socket::Interface;
use packetpeer::stats::{PeerStats, PollReport};
use packetpeer::{CloseReason, PacketPeerUdp, PeerState};

use crate::input::Input;
use crate::wire::{ECONNREFUSED, EHOSTUNREACH, EMFILE, EMSGSIZE, EPERM, Event, FATAL, Fate, NOISE, Trouble, Wire};

const STEPS: usize = 150;
const DATAGRAMS: u32 = 400;

/// The entry of the fuzzer.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..STEPS {
        if input.is_at_end() {
            break;
        }
        world.step(&mut input);
        world.check();
    }
    world.peer.close();
    world.check();
    let open = world.wire.state().open();
    assert!(open.is_empty(), "a closed peer keeps no socket: {open:?}");
    // What had been received can still be taken.
    while world.get() {}
    assert_eq!(world.peer.stats().queued, 0);
}

struct World {
    wire: Wire,
    peer: PacketPeerUdp,
    limits: QueueLimits,
    /// In the order in which the network has them: who sent what.
    arrivals: Vec<(SocketAddr, Vec<u8>)>,
    next_expected: u32,
    puts: u64,
    got: u64,
    waited: (u64, u64),
}

impl World {
    fn new() -> Self {
        let wire = Wire::new();
        Self {
            peer: PacketPeerUdp::with_transport(wire.clone()),
            wire,
            limits: QueueLimits::new(),
            arrivals: Vec::new(),
            next_expected: 0,
            puts: 0,
            got: 0,
            waited: (0, 0),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..70 => self.arrive(input),
            70..80 => self.disturb(input),
            80..90 => self.decide_sends(input),
            90..130 => self.poll(),
            130..150 => {
                self.get();
            }
            150..160 => self.get_into(input),
            160..185 => self.put(input),
            185..195 => self.bind(input),
            195..210 => self.connect(input),
            210..220 => self.set_destination(input),
            220..226 => self.peer.close(),
            226..231 => self.peer.set_follow_port(input.bool()).expect("it stands alone"),
            231..237 => self.change_limits(input),
            237 => self.change_budget(input),
            238..244 => self.set_options(input),
            244..248 => {
                let trouble = input.one_of(&[EMFILE, EPERM, EHOSTUNREACH]);
                self.wire.state().setup_fails = Some((input.below(4), trouble));
            }
            _ => self.wire.state().now += Duration::from_millis(input.byte().into()),
        }
    }

    fn arrive(&mut self, input: &mut Input<'_>) {
        let from = address(input);
        let choice = input.byte();
        let size = [0, 1, 4, 5, 30, 30, 100, 1400][usize::from(choice & 7)];
        let count = [1, 1, 2, 9][usize::from(choice >> 3 & 3)];
        let mut state = self.wire.state();
        let Some(&socket) = state.open().last() else { return };
        for _ in 0..count {
            let number = self.arrivals.len() as u32;
            if number >= DATAGRAMS {
                return;
            }
            let mut bytes = number.to_le_bytes().to_vec();
            bytes.resize(size, 0x55);
            state.push(socket, Event::Datagram { sender: from, bytes: bytes.clone() });
            self.arrivals.push((from, bytes));
        }
    }

    fn disturb(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let event = match choice & 15 {
            0 => Event::Fatal(FATAL[usize::from(choice >> 4) % FATAL.len()]),
            1 | 2 => Event::Nothing,
            _ => Event::Noise(NOISE[usize::from(choice >> 4) % NOISE.len()]),
        };
        let mut state = self.wire.state();
        if let Some(&socket) = state.open().last() {
            state.push(socket, event);
        }
    }

    fn decide_sends(&mut self, input: &mut Input<'_>) {
        let would_block = Trouble::Kind(std::io::ErrorKind::WouldBlock);
        let trouble = input.one_of(&[would_block, EMSGSIZE, ECONNREFUSED, EPERM, EHOSTUNREACH]);
        self.wire.state().fates.push_back(Fate::Fails(trouble));
    }

    fn poll(&mut self) {
        let fatal = self.wire.state().fatal;
        let before = self.peer.stats();
        match self.peer.poll() {
            Ok(report) => {
                assert_eq!(self.peer.state(), PeerState::Open);
                self.check_report(&report, &before);
            }
            Err(PollError::NotOpen) => assert_eq!(self.peer.state(), PeerState::Unbound),
            Err(PollError::Ended(reason)) => assert_eq!(self.peer.state(), PeerState::Ended(reason)),
            Err(PollError::SocketFailed(_)) => {
                assert!(self.wire.state().fatal > fatal, "the socket was in order");
                assert_eq!(self.peer.state(), PeerState::Ended(CloseReason::SocketFailed));
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A poll says what the counters say.
    fn check_report(&self, report: &PollReport, before: &PeerStats) {
        let stats = self.peer.stats();
        assert_eq!(report.received as u64, stats.received - before.received);
        assert_eq!(report.dropped as u64, stats.drops.total() - before.drops.total());
        assert_eq!(report.noise as u64, stats.noise - before.noise);
        assert!(stats.queued <= before.queued + report.queued as u64);
        assert!(report.received <= self.peer.max_per_poll().expect("it stands alone"));
    }

    /// Returns whether there was a packet.
    fn get(&mut self) -> bool {
        let waiting = self.peer.available_packet_count();
        match self.peer.get_packet() {
            Ok(Some(packet)) => {
                self.check_packet(&packet, packet.sender());
                true
            }
            Ok(None) => {
                assert_eq!((waiting, self.peer.state()), (0, PeerState::Open));
                false
            }
            Err(GetError::NotOpen) => {
                assert_eq!((waiting, self.peer.state()), (0, PeerState::Unbound));
                false
            }
            Err(GetError::Ended(reason)) => {
                assert_eq!((waiting, self.peer.state()), (0, PeerState::Ended(reason)));
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn get_into(&mut self, input: &mut Input<'_>) {
        let mut buffer = vec![0xaa; input.one_of(&[0, 3, 4, 30, 1400])];
        let waiting = self.peer.available_packet_count();
        match self.peer.get_packet_into(&mut buffer) {
            Ok(Some(len)) => {
                assert!(buffer[len..].iter().all(|&byte| byte == 0xaa), "written behind the packet");
                let sender = self.peer.packet_addr().expect("something was taken");
                self.check_packet(&buffer[..len], sender);
            }
            Ok(None) | Err(GetIntoError::Get(_)) => assert_eq!(waiting, 0),
            Err(GetIntoError::BufferTooSmall { size, room }) => {
                assert!(size > room && self.peer.available_packet_count() == waiting);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// A socket's datagrams come in order, each once; a new socket has none of the old one's.
    fn check_packet(&mut self, bytes: &[u8], sender: SocketAddr) {
        self.got += 1;
        assert_eq!(self.peer.packet_addr(), Some(sender));
        let Some(number) = bytes.first_chunk() else { return };
        let number = u32::from_le_bytes(*number);
        assert!(number >= self.next_expected, "datagram {number} when {} was next", self.next_expected);
        self.next_expected = number + 1;
        let (from, sent) = &self.arrivals[number as usize];
        assert_eq!((sender.port(), sender.ip()), (from.port(), from.ip().to_canonical()), "the sender");
        assert_eq!(bytes, sent, "the bytes");
    }

    fn put(&mut self, input: &mut Input<'_>) {
        let bytes = vec![7; input.one_of(&[0, 1, 30, 1200, 65_507, 65_508, 65_527, 65_528])];
        let (was, has_destination) = (self.peer.state(), self.peer.remote_addr().is_some());
        let sent = self.peer.stats().sent;
        self.puts += 1;
        let can_put = self.peer.can_put(bytes.len());
        let result = self.peer.put_packet(&bytes);
        let accepted = std::mem::take(&mut self.wire.state().accepted);
        match &result {
            Ok(()) => {
                assert_eq!(accepted.len(), 1);
                assert_eq!((accepted[0].bytes.len(), Some(accepted[0].to)), (bytes.len(), self.peer.remote_addr()));
                assert_eq!(self.peer.state(), PeerState::Open);
            }
            Err(error) => {
                assert!(accepted.is_empty(), "an error, and it has left: {error}");
                assert_eq!(matches!(error, PutError::Ended(_)), matches!(was, PeerState::Ended(_)), "{error}");
                let is_lost = matches!(error, PutError::NoDestination);
                assert_eq!(is_lost, !has_destination && !matches!(was, PeerState::Ended(_)), "{error}");
            }
        }
        assert_eq!(self.peer.stats().sent, sent + u64::from(result.is_ok()));
        // It knows what is known without asking the system.
        let is_known = match &result {
            Ok(()) => false,
            Err(error) => matches!(
                error,
                PutError::NoDestination | PutError::Ended(_) | PutError::TooLarge { .. } | PutError::WrongFamily { .. }
            ),
        };
        if was == PeerState::Open || !has_destination {
            assert_eq!(can_put, !is_known, "{result:?}");
        } else {
            // Whether the destination is reached shows with the socket, which may not open.
            assert!(can_put || result.is_err(), "{result:?}");
        }
    }

    fn bind(&mut self, input: &mut Input<'_>) {
        let was_open = self.peer.state() == PeerState::Open;
        let result = match input.below(4) {
            0 => self.peer.bind(5000),
            1 => self.peer.bind(address(input)),
            2 => self.peer.bind_shared("0.0.0.0:5000"),
            _ => self.peer.bind(&*String::from_utf8_lossy(input.take(20))),
        };
        match result {
            Ok(()) => self.is_new(),
            Err(BindError::AlreadyOpen) => assert!(was_open),
            Err(_) => assert!(!was_open),
        }
    }

    /// Opened or connected anew: nothing is left of before.
    fn is_new(&self) {
        assert_eq!((self.peer.state(), self.peer.available_packet_count()), (PeerState::Open, 0));
        assert_eq!(self.peer.packet_addr(), None);
        assert!(self.peer.local_addr().is_some());
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let to = [address(input), address(input)];
        let before = (self.peer.state(), self.peer.remote_addr());
        match self.peer.connect_to_host(&to[..1 + input.below(2)]) {
            Ok(()) => {
                self.is_new();
                assert!(self.peer.is_socket_connected());
                let remote = self.peer.remote_addr().expect("it is connected");
                // An unspecified address means this host.
                let is_meant =
                    |to: &SocketAddr| to.ip().to_canonical() == remote.ip() || to.ip().to_canonical().is_unspecified();
                assert!(to.iter().any(|to| to.port() == remote.port() && is_meant(to)));
                assert!(!remote.ip().is_unspecified() && !remote.ip().is_multicast());
            }
            Err(ConnectError::ServersPeer) => panic!("it stands alone"),
            Err(error) => assert_eq!((self.peer.state(), self.peer.remote_addr()), before, "{error}"),
        }
    }

    fn set_destination(&mut self, input: &mut Input<'_>) {
        let to = [address(input), address(input)];
        let before = self.peer.remote_addr();
        let was_connected = self.peer.is_socket_connected();
        match self.peer.set_dest_address(&to[..1 + input.below(2)]) {
            Ok(()) => assert!(!was_connected && self.peer.remote_addr().is_some()),
            Err(error) => assert_eq!(self.peer.remote_addr(), before, "{error}"),
        }
    }

    fn change_limits(&mut self, input: &mut Input<'_>) {
        let packets = input.one_of(&[0, 1, 2, 5, 100, usize::MAX]);
        let bytes = input.one_of(&[0, 1, 30, 100, 10_000, usize::MAX]);
        let when_full = if input.bool() { WhenFull::DropNewest } else { WhenFull::DropOldest };
        let limits = QueueLimits::new().packets(packets).bytes(bytes).when_full(when_full);
        match self.peer.set_queue_limits(limits) {
            Ok(()) => self.limits = limits,
            Err(OptionError::InvalidConfig(_)) => assert!(packets == 0 || bytes == 0),
            Err(error) => panic!("{error}"),
        }
    }

    fn change_budget(&mut self, input: &mut Input<'_>) {
        let (before, budget) = (self.peer.max_per_poll(), input.one_of(&[0, 1, 5, 4096, usize::MAX]));
        match self.peer.set_max_per_poll(budget) {
            Ok(()) => assert_eq!(self.peer.max_per_poll(), Some(budget)),
            Err(OptionError::InvalidConfig(_)) => assert_eq!((budget, self.peer.max_per_poll()), (0, before)),
            Err(error) => panic!("{error}"),
        }
    }

    fn set_options(&mut self, input: &mut Input<'_>) {
        let ip = address(input).ip();
        let result = match input.below(5) {
            0 => self.peer.set_broadcast_enabled(input.bool()),
            1 => self.peer.join_multicast_group(ip, Interface::Default),
            2 => self.peer.leave_multicast_group(ip, Interface::Index(1)),
            3 => self.peer.set_multicast_ttl(input.byte()),
            _ => self.peer.set_receive_buffer(Some(usize::from(input.byte()))),
        };
        if let Err(OptionError::NotMulticast(named)) = result {
            assert!(named == ip.to_canonical() && !named.is_multicast());
        }
    }

    fn check(&mut self) {
        let stats = self.peer.stats();
        let state = self.wire.state();
        assert_eq!(stats.received, state.handed, "received = what the sockets handed over");
        assert_eq!(stats.received_bytes, state.handed_sizes.iter().map(|&size| size as u64).sum::<u64>());
        assert_eq!(stats.noise, state.noise, "noise");
        // Another one is asked for a route, and closed again.
        assert_eq!(state.open().len(), usize::from(self.peer.state() == PeerState::Open), "one socket");
        drop(state);
        assert_eq!(stats.delivered, self.got);
        assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total(), "{stats}");
        assert_eq!(self.puts, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats}");
        assert_eq!(self.puts, stats.put, "{stats}");
        assert_eq!(self.peer.available_packet_count() as u64, stats.queued);
        assert_eq!(self.peer.is_bound(), self.peer.local_addr().is_some());
        let within = |now: u64, limit: usize, before: u64| now <= u64::try_from(limit).unwrap().max(before);
        assert!(within(stats.queued, self.limits.packets, self.waited.0), "packets wait");
        assert!(within(stats.queued_bytes, self.limits.bytes, self.waited.1), "bytes wait");
        self.waited = (stats.queued, stats.queued_bytes);
    }
}

/// Two hosts with some ports, in IPv4 and mapped; broadcast, multicast and link-local; and no port.
fn address(input: &mut Input<'_>) -> SocketAddr {
    let choice = input.byte();
    let port = if choice >> 4 == 15 { 0 } else { 1000 + u16::from(choice >> 6) };
    let text = match choice & 15 {
        0..4 => "192.0.2.1",
        4..6 => "192.0.2.2",
        6 | 7 => "::ffff:192.0.2.1",
        8 => "2001:db8::1",
        9 => "fe80::1",
        10 => "255.255.255.255",
        11 => "239.255.0.1",
        12 => "ff02::1",
        13 => "::ffff:239.255.0.1",
        14 => "0.0.0.0",
        _ => "::",
    };
    let mut addr = SocketAddr::new(text.parse().unwrap(), port);
    if let SocketAddr::V6(v6) = &mut addr {
        v6.set_scope_id(u32::from(choice >> 4 & 1));
        v6.set_flowinfo(u32::from(choice >> 5 & 1));
    }
    addr
}
