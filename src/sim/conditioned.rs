use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::buffers::Buffers;
use super::lane::{Lane, Passage, nanos};
use super::link::{Link, LinkStats};
use super::schedule::{Schedule, Taken};
use crate::socket::{
    BindOptions, Datagram, Interrupt, Message, ReceiveBatch, SendBatch, SocketRef, Transport, TransportFactory,
    TransportOption, is_blocked,
};

/// Datagrams that one call of the inner transport takes, and room for the largest.
const BATCH: usize = 8;
const SLOT: usize = 1 << 16;

/// Datagrams that one receive takes from the inner transport before it lets the caller go on.
const MAX_TAKEN: usize = 4096;

/// How long a wait sleeps before it looks again for what is to be sent, also by what other threads have put meanwhile:
/// where something is held or may be, and where the outgoing link is perfect, but may be changed.
const NAP: Duration = Duration::from_millis(1);
const LONG_NAP: Duration = Duration::from_millis(50);

/// Puts a [`Link`] in each direction around the sockets of another factory, such as
/// [`SystemSockets`](crate::socket::SystemSockets): a bad network for real programs.
///
/// What is put is held back until its time has come, and sent by a later call on the same socket, such as the next
/// poll; what has arrived is held back as well before it is received. There is no thread: who wants to be on time polls
/// often, or waits, since a wait sends what is due meanwhile, and ends when something may be received. Nothing leaves
/// before its time, with one exception: a socket that is closed, or connected elsewhere, sends at once what it still
/// holds, in its order. What it holds of the incoming is lost.
///
/// Each socket has links of its own, with the whole rate and with chances of its own: those of the seed and of the
/// socket's number in the order in which sockets were opened. Time is that of the inner factory; around a
/// [`Host`](super::Host) it is virtual. No more than 16 MiB are held a socket and direction; what comes beyond is
/// dropped and counted as [`queue_full`](LinkStats::queue_full).
///
/// While both links are [perfect](Link::PERFECT) every call goes straight to the inner socket. Otherwise a put succeeds
/// where the network, and not this host, would lose the datagram; what the system says when it is sent later, nobody
/// hears: it is counted as [`undelivered`](LinkStats::undelivered), unless the system would block, and then it is tried
/// again.
///
/// ```
/// use std::time::{Duration, Instant};
/// use packetpeer::{PacketPeerUdp, UdpServer};
/// use packetpeer::sim::{Conditioned, Link};
/// use packetpeer::socket::SystemSockets;
///
/// let mut server = UdpServer::new();
/// server.listen("127.0.0.1:0")?;
///
/// let slow = Link::new().latency(Duration::from_millis(20));
/// let sockets = Conditioned::new(SystemSockets, slow.clone(), slow, 1);
/// let control = sockets.control();
/// let mut client = PacketPeerUdp::with_transport(sockets);
/// client.connect_to_host(server.local_addr().unwrap())?;
///
/// let start = Instant::now();
/// client.put_packet(b"hello")?;
/// while !server.is_connection_available() {
///     client.wait(Some(Duration::from_millis(1)))?; // a frame of the client
///     server.poll()?;
/// }
/// assert!(start.elapsed() >= Duration::from_millis(20));
/// assert_eq!(control.outgoing_stats().passed, 1);
/// control.set_outgoing(Link::PERFECT);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Conditioned<F> {
    inner: F,
    control: LinkControl,
}

/// Changes the links of a [`Conditioned`] while it runs, and reads what they have done. Clones control the same links.
#[derive(Debug, Clone)]
pub struct LinkControl {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    opened: AtomicU64,
    outgoing: Mutex<Direction>,
    incoming: Mutex<Direction>,
    /// Room to receive into, while nobody does: half a MiB each, and as many as threads have received at a time.
    rooms: Mutex<Vec<ReceiveBatch>>,
}

/// One direction of all sockets.
#[derive(Debug)]
struct Direction {
    link: Link,
    /// Grows with every change of the link.
    version: u64,
    stats: LinkStats,
}

impl<F: TransportFactory> Conditioned<F> {
    /// Sockets of `inner` behind two links, whose chances are those of `seed`. Clones share links and numbers.
    pub fn new(inner: F, outgoing: Link, incoming: Link, seed: u64) -> Self {
        let direction = |link| Mutex::new(Direction { link, version: 0, stats: LinkStats::default() });
        let shared = Shared {
            seed,
            opened: AtomicU64::new(0),
            outgoing: direction(outgoing),
            incoming: direction(incoming),
            rooms: Mutex::default(),
        };
        Self { inner, control: LinkControl { shared: Arc::new(shared) } }
    }

