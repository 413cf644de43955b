use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Listening, Stranger, tool};

#[test]
fn replies_come_late_and_whole_and_each_of_them_once() {
    let upstream = Listening::start(tool!("slow_upstream"), &["--max-delay-ms", "40", "--drop-percent", "0"]);
    let client = Stranger::of(&upstream);
    let start = Instant::now();
    let mut replies = BTreeMap::new();
    for number in 0..50_u8 {
        client.say(&[number; 20]);
    }
    for _ in 0..50 {
        *replies.entry(client.hear()).or_insert(0) += 1;
    }
    assert_eq!(replies, (0..50).map(|number| (vec![number; 20], 1)).collect());
    // Of fifty delays of up to 40 ms one is longer than a quarter of that.
    assert!(start.elapsed() >= Duration::from_millis(10));
    let counters = upstream.stop();
    counters.assert_has("dropped on purpose", "0, repeated 0");
    counters.assert_has("connections", "1  opened 1, taken 1");
}

#[test]
fn some_replies_never_come_and_some_come_twice_as_many_as_it_says() {
    let options = ["--max-delay-ms", "5", "--drop-percent", "20", "--repeat-percent", "20", "--seed", "3"];
    let upstream = Listening::start(tool!("slow_upstream"), &options);
    let client = Stranger::of(&upstream);
    let mut replies = 0;
    let mut count = |time| {
        while client.hear_within(time).is_some() {
            replies += 1;
        }
    };
    for number in 0..200_u8 {
        client.say(&[number]);
        count(Duration::from_millis(1));
    }
    count(Duration::from_secs(1));
    let counters = upstream.stop();
    let (dropped, repeated) = counters.line("dropped on purpose").split_once(", repeated ").expect("both");
    let [dropped, repeated]: [i32; 2] = [dropped, repeated].map(|count| count.parse().expect("a number"));
    assert!(dropped > 0 && repeated > 0, "{dropped} dropped, {repeated} repeated");
    assert_eq!(replies, 200 - dropped + repeated);
}

#[test]
fn everything_is_dropped_where_that_is_asked_for() {
    let upstream = Listening::start(tool!("slow_upstream"), &["--drop-percent", "100", "--max-delay-ms", "0"]);
    let client = Stranger::of(&upstream);
    (0..10).for_each(|_| client.say(b"anybody there?"));
    assert_eq!(client.hear_within(Duration::from_millis(50)), None);
    upstream.stop().assert_has("connections", "1  opened 1, taken 1");
}
