use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use super::identity::ConnectionId;

/// The first datagram of an unknown sender, as a filter sees it: the one [set](crate::UdpServer::set_filter), or that of
/// a [poll](crate::UdpServer::poll_with).
///
/// A filter never sees what peers and pending connections send, nor what comes to a
/// [socket of a peer's own](crate::UdpServer::dedicate_socket): what has to be checked in each datagram is checked where
/// it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct FirstDatagram<'a> {
    /// Where it came from, or claims to.
    pub sender: SocketAddr,
    /// Its payload.
    pub bytes: &'a [u8],
    /// The time of the poll that received it: what to judge an expiry by.
    pub received_at: Instant,
    /// The connection id in it, if the server's [identity](crate::identity::Identity) is a connection id and it has one.
    pub id: Option<ConnectionId>,
    /// Whether to accept it makes a connection: no limit stands in the way, the server is not
    /// [draining](crate::UdpServer::drain), and the datagram has an id where it needs one. Where this is `false`, an
    /// [`Accept`](Verdict::Accept) is dropped, and counted under what stands in the way: a filter can save itself the work
    /// of a proof, or [reply](Verdict::Reply) that the server is full. Whether a reply is
    /// [within the budget](crate::Limits#structfield.max_replies_per_poll) it does not say.
    pub has_room: bool,
}

impl<'a> FirstDatagram<'a> {
    /// A datagram as a server with room for it would show it, without an id: for testing a filter. Its fields can be
    /// changed.
    ///
    /// ```
    /// use packetpeer::{FirstDatagram, Verdict};
    /// use std::time::Instant;
    ///
    /// fn lets_in(datagram: &FirstDatagram<'_>, _reply: &mut Vec<u8>) -> Verdict {
    ///     if datagram.has_room && datagram.bytes == b"hello" { Verdict::Accept } else { Verdict::Ignore }
    /// }
    /// let mut hello = FirstDatagram::new("192.0.2.1:9".parse()?, b"hello", Instant::now());
    /// assert_eq!(lets_in(&hello, &mut Vec::new()), Verdict::Accept);
    /// hello.has_room = false;
    /// assert_eq!(lets_in(&hello, &mut Vec::new()), Verdict::Ignore);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(sender: SocketAddr, bytes: &'a [u8], received_at: Instant) -> Self {
        Self { sender, bytes, received_at, id: None, has_room: true }
    }
}

/// What a filter decides on the datagram of an unknown sender.
///
/// Only [`Reply`](Self::Reply) and [`AcceptAndReply`](Self::AcceptAndReply) send what the filter has written; the others
/// discard it. A reply must not be longer than the datagram, so that the server cannot be used to flood a victim: if it is,
/// nothing is sent, the sender is not let in, and the datagram is counted as
/// [`reply_too_long`](crate::stats::ReceiveDrops#structfield.reply_too_long). The same holds beyond
/// [`max_replies_per_poll`](crate::Limits#structfield.max_replies_per_poll), counted as
/// [`reply_budget`](crate::stats::ReceiveDrops#structfield.reply_budget). An empty reply is an empty datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It becomes a pending connection if it [has room](FirstDatagram#structfield.has_room); otherwise it is dropped, and
    /// counted under the obstacle. What happens without a filter.
    Accept,
    /// As [`Accept`](Self::Accept), but the filter has taken what it needs: the connection begins without a packet. Right
    /// where the datagram is the last of a handshake, and means nothing to the game. The server counts it as
    /// [`consumed`](crate::stats::ServerStats#structfield.consumed), the peer does not count it.
    AcceptAndConsume,
    /// As [`AcceptAndConsume`](Self::AcceptAndConsume), and the reply is sent if, and only if, the sender is let in. It
    /// leaves at once, before anything that the peer puts. If the system does not take it, it is lost as any datagram may
    /// be, counted, and the connection is there all the same: a client that misses the reply asks again, and it is the
    /// peer that hears it then.
    ///
    /// A reply that is too long or beyond the budget lets nobody in. So what is good for one connection, such as a ticket,
    /// is struck off when that connection is taken and not by the filter, which has not yet let anybody in.
    AcceptAndReply,
    /// Drop it, and count it as [`filtered`](crate::stats::ReceiveDrops#structfield.filtered).
    Ignore,
    /// The filter has taken what it wanted; no connection comes of it.
    Consume,
    /// Send back the bytes that the filter has written, and remember nothing.
    Reply,
}

/// A filter that is borrowed for one poll.
pub(crate) type FilterFn<'a> = dyn FnMut(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict + 'a;

/// The filter that is set on a server.
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
