//! Sending what waits: a flush, and a broadcast.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::dedicated::DedicatedSockets;
use crate::demux::{Common, Copied, Mailbox, Payload, Posted, SendMode, Weigh};
use crate::packet::Packet;
use crate::socket::{MAX_MESSAGES, SendBatch, SharedTransport, is_blocked, reason};
use crate::stats::{FlushReport, SendDropReason};

/// Largest message that is cut into segments, in bytes: what a datagram could carry.
const MAX_MESSAGE_BYTES: usize = 65_000;

/// Collects what is to be sent and sends it, in as few calls as it takes. Its memory is used again.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    peers: Vec<Addressee>,
    /// Those of one peer stand together, in the order in which they were put.
    letters: Vec<Letter>,
    listed: Vec<Arc<Mailbox>>,
    load: Load,
}

/// How many flushes are looked at together for how much memory they need. An odd number: the list of peers changes
/// places with another at each.
const FLUSHES: usize = 255;

/// The most that one of the last flushes had to send, so that the memory of a burst is not kept for ever.
#[derive(Debug, Default)]
struct Load {
    flushes: usize,
    peers: usize,
    letters: usize,
}

#[derive(Debug)]
struct Addressee {
    mailbox: Arc<Mailbox>,
    from: Option<IpAddr>,
    /// The system would not cut a message to this peer into segments.
    one_by_one: bool,
}

#[derive(Debug)]
struct Letter {
    peer: usize,
    payload: Payload,
}

impl Outgoing {
    /// Sends all that peers have put and that waits. What the system will not take now goes on waiting. The memory of
    /// what was sent goes to `recycle`.
    pub(super) fn flush(
        &mut self,
        transport: &SharedTransport,
        dedicated: &DedicatedSockets,
        shared: &Common,
        mut recycle: impl FnMut(Packet),
    ) -> FlushReport {
        let mut listed = std::mem::take(&mut self.listed);
        shared.swap_to_flush(&mut listed);
        self.load.peers = self.load.peers.max(listed.len());
        let mut report = FlushReport::default();
        listed.retain(|mailbox| {
            let Some(own) = dedicated.route(mailbox) else { return true };
            report.failed += self.collect(Arc::clone(mailbox), own);
            report += self.flush_collected(own, shared, &mut recycle);
            false
        });
        for mailbox in listed.drain(..) {
            report.failed += self.collect(mailbox, transport);
        }
        self.listed = listed;
        report += self.flush_collected(transport, shared, &mut recycle);
        self.give_back_memory();
        report
    }

    /// Gives back what is several times as much memory as was needed for long.
    fn give_back_memory(&mut self) {
        self.load.flushes += 1;
        if self.load.flushes < FLUSHES {
            return;
        }
        let Load { peers, letters, .. } = std::mem::take(&mut self.load);
        shrink(&mut self.peers, peers);
        shrink(&mut self.listed, peers);
        shrink(&mut self.letters, letters);
    }

    /// Sends what one peer has put and that waits, by its own socket. Returns whether something goes on waiting.
    pub(super) fn flush_peer(&mut self, mailbox: &Arc<Mailbox>, own: &SharedTransport) -> bool {
        if !mailbox.is_sending() {
            return false;
        }
        let shared = mailbox.shared();
        shared.take_off_list(mailbox);
        self.collect(Arc::clone(mailbox), own);
        self.flush_collected(own, shared, &mut drop);
        mailbox.is_sending()
    }

    /// Takes what a peer has put. Returns how many datagrams may not go to where it is.
    fn collect(&mut self, mailbox: Arc<Mailbox>, transport: &SharedTransport) -> usize {
        let (peer, letters) = (self.peers.len(), &mut self.letters);
        let refused = mailbox.take_to_send(|payload| letters.push(Letter { peer, payload }));
        let from = reply_address(transport, &mailbox);
        self.peers.push(Addressee { mailbox, from, one_by_one: false });
        refused
    }

    fn flush_collected(
        &mut self,
        transport: &SharedTransport,
        shared: &Common,
        recycle: &mut impl FnMut(Packet),
    ) -> FlushReport {
        self.load.letters = self.load.letters.max(self.letters.len());
        let (report, done) = self.send_all(transport, shared);
        for Letter { peer, payload } in self.letters.drain(done..).rev() {
            self.peers[peer].mailbox.send_later(payload);
        }
        // What is shared with others' queues counts itself, when the last lets go of it.
        let mut bytes = 0;
        for letter in self.letters.drain(..) {
            if let Payload::Own(packet) = letter.payload {
                bytes += packet.len();
                recycle(packet);
            }
        }
        shared.sends().count_unqueued(done as u64, bytes);
        for Addressee { mailbox, .. } in self.peers.drain(..) {
            mailbox.flushed();
        }
        report
    }

