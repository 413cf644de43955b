//! What happened, in plain numbers: one counter per reason.
//!
//! Counters only grow, from the making of a server or peer on, across `stop` and `listen`; `queued` and `send_queued`
//! are what they are at the moment. Reading them is cheap enough for every frame: a server's are plain loads, a peer's
//! takes its mailbox's lock for as long as it takes to copy them. Where the kernel tells what it has dropped it is asked
//! for that, by one system call per socket: the one listened on, and each that a peer has
//! [for itself](crate::UdpServer::dedicate_socket).
//!
//! Two equations hold whenever no other thread is inside a call:
//!
//! - received = delivered + queued + consumed + the sum of all [`ReceiveDrops`];
//! - put = sent + `send_queued` + the sum of all [`SendDrops`].
//!
//! The counters on either side of the second are kept apart: what is put is counted where it comes in, and what became
//! of it where that shows.
//!
//! Each struct here, and [`LinkStats`](crate::sim::LinkStats), has an `iter` that gives every number as a [`Stat`]: the
//! name of its field and of its group, which stay what they are, and a sentence that says what it is. Those that count
//! have `since`, for what was added since an earlier copy, and all can be summed up with `+=`. What `Display` prints is
//! for people, and may change.
//!
//! A server, peer or layer of one's own fills the same structs: each is made by `default()`, and its fields are public.

mod connections;
mod drops;
mod peer;
mod reports;
mod server;
mod table;
mod table_sizes;

pub use crate::counters::{Stat, StatKind};
pub use connections::ConnectionCounts;
pub use drops::{ReceiveDrops, SendDrops};
pub use peer::PeerStats;
pub use reports::{FlushReport, PollReport};
pub use server::ServerStats;
pub use table_sizes::TableSizes;

pub(crate) use drops::{DropReason, SendDropReason};
