//! Links of the in-memory network: what they do to a million datagrams, against what they were told to do.
//!
//! Everything here is decided by fixed seeds: a test that passes once passes always, on every system. What was measured
//! is printed as the rows of a table:
//!
//!     cargo test --release --test link -- --nocapture | grep -o '| .*' | sort

use std::time::Duration;

use packetpeer::sim::{BurstLoss, Link, LinkEnd, LinkStats, Network};
use packetpeer::socket::{BindAddr, BindOptions, ReceiveBatch, Transport, TransportFactory};

mod util;

use util::{Trace, World, assert_counts, millis, poll_texts, texts};

const MILLION: u64 = 1_000_000;

const FROM: [u8; 4] = [10, 0, 0, 1];
const TO: [u8; 4] = [10, 0, 0, 2];

/// One who sends, one who receives, and the link between them.
struct Wire {
    network: Network,
    sender: Box<dyn Transport>,
    receiver: Box<dyn Transport>,
    batch: ReceiveBatch,
}

fn open(network: &Network, ip: [u8; 4]) -> Box<dyn Transport> {
    let mut options = BindOptions::new(BindAddr::Addr((ip, 9).into()));
    options.receive_buffer = Some(1 << 30);
    network.host(ip).bind(&options).unwrap()
}

impl Wire {
    fn new(link: Link, seed: u64) -> Self {
        let network = Network::with_seed(seed);
        network.set_link(FROM, TO, link);
        let (sender, receiver) = (open(&network, FROM), open(&network, TO));
        Self { network, sender, receiver, batch: ReceiveBatch::new(1024, 2048) }
    }

    fn send(&self, bytes: &[u8]) {
        self.sender.send(bytes, (TO, 9).into(), None).unwrap();
    }

    fn send_number(&self, number: u64) {
        self.send(&number.to_le_bytes());
    }

    /// Gives everything that has arrived to `take`.
    fn receive(&mut self, mut take: impl FnMut(&[u8])) {
        loop {
            self.batch.clear(usize::MAX);
            self.receiver.receive(&mut self.batch).unwrap();
            self.batch.iter().for_each(|datagram| take(datagram.bytes));
            if !self.batch.is_full() {
                return;
            }
        }
    }

    fn receive_numbers(&mut self) -> Vec<u64> {
        let mut numbers = Vec::new();
        self.receive(|bytes| numbers.push(u64::from_le_bytes(bytes.try_into().unwrap())));
        numbers
    }

    /// Sends a million numbers, a millisecond apart, and returns what arrives.
    fn send_a_million(&mut self) -> Vec<u64> {
        let mut arrived = Vec::new();
        for number in 0..MILLION {
            self.send_number(number);
            self.network.advance(millis(1));
            if number % 1_000 == 0 {
                arrived.append(&mut self.receive_numbers());
            }
        }
        self.network.advance(Duration::from_secs(10));
        arrived.append(&mut self.receive_numbers());
        arrived
    }

    /// When each of what is under way arrives, as the time that has passed since `start`.
    fn arrivals(&mut self, start: Duration) -> Vec<Duration> {
        let mut arrivals = Vec::new();
        while let Some(left) = self.network.next_arrival() {
            self.network.advance(left);
            let elapsed = self.network.elapsed() - start;
            self.receive(|_| arrivals.push(elapsed));
        }
        arrivals
    }

    fn stats(&self) -> LinkStats {
        let stats = self.network.link_stats(FROM, TO);
        assert_books_balance(&stats);
        stats
    }
}

#[track_caller]
fn assert_books_balance(stats: &LinkStats) {
    let dropped = stats.lost + stats.blacked_out + stats.too_large + stats.queue_full;
    assert_eq!(stats.offered, stats.passed + dropped, "{stats}");
}

/// Prints a row of the table: what was measured, what was configured or follows from it, what came of it, and the
/// difference.
fn print_row(what: &str, configured: &str, measured: &str, off: &str) {
    println!("| {what:<44} | {configured:>16} | {measured:>16} | {off:>8} |");
}

/// Asserts that `measured` is within three standard deviations of what is expected, and prints both.
#[track_caller]
fn assert_near(what: &str, measured: f64, expected: f64, deviation: f64) {
    let off = (measured - expected) / deviation;
    print_row(what, &format!("{expected:.6}"), &format!("{measured:.6}"), &format!("{off:+.2} σ"));
    assert!(off.abs() <= 3.0, "{what}: {measured} instead of {expected}, {off:+.2} standard deviations off");
}

