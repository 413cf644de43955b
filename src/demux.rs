//! The core: who is a peer, who is pending, what waits where, who went idle.
//!
//! It has no socket, no clock and no `unsafe`: datagrams and times are passed to it, so that all its decisions can be
//! tested exactly. One poll is [`Demux::begin`], [`Demux::take_batch`] for each batch of datagrams,
//! [`Demux::finish`].
//!
//! The server's thread owns the [`Demux`]. It shares one [`Mailbox`] per peer and one [`Common`] per server with the
//! handles of its peers, which may be on other threads.
//!
//! # What is inlined
//!
//! Nearly every datagram comes from a peer that is known by its address and has room in its queue. What that takes is
//! marked `#[inline]`, so that the loop over a batch is one piece of code and computes nothing twice. What few datagrams
//! need is marked `#[inline(never)]`, or `#[cold]` if hardly any do: inlined, its variables would have to be saved and its
//! branches jumped over for each of the others. `benches/callgrind` counts the instructions per datagram; remove or add
//! such an attribute only with its figures.

mod admit;
mod common;
mod contents;
mod drop_list;
mod filter;
mod flooded;
mod identity;
mod inbox;
mod key;
mod ledger;
mod limits;
mod lookup;
mod mailbox;
mod meeting;
mod memory;
mod moves;
mod news;
mod origin;
mod outbox;
mod payload;
mod pending;
mod poll;
mod queries;
mod queue;
mod ready;
mod refused;
mod replies;
mod roster;
mod send_counters;
mod silence;
mod table;
mod tally;
#[cfg(all(test, not(loom)))]
mod test_house;
mod time;
mod way;
mod whereabouts;

pub(crate) use contents::Bell;
pub(crate) use filter::{Filter, FilterFn};
pub use filter::{FirstDatagram, Verdict};
pub use identity::{ConnectionId, ConnectionIds, Identity, MoveAttempt, MoveVerdict, Moved, OnMove, WithoutId};
pub use limits::{AfterClose, Limits, QueueLimits, SendMode, WhenFull};
pub(crate) use mailbox::{Common, Mailbox};
pub(crate) use outbox::Posted;
pub(crate) use payload::{Copied, Payload};
pub(crate) use poll::{Budgets, Outside, Reply};
pub(crate) use queue::{PacketQueue, Weigh};
pub(crate) use roster::{Demux, NotConnected};
pub(crate) use send_counters::SendCounters;
pub(crate) use whereabouts::OverBudget;
