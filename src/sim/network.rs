use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;

use super::buffers::Buffers;
use super::fast_hash::FastHash;
use super::lane::{Lane, nanos};
use super::link::{Link, LinkStats};
use super::schedule::Schedule;
use crate::address::canonical;
use crate::socket::{BindAddr, BindOptions, Interrupt, ReceiveBatch, Transport, TransportFactory};

/// First of the ports given out where the caller leaves the choice (RFC 6335, 6).
const FIRST_DYNAMIC_PORT: u16 = 49_152;

/// What an endpoint holds where its owner asks for no size, in bytes: the usual `net.core.rmem_default` of Linux.
const DEFAULT_BUFFER: usize = 212_992;

/// What a waiting datagram costs beside its payload, in bytes.
const OVERHEAD: usize = 256;

/// How far the clock goes: links count nanoseconds in 64 bits.
const END_OF_TIME: Duration = Duration::from_nanos(u64::MAX);

/// A network that exists only in this process. Clones are the same network.
///
/// Between two addresses there is a link in each direction. It is perfect, and what is sent arrives at once, until
/// [`set_link`](Self::set_link) says otherwise.
///
/// A socket keeps what waits to be received in a buffer of 212,992 bytes, as is usual on Linux, or of what its owner
/// asks for: a server by [`SocketOptions::receive_buffer`](crate::SocketOptions#structfield.receive_buffer), 4 MiB by
/// default, a peer by [`set_receive_buffer`](crate::PacketPeerUdp::set_receive_buffer). A datagram takes its payload and
/// 256 bytes; so 828 of one byte fit into the smaller one. What finds no room is [lost](Self::lost).
#[derive(Clone)]
pub struct Network {
    wires: Arc<Mutex<Wires>>,
}

/// Which address is at one end of a link: this one, or any.
///
/// Made from an address wherever one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkEnd {
    /// Every address.
    Any,
    /// This address.
    Addr(IpAddr),
}

/// Everything there is: the clock, who is bound where, the links, and what is under way on them.
struct Wires {
    start: Instant,
    elapsed: Duration,
    seed: u64,
    /// By the index that their transports have.
    endpoints: Vec<Option<Endpoint>>,
    vacant: Vec<usize>,
    bound: IndexMap<Place, usize, FastHash>,
    /// Which port each host chooses next, by the first of its addresses.
    next_ports: IndexMap<u128, u16, FastHash>,
    /// What was set, by the ends that were named.
    links: IndexMap<(LinkEnd, LinkEnd), Link>,
    /// By the addresses that something was sent from and to. None is ever removed.
    lanes: IndexMap<Ends, Wire, FastHash>,
    under_way: Schedule<Flight>,
    buffers: Buffers,
    lost: u64,
}

/// From where to where, as the bits of IPv6 addresses, into which IPv4 is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ends {
    from: u128,
    to: u128,
}

/// A socket address, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    ip: u128,
    scope_and_port: u64,
}

/// The link from one address to another.
#[derive(Debug)]
struct Wire {
    lane: Lane,
    stats: LinkStats,
}

/// A datagram under way.
#[derive(Debug)]
struct Flight {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
    /// The index of its wire.
    wire: usize,
}

struct Endpoint {
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    bytes: usize,
    capacity: usize,
    connected: Option<SocketAddr>,
}

impl Network {
    /// A network without hosts, at time zero, with seed 0.
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// A network whose links draw their chances from `seed`. Each link has chances of its own, which depend on the seed
    /// and on the two addresses and on nothing else, and ports that are left to the system's choice are counted for each
    /// host: to add a host changes nothing for the others.
    pub fn with_seed(seed: u64) -> Self {
        let wires = Wires {
            start: Instant::now(),
            elapsed: Duration::ZERO,
            seed,
            endpoints: Vec::new(),
            vacant: Vec::new(),
            bound: IndexMap::default(),
            next_ports: IndexMap::default(),
            links: IndexMap::new(),
            lanes: IndexMap::default(),
            under_way: Schedule::new(),
            buffers: Buffers::default(),
            lost: 0,
        };
        Self { wires: Arc::new(Mutex::new(wires)) }
    }

    /// A host with this address, to be given to [`UdpServer::with_transport`](crate::UdpServer::with_transport) or
    /// [`PacketPeerUdp::with_transport`](crate::PacketPeerUdp::with_transport). Asking twice gives the same host.
    pub fn host(&self, addr: impl Into<IpAddr>) -> Host {
        Host { network: self.clone(), addrs: vec![addr.into().to_canonical()] }
    }

