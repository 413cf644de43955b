use std::net::IpAddr;

use crate::demux::{Common, Mailbox};
use crate::socket::SharedTransport;

/// One route out: a socket, and what all peers of its server share, which counts what leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) transport: &'a SharedTransport,
    pub(super) shared: &'a Common,
}

impl Route<'_> {
    /// Which of this host's addresses a datagram to a peer is to leave from, where several are possible.
    pub(super) fn reply_address(self, mailbox: &Mailbox) -> Option<IpAddr> {
        if self.transport.pins_reply_address() { mailbox.local() } else { None }
    }
}
