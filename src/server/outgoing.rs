//! Sending what waits, by one socket at a time.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::route::Route;
use crate::demux::{Common, Mailbox, Payload, Weigh};
use crate::packet::Packet;
use crate::socket::{MAX_MESSAGES, SendBatch, SharedTransport, is_blocked, reason, send_batch};
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
    /// Begins a flush: returns the peers for which something waits. They go back by [`end_flush`](Self::end_flush).
    pub(super) fn begin_flush(&mut self, shared: &Common) -> Vec<Arc<Mailbox>> {
        let mut listed = std::mem::take(&mut self.listed);
        shared.swap_to_flush(&mut listed);
        self.load.peers = self.load.peers.max(listed.len());
        listed
    }

    /// Ends a flush: the list is empty by now, and its memory is used again.
    pub(super) fn end_flush(&mut self, listed: Vec<Arc<Mailbox>>) {
        self.listed = listed;
        self.give_back_memory();
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
        let route = Route { transport: own, shared: mailbox.shared() };
        route.shared.take_off_list(mailbox);
        self.collect(Arc::clone(mailbox), route);
        self.send_collected(route, &mut drop);
        mailbox.is_sending()
    }

    /// Takes what a peer has put, to be [sent](Self::send_collected) by `route`. Returns how many datagrams may not go
    /// to where it is.
    pub(super) fn collect(&mut self, mailbox: Arc<Mailbox>, route: Route<'_>) -> usize {
        let (peer, letters) = (self.peers.len(), &mut self.letters);
        let refused = mailbox.take_to_send(|payload| letters.push(Letter { peer, payload }));
        let from = route.reply_address(&mailbox);
        self.peers.push(Addressee { mailbox, from, one_by_one: false });
        refused
    }

    /// Sends all that was collected. What the system will not take now goes on waiting; the memory of what was sent
    /// goes to `recycle`.
    pub(super) fn send_collected(&mut self, route: Route<'_>, recycle: &mut impl FnMut(Packet)) -> FlushReport {
        self.load.letters = self.load.letters.max(self.letters.len());
        let (report, done) = self.send_all(route);
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
        route.shared.sends().count_unqueued(done as u64, bytes);
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

    /// Sends letters until all are sent or the system takes no more; returns how many are done with, sent or failed.
    fn send_all(&mut self, route: Route<'_>) -> (FlushReport, usize) {
        let mut report = FlushReport::default();
        let (mut datagrams, mut bytes) = (0, 0);
        let mut done = 0;
        let io = route.transport.io();
        while done < self.letters.len() {
            let mut ends = Ends::new();
            let result = {
                // Filled where it stands: it is large.
                let mut batch = SendBatch::default();
                self.fill_batch(&mut batch, &mut ends, done, io.max_segments());
                send_batch(io, &batch)
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
        route.shared.sends().count_sent_by_server(datagrams, bytes);
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

/// Where the letters of each message of a batch end.
type Ends = SmallVec<[usize; MAX_MESSAGES]>;