/// Asserts the share of a million that something independent happened to.
#[track_caller]
fn assert_share(what: &str, count: u64, ppm: u32) {
    let p = f64::from(ppm) / 1e6;
    assert_near(what, count as f64 / 1e6, p, (p * (1.0 - p) / 1e6).sqrt());
}

fn ppm(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}

#[test]
fn loss_is_as_configured() {
    for loss in [100, 10_000, 50_000, 500_000] {
        let mut wire = Wire::new(Link::new().loss_ppm(loss), 1);
        let arrived = wire.send_a_million();
        assert!(arrived.is_sorted());
        assert_eq!(arrived.len() as u64, MILLION - wire.stats().lost);
        assert_share(&format!("loss, {loss} ppm"), wire.stats().lost, loss);
    }
}

#[test]
fn the_extremes_of_chance_are_certain() {
    let mut wire = Wire::new(Link::new().loss_ppm(1_000_000), 1);
    (0..1_000).for_each(|number| wire.send_number(number));
    assert_eq!((wire.receive_numbers().len(), wire.stats().lost), (0, 1_000));

    wire.network.set_link(FROM, TO, Link::new().duplicate_ppm(u32::MAX));
    (0..1_000).for_each(|number| wire.send_number(number));
    assert_eq!((wire.receive_numbers().len(), wire.stats().duplicated), (2_000, 1_000));
}

#[test]
fn bursts_of_loss_follow_gilbert_and_elliott() {
    let burst = BurstLoss::new().enter_ppm(5_000).leave_ppm(50_000).good_loss_ppm(1_000).bad_loss_ppm(600_000);
    let mut wire = Wire::new(Link::new().burst_loss(Some(burst)), 1);
    wire.send_a_million();

    let (enter, leave) = (ppm(burst.enter_ppm), ppm(burst.leave_ppm));
    let (good, bad) = (ppm(burst.good_loss_ppm), ppm(burst.bad_loss_ppm));
    let in_bad = enter / (enter + leave);
    let expected = in_bad * bad + (1.0 - in_bad) * good;
    // The sum of the autocovariances of a chain of two states, whose second eigenvalue is r.
    let r = 1.0 - enter - leave;
    let together = in_bad * (1.0 - in_bad) * (bad - good).powi(2) * r / (1.0 - r);
    let variance = expected * (1.0 - expected) + 2.0 * together;
    assert_near("loss by Gilbert and Elliott", wire.stats().lost as f64 / 1e6, expected, (variance / 1e6).sqrt());
}

#[test]
fn a_burst_is_as_long_as_configured() {
    let burst = BurstLoss::new().enter_ppm(5_000).leave_ppm(100_000).bad_loss_ppm(1_000_000);
    let mut wire = Wire::new(Link::new().burst_loss(Some(burst)), 1);
    let arrived = wire.send_a_million();
    let gaps: Vec<_> = arrived.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|&gap| gap > 0).collect();
    let bursts = gaps.len() as f64;
    let (enter, leave) = (ppm(burst.enter_ppm), ppm(burst.leave_ppm));

    let mean = gaps.iter().sum::<u64>() as f64 / bursts;
    assert_near("bursts: mean length, datagrams", mean, 1.0 / leave, ((1.0 - leave) / leave.powi(2) / bursts).sqrt());
    // A cycle is a burst and what comes before the next; its length decides how many there are.
    let cycle = 1.0 / enter + 1.0 / leave;
    let cycle_variance = (1.0 - enter) / enter.powi(2) + (1.0 - leave) / leave.powi(2);
    assert_near("bursts: how many", bursts, 1e6 / cycle, (1e6 * cycle_variance / cycle.powi(3)).sqrt());
    let shortest = gaps.iter().filter(|&&gap| gap == 1).count() as f64 / bursts;
    assert_near("bursts: share of those of one", shortest, leave, (leave * (1.0 - leave) / bursts).sqrt());
}

