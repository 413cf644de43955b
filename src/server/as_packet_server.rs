use std::net::SocketAddr;
use std::time::Instant;

use super::udp_server::UdpServer;
use crate::error::{PollError, UnknownPeer};
use crate::packet_server::PacketServer;
use crate::peer::PacketPeerUdp;
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;
use crate::stats::{FlushReport, PollReport, Stat};

/// Each method is the one of the same name.
impl PacketServer for UdpServer {
    type Peer = PacketPeerUdp;

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        Self::poll_at(self, now)
    }

    fn poll(&mut self) -> Result<PollReport, PollError> {
        Self::poll(self)
    }

    fn now(&self) -> Instant {
        Self::now(self)
    }

    fn flush(&mut self) -> Result<FlushReport, PollError> {
        Self::flush(self)
    }

    fn take_connection(&mut self) -> Option<PacketPeerUdp> {
        Self::take_connection(self)
    }

    fn ready(&mut self, ids: &mut Vec<PeerId>) {
        Self::ready(self, ids);
    }

    fn take_ended(&mut self, ended: &mut Vec<(PeerId, CloseReason)>) {
        Self::take_ended(self, ended);
    }

    fn peer_count(&self) -> usize {
        Self::peer_count(self)
    }

    fn pending_count(&self) -> usize {
        Self::pending_count(self)
    }

    fn close(&mut self, id: PeerId) -> Result<(), UnknownPeer> {
        Self::close(self, id)
    }

    fn drain(&mut self) {
        Self::drain(self);
    }

    fn is_draining(&self) -> bool {
        Self::is_draining(self)
    }

    fn stop(&mut self) {
        Self::stop(self);
    }

    fn is_listening(&self) -> bool {
        Self::is_listening(self)
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        Self::local_addr(self)
    }

    /// [`UdpServer::stats`], then [`UdpServer::table_sizes`].
    fn visit_stats(&self, visit: &mut dyn FnMut(Stat)) {
        self.stats().iter().chain(self.table_sizes().iter()).for_each(visit);
    }
}
