//! Where a connection is that moves, and how much may be sent there.
//!
//! Whoever knows an id can say by one datagram with a forged address that its connection has moved there. Until it is
//! known that somebody receives at the new address, it gets no more than three times what came from it, as in QUIC (RFC
//! 9000, 8.1): there is little to be won by pointing a server at somebody. Payloads are counted; an empty one as a byte,
//! or there could be any number of them.

use std::net::{IpAddr, SocketAddr};

/// How many times the bytes that came from an address may go there before it is confirmed.
const FACTOR: u64 = 3;

/// Of a connection that has moved.
#[derive(Debug)]
pub(super) struct Whereabouts {
    remote: SocketAddr,
    /// Where it was last known to receive. The first address of a connection counts: whom to let in is up to
    /// the game.
    confirmed: SocketAddr,
    /// How many bytes more may go to `remote`, if that is not the one confirmed.
    budget: u64,
}

/// What takes a connection to a new address.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewAddress {
    pub(super) remote: SocketAddr,
    /// The address of this host that was spoken to, where the transport tells.
    pub(super) local: Option<IpAddr>,
    /// Bytes of the datagram that came from there.
    pub(super) bytes: usize,
    /// That datagram proves that its sender receives there.
    pub(super) is_proved: bool,
}

/// Where a datagram goes, and from which of this host's addresses, where several are possible.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
    /// The destination is not confirmed, and what goes there is charged to its budget.
    pub(crate) is_charged: bool,
}

/// There are no more bytes than these left for a new address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OverBudget {
    pub(crate) to: SocketAddr,
    pub(crate) room: usize,
}

impl Whereabouts {
    /// Of a connection that has been at its first address so far.
    pub(super) fn at(first: SocketAddr) -> Self {
        Self { remote: first, confirmed: first, budget: 0 }
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.remote == self.confirmed
    }

    pub(super) fn follow(&mut self, to: &NewAddress) {
        self.remote = to.remote;
        // What was left of another address's is nobody's.
        self.budget = 0;
        self.credit(to.bytes);
        if to.is_proved {
            self.confirm();
        }
    }

    pub(super) fn confirm(&mut self) {
        self.confirmed = self.remote;
    }

    /// So many bytes have come from where it is.
    pub(super) fn credit(&mut self, bytes: usize) {
        self.budget = self.budget.saturating_add(FACTOR * bytes as u64);
    }

    /// So many bytes are to go there.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), OverBudget> {
        if self.is_confirmed() {
            return Ok(());
        }
        match self.budget.checked_sub(cost(bytes)) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(OverBudget { to: self.remote, room: usize::try_from(self.budget).unwrap_or(usize::MAX) }),
        }
    }

    /// Whether `bytes` may go there after what `waits`: that many bytes, in that many packets.
    pub(super) fn has_room(&self, bytes: usize, waits: (usize, usize)) -> bool {
        // An empty packet that waits is charged as a byte: to count one more for each packet is on the safe side.
        let ahead = waits.0 as u64 + waits.1 as u64;
        self.is_confirmed() || ahead.saturating_add(cost(bytes)) <= self.budget
    }

    /// So many bytes that were charged have not been sent there.
    pub(super) fn refund(&mut self, bytes: usize) {
        self.budget = self.budget.saturating_add(cost(bytes));
    }
}

fn cost(bytes: usize) -> u64 {
    bytes.max(1) as u64
}
