//! The seam as somebody meets it who writes a transport: a wrapper loses nothing that it does not name, may add to what is
//! sent, and a transport of one's own can be woken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::error::PutError;
use packetpeer::identity::Switch;
use packetpeer::sim::{Host, Network};
use packetpeer::socket::{
    BindAddr, BindOptions, Clock, Interface, Interrupt, MAX_PAYLOAD_V4, MAX_PAYLOAD_V6, ReceiveBatch, SendBatch,
    SystemSockets, Transport, TransportFactory, TransportOption, send_one_by_one,
};
use packetpeer::{Limits, PacketPeerUdp, SendMode, ServerConfig, UdpServer, WaitOutcome};

mod util;

use util::{MOMENT, PATIENCE, SERVER, accept, assert_counts, millis, pair_of, receive, receive_at};

/// A wrapper with nothing but what has to be there.
#[derive(Debug)]
struct Bare<T>(T);

impl<T: TransportFactory> TransportFactory for Bare<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Bare(self.0.bind(options)?)))
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

impl Transport for Bare<Box<dyn Transport>> {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.0)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.0.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.0.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        self.0.send_batch(batch)
    }

    fn max_segments(&self) -> usize {
        self.0.max_segments()
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.0.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.0.wait(timeout, interrupt)
    }
}

/// Of many kinds; some mean this host, some nobody, some everybody.
fn addresses() -> Vec<SocketAddr> {
    let texts = [
        "127.0.0.1:9",
        "127.255.255.255:9",
        "255.255.255.255:9",
        "0.0.0.0:9",
        "224.0.0.251:9",
        "192.0.2.1:9",
        "[::]:9",
        "[::1]:9",
        "[::ffff:127.0.0.1]:9",
        "[ff02::1]:9",
        "[2001:db8::1]:9",
    ];
    texts.map(|text| text.parse().unwrap()).to_vec()
}

/// Everything that a transport tells of itself, asked in the same order.
fn told(transport: &dyn Transport) -> Vec<String> {
    let mut told = vec![
        format!("{:?}", transport.receive_buffer_size()),
        format!("{:?}", transport.kernel_drops()),
        format!("{:?}", transport.socket()),
        format!("{:?}", transport.waits_by_socket()),
        format!("{:?}", transport.max_segments()),
        format!("{:?}", transport.local_addr().ok()),
    ];
    for to in addresses() {
        told.push(format!(
            "{to}: {:?} {:?} {:?} {:?} {:?}",
            transport.max_payload(to),
            transport.reaches(to),
            transport.this_host(to),
            transport.is_broadcast(to),
            transport.path_payload(to)
        ));
    }
    let group = IpAddr::from([224, 0, 0, 251]);
    for option in [
        TransportOption::Broadcast(true),
        TransportOption::MulticastTtl(3),
        TransportOption::MulticastLoop(false),
        TransportOption::JoinGroup(group, Interface::Default),
        TransportOption::LeaveGroup(group, Interface::Default),
    ] {
        told.push(format!("{option:?}: {:?}", transport.set_option(option).map_err(|error| error.kind())));
    }
    told
}

const PINS: bool = cfg!(all(any(target_os = "linux", target_os = "android"), not(packetpeer_portable)));

#[track_caller]
fn assert_tells_the_same(factory: impl TransportFactory, addr: BindAddr) {
    let mut options = BindOptions::new(addr);
    options.receive_buffer = Some(1 << 16);
    options.pin_reply_address = PINS;
    let wrapper = Bare(Bare(factory)).bind(&options).unwrap();
    let innermost = wrapper.inner().and_then(Transport::inner).expect("it wraps twice");
    assert!(innermost.inner().is_none());
    assert_eq!(told(&*wrapper), told(innermost));
}

#[test]
fn a_wrapper_that_names_nothing_tells_what_the_inner_transport_does() {
    assert_tells_the_same(SystemSockets, BindAddr::Any(0));
    assert_tells_the_same(SystemSockets, BindAddr::Addr((Ipv4Addr::LOCALHOST, 0).into()));
    let host = Network::new().host([10, 0, 0, 1]).with_address("fd00::1".parse::<Ipv6Addr>().unwrap());
    assert_tells_the_same(host.clone(), BindAddr::Any(0));
    assert_tells_the_same(host, BindAddr::Addr(([10, 0, 0, 1], 7).into()));
}

