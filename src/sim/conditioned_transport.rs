use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::holding_link::{HeldDatagram, HoldingLink};
use super::link_control::{LinkPair, SharedLink, lock};
use super::link_state::nanos;
use super::schedule::Taken;
use crate::clock::Clock;
use crate::datagram::{Datagram, ReceiveBatch};
use crate::socket::{Interrupt, SendBatch, Transport, is_blocked, send_batch, send_one_by_one};

/// Datagrams that one call of the inner transport takes, and room for the largest.
const BATCH: usize = 8;
const SLOT: usize = 1 << 16;

/// Datagrams that one receive takes from the inner transport before it lets the caller go on.
const MAX_TAKEN: usize = 4096;

/// How long a wait sleeps before it looks again for what is to be sent, also by what other threads have put meanwhile:
/// where something is held or may be, and where the outgoing link is perfect, but may be changed.
const NAP: Duration = Duration::from_millis(1);
const LONG_NAP: Duration = Duration::from_millis(50);

/// A socket behind the two links of a [`Conditioned`](super::Conditioned).
///
/// Locks are taken in this order: the link of the socket, then the one that it shares with others; neither is held
/// across a call of the inner transport, but for the look at its clock.
#[derive(Debug)]
pub(super) struct ConditionedTransport {
    inner: Box<dyn Transport>,
    clock: Clock,
    /// Where time is counted from.
    start: Instant,
    links: Arc<LinkPair>,
    outgoing: Mutex<HoldingLink>,
    incoming: Mutex<HoldingLink>,
    /// An error of the inner transport that a wait has met, for the next receive.
    trouble: Mutex<Option<io::Error>>,
}

impl ConditionedTransport {
    pub(super) fn new(inner: Box<dyn Transport>, clock: Clock, links: Arc<LinkPair>) -> Self {
        let number = links.next_number();
        let holding = |shared, direction| Mutex::new(HoldingLink::new(shared, links.seed(), &[number, direction]));
        Self {
            start: clock.now(),
            outgoing: holding(&links.outgoing, 0),
            incoming: holding(&links.incoming, 1),
            trouble: Mutex::new(None),
            inner,
            clock,
            links,
        }
    }

    fn time(&self) -> u64 {
        nanos(self.clock.now().saturating_duration_since(self.start))
    }

    fn count_undelivered(&self, count: u64) {
        lock(&self.links.outgoing).stats.undelivered += count;
    }

    /// Sends what is due. What the system will not take now stays the first.
    fn send_due(&self) {
        self.send_held(|link| {
            let now = self.time();
            link.held.take_due(now)
        });
    }

    /// Sends everything, due or not, and forgets what the system will not take.
    fn send_rest(&self) {
        self.send_held(|link| link.held.take_next());
        let mut link = lock(&self.outgoing);
        while let Some(taken) = link.held.take_next() {
            link.let_go(taken.value);
            self.count_undelivered(1);
        }
    }

    fn send_held(&self, next: impl Fn(&mut HoldingLink) -> Option<Taken<HeldDatagram>>) {
        let mut link = lock(&self.outgoing);
        if link.is_sending {
            return;
        }
        while let Some(taken) = next(&mut link) {
            link.is_sending = true;
            drop(link);
            let HeldDatagram { bytes, remote, local, .. } = &taken.value;
            let result = self.inner.send(bytes, *remote, *local);
            link = lock(&self.outgoing);
            link.is_sending = false;
            match result {
                Err(error) if is_blocked(&error) => {
                    return link.held.put_back(taken);
                }
                Err(_) => self.count_undelivered(1),
                Ok(()) => {}
            }
            link.let_go(taken.value);
        }
    }

    /// Whether what comes in this direction goes straight through.
    fn is_open(&self, link: &Mutex<HoldingLink>, shared: &Mutex<SharedLink>) -> bool {
        let mut link = lock(link);
        let now = self.time();
        link.follow(&lock(shared), now);
        link.is_open()
    }

    fn is_incoming_open(&self) -> bool {
        self.is_open(&self.incoming, &self.links.incoming)
    }

