use std::net::SocketAddr;

use super::intake::send_stateless;
use super::routes::Routes;
use super::udp_server::{Listening, UdpServer};
use crate::error::{PollError, PutError};
use crate::peer_id::PeerId;
use crate::socket::{MaxPayload, SharedTransport, meant};
use crate::stats::FlushReport;

/// # Sending
///
/// Beside [`put_packet`](crate::PacketPeer::put_packet) of each handle.
impl UdpServer {
    /// Sends what waits to be sent, in the [modes](crate::SendMode) that let something wait: call it at the end of a
    /// frame. In the others there is nothing to do. What the system will not take now waits for the next flush, poll or
    /// [`wait`](Self::wait); it never blocks and never spins.
    ///
    /// It sends for peers that have ended too what they had put before.
    ///
    /// # Errors
    ///
    /// [`PollError::NotOpen`] when not listening. What was not sent is not an error: it is in the report, and the
    /// peers' counters.
    pub fn flush(&mut self) -> Result<FlushReport, PollError> {
        let transport = self.listening.as_ref().ok_or(PollError::NotOpen)?.transport.get();
        let (shared, recycle) = self.demux.for_flush();
        let routes = Routes { transport, dedicated: &self.dedicated, shared };
        Ok(routes.flush(&mut self.outgoing, recycle))
    }

    /// Sends `bytes` to every peer, as [`put_packet`](crate::PacketPeerUdp::put_packet) on each would, but with one copy of
    /// the payload at most, and few system calls. Pending connections get nothing.
    ///
    /// Returns how many datagrams of this broadcast were sent, refused and, in the modes that let something wait, left
    /// waiting. What waited before, and leaves before it in [`QueueWhenBlocked`](crate::SendMode::QueueWhenBlocked), is in the
    /// counters and not in the report.
    ///
    /// What has to wait is one copy: it counts once for [`max_queued_bytes`](crate::Limits#structfield.max_queued_bytes),
    /// until it has left for the last peer, and for each peer's [`send_queue`](crate::Limits#structfield.send_queue) like a
    /// put.
    ///
    /// # Errors
    ///
    /// [`PutError::NotListening`], or [`PutError::TooLarge`], and then nothing is sent. What goes wrong with a
    /// peer is not an error: it is counted there.
    pub fn broadcast(&mut self, bytes: &[u8]) -> Result<FlushReport, PutError> {
        let transport = transport_for_broadcast(self.listening.as_ref(), bytes)?;
        let mailboxes = self.demux.mailboxes();
        let routes = Routes { transport, dedicated: &self.dedicated, shared: self.demux.shared() };
        Ok(routes.broadcast(&mut self.outgoing, mailboxes, bytes))
    }

    /// As [`broadcast`](Self::broadcast), to the peers named: once for each time that a peer is named. Those that have
    /// ended get nothing, nor do another server's, and neither count.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_to(&mut self, ids: &[PeerId], bytes: &[u8]) -> Result<FlushReport, PutError> {
        let transport = transport_for_broadcast(self.listening.as_ref(), bytes)?;
        let mailboxes = ids.iter().filter_map(|&id| self.demux.mailbox(id));
        let routes = Routes { transport, dedicated: &self.dedicated, shared: self.demux.shared() };
        Ok(routes.broadcast(&mut self.outgoing, mailboxes, bytes))
    }

    /// Sends one datagram from the port listened on to anybody, and remembers nothing: for answers to those who are to
    /// be no peers. An answer makes a pending connection, as every unknown sender does. An unspecified address means this
    /// host, as for [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// See [`PutError`]; the datagram was not sent, and is counted under its reason.
    pub fn send_to(&mut self, addr: SocketAddr, bytes: &[u8]) -> Result<(), PutError> {
        let transport = self.listening.as_ref().map(|listening| listening.transport.get());
        let addr = transport.map_or(addr, |transport| meant(transport.io(), addr));
        send_stateless(transport, &self.demux, None, bytes, addr)
    }
}

/// The transport by which a broadcast of `bytes` leaves. Some of the peers may be IPv4 ones, which can be sent less: their
/// limit holds for all.
fn transport_for_broadcast<'a>(
    listening: Option<&'a Listening>,
    bytes: &[u8],
) -> Result<&'a SharedTransport, PutError> {
    let transport = listening.map(|listening| listening.transport.get());
    let limit = transport.map_or_else(MaxPayload::of_udp, SharedTransport::max_payload).to_all();
    if bytes.len() > limit {
        return Err(PutError::TooLarge { size: bytes.len(), limit });
    }
    transport.ok_or(PutError::NotListening)
}