#[test]
fn another_model_of_bursts_begins_in_its_good_state() {
    let endless = BurstLoss::new().enter_ppm(1_000_000).bad_loss_ppm(1_000_000);
    let mut wire = Wire::new(Link::new().burst_loss(Some(endless)), 1);
    (0..10).for_each(|number| wire.send_number(number));
    assert_eq!(wire.stats().lost, 10);
    // A change of anything else does not end a burst.
    wire.network.set_link(FROM, TO, Link::new().burst_loss(Some(endless)).duplicate_ppm(1));
    wire.send_number(10);
    assert_eq!(wire.stats().lost, 11);
    wire.network.set_link(FROM, TO, Link::new().burst_loss(Some(endless.enter_ppm(0))));
    wire.send_number(11);
    assert_eq!(wire.receive_numbers(), [11]);
}

#[test]
fn duplication_is_as_configured() {
    let link = Link::new().duplicate_ppm(20_000).latency(millis(5)).jitter(millis(5));
    let mut wire = Wire::new(link, 1);
    let mut arrived = wire.send_a_million();
    let stats = wire.stats();
    assert_eq!((arrived.len() as u64, stats.passed), (MILLION + stats.duplicated, MILLION));
    assert_share("duplication", stats.duplicated, 20_000);
    assert!(arrived.is_sorted(), "copies overtake nobody");
    arrived.dedup();
    assert!(arrived.iter().copied().eq(0..MILLION));
}

#[test]
fn reordering_is_as_configured() {
    let link = Link::new().latency(millis(10)).reorder_ppm(30_000).reorder_delay(Duration::from_micros(2_500));
    let mut wire = Wire::new(link, 1);
    let arrived = wire.send_a_million();
    assert_share("reordering", wire.stats().reordered, 30_000);
    // Each that is held back is overtaken by those of the next two milliseconds that are not.
    let mut highest = 0;
    let late = arrived.iter().filter(|&&number| {
        highest = number.max(highest);
        number < highest
    });
    let overtaken = late.count() as u64;
    let both_next_held_back = ppm(30_000).powi(2);
    let expected = wire.stats().reordered as f64 * (1.0 - both_next_held_back);
    assert!((expected - 60.0..=expected + 60.0).contains(&(overtaken as f64)), "{overtaken} instead of {expected}");
    let mut sorted = arrived;
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..MILLION));
}

#[test]
fn corruption_flips_one_bit_and_any() {
    let mut wire = Wire::new(Link::new().corrupt_ppm(40_000), 1);
    let mut flipped = [0_u64; 64];
    for (number, arrived) in wire.send_a_million().into_iter().enumerate() {
        let difference = arrived ^ number as u64;
        assert!(difference.count_ones() <= 1);
        if difference != 0 {
            flipped[difference.trailing_zeros() as usize] += 1;
        }
    }
    let corrupted = flipped.iter().sum::<u64>();
    assert_eq!(corrupted, wire.stats().corrupted);
    assert_share("corruption", corrupted, 40_000);
    // Chi squared of 63 degrees of freedom: mean 63, variance 126.
    let expected = corrupted as f64 / 64.0;
    let chi: f64 = flipped.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    assert_near("corruption: chi² of which bit is flipped", chi, 63.0, 126_f64.sqrt());

    let mut wire = Wire::new(Link::new().corrupt_ppm(1_000_000), 1);
    wire.send(b"");
    let mut empty = 0;
    wire.receive(|bytes| empty += usize::from(bytes.is_empty()));
    assert_eq!((empty, wire.stats().corrupted), (1, 0), "nothing can be flipped in nothing");
}

#[test]
fn latency_is_exact() {
    let latency = Duration::from_nanos(12_345_678);
    let mut wire = Wire::new(Link::new().latency(latency), 1);
    for number in 0..MILLION {
        wire.send_number(number);
        wire.network.advance(latency - Duration::from_nanos(1));
        assert_eq!((wire.receive_numbers().len(), wire.network.in_flight()), (0, 1));
        assert_eq!(wire.network.next_arrival(), Some(Duration::from_nanos(1)));
        wire.network.advance(Duration::from_nanos(1));
        assert_eq!((wire.receive_numbers(), wire.network.in_flight()), (vec![number], 0));
    }
    print_row("latency of each, ms", "12.345678", "12.345678", "exact");
}

