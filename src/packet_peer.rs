//! [`PacketPeer`]: the trait for code that runs over any transport.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use crate::error::{GetError, PollError, PutError};
use crate::packet::Packet;
use crate::peer_id::PeerId;
use crate::peer_state::{CloseReason, PeerState};
use crate::stats::{PeerStats, PollReport};

/// One end of a packet connection: whole packets in, whole packets out.
///
/// Godot's `PacketPeer`. [`PacketPeerUdp`](crate::PacketPeerUdp) implements it, and so can encryption, a simulated link or
/// another transport; code written against `dyn PacketPeer` or `impl PacketPeer` runs on each.
///
/// ```
/// use packetpeer::error::GetError;
/// use packetpeer::PacketPeer;
///
/// /// No packet of this protocol is longer.
/// const LONGEST: usize = 1200;
///
/// /// Answers what has arrived; returns how many packets that was. What cannot be answered now is left to the next frame.
/// fn echo(peer: &mut dyn PacketPeer) -> Result<usize, GetError> {
///     let mut answered = 0;
///     // A peer that has ended takes no more puts; read it until `get_packet` returns the reason.
///     while peer.can_put(LONGEST) || peer.close_reason().is_some() {
///         let Some(packet) = peer.get_packet()? else { break };
///         answered += usize::from(peer.put_packet(&packet).is_ok());
///     }
///     Ok(answered)
/// }
/// # let _ = echo;
/// ```
///
/// # Writing a layer
///
/// A layer is a peer over a peer: it owns a `P: PacketPeer`, or a `Box<dyn PacketPeer>`, which is a peer as well, and does
/// something to the packets that pass. Nearly all of its methods call the peer beneath. What it has to get right:
///
/// - **Time.** Its clock is [`now`](Self::now), which it takes from the peer beneath, and in [`poll_at`](Self::poll_at)
///   the time given. A layer that asks `Instant::now()` mixes real time with virtual time, and its timers never ring in
///   a test on the in-memory network.
/// - **Its own work** belongs in `poll_at`, also over a server's peer, where the peer beneath has nothing to do.
///   [`poll`](Self::poll) calls it. Whoever puts the layer over the peer calls one of them each frame; where a
///   [`PacketServer`](crate::PacketServer) hands out layered peers, its own poll does that work, since nobody polls its
///   handles.
/// - **The end.** The peer beneath may end at any time; its [`state`](Self::state) says so at once, while packets may
///   still wait to be taken. A layer that ends first, since its handshake failed, its time-out passed or the remote said
///   goodbye, remembers the [reason](CloseReason), calls `close` beneath, and from then on is what
///   [`PeerState::Ended`] says: it hands out what it holds, then answers every call with that reason.
/// - **[`close`](Self::close) is passed on**, after a goodbye where the protocol has one. Dropping the layer drops the peer
///   beneath, which ends it without one: a layer that wants the goodbye said then implements `Drop`.
/// - **Counts are bounds.** A layer that drops, joins or splits packets does not know what it will hand out before it has
///   done so: its [`available_packet_count`](Self::available_packet_count) is that of the peer beneath plus what it holds.
/// - **What it holds is bounded.** A layer that has to read in `poll_at`, for acknowledgements or a handshake, takes no more
///   than it has room for, and leaves the rest to the queue of the peer beneath, which has a limit and counts what it drops.
/// - **Sizes.** A header or a trailer makes [`max_packet_size`](Self::max_packet_size) smaller by its length, and is added
///   to the length that [`can_put`](Self::can_put) asks beneath. Both saturate, since the peer beneath may carry less than
///   that, and any length may be asked. Header and trailer come off in place:
///   [`strip_front`](Packet::strip_front), [`strip_back`](Packet::strip_back).
///
/// A layer drops what it cannot decode, counts it as
/// [`undecodable`](crate::stats::ReceiveDrops#structfield.undecodable), and goes on: a remote must not be able to cause an
/// error in `get_packet`, except by something that ends the connection for good.
///
/// `Debug`, `Send` and `Sync` are required because a peer is a component or a resource in an engine, is logged, and moves
/// between threads, also as a `Box<dyn PacketPeer>`.
pub trait PacketPeer: fmt::Debug + Send + Sync {
    /// Names this peer among those of its server. A layer has the id of the peer beneath.
    fn id(&self) -> PeerId;

    /// Does this peer's own input and output, at the time `now`. A peer that a server polls has nothing to do, and its
    /// report is empty.
    ///
    /// Time never runs backwards: a time earlier than one given before counts as that one.
    ///
    /// # Errors
    ///
    /// Nothing more is received; see [`PollError`]. What had been received before can still be taken.
    fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError>;

