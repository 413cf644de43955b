//! What happened, in plain numbers: one counter per reason.
//!
//! Counters only grow, for the whole life of a server or peer, across `stop` and `listen`; `queued` and `send_queued` are
//! values at the moment. Reading them is cheap enough for every frame: a server's are plain loads, a peer's hold its
//! mailbox's lock while they are copied. Where the kernel tells what it has dropped, that takes one system call per socket:
//! the one listened on, and each that a peer has [for itself](crate::UdpServer::dedicate_socket).
//!
//! Two equations hold whenever no other thread is inside a call:
//!
//! - received = delivered + queued + consumed + the sum of all [`ReceiveDrops`];
//! - put = sent + `send_queued` + the sum of all [`SendDrops`].
//!
//! The two sides of the second are counted in different places: a put where it comes in, and its outcome where that shows.
//!
//! Each struct here, and [`LinkStats`](crate::sim::LinkStats), has an `iter` that yields every number as a [`Stat`]: the
//! stable names of its group and field, and a sentence on what it counts. Structs of counters have `since`, for what was
//! added since an earlier copy, and all can be summed with `+=`. What `Display` prints is for people, and may change.
//!
//! A custom server, peer or layer fills the same structs: each has a `default()`, and its fields are public.

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