#[test]
fn jitter_is_uniform_and_keeps_its_bounds() {
    let (latency, jitter) = (millis(30), millis(10));
    let mut wire = Wire::new(Link::new().latency(latency).jitter(jitter), 1);
    let mut times = Vec::new();
    for number in 0..MILLION {
        // Far apart, so that none has to wait for the one before it.
        let start = wire.network.elapsed();
        wire.send_number(number);
        times.append(&mut wire.arrivals(start));
    }
    assert_eq!(times.len() as u64, MILLION);
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*least >= latency - jitter && *least < latency - jitter + Duration::from_micros(1), "{least:?}");
    assert!(*most <= latency + jitter && *most > latency + jitter - Duration::from_micros(1), "{most:?}");
    let millis = |time: &Duration| time.as_secs_f64() * 1e3;
    print_row("jitter of ±10 ms: least latency, ms", "20.000000", &format!("{:.6}", millis(least)), "in range");
    print_row("jitter of ±10 ms: most latency, ms", "40.000000", &format!("{:.6}", millis(most)), "in range");
    let mean = times.iter().map(millis).sum::<f64>() / 1e6;
    // Uniform over 20 ms: a variance of 20² / 12; that of the square is 20⁴ / 180.
    assert_near("jitter of ±10 ms: mean latency, ms", mean, 30.0, (400.0 / 12.0 / 1e6_f64).sqrt());
    let spread = times.iter().map(|time| (millis(time) - 30.0).powi(2)).sum::<f64>() / 1e6;
    assert_near("jitter of ±10 ms: variance, ms²", spread, 400.0 / 12.0, (160_000.0 / 180.0 / 1e6_f64).sqrt());
}

#[test]
fn jitter_reorders_nothing_and_keeps_its_bounds_in_a_stream() {
    let mut wire = Wire::new(Link::new().latency(millis(30)).jitter(millis(30)), 1);
    let mut arrived = 0;
    for number in 0..100_000 {
        wire.send_number(number);
        wire.network.advance(millis(1));
        let now = number + 1;
        for seen in wire.receive_numbers() {
            assert_eq!(seen, arrived, "in order");
            assert!(now - seen <= 61, "{seen} came after {} ms", now - seen);
            arrived += 1;
        }
    }
    assert!(arrived > 99_900);
}

#[test]
fn more_jitter_than_latency_makes_no_time_travel() {
    let mut wire = Wire::new(Link::new().latency(millis(1)).jitter(millis(10)), 1);
    let mut at_once = 0;
    for number in 0..1_000 {
        let start = wire.network.elapsed();
        wire.send_number(number);
        at_once += wire.receive_numbers().len();
        assert!(wire.arrivals(start).iter().all(|&time| time <= millis(11)));
    }
    // What would be earlier than at once, which is 9 of 20.
    assert!((400..500).contains(&at_once), "{at_once}");
}

#[test]
fn the_rate_is_exact() {
    for (rate, size) in [(100_000, 250), (7, 1), (1_234_567, 1_234), (u64::MAX, 1)] {
        let mut wire = Wire::new(Link::new().rate(Some(rate)).queue_bytes(usize::MAX).latency(millis(3)), 1);
        let start = wire.network.elapsed();
        (0..1_000).for_each(|_| wire.send(&vec![0; size]));
        let arrivals = wire.arrivals(start);
        assert_eq!(arrivals.len(), 1_000);
        for (number, arrival) in (1_u128..).zip(arrivals) {
            let nanos = number * size as u128 * 1_000_000_000 / u128::from(rate);
            assert_eq!(arrival, millis(3) + Duration::from_nanos(nanos as u64), "{rate} B/s, number {number}");
        }
    }
}

#[test]
fn a_full_queue_drops_the_newest_and_an_idle_link_takes_anything() {
    // 1 000 bytes take 10 ms.
    let wire = Wire::new(Link::new().rate(Some(100_000)).queue_bytes(2_500), 1);
    (0..5).for_each(|_| wire.send(&[0; 1_000]));
    assert_counts!(wire.stats(), passed: 2, queue_full: 3, "a third would make it 3 000");
    wire.network.advance(millis(5));
    wire.send(&[0; 1_000]);
    assert_eq!(wire.stats().passed, 3, "1 500 are left of the two");
    wire.network.advance(millis(25));
    assert_eq!(wire.network.in_flight(), 0);
    wire.send(&[0; 2_000]);
    assert_eq!(wire.stats().passed, 4);
    wire.network.advance(millis(20) - Duration::from_nanos(1));
    wire.send(&[0; 3_000]);
    assert_eq!(wire.stats().queue_full, 4, "a byte is left, and 3 000 more than fit");
    wire.network.advance(Duration::from_nanos(1));
    wire.send(&[0; 3_000]);
    assert_eq!(wire.stats().passed, 5, "the link is idle");
}