    /// The handle that changes the links and reads their counters.
    pub fn control(&self) -> LinkControl {
        self.control.clone()
    }

    fn condition(&self, inner: Box<dyn Transport>) -> Box<dyn Transport> {
        Box::new(ConditionedTransport::new(inner, self.control()))
    }
}

impl<F: TransportFactory> TransportFactory for Conditioned<F> {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        self.inner.bind(options).map(|inner| self.condition(inner))
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn adopt(&self, socket: std::net::UdpSocket) -> io::Result<Box<dyn Transport>> {
        self.inner.adopt(socket).map(|inner| self.condition(inner))
    }
}

impl LinkControl {
    /// Changes the link of what is sent from now on. What is held keeps its time.
    pub fn set_outgoing(&self, link: Link) {
        lock(&self.shared.outgoing).set_link(link);
    }

    /// Changes the link of what arrives from now on. What is held keeps its time.
    pub fn set_incoming(&self, link: Link) {
        lock(&self.shared.incoming).set_link(link);
    }

    /// The link of what is sent.
    pub fn outgoing(&self) -> Link {
        lock(&self.shared.outgoing).link.clone()
    }

    /// The link of what arrives.
    pub fn incoming(&self) -> Link {
        lock(&self.shared.incoming).link.clone()
    }

    /// What has become of what was sent, over all sockets, also those closed since.
    pub fn outgoing_stats(&self) -> LinkStats {
        lock(&self.shared.outgoing).stats
    }

    /// What has become of what arrived, over all sockets, also those closed since.
    pub fn incoming_stats(&self) -> LinkStats {
        lock(&self.shared.incoming).stats
    }
}

impl Direction {
    fn set_link(&mut self, link: Link) {
        self.link = link;
        self.version += 1;
    }
}

/// Locks are taken in this order: the line of a socket, then the direction it shares with others; neither is held
/// across a call of the inner transport, but for the look at its clock.
#[derive(Debug)]
struct ConditionedTransport {
    inner: Box<dyn Transport>,
    /// Where time is counted from.
    start: Instant,
    control: LinkControl,
    outgoing: Mutex<Line>,
    incoming: Mutex<Line>,
    /// An error of the inner transport that a wait has met, for the next receive.
    trouble: Mutex<Option<io::Error>>,
}

/// One direction of one socket, and what it holds.
#[derive(Debug)]
struct Line {
    lane: Lane,
    version: u64,
    held: Schedule<Held>,
    buffers: Buffers,
    /// Somebody is sending what is due. Others leave that to them, so that nothing is overtaken.
    is_sending: bool,
}

/// A datagram that is held back: outgoing, or incoming.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    /// To whom it goes, or from whom it came.
    remote: SocketAddr,
    /// The address of this host that it is to come from, or that it was sent to.
    local: Option<IpAddr>,
    cut: bool,
}

impl Line {
    fn new(shared: &Shared, direction: &Mutex<Direction>, name: &[u64]) -> Self {
        let Direction { link, version, .. } = &*lock(direction);
        let lane = Lane::new(link.clone(), shared.seed, name);
        Self { lane, version: *version, held: Schedule::new(), buffers: Buffers::default(), is_sending: false }
    }

    /// Takes up a change of the link.
    fn follow(&mut self, direction: &Direction, now: u64) {
        if self.version != direction.version {
            self.version = direction.version;
            self.lane.set_link(direction.link.clone(), now);
        }
    }

    /// Whether everything goes straight through.
    fn is_open(&self) -> bool {
        self.lane.is_perfect() && self.held.is_empty() && !self.is_sending
    }

    fn judge(&mut self, direction: &mut Direction, now: u64, len: usize) -> Option<Passage> {
        self.follow(direction, now);
        self.lane.judge(now, len, &mut direction.stats)
    }

    /// Whether it goes on at once and as it is, since nothing is to go before it.
    fn may_go(&self, passage: &Passage, now: u64) -> bool {
        passage.is_plain(now) && !self.is_sending && self.held.next_due().is_none_or(|due| due > now)
    }

    fn hold(&mut self, passage: &Passage, datagram: &Datagram<'_>) {
        let Datagram { sender: remote, bytes, cut, local, .. } = *datagram;
        for due in passage.arrivals() {
            self.lane.depart(bytes.len());
            let bytes = passage.deliver(self.buffers.copy(bytes));
            self.held.add(due, Held { bytes, remote, local, cut });
        }
    }

    /// Forgets one that was held.
    fn let_go(&mut self, held: Held) {
        self.lane.arrive(held.bytes.len());
        self.buffers.recycle(held.bytes);
    }
}