    /// Sets the link from one address to another, in this direction only, for what is sent from now on. What is under
    /// way keeps its time.
    ///
    /// [`LinkEnd::Any`] stands for every address: each pair has a link of its own, with the whole rate. Where several
    /// hold for a pair, it is the one that names both ends, or else the sender, or else the receiver. All sockets of a
    /// host share its links.
    ///
    /// ```
    /// use packetpeer::sim::{Link, LinkEnd, Network};
    ///
    /// let network = Network::new();
    /// network.set_link(LinkEnd::Any, LinkEnd::Any, Link::FIBRE);
    /// network.set_link([10, 0, 0, 2], [10, 0, 0, 1], Link::FIBRE.black_out(true)); // into the tunnel
    /// ```
    pub fn set_link(&self, from: impl Into<LinkEnd>, to: impl Into<LinkEnd>, link: Link) {
        self.wires().set_link(from.into().canonical(), to.into().canonical(), link);
    }

    /// What the link from one address to another has done so far. With [`LinkEnd::Any`] it is the sum over all links
    /// from or to the other end.
    pub fn link_stats(&self, from: impl Into<LinkEnd>, to: impl Into<LinkEnd>) -> LinkStats {
        self.wires().link_stats(from.into().canonical(), to.into().canonical())
    }

    /// Moves the clock, and delivers what is due by then, in the order in which it is due.
    ///
    /// Nobody answers in between: where answers matter, advance by no more than a frame, or
    /// [to the next arrival](Self::next_arrival).
    ///
    /// The clock goes no further than 584 years, which is also the longest that a datagram can be under way.
    pub fn advance(&self, by: Duration) {
        let mut wires = self.wires();
        wires.elapsed = wires.elapsed.saturating_add(by).min(END_OF_TIME);
        wires.deliver_due();
    }

    /// What time it is.
    pub fn now(&self) -> Instant {
        self.wires().now()
    }

    /// How far the clock has moved since the network was made.
    pub fn elapsed(&self) -> Duration {
        self.wires().elapsed
    }

    /// How far the clock has to be moved for the next datagram to arrive. `None` where none is under way.
    pub fn next_arrival(&self) -> Option<Duration> {
        let wires = self.wires();
        wires.under_way.next_due().map(|due| Duration::from_nanos(due).saturating_sub(wires.elapsed))
    }

    /// Datagrams that are under way: sent, and not yet arrived.
    pub fn in_flight(&self) -> usize {
        self.wires().under_way.len()
    }

    /// Datagrams that reached nobody: nobody was bound there, the receiver's buffer was full, it was connected to
    /// somebody else, or it closed before it had received them. What links drop is in [`link_stats`](Self::link_stats).
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
            .field("seed", &wires.seed)
            .field("bound", &wires.bound.len())
            .field("in_flight", &wires.under_way.len())
            .field("lost", &wires.lost)
            .finish_non_exhaustive()
    }
}

impl LinkEnd {
    fn canonical(self) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Addr(addr) => Self::Addr(addr.to_canonical()),
        }
    }

    fn is(self, addr: u128) -> bool {
        match self {
            Self::Any => true,
            Self::Addr(own) => bits(own) == addr,
        }
    }
}

impl From<IpAddr> for LinkEnd {
    fn from(addr: IpAddr) -> Self {
        Self::Addr(addr)
    }
}

impl From<Ipv4Addr> for LinkEnd {
    fn from(addr: Ipv4Addr) -> Self {
        Self::Addr(addr.into())
    }
}

impl From<Ipv6Addr> for LinkEnd {
    fn from(addr: Ipv6Addr) -> Self {
        Self::Addr(addr.into())
    }
}

impl From<[u8; 4]> for LinkEnd {
    fn from(addr: [u8; 4]) -> Self {
        Self::Addr(addr.into())
    }
}

/// The address as one number: the bits of the IPv6 address that it is, or that it is mapped to.
fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => 0xffff_0000_0000 | u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

impl Place {
    fn of(addr: SocketAddr) -> Self {
        let scope = if let SocketAddr::V6(addr) = addr { addr.scope_id() } else { 0 };
        Self { ip: bits(addr.ip()), scope_and_port: u64::from(scope) << 16 | u64::from(addr.port()) }
    }
}

