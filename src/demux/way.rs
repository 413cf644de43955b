//! Where the remote of a mailbox is, and by which route its datagrams go.

use std::net::{IpAddr, SocketAddr};

use super::mailbox::Mailbox;
use super::whereabouts::{NewAddress, OverBudget, Way, Whereabouts};
use crate::sync::atomic::Ordering;

impl Mailbox {
    pub(crate) fn remote(&self) -> SocketAddr {
        if self.has_moved() { self.contents().way(self.first_remote).to } else { self.first_remote }
    }

    /// Whether the remote has ever been elsewhere than at [`Mailbox::first_remote`].
    pub(crate) fn has_moved(&self) -> bool {
        self.has_moved.load(Ordering::Acquire)
    }

    /// Which way a datagram of `size` bytes goes, which is charged to the budget of an address that is not confirmed:
    /// for a handle, whose peer may move at any time.
    pub(crate) fn way_for(&self, size: usize) -> Result<Way, OverBudget> {
        let mut contents = self.contents();
        if let Some(whereabouts) = contents.whereabouts() {
            whereabouts.charge(size)?;
        }
        Ok(contents.way(self.first_remote))
    }

    /// Takes back what was charged for a datagram of `size` bytes that was not sent. Where the remote is elsewhere by
    /// now, it gains nothing by that.
    #[cold]
    pub(crate) fn refund_way(&self, size: usize, way: Way) {
        if !way.is_charged {
            return;
        }
        if let Some(whereabouts) = self.contents().whereabouts().filter(|whereabouts| whereabouts.remote() == way.to) {
            whereabouts.refund(size);
        }
    }

    /// Charges a datagram of `size` bytes to the budget of an address that is not confirmed, if there is room. For the
    /// server's thread, on which peers move: until it polls, the remote stays where it is.
    #[inline]
    pub(crate) fn charge(&self, size: usize) -> bool {
        !self.has_moved() || self.contents().whereabouts().is_none_or(|whereabouts| whereabouts.charge(size).is_ok())
    }

    /// Takes back what was charged, on the server's thread, for a datagram of `size` bytes that was not sent.
    #[cold]
    pub(crate) fn refund(&self, size: usize) {
        if let Some(whereabouts) = self.contents().whereabouts() {
            whereabouts.refund(size);
        }
    }

    /// Takes note of a datagram of `size` bytes with this connection's id. Where it comes from elsewhere than where the
    /// remote is, says where that is.
    pub(super) fn heard_from(&self, sender: SocketAddr, size: usize) -> Result<(), SocketAddr> {
        if !self.has_moved() {
            return if sender == self.first_remote { Ok(()) } else { Err(self.first_remote) };
        }
        let mut contents = self.contents();
        let Some(whereabouts) = contents.whereabouts() else { return Err(self.first_remote) };
        if whereabouts.remote() != sender {
            return Err(whereabouts.remote());
        }
        whereabouts.credit(size);
        Ok(())
    }

    /// Lets the remote be at another address from now on. Returns whether it is known to receive there.
    pub(super) fn follow(&self, to: &NewAddress) -> bool {
        let mut contents = self.contents();
        let rare = contents.rare();
        rare.local = to.local;
        let first_remote = self.first_remote;
        let whereabouts = rare.moved.get_or_insert_with(|| Box::new(Whereabouts::at(first_remote)));
        whereabouts.follow(to);
        let is_confirmed = whereabouts.is_confirmed();
        self.has_moved.store(true, Ordering::Release);
        is_confirmed
    }

    /// Takes note that the remote receives at `addr`. Returns whether that is where it is.
    pub(super) fn confirm(&self, addr: SocketAddr) -> bool {
        let mut contents = self.contents();
        let Some(whereabouts) = contents.whereabouts() else { return addr == self.first_remote };
        let is_there = whereabouts.remote() == addr;
        if is_there {
            whereabouts.confirm();
        }
        is_there
    }

    /// Whether more may be sent to where the remote is than in proportion to what came from there.
    pub(crate) fn is_confirmed(&self) -> bool {
        !self.has_moved() || self.contents().whereabouts().is_none_or(|whereabouts| whereabouts.is_confirmed())
    }

    /// Which address of this host the remote has spoken to, where the transport tells.
    pub(crate) fn local(&self) -> Option<IpAddr> {
        self.contents().rare.as_ref().and_then(|rare| rare.local)
    }

    /// Takes note of which address of this host the remote has spoken to, where no packet tells it.
    pub(super) fn set_local(&self, local: IpAddr) {
        self.contents().rare().local = Some(local);
    }
}