    /// Gives up what still waits, on the way to closing the socket.
    pub(super) fn give_up(&mut self, shared: &Common) {
        let mut listed = Vec::new();
        shared.swap_to_flush(&mut listed);
        for mailbox in listed {
            let (mut unsent, mut bytes) = (0, 0);
            mailbox.take_to_send(|payload| {
                unsent += 1;
                bytes += payload.weight();
            });
            shared.sends().count_unqueued(unsent, bytes);
            for _ in 0..unsent {
                mailbox.count_unsent(SendDropReason::Unsent);
            }
            mailbox.flushed();
        }
    }

    /// Sends `bytes` to each of `mailboxes`, at once or, where it has to wait, by a copy that is made once, for all. The
    /// report is of this broadcast alone.
    pub(super) fn broadcast<'m>(
        &mut self,
        transport: &SharedTransport,
        dedicated: &DedicatedSockets,
        shared: &Arc<Common>,
        mailboxes: impl Iterator<Item = &'m Arc<Mailbox>>,
        bytes: &[u8],
    ) -> FlushReport {
        if shared.send_mode() == SendMode::QueueWhenBlocked {
            // What has waited so far goes before it.
            self.flush(transport, dedicated, shared, drop);
        }
        let mut broadcast = Broadcast { shared, bytes, copy: None, report: FlushReport::default() };
        let mut blocked = false;
        let mut next = SmallVec::<[&Arc<Mailbox>; MAX_MESSAGES]>::new();
        for mailbox in mailboxes {
            mailbox.count_broadcast();
            if broadcast.has_to_wait(mailbox) {
                broadcast.post(mailbox);
                continue;
            }
            if !mailbox.charge(bytes.len()) {
                broadcast.refuse(mailbox, SendDropReason::Unconfirmed);
                continue;
            }
            if let Some(own) = dedicated.route(mailbox) {
                broadcast.send(own, &[mailbox], &mut false);
                continue;
            }
            next.push(mailbox);
            if next.len() == MAX_MESSAGES {
                broadcast.send(transport, &next, &mut blocked);
                next.clear();
            }
        }
        broadcast.send(transport, &next, &mut blocked);
        broadcast.report
    }

    /// Sends letters until all are sent or the system takes no more; returns how many are done with, sent or failed.
    fn send_all(&mut self, transport: &SharedTransport, shared: &Common) -> (FlushReport, usize) {
        let mut report = FlushReport::default();
        let (mut datagrams, mut bytes) = (0, 0);
        let mut done = 0;
        while done < self.letters.len() {
            let mut ends = Ends::new();
            let result = {
                // Filled where it stands: it is large.
                let mut batch = SendBatch::default();
                self.fill_batch(&mut batch, &mut ends, done, transport.io().max_segments());
                transport.io().send_batch(&batch)
            };
            match result {
                Ok(0) => break,
                Ok(accepted) => {
                    let sent = done..done + accepted;
                    done = sent.end;
                    report.sent += accepted;
                    datagrams += accepted as u64;
                    for Letter { peer, payload } in &self.letters[sent] {
                        self.peers[*peer].mailbox.count_flushed(payload.len());
                        bytes += payload.len() as u64;
                    }
                }
                Err(error) if is_blocked(&error) => break,
                // Whatever was wrong with the whole, each datagram gets its own chance and its own error.
                Err(_) if ends[0] - done > 1 => self.peers[self.letters[done].peer].one_by_one = true,
                Err(error) => {
                    let Letter { peer, payload } = &self.letters[done];
                    let mailbox = &self.peers[*peer].mailbox;
                    mailbox.refund(payload.len());
                    mailbox.count_unsent(reason(&error));
                    report.failed += 1;
                    done += 1;
                }
            }
        }
        shared.sends().count_sent_by_server(datagrams, bytes);
        report.waiting = self.letters.len() - done;
        (report, done)
    }

    /// Adds as many letters from `start` on as one call takes, and where the letters of each message end.
    fn fill_batch<'a>(&'a self, batch: &mut SendBatch<'a>, ends: &mut Ends, start: usize, max_segments: usize) {
        let mut next = start;
        while let Some(first) = self.letters.get(next) {
            let peer = &self.peers[first.peer];
            if !batch.begin(peer.mailbox.remote(), peer.from, &first.payload) {
                break;
            }
            next += 1;
            let max_segments = if peer.one_by_one { 1 } else { max_segments };
            next += self.add_segments(batch, next, first, max_segments);
            ends.push(next);
        }
    }

    /// Adds to the last message what may leave together with its `first` letter; returns how many that were.
    fn add_segments<'a>(
        &'a self,
        batch: &mut SendBatch<'a>,
        start: usize,
        first: &Letter,
        max_segments: usize,
    ) -> usize {
        let size = first.payload.len();
        let most = max_segments.min(MAX_MESSAGE_BYTES.checked_div(size).unwrap_or(1));
        let mut added = 0;
        while added + 1 < most {
            let Some(letter) = self.letters.get(start + added) else { break };
            let len = letter.payload.len();
            if letter.peer != first.peer || len == 0 || len > size || !batch.add(&letter.payload) {
                break;
            }
            added += 1;
            // A shorter one ends the message.
            if len < size {
                break;
            }
        }
        added
    }
}