impl Ends {
    fn new(from: IpAddr, to: IpAddr) -> Self {
        Self { from: bits(from), to: bits(to) }
    }

    fn are(self, from: LinkEnd, to: LinkEnd) -> bool {
        from.is(self.from) && to.is(self.to)
    }
}

impl Wires {
    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    fn free_port(&mut self, host: u128, addrs: &[IpAddr]) -> io::Result<u16> {
        let mut next = self.next_ports.get(&host).copied().unwrap_or(FIRST_DYNAMIC_PORT);
        for _ in FIRST_DYNAMIC_PORT..=u16::MAX {
            let port = next;
            next = port.checked_add(1).unwrap_or(FIRST_DYNAMIC_PORT);
            if self.is_free(addrs, port) {
                self.next_ports.insert(host, next);
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    fn is_free(&self, addrs: &[IpAddr], port: u16) -> bool {
        addrs.iter().all(|&ip| !self.bound.contains_key(&Place::of(SocketAddr::new(ip, port))))
    }

    fn open(&mut self, endpoint: Endpoint) -> usize {
        let index = self.vacant.pop().unwrap_or(self.endpoints.len());
        if index == self.endpoints.len() {
            self.endpoints.push(None);
        }
        self.endpoints[index] = Some(endpoint);
        index
    }

    fn close(&mut self, index: usize) {
        let Some(endpoint) = self.endpoints[index].take() else { return };
        self.vacant.push(index);
        self.lost += endpoint.inbox.len() as u64;
        for (_, bytes) in endpoint.inbox {
            self.buffers.recycle(bytes);
        }
    }

    fn set_link(&mut self, from: LinkEnd, to: LinkEnd, link: Link) {
        self.links.insert((from, to), link);
        let now = nanos(self.elapsed);
        for (ends, wire) in self.lanes.iter_mut().filter(|(ends, _)| ends.are(from, to)) {
            wire.lane.set_link(link_between(&self.links, *ends), now);
        }
    }

    fn link_stats(&self, from: LinkEnd, to: LinkEnd) -> LinkStats {
        let mut sum = LinkStats::default();
        for (_, wire) in self.lanes.iter().filter(|(ends, _)| ends.are(from, to)) {
            sum += wire.stats;
        }
        sum
    }

    /// The index of the wire from one address to another.
    fn wire(&mut self, ends: Ends) -> usize {
        if let Some(index) = self.lanes.get_index_of(&ends) {
            return index;
        }
        let halves = |bits: u128| [(bits >> 64) as u64, bits as u64];
        let name = [halves(ends.from), halves(ends.to)].concat();
        let lane = Lane::new(link_between(&self.links, ends), self.seed, &name);
        self.lanes.insert_full(ends, Wire { lane, stats: LinkStats::default() }).0
    }

    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let now = nanos(self.elapsed);
        let index = self.wire(Ends::new(from.ip(), to.ip()));
        let Wire { lane, stats } = &mut self.lanes[index];
        let Some(passage) = lane.judge(now, bytes.len(), stats) else { return };
        for due in passage.arrivals() {
            let flight = Flight { from, to, bytes: passage.deliver(self.buffers.copy(bytes)), wire: index };
            if due > now {
                self.lanes[index].lane.depart(bytes.len());
                self.under_way.add(due, flight);
            } else {
                self.land(flight);
            }
        }
    }

    fn deliver_due(&mut self) {
        let now = nanos(self.elapsed);
        while let Some(taken) = self.under_way.take_due(now) {
            let flight = taken.value;
            self.lanes[flight.wire].lane.arrive(flight.bytes.len());
            self.land(flight);
        }
    }

    /// Who is there when it arrives, gets it.
    fn land(&mut self, flight: Flight) {
        let Flight { from, to, bytes, wire } = flight;
        let receiver = self.bound.get(&Place::of(to)).and_then(|&index| self.endpoints[index].as_mut());
        match receiver {
            Some(receiver) if receiver.accepts(from, bytes.len()) => receiver.push(from, bytes),
            _ => {
                self.buffers.recycle(bytes);
                self.lanes[wire].stats.undelivered += 1;
                self.lost += 1;
            }
        }
    }
}

/// The most specific link that was set for these ends.
fn link_between(links: &IndexMap<(LinkEnd, LinkEnd), Link>, ends: Ends) -> Link {
    let addr = |bits| LinkEnd::Addr(Ipv6Addr::from_bits(bits).into()).canonical();
    let (from, to) = (addr(ends.from), addr(ends.to));
    let candidates = [(from, to), (from, LinkEnd::Any), (LinkEnd::Any, to), (LinkEnd::Any, LinkEnd::Any)];
    candidates.iter().find_map(|ends| links.get(ends)).cloned().unwrap_or_default()
}

impl Endpoint {
    fn accepts(&self, from: SocketAddr, len: usize) -> bool {
        self.connected.is_none_or(|remote| remote == from) && self.bytes + len + OVERHEAD <= self.capacity
    }

    fn push(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        self.bytes += bytes.len() + OVERHEAD;
        self.inbox.push_back((from, bytes));
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
        let port = if asked == 0 { wires.free_port(bits(self.addrs[0]), &addrs)? } else { asked };
        if !wires.is_free(&addrs, port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let capacity = options.receive_buffer.unwrap_or(DEFAULT_BUFFER);
        let index = wires.open(Endpoint { inbox: VecDeque::new(), bytes: 0, capacity, connected: None });
        for &ip in &addrs {
            wires.bound.insert(Place::of(SocketAddr::new(ip, port)), index);
        }
        let local_addr = match (options.addr, addrs.as_slice()) {
            (BindAddr::Any(_), _) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
            (BindAddr::Addr(addr), _) => SocketAddr::new(addr.ip(), port),
        };
        Ok(Box::new(SimTransport { network: self.network.clone(), index, addrs, local_addr }))
    }

    fn now(&self) -> Instant {
        self.network.now()
    }
}

#[derive(Debug)]
struct SimTransport {
    network: Network,
    /// Of its endpoint, for as long as it lives.
    index: usize,
    addrs: Vec<IpAddr>,
    local_addr: SocketAddr,
}

impl SimTransport {
    /// Where a datagram to `to` goes: what is unspecified means this host, and hosts have no interfaces for a scope to
    /// tell apart.
    fn meant(&self, to: SocketAddr) -> SocketAddr {
        let to = canonical(to);
        let to = if to.ip().is_unspecified() { self.this_host(to) } else { to };
        SocketAddr::new(to.ip(), to.port())
    }

    /// The address that a datagram to `to` comes from.
    fn source(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        let ip = self.addrs.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()).ok_or(io::ErrorKind::NetworkUnreachable)?;
        Ok(SocketAddr::new(*ip, self.local_addr.port()))
    }
}

impl Transport for SimTransport {
    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let wires = &mut *self.network.wires();
        let Some(endpoint) = &mut wires.endpoints[self.index] else { return Ok(()) };
        while !batch.is_full() {
            let Some((from, bytes)) = endpoint.pop() else { break };
            batch.push(from, &bytes);
            wires.buffers.recycle(bytes);
        }
        Ok(())
    }

    fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let to = self.meant(to);
        let from = self.source(to)?;
        self.network.wires().carry(from, to, bytes);
        Ok(())
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        let remote = self.meant(remote);
        let local_addr = self.source(remote)?;
        if let Some(endpoint) = &mut self.network.wires().endpoints[self.index] {
            endpoint.connected = Some(remote);
        }
        self.local_addr = local_addr;
        Ok(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr)
    }

    fn reaches(&self, to: SocketAddr) -> bool {
        self.source(canonical(to)).is_ok()
    }

    fn this_host(&self, to: SocketAddr) -> SocketAddr {
        let of_family = |v4: bool| self.addrs.iter().find(|ip| ip.is_ipv4() == v4);
        let any = if canonical(to).is_ipv4() { of_family(true) } else { of_family(false).or(of_family(true)) };
        any.map_or(to, |&ip| SocketAddr::new(ip, to.port()))
    }

    fn now(&self) -> Instant {
        self.network.now()
    }

    fn is_virtual(&self) -> bool {
        true
    }

    fn receive_buffer_size(&self) -> Option<usize> {
        self.network.wires().endpoints[self.index].as_ref().map(|endpoint| endpoint.capacity)
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(self.network.wires().endpoints[self.index].as_ref().is_some_and(|endpoint| !endpoint.inbox.is_empty()))
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        let mut wires = self.network.wires();
        wires.close(self.index);
        for &ip in &self.addrs {
            wires.bound.swap_remove(&Place::of(SocketAddr::new(ip, self.local_addr.port())));
        }
    }
}
