use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::waker::{Sleeper, WaitOutcome, Waker};
use crate::demux::{Mailbox, OverBudget, Posted, SendMode};
use crate::error::{GetError, GetIntoError, PutError, WaitError};
use crate::packet::Packet;
use crate::peer_state::CloseReason;
use crate::socket::{MaxPayload, SharedTransport, drop_reason, send_back};
use crate::stats::PeerStats;

/// When a peer's packets begin to leave by its own socket; see
/// [`UdpServer::dedicate_socket`](crate::UdpServer::dedicate_socket).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Switch {
    /// At once: the client notices by the new port of the first answer. Few NATs and firewalls in front of clients let
    /// that in.
    AtOnce,
    /// With the client's first datagram to the new port, which the game has told it. Until then they leave by the port
    /// listened on, and from then on no more. The client has to send from the address and port it is known by, which it
    /// does not behind a NAT that gives it another port for each destination: it should be able to start over and stay.
    WithClient,
}

/// The handle of a peer that was taken from a server: its mailbox, and access to the server's socket.
#[derive(Debug)]
pub(super) struct Served {
    mailbox: Arc<Mailbox>,
    transport: Weak<SharedTransport>,
    /// What the handle was given to send, whatever became of it. It is the handle's alone, so that counting costs next
    /// to nothing.
    puts: u64,
    seldom: Option<Box<Seldom>>,
}

/// What most handles do without.
#[derive(Debug, Default)]
struct Seldom {
    own: Option<OwnSocket>,
    /// Made by the first wait.
    sleeper: Option<Arc<Sleeper>>,
}

/// A socket that the peer has for itself.
#[derive(Debug)]
struct OwnSocket {
    transport: Weak<SharedTransport>,
    switch: Switch,
    /// What the kernel had dropped there when it was closed.
    kernel_drops: Arc<OnceLock<u64>>,
}

impl OwnSocket {
    fn kernel_drops(&self) -> Option<u64> {
        match self.transport.upgrade() {
            Some(transport) => transport.io().kernel_drops(),
            None => self.kernel_drops.get().copied(),
        }
    }
}

impl Served {
    pub(super) fn new(mailbox: Arc<Mailbox>, transport: Weak<SharedTransport>) -> Self {
        Self { mailbox, transport, puts: 0, seldom: None }
    }

    pub(super) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// `kernel_drops` is told when the socket is closed.
    pub(super) fn use_own_socket(
        &mut self,
        transport: Weak<SharedTransport>,
        switch: Switch,
        kernel_drops: Arc<OnceLock<u64>>,
    ) {
        self.seldom.get_or_insert_default().own = Some(OwnSocket { transport, switch, kernel_drops });
    }

    fn own(&self) -> Option<&OwnSocket> {
        self.seldom.as_ref()?.own.as_ref()
    }

    /// The socket by which packets leave now.
    fn route(&self) -> Option<Arc<SharedTransport>> {
        let own = self.own().filter(|own| own.switch == Switch::AtOnce || self.mailbox.has_switched());
        own.map_or(&self.transport, |own| &own.transport).upgrade()
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), PutError> {
        self.puts += 1;
        match self.mailbox.shared().send_mode() {
            SendMode::OnFlush => self.post(bytes),
            SendMode::QueueWhenBlocked if self.mailbox.is_sending() => self.post(bytes),
            SendMode::Now | SendMode::QueueWhenBlocked => match self.send(bytes) {
                Ok(()) => Ok(()),
                Err(error) => self.after_failure(error, bytes),
            },
        }
    }

    #[inline]
    fn send(&self, bytes: &[u8]) -> Result<(), PutError> {
        if let Some(reason) = self.mailbox.ended() {
            return Err(PutError::Ended(reason));
        }
        let Some(transport) = self.route() else { return Err(PutError::Ended(CloseReason::ServerStopped)) };
        if transport.pins_reply_address() || self.mailbox.has_moved() {
            self.send_with_care(&transport, bytes)?;
        } else {
            send_back(transport.io(), transport.max_payload(), bytes, *self.mailbox.first_remote(), None)?;
        }
        self.mailbox.count_sent_at_once(bytes.len());
        Ok(())
    }

    /// The part of [`Served::send`] where it has to be looked up which way a datagram goes, and whether it may.
    #[inline(never)]
    fn send_with_care(&self, transport: &SharedTransport, bytes: &[u8]) -> Result<(), PutError> {
        let max = transport.max_payload();
        let way = self.mailbox.way_for(bytes.len()).map_err(|over| refuse(over, max, bytes.len()))?;
        let from = way.from.filter(|_| transport.pins_reply_address());
        send_back(transport.io(), max, bytes, way.to, from).inspect_err(|_| self.mailbox.refund_way(bytes.len(), way))
    }

    /// What was not sent may wait, in the mode that is for this. Otherwise it is counted under what was wrong.
    #[cold]
    fn after_failure(&self, error: PutError, bytes: &[u8]) -> Result<(), PutError> {
        match (error, self.mailbox.shared().send_mode()) {
            (PutError::WouldBlock, SendMode::QueueWhenBlocked) => self.post(bytes),
            (error, _) => self.not_sent(error),
        }
    }