#[test]
fn a_rate_holds_over_an_hour_of_overload() {
    let mut wire = Wire::new(Link::new().rate(Some(60_000)).queue_bytes(10_000), 1);
    let mut bytes = 0;
    for _ in 0..60 * 3_600 {
        wire.send(&[0; 1_200]);
        wire.network.advance(Duration::from_nanos(16_666_667));
        wire.receive(|datagram| bytes += datagram.len());
    }
    let seconds = wire.network.elapsed().as_secs_f64();
    let exact = 60_000.0 * seconds;
    let rate = bytes as f64 / seconds;
    print_row("rate over an hour, bytes a second", "60000.000", &format!("{rate:.3}"), &format!("{:+.3}", rate - 6e4));
    assert!((bytes as f64 - exact).abs() <= 10_000.0, "{bytes} of {exact}");
}

#[test]
fn what_is_longer_than_the_link_takes_is_dropped() {
    let mut wire = Wire::new(Link::new().max_payload(Some(1_200)), 1);
    for size in [0, 1_199, 1_200, 1_201, 2_000] {
        wire.send(&vec![1; size]);
    }
    let mut sizes = Vec::new();
    wire.receive(|bytes| sizes.push(bytes.len()));
    assert_eq!((sizes, wire.stats().too_large), (vec![0, 1_199, 1_200], 2));
}

#[test]
fn a_black_out_drops_everything_and_what_is_under_way_arrives() {
    let mut wire = Wire::new(Link::new().latency(millis(10)), 1);
    wire.send_number(1);
    wire.network.set_link(FROM, TO, Link::new().latency(millis(10)).black_out(true));
    wire.send_number(2);
    wire.network.advance(millis(10));
    wire.network.set_link(FROM, TO, Link::new().latency(millis(10)));
    wire.send_number(3);
    wire.network.advance(millis(10));
    assert_eq!((wire.receive_numbers(), wire.stats().blacked_out), (vec![1, 3], 1));
}

#[test]
fn what_a_link_holds_is_bounded() {
    let mut wire = Wire::new(Link::new().latency(Duration::from_secs(3_600)), 1);
    (0..20_000).for_each(|_| wire.send(&[0; 1_000]));
    let stats = wire.stats();
    assert_eq!(stats.passed, (16 << 20) / 1_256);
    assert_eq!(stats.queue_full, 20_000 - stats.passed);
    wire.network.advance(Duration::from_secs(3_600));
    let mut arrived = 0;
    wire.receive(|_| arrived += 1);
    assert_eq!(arrived, stats.passed);
    wire.send(&[0; 1_000]);
    assert_eq!(wire.stats().passed, stats.passed + 1);
}

/// A link with everything, and not wide enough.
fn bad_in_every_way() -> Link {
    Link::BAD_HOTEL.corrupt_ppm(5_000).rate(Some(35_000))
}

/// 60 datagrams of growing sizes a second for five minutes, as one number: when each arrives, and its bytes.
fn trace(link: Link, seed: u64) -> (u64, LinkStats) {
    let mut wire = Wire::new(link, seed);
    let mut trace = Trace::new();
    let frame = Duration::from_nanos(16_666_667);
    for number in 0..18_000_u64 {
        wire.send(&number.to_le_bytes().repeat(1 + number as usize % 190));
        wire.receive(|bytes| trace.add(bytes)); // at once
        let next_frame = frame * (number as u32 + 1);
        while let Some(left) = wire.network.next_arrival().filter(|&left| wire.network.elapsed() + left <= next_frame) {
            wire.network.advance(left);
            let time = (wire.network.elapsed().as_nanos() as u64).to_le_bytes();
            wire.receive(|bytes| {
                trace.add(&time);
                trace.add(bytes);
            });
        }
        wire.network.advance(next_frame - wire.network.elapsed());
    }
    let stats = wire.stats();
    println!("seed {seed}: {stats}; trace {:#018x}", trace.hash());
    (trace.hash(), stats)
}

