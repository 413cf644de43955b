//! An in-memory network in virtual time, for tests of netcode without sockets, sleeps or luck.
//!
//! Servers and peers are the very [`UdpServer`](crate::UdpServer) and [`PacketPeerUdp`](crate::PacketPeerUdp) that a
//! game ships with; only their sockets come from a [`Host`] of a [`Network`]. Time stands still until
//! [`Network::advance`] moves it, datagrams arrive at once and in order, and nothing blocks.
//!
//! ```
//! use std::time::Duration;
//! use packetpeer::{Limits, PacketPeerUdp, ServerConfig, UdpServer, sim::Network};
//!
//! let network = Network::new();
//! let config = ServerConfig::new().limits(Limits::new().idle_timeout(Some(Duration::from_secs(5))));
//! let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1]));
//! server.listen(7777)?;
//! let mut client = PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
//! client.connect_to_host("10.0.0.1:7777")?;
//! client.put_packet(b"hello")?;
//! server.poll()?;
//! let peer = server.take_connection().unwrap();
//!
//! network.advance(Duration::from_millis(4_999));
//! assert_eq!(server.poll()?.idle, 0);
//! network.advance(Duration::from_millis(1));
//! assert_eq!(server.poll()?.idle, 1);
//! assert_eq!(peer.close_reason(), Some(packetpeer::CloseReason::Idle));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use crate::demux::canonical;
use crate::socket::{BindAddr, BindOptions, Interrupt, ReceiveBatch, Transport, TransportFactory};

/// First of the ports given out where the caller leaves the choice (RFC 6335, 6).
const FIRST_DYNAMIC_PORT: u16 = 49_152;

/// What an endpoint holds where its owner asks for no size, in bytes: the usual `net.core.rmem_default` of Linux.
const DEFAULT_BUFFER: usize = 212_992;

/// What a waiting datagram costs beside its payload, in bytes.
const OVERHEAD: usize = 256;

/// A network that exists only in this process. Clones are the same network.
#[derive(Clone)]
pub struct Network {
    wires: Arc<Mutex<Wires>>,
}

/// Everything there is: the clock, and who is bound where.
struct Wires {
    start: Instant,
    elapsed: Duration,
    endpoints: IndexMap<EndpointId, Endpoint>,
    bound: IndexMap<SocketAddr, EndpointId>,
    next_id: u64,
    next_port: u16,
    lost: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct EndpointId(u64);

struct Endpoint {
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    bytes: usize,
    capacity: usize,
    connected: Option<SocketAddr>,
}

impl Network {
    /// A network without hosts, at time zero.
    pub fn new() -> Self {
        let wires = Wires {
            start: Instant::now(),
            elapsed: Duration::ZERO,
            endpoints: IndexMap::new(),
            bound: IndexMap::new(),
            next_id: 0,
            next_port: FIRST_DYNAMIC_PORT,
            lost: 0,
        };
        Self { wires: Arc::new(Mutex::new(wires)) }
    }

    /// A host with this address, to be given to [`UdpServer::with_transport`](crate::UdpServer::with_transport) or
    /// [`PacketPeerUdp::with_transport`](crate::PacketPeerUdp::with_transport). Asking twice gives the same host.
    pub fn host(&self, addr: impl Into<IpAddr>) -> Host {
        Host { network: self.clone(), addrs: vec![addr.into().to_canonical()] }
    }

    /// Moves the clock.
    pub fn advance(&self, by: Duration) {
        self.wires().elapsed += by;
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.wires().now()
    }

    /// How far the clock has moved since the network was made.
    pub fn elapsed(&self) -> Duration {
        self.wires().elapsed
    }

    /// Datagrams that reached nobody: nobody was bound there, the receiver's buffer was full, it was connected to
    /// somebody else, or it closed before it had received them.
    pub fn lost(&self) -> u64 {
        self.wires().lost
    }

    fn wires(&self) -> MutexGuard<'_, Wires> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wires = self.wires();
        f.debug_struct("Network")
            .field("elapsed", &wires.elapsed)
            .field("bound", &wires.bound.len())
            .field("lost", &wires.lost)
            .finish()
    }
}

impl Wires {
    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    fn free_port(&mut self, addrs: &[IpAddr]) -> io::Result<u16> {
        for _ in FIRST_DYNAMIC_PORT..=u16::MAX {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_DYNAMIC_PORT);
            if self.is_free(addrs, port) {
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn is_free(&self, addrs: &[IpAddr], port: u16) -> bool {
        addrs.iter().all(|&ip| !self.bound.contains_key(&SocketAddr::new(ip, port)))
    }

    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let receiver = self.bound.get(&to).and_then(|id| self.endpoints.get_mut(id));
        let accepted = receiver.is_some_and(|receiver| receiver.accept(from, bytes));
        self.lost += u64::from(!accepted);
    }
}

impl Endpoint {
    fn accept(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        let cost = bytes.len() + OVERHEAD;
        let wanted = self.connected.is_none_or(|remote| remote == from);
        if !wanted || self.bytes + cost > self.capacity {
            return false;
        }
        self.bytes += cost;
        self.inbox.push_back((from, bytes.to_vec()));
        true
    }

