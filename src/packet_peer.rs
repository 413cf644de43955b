//! The trait that code above any transport is written against.

use crate::error::{GetError, PollError, PutError};
use crate::packet::Packet;

/// One end of a packet connection: whole packets in, whole packets out.
///
/// What Godot calls `PacketPeer`. [`PacketPeerUdp`](crate::PacketPeerUdp) implements it, and so can encryption, a simulated link or another
/// transport; code written against `dyn PacketPeer` or `impl PacketPeer` runs on each.
///
/// ```
/// use packetpeer::error::GetError;
/// use packetpeer::PacketPeer;
///
/// /// Answers everything that has arrived; returns how much that was.
/// fn echo(peer: &mut dyn PacketPeer) -> Result<usize, GetError> {
///     let mut answered = 0;
///     while let Some(packet) = peer.get_packet()? {
///         answered += usize::from(peer.put_packet(&packet).is_ok());
///     }
///     Ok(answered)
/// }
/// # let _ = echo;
/// ```
pub trait PacketPeer {
    /// Does this peer's own input and output. Nothing to do for a peer that a server polls.
    ///
    /// # Errors
    ///
    /// See [`PollError`].
    fn poll(&mut self) -> Result<(), PollError>;

    /// Takes the packet that has waited longest. `Ok(None)` = nothing now.
    ///
    /// # Errors
    ///
    /// Nothing ever again, and why: see [`GetError`].
    fn get_packet(&mut self) -> Result<Option<Packet>, GetError>;

    /// Sends one packet, possibly an empty one.
    ///
    /// # Errors
    ///
    /// The packet was not sent; see [`PutError`].
    fn put_packet(&mut self, bytes: &[u8]) -> Result<(), PutError>;

    /// Packets that [`get_packet`](Self::get_packet) can hand out without a further poll.
    #[doc(alias = "get_available_packet_count")]
    fn available_packet_count(&self) -> usize;

    /// Largest packet that [`put_packet`](Self::put_packet) accepts, in bytes.
    #[doc(alias = "get_max_packet_size")]
    fn max_packet_size(&self) -> usize;
}