    fn not_sent(&self, error: PutError) -> Result<(), PutError> {
        if let Some(reason) = drop_reason(&error) {
            self.mailbox.shared().sends().count_other_puts(1);
            self.mailbox.count_unsent(reason);
        }
        Err(error)
    }

    /// Lets the packet wait for the next flush.
    #[inline(never)]
    fn post(&self, bytes: &[u8]) -> Result<(), PutError> {
        // Where the remote is takes a lock to know, of one that has moved; what fits anywhere needs not be asked.
        let fits_anywhere = bytes.len() <= self.mailbox.shared().max_payload();
        let too_large =
            if fits_anywhere { None } else { self.max_payload().check(bytes.len(), self.mailbox.remote()).err() };
        let error = match too_large {
            Some(error) => error,
            None => match self.mailbox.post(self.mailbox.payload(bytes)) {
                Posted::Queued => return Ok(()),
                Posted::Full => PutError::QueueFull,
                Posted::Ended(reason) => PutError::Ended(reason),
            },
        };
        self.not_sent(error)
    }

    /// Whether a packet of `len` bytes, which a datagram can carry, would be taken now.
    pub(super) fn can_put(&self, len: usize) -> bool {
        self.mailbox.is_open() && self.mailbox.can_put(len)
    }

    /// How much is carried by the socket through which packets leave now.
    fn max_payload(&self) -> MaxPayload {
        self.route().map_or_else(MaxPayload::of_udp, |transport| transport.max_payload())
    }

    pub(super) fn max_packet_size(&self) -> usize {
        self.max_payload().to(self.mailbox.remote())
    }

    /// The time by the clock of this peer's server, also when the server has stopped or is gone.
    pub(super) fn clock_now(&self) -> Instant {
        self.mailbox.shared().clock().now()
    }

    /// Whether there is no packet and no end to be told.
    pub(super) fn has_nothing_now(&self) -> bool {
        self.mailbox.is_open() && self.mailbox.waiting() == 0
    }

    #[inline]
    pub(super) fn get(&self) -> Result<Option<Packet>, GetError> {
        // Asked before the packets, so that whatever was queued before the end is handed out before it is told.
        let is_open = self.mailbox.is_open();
        match self.mailbox.take() {
            None if !is_open => self.nothing_now_or_ever(),
            packet => Ok(packet),
        }
    }

    /// As [`Served::get`], unless the packet is longer than `room`.
    #[inline]
    pub(super) fn get_up_to(&self, room: usize) -> Result<Option<Packet>, GetIntoError> {
        let is_open = self.mailbox.is_open();
        match self.mailbox.take_up_to(room)? {
            None if !is_open => Ok(self.nothing_now_or_ever()?),
            packet => Ok(packet),
        }
    }

    fn nothing_now_or_ever(&self) -> Result<Option<Packet>, GetError> {
        let Some(reason) = self.mailbox.ended() else { return Ok(None) };
        self.mailbox.give_back_all_memory();
        Err(GetError::Ended(reason))
    }

    pub(super) fn stats(&self) -> PeerStats {
        let mut stats = self.mailbox.stats();
        stats.put += self.puts;
        stats.kernel_drops = self.own().and_then(OwnSocket::kernel_drops);
        stats
    }

    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.route().map(|transport| transport.local_addr())
    }

    /// Waits for the peer's own queue, not for the server's socket: the server's poll fills it, on another thread.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, WaitError> {
        let sleeper = Arc::clone(self.sleeper());
        // The bell is in place before the mailbox is asked, so nothing that comes in between is slept through.
        sleeper.forget_ring();
        let ended = self.mailbox.ended();
        if self.mailbox.waiting() > 0 {
            return Ok(WaitOutcome::Ready);
        }
        if let Some(reason) = ended {
            return Err(WaitError::Ended(reason));
        }
        Ok(sleeper.sleep(if self.mailbox.shared().clock().is_virtual() { Some(Duration::ZERO) } else { timeout }))
    }

    pub(super) fn waker(&mut self) -> Waker {
        Waker::of_sleeper(Arc::clone(self.sleeper()))
    }

    fn sleeper(&mut self) -> &Arc<Sleeper> {
        self.seldom.get_or_insert_default().sleeper.get_or_insert_with(|| {
            let sleeper = Arc::new(Sleeper::default());
            self.mailbox.set_bell(Arc::clone(&sleeper) as _);
            sleeper
        })
    }
}

/// Why a datagram of `size` bytes does not go to an address that is not confirmed.
#[cold]
fn refuse(over: OverBudget, max: MaxPayload, size: usize) -> PutError {
    max.check(size, over.to).err().unwrap_or(PutError::Unconfirmed { size, room: over.room })
}

impl Drop for Served {
    fn drop(&mut self) {
        self.mailbox.abandon();
    }
}
