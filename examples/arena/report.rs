//! What the arena prints: a line for every second, totals, and whether both sides agree. Whatever it says of the server
//! comes from the game's own tally, or from what every server [shows](PacketServer::visit_stats).

use std::process::ExitCode;
use std::time::{Duration, Instant};

use packetpeer::PacketServer;
use packetpeer::sim::LinkStats;
use packetpeer::stats::Stat;

use super::bots::BotsTally;
use super::rules::{Arena, Frame, ServerTally};

const SECOND: Duration = Duration::from_secs(1);

/// Gathers frames, and prints a line for each second of them.
pub(crate) struct EverySecond {
    start: Instant,
    since: Instant,
    due: Instant,
    before: ServerTally,
    drops_before: Vec<Stat>,
    most_pending: usize,
    poll_times: Vec<Duration>,
}

impl EverySecond {
    pub(crate) fn start(now: Instant) -> Self {
        Self {
            start: now,
            since: now,
            due: now + SECOND,
            before: ServerTally::default(),
            drops_before: Vec::new(),
            most_pending: 0,
            poll_times: Vec::new(),
        }
    }

    pub(crate) fn add<S: PacketServer>(&mut self, frame: &Frame, arena: &Arena<S>) {
        self.poll_times.push(frame.poll_time);
        self.most_pending = self.most_pending.max(frame.pending);
        let now = Instant::now();
        if now >= self.due {
            let drops = Numbers::of(arena.server()).group(RECEIVE_DROPS);
            self.print(now, arena, &drops);
            self.start_anew(now, arena.tally().clone(), drops);
        }
    }

    fn print<S: PacketServer>(&mut self, now: Instant, arena: &Arena<S>, drops: &[Stat]) {
        let tally = arena.tally();
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
            a_second(tally.heard - self.before.heard),
            a_second(tally.world_states - self.before.world_states),
            poll(50),
            poll(99),
            poll(100),
            added(drops, &self.drops_before)
        );
    }

    fn start_anew(&mut self, now: Instant, tally: ServerTally, drops: Vec<Stat>) {
        self.since = now;
        // A second that was slept through altogether gets no line.
        while self.due <= now {
            self.due += SECOND;
        }
        self.before = tally;
        self.drops_before = drops;
        self.most_pending = 0;
        self.poll_times.clear();
    }
}

/// Of `sorted`, the one that so many percent are no greater than.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or_default()
}

/// Those of `now` that have grown since, as text. Both are of one server, and so in the same order.
fn added(now: &[Stat], before: &[Stat]) -> String {
    let before = before.iter().map(|stat| stat.value).chain(std::iter::repeat(0));
    let grown = now.iter().zip(before).filter(|(stat, before)| stat.value > *before);
    let texts: Vec<_> =
        grown.map(|(stat, before)| format!("{} {}", stat.name.replace('_', " "), stat.value - before)).collect();
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}

/// What links between the bots and the server have done, in each direction all together. Nothing, by default.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Links {
    pub(crate) to_server: LinkStats,
    pub(crate) to_bots: LinkStats,
}

pub(crate) fn print_summary<S: PacketServer>(elapsed: Duration, arena: &Arena<S>, bots: &BotsTally) {
    let server = arena.tally();
    let row = |subject, bots: u64, server: u64, note: &str| println!("{subject:<16}{bots:>9}{server:>9}  {note}");
    println!();
    println!("{:<16}{:>9}{:>9}", format!("after {:.1} s", elapsed.as_secs_f64()), "bots", "server");
    row("joined", bots.joins, server.welcomed, "served / welcomed");
    row("asked again", bots.silences, server.turned_away, "having heard nothing / unknown, so turned away");
    row("said goodbye", bots.goodbyes, server.goodbyes, "sent / heard");
    let back = bots.back_from_vanishing;
    row("vanished", bots.vanished, server.ended, &format!("without a word, and {back} came back / ended without one"));
    row("inputs", bots.inputs, server.inputs, "sent / seen");
    let to_whom = "read / sent, also to those of whom it did not know they had left";
    row("world states", bots.world_states, server.world_states, to_whom);
    row("put failures", bots.put_failures, server.put_failures, "messages that could not be sent");
    // These do not happen where nothing pushes back and nobody hangs up.
    if bots.held_back + server.held_back > 0 {
        row("held back", bots.held_back, server.held_back, "messages that there was no room for");
    }
    if bots.cut_off > 0 {
        row("cut off", bots.cut_off, 0, "connections that ended without the bot's doing");
    }
    println!();
}

