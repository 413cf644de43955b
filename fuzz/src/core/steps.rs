//! What can be done, one step at a time.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use packetpeer::error::{BindError, ConnectError, GetError, GetIntoError, OptionError, PutError};
use packetpeer::identity::{ConnectionId, Switch};
use packetpeer::limits::{IpPrefix, QueueLimits, WhenFull};
use packetpeer::stats::FlushReport;
use packetpeer::{PacketPeerUdp, PeerId, PeerState, SendMode};

use super::identity::Style;
use super::settings::{address, change, limits, make_sense};
use super::{
    Arrival, BROADCAST, DATAGRAMS, HANDLES, Handle, KEPT, NUMBERED, PUT, SENT_TO, World, canonical, check_kept,
};
use crate::input::Input;
use crate::wire::{ECONNREFUSED, EHOSTUNREACH, EMFILE, EMSGSIZE, EPERM, Event, FATAL, Fate, NOISE, Trouble};

impl World {
    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() {
            0..60 => self.arrive(input),
            60..66 => self.disturb(input),
            66..72 => self.decide_sends(input),
            72..100 => self.poll_now(),
            100..106 => self.poll_some_time(input),
            106..122 => self.take(),
            122..130 => self.get(input),
            130..138 => self.get_all(input),
            138..144 => self.get_into(input),
            144..164 => self.put(input),
            164..170 => self.broadcast(input),
            170..178 => self.flush(),
            178..182 => self.close_handle(input),
            182..186 => self.let_go_of_handle(input),
            186..190 => self.close_peer(input),
            190..194 => self.connect(input),
            194..197 => self.send_to(input),
            197 => self.server.drain(),
            198 => self.stop(),
            199..203 => self.listen(input),
            203..207 => self.change_filter(input),
            207..213 => self.change_limits(input),
            213 | 214 => self.server.set_max_pending_connections(input.below(5)),
            215..220 => self.ask_ready(),
            220..222 => self.ask_ended(),
            222..224 => self.ask_moved(),
            224..230 => self.dedicate(input),
            230..240 => self.advance(input),
            240..244 => self.find(input),
            244..247 => self.keep_packets(input),
            247 | 248 => self.confirm(input),
            249 => self.wait(),
            250 | 251 => self.fail_a_setup(input),
            252 => self.start_over(),
            253 => self.exempt(input),
            254 => self.poll_with_a_filter(input),
            _ => self.poll_now(),
        }
    }

    fn poll_with_a_filter(&mut self, input: &mut Input<'_>) {
        let (filter, now) = (Style::read(input), self.wire.state().now);
        self.poll_with(now, filter);
    }

    /// Datagrams arrive, at the port listened on or at a peer's own.
    fn arrive(&mut self, input: &mut Input<'_>) {
        let mut from = address(input);
        let shape = input.byte();
        let (kind, tag) = (input.byte(), input.byte());
        let size = [0, 1, 2, 5, 6, 7, 10, 20, 39, 40, 41, 42, 100, 101, 102, 310][usize::from(shape & 15)];
        let count = [1, 1, 1, 2, 3, 5, 17, 70][usize::from(shape >> 4 & 7)];
        let mut state = self.wire.state();
        let open = state.open();
        let Some(&shared) = open.first() else { return };
        let mut socket = shared;
        if shape & 128 != 0 {
            socket = open[usize::from(tag >> 4) % open.len()];
            // A socket of a peer's own is connected; of a stranger's the system lets through what came before.
            from = state.remote_of(socket).filter(|_| tag & 8 == 0).unwrap_or(from);
        }
        for _ in 0..count {
            if self.arrivals.len() >= DATAGRAMS {
                return;
            }
            let number = self.arrivals.len() as u32;
            let header = [&[kind, tag][..], &number.to_le_bytes()].concat();
            let mut bytes = vec![kind; size];
            let told = if size >= NUMBERED { NUMBERED } else { size.min(2) };
            bytes[..told].copy_from_slice(&header[..told]);
            state.push(socket, Event::Datagram { sender: from, bytes: bytes.clone() });
            self.arrivals.push(Arrival { from: canonical(from), bytes, socket, was_taken: false });
        }
    }

    /// The next receives meet errors.
    fn disturb(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let event = match choice & 15 {
            0 => Event::Fatal(FATAL[usize::from(choice >> 4) % FATAL.len()]),
            1 | 2 => Event::Nothing,
            _ => Event::Noise(NOISE[usize::from(choice >> 4) % NOISE.len()]),
        };
        let socket = input.below(4);
        let mut state = self.wire.state();
        let open = state.open();
        if let Some(at) = socket.checked_rem(open.len()) {
            state.push(open[at], event);
        }
    }

    /// What will become of the next sends.
    fn decide_sends(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let fate = match choice & 15 {
            0..4 => Fate::Accepted,
            4..10 => Fate::Fails(Trouble::Kind(io::ErrorKind::WouldBlock)),
            10 => Fate::Fails(EMSGSIZE),
            11 => Fate::Fails(ECONNREFUSED),
            12 => Fate::Fails(EPERM),
            13 => Fate::Fails(EHOSTUNREACH),
            14 => Fate::Fails(Trouble::Kind(io::ErrorKind::Other)),
            _ => Fate::NothingOfBatch,
        };
        let count = usize::from(choice >> 4 & 7) + 1;
        let mut state = self.wire.state();
        if state.fates.len() < 64 {
            state.fates.extend(std::iter::repeat_n(fate, count));
        }
    }

    /// One of the next calls fails that open a socket.
    fn fail_a_setup(&mut self, input: &mut Input<'_>) {
        let trouble = input.one_of(&[EMFILE, EPERM, EHOSTUNREACH]);
        self.wire.state().setup_fails = Some((input.below(3), trouble));
    }

    fn poll_now(&mut self) {
        let now = self.wire.state().now;
        self.poll(now);
    }

    fn poll_some_time(&mut self, input: &mut Input<'_>) {
        let now = self.wire.state().now;
        let time = Duration::from_millis([1, 400, 1000, 20_000][input.below(4)]);
        self.poll(if input.bool() { now + time } else { now - time });
    }

    fn take(&mut self) {
        if self.handles.len() >= HANDLES {
            return;
        }
        let pending = self.server.pending_count();
        let taken = self.server.take_connection();
        assert_eq!(taken.is_some(), pending > 0, "a pending connection is there to be taken");
        if let Some(peer) = taken {
            assert_eq!(self.server.pending_count(), pending - 1);
            self.hold(peer);
        }
    }

    fn hold(&mut self, peer: PacketPeerUdp) {
        let id = peer.id();
        assert!(self.handle_of(id).is_none(), "two handles of {id}");
        self.whereabouts.extend(peer.remote_addr().map(|remote| (id, remote)));
        let owner = self.next_owner;
        self.next_owner += 1;
        let clock = self.wire.state().now;
        self.oversight.hold(id, clock);
        self.handles.push(Handle::new(peer, self.life, owner));
    }

    fn any_handle(&self, input: &mut Input<'_>) -> Option<usize> {
        usize::from(input.byte()).checked_rem(self.handles.len())
    }

    fn get(&mut self, input: &mut Input<'_>) {
        if let Some(index) = self.any_handle(input) {
            self.get_from(index);
        }
    }

    fn get_all(&mut self, input: &mut Input<'_>) {
        let Some(index) = self.any_handle(input) else { return };
        while self.get_from(index) {}
    }

    /// Returns whether there was a packet.
    fn get_from(&mut self, index: usize) -> bool {
        let peer = &mut self.handles[index].peer;
        let waiting = peer.available_packet_count();
        match peer.get_packet() {
            Ok(Some(packet)) => {
                assert_eq!(peer.available_packet_count() + 1, waiting);
                self.check_packet(index, &packet, packet.sender());
                if self.kept.len() < KEPT {
                    let bytes = packet.to_vec();
                    self.kept.push((packet, bytes));
                }
                true
            }
            Ok(None) => {
                assert_eq!((waiting, peer.state()), (0, PeerState::Open), "nothing now");
                false
            }
            Err(error) => {
                let is_over = matches!(error, GetError::Ended(_)) && peer.close_reason().is_some();
                assert!(waiting == 0 && is_over, "nothing, and never again");
                false
            }
        }
    }

    fn get_into(&mut self, input: &mut Input<'_>) {
        let Some(index) = self.any_handle(input) else { return };
        let mut buffer = vec![0xaa; input.one_of(&[0, 1, 6, 20, 41, 320])];
        let peer = &mut self.handles[index].peer;
        let waiting = peer.available_packet_count();
        match peer.get_packet_into(&mut buffer) {
            Ok(Some(len)) => {
                assert!(buffer[len..].iter().all(|&byte| byte == 0xaa), "written behind the packet");
                let sender = peer.packet_addr().expect("something was taken");
                return self.check_packet(index, &buffer[..len], sender);
            }
            Ok(None) => assert_eq!((waiting, peer.state()), (0, PeerState::Open), "nothing now"),
            Err(GetIntoError::BufferTooSmall { size, room }) => {
                assert!(size > room && room == buffer.len());
                assert_eq!(peer.available_packet_count(), waiting, "what does not fit stays");
            }
            Err(error) => {
                assert!(matches!(error, GetIntoError::Get(GetError::Ended(_))) && peer.close_reason().is_some());
            }
        }
        assert!(buffer.iter().all(|&byte| byte == 0xaa), "written, and there was nothing");
    }

    /// Bytes that say what they are, whose, and in which place.
    fn outgoing(&mut self, mark: u8, owner: u16, size: usize) -> Vec<u8> {
        let number = self.next_number;
        self.next_number += 1;
        let mut bytes = [&[mark][..], &owner.to_le_bytes(), &number.to_le_bytes()].concat();
        bytes.resize(size, 0x55);
        bytes
    }

    fn put(&mut self, input: &mut Input<'_>) {
        let Some(index) = self.any_handle(input) else { return };
        let choice = input.byte();
        let size = [0, 1, 7, 8, 8, 9, 30, 30, 30, 100, 100, 1200, 7, 30, 65_508, 65_528][usize::from(choice & 15)];
        let count = if size > 1200 { 1 } else { [1, 1, 2, 5][usize::from(choice >> 4 & 3)] };
        for _ in 0..count {
            if self.next_number as usize >= DATAGRAMS {
                return;
            }
            let bytes = self.outgoing(PUT, self.handles[index].owner, size);
            self.put_one(index, &bytes);
        }
    }

    fn put_one(&mut self, index: usize, bytes: &[u8]) {
        self.collect();
        let sent = self.tally.sent;
        let handle = &mut self.handles[index];
        let is_open = handle.peer.state() == PeerState::Open;
        let fits = bytes.len() <= handle.peer.max_packet_size();
        handle.puts += 1;
        self.tally.puts += u64::from(handle.life == self.life);
        let can_put = handle.peer.can_put(bytes.len());
        assert!(!can_put || is_open && fits);
        let lost = handle.peer.stats().send_drops.total();
        let result = handle.peer.put_packet(bytes);
        if can_put {
            // What the system does with it is not known before; it may have to wait then, and find no room.
            let waits_after_all = self.config.send_mode == SendMode::QueueWhenBlocked;
            match &result {
                Ok(()) => assert!(waits_after_all || handle.peer.stats().send_drops.total() == lost, "lost for a yes"),
                Err(PutError::QueueFull) => assert!(waits_after_all, "a yes that was none"),
                Err(error) => assert!(!matches!(error, PutError::Unconfirmed { .. }), "{error}"),
            }
        }
        let remote = handle.peer.remote_addr();
        let last = self.wire.state().accepted.last().map(|accepted| accepted.to);
        self.collect();
        match &result {
            Ok(()) => {
                assert!(is_open && fits, "taken to be sent");
                if self.config.send_mode == SendMode::Now {
                    assert_eq!((self.tally.sent, last), (sent + 1, remote), "what was put has left");
                }
            }
            Err(error) => {
                assert_eq!(self.tally.sent, sent, "an error, and it has left: {error}");
                match error {
                    PutError::Ended(_) => assert!(!is_open, "{error}"),
                    PutError::TooLarge { .. } => assert!(!fits, "{error}"),
                    _ => assert!(is_open && fits, "{error}"),
                }
            }
        }
    }

    fn broadcast(&mut self, input: &mut Input<'_>) {
        if self.next_number as usize >= DATAGRAMS {
            return;
        }
        let choice = input.byte();
        let size = [0, 7, 30, 30, 100, 1200, 65_507, 65_508][usize::from(choice & 7)];
        let bytes = self.outgoing(BROADCAST, 0, size);
        let open: Vec<PeerId> = self.server.peers().map(|(id, _)| id).collect();
        self.collect();
        let sent = self.tally.sent;
        let (to, result) = if choice & 8 == 0 {
            (open, self.server.broadcast(&bytes))
        } else {
            // Some of them, one perhaps twice, and one who has ended.
            let mut chosen: Vec<PeerId> = open.iter().copied().skip(usize::from(choice >> 4 & 3)).collect();
            chosen.extend(open.first());
            let asked: Vec<PeerId> = chosen.iter().chain(self.ended.keys().next()).copied().collect();
            (chosen, self.server.broadcast_to(&asked, &bytes))
        };
        self.collect();
        let is_possible = self.server.is_listening() && size <= 65_507;
        assert_eq!(result.is_ok(), is_possible, "whether a broadcast of {size} bytes is possible");
        if let Ok(report) = result {
            // What waited before leaves with it, and is not in its report.
            let others = self.tally.sent - sent - report.sent as u64;
            assert!(others == 0 || self.config.send_mode == SendMode::QueueWhenBlocked, "{others} sent by a broadcast");
            self.count_broadcast(&to, report);
        }
    }

    fn count_broadcast(&mut self, to: &[PeerId], report: FlushReport) {
        self.tally.puts += to.len() as u64;
        let life = self.life;
        for &id in to {
            let handle = self.handles.iter_mut().find(|handle| handle.life == life && handle.peer.id() == id);
            handle.expect("an open peer has its handle").puts += 1;
        }
        // In a queue for one, a peer that is named twice has only the second.
        let drops_oldest = self.server.limits().send_queue.when_full == WhenFull::DropOldest;
        let told = report.sent + report.failed + report.waiting;
        assert!(told == to.len() || (drops_oldest && told < to.len()), "a report of {} was {report:?}", to.len());
        if self.config.send_mode == SendMode::Now {
            assert_eq!(report.sent + report.failed, to.len(), "each of a broadcast was sent or was not");
            assert_eq!(report.waiting, 0, "nothing waits where all is sent at once");
        }
    }

    fn flush(&mut self) {
        self.collect();
        let sent = self.tally.sent;
        match self.server.flush() {
            Ok(report) => {
                self.collect();
                assert_eq!(report.sent as u64, self.tally.sent - sent, "a flush's report");
                assert_eq!(report.waiting as u64, self.server.stats().send_queued, "what a flush left waiting");
            }
            Err(error) => assert!(!self.server.is_listening(), "{error}"),
        }
    }

    fn close_handle(&mut self, input: &mut Input<'_>) {
        let Some(index) = self.any_handle(input) else { return };
        let handle = &mut self.handles[index];
        if handle.life == self.life && handle.peer.state() == PeerState::Open {
            self.closing.insert(handle.peer.id());
        }
        handle.peer.close();
        assert!(handle.peer.close_reason().is_some());
    }

    fn let_go_of_handle(&mut self, input: &mut Input<'_>) {
        if let Some(index) = self.any_handle(input) {
            self.drop_handle(index);
        }
    }

    /// The server ends a peer: one of its own, one that has ended, or one of a server before.
    fn close_peer(&mut self, input: &mut Input<'_>) {
        let Some(index) = self.any_handle(input) else { return };
        let id = self.handles[index].peer.id();
        let is_there = self.server.peers().any(|(open, _)| open == id);
        assert!(!is_there || self.handles[index].life == self.life, "an id of a server before is somebody's here");
        assert_eq!(self.server.close(id).is_ok(), is_there, "whether {id} can be closed");
    }

    /// Says that a peer receives where it is: one of its own, one that has ended, or one of a server before.
    fn confirm(&mut self, input: &mut Input<'_>) {
        let Some(index) = self.any_handle(input) else { return };
        let id = self.handles[index].peer.id();
        let (peer, is_there) = (&self.handles[index].peer, self.server.peers().any(|(open, _)| open == id));
        let addr = peer.remote_addr().unwrap_or_else(|| address(input));
        let confirmed = self.server.confirm_move(id, addr);
        assert_eq!(confirmed.is_ok(), is_there, "whether {id} can be confirmed");
        if let Some(handle) = self.handle_of(id).filter(|_| is_there) {
            assert!(handle.peer.is_address_confirmed(), "{id} was confirmed");
        }
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let addr = address(input);
        let choice = input.byte();
        if self.handles.len() >= HANDLES {
            return;
        }
        let (found, result) = if choice & 1 == 0 {
            (self.server.find(addr), self.server.connect(addr))
        } else {
            let id = ConnectionId(u64::from(choice >> 1 & 7));
            (self.server.find_connection(id), self.server.connect_as(addr, id))
        };
        match result {
            Ok(peer) => {
                // An unspecified address means this host, and is nobody's own, but a forger's.
                assert!(found.is_none() || addr.ip().to_canonical().is_unspecified());
                assert!(self.server.is_listening() && addr.port() != 0);
                self.hold(peer);
            }
            Err(ConnectError::AlreadyKnown(_)) if addr.ip().to_canonical().is_unspecified() => {}
            Err(ConnectError::AlreadyKnown(id)) => assert_eq!(found, Some(id), "who is known already"),
            Err(ConnectError::NoConnectionIds) => assert!(!self.config.identity.is_by_id() && choice & 1 == 1),
            Err(ConnectError::NeedsId) => assert!(!self.config.identity.knows_by_address() && choice & 1 == 0),
            Err(ConnectError::NotListening) => assert!(!self.server.is_listening()),
            Err(ConnectError::NoPort) => assert_eq!(addr.port(), 0),
            Err(ConnectError::PeersFull | ConnectError::WrongFamily) => {}
            // So it does where that is all that is listened on.
            Err(ConnectError::Broadcast | ConnectError::Multicast) if addr.ip().to_canonical().is_unspecified() => {}
            Err(ConnectError::Broadcast) => assert_eq!(addr.ip().to_canonical(), Ipv4Addr::BROADCAST),
            Err(ConnectError::Multicast) => assert!(addr.ip().to_canonical().is_multicast()),
            Err(error) => panic!("{error}"),
        }
    }

    fn send_to(&mut self, input: &mut Input<'_>) {
        let to = address(input);
        let size = [0, 7, 30, 65_508][input.below(4)];
        let bytes = self.outgoing(SENT_TO, 0, size);
        self.collect();
        let sent = self.tally.sent;
        self.tally.puts += 1;
        let result = self.server.send_to(to, &bytes);
        self.collect();
        assert_eq!(self.tally.sent, sent + u64::from(result.is_ok()), "whether it was sent");
    }

    /// At a port, an address, or whatever text the bytes make.
    pub(super) fn listen(&mut self, input: &mut Input<'_>) {
        let was_listening = self.server.is_listening();
        let result = match input.below(8) {
            0..4 => self.server.listen(7777),
            4 => self.server.listen(address(input)),
            5 => self.server.listen(address(input).ip()),
            6 => self.server.listen("[::]:0"),
            _ => self.server.listen(&*String::from_utf8_lossy(input.take(20))),
        };
        match result {
            Ok(()) => {
                assert!(!was_listening && self.server.is_listening() && self.server.local_port() != Some(0));
                let clock = self.wire.state().now;
                self.oversight.tell(clock, clock);
            }
            Err(BindError::AlreadyOpen) => assert!(was_listening),
            Err(_) => assert!(!was_listening && !self.server.is_listening()),
        }
    }

    fn change_limits(&mut self, input: &mut Input<'_>) {
        let before = self.server.limits().clone();
        let wanted = if input.bool() { limits(input) } else { change(before.clone(), input) };
        let result = self.server.set_limits(wanted.clone());
        let expected = if result.is_ok() { &wanted } else { &before };
        assert_eq!(self.server.limits(), expected, "limits are set, or stay: {result:?}");
        assert_eq!(result.is_ok(), make_sense(&wanted), "what makes no sense is refused");
    }

    fn exempt(&mut self, input: &mut Input<'_>) {
        let prefix = IpPrefix::new(address(input).ip(), input.byte());
        let limits = self.server.limits().clone().exempt_from_per_ip(vec![prefix]);
        self.server.set_limits(limits).expect("those in force make sense");
    }

    fn dedicate(&mut self, input: &mut Input<'_>) {
        let Some(index) = self.any_handle(input) else { return };
        let switch = if input.bool() { Switch::AtOnce } else { Switch::WithClient };
        let open = self.wire.state().open().len();
        let handle = &mut self.handles[index];
        let is_there = handle.life == self.life && handle.peer.state() == PeerState::Open;
        let result = self.server.dedicate_socket(&mut handle.peer, switch);
        assert!(is_there || result.is_err(), "a socket for somebody who is not there");
        let now_open = self.wire.state().open().len();
        assert_eq!(now_open, open + usize::from(result.is_ok()), "a socket more, or none");
        if let (Ok(addr), Switch::AtOnce) = (result, switch) {
            assert_eq!(handle.peer.local_addr(), Some(addr), "from where packets leave");
        }
        if now_open > open {
            self.note_own_socket(index, switch);
        }
    }

    fn advance(&mut self, input: &mut Input<'_>) {
        let times = [1, 1_000_000, 16_000_000, 400_000_000, 999_999_999, 3_000_000_000, 31_000_000_000, u64::MAX >> 8];
        let time = Duration::from_nanos(input.one_of(&times));
        self.wire.state().now += time;
    }

    /// Who is looked for is found exactly where they are there.
    fn find(&mut self, input: &mut Input<'_>) {
        let addr = address(input);
        let id = ConnectionId(u64::from(input.byte() & 7));
        let open = || {
            let present = self.handles.iter().filter(|handle| handle.life == self.life);
            present.map(|handle| &handle.peer).filter(|peer| peer.state() == PeerState::Open)
        };
        let known_there =
            |peer: &&PacketPeerUdp| peer.connection_id().is_none() && peer.remote_addr() == Some(canonical(addr));
        let (found, there) = (self.server.find(addr), open().find(known_there).map(PacketPeerUdp::id));
        if there.is_some() || !addr.ip().to_canonical().is_unspecified() {
            assert_eq!(found, there, "who is at {addr}");
        } else if let Some(found) = found {
            // An unspecified address means this host, where no forger has given it to anybody.
            assert!(open().any(|peer| peer.id() == found), "who is at this host");
        }
        let named = open().find(|peer| peer.connection_id() == Some(id));
        assert_eq!(self.server.find_connection(id), named.map(PacketPeerUdp::id), "who has the id {id}");
    }

    /// The game does with its packets what it likes, and gives them back in any order.
    fn keep_packets(&mut self, input: &mut Input<'_>) {
        self.kept.iter().for_each(check_kept);
        let choice = input.byte();
        let Some(index) = usize::from(choice >> 2).checked_rem(self.kept.len()) else { return };
        let (mut packet, mut bytes) = self.kept.swap_remove(index);
        match choice & 3 {
            0 => assert_eq!(packet.into_vec(), bytes),
            1 => {
                packet.truncate(3);
                bytes.truncate(3);
                assert_eq!(packet.strip_back(1).map(<[u8]>::to_vec), bytes.pop().map(|byte| vec![byte]));
                let front = (!bytes.is_empty()).then(|| vec![bytes.remove(0)]);
                assert_eq!(packet.strip_front(1).map(<[u8]>::to_vec), front);
                self.kept.push((packet, bytes));
            }
            2 => {
                packet.iter_mut().for_each(|byte| *byte = !*byte);
                bytes.iter_mut().for_each(|byte| *byte = !*byte);
                self.kept.push((packet, bytes));
            }
            _ => {
                let derived = packet.derive(&bytes);
                assert_eq!(
                    (&*derived, derived.sender(), derived.received_at()),
                    (&*packet, packet.sender(), packet.received_at())
                );
            }
        }
    }

    /// On sockets in virtual time nothing ever blocks. And what is the whole server's is refused to one of its peers.
    fn wait(&mut self) {
        let takes_all = self.wire.state().fates.is_empty();
        let result = self.server.wait(None);
        assert_eq!(result.is_ok(), self.server.is_listening(), "{result:?}");
        if takes_all && result.is_ok() {
            assert_eq!(self.server.stats().send_queued, 0, "what was put waits behind a wait");
        }
        let Some(Handle { peer, .. }) = self.handles.first_mut() else { return };
        assert!(matches!(peer.set_queue_limits(QueueLimits::new()), Err(OptionError::ServersPeer)));
        assert!(matches!(peer.set_max_per_poll(1), Err(OptionError::ServersPeer)));
        assert!(matches!(peer.bind(0), Err(BindError::ServersPeer)));
        assert!(matches!(peer.connect_to_host("127.0.0.1:9"), Err(ConnectError::ServersPeer)));
        assert!(peer.poll().is_ok());
    }
}
