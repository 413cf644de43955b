//! [`PacketServer`]: the trait for code that runs over any server.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::error::{PollError, UnknownPeer};
use crate::packet_peer::PacketPeer;
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;
use crate::stats::{FlushReport, PollReport, Stat};

/// A server of packet connections: one handle per peer, all advanced by one poll per frame.
///
/// [`UdpServer`](crate::UdpServer) implements it, and so can a server over streams, one with encrypted peers, or one that
/// plays back a recording. A game, a metrics page or an engine's plug-in written against this trait runs on each.
/// [`Peers`](crate::Peers) keeps the handles of any of them.
///
/// ```
/// use packetpeer::error::PollError;
/// use packetpeer::{PacketPeer, PacketServer, Peers};
///
/// /// One frame of a server that sends back what it receives.
/// fn echo<S: PacketServer>(server: &mut S, peers: &mut Peers<S>) -> Result<(), PollError> {
///     let polled = server.poll();
///     // Also where that failed: then all have left.
///     peers.update(server, |_, _| Some(()), |_, peer, (), reason| println!("{} left: {reason}", peer.id()));
///     polled?;
///     while let Some((_id, peer, ())) = peers.next_ready() {
///         while let Ok(Some(packet)) = peer.get_packet() {
///             let _ = peer.put_packet(&packet); // what is not sent is in the counters
///         }
///     }
///     server.flush()?;
///     Ok(())
/// }
/// # let _ = echo::<packetpeer::UdpServer>;
/// ```
///
/// # The life of a server
///
/// Each type has its own calls to make it, configure it and listen. Then, in each frame: [`poll`](Self::poll) →
/// [`take_connection`](Self::take_connection) until `None` → [`take_ended`](Self::take_ended) →
/// [`ready`](Self::ready), and read from those peers → step the game, which puts → [`flush`](Self::flush).
/// [`drain`](Self::drain) admits no new connections and lets the peers play to the end; [`stop`](Self::stop) ends all of
/// them, and the server may listen again. When a poll fails because the socket did, the server has stopped, and every peer
/// has ended.
///
/// # Writing one
///
/// - **Input and output** is done by `poll`, `flush` and `stop`, by the puts of handles, by a close that says goodbye, and by
///   nothing else. None of them blocks. Getters tell what was so at the last of these calls; [`visit_stats`](Self::visit_stats) alone may ask the
///   system for its counters.
/// - **Time** is what [`poll_at`](Self::poll_at) is told, which may be virtual. It never runs backwards: an earlier time
///   than before counts as that.
/// - **Nobody polls the handles** that it hands out: what happens to a peer in time, such as a repeat or a time-out, happens
///   in the server's poll, which shares that state with the handle.
/// - **Nothing is unbounded**: work per poll, connections that are pending, peers, and what waits for each. A poll that
///   leaves something for the next says [`more_waiting`](PollReport::more_waiting).
/// - **Every peer ends once.** Each handle that was taken is told in `take_ended` one time, with the reason that the handle
///   tells too. Ids come from [`PeerIds`](crate::identity::PeerIds), so that none is ever another peer's.
/// - **A handle is the connection**: dropping it ends the peer, from any thread, without blocking; the next poll takes that
///   up. What was put before an end is still sent, as far as the other side takes it.
/// - **Nothing is lost in silence.** What the server received = delivered + queued + consumed + the sum of all drops, and
///   what was put = sent + waiting + the sum of all drops; the peers' counters are part of the server's. A [`ServerStats`](crate::stats::ServerStats) takes them in by `+=`, and
///   its `iter` is for `visit_stats`; [`Stat::counter`] and [`Stat::gauge`] make what it has no field for.
///
/// # As a trait object
///
/// `dyn PacketServer<Peer = P>` works, and so does `Peers<dyn PacketServer<Peer = P>>`. `&mut S` and `Box<S>` are servers
/// where `S` is one.
pub trait PacketServer: fmt::Debug + Send + Sync {
    /// The handle of one peer.
    type Peer: PacketPeer;

    /// Receives what has arrived, sends what waits, and ends peers that have gone silent, at the time `now`.
    /// [`UdpServer::poll`](crate::UdpServer::poll) gives the order in which it does so.
    ///
    /// # Errors
    ///
    /// [`PollError::NotOpen`] when not listening; otherwise nothing more can be received, and all peers have ended. What a
    /// single peer does is never an error here.
    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError>;

    /// [`poll_at`](Self::poll_at) the current time. Call it once per frame, or more often.
    ///
    /// # Errors
    ///
    /// As [`poll_at`](Self::poll_at).
    fn poll(&mut self) -> Result<PollReport, PollError> {
        self.poll_at(self.now())
    }

    /// The time by the clock of the transport beneath: real time for real sockets, virtual time on the in-memory
    /// [network](crate::sim::Network). It works when the server is not listening, too.
    fn now(&self) -> Instant;

    /// Sends what waits, as far as that does not block; the rest waits for the next flush or poll. Call it at the end of a
    /// frame.
    ///
    /// # Errors
    ///
    /// [`PollError::NotOpen`] when not listening. What was not sent is in the report, and is not an error.
    fn flush(&mut self) -> Result<FlushReport, PollError>;