/// The constants are for other systems to be compared with: they have to get the very same.
#[test]
fn the_same_seed_makes_the_same_trace_on_every_system() {
    for (seed, expected) in [(1, 0x7dbb_6649_4327_bb20), (2, 0xf8eb_325d_6deb_c297)] {
        let (hash, stats) = trace(bad_in_every_way(), seed);
        assert_eq!(hash, expected, "{hash:#018x}");
        let LinkStats { duplicated, reordered, corrupted, lost, too_large, queue_full, .. } = stats;
        assert!([duplicated, reordered, corrupted, lost, too_large, queue_full].iter().all(|&count| count > 0));
    }
    let (hash, stats) = trace(Link::PERFECT, 1);
    assert_eq!((hash, stats.passed), (0x3c0d_cbb1_93e9_1c61, 18_000), "{hash:#018x}");
    assert_eq!(hash, trace(Link::PERFECT, 2).0, "nothing is drawn");
}

/// What arrives first of 2 000, of which a tenth is lost.
fn who_arrives(network: &Network, from: [u8; 4], to: [u8; 4], link: Link) -> Vec<u64> {
    network.set_link(from, to, link);
    let (sender, receiver) = (open(network, from), open(network, to));
    let mut wire = Wire { network: network.clone(), sender, receiver, batch: ReceiveBatch::new(1024, 64) };
    (0..2_000_u64).for_each(|number| wire.sender.send(&number.to_le_bytes(), (to, 9).into(), None).unwrap());
    network.advance(Duration::from_secs(1));
    wire.receive_numbers()
}

#[test]
fn every_link_and_every_seed_has_chances_of_its_own() {
    let link = || Link::new().loss_ppm(100_000);
    let first = who_arrives(&Network::with_seed(5), FROM, TO, link());
    assert_eq!(first, who_arrives(&Network::with_seed(5), FROM, TO, link()));
    assert_ne!(first, who_arrives(&Network::with_seed(6), FROM, TO, link()));
    assert_ne!(first, who_arrives(&Network::with_seed(5), TO, FROM, link()), "the way back is another link");
    assert_eq!(who_arrives(&Network::new(), FROM, TO, link()), who_arrives(&Network::with_seed(0), FROM, TO, link()));

    let crowded = Network::with_seed(5);
    for host in 3..30 {
        who_arrives(&crowded, [10, 0, 0, host], [10, 0, 0, host + 100], link());
    }
    assert_eq!(first, who_arrives(&crowded, FROM, TO, link()), "others change nothing");
}

#[test]
fn one_impairment_does_not_change_the_chances_of_another() {
    let lossy = Link::new().loss_ppm(100_000);
    let plain = who_arrives(&Network::new(), FROM, TO, lossy.clone());
    let shaky = lossy.clone().latency(millis(50)).jitter(millis(40)).rate(Some(10_000_000));
    assert_eq!(plain, who_arrives(&Network::new(), FROM, TO, shaky));
    let mut doubled = who_arrives(&Network::new(), FROM, TO, lossy.duplicate_ppm(300_000));
    assert!(doubled.len() > plain.len());
    doubled.dedup();
    assert_eq!(plain, doubled);
}

#[test]
fn a_perfect_link_changes_nothing() {
    let mut wire = Wire::new(Link::PERFECT, 1);
    for number in 0..10_000 {
        wire.send_number(number);
        assert_eq!((wire.receive_numbers(), wire.network.in_flight()), (vec![number], 0));
    }
    let stats = wire.stats();
    assert_counts!(stats, offered: 10_000, passed: 10_000);
    assert_eq!(stats.to_string(), "offered 10000, passed 10000");
    assert_eq!(wire.network.lost(), 0);
    // A queue alone is none: without a rate nothing waits.
    wire.network.set_link(FROM, TO, Link::new().queue_bytes(0));
    wire.send_number(1);
    assert_eq!(wire.receive_numbers(), [1]);
}

#[test]
fn links_change_while_running_for_what_is_sent_from_then_on() {
    let mut wire = Wire::new(Link::new().latency(millis(100)), 1);
    wire.send_number(1);
    wire.network.advance(millis(20));
    wire.network.set_link(FROM, TO, Link::new().latency(millis(10)));
    wire.send_number(2);
    wire.network.advance(millis(10));
    assert_eq!(wire.receive_numbers(), [2], "what was sent before the change is overtaken");
    wire.network.set_link(FROM, TO, Link::PERFECT);
    wire.send_number(3);
    assert_eq!(wire.receive_numbers(), [3]);
    wire.network.advance(millis(70));
    assert_eq!(wire.receive_numbers(), [1]);
    assert_eq!(wire.stats().passed, 3);
}