#[test]
fn a_transport_that_wraps_nothing_and_tells_nothing_knows_nothing() {
    #[derive(Debug)]
    struct Deaf;
    impl Transport for Deaf {
        fn inner(&self) -> Option<&dyn Transport> {
            None
        }
        fn receive(&self, _batch: &mut ReceiveBatch) -> io::Result<()> {
            Ok(())
        }
        fn send(&self, _bytes: &[u8], _to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
            Ok(())
        }
        fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
            send_one_by_one(self, batch)
        }
        fn max_segments(&self) -> usize {
            1
        }
        fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
            Ok(remote)
        }
        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([10, 0, 0, 1], 7).into())
        }
        fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
            Ok(false)
        }
    }
    let [v4, v6, any]: [SocketAddr; 3] =
        ["192.0.2.1:9", "[2001:db8::1]:9", "0.0.0.0:9"].map(|text| text.parse().unwrap());
    assert_eq!((Deaf.max_payload(v4), Deaf.max_payload(v6)), (MAX_PAYLOAD_V4, MAX_PAYLOAD_V6));
    assert!(Deaf.reaches(v4) && Deaf.reaches(v6) && !Deaf.is_broadcast(v4));
    assert_eq!(Deaf.this_host(any), ([10, 0, 0, 1], 9).into());
    assert_eq!(Deaf.set_option(TransportOption::Broadcast(true)).unwrap_err().kind(), io::ErrorKind::Unsupported);
    assert_eq!((Deaf.path_payload(v4), Deaf.receive_buffer_size(), Deaf.kernel_drops()), (None, None, None));
    assert!(Deaf.socket().is_none() && !Deaf.waits_by_socket());
}

/// What needs the system: pinned addresses, segments, the kernel's own count of drops, a socket to wait for.
#[cfg(all(target_os = "linux", not(packetpeer_portable)))]
#[test]
fn a_server_behind_a_wrapper_keeps_what_the_system_can_do() {
    let socket = packetpeer::SocketOptions::new().pin_reply_address(true).receive_buffer(Some(4096));
    let config = ServerConfig::new().socket(socket).send_mode(SendMode::OnFlush);
    let mut server = UdpServer::with_transport(config, Bare(SystemSockets)).unwrap();
    server.listen("0.0.0.0:0").unwrap();
    assert!(server.socket().is_some() && server.receive_buffer_size().is_some());

    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let spoken_to = SocketAddr::from(([127, 0, 0, 2], server.local_port().unwrap()));
    client.send_to(b"hello", spoken_to).unwrap();
    let mut peer = accept(&mut server);
    (0..3).for_each(|_| peer.put_packet(b"answer").unwrap());
    assert_eq!(server.flush().unwrap().sent, 3);
    for _ in 0..3 {
        let (len, from) = client.recv_from(&mut [0; 100]).unwrap();
        assert_eq!((len, from), (6, spoken_to));
    }

    util::eventually("the kernel drops something", || {
        client.send_to(&[0; 1000], spoken_to).unwrap();
        server.stats().kernel_drops.filter(|&drops| drops > 0)
    });
}

const TRAILER: [u8; 8] = *b"<trailer";

/// Ends each datagram by a trailer, and takes in only what has one.
#[derive(Debug, Clone)]
struct Trailed<T>(T);

#[derive(Debug)]
struct TrailedTransport {
    inner: Box<dyn Transport>,
    room: Mutex<ReceiveBatch>,
}

impl<T: TransportFactory> TransportFactory for Trailed<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(TrailedTransport { inner: self.0.bind(options)?, room: Mutex::new(ReceiveBatch::new(0, 0)) }))
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