    fn pop(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let (from, bytes) = self.inbox.pop_front()?;
        self.bytes -= bytes.len() + OVERHEAD;
        Some((from, bytes))
    }
}

/// A host of a [`Network`]: where servers and peers get their sockets. Clones are the same host.
#[derive(Debug, Clone)]
pub struct Host {
    network: Network,
    addrs: Vec<IpAddr>,
}

impl Host {
    /// The same host with one more address, of the same IP version or the other.
    #[must_use]
    pub fn with_address(mut self, addr: impl Into<IpAddr>) -> Self {
        self.addrs.push(addr.into().to_canonical());
        self
    }

    /// Which of the host's addresses a bind is for, and on what port.
    fn resolve(&self, addr: BindAddr) -> io::Result<(Vec<IpAddr>, u16)> {
        let of_family = |v4: bool| self.addrs.iter().copied().filter(|ip| ip.is_ipv4() == v4).collect::<Vec<_>>();
        let (addrs, port) = match addr {
            BindAddr::Any(port) => (self.addrs.clone(), port),
            BindAddr::Addr(addr) if addr.ip().is_unspecified() => (of_family(addr.is_ipv4()), addr.port()),
            BindAddr::Addr(addr) => {
                let ip = addr.ip().to_canonical();
                (self.addrs.iter().copied().filter(|&own| own == ip).collect(), addr.port())
            }
        };
        if addrs.is_empty() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok((addrs, port)) }
    }
}

impl TransportFactory for Host {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let (addrs, asked) = self.resolve(options.addr)?;
        let mut wires = self.network.wires();
        let port = if asked == 0 { wires.free_port(&addrs)? } else { asked };
        if !wires.is_free(&addrs, port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = EndpointId(wires.next_id);
        wires.next_id += 1;
        for &ip in &addrs {
            wires.bound.insert(SocketAddr::new(ip, port), id);
        }
        let capacity = options.receive_buffer.unwrap_or(DEFAULT_BUFFER);
        wires.endpoints.insert(id, Endpoint { inbox: VecDeque::new(), bytes: 0, capacity, connected: None });
        let local_addr = match (options.addr, addrs.as_slice()) {
            (BindAddr::Any(_), _) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
            (BindAddr::Addr(addr), _) => SocketAddr::new(addr.ip(), port),
        };
        Ok(Box::new(SimTransport { network: self.network.clone(), id, addrs, local_addr }))
    }

    fn now(&self) -> Instant {
        self.network.now()
    }
}

#[derive(Debug)]
struct SimTransport {
    network: Network,
    id: EndpointId,
    addrs: Vec<IpAddr>,
    local_addr: SocketAddr,
}

impl SimTransport {
    /// The address that a datagram to `to` comes from.
    fn source(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        let ip = self.addrs.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()).ok_or(io::ErrorKind::NetworkUnreachable)?;
        Ok(SocketAddr::new(*ip, self.local_addr.port()))
    }
}

impl Transport for SimTransport {
    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let mut wires = self.network.wires();
        let Some(endpoint) = wires.endpoints.get_mut(&self.id) else { return Ok(()) };
        while !batch.is_full() {
            let Some((from, bytes)) = endpoint.pop() else { break };
            batch.push(from, &bytes);
        }
        Ok(())
    }

    fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = canonical(to);
        let from = self.source(to)?;
        self.network.wires().carry(from, to, bytes);
        Ok(())
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<()> {
        let remote = canonical(remote);
        let local_addr = self.source(remote)?;
        if let Some(endpoint) = self.network.wires().endpoints.get_mut(&self.id) {
            endpoint.connected = Some(remote);
        }
        self.local_addr = local_addr;
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr)
    }

    fn reaches(&self, to: SocketAddr) -> bool {
        self.source(canonical(to)).is_ok()
    }

    fn now(&self) -> Instant {
        self.network.now()
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(self.network.wires().endpoints.get(&self.id).is_some_and(|endpoint| !endpoint.inbox.is_empty()))
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        let mut wires = self.network.wires();
        let unread = wires.endpoints.swap_remove(&self.id).map_or(0, |endpoint| endpoint.inbox.len());
        wires.lost += unread as u64;
        for &ip in &self.addrs {
            wires.bound.swap_remove(&SocketAddr::new(ip, self.local_addr.port()));
        }
    }
}
