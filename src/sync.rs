//! The locks and atomics for what threads share: the standard library's, or those of loom, which tries every interleaving.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --lib --target-dir target/loom` runs the models at the end of `demux/mailbox.rs`
//! and `peer/waker.rs`.

#[cfg(not(all(loom, test)))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic, mpsc};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic, mpsc};
