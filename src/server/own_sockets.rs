use std::net::SocketAddr;
use std::sync::Arc;

use super::dedicated::bind_addr;
use super::udp_server::UdpServer;
use crate::error::{DedicateError, UnknownPeer};
use crate::peer::{PacketPeerUdp, Switch};
use crate::socket::TransportOwner;

/// # Peers' own sockets
impl UdpServer {
    /// Gives a peer a socket of its own, on the same local address and a port that the system chooses, which is
    /// returned. The kernel then sorts its datagrams, and the peer's packets leave by the new port: from now on, or
    /// from the client's first datagram there on, as `switch` says.
    ///
    /// Only the peer's remote is heard on the new port. What still reaches the port listened on stays this peer's, for
    /// as long as it lives: a client that never switches is heard, and makes no second connection. Order is kept on
    /// each of both ports, not between them. The server's poll and [`wait`](Self::wait) are for both, and limits,
    /// counters and time-outs as before. Each such socket has buffers of its own, of the sizes that
    /// [`SocketOptions`](crate::SocketOptions) ask for; what the kernel drops there is in both sides' `kernel_drops`.
    ///
    /// The socket is closed when the peer ends, after what the peer had put has left by it. Where the system is busy at
    /// that moment, it is closed by the first poll after the rest has left, or by a stop, and receives nothing meanwhile.
    ///
    /// Give sockets only to clients that have shown that they receive, for instance by an answer to something you sent:
    /// forged first datagrams would use them up. See "Which identity?" of the crate.
    ///
    /// # Errors
    ///
    /// See [`DedicateError`]; the peer stays on the shared socket, unharmed. None is a reason to end the server: a
    /// stranger can cause [`Unreachable`](DedicateError::Unreachable), and enough of them the want of descriptors and
    /// ports.
    pub fn dedicate_socket(&mut self, peer: &mut PacketPeerUdp, switch: Switch) -> Result<SocketAddr, DedicateError> {
        let listening = self.listening.as_ref().ok_or(DedicateError::UnknownPeer(UnknownPeer(peer.id())))?;
        let mailbox = self.demux.mailbox(peer.id()).filter(|mailbox| peer.is_handle_of(mailbox));
        let mailbox = mailbox.ok_or(DedicateError::UnknownPeer(UnknownPeer(peer.id())))?;
        if !self.demux.goes_by_address() {
            return Err(DedicateError::GoesByIds);
        }
        if self.dedicated.contains(peer.id()) {
            return Err(DedicateError::AlreadyDedicated);
        }
        let mut options = self.config.bind_options(bind_addr(listening.transport.get().local_addr(), mailbox));
        options.share_port = false;
        options.pin_reply_address = false;
        let mut transport = self.factory.bind(&options).map_err(DedicateError::from_io)?;
        transport.connect(mailbox.remote()).map_err(DedicateError::Unreachable)?;
        let transport = TransportOwner::new(transport, false).map_err(DedicateError::from_io)?;
        let local_addr = transport.get().local_addr();
        let way = transport.share();
        let kernel_drops = self.dedicated.add(Arc::clone(mailbox), switch, transport);
        peer.use_own_socket(way, switch, kernel_drops);
        Ok(local_addr)
    }
}
