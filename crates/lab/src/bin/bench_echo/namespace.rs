//! A network namespace in which answers are dropped behind the stack, as a network card would take them away.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

fn here() -> std::io::Result<PathBuf> {
    fs::read_link("/proc/self/ns/net")
}

/// Runs this program with the same arguments in a network namespace of its own.
pub(crate) fn run_inside(arguments: &[String]) -> Result<ExitCode, Box<dyn Error>> {
    let status = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe()?)
        .args(arguments)
        .arg("--namespace-outside")
        .arg(here()?)
        .status()
        .map_err(|why| format!("--drop-replies needs unshare(1): {why}"))?;
    if status.code() == Some(1) {
        eprintln!("--drop-replies needs root, unshare(1), ip(8) and nft(8)");
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Brings up loopback. Refuses to touch the namespace that the program was started in.
pub(crate) fn prepare(outside: &str) -> Result<(), Box<dyn Error>> {
    if here()?.as_os_str() == outside {
        return Err("this is not a network namespace of its own".into());
    }
    run(Command::new("ip").args(["link", "set", "lo", "up"]))
}

/// Drops what is sent to `port`, as soon as it comes out of the loopback device.
pub(crate) fn drop_what_is_sent_to(port: u16) -> Result<(), Box<dyn Error>> {
    run(Command::new("nft").arg(format!(
        "table netdev bench_echo {{ chain answers {{ type filter hook ingress device lo priority 0; \
         udp dport {port} drop; }}; }}"
    )))
}

fn run(command: &mut Command) -> Result<(), Box<dyn Error>> {
    let status = command.status().map_err(|why| format!("{command:?}: {why}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