/// What has to be so, and whether it is; `None` where the server does not count it.
pub(crate) type Check = (&'static str, Option<bool>);

/// Compares what both sides saw, and what the server counted. Holds for every server; `links` are those that the bots
/// play over.
pub(crate) fn checks<S: PacketServer>(bot_count: u16, arena: &Arena<S>, bots: &BotsTally, links: &Links) -> Vec<Check> {
    let mut checks = game_checks(bot_count, arena, bots, links);
    checks.extend(counter_checks(arena));
    checks
}

fn game_checks<S: PacketServer>(bot_count: u16, arena: &Arena<S>, bots: &BotsTally, links: &Links) -> Vec<Check> {
    let server = arena.tally();
    let Links { to_server, to_bots } = links;
    // Of the inputs, as of everything, a link lets a share pass. Those of bots that the server had ended in a long burst of
    // loss are not seen either.
    let share = if to_server.offered > 0 { to_server.passed as f64 / to_server.offered as f64 } else { 1.0 };
    let enough_inputs = server.inputs as f64 >= 0.9 * share * bots.inputs as f64;
    let left = server.goodbyes + server.ended;
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
        ("the server saw nine tenths of the inputs that came through", enough_inputs),
        ("the server heard no more than was sent and doubled", server.heard <= bots.sent + to_server.duplicated),
        ("the bots read no more world states than were sent", bots.world_states <= server.world_states),
        ("those that vanished were ended before they came back", server.ended >= bots.back_from_vanishing),
        ("welcomed = playing + left", server.welcomed == arena.player_count() as u64 + left),
    ];
    checks.map(|(what, holds)| (what, Some(holds))).into()
}

fn counter_checks<S: PacketServer>(arena: &Arena<S>) -> [Check; 3] {
    let numbers = Numbers::of(arena.server());
    let server = |name| numbers.get("server", name);
    let received = || {
        let kept = server("delivered")? + server("queued")? + server("consumed")?;
        Some(server("received")? == kept + numbers.sum(RECEIVE_DROPS)?)
    };
    let put = || Some(server("put")? == server("sent")? + server("send_queued")? + numbers.sum(SEND_DROPS)?);
    let taken = || Some(server("delivered")? == arena.tally().heard);
    [
        ("received = delivered + queued + consumed + dropped", received()),
        ("put = sent + waiting + not sent", put()),
        ("delivered = heard by the game", taken()),
    ]
}

/// Says what does not hold; the exit code is whether anything does not.
pub(crate) fn judge(checks: &[Check]) -> ExitCode {
    for (check, holds) in checks {
        match holds {
            None => println!("arena: not checked, since the server does not count it: {check}"),
            Some(false) => println!("arena: FAILED: {check}"),
            Some(true) => {}
        }
    }
    if checks.iter().any(|(_, holds)| *holds == Some(false)) {
        return ExitCode::FAILURE;
    }
    println!("arena: all checks passed");
    ExitCode::SUCCESS
}

const RECEIVE_DROPS: &str = "receive_drops";
const SEND_DROPS: &str = "send_drops";

/// What a server shows of itself, as it is now.
struct Numbers(Vec<Stat>);

impl Numbers {
    fn of(server: &impl PacketServer) -> Self {
        let mut shown = Vec::new();
        server.visit_stats(&mut |stat| shown.push(stat));
        Self(shown)
    }

    /// `None` where the server does not show it.
    fn get(&self, group: &str, name: &str) -> Option<u64> {
        self.0.iter().find(|stat| (stat.group, stat.name) == (group, name)).map(|stat| stat.value)
    }

    /// Of all in a group; `None` where the server shows none of it.
    fn sum(&self, group: &str) -> Option<u64> {
        self.0.iter().filter(|stat| stat.group == group).map(|stat| stat.value).reduce(|sum, value| sum + value)
    }

    fn group(self, group: &str) -> Vec<Stat> {
        self.0.into_iter().filter(|stat| stat.group == group).collect()
    }
}
