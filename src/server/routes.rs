use std::sync::Arc;

use super::dedicated::DedicatedSockets;
use super::outgoing::Outgoing;
use super::route::Route;
use crate::demux::{Common, Mailbox};
use crate::packet::Packet;
use crate::socket::SharedTransport;
use crate::stats::FlushReport;

/// All routes out of a server: the socket that it listens on, and the sockets that peers have for themselves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Routes<'a> {
    pub(super) transport: &'a SharedTransport,
    pub(super) dedicated: &'a DedicatedSockets,
    pub(super) shared: &'a Arc<Common>,
}

impl<'a> Routes<'a> {
    /// The server's socket, for all peers except those that have their [own](Self::own).
    pub(super) fn by_server(self) -> Route<'a> {
        self.by(self.transport)
    }

    /// The peer's own socket, if its packets leave by one.
    pub(super) fn own(self, mailbox: &Mailbox) -> Option<Route<'a>> {
        self.dedicated.route(mailbox).map(|transport| self.by(transport))
    }

    fn by(self, transport: &'a SharedTransport) -> Route<'a> {
        Route { transport, shared: self.shared }
    }

    /// Sends all that peers have put and that still waits. What the system will not take now goes on waiting. The memory of
    /// what was sent goes to `recycle`.
    pub(super) fn flush(self, outgoing: &mut Outgoing, mut recycle: impl FnMut(Packet)) -> FlushReport {
        let mut report = FlushReport::default();
        let mut listed = outgoing.begin_flush(self.shared);
        listed.retain(|mailbox| {
            let Some(own) = self.own(mailbox) else { return true };
            report.failed += outgoing.collect(Arc::clone(mailbox), own);
            report += outgoing.send_collected(own, &mut recycle);
            false
        });
        let by_server = self.by_server();
        for mailbox in listed.drain(..) {
            report.failed += outgoing.collect(mailbox, by_server);
        }
        report += outgoing.send_collected(by_server, &mut recycle);
        outgoing.end_flush(listed);
        report
    }
}