impl ConditionedTransport {
    fn new(inner: Box<dyn Transport>, control: LinkControl) -> Self {
        let shared = &control.shared;
        let number = shared.opened.fetch_add(1, Ordering::Relaxed);
        Self {
            start: inner.now(),
            outgoing: Mutex::new(Line::new(shared, &shared.outgoing, &[number, 0])),
            incoming: Mutex::new(Line::new(shared, &shared.incoming, &[number, 1])),
            trouble: Mutex::new(None),
            inner,
            control,
        }
    }

    fn time(&self) -> u64 {
        nanos(self.inner.now().saturating_duration_since(self.start))
    }

    fn send(&self, from: Option<IpAddr>, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        let mut line = lock(&self.outgoing);
        let now = self.time();
        let judged = line.judge(&mut lock(&self.control.shared.outgoing), now, bytes.len());
        let Some(passage) = judged else { return Ok(()) };
        if line.may_go(&passage, now) {
            drop(line);
            return self.pass_on(from, bytes, to).inspect_err(|_| self.count_undelivered(1));
        }
        line.hold(&passage, &Datagram { sender: to, bytes, cut: false, local: from });
        drop(line);
        self.send_due();
        Ok(())
    }

    fn send_one_by_one(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        let mut sent = 0;
        for Message { to, from, datagrams } in batch.messages() {
            for datagram in datagrams {
                match self.send(from, datagram, to) {
                    Ok(()) => sent += 1,
                    Err(_) if sent > 0 => return Ok(sent),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(sent)
    }

    fn pass_on(&self, from: Option<IpAddr>, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        match from {
            Some(from) => self.inner.send_from(from, bytes, to),
            None => self.inner.send_to(bytes, to),
        }
    }

    fn count_undelivered(&self, count: u64) {
        lock(&self.control.shared.outgoing).stats.undelivered += count;
    }

    /// Sends what is due. What the system will not take now stays the first.
    fn send_due(&self) {
        self.send_held(|line| {
            let now = self.time();
            line.held.take_due(now)
        });
    }

    /// Sends everything, due or not, and forgets what the system will not take.
    fn send_rest(&self) {
        self.send_held(|line| line.held.take_next());
        let mut line = lock(&self.outgoing);
        while let Some(taken) = line.held.take_next() {
            line.let_go(taken.value);
            self.count_undelivered(1);
        }
    }

    fn send_held(&self, next: impl Fn(&mut Line) -> Option<Taken<Held>>) {
        let mut line = lock(&self.outgoing);
        if line.is_sending {
            return;
        }
        while let Some(taken) = next(&mut line) {
            line.is_sending = true;
            drop(line);
            let Held { bytes, remote, local, .. } = &taken.value;
            let result = self.pass_on(*local, bytes, *remote);
            line = lock(&self.outgoing);
            line.is_sending = false;
            match result {
                Err(error) if is_blocked(&error) => {
                    return line.held.put_back(taken);
                }
                Err(_) => self.count_undelivered(1),
                Ok(()) => {}
            }
            line.let_go(taken.value);
        }
    }

    /// Whether what comes in this direction goes straight through.
    fn is_open(&self, line: &Mutex<Line>, direction: &Mutex<Direction>) -> bool {
        let mut line = lock(line);
        let now = self.time();
        line.follow(&lock(direction), now);
        line.is_open()
    }

    fn is_incoming_open(&self) -> bool {
        self.is_open(&self.incoming, &self.control.shared.incoming)
    }

    fn is_outgoing_open(&self) -> bool {
        self.is_open(&self.outgoing, &self.control.shared.outgoing)
    }

    /// Takes everything from the inner transport, and holds it until its time has come.
    fn take_in(&self) -> io::Result<()> {
        let rooms = &self.control.shared.rooms;
        let room = lock(rooms).pop();
        let mut room = room.unwrap_or_else(|| ReceiveBatch::new(BATCH, SLOT));
        let mut left = MAX_TAKEN;
        let result = loop {
            room.clear(left);
            let result = self.inner.receive(&mut room);
            left -= room.len();
            self.hold_incoming(&room);
            match result {
                Ok(()) if room.is_full() && left > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
                result => break result,
            }
        };
        lock(rooms).push(room);
        result
    }

    fn hold_incoming(&self, datagrams: &ReceiveBatch) {
        let mut line = lock(&self.incoming);
        let now = self.time();
        let mut direction = lock(&self.control.shared.incoming);
        for datagram in datagrams.iter() {
            if let Some(passage) = line.judge(&mut direction, now, datagram.bytes.len()) {
                line.hold(&passage, &datagram);
            }
        }
    }

    fn hand_out(&self, batch: &mut ReceiveBatch) {
        let mut line = lock(&self.incoming);
        let now = self.time();
        while !batch.is_full() {
            let Some(taken) = line.held.take_due(now) else { break };
            let Held { bytes, remote, local, cut } = &taken.value;
            batch.push_datagram(&Datagram { sender: *remote, bytes, cut: *cut, local: *local });
            line.let_go(taken.value);
        }
    }

    /// Takes in what has arrived, and says whether a receive would give something, be it an error.
    fn has_due(&self) -> bool {
        if lock(&self.trouble).is_some() {
            return true;
        }
        if let Err(error) = self.take_in() {
            *lock(&self.trouble) = Some(error);
            return true;
        }
        let line = lock(&self.incoming);
        let now = self.time();
        line.held.next_due().is_some_and(|due| due <= now)
    }

    /// How long nothing is due of what has come; `None` where nothing is held.
    fn time_to_next_incoming(&self) -> Option<Duration> {
        let due = lock(&self.incoming).held.next_due()?;
        Some(Duration::from_nanos(due.saturating_sub(self.time())))
    }
}

impl Transport for ConditionedTransport {
    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.send_due();
        let trouble = lock(&self.trouble).take();
        if trouble.is_none() && self.is_incoming_open() {
            let before = batch.len();
            let result = self.inner.receive(batch);
            lock(&self.control.shared.incoming).stats.pass((batch.len() - before) as u64);
            return result;
        }
        let result = trouble.map_or_else(|| self.take_in(), Err);
        self.hand_out(batch);
        result
    }

    fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.send(None, bytes, to)
    }

    fn send_from(&self, from: IpAddr, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.send(Some(from), bytes, to)
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        if !self.is_outgoing_open() {
            return self.send_one_by_one(batch);
        }
        let result = self.inner.send_batch(batch);
        lock(&self.control.shared.outgoing).stats.pass(*result.as_ref().unwrap_or(&0) as u64);
        result
    }

    fn max_segments(&self) -> usize {
        // Each datagram has a fate of its own.
        if self.is_outgoing_open() { self.inner.max_segments() } else { 1 }
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        // A connected socket sends to its remote only.
        self.send_rest();
        self.inner.connect(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn reaches(&self, to: SocketAddr) -> bool {
        self.inner.reaches(to)
    }

    fn this_host(&self, to: SocketAddr) -> SocketAddr {
        self.inner.this_host(to)
    }

    fn is_broadcast(&self, to: SocketAddr) -> bool {
        self.inner.is_broadcast(to)
    }

    fn now(&self) -> Instant {
        self.inner.now()
    }

    fn is_virtual(&self) -> bool {
        self.inner.is_virtual()
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        let deadline = timeout.and_then(|timeout| self.inner.now().checked_add(timeout));
        loop {
            self.send_due();
            let is_open = self.is_incoming_open();
            if !is_open && self.has_due() {
                return Ok(true);
            }
            if self.inner.is_virtual() {
                return if is_open { self.inner.wait(timeout, interrupt) } else { Ok(false) };
            }
            let now = self.inner.now();
            let until_deadline = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if !is_open && until_deadline == Some(Duration::ZERO) {
                return Ok(false);
            }
            let nap = if self.is_outgoing_open() { LONG_NAP } else { NAP };
            let ends = [until_deadline, self.time_to_next_incoming(), Some(nap)];
            let time = ends.into_iter().flatten().min();
            // Where nothing is held, the inner transport alone knows what has come.
            let readable = self.inner.wait(time, interrupt)?;
            if is_open && (readable || until_deadline == time) {
                return Ok(readable);
            }
            let waited = self.inner.now().saturating_duration_since(now);
            if !readable && interrupt.is_some() && time.is_some_and(|time| waited < time) {
                return Ok(false);
            }
        }
    }

    fn set_option(&self, option: TransportOption) -> io::Result<()> {
        self.inner.set_option(option)
    }

    fn path_payload(&self, to: SocketAddr) -> Option<usize> {
        self.inner.path_payload(to)
    }

    fn receive_buffer_size(&self) -> Option<usize> {
        self.inner.receive_buffer_size()
    }

    fn kernel_drops(&self) -> Option<u64> {
        self.inner.kernel_drops()
    }

    fn waits_by_socket(&self) -> bool {
        false
    }

    fn socket(&self) -> Option<SocketRef<'_>> {
        self.inner.socket()
    }
}

impl Drop for ConditionedTransport {
    fn drop(&mut self) {
        self.send_rest();
        let unread = lock(&self.incoming).held.len() as u64;
        lock(&self.control.shared.incoming).stats.undelivered += unread;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
