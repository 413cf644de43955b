//! What is measured once a second, what has to hold, and the verdict.

use std::error::Error;
use std::fmt;
use std::fs;
use std::process::ExitCode;

use packetpeer::sim::{LinkControl, LinkStats};

use crate::crowd::Tally;
use crate::hall::Hall;

/// How much more there may be in the last quarter of the time than in the second, in per cent and beside.
const SLACK_PERCENT: u64 = 5;
const SLACK_BYTES: u64 = 1 << 20;
const SLACK_ENTRIES: u64 = 64;

/// What may wait while the machine does other things for a second, and lies in the pool ever after.
const SLACK_STALL: u64 = 4 << 20;

/// Before the second quarter there has to be time for all to come and for the first of them to vanish and to be
/// forgotten.
const LEAST_QUARTER: usize = 10;

/// What there is at one moment, over all servers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Memory of the whole process, clients included, in bytes. `None` where the system does not tell.
    resident: Option<u64>,
    pub(crate) open_files: Option<u64>,
    peers: u64,
    pending: u64,
    places: u64,
    refused: u64,
    moved: u64,
    pool_bytes: u64,
    queued_bytes: u64,
}

impl Sample {
    pub(crate) fn take(halls: &[Hall]) -> Self {
        let mut sample = Self { resident: resident_bytes(), open_files: open_files(), ..Self::default() };
        for hall in halls {
            let sizes = hall.server.table_sizes();
            sample.peers += sizes.peers as u64;
            sample.pending += sizes.pending as u64;
            sample.places += sizes.places as u64;
            sample.refused += sizes.refused as u64;
            sample.moved += sizes.moved as u64;
            sample.pool_bytes += sizes.pool_bytes as u64;
            sample.queued_bytes += hall.server.stats().queued_bytes;
        }
        sample
    }

    /// Each by its name, with the slack that it has.
    fn values(&self) -> [(&'static str, u64, u64); 9] {
        [
            ("resident bytes beside the pool", self.resident.unwrap_or(0).saturating_sub(self.pool_bytes), SLACK_BYTES),
            ("open files", self.open_files.unwrap_or(0), SLACK_ENTRIES),
            ("peers", self.peers, SLACK_ENTRIES),
            ("pending", self.pending, SLACK_ENTRIES),
            ("places", self.places, SLACK_ENTRIES),
            ("refused", self.refused, SLACK_ENTRIES),
            ("moved", self.moved, SLACK_ENTRIES),
            ("pool bytes", self.pool_bytes, SLACK_STALL),
            ("queued bytes", self.queued_bytes, SLACK_STALL),
        ]
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |bytes: u64| bytes.div_ceil(1024);
        let known = |value: Option<u64>| value.map_or(String::from("?"), |value| value.to_string());
        write!(
            f,
            "{} KiB resident, {} files; {} peers, {} pending, {} places, {} refused, {} moved; \
             {} KiB in the pool, {} queued",
            known(self.resident.map(kib)),
            known(self.open_files),
            self.peers,
            self.pending,
            self.places,
            self.refused,
            self.moved,
            kib(self.pool_bytes),
            kib(self.queued_bytes)
        )
    }
}

#[derive(Debug, Default)]
pub(crate) struct Verdict {
    failures: u32,
    is_long: bool,
}

impl Verdict {
    pub(crate) fn expect(&mut self, holds: bool, text: &str) {
        println!("  {}  {text}", if holds { "ok    " } else { "FAILED" });
        self.failures += u32::from(!holds);
    }

    /// Compares the most of the last quarter with the most of the second.
    pub(crate) fn judge_growth(&mut self, samples: &[Sample]) {
        let quarter = samples.len() / 4;
        if quarter < LEAST_QUARTER {
            println!("  too short to say whether anything grows: {} s at least", 4 * LEAST_QUARTER);
            return;
        }
        self.is_long = true;
        let most = |samples: &[Sample], index: usize| samples.iter().map(|sample| sample.values()[index].1).max();
        for (index, (name, _, slack)) in samples[0].values().into_iter().enumerate() {
            let second = most(&samples[quarter..2 * quarter], index).unwrap_or(0);
            let last = most(&samples[samples.len() - quarter..], index).unwrap_or(0);
            let bound = second + second * SLACK_PERCENT / 100 + slack;
            let text = format!("{name}: {second} at most in the second quarter, {last} in the last; bound {bound}");
            self.expect(last <= bound, &text);
        }
    }

