//! `assert_counts!`, by which tests speak of counters, can fail, and says what is wrong.

#[path = "util/counts.rs"]
mod counts;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::{panic, thread};

use counts::assert_counts;
use packetpeer::stats::{PollReport, ServerStats};

fn stats() -> ServerStats {
    let mut stats = ServerStats::default();
    stats.received = 7;
    stats.delivered = 1;
    stats.drops.quota = 4;
    stats.kernel_drops = Some(2);
    stats
}

/// What it says when it fails, which it must.
fn failure(assertion: impl FnOnce() + panic::UnwindSafe) -> String {
    *panic::catch_unwind(assertion).expect_err("nothing was found wrong").downcast().unwrap()
}

#[test]
fn counts_that_are_right_pass() {
    let stats = stats();
    assert_counts!(stats, received: 7);
    assert_counts!(stats, received: 3 + 4, delivered: 1, drops.quota: 4, drops.total(): 4, kernel_drops: Some(2));
    assert_counts!(stats, since(&stats).received: 0, kernel_drops.unwrap_or(0): 2, "{stats}");
    assert_counts!(PollReport::default(), received: 0, more_waiting: false, "{} {}", "all", "new");
}

#[test]
fn each_wrong_count_is_named_and_no_right_one_is() {
    let failure = failure(|| assert_counts!(stats(), received: 7, delivered: 2, drops.total(): 0, queued: 0));
    let (told, all) = failure.split_once("\nServerStats {").expect("the struct comes last");
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        ["wrong counts of `stats()`:", "  delivered: expected 2, is 1", "  drops.total(): expected 0, is 4"]
    );
    assert!(all.contains("received: 7,") && all.contains("quota: 4,"), "{failure}");
}

#[test]
fn one_wrong_count_fails_in_whatever_place_it_is() {
    assert!(failure(|| assert_counts!(stats(), received: 6, delivered: 1, queued: 0)).contains("received: expected 6"));
    assert!(
        failure(|| assert_counts!(stats(), received: 7, delivered: 0, queued: 0)).contains("delivered: expected 0")
    );
    assert!(failure(|| assert_counts!(stats(), received: 7, delivered: 1, queued: 1)).contains("queued: expected 1"));
    let waits = || assert_counts!(PollReport::default(), received: 0, more_waiting: true);
    assert!(failure(waits).contains("more_waiting: expected true, is false"));
}

#[test]
fn words_of_ones_own_are_told() {
    let mode = "at once";
    let with_words = failure(|| assert_counts!(stats(), received: 6, "{mode}, {}", 3));
    assert!(with_words.starts_with("wrong counts of `stats()`, at once, 3:\n"), "{with_words}");
}

#[test]
fn the_struct_is_evaluated_once() {
    let asked = Cell::new(0);
    let ask = || {
        asked.set(asked.get() + 1);
        stats()
    };
    assert_counts!(ask(), received: 7, delivered: 1, drops.total(): 4);
    assert_eq!(asked.get(), 1);
}

#[test]
fn a_failure_is_told_to_be_where_the_assertion_is() {
    let (told, this_thread, others) = (Arc::new(AtomicU32::new(0)), thread::current().id(), panic::take_hook());
    let tell = Arc::clone(&told);
    panic::set_hook(Box::new(move |panicked| {
        if thread::current().id() == this_thread {
            tell.store(panicked.location().map_or(0, |place| place.line()), Relaxed);
        }
        others(panicked);
    }));
    let line = line!() + 1;
    failure(|| assert_counts!(stats(), received: 6));
    assert_eq!(told.load(Relaxed), line);
}
