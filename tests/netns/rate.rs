//! A link that is slower than what is sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use packetpeer::error::PutError;
use packetpeer::socket::{
    BindOptions, Clock, Interrupt, ReceiveBatch, SendBatch, SystemSockets, Transport, TransportFactory,
};
use packetpeer::{PacketPeerUdp, SendMode, ServerConfig, SocketOptions, UdpServer};

use super::hosts::{Host, at, two_hosts};
use super::talk::{admit, assert_counts_add_up, assert_peers_counts_add_up};
use crate::util::{MOMENT, assert_counts, eventually};

/// What the link carries: five hundred of our datagrams a second.
const RATE: &str = "4mbit";

/// Bytes that may wait for the link: more than the socket lets us have on the way. What does not fit here would be lost
/// without a word.
const LINK_QUEUE: usize = 1 << 20;

/// The socket's buffer, in bytes: some ten of our datagrams.
const BUFFER: usize = 16 << 10;

/// Datagrams that are put at a time: far more than the buffer holds, and fewer than may wait.
const COUNT: usize = 200;

const SIZE: usize = 1_000;

/// Real sockets that count the calls by which something is to be sent.
#[derive(Debug, Clone)]
struct Counting(Arc<AtomicUsize>);

impl TransportFactory for Counting {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let socket = SystemSockets.bind(options)?;
        Ok(Box::new(Counted { socket, calls: Arc::clone(&self.0) }))
    }

    fn clock(&self) -> Clock {
        SystemSockets.clock()
    }
}

#[derive(Debug)]
struct Counted {
    socket: Box<dyn Transport>,
    calls: Arc<AtomicUsize>,
}

impl Transport for Counted {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.socket)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.socket.receive(batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.socket.send(bytes, to, from)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.socket.send_batch(batch)
    }

    fn max_segments(&self) -> usize {
        self.socket.max_segments()
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.socket.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        self.socket.wait(timeout, interrupt)
    }
}

/// A server behind a slow link, a client on the other side of it, and the client's peer.
struct Slow {
    server: UdpServer,
    peer: PacketPeerUdp,
    client: PacketPeerUdp,
    /// Numbers of the datagrams that the client has got.
    heard: Vec<usize>,
    calls: Arc<AtomicUsize>,
}

impl Slow {
    fn new([here, there]: &[Host; 2], ip: &str, mode: SendMode) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let socket = SocketOptions::new().send_buffer(Some(BUFFER));
        let config = ServerConfig::new().send_mode(mode).socket(socket);
        let mut server = UdpServer::with_transport(config, Counting(Arc::clone(&calls))).unwrap();
        there.enter(|| server.listen(0)).unwrap();
        let mut client = here.connect(at(ip, server.local_port().unwrap()));
        let peer = admit(&mut server, &mut client);
        Self { server, peer, client, heard: Vec::new(), calls }
    }

    /// Calls made since this was asked last.
    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }

    /// Takes what has come to the client; waits a moment for it.
    fn listen(&mut self) {
        self.client.wait(Some(MOMENT)).unwrap();
        self.client.poll().unwrap();
        while let Some(packet) = self.client.get_packet().unwrap() {
            assert_eq!(packet.len(), SIZE);
            self.heard.push(usize::from(u16::from_be_bytes([packet[0], packet[1]])));
        }
    }

    #[track_caller]
    fn wait_until_heard(&mut self, count: usize) {
        eventually("the client has got all", || {
            self.listen();
            (self.heard.len() == count).then_some(())
        });
    }
}

fn datagram(number: usize) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..2].copy_from_slice(&(number as u16).to_be_bytes());
    bytes
}

#[test]
fn what_a_slow_link_does_not_take_would_block_and_all_that_was_taken_arrives() {
    let Some(hosts) = two_hosts() else { return };
    if !hosts[1].slow_down("veth0", RATE, LINK_QUEUE) {
        return;
    }
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut slow = Slow::new(&hosts, ip, SendMode::Now);
        slow.calls();
        let mut taken = Vec::new();
        for number in 0..COUNT {
            match slow.peer.put_packet(&datagram(number)) {
                Ok(()) => taken.push(number),
                Err(PutError::WouldBlock) => {}
                Err(error) => panic!("{error}"),
            }
        }
        // Each was tried once.
        assert_eq!(slow.calls(), COUNT);
        let refused = COUNT - taken.len();
        assert!(!taken.is_empty() && refused > 0, "{} taken", taken.len());
        slow.wait_until_heard(taken.len());
        assert_eq!(slow.heard, taken);

        // Now there is room again. A broadcast loses what is not taken as a put does.
        let report = slow.server.broadcast(&datagram(COUNT)).unwrap();
        assert_counts!(report, sent: 1, failed: 0, waiting: 0);
        let (mut sent, mut lost) = (1, 0);
        slow.calls();
        for _ in 0..COUNT {
            let report = slow.server.broadcast(&datagram(COUNT)).unwrap();
            assert_eq!(report.sent + report.failed, 1, "{report:?}");
            assert_counts!(report, waiting: 0);
            (sent, lost) = (sent + report.sent, lost + report.failed);
        }
        assert_eq!(slow.calls(), COUNT);
        assert!(lost > 0);
        slow.wait_until_heard(taken.len() + sent);

        let stats = slow.peer.stats();
        assert_eq!(stats.sent as usize, taken.len() + sent, "{stats:?}");
        assert_eq!(stats.send_drops.would_block as usize, refused + lost, "{stats:?}");
        assert_eq!(stats.send_drops.total(), stats.send_drops.would_block, "{stats:?}");
        assert_eq!(slow.client.stats().received, stats.sent);
        assert_counts_add_up(&slow.server, 2 * COUNT as u64 + 1);
        assert_peers_counts_add_up(&stats, 2 * COUNT as u64 + 1);
    }
}

