use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::identity::ConnectionId;

/// The first datagram of somebody unknown, as a [filter](crate::UdpServer::set_filter) sees it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct FirstDatagram<'a> {
    /// Where it came from, or claims to.
    pub sender: SocketAddr,
    /// Its payload.
    pub bytes: &'a [u8],
    /// The time of the poll that received it: what to judge an expiry by.
    pub received_at: Instant,
    /// The connection id in it, where the server's [identity](crate::identity::Identity) is one and there is one.
    pub id: Option<ConnectionId>,
}

/// What a [filter](crate::UdpServer::set_filter) decides on the datagram of somebody unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It may become a pending connection, as far as the limits allow. What happens without a filter.
    Accept,
    /// Drop it, and count it as [`filtered`](crate::stats::ReceiveDrops#structfield.filtered).
    Ignore,
    /// The filter has taken what it wanted; no connection comes of it.
    Consume,
    /// Send back the bytes that the filter has written, and remember nothing.
    ///
    /// They may be no more than were received, so that nobody can use the server to flood somebody else; a longer reply
    /// is not sent, and the datagram is counted as [`reply_too_long`](crate::stats::ReceiveDrops#structfield.reply_too_long).
    Reply,
}

/// Decides on the datagrams of the unknown.
pub(crate) struct Filter(Box<Decide>);

type Decide = dyn Fn(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict + Send + Sync;

impl Filter {
    pub(crate) fn new(decide: impl Fn(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict + Send + Sync + 'static) -> Self {
        Self(Box::new(decide))
    }

    pub(super) fn decide(&self, datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>) -> Verdict {
        (self.0)(datagram, reply)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").finish_non_exhaustive()
    }
}
