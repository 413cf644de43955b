//! The system's allocator, and how often a thread has asked it for memory and how much the thread has of it.
//!
//! Included by its path, by each test that wants it: `#[path = "util/allocator.rs"] mod allocator;`. Counted per thread, so
//! that tests beside one another stay out of it. Not for MinGW, where the variables of a thread are themselves allocated.
#![allow(unsafe_code, reason = "an allocator is an unsafe trait")]
#![allow(dead_code, reason = "not every test counts both")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    #[allow(clippy::missing_const_for_thread_local, reason = "it is; for Android the lint does not see that")]
    static CALLS: Cell<u64> = const { Cell::new(0) };
    #[allow(clippy::missing_const_for_thread_local, reason = "it is; for Android the lint does not see that")]
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// Calls of this thread so far that asked for memory.
pub(crate) fn allocations() -> u64 {
    CALLS.get()
}

/// Bytes that this thread has asked for and not given back: fewer than none where it frees what others have allocated.
pub(crate) fn live_bytes() -> i64 {
    LIVE.get()
}

fn note(calls: u64, bytes: i64) {
    // Fails only while a thread ends, when nobody looks any more.
    let _ = CALLS.try_with(|counter| counter.set(counter.get() + calls));
    let _ = LIVE.try_with(|counter| counter.set(counter.get() + bytes));
}

// SAFETY: every call is handed to the system's allocator as it is; the counters are plain numbers of this thread, made
// at compile time and without a destructor, so that counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: the caller keeps the contract of `GlobalAlloc::alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(1, layout.size() as i64);
        // SAFETY: as for `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(1, size as i64 - layout.size() as i64);
        // SAFETY: `memory` came from `alloc` above with this layout, so from the system's.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        note(0, -(layout.size() as i64));
        // SAFETY: as for `realloc`.
        unsafe { System.dealloc(memory, layout) }
    }
}