    /// Takes the connection that has been pending longest, as a peer that may already have packets waiting. `None` if
    /// none is pending.
    ///
    /// Where a remote can end a connection, as with streams, one that ended while pending may still be handed out, with
    /// what it had sent: [`take_ended`](Self::take_ended) lists it after the next poll.
    #[must_use = "dropping the handle ends the connection"]
    fn take_connection(&mut self) -> Option<Self::Peer>;

    /// Whether [`take_connection`](Self::take_connection) would return one.
    fn is_connection_available(&self) -> bool {
        self.pending_count() > 0
    }

    /// Appends the peers that have packets waiting, each once. A peer is listed for as long as it has some: from the moment
    /// it is taken and, if it has ended, until its packets are taken or its handle is gone.
    fn ready(&mut self, ids: &mut Vec<PeerId>);

    /// Appends the peers that have ended since the last call, with the reason, and forgets them. Call it after each poll:
    /// the next poll may forget what this one found. A peer that ends between two polls is listed after the second at the
    /// latest.
    ///
    /// Peers that the caller ended itself, by dropping the handle, are listed too.
    fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>);

    /// How many peers there are: connections taken and not ended. One that has ended since the last poll may still count,
    /// so this is never less than the number of open handles.
    fn peer_count(&self) -> usize;

    /// How many connections wait to be taken.
    fn pending_count(&self) -> usize;

    /// Ends a peer from the server's side, with the reason [`CloseReason::Closed`]. Its handle can still take what it had
    /// received.
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] where it has ended already, its handle is gone, or it is another server's.
    fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer>;

    /// From now on, until [`stop`](Self::stop), admits no new connections. Those not taken yet are forgotten; peers go on
    /// as before.
    fn drain(&mut self);

    /// Whether [`drain`](Self::drain) was called.
    fn is_draining(&self) -> bool;

    /// Whether the server is draining and no peer is left.
    fn is_drained(&self) -> bool {
        self.is_draining() && self.peer_count() == 0
    }

    /// Ends all peers, forgets pending connections and stops listening. What had been put is sent, as far as that does not
    /// block. A second call does nothing.
    fn stop(&mut self);

    /// Whether the server listens.
    fn is_listening(&self) -> bool;

    /// The address listened on; `None` when not listening, or where the transport has no such address.
    fn local_addr(&self) -> Option<SocketAddr>;

    /// Calls `visit` with each of the server's statistics, for a live view or an exporter: what it has counted so far, and
    /// what it remembers at the moment. Their order and names stay the same for as long as the program runs; numbers that
    /// the system does not tell are left out.
    ///
    /// ```
    /// use packetpeer::stats::Stat;
    /// use packetpeer::{PacketServer, UdpServer};
    ///
    /// let server: &dyn PacketServer<Peer = _> = &UdpServer::new();
    /// let mut page = String::new();
    /// server.visit_stats(&mut |Stat { group, name, help, value, .. }| {
    ///     page += &format!("# {help}\n{group}_{name} {value}\n");
    /// });
    /// assert!(page.contains("server_received 0\n"));
    /// ```
    fn visit_stats(&self, visit: &mut dyn FnMut(Stat));
}

/// Every method calls the server pointed to, the provided ones too: it may override them.
macro_rules! impl_by_pointer {
    ($($pointer:ty),*) => {$(
        impl<S: PacketServer + ?Sized> PacketServer for $pointer {
            type Peer = S::Peer;

            fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
                (**self).poll_at(now)
            }

            fn poll(&mut self) -> Result<PollReport, PollError> {
                (**self).poll()
            }

            fn now(&self) -> Instant {
                (**self).now()
            }

            fn flush(&mut self) -> Result<FlushReport, PollError> {
                (**self).flush()
            }

            fn take_connection(&mut self) -> Option<Self::Peer> {
                (**self).take_connection()
            }

            fn is_connection_available(&self) -> bool {
                (**self).is_connection_available()
            }

            fn ready(&mut self, ids: &mut Vec<PeerId>) {
                (**self).ready(ids);
            }

            fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
                (**self).take_ended(ended);
            }

            fn peer_count(&self) -> usize {
                (**self).peer_count()
            }

            fn pending_count(&self) -> usize {
                (**self).pending_count()
            }

            fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
                (**self).close(id)
            }

            fn drain(&mut self) {
                (**self).drain();
            }

            fn is_draining(&self) -> bool {
                (**self).is_draining()
            }

            fn is_drained(&self) -> bool {
                (**self).is_drained()
            }

            fn stop(&mut self) {
                (**self).stop();
            }

            fn is_listening(&self) -> bool {
                (**self).is_listening()
            }

            fn local_addr(&self) -> Option<SocketAddr> {
                (**self).local_addr()
            }

            fn visit_stats(&self, visit: &mut dyn FnMut(Stat)) {
                (**self).visit_stats(visit);
            }
        }
    )*};
}

impl_by_pointer!(&mut S, Box<S>);
