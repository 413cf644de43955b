//! What the tests of several files share: servers and clients that are ready to talk, and loops that are patient.
#![allow(dead_code, reason = "each file of tests uses some of it")]

pub(crate) mod counts;
pub(crate) mod noisy;
pub(crate) mod wrapped;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

#[allow(unused_imports, reason = "each file of tests uses some of it")]
pub(crate) use counts::assert_counts;
use packetpeer::sim::{Host, Network};
use packetpeer::stats::PollReport;
use packetpeer::{Limits, Packet, PacketPeerUdp, ServerConfig, UdpServer};

/// Where the server of a [`World`] listens.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 7777);

/// How long what is sent over the loopback interface may take to arrive, on the busiest of machines. Nothing waits for so
/// long but what hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long one wait inside a patient loop is.
pub(crate) const MOMENT: Duration = Duration::from_millis(5);

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Calls `step` until it gives something.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut step: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = step() {
            return value;
        }
        assert!(Instant::now() < deadline, "this did not happen: {what}");
        thread::yield_now();
    }
}

/// A server of an in-memory network, listening on [`SERVER`].
pub(crate) struct World {
    pub(crate) network: Network,
    pub(crate) server: UdpServer,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_limits(Limits::new())
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        Self::with_config(ServerConfig::new().limits(limits))
    }

    pub(crate) fn with_config(config: ServerConfig) -> Self {
        let network = Network::new();
        let mut server = UdpServer::with_transport(config, network.host(SERVER.ip())).unwrap();
        server.listen(SERVER).unwrap();
        Self { network, server }
    }

    /// A host that is neither the server nor one of the first 200 clients.
    pub(crate) fn another_host(&self) -> Host {
        self.network.host([10, 0, 0, 250])
    }

    /// Client `number`, on a host of its own; it has not said anything yet.
    pub(crate) fn client(&self, number: u8) -> PacketPeerUdp {
        let mut client = PacketPeerUdp::with_transport(self.network.host([10, 0, 1, number]));
        client.connect_to_host(SERVER).unwrap();
        client
    }

    /// Client `number`, and its peer at the server, which has said hello and has been heard.
    pub(crate) fn pair(&mut self, number: u8) -> (PacketPeerUdp, PacketPeerUdp) {
        let mut client = self.client(number);
        client.put_packet(b"hello").unwrap();
        self.poll();
        let mut peer = self.server.take_connection().expect("the hello makes a connection");
        assert_eq!(texts(&mut peer), ["hello"]);
        (client, peer)
    }

    pub(crate) fn poll(&mut self) -> PollReport {
        self.server.poll().unwrap()
    }

    /// Moves the clock, then polls.
    pub(crate) fn poll_after(&mut self, time: Duration) -> PollReport {
        self.network.advance(time);
        self.poll()
    }
}

/// Everything that waits, as texts.
#[track_caller]
pub(crate) fn texts(peer: &mut PacketPeerUdp) -> Vec<String> {
    std::iter::from_fn(|| peer.get_packet().unwrap())
        .map(|packet| String::from_utf8(packet.into_vec()).unwrap())
        .collect()
}

/// Everything that has come, as texts.
#[track_caller]
pub(crate) fn poll_texts(peer: &mut PacketPeerUdp) -> Vec<String> {
    peer.poll().unwrap();
    texts(peer)
}

/// A server on a real socket of 127.0.0.1.
pub(crate) fn loopback_server() -> UdpServer {
    let mut server = UdpServer::new();
    server.listen("127.0.0.1:0").unwrap();
    server
}

/// A stand-alone peer on a real socket of 127.0.0.1.
pub(crate) fn loopback_peer() -> PacketPeerUdp {
    let mut peer = PacketPeerUdp::new();
    peer.bind("127.0.0.1:0").unwrap();
    peer
}

/// A real client of the server, which has not said anything yet.
pub(crate) fn client_of(server: &UdpServer) -> PacketPeerUdp {
    let mut client = PacketPeerUdp::new();
    client.connect_to_host(server.local_addr().unwrap()).unwrap();
    client
}

/// A real client of the server, and its peer, which has said hello and has been heard.
pub(crate) fn pair_of(server: &mut UdpServer) -> (PacketPeerUdp, PacketPeerUdp) {
    let mut client = client_of(server);
    client.put_packet(b"hello").unwrap();
    let mut peer = accept(server);
    assert_eq!(texts(&mut peer), ["hello"]);
    (client, peer)
}

/// Polls until there is a connection.
#[track_caller]
pub(crate) fn accept(server: &mut UdpServer) -> PacketPeerUdp {
    eventually("a connection", || {
        server.wait(Some(MOMENT)).unwrap();
        server.poll().unwrap();
        server.take_connection()
    })
}

/// Polls the stand-alone peer until a packet has come.
#[track_caller]
pub(crate) fn receive(peer: &mut PacketPeerUdp) -> Packet {
    eventually("a packet", || {
        peer.wait(Some(MOMENT)).unwrap();
        peer.poll().unwrap();
        peer.get_packet().unwrap()
    })
}

/// Polls the server until a packet has come for this peer of its.
#[track_caller]
pub(crate) fn receive_at(server: &mut UdpServer, peer: &mut PacketPeerUdp) -> Packet {
    eventually("a packet at the server", || {
        server.wait(Some(MOMENT)).unwrap();
        server.poll().unwrap();
        peer.get_packet().unwrap()
    })
}

/// Whether this machine speaks IPv6 to itself; says so where it does not.
pub(crate) fn has_ipv6_loopback() -> bool {
    let has = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        eprintln!("skipped: there is no ::1 here");
    }
    has
}

/// Whether this is Wine and not Windows: its `ntdll.dll` says so, by a function that the real one lacks.
#[cfg(windows)]
#[allow(unsafe_code, reason = "the standard library loads no libraries")]
pub(crate) fn is_wine() -> bool {
    use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleA, GetProcAddress};
    // SAFETY: both take NUL-terminated strings that are there for ever; the module is one that every process has loaded, and
    // where it were not there, a null handle stands for the program itself.
    unsafe {
        let ntdll = GetModuleHandleA(c"ntdll.dll".as_ptr().cast());
        GetProcAddress(ntdll, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

#[cfg(not(windows))]
pub(crate) fn is_wine() -> bool {
    false
}

/// A port of 127.0.0.1 where nobody listened a moment ago.
pub(crate) fn closed_port() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap()
}

/// What has happened, in its order, as one number: FNV-1a, which is the same everywhere.
pub(crate) struct Trace(u64);

impl Trace {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// With its end, so that two texts are not as one.
    pub(crate) fn add_text(&mut self, text: &str) {
        self.add(text.as_bytes());
        self.add(b"\n");
    }

    pub(crate) fn hash(&self) -> u64 {
        self.0
    }
}
