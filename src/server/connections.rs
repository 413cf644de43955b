use std::net::SocketAddr;

use super::udp_server::UdpServer;
use crate::demux::{ConnectionId, NotConnected};
use crate::error::{ConnectError, UnknownPeer};
use crate::peer::PacketPeerUdp;
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;
use crate::socket::{check_remote, meant};

/// # Peers
///
/// [`Peers`](crate::Peers) keeps their handles, and makes the first three of these calls.
impl UdpServer {
    /// The connection that has been pending longest, as a peer; it has received its first packets already, unless the filter
    /// has consumed them. `None` where none is pending.
    ///
    /// Dropping the handle ends the peer: that is how a connection is refused. Its next datagram makes a new
    /// connection, even one that was in flight when the peer said goodbye. So expect first packets that are not a hello, or
    /// set [`Limits::after_close`](crate::Limits::after_close).
    ///
    /// The idle timeout counts from now, as with [`connect`](Self::connect), and not from its last packet.
    #[must_use = "dropping the handle ends the connection"]
    pub fn take_connection(&mut self) -> Option<PacketPeerUdp> {
        let (transport, now) = (self.listening.as_ref()?.transport.share(), self.time_of_polls());
        self.demux.take(now).map(|mailbox| PacketPeerUdp::served(mailbox, transport))
    }

    /// Appends to `ids` the peers that have packets waiting, each once, in no particular order. A peer is listed until
    /// it has been drained; one that is taken with packets waiting is listed at once. One that has ended is listed like
    /// the others until its packets are taken or its handle is dropped, after [`stop`](Self::stop) too.
    ///
    /// With it a frame's work follows the traffic and not the number of peers.
    pub fn ready(&mut self, ids: &mut Vec<PeerId>) {
        self.demux.ready(ids);
    }

