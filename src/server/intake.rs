use std::net::{IpAddr, SocketAddr};

use crate::address::canonical;
use crate::datagram::ReceiveBatch;
use crate::demux::{Demux, Sorted};
use crate::error::PutError;
use crate::socket::{SharedTransport, Sink, send};

/// One poll's way from the socket to the core.
pub(super) struct PortIntake<'a> {
    pub(super) transport: &'a SharedTransport,
    pub(super) demux: &'a mut Demux,
    pub(super) max_packet_size: usize,
    pub(super) known_left: usize,
    pub(super) unknown_left: usize,
}

impl Sink for PortIntake<'_> {
    fn budget(&self) -> usize {
        // Whose a datagram is shows only when it has been taken.
        self.known_left.min(self.unknown_left)
    }

    fn take(&mut self, batch: &ReceiveBatch) {
        self.demux.look_up(batch);
        for (place, arrived) in batch.arrived().enumerate() {
            let cut = arrived.is_cut() || arrived.bytes.len() > self.max_packet_size;
            match self.demux.sort(place, &arrived, cut) {
                Sorted::Known => self.known_left -= 1,
                Sorted::Unknown => self.unknown_left -= 1,
                Sorted::Answer => {
                    self.unknown_left -= 1;
                    let (from, reply) = (*arrived.local(), self.demux.reply());
                    let _ = send_stateless(Some(self.transport), self.demux, from, reply, *arrived.sender());
                }
            }
        }
    }

    fn truncated(&mut self) {
        self.demux.count_truncated();
    }

    fn noise(&mut self) {
        self.demux.count_noise();
    }
}

/// Sends a datagram that is no peer's, and counts it.
pub(super) fn send_stateless(
    transport: Option<&SharedTransport>,
    demux: &Demux,
    from: Option<IpAddr>,
    bytes: &[u8],
    to: SocketAddr,
) -> Result<(), PutError> {
    let result = match transport {
        None => Err(PutError::NotListening),
        Some(_) if to.port() == 0 => Err(PutError::NoPort),
        Some(transport) => send(transport.io(), transport.max_payload(), bytes, canonical(to), from),
    };
    demux.count_send(match &result {
        Ok(()) => Ok(bytes.len()),
        Err(error) => Err(error.into()),
    });
    result
}