/// Leaves room for twice what was needed, where there is far more.
fn shrink<T>(list: &mut Vec<T>, needed: usize) {
    if list.capacity() > 4 * needed + 64 {
        list.shrink_to(2 * needed);
    }
}

struct Broadcast<'a> {
    shared: &'a Arc<Common>,
    bytes: &'a [u8],
    /// For those for whom it has to wait, made for the first of them.
    copy: Option<Arc<Copied>>,
    report: FlushReport,
}

impl Broadcast<'_> {
    /// Whether it may not be sent to this peer at once.
    fn has_to_wait(&self, mailbox: &Mailbox) -> bool {
        match self.shared.send_mode() {
            SendMode::Now => false,
            SendMode::QueueWhenBlocked => mailbox.is_sending(),
            SendMode::OnFlush => true,
        }
    }

    /// Lets it wait for the next flush, if there is room for its copy and in this peer's queue.
    fn post(&mut self, mailbox: &Arc<Mailbox>) {
        if self.copy.is_none() {
            self.copy = self.shared.copy(self.bytes);
        }
        match self.copy.as_ref().map(|copy| mailbox.post(Payload::Shared(Arc::clone(copy)))) {
            Some(Posted::Queued) => self.report.waiting += 1,
            // Counted there.
            Some(Posted::Full) => self.report.failed += 1,
            Some(Posted::Ended(_)) => self.refuse(mailbox, SendDropReason::NotOpen),
            None => self.refuse(mailbox, SendDropReason::ServerBytes),
        }
    }

    #[cold]
    fn refuse(&mut self, mailbox: &Mailbox, reason: SendDropReason) {
        self.shared.sends().count_other_puts(1);
        mailbox.count_unsent(reason);
        self.report.failed += 1;
    }

    /// Sends to each of `mailboxes`, as many as one call takes. When the system takes no more, it is `blocked` and not
    /// asked again.
    fn send(&mut self, transport: &SharedTransport, mut mailboxes: &[&Arc<Mailbox>], blocked: &mut bool) {
        while let Some((first, others)) = mailboxes.split_first() {
            let result = if *blocked { Ok(0) } else { self.send_batch(transport, mailboxes) };
            let reason = match result {
                Ok(sent @ 1..) => {
                    self.count_sent(&mailboxes[..sent]);
                    mailboxes = &mailboxes[sent..];
                    continue;
                }
                Ok(0) => SendDropReason::WouldBlock,
                Err(error) => reason(&error),
            };
            *blocked = reason == SendDropReason::WouldBlock;
            first.refund(self.bytes.len());
            if *blocked && self.shared.send_mode() == SendMode::QueueWhenBlocked {
                self.post(first);
            } else {
                self.refuse(first, reason);
            }
            mailboxes = others;
        }
    }

    fn send_batch(&self, transport: &SharedTransport, mailboxes: &[&Arc<Mailbox>]) -> io::Result<usize> {
        let mut batch = SendBatch::default();
        for mailbox in mailboxes {
            batch.begin(mailbox.remote(), reply_address(transport, mailbox), self.bytes);
        }
        transport.io().send_batch(&batch)
    }

    fn count_sent(&mut self, mailboxes: &[&Arc<Mailbox>]) {
        let len = self.bytes.len();
        mailboxes.iter().for_each(|mailbox| mailbox.count_flushed(len));
        let sends = self.shared.sends();
        sends.count_other_puts(mailboxes.len() as u64);
        sends.count_sent_by_server(mailboxes.len() as u64, (mailboxes.len() * len) as u64);
        self.report.sent += mailboxes.len();
    }
}

/// Which of this host's addresses a datagram to a peer is to leave from, where several are possible.
fn reply_address(transport: &SharedTransport, mailbox: &Mailbox) -> Option<IpAddr> {
    if transport.pins_reply_address() { mailbox.local() } else { None }
}

/// Where the letters of each message of a batch end.
type Ends = SmallVec<[usize; MAX_MESSAGES]>;
