//! Hosts that exist only for one test.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::{self, Command};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::{Process, our_example};

/// How long anything may take, on the busiest of machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A network namespace, with its loopback interface up. It goes with the value.
pub(crate) struct Host {
    name: String,
}

impl Host {
    /// `None` where this process may not make one. `label` makes it unique in this process.
    pub(crate) fn new(label: &str) -> Option<Self> {
        if !is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let name = format!("pp{}{label}", process::id());
        if let Err(why) = ip(&["netns", "add", &name]) {
            assert!(env::var_os("CI").is_none(), "no network namespace: {why}");
            eprintln!("skipped: no network namespace: {why}");
            return None;
        }
        let host = Self { name };
        host.ip("link set lo up");
        Some(host)
    }

    /// Runs an example here.
    pub(crate) fn start(&self, name: &str, options: &[&str]) -> Process {
        Process::start(self.command(our_example(name)).args(options))
    }

    /// The same command, here.
    pub(crate) fn command(&self, command: Command) -> Command {
        let mut here = Command::new("ip");
        here.args(["netns", "exec", &self.name]).arg(command.get_program()).args(command.get_args());
        here
    }

    /// `ip` on this host; the words of `args` are separated by spaces.
    #[track_caller]
    pub(crate) fn ip(&self, args: &str) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(args.split(' '));
        ip(&all).unwrap_or_else(|why| panic!("ip {args}: {why}"))
    }

    #[track_caller]
    fn write(&self, file: &str, value: &str) {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("echo {value} >{file}")]);
        let status = self.command(shell).status().expect("a shell");
        assert!(status.success(), "{file}: {status}");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(why) = ip(&["netns", "del", &self.name]) {
            eprintln!("{} is left behind: {why}", self.name);
        }
    }
}

/// Two hosts with a cable between them, `veth0` on both: 198.51.100.1 and .2, 2001:db8::1 and ::2.
pub(crate) fn two_hosts(label: &str) -> Option<[Host; 2]> {
    let hosts = [Host::new(&format!("{label}a"))?, Host::new(&format!("{label}b"))?];
    let [here, there] = &hosts;
    for host in &hosts {
        // Nobody else can have the link-local addresses: no need to ask for a second.
        host.write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
    }
    here.ip(&format!("link add veth0 type veth peer name veth0 netns {}", there.name));
    for (host, number) in hosts.iter().zip(1..) {
        host.ip(&format!("addr add 198.51.100.{number}/24 dev veth0"));
        host.ip(&format!("addr add 2001:db8::{number}/64 dev veth0 nodad"));
        host.ip("link set veth0 up");
    }
    let deadline = Instant::now() + PATIENCE;
    while !hosts.iter().all(is_up) {
        assert!(Instant::now() < deadline, "veth0 does not come up");
        thread::sleep(Duration::from_millis(10));
    }
    Some(hosts)
}

/// Whether the cable is in, and there is a way to IPv6 groups and a link-local address to send from.
fn is_up(host: &Host) -> bool {
    let addresses = host.ip("-6 addr show dev veth0");
    host.ip("-o link show dev veth0").contains("state UP")
        && host.ip("-6 route show table local").contains("ff00::/8 dev veth0")
        && addresses.contains("fe80::")
        && !addresses.contains("tentative")
}

fn ip(args: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(args).output();
    let output = output.map_err(|error: io::Error| format!("`ip`, of the package iproute2: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