    fn is_outgoing_open(&self) -> bool {
        self.is_open(&self.outgoing, &self.links.outgoing)
    }

    /// Takes everything from the inner transport, and holds it until its time has come.
    fn take_in(&self) -> io::Result<()> {
        let rooms = &self.links.rooms;
        let room = lock(rooms).pop();
        let mut room = room.unwrap_or_else(|| ReceiveBatch::new(BATCH, SLOT));
        let mut left = MAX_TAKEN;
        let result = loop {
            room.clear(left);
            let result = self.inner.receive(&mut room);
            left = left.saturating_sub(room.len());
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
        let mut link = lock(&self.incoming);
        let now = self.time();
        let mut shared = lock(&self.links.incoming);
        for datagram in datagrams.iter() {
            if let Some(passage) = link.judge(&mut shared, now, datagram.bytes.len()) {
                link.hold(&passage, &datagram);
            }
        }
    }

    fn hand_out(&self, batch: &mut ReceiveBatch) {
        let mut link = lock(&self.incoming);
        let now = self.time();
        while !batch.is_full() {
            let Some(taken) = link.held.take_due(now) else { break };
            let HeldDatagram { bytes, remote, local, cut } = &taken.value;
            batch.push_datagram(&Datagram { sender: *remote, bytes, cut: *cut, local: *local });
            link.let_go(taken.value);
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
        let link = lock(&self.incoming);
        let now = self.time();
        link.held.next_due().is_some_and(|due| due <= now)
    }

    /// How long nothing is due of what has come; `None` where nothing is held.
    fn time_to_next_incoming(&self) -> Option<Duration> {
        let due = lock(&self.incoming).held.next_due()?;
        Some(Duration::from_nanos(due.saturating_sub(self.time())))
    }
}

impl Transport for ConditionedTransport {
    fn inner(&self) -> Option<&dyn Transport> {
        Some(&*self.inner)
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.send_due();
        let trouble = lock(&self.trouble).take();
        if trouble.is_none() && self.is_incoming_open() {
            let before = batch.len();
            let result = self.inner.receive(batch);
            lock(&self.links.incoming).stats.pass(batch.len().saturating_sub(before) as u64);
            return result;
        }
        let result = trouble.map_or_else(|| self.take_in(), Err);
        self.hand_out(batch);
        result
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        let mut link = lock(&self.outgoing);
        let now = self.time();
        let judged = link.judge(&mut lock(&self.links.outgoing), now, bytes.len());
        let Some(passage) = judged else { return Ok(()) };
        if link.may_go(&passage, now) {
            drop(link);
            return self.inner.send(bytes, to, from).inspect_err(|_| self.count_undelivered(1));
        }
        link.hold(&passage, &Datagram { sender: to, bytes, cut: false, local: from });
        drop(link);
        self.send_due();
        Ok(())
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        if !self.is_outgoing_open() {
            return send_one_by_one(self, batch);
        }
        let result = send_batch(&*self.inner, batch);
        lock(&self.links.outgoing).stats.pass(*result.as_ref().unwrap_or(&0) as u64);
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

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        let deadline = timeout.and_then(|timeout| self.clock.now().checked_add(timeout));
        loop {
            self.send_due();
            let is_open = self.is_incoming_open();
            if !is_open && self.has_due() {
                return Ok(true);
            }
            if self.clock.is_virtual() {
                return if is_open { self.inner.wait(timeout, interrupt) } else { Ok(false) };
            }
            let now = self.clock.now();
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
            let waited = self.clock.now().saturating_duration_since(now);
            if !readable && interrupt.is_some() && time.is_some_and(|time| waited < time) {
                return Ok(false);
            }
        }
    }

    fn waits_by_socket(&self) -> bool {
        false
    }
}

impl Drop for ConditionedTransport {
    fn drop(&mut self) {
        self.send_rest();
        let unread = lock(&self.incoming).held.len() as u64;
        lock(&self.links.incoming).stats.undelivered += unread;
    }
}
