//! What the system is asked for: cores, clocks, memory.

use std::error::Error;
use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The core for the clients and that for the servers; `None` where there is only one.
pub(crate) fn two_cores() -> Option<(usize, usize)> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
    // However the threads of one core are numbered, the first and the last number are on different ones.
    Some((cores.next()?, cores.next_back()?))
}

/// Keeps this process on one core, where the system allows that.
pub(crate) fn pin(core: usize) {
    let mut cores = CpuSet::new();
    if cores.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &cores);
    }
}

/// User and system time of this process (`CLOCK_PROCESS_CPUTIME_ID`).
pub(crate) fn processor_time() -> nix::Result<Duration> {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from)
}

/// User and system time of another process, in steps of 10 ms (proc(5): utime and stime, in ticks of 1/100 s).
pub(crate) fn processor_time_of(process: u32) -> Result<Duration, Box<dyn Error>> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may contain anything; the third field is the first behind it.
    let behind_name = stat.rsplit_once(')').ok_or("no such field")?.1;
    let mut fields = behind_name.split_whitespace().skip(14 - 3);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).ok_or("no such field");
    Ok(Duration::from_millis(10 * (ticks()? + ticks()?)))
}

/// Memory of this process that is really there, in KiB.
pub(crate) fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// One line about what the figures were measured on.
pub(crate) fn description() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(':')))
        .map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, model)| model.trim().to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned();
    format!("{model}, {cores} cores, Linux {}, load {load}", read("/proc/sys/kernel/osrelease").trim())
}