impl Transport for TrailedTransport {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let mut room = self.room.lock().unwrap();
        if room.slot_len() != batch.slot_len() + TRAILER.len() {
            *room = ReceiveBatch::new(64, batch.slot_len() + TRAILER.len());
        }
        // What has no trailer leaves room, and says nothing of whether more waits. Of a flood of it no end is waited for.
        let mut left = batch.room();
        while !batch.is_full() {
            if left == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            room.clear(batch.room().min(left));
            let result = self.inner.receive(&mut room);
            left -= room.len();
            for mut datagram in room.iter() {
                if let Some(bytes) = datagram.bytes.strip_suffix(&TRAILER) {
                    datagram.bytes = bytes;
                    batch.push_datagram(&datagram);
                }
            }
            result?;
            if !room.is_full() {
                break;
            }
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.inner.send(&[bytes, &TRAILER].concat(), to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        let with_trailer = |datagram: &&[u8]| [*datagram, &TRAILER].concat();
        let longer: Vec<Vec<Vec<u8>>> =
            batch.messages().map(|message| message.datagrams.iter().map(with_trailer).collect()).collect();
        let mut own = SendBatch::new();
        for (message, datagrams) in batch.messages().zip(&longer) {
            let datagrams: Vec<&[u8]> = datagrams.iter().map(Vec::as_slice).collect();
            assert!(own.push(message.to, message.from, &datagrams));
        }
        self.inner.send_batch(&own)
    }

    fn max_segments(&self) -> usize {
        self.inner.max_segments()
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

    fn max_payload(&self, to: SocketAddr) -> usize {
        self.inner.max_payload(to) - TRAILER.len()
    }

    fn path_payload(&self, to: SocketAddr) -> Option<usize> {
        self.inner.path_payload(to)?.checked_sub(TRAILER.len())
    }
}

const LIMIT: usize = MAX_PAYLOAD_V4 - TRAILER.len();

#[track_caller]
fn assert_too_large(result: Result<(), PutError>, size: usize) {
    let limit = LIMIT;
    assert!(
        matches!(result, Err(PutError::TooLarge { size: s, limit: l }) if (s, l) == (size, limit)),
        "{result:?} and not {limit}"
    );
}

#[test]
fn a_wrapper_that_adds_a_trailer_lowers_what_may_be_sent_by_that() {
    for mode in [SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        let network = Network::new();
        let sockets = |host: [u8; 4]| Trailed(network.host(host));
        let mut server =
            UdpServer::with_transport(ServerConfig::new().send_mode(mode), sockets([10, 0, 0, 1])).unwrap();
        server.listen(SERVER).unwrap();
        let mut client = PacketPeerUdp::with_transport(sockets([10, 0, 0, 2]));
        client.connect_to_host(SERVER).unwrap();
        client.put_packet(b"hello").unwrap();
        server.poll().unwrap();
        let mut peer = server.take_connection().expect("the hello makes a connection");
        assert_eq!(&*peer.get_packet().unwrap().unwrap(), b"hello", "without its trailer");

        assert_eq!((peer.max_packet_size(), client.max_packet_size()), (LIMIT, LIMIT), "{mode:?}");
        assert!(peer.can_put(LIMIT) && !peer.can_put(LIMIT + 1) && client.can_put(LIMIT) && !client.can_put(LIMIT + 1));
        for size in [LIMIT + 1, MAX_PAYLOAD_V4, MAX_PAYLOAD_V4 + 1] {
            let bytes = vec![7; size];
            assert_too_large(peer.put_packet(&bytes), size);
            assert_too_large(client.put_packet(&bytes), size);
            assert_too_large(server.send_to(client.local_addr().unwrap(), &bytes), size);
            assert_too_large(server.broadcast(&bytes).map(drop), size);
        }
        assert_counts!(peer.stats(), send_drops.too_large: 3);
        assert_counts!(client.stats(), send_drops.too_large: 3);

        let largest = vec![7; LIMIT];
        peer.put_packet(&largest).unwrap();
        assert_eq!(server.broadcast(&largest).unwrap().failed, 0);
        server.flush().unwrap();
        client.put_packet(&largest).unwrap();
        server.poll().unwrap();
        client.poll().unwrap();
        assert_eq!(peer.get_packet().unwrap().unwrap().len(), LIMIT);
        for _ in 0..2 {
            assert_eq!(client.get_packet().unwrap().unwrap().len(), LIMIT);
        }
    }
}

#[test]
fn the_limit_of_a_transport_holds_for_both_ip_versions_and_before_there_is_a_socket() {
    let network = Network::new();
    let v6: IpAddr = "fd00::2".parse().unwrap();
    let mut peer = PacketPeerUdp::with_transport(Trailed(network.host([10, 0, 0, 2]).with_address(v6)));
    assert_eq!(peer.max_packet_size(), MAX_PAYLOAD_V4, "nobody has been asked");
    peer.bind(0).unwrap();
    assert_eq!(peer.max_packet_size(), LIMIT);
    peer.set_dest_address("[fd00::1]:9").unwrap();
    assert_eq!(peer.max_packet_size(), MAX_PAYLOAD_V6 - TRAILER.len());
    peer.set_dest_address("10.0.0.1:9").unwrap();
    assert_eq!(peer.max_packet_size(), LIMIT);
}

#[test]
fn what_a_wrapper_adds_crosses_real_sockets_and_strangers_without_it_are_not_heard() {
    let config = ServerConfig::new().send_mode(SendMode::OnFlush);
    let mut server = UdpServer::with_transport(config, Trailed(SystemSockets)).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(b"hello", server.local_addr().unwrap()).unwrap();
    let mut client = PacketPeerUdp::with_transport(Trailed(SystemSockets));
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(&mut server);
    assert_eq!(peer.remote_addr(), client.local_addr());
    assert_eq!(&*receive_at(&mut server, &mut peer), b"hello");

    // Where the system cuts messages into segments, these are one; the last is shorter.
    let sizes = [1000, 1000, 1000, 10];
    sizes.iter().for_each(|&size| peer.put_packet(&vec![7; size]).unwrap());
    assert_eq!(server.flush().unwrap().sent, sizes.len());
    assert_eq!(sizes.map(|_| receive(&mut client).len()), sizes);
    assert_eq!(server.stats().received, 1);
}

/// A wrapper that cannot wait for an interrupt beside its socket, and looks now and then.
#[derive(Debug)]
struct Looking<T>(T);

impl<T: TransportFactory> TransportFactory for Looking<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Looking(Bare(self.0.bind(options)?))))
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