#[test]
fn what_waits_for_a_slow_link_leaves_by_later_flushes_in_order_and_none_spins() {
    let Some(hosts) = two_hosts() else { return };
    if !hosts[1].slow_down("veth0", RATE, LINK_QUEUE) {
        return;
    }
    for ip in ["198.51.100.2", "2001:db8::2"] {
        for mode in [SendMode::QueueWhenBlocked, SendMode::OnFlush] {
            let mut slow = Slow::new(&hosts, ip, mode);
            slow.calls();
            for number in 0..COUNT {
                slow.peer.put_packet(&datagram(number)).unwrap();
            }
            let stats = slow.server.stats();
            assert_eq!(stats.sent + stats.send_queued, COUNT as u64, "{stats}");
            assert_counts!(stats, send_drops.total(): 0);
            assert!(stats.send_queued > 0, "{stats}");
            // Those that were sent at once, and the one that was the first to wait.
            let at_once = if mode == SendMode::OnFlush { 0 } else { stats.sent as usize + 1 };
            assert_eq!(slow.calls(), at_once);

            let mut blocked = 0;
            eventually("nothing waits any more", || {
                let waited = slow.server.stats().send_queued as usize;
                let report = slow.server.flush().unwrap();
                assert_eq!(report.sent + report.waiting, waited, "{report:?}");
                assert_counts!(report, failed: 0);
                // Each call sends something, or is the last.
                assert!(slow.calls() <= report.sent + 1);
                blocked += usize::from(report.waiting > 0);
                slow.listen();
                (report.waiting == 0).then_some(())
            });
            assert!(blocked > 0, "the link was not slow");
            slow.wait_until_heard(COUNT);
            assert!(slow.heard.iter().copied().eq(0..COUNT), "{:?}", slow.heard);

            let stats = slow.peer.stats();
            assert_counts!(stats, sent: COUNT as u64, send_drops.total(): 0);
            assert_peers_counts_add_up(&stats, COUNT as u64);
            assert_counts_add_up(&slow.server, COUNT as u64);
        }
    }
}

#[test]
fn what_may_not_wait_for_a_slow_link_is_refused_and_the_rest_arrives() {
    let Some(hosts) = two_hosts() else { return };
    if !hosts[1].slow_down("veth0", RATE, LINK_QUEUE) {
        return;
    }
    for mode in [SendMode::QueueWhenBlocked, SendMode::OnFlush] {
        let mut slow = Slow::new(&hosts, "198.51.100.2", mode);
        let may_wait = slow.server.limits().send_queue.bytes / SIZE;
        let mut taken = Vec::new();
        for number in 0..2 * may_wait {
            match slow.peer.put_packet(&datagram(number)) {
                Ok(()) => taken.push(number),
                Err(PutError::QueueFull) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let stats = slow.peer.stats();
        assert_eq!(stats.send_queued as usize, may_wait, "{stats:?}");
        assert_eq!(stats.send_drops.queue_bytes as usize, 2 * may_wait - taken.len(), "{stats:?}");
        eventually("nothing waits any more", || {
            slow.listen();
            (slow.server.flush().unwrap().waiting == 0).then_some(())
        });
        slow.wait_until_heard(taken.len());
        assert_eq!(slow.heard, taken);
        assert_peers_counts_add_up(&slow.peer.stats(), 2 * may_wait as u64);
        assert_counts_add_up(&slow.server, 2 * may_wait as u64);
    }
}

#[test]
fn a_stand_alone_peer_on_a_slow_link_would_block_and_goes_on() {
    let Some([here, there]) = two_hosts() else { return };
    if !here.slow_down("veth0", RATE, LINK_QUEUE) {
        return;
    }
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut server = there.serve(ServerConfig::new(), 0);
        let mut client = here.connect(at(ip, server.local_port().unwrap()));
        let mut peer = admit(&mut server, &mut client);
        let mut taken = 0;
        // Without a pause, in which the link would catch up.
        let refused = loop {
            match client.put_packet(&datagram(taken)) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
            assert!(taken < 10_000, "the link takes everything");
        };
        assert!(matches!(refused, PutError::WouldBlock), "{refused}");
        let mut heard = 0;
        eventually("the server has got all", || {
            server.wait(Some(MOMENT)).unwrap();
            server.poll().unwrap();
            while let Some(packet) = peer.get_packet().unwrap() {
                assert_eq!(*packet, datagram(heard));
                heard += 1;
            }
            (heard == taken).then_some(())
        });
        client.put_packet(&datagram(taken)).unwrap();
        let stats = client.stats();
        assert_counts!(stats, sent: taken as u64 + 2, send_drops.would_block: 1);
        assert_peers_counts_add_up(&stats, taken as u64 + 3);
    }
}