    /// Appends to `ended` the peers that have ended since this was asked last, and why: peers gone idle, peers closed
    /// by their handle or by the server, and on [`stop`](Self::stop) all of them. Ask after each poll: what one poll
    /// has found, the next forgets. What [`close`](Self::close), [`connect`](Self::connect) or [`stop`](Self::stop) has
    /// found between two polls is kept until the second poll after that, so that a game that asks after each poll sees
    /// it.
    ///
    /// Twice as many as [`Limits::max_peers`](crate::Limits::max_peers) are kept. A program that connects and closes
    /// more often than that between two polls loses the earliest; [`stats`](Self::stats) counts them all.
    ///
    /// ```
    /// # use packetpeer::{PeerId, UdpServer};
    /// # use std::collections::HashMap;
    /// # let mut server = UdpServer::new();
    /// # server.listen("127.0.0.1:0")?;
    /// # let mut names: HashMap<PeerId, String> = HashMap::new();
    /// # let mut ended = Vec::new();
    /// server.poll()?;
    /// ended.clear();
    /// server.take_ended(&mut ended);
    /// for (id, reason) in &ended {
    ///     println!("{} left: {reason}", names.remove(id).unwrap_or_default());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        self.demux.ended(ended);
    }

    /// Makes a peer of `addr` from this side: to speak first from the port listened on, as hole punching and server
    /// browsers do. Nothing is sent to it. A pending connection of that address becomes the peer, with what it has
    /// received. An unspecified address, such as the [`local_addr`](PacketPeerUdp::local_addr) of a peer on a bare
    /// port, means this host: the address listened on, or else the loopback address.
    /// [`remote_addr`](PacketPeerUdp::remote_addr) tells.
    ///
    /// The idle timeout counts from now: from the time of the last poll and what has passed since by the transport's
    /// clock, also where [`poll_at`](Self::poll_at) is told another time. Peers whose handles are gone are taken up
    /// before it is looked for a place, as the next poll would do, though they are in no report of a poll then. If what
    /// they had put waits for a flush, and they are more than twice as many as there ever were peers at a time, it
    /// leaves now.
    ///
    /// The peer counts for [`Limits::max_peers_per_ip`](crate::Limits::max_peers_per_ip), but is not refused by it.
    ///
    /// # Errors
    ///
    /// [`ConnectError::AlreadyKnown`], [`PeersFull`](ConnectError::PeersFull),
    /// [`NotListening`](ConnectError::NotListening), [`NoPort`](ConnectError::NoPort),
    /// [`WrongFamily`](ConnectError::WrongFamily), [`Broadcast`](ConnectError::Broadcast),
    /// [`Multicast`](ConnectError::Multicast), or [`NeedsId`](ConnectError::NeedsId) where the server goes by
    /// connection ids alone: what comes from the address would be a connection of its own. There use
    /// [`connect_as`](Self::connect_as).
    pub fn connect(&mut self, addr: SocketAddr) -> Result<PacketPeerUdp, ConnectError> {
        if !self.demux.knows_by_address() {
            return Err(ConnectError::NeedsId);
        }
        self.connect_by(addr, None)
    }

    pub(super) fn connect_by(
        &mut self,
        addr: SocketAddr,
        id: Option<ConnectionId>,
    ) -> Result<PacketPeerUdp, ConnectError> {
        let listening = self.listening.as_ref().ok_or(ConnectError::NotListening)?;
        if addr.port() == 0 {
            return Err(ConnectError::NoPort);
        }
        let io = listening.transport.get().io();
        let addr = meant(io, addr);
        if !io.reaches(addr) {
            return Err(ConnectError::WrongFamily);
        }
        check_remote(io, addr)?;
        let transport = listening.transport.share();
        if self.demux.has_to_flush() {
            // The list would grow for ever where handles put and are dropped, and nobody flushes or polls.
            let _ = self.flush();
        }
        let now = self.time_of_polls();
        match self.demux.connect(addr, id, now) {
            Ok(mailbox) => Ok(PacketPeerUdp::served(mailbox, transport)),
            Err(NotConnected::Known(id)) => Err(ConnectError::AlreadyKnown(id)),
            Err(NotConnected::PeersFull) => Err(ConnectError::PeersFull),
        }
    }

    /// Ends a peer from the server's side. Its handle can still take what it had received. What it had put before is still
    /// sent, by the next [`flush`](Self::flush), poll or stop if it has not left already. A refusal by
    /// [`Limits::after_close`](crate::Limits::after_close) counts from now, as with [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] where it has ended already, its handle is gone, or it is another server's.
    pub fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        let now = self.time_of_polls();
        self.demux.close(id, now)?;
        self.dedicated.release_ended(&self.demux, &mut self.outgoing);
        Ok(())
    }

    /// All peers and their addresses, in no particular order. One whose handle was closed or dropped is none of them from
    /// that moment on.
    pub fn peers(&self) -> impl Iterator<Item = (PeerId, SocketAddr)> {
        self.demux.peers()
    }

    /// The peer that is known by this address, if there is one, by which this host may be meant as for
    /// [`connect`](Self::connect); of those known by a connection id see
    /// [`find_connection`](Self::find_connection). An IPv4 address may be given as such or mapped into IPv6. Like
    /// [`peers`](Self::peers) it knows none whose handle was closed or dropped.
    pub fn find(&self, addr: SocketAddr) -> Option<PeerId> {
        self.demux.find(meant(self.listening.as_ref()?.transport.get().io(), addr))
    }

    /// Peers: connections taken and not ended. One whose handle was closed or dropped counts until the next
    /// [`poll`](Self::poll) or [`connect`](Self::connect) takes that up; until then this may be more than there are
    /// [`peers`](Self::peers).
    pub fn peer_count(&self) -> usize {
        self.demux.peer_count()
    }

    /// Connections that wait to be taken: what came with the last poll, until they are taken.
    pub fn pending_count(&self) -> usize {
        self.demux.pending_count()
    }

    /// Whether [`take_connection`](Self::take_connection) has one. Does no input or output: poll first.
    pub fn is_connection_available(&self) -> bool {
        self.pending_count() > 0
    }
}