impl Transport for Looking<Bare<Box<dyn Transport>>> {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&self.0)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.0.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.0.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        self.0.send_batch(batch)
    }

    fn max_segments(&self) -> usize {
        self.0.max_segments()
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.0.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if self.0.wait(Some(MOMENT), None)? {
                return Ok(true);
            }
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_over || interrupt.is_some_and(Interrupt::is_raised) {
                return Ok(false);
            }
        }
    }
}

/// Longer than anything here takes: a wait that lasts so long was not ended.
const FOR_EVER: Option<Duration> = Some(Duration::from_secs(2 * PATIENCE.as_secs()));

/// Servers and peers over sockets of `factory` are woken before, while or after they begin to wait, and by what comes.
fn assert_wakes<T: TransportFactory + 'static>(factory: impl Fn() -> T) {
    let mut server = UdpServer::with_transport(ServerConfig::new(), factory()).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let mut client = PacketPeerUdp::with_transport(factory());
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    let start = Instant::now();
    for pause in 0..4 {
        let (of_server, of_client) = (server.waker().unwrap(), client.waker().unwrap());
        let waker = thread::spawn(move || {
            thread::sleep(MOMENT * pause);
            of_server.wake();
            of_client.wake();
        });
        assert_eq!(server.wait(FOR_EVER).unwrap(), WaitOutcome::Woken);
        assert_eq!(client.wait(FOR_EVER).unwrap(), WaitOutcome::Woken);
        waker.join().unwrap();
    }
    client.put_packet(b"hello").unwrap();
    assert_eq!(server.wait(FOR_EVER).unwrap(), WaitOutcome::Ready);
    server.poll().unwrap();
    server.take_connection().expect("the hello makes a connection").put_packet(b"answer").unwrap();
    assert_eq!(client.wait(FOR_EVER).unwrap(), WaitOutcome::Ready);
    client.poll().unwrap();
    assert_eq!(&*client.get_packet().unwrap().unwrap(), b"answer");
    assert_eq!(server.wait(Some(millis(1))).unwrap(), WaitOutcome::TimedOut);
    assert!(start.elapsed() < PATIENCE, "it waited to the end");
}

#[test]
fn a_transport_that_looks_at_its_interrupt_can_be_woken() {
    assert_wakes(|| Looking(SystemSockets));
}

/// Sockets of the standard library, waited for by the system's call: nothing of the crate's own is beneath.
#[cfg(target_os = "linux")]
mod foreign {
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[derive(Debug)]
    pub(super) struct StdSockets;

    impl TransportFactory for StdSockets {
        fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
            let addr = match options.addr {
                BindAddr::Any(port) => (Ipv4Addr::UNSPECIFIED, port).into(),
                BindAddr::Addr(addr) => addr,
                _ => return Err(io::ErrorKind::Unsupported.into()),
            };
            let socket = UdpSocket::bind(addr)?;
            socket.set_nonblocking(true)?;
            Ok(Box::new(StdSocket(socket)))
        }

