use std::io;
use std::sync::Arc;

use smallvec::SmallVec;

use super::outgoing::Outgoing;
use super::route::Route;
use super::routes::Routes;
use crate::demux::{Copied, Mailbox, Payload, Posted, SendMode};
use crate::socket::{MAX_MESSAGES, SendBatch, reason, send_batch};
use crate::stats::{FlushReport, SendDropReason};

impl Routes<'_> {
    /// Sends `bytes` to each of `mailboxes`, at once or, where it has to wait, by a copy that is made once, for all. The
    /// report is of this broadcast alone.
    pub(super) fn broadcast<'m>(
        self,
        outgoing: &mut Outgoing,
        mailboxes: impl Iterator<Item = &'m Arc<Mailbox>>,
        bytes: &[u8],
    ) -> FlushReport {
        if self.shared.send_mode() == SendMode::QueueWhenBlocked {
            // What has waited so far goes before it.
            self.flush(outgoing, drop);
        }
        let mut broadcast = Broadcast { routes: self, bytes, copy: None, report: FlushReport::default() };
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
            if let Some(own) = self.own(mailbox) {
                broadcast.send(own, &[mailbox], &mut false);
                continue;
            }
            next.push(mailbox);
            if next.len() == MAX_MESSAGES {
                broadcast.send(self.by_server(), &next, &mut blocked);
                next.clear();
            }
        }
        broadcast.send(self.by_server(), &next, &mut blocked);
        broadcast.report
    }
}

/// One datagram on its way to many.
struct Broadcast<'a> {
    routes: Routes<'a>,
    bytes: &'a [u8],
    /// For the peers that have to wait for it; made for the first of them.
    copy: Option<Arc<Copied>>,
    report: FlushReport,
}

impl Broadcast<'_> {
    /// Whether it may not be sent to this peer at once.
    fn has_to_wait(&self, mailbox: &Mailbox) -> bool {
        match self.routes.shared.send_mode() {
            SendMode::Now => false,
            SendMode::QueueWhenBlocked => mailbox.is_sending(),
            SendMode::OnFlush => true,
        }
    }

    /// Lets it wait for the next flush, if there is room for its copy and in this peer's queue.
    fn post(&mut self, mailbox: &Arc<Mailbox>) {
        if self.copy.is_none() {
            self.copy = self.routes.shared.copy(self.bytes);
        }
        match self.copy.as_ref().map(|copy| mailbox.post(Payload::Shared(Arc::clone(copy)))) {
            Some(Posted::Queued) => self.report.waiting += 1,
            // Counted there.
            Some(Posted::Full) => self.report.failed += 1,
            Some(Posted::Ended(_)) => self.refuse(mailbox, SendDropReason::NotOpen),
            None => self.refuse(mailbox, SendDropReason::ServerBytes),
        }
    }

    // Cold: hardly any peer is refused, and this code stays out of the loop over all others.
    #[cold]
    fn refuse(&mut self, mailbox: &Mailbox, reason: SendDropReason) {
        self.routes.shared.sends().count_other_puts(1);
        mailbox.count_unsent(reason);
        self.report.failed += 1;
    }

    /// Sends to each of `mailboxes`, as many as one call takes. When the system takes no more, it is `blocked` and not
    /// asked again.
    fn send(&mut self, route: Route<'_>, mut mailboxes: &[&Arc<Mailbox>], blocked: &mut bool) {
        while let Some((first, others)) = mailboxes.split_first() {
            let result = if *blocked { Ok(0) } else { self.send_batch(route, mailboxes) };
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
            if *blocked && self.routes.shared.send_mode() == SendMode::QueueWhenBlocked {
                self.post(first);
            } else {
                self.refuse(first, reason);
            }
            mailboxes = others;
        }
    }

    fn send_batch(&self, route: Route<'_>, mailboxes: &[&Arc<Mailbox>]) -> io::Result<usize> {
        let mut batch = SendBatch::default();
        for mailbox in mailboxes {
            if !batch.begin(mailbox.remote(), route.reply_address(mailbox), self.bytes) {
                break; // the rest is not among those that are sent, and comes again
            }
        }
        send_batch(route.transport.io(), &batch)
    }

    fn count_sent(&mut self, mailboxes: &[&Arc<Mailbox>]) {
        let len = self.bytes.len();
        mailboxes.iter().for_each(|mailbox| mailbox.count_flushed(len));
        let sends = self.routes.shared.sends();
        sends.count_other_puts(mailboxes.len() as u64);
        sends.count_sent_by_server(mailboxes.len() as u64, (mailboxes.len() * len) as u64);
        self.report.sent += mailboxes.len();
    }
}
