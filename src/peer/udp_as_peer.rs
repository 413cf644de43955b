use std::net::SocketAddr;
use std::time::Instant;

use super::udp::PacketPeerUdp;
use crate::error::{GetError, PollError, PutError};
use crate::packet::Packet;
use crate::packet_peer::PacketPeer;
use crate::peer_id::PeerId;
use crate::peer_state::{CloseReason, PeerState};
use crate::stats::{PeerStats, PollReport};

/// Each method calls the inherent one of the same name.
impl PacketPeer for PacketPeerUdp {
    fn id(&self) -> PeerId {
        self.id()
    }

    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
        self.poll_at(now)
    }

    fn poll(&mut self) -> Result<PollReport, PollError> {
        self.poll()
    }

    fn now(&self) -> Instant {
        self.now()
    }

    fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
        self.get_packet()
    }

    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.put_packet(bytes)
    }

    fn can_put(&self, len: usize) -> bool {
        self.can_put(len)
    }

    fn available_packet_count(&self) -> usize {
        self.available_packet_count()
    }

    fn max_packet_size(&self) -> usize {
        self.max_packet_size()
    }

    fn state(&self) -> PeerState {
        self.state()
    }

    fn close_reason(&self) -> Option<CloseReason> {
        self.close_reason()
    }

    fn close(&mut self) {
        self.close();
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        self.remote_addr()
    }

    fn stats(&self) -> PeerStats {
        self.stats()
    }
}
