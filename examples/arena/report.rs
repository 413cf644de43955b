//! What the arena prints: a line a second, totals, and whether both sides agree.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use packetpeer::sim::{LinkControl, LinkStats};
use packetpeer::stats::ServerStats;

use crate::bots::BotsTally;
use crate::server::{Arena, Frame};

const SECOND: Duration = Duration::from_secs(1);

/// Gathers frames, and prints a line for each second of them.
pub(crate) struct EverySecond {
    start: Instant,
    since: Instant,
    due: Instant,
    before: ServerStats,
    most_pending: usize,
    poll_times: Vec<Duration>,
}

impl EverySecond {
    pub(crate) fn start(now: Instant) -> Self {
        Self {
            start: now,
            since: now,
            due: now + SECOND,
            before: ServerStats::default(),
            most_pending: 0,
            poll_times: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, frame: &Frame, arena: &Arena) {
        self.poll_times.push(frame.poll_time);
        self.most_pending = self.most_pending.max(frame.pending);
        let now = Instant::now();
        if now >= self.due {
            self.print(now, arena);
            self.start_anew(now, arena);
        }
    }

    fn print(&mut self, now: Instant, arena: &Arena) {
        let stats = arena.stats().since(&self.before);
        let seconds = (now - self.since).as_secs_f64();
        let a_second = |count: u64| count as f64 / seconds;
        self.poll_times.sort_unstable();
        let poll = |percent| percentile(&self.poll_times, percent).as_micros();
        println!(
            "{:>3.0} s: {:>3} players, {:>2} pending at most | {:>5.0} in/s, {:>5.0} out/s | \
             poll p50 {:>3} p99 {:>3} max {:>3} µs | dropped: {}",
            (now - self.start).as_secs_f64(),
            arena.player_count(),
            self.most_pending,
            a_second(stats.received),
            a_second(stats.sent),
            poll(50),
            poll(99),
            poll(100),
            stats.drops
        );
    }

    fn start_anew(&mut self, now: Instant, arena: &Arena) {
        self.since = now;
        // A second that was slept through altogether gets no line.
        while self.due <= now {
            self.due += SECOND;
        }
        self.before = arena.stats();
        self.most_pending = 0;
        self.poll_times.clear();
    }
}

/// Of `sorted`, the one that so many percent are no greater than.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// What the links of the bots have done, all together.
pub(crate) struct Links {
    to_server: LinkStats,
    to_bots: LinkStats,
}

impl Links {
    pub(crate) fn of(control: &LinkControl) -> Self {
        Self { to_server: control.outgoing_stats(), to_bots: control.incoming_stats() }
    }
}

pub(crate) fn print_summary(elapsed: Duration, arena: &Arena, bots: &BotsTally, links: &Links) {
    let server = arena.tally();
    let stats = arena.stats();
    let row = |subject, bots: u64, server: u64, note: &str| println!("{subject:<16}{bots:>9}{server:>9}  {note}");
    println!();
    println!("{:<16}{:>9}{:>9}", format!("after {:.1} s", elapsed.as_secs_f64()), "bots", "server");
    row("joined", bots.joins, server.welcomed, "served / welcomed");
    row("asked again", bots.silences, server.turned_away, "having heard nothing / unknown, so turned away");
    row("said goodbye", bots.goodbyes, server.goodbyes, "sent / heard");
    let back = bots.back_from_vanishing;
    row("vanished", bots.vanished, server.ended, &format!("without a word, and {back} came back / ended as idle"));
    row("inputs", bots.inputs, server.inputs, "sent / seen");
    row(
        "world states",
        bots.world_states,
        stats.sent,
        "read / sent, also to those of whom it did not know they had left",
    );
    row("put failures", bots.put_failures, stats.send_drops.total(), "datagrams that could not be sent");
    println!();
    println!("The server's counters:");
    println!("{stats}");
    println!();
    println!("Link to the server: {}", links.to_server);
    println!("Link to the bots:   {}", links.to_bots);
    println!();
}

/// Compares what both sides saw, and what the crate counted.
pub(crate) fn judge(bot_count: u16, arena: &Arena, bots: &BotsTally, links: &Links) -> ExitCode {
    let server = arena.tally();
    let stats = arena.stats();
    let connections = stats.connections;
    let Links { to_server, to_bots } = links;
    let came_through = to_server.passed + to_server.duplicated - to_server.undelivered;
    // Where the system does not tell what it dropped, some may be missing.
    let all_received = match stats.kernel_drops {
        Some(kernel_drops) => stats.received + kernel_drops == came_through,
        None => stats.received <= came_through,
    };
    // Of the inputs, as of everything, the link lets a share pass. Those of bots that the server had ended in a long burst of
    // loss are not seen either.
    let expected_inputs = bots.inputs as f64 * to_server.passed as f64 / to_server.offered.max(1) as f64;
    let checks = [
        ("every bot received world states", bots.bots_served == bot_count),
        ("every bot had its inputs seen by the server", bots.bots_heard == bot_count),
        ("no message reached the wrong one", bots.crossed + server.crossed == 0),
        ("no message was malformed", bots.malformed + server.malformed == 0),
        (
            "no more world states came late or twice than the link held back or doubled",
            bots.out_of_order <= to_bots.reordered + to_bots.duplicated,
        ),
        ("world states said nothing impossible", bots.impossible == 0),
        (
            "the server saw no more inputs than were sent and doubled",
            server.inputs <= bots.inputs + to_server.duplicated,
        ),
        ("the server saw nine tenths of the inputs that came through", server.inputs as f64 >= 0.9 * expected_inputs),
        ("the server received what came through the link", all_received),
        ("the bots sent through the link", to_server.offered == bots.sent),
        ("the bots read no more world states than were sent", bots.world_states <= stats.sent),
        (
            "the link brought the bots no more than was sent, and they read no more than it let pass",
            to_bots.offered <= stats.sent
                && bots.world_states + bots.out_of_order <= to_bots.passed + to_bots.duplicated,
        ),
        ("every datagram of the links is accounted for", [to_server, to_bots].into_iter().all(balances)),
        ("who vanished was ended as idle before coming back", server.ended >= bots.back_from_vanishing),
        (
            "received = delivered + queued + dropped",
            stats.received == stats.delivered + stats.queued + stats.consumed + stats.drops.total(),
        ),
        ("put = sent + not sent", server.world_states == stats.sent + stats.send_drops.total()),
        (
            "taken = peers + closed + idle",
            connections.taken == arena.peer_count() as u64 + connections.closed + connections.idle,
        ),
    ];
    let failed: Vec<_> = checks.iter().filter(|(_, holds)| !holds).collect();
    if failed.is_empty() {
        println!("arena: all checks passed");
        return ExitCode::SUCCESS;
    }
    for (check, _) in &failed {
        println!("arena: FAILED: {check}");
    }
    ExitCode::FAILURE
}

fn balances(link: &LinkStats) -> bool {
    link.offered == link.passed + link.lost + link.blacked_out + link.too_large + link.queue_full
}