    /// Every datagram is accounted for, on its whole way.
    pub(crate) fn judge_counters(&mut self, halls: &[Hall], tally: &Tally, control: &LinkControl) {
        let (mut heard, mut sent) = (0, 0);
        for hall in halls {
            let stats = hall.server.stats();
            println!("{}:\n{stats}", hall.name);
            heard += stats.received + stats.kernel_drops.unwrap_or(0);
            sent += stats.sent;
            let drops = stats.drops.total();
            self.equal(
                "received = delivered + queued + consumed + dropped",
                stats.received,
                stats.delivered + stats.queued + stats.consumed + drops,
            );
            self.equal("put = sent + waiting + not sent", hall.puts, {
                stats.sent + stats.send_queued + stats.send_drops.total()
            });
            let counts = stats.connections;
            let pending = hall.server.pending_count() as u64;
            let peers = hall.server.peer_count() as u64;
            self.equal(
                "opened = taken + expired + trimmed + pending",
                counts.opened,
                counts.taken + counts.expired + counts.trimmed + pending,
            );
            self.equal("taken + connected = closed + idle + peers", counts.taken + counts.connected, {
                counts.closed + counts.idle + peers
            });
            self.equal("malformed datagrams", hall.malformed, 0);
        }
        println!("{tally:?}");
        let (outgoing, incoming) = (control.outgoing_stats(), control.incoming_stats());
        println!("to the servers: {outgoing}\nto the clients: {incoming}");
        for stats in [&outgoing, &incoming] {
            let dropped = stats.lost + stats.blacked_out + stats.too_large + stats.queue_full;
            self.equal("link: offered = passed + dropped", stats.offered, stats.passed + dropped);
        }
        let arrived = |stats: &LinkStats| stats.passed + stats.duplicated - stats.undelivered;
        self.equal("put by the clients = offered to the link", tally.puts, outgoing.offered);
        self.equal("out of the link = received by the servers, or dropped by the kernel", arrived(&outgoing), heard);
        self.expect(
            incoming.offered <= sent,
            &format!("offered to the link back: {} of {sent} sent; the rest came to closed sockets", incoming.offered),
        );
        self.equal("out of the link back = received by the clients", arrived(&incoming), tally.received);
        self.equal("echoes that are not what was said", tally.wrong, 0);
        if !self.is_long {
            return;
        }
        let all_kinds = [tally.vanished, tally.goodbyes, tally.came_back_at_once, tally.moved];
        let text = "clients have vanished, said goodbye, come back at once, and moved";
        self.expect(all_kinds.iter().all(|&count| count > 0), text);
    }

    fn equal(&mut self, what: &str, one: u64, other: u64) {
        self.expect(one == other, &format!("{what}: {one} = {other}"));
    }

    pub(crate) fn print(&self) -> ExitCode {
        match self.failures {
            0 => {
                println!("All is well.");
                ExitCode::SUCCESS
            }
            failures => {
                println!("{failures} of the above FAILED.");
                ExitCode::FAILURE
            }
        }
    }
}

/// Linux only. (Wine shows Windows programs the same files, which are about Wine.)
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok().filter(|_| cfg!(target_os = "linux"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

/// Linux only. The one that reads the folder counts in all samples alike.
fn open_files() -> Option<u64> {
    let files = fs::read_dir("/proc/self/fd").ok().filter(|_| cfg!(target_os = "linux"))?;
    Some(files.count() as u64)
}

/// Many systems allow a process 1,024 open files until it asks for more.
#[cfg(target_os = "linux")]
pub(crate) fn allow_open_files(wanted: usize) -> Result<(), Box<dyn Error>> {
    use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // As wide as a word on 32-bit systems, and wider on some.
    let wanted = rlim_t::try_from(wanted)?;
    if soft >= wanted {
        return Ok(());
    }
    if hard < wanted {
        return Err(format!("{wanted} open files are needed, and {hard} are allowed: take fewer --clients").into());
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?)
}

/// Elsewhere that is left to the user.
#[cfg(not(target_os = "linux"))]
pub(crate) fn allow_open_files(_wanted: usize) -> Result<(), Box<dyn Error>> {
    Ok(())
}
