//! Addresses in whatever form a transport of one's own tells them, or a program names them: IPv4 mapped into IPv6, and
//! scopes that say nothing. The system's sockets tell most of them in one form.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use packetpeer::error::ConnectError;
use packetpeer::identity::Switch;
use packetpeer::sim::Network;
use packetpeer::socket::{
    BindAddr, BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, send_one_by_one,
};
use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};

mod util;

use util::texts;

/// Sockets that tell addresses as they were told them, and of which a test plays the network.
#[derive(Debug, Clone, Default)]
struct Plain(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bound: Vec<BindAddr>,
    connected: Vec<SocketAddr>,
    inbox: VecDeque<(SocketAddr, &'static [u8])>,
    local_addr_fails: bool,
}

impl Plain {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn arrive(&self, from: &str, bytes: &'static [u8]) {
        self.state().inbox.push_back((addr(from), bytes));
    }

    fn server(&self, at: &str) -> UdpServer {
        let mut server = UdpServer::with_transport(ServerConfig::new(), self.clone()).unwrap();
        server.listen(at).unwrap();
        server
    }

    fn peer(&self, at: &str) -> PacketPeerUdp {
        let mut peer = PacketPeerUdp::with_transport(self.clone());
        peer.bind(at).unwrap();
        peer
    }
}

impl TransportFactory for Plain {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        self.state().bound.push(options.addr);
        let local_addr = if let BindAddr::Addr(addr) = options.addr { addr } else { addr("[::]:40000") };
        Ok(Box::new(PlainSocket { plain: self.clone(), local_addr }))
    }

    fn clock(&self) -> Clock {
        Clock::system()
    }
}

#[derive(Debug)]
struct PlainSocket {
    plain: Plain,
    local_addr: SocketAddr,
}

impl Transport for PlainSocket {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        while !batch.is_full() {
            let Some((sender, bytes)) = self.plain.state().inbox.pop_front() else { break };
            batch.push(sender, bytes);
        }
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
        self.plain.state().connected.push(remote);
        Ok(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let fails = std::mem::take(&mut self.plain.state().local_addr_fails);
        if fails { Err(io::ErrorKind::Other.into()) } else { Ok(self.local_addr) }
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(!self.plain.state().inbox.is_empty())
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn at_a_group_in_whatever_form_an_unspecified_address_means_this_host_and_not_the_group() {
    for group in ["239.255.0.1:7", "[::ffff:239.255.0.1]:7"] {
        for (to, here) in [("0.0.0.0:9", "127.0.0.1:9"), ("[::ffff:0.0.0.0]:9", "127.0.0.1:9"), ("[::]:9", "[::1]:9")] {
            let mut peer = Plain::default().peer(group);
            peer.connect_to_host(to).unwrap();
            assert_eq!(peer.remote_addr(), Some(addr(here)), "{to} from {group}");

            let mut server = Plain::default().server(group);
            assert_eq!(server.connect(addr(to)).unwrap().remote_addr(), Some(addr(here)), "{to} from {group}");
        }
    }
}

#[test]
fn at_an_address_in_whatever_form_an_unspecified_address_means_that_one() {
    for own in ["10.0.0.1:7", "[::ffff:10.0.0.1]:7"] {
        for to in ["0.0.0.0:9", "[::]:9"] {
            let mut peer = Plain::default().peer(own);
            peer.connect_to_host(to).unwrap();
            assert_eq!(peer.remote_addr(), Some(addr("10.0.0.1:9")), "{to} from {own}");
        }
    }
}

/// The system may fail to tell where a socket is bound, and tell it the next time.
#[test]
fn a_peer_is_connected_to_whom_was_checked_where_the_system_changes_its_mind() {
    for own in ["10.0.0.1:7", "239.255.0.1:7", "[::ffff:239.255.0.1]:7"] {
        let plain = Plain::default();
        let mut peer = plain.peer(own);
        plain.state().local_addr_fails = true;
        peer.connect_to_host("0.0.0.0:9").unwrap();
        assert_eq!(plain.state().connected, [addr("127.0.0.1:9")]);
        assert_eq!(peer.remote_addr(), Some(addr("127.0.0.1:9")));
    }
}

#[test]
fn a_client_is_one_peer_whatever_scope_its_address_is_told_with() {
    let plain = Plain::default();
    let mut server = plain.server("[::]:7");
    plain.arrive("[2001:db8::1%5]:9", b"one");
    plain.arrive("[2001:db8::1]:9", b"two");
    server.poll().unwrap();
    let mut peer = server.take_connection().unwrap();
    assert_eq!(peer.remote_addr(), Some(addr("[2001:db8::1]:9")));
    assert_eq!(texts(&mut peer), ["one", "two"]);
    assert_eq!(server.pending_count(), 0);
    for named in ["[2001:db8::1]:9", "[2001:db8::1%5]:9"] {
        assert_eq!(server.find(addr(named)), Some(peer.id()));
        let again = server.connect(addr(named));
        assert!(matches!(again, Err(ConnectError::AlreadyKnown(id)) if id == peer.id()), "{again:?}");
        assert_eq!(server.confirm_move(peer.id(), addr(named)), Ok(true));
    }

    // On two links the same address is two hosts'.
    plain.arrive("[fe80::1%1]:9", b"here");
    plain.arrive("[fe80::1%2]:9", b"there");
    server.poll().unwrap();
    assert_eq!(server.pending_count(), 2);
}

#[test]
fn a_connected_peer_hears_its_remote_whatever_scope_that_is_told_with() {
    for follow in [false, true] {
        let plain = Plain::default();
        let mut peer = plain.peer("[2001:db8::2]:7");
        peer.set_follow_port(follow).unwrap();
        peer.connect_to_host("[2001:db8::1]:9").unwrap();
        plain.arrive("[2001:db8::1%5]:9", b"it is me");
        peer.poll().unwrap();
        assert_eq!(texts(&mut peer), ["it is me"]);
    }
}

#[test]
fn a_peers_own_socket_is_not_bound_to_the_group_that_its_server_listens_to_in_whatever_form() {
    for group in ["239.255.0.1:7", "[::ffff:239.255.0.1]:7"] {
        let plain = Plain::default();
        let mut server = plain.server(group);
        assert_eq!(server.local_addr(), Some(addr("239.255.0.1:7")));
        plain.arrive("10.0.0.2:9", b"hello");
        server.poll().unwrap();
        let mut peer = server.take_connection().unwrap();
        server.dedicate_socket(&mut peer, Switch::AtOnce).unwrap();
        assert_eq!(plain.state().bound.last(), Some(&BindAddr::Any(0)), "{group}");
    }
}

#[test]
fn a_host_in_memory_listens_at_its_addresses_in_whatever_form() {
    let host = Network::new().host([10, 0, 0, 1]);
    for (asked, told) in [("[::ffff:10.0.0.1]:7777", "10.0.0.1:7777"), ("[::ffff:0.0.0.0]:7777", "0.0.0.0:7777")] {
        let mut server = UdpServer::with_transport(ServerConfig::new(), host.clone()).unwrap();
        server.listen(asked).unwrap();
        assert_eq!(server.local_addr(), Some(addr(told)));
        let mut client = PacketPeerUdp::with_transport(host.clone());
        client.connect_to_host(asked).unwrap();
        client.put_packet(b"hello").unwrap();
        server.poll().unwrap();
        assert_eq!(texts(&mut server.take_connection().unwrap()), ["hello"]);
    }
}
