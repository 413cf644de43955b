//! The tools that measure and stress `packetpeer`. They use its public API only.
//!
//! | program | what it does |
//! |---|---|
//! | `bench_echo` | processor time per datagram of echo servers, run in alternation: this library, a plain loop, a naive server, the floor, Godot |
//! | `soak` | thousands of clients join, talk, vanish and return over a bad network; nothing may grow or be left over |
//! | `flood_target`, `flood_clients` | a server under a flood of forged senders, and its honest players; `ci/flood` runs both |
//! | `bad_network` | a relay with a bad link between any client and any server |
//! | `slow_upstream` | a server that replies late, out of order, twice or never; seeded |
//!
//! ```sh
//! cargo run --release -p lab --bin soak -- --seconds 60
//! ```
//!
//! `--help` lists the options of each. This library is what they share: options, Ctrl-C, a frame clock.

mod frames;
mod options;

pub use frames::{FrameClock, ctrl_c};
pub use options::{MAX_SIZE, OptionValue, check, link_of_name, read_options};