        fn clock(&self) -> Clock {
            Clock::system()
        }
    }

    #[derive(Debug)]
    struct StdSocket(UdpSocket);

    impl Transport for StdSocket {
        fn inner(&self) -> Option<&dyn Transport> {
            None
        }

        fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
            let mut bytes = [0; 2048];
            while !batch.is_full() {
                match self.0.recv_from(&mut bytes) {
                    Ok((len, sender)) => batch.push(sender, &bytes[..len]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }

        fn send(&self, bytes: &[u8], to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
            self.0.send_to(bytes, to).map(drop)
        }

        fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
            send_one_by_one(self, batch)
        }

        fn max_segments(&self) -> usize {
            1
        }

        fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
            self.0.connect(remote)?;
            self.0.peer_addr()
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            self.0.local_addr()
        }

        fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
            let mut watched = vec![PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
            watched.extend(interrupt.map(|interrupt| PollFd::new(interrupt.as_fd(), PollFlags::POLLIN)));
            let timeout = timeout.map_or(Ok(PollTimeout::NONE), PollTimeout::try_from).unwrap_or(PollTimeout::MAX);
            match poll(&mut watched, timeout) {
                Ok(_) | Err(Errno::EINTR) => Ok(watched[0].any().unwrap_or(true)),
                Err(error) => Err(error.into()),
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_transport_of_ones_own_waits_for_the_interrupt_beside_its_socket() {
    assert_wakes(|| foreign::StdSockets);
}

#[test]
fn handles_tell_the_time_of_their_transport_with_a_socket_or_without() {
    let network = Network::new();
    let mut server = UdpServer::with_transport(ServerConfig::new(), Bare(network.host(SERVER.ip()))).unwrap();
    let mut client = PacketPeerUdp::with_transport(Bare(network.host([10, 0, 0, 2])));
    network.advance(millis(1));
    assert_eq!((server.now(), client.now()), (network.now(), network.now()), "not open yet");
    server.listen(SERVER).unwrap();
    client.connect_to_host(SERVER).unwrap();
    client.put_packet(b"hello").unwrap();
    server.poll().unwrap();
    let peer = server.take_connection().unwrap();
    assert_eq!(server.wait(None).unwrap(), WaitOutcome::TimedOut, "nobody waits in virtual time");

    // The times of polls are the caller's, those of the clock are not.
    server.poll_at(network.now() + millis(500)).unwrap();
    assert_eq!(server.now(), network.now());
    server.stop();
    client.close();
    for _ in 0..2 {
        network.advance(millis(1));
        assert_eq!((server.now(), peer.now(), client.now()), (network.now(), network.now(), network.now()));
    }
    drop(server);
    network.advance(millis(1));
    assert_eq!(peer.now(), network.now(), "the server is gone");
}

#[test]
fn a_server_lives_by_the_clock_of_its_factory_and_by_no_other() {
    /// Real sockets in a time of somebody's own.
    #[derive(Debug)]
    struct Timed(Arc<Mutex<Instant>>);
    impl TransportFactory for Timed {
        fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
            SystemSockets.bind(options)
        }
        fn clock(&self) -> Clock {
            let time = Arc::clone(&self.0);
            Clock::new(move || *time.lock().unwrap())
        }
    }
    let time = Arc::new(Mutex::new(Instant::now()));
    let mut server = UdpServer::with_transport(ServerConfig::new(), Timed(Arc::clone(&time))).unwrap();
    server.listen("127.0.0.1:0").unwrap();
    let (_client, peer) = pair_of(&mut server);
    let timeout = server.limits().idle_timeout.unwrap();
    *time.lock().unwrap() += timeout - millis(1);
    assert_eq!(server.poll().unwrap().idle, 0);
    *time.lock().unwrap() += millis(1);
    assert_eq!(server.poll().unwrap().idle, 1);
    assert_eq!(peer.now(), *time.lock().unwrap());
}

/// What a transport may get wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It says that it has sent more than it was given.
    SendsMore,
    /// It makes itself room for more than it is asked for.
    ReceivesMore,
    /// It puts a batch without slots in the place of the one that it was given.
    ReceivesNothing,
    /// There is no end of what it receives.
    ReceivesForEver,
    /// Its kernel has dropped more than can be added up.
    DropsAll,
}

/// A wrapper with a fault.
#[derive(Debug, Clone)]
struct Careless<T>(T, Fault);

impl<T: TransportFactory> TransportFactory for Careless<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Careless(self.0.bind(options)?, self.1)))
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

