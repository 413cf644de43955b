use std::net::{IpAddr, SocketAddr};

use crate::address::canonical;
use crate::datagram::ReceiveBatch;
use crate::demux::{Budgets, Demux, FilterFn, Outside, Reply};
use crate::error::PutError;
use crate::socket::{SharedTransport, Sink, send, send_drop_reason};

/// One poll's way from the socket to the core.
pub(super) struct PortIntake<'a, 'f> {
    pub(super) transport: &'a SharedTransport,
    pub(super) demux: &'a mut Demux,
    pub(super) budgets: Budgets,
    pub(super) filter: Option<&'a mut FilterFn<'f>>,
}

impl Sink for PortIntake<'_, '_> {
    fn budget(&self) -> usize {
        self.budgets.least()
    }

    fn take(&mut self, batch: &ReceiveBatch) {
        let (transport, filter) = (self.transport, self.filter.as_deref_mut());
        let send = |reply: &Reply<'_>| {
            let sent = send(transport.io(), transport.max_payload(), reply.bytes, reply.to, reply.from);
            sent.map_err(|error| send_drop_reason(&error))
        };
        self.demux.take_batch(batch, &mut self.budgets, &mut Outside { filter, send: &send });
    }

    fn truncated(&mut self) {
        self.demux.count_truncated();
    }

    fn noise(&mut self) {
        self.demux.count_noise();
    }
}

/// Sends a datagram that is not a peer's, and counts it.
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
        Err(error) => Err(send_drop_reason(error)),
    });
    result
}