    /// [`poll_at`](Self::poll_at) the current time. Call it once per frame, or more often.
    ///
    /// # Errors
    ///
    /// As [`poll_at`](Self::poll_at).
    fn poll(&mut self) -> Result<PollReport, PollError> {
        self.poll_at(self.now())
    }

    /// The time by the clock of the lowest transport: real time for real sockets, virtual time on the in-memory
    /// [network](crate::sim::Network). The clock stays the same when the peer has ended.
    fn now(&self) -> Instant;

    /// Takes the packet that has waited longest. `Ok(None)` = nothing now, also while the peer is still
    /// [connecting](PeerState::Connecting).
    ///
    /// # Errors
    ///
    /// There is nothing now and will be nothing later; see [`GetError`].
    fn get_packet(&mut self) -> Result<Option<Packet>, GetError>;

    /// Sends one packet, possibly an empty one.
    ///
    /// # Errors
    ///
    /// The packet was not sent; see [`PutError`].
    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError>;

    /// Whether [`put_packet`](Self::put_packet) would take a packet of `len` bytes now, as far as this peer can tell
    /// without trying.
    ///
    /// For transports with back-pressure, such as streams, and for queues: ask before taking a packet that has to be
    /// answered, and leave the packet where it is if there is no room for the answer. `false` means that the put would
    /// fail, or would drop another packet that waits. `true` is a promise from a stream, but not from a datagram
    /// transport, since the system does not tell whether its own queue is full.
    ///
    /// It is `false`, too, for what can never be put: when the peer has ended, or for more bytes than
    /// [`max_packet_size`](Self::max_packet_size). So do not wait for room without checking the [`state`](Self::state).
    fn can_put(&self, len: usize) -> bool;

    /// How many packets [`get_packet`](Self::get_packet) can return without another poll: at most, since a layer may yet
    /// drop some of them, or join several into one.
    #[doc(alias = "get_available_packet_count")]
    fn available_packet_count(&self) -> usize;

    /// Largest packet that [`put_packet`](Self::put_packet) accepts, in bytes.
    #[doc(alias = "get_max_packet_size")]
    fn max_packet_size(&self) -> usize;

    /// Whether the peer can send and receive, and if not, why. A peer that has ended may still have packets to be taken.
    fn state(&self) -> PeerState;

    /// Why the peer has ended; `None` as long as it has not.
    fn close_reason(&self) -> Option<CloseReason> {
        if let PeerState::Ended(reason) = self.state() { Some(reason) } else { None }
    }

    /// Ends the peer. What it had received can still be taken. Never blocks and never fails; a second call does nothing.
    fn close(&mut self);

    /// Where packets go, if that is known and is an address.
    fn remote_addr(&self) -> Option<SocketAddr>;

    /// What this peer has seen so far. A layer gives the counters of the peer beneath; what it was handed from there and has
    /// dropped is among its `drops` and no longer `delivered`, and what it holds is `queued`, so that the
    /// [equations](crate::stats) hold of it too.
    fn stats(&self) -> PeerStats;
}

/// Every method calls the peer pointed to, the provided ones too: it may override them.
macro_rules! impl_by_pointer {
    ($($pointer:ty),*) => {$(
        impl<P: PacketPeer + ?Sized> PacketPeer for $pointer {
            fn id(&self) -> PeerId {
                (**self).id()
            }

            fn poll_at(&mut self, now: Instant) -> Result<PollReport, PollError> {
                (**self).poll_at(now)
            }

            fn poll(&mut self) -> Result<PollReport, PollError> {
                (**self).poll()
            }

            fn now(&self) -> Instant {
                (**self).now()
            }

            fn get_packet(&mut self) -> Result<Option<Packet>, GetError> {
                (**self).get_packet()
            }

            fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError> {
                (**self).put_packet(bytes)
            }

            fn can_put(&self, len: usize) -> bool {
                (**self).can_put(len)
            }

            fn available_packet_count(&self) -> usize {
                (**self).available_packet_count()
            }

            fn max_packet_size(&self) -> usize {
                (**self).max_packet_size()
            }

            fn state(&self) -> PeerState {
                (**self).state()
            }

            fn close_reason(&self) -> Option<CloseReason> {
                (**self).close_reason()
            }

            fn close(&mut self) {
                (**self).close();
            }

            fn remote_addr(&self) -> Option<SocketAddr> {
                (**self).remote_addr()
            }

            fn stats(&self) -> PeerStats {
                (**self).stats()
            }
        }
    )*};
}

impl_by_pointer!(&mut P, Box<P>);