impl Transport for Careless<Box<dyn Transport>> {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.0)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        match self.1 {
            Fault::ReceivesMore => batch.clear(usize::MAX),
            Fault::ReceivesNothing => *batch = ReceiveBatch::new(0, 0),
            Fault::ReceivesForEver => {
                while !batch.is_full() {
                    batch.push(([10, 0, 9, 9], 9).into(), b"nothing that is wanted");
                }
            }
            _ => {}
        }
        self.0.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.0.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        let sent = self.0.send_batch(batch)?;
        Ok(if self.1 == Fault::SendsMore { usize::MAX } else { sent })
    }

    fn max_segments(&self) -> usize {
        self.0.max_segments()
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.0.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.0.wait(timeout, interrupt)
    }

    fn kernel_drops(&self) -> Option<u64> {
        if self.1 == Fault::DropsAll { Some(u64::MAX) } else { self.0.kernel_drops() }
    }
}

/// It panicked, at the number of the first that was left.
#[test]
fn a_transport_that_says_it_has_sent_more_than_it_was_given_has_sent_that() {
    for mode in [SendMode::Now, SendMode::OnFlush] {
        let network = Network::new();
        let factory = Careless(network.host(SERVER.ip()), Fault::SendsMore);
        let mut server = UdpServer::with_transport(ServerConfig::new().send_mode(mode), factory).unwrap();
        server.listen(SERVER).unwrap();
        let mut pairs: Vec<_> = (1..=3).map(|number| client_and_peer(&network, &mut server, number)).collect();
        for (_, peer) in &mut pairs {
            peer.put_packet(b"put").unwrap();
        }
        let at_once = server.broadcast(b"broadcast").unwrap();
        let flushed = server.flush().unwrap();
        assert_eq!(at_once.sent + flushed.sent, if mode == SendMode::Now { 3 } else { 6 });
        let stats = server.stats();
        assert_eq!((stats.put, stats.sent, stats.send_queued, stats.send_drops.total()), (6, 6, 0, 0));
        for (client, _) in &mut pairs {
            assert_eq!(util::poll_texts(client), ["put", "broadcast"]);
        }
    }
}

fn client_and_peer(network: &Network, server: &mut UdpServer, number: u8) -> (PacketPeerUdp, PacketPeerUdp) {
    let mut client = PacketPeerUdp::with_transport(network.host(IpAddr::from([10, 0, 1, number])));
    client.connect_to_host(SERVER).unwrap();
    client.put_packet(b"hello").unwrap();
    server.poll().unwrap();
    let mut peer = server.take_connection().unwrap();
    assert_eq!(util::texts(&mut peer), ["hello"]);
    (client, peer)
}

/// The budget of a poll ran below zero, which was a panic, or no budget.
#[test]
fn a_transport_that_receives_more_than_it_is_asked_for_uses_up_the_budget() {
    let network = Network::new();
    let limits = Limits::new().max_known_per_poll(1).max_unknown_per_poll(1);
    let careless = |ip| Careless(network.host(ip), Fault::ReceivesMore);
    let mut server = UdpServer::with_transport(ServerConfig::new().limits(limits), careless(SERVER.ip())).unwrap();
    server.listen(SERVER).unwrap();
    let (mut client, mut peer) = client_and_peer(&network, &mut server, 1);
    let mut other = PacketPeerUdp::with_transport(careless(IpAddr::from([10, 0, 1, 2])));
    other.connect_to_host(SERVER).unwrap();
    other.set_max_per_poll(1).unwrap();
    other.put_packet(b"hello").unwrap();
    for text in [&b"one"[..], b"two", b"three"] {
        client.put_packet(text).unwrap();
    }
    let report = server.poll().unwrap();
    assert_eq!((report.received, report.new_connections, report.more_waiting), (4, 1, false));
    assert_eq!(util::texts(&mut peer), ["one", "two", "three"]);

    let mut peer = server.take_connection().unwrap();
    for text in [&b"one"[..], b"two", b"three"] {
        peer.put_packet(text).unwrap();
    }
    let report = other.poll().unwrap();
    assert_eq!((report.received, report.more_waiting), (3, false));
    let own = server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
    other.close();
    let mut other = PacketPeerUdp::with_transport(network.host(IpAddr::from([10, 0, 1, 2])));
    other.bind(peer.remote_addr().unwrap()).unwrap();
    other.connect_to_host(own).unwrap();
    for text in [&b"one"[..], b"two"] {
        other.put_packet(text).unwrap();
    }
    util::texts(&mut peer);
    for _ in 0..2 {
        server.poll().unwrap();
    }
    assert_eq!(util::texts(&mut peer), ["hello", "one", "two"][1..]);
}