#[test]
fn what_waits_for_the_rate_goes_on_waiting_when_the_rate_changes() {
    let mut wire = Wire::new(Link::new().rate(Some(1_000)).queue_bytes(10_000), 1);
    let start = wire.network.elapsed();
    (0..4).for_each(|_| wire.send(&[0; 1_000]));
    wire.network.set_link(FROM, TO, Link::new().rate(Some(4_000)).queue_bytes(10_000));
    wire.send(&[0; 1_000]);
    let secs = |seconds: &[f64]| seconds.iter().copied().map(Duration::from_secs_f64).collect::<Vec<_>>();
    // The last comes after 5 000 bytes at 4 000 a second; those before it keep their times.
    assert_eq!(wire.arrivals(start), secs(&[1.0, 1.25, 2.0, 3.0, 4.0]));
}

#[test]
fn the_most_specific_link_holds() {
    let network = Network::new();
    let by_size = |max| Link::new().max_payload(Some(max));
    network.set_link(LinkEnd::Any, LinkEnd::Any, by_size(10));
    network.set_link(LinkEnd::Any, TO, by_size(20));
    network.set_link(FROM, LinkEnd::Any, by_size(30));
    let passes = |from: [u8; 4], to: [u8; 4]| {
        let (sender, _receiver) = (open(&network, from), open(&network, to));
        let before = network.link_stats(from, to).passed;
        (1..=50).for_each(|size| sender.send(&vec![0; size], (to, 9).into(), None).unwrap());
        network.link_stats(from, to).passed - before
    };
    let other = [10, 0, 0, 3];
    assert_eq!((passes(TO, other), passes(other, TO), passes(FROM, other), passes(FROM, TO)), (10, 20, 30, 30));
    network.set_link(FROM, TO, by_size(40));
    assert_eq!((passes(FROM, TO), passes(FROM, other)), (40, 30));
    network.set_link(FROM, LinkEnd::Any, by_size(5));
    assert_eq!((passes(FROM, TO), passes(FROM, other)), (40, 5));

    let (all, from) = (network.link_stats(LinkEnd::Any, LinkEnd::Any), network.link_stats(FROM, LinkEnd::Any));
    assert_counts!(all, offered: 400);
    assert_counts!(from, offered: 300);
    assert_eq!(from.passed, 30 + 30 + 40 + 30 + 40 + 5);
}

#[test]
fn links_of_mapped_addresses_are_those_of_ipv4() {
    let mut wire = Wire::new(Link::PERFECT, 1);
    let mapped = |ip: [u8; 4]| std::net::Ipv4Addr::from(ip).to_ipv6_mapped();
    wire.network.set_link(mapped(FROM), mapped(TO), Link::new().black_out(true));
    wire.send_number(1);
    assert!(wire.receive_numbers().is_empty());
    assert_eq!(wire.network.link_stats(mapped(FROM), LinkEnd::Any).blacked_out, 1);
}

#[test]
fn who_is_there_when_it_arrives_gets_it() {
    let mut world = World::new();
    world.network.set_link(LinkEnd::Any, LinkEnd::Any, Link::new().latency(millis(50)));
    let mut client = world.client(1);
    client.put_packet(b"hello").unwrap();
    world.network.advance(millis(50));
    world.poll();
    let mut peer = world.server.take_connection().unwrap();
    assert_eq!(texts(&mut peer), ["hello"]);

    peer.put_packet(b"to one who is gone").unwrap();
    let addr = client.local_addr().unwrap();
    client.put_packet(b"goodbye").unwrap();
    client.close();
    world.network.advance(millis(50));
    assert_eq!(world.network.lost(), 1);
    assert_eq!(world.network.link_stats(LinkEnd::Any, LinkEnd::Any).undelivered, 1);
    world.poll();
    assert_eq!(texts(&mut peer), ["goodbye"], "what was sent before the close arrives");

    peer.put_packet(b"to the next at this address").unwrap();
    let mut next = packetpeer::PacketPeerUdp::with_transport(world.network.host(addr.ip()));
    next.bind(addr).unwrap();
    world.network.advance(millis(50));
    assert_eq!(poll_texts(&mut next), ["to the next at this address"]);
}

#[test]
fn presets_have_names() {
    for (name, link) in Link::PRESETS {
        assert_eq!(Link::preset(name), Some(link));
    }
    assert_eq!(Link::preset("4g"), Some(Link::MOBILE_4G));
    assert_eq!(Link::preset("5g"), None);
    assert_eq!((Link::new(), Link::default()), (Link::PERFECT, Link::PERFECT));
}
