//! One small enum per kind of operation. Each variant says what to do about it.
//!
//! Misuse and refusals by the system are errors. Noise from the network is not: it is counted (see
//! [`ServerStats`](crate::stats::ServerStats)) and the call goes on. The crate neither prints nor logs errors; that is for
//! the caller to decide.
//!
//! # From Godot's codes
//!
//! | Godot | where | here |
//! |---|---|---|
//! | `ERR_ALREADY_IN_USE` | `listen`, `bind` on an open object | [`BindError::AlreadyOpen`] |
//! | `ERR_ALREADY_IN_USE` | `bind` on a server's peer | [`BindError::ServersPeer`] |
//! | `ERR_INVALID_PARAMETER` | `listen`, `bind`: address | [`BindError::InvalidAddress`]; a port out of range does not compile |
//! | `ERR_UNAVAILABLE` | `listen`, `bind`: port in use | [`BindError::AddressInUse`] |
//! | `ERR_UNAVAILABLE` | `listen`, `bind`: not permitted | [`BindError::PermissionDenied`] |
//! | `ERR_UNAVAILABLE` | `listen`, `bind`: no such interface | [`BindError::AddressNotAvailable`] |
//! | `ERR_CANT_CREATE` | `listen`, `bind` | [`BindError::Unsupported`], [`BindError::Io`] |
//! | `ERR_UNCONFIGURED` | `poll` when not listening | [`PollError::NotOpen`]; for a peer that has ended, [`PollError::Ended`] |
//! | `FAILED` | `poll`: any receive error | counted as noise, or [`PollError::SocketFailed`] where the socket is unusable |
//! | `ERR_LOCKED` | `connect_to_host`, multicast on a server's peer | [`ConnectError::ServersPeer`], [`OptionError::ServersPeer`] |
//! | `OK` (ignored) | `set_dest_address`, `set_broadcast_enabled` on a server's peer | the same two |
//! | `OK` (ignored) | `set_dest_address` on a connected peer | [`ConnectError::Connected`] |
//! | `ERR_INVALID_PARAMETER` | `connect_to_host`: address, port | [`ConnectError::Unresolved`], [`ConnectError::NoPort`] |
//! | `ERR_CANT_RESOLVE` | `set_dest_address` | [`ConnectError::Unresolved`] |
//! | `FAILED` | `connect_to_host` | [`ConnectError::Unreachable`], [`WrongFamily`](ConnectError::WrongFamily), [`Broadcast`](ConnectError::Broadcast), [`Multicast`](ConnectError::Multicast) |
//! | `ERR_CANT_OPEN` | `connect_to_host` | [`ConnectError::Bind`] |
//! | `ERR_UNCONFIGURED` | `put_packet`: no destination | [`PutError::NoDestination`] |
//! | `ERR_UNCONFIGURED` | `put_packet` of a `PacketPeerDTLS` during its handshake | [`PutError::NotReady`] |
//! | `OK` (from a new port) | `put_packet` after `close` or `stop` | [`PutError::Ended`] |
//! | `ERR_BUSY`, or spinning | `put_packet`: system's queue full | [`PutError::WouldBlock`] |
//! | `FAILED` | `put_packet`: everything else | [`PutError::TooLarge`], [`ExceedsMtu`](PutError::ExceedsMtu), [`Refused`](PutError::Refused), [`BroadcastNotEnabled`](PutError::BroadcastNotEnabled), [`WrongFamily`](PutError::WrongFamily), [`Unreachable`](PutError::Unreachable), [`PermissionDenied`](PutError::PermissionDenied), [`Io`](PutError::Io) |
//! | `ERR_UNAVAILABLE` | `get_packet`: none waiting | `Ok(None)` |
//! | `FAILED` | `get_packet` when closed | [`GetError::NotOpen`], [`GetError::Ended`] |
//! | -1 | `get_available_packet_count` | never: it counts what waits, 0 when nothing does |
//! | `ERR_UNCONFIGURED` | `wait`, `leave_multicast_group` when closed | [`WaitError::NotOpen`], [`OptionError::NotOpen`] |
//! | `ERR_INVALID_PARAMETER` | `join_multicast_group` | [`OptionError::NotMulticast`], [`OptionError::Io`] |

mod config;
mod open;
mod traffic;
mod unknown_peer;

pub use config::{ConfigError, InvalidAddress};
pub use open::{BindError, ConnectError, DedicateError, OptionError};
pub use traffic::{GetError, GetIntoError, PollError, PutError, WaitError};
pub use unknown_peer::UnknownPeer;