/// The poll never came to its end.
#[test]
fn a_transport_that_leaves_no_room_to_receive_is_not_asked_for_ever() {
    let network = Network::new();
    let factory = Careless(network.host(SERVER.ip()), Fault::ReceivesNothing);
    let mut server = UdpServer::with_transport(ServerConfig::new(), factory).unwrap();
    server.listen(SERVER).unwrap();
    assert_eq!(server.poll().unwrap().received, 0);
}

/// Nothing but the wrapper's own patience ended the poll.
#[test]
fn a_wrapper_that_drops_a_flood_comes_to_an_end_of_it() {
    let network = Network::new();
    let factory = Trailed(Careless(network.host(SERVER.ip()), Fault::ReceivesForEver));
    let mut server = UdpServer::with_transport(ServerConfig::new(), factory.clone()).unwrap();
    server.listen(SERVER).unwrap();
    let mut peer = PacketPeerUdp::with_transport(factory);
    peer.bind(0).unwrap();
    for report in [server.poll().unwrap(), peer.poll().unwrap()] {
        assert_eq!((report.received, report.noise, report.more_waiting), (0, 4096, true));
    }
}

/// The sum of several sockets' was a panic.
#[test]
fn what_kernels_have_dropped_is_added_up_without_an_overflow() {
    let network = Network::new();
    let factory = |ip| Careless(network.host(ip), Fault::DropsAll);
    let mut server = UdpServer::with_transport(ServerConfig::new(), factory(SERVER.ip())).unwrap();
    let mut peer = PacketPeerUdp::with_transport(factory(IpAddr::from([10, 0, 1, 1])));
    for _ in 0..2 {
        server.listen(SERVER).unwrap();
        let (_client, mut peer) = client_and_peer(&network, &mut server, 2);
        server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
        assert_eq!(server.stats().kernel_drops, Some(u64::MAX));
        server.stop();
    }
    for _ in 0..2 {
        peer.bind(0).unwrap();
        assert_eq!(peer.stats().kernel_drops, Some(u64::MAX));
        peer.close();
    }
    assert_eq!((server.stats().kernel_drops, peer.stats().kernel_drops), (Some(u64::MAX), Some(u64::MAX)));
}

/// A wrapper that says what it carries.
#[derive(Debug)]
struct Carries<T>(T, usize);

impl<T: TransportFactory> TransportFactory for Carries<T> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        Ok(Box::new(Carries(self.0.bind(options)?, self.1)))
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

impl Transport for Carries<Box<dyn Transport>> {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.0)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.0.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.0.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        self.0.send_batch(batch)
    }

    fn max_segments(&self) -> usize {
        // As with the payload, both ends of what can be said.
        if self.1 == 0 { 0 } else { usize::MAX }
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.0.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.0.wait(timeout, interrupt)
    }

    fn max_payload(&self, _to: SocketAddr) -> usize {
        self.1
    }
}

#[test]
fn a_transport_may_carry_nothing_but_empty_datagrams_or_any() {
    for (mode, carries) in
        [SendMode::Now, SendMode::OnFlush].into_iter().flat_map(|mode| [(mode, 0), (mode, usize::MAX)])
    {
        let network = Network::new();
        let factory = Carries(network.host(SERVER.ip()), carries);
        let mut server = UdpServer::with_transport(ServerConfig::new().send_mode(mode), factory).unwrap();
        server.listen(SERVER).unwrap();
        let (mut client, mut peer) = client_and_peer(&network, &mut server, 1);
        assert_eq!((peer.max_packet_size(), peer.can_put(0), peer.can_put(1)), (carries, true, carries > 0));
        // Longer than the receiver has room for, and than the pool keeps memory for.
        assert!(!peer.can_put(usize::MAX) || (mode, carries) == (SendMode::Now, usize::MAX));
        for len in [0, 1, 70_000] {
            assert_eq!(peer.put_packet(&vec![7; len]).is_ok(), len <= carries, "{len} of {carries}");
            assert_eq!(server.broadcast(&vec![7; len]).is_ok(), len <= carries, "{len} of {carries}");
            // With something that waits: it was taken for what fits.
            assert!(!peer.can_put(usize::MAX) || (mode, carries) == (SendMode::Now, usize::MAX));
            let _ = server.flush().unwrap();
        }
        client.poll().unwrap();
        assert_eq!(client.stats().received, if carries == 0 { 2 } else { 6 });
        let stats = server.stats();
        assert_eq!(stats.put, stats.sent + stats.send_queued + stats.send_drops.total(), "{stats:#?}");
    }
}

/// Time stood still for as long as the one clock was ahead of the other.
#[test]
fn a_server_that_listens_again_goes_on_by_the_time_of_its_polls() {
    let network = Network::new();
    let limits = Limits::new().idle_timeout(Some(millis(100)));
    let mut server = UdpServer::with_transport(ServerConfig::new().limits(limits), network.host(SERVER.ip())).unwrap();
    server.listen(SERVER).unwrap();
    // The game's clock stands still in a debugger, and the transport's does not.
    let start = server.now();
    server.poll_at(start + millis(1)).unwrap();
    network.advance(Duration::from_secs(3600));
    server.poll_at(start + millis(2)).unwrap();
    server.stop();
    server.listen(SERVER).unwrap();
    let (_client, peer) = {
        let mut client = PacketPeerUdp::with_transport(network.host(IpAddr::from([10, 0, 1, 1])));
        client.connect_to_host(SERVER).unwrap();
        client.put_packet(b"hello").unwrap();
        server.poll_at(start + millis(3)).unwrap();
        (client, server.take_connection().unwrap())
    };
    assert_eq!(server.poll_at(start + millis(102)).unwrap().idle, 0);
    assert_eq!(server.poll_at(start + millis(103)).unwrap().idle, 1);
    assert!(peer.close_reason().is_some());
}

/// Between two polls the time was counted twice for which the clock had gone back.
#[test]
fn a_clock_that_goes_back_stands_still_between_polls_too() {
    #[derive(Debug)]
    struct Timed(Host, Arc<Mutex<Instant>>);
    impl TransportFactory for Timed {
        fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
            self.0.bind(options)
        }
        fn clock(&self) -> Clock {
            let time = Arc::clone(&self.1);
            Clock::new(move || *time.lock().unwrap())
        }
    }
    let start = Instant::now();
    let time = Arc::new(Mutex::new(start));
    let set_time = |passed| *time.lock().unwrap() = start + passed;
    let network = Network::new();
    let limits = Limits::new().idle_timeout(Some(millis(100)));
    let factory = Timed(network.host(SERVER.ip()), Arc::clone(&time));
    let mut server = UdpServer::with_transport(ServerConfig::new().limits(limits), factory).unwrap();
    server.listen(SERVER).unwrap();
    set_time(millis(1000));
    server.poll().unwrap();
    set_time(millis(0));
    let mut client = PacketPeerUdp::with_transport(network.host(IpAddr::from([10, 0, 1, 1])));
    client.connect_to_host(SERVER).unwrap();
    client.put_packet(b"hello").unwrap();
    server.poll().unwrap();
    set_time(millis(900));
    let _peer = server.take_connection().unwrap();
    set_time(millis(1099));
    assert_eq!(server.poll().unwrap().idle, 0);
    set_time(millis(1100));
    assert_eq!(server.poll().unwrap().idle, 1);
}

/// The clock of those who poll without a time of their own was waited for.
#[test]
fn a_poll_ahead_of_time_before_a_stop_does_not_hold_up_the_next_listening() {
    let network = Network::new();
    let limits = Limits::new().idle_timeout(Some(millis(100)));
    let mut server = UdpServer::with_transport(ServerConfig::new().limits(limits), network.host(SERVER.ip())).unwrap();
    server.listen(SERVER).unwrap();
    server.poll_at(server.now() + Duration::from_secs(30)).unwrap();
    server.stop();
    network.advance(Duration::from_secs(40));
    server.listen(SERVER).unwrap();
    let (_client, _peer) = client_and_peer(&network, &mut server, 1);
    network.advance(millis(100));
    assert_eq!(server.poll().unwrap().idle, 1);
}
