//! Hosts that exist only for one test.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, setns};
use packetpeer::socket::ToBindAddr;
use packetpeer::{PacketPeerUdp, ServerConfig, UdpServer};

use crate::process::{Process, our_example};

/// How long anything may take, on the busiest of machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A network namespace, with its loopback interface up. It goes with the value.
pub(crate) struct Host {
    name: String,
}

impl Host {
    /// `None` where this process may not make one.
    pub(crate) fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !is_root() {
            eprintln!("skipped: network namespaces need root");
            return None;
        }
        let name = format!("pp{}n{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        if let Err(why) = run("ip", &["netns", "add", &name]) {
            assert!(env::var_os("CI").is_none(), "no network namespace: {why}");
            eprintln!("skipped: no network namespace: {why}");
            return None;
        }
        let host = Self { name };
        host.ip("link set lo up");
        // No question of whether somebody else has the link-local addresses either, which come by themselves.
        host.write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
        // An answer to each that deserves one, not one a second: tests would have to wait for it.
        host.write("/proc/sys/net/ipv4/icmp_ratelimit", "0");
        host.write("/proc/sys/net/ipv6/icmp/ratelimit", "0");
        Some(host)
    }

    /// Does something here, on the calling thread. Sockets stay on the host on which they were opened, whoever uses
    /// them; what looks something up at the system, as the limit of a way or an interface's name, has to be here.
    pub(crate) fn enter<T>(&self, act: impl FnOnce() -> T) -> T {
        let home = Home(File::open("/proc/thread-self/ns/net").expect("a thread has a network namespace"));
        let here = File::open(format!("/var/run/netns/{}", self.name)).expect("the namespace is there");
        setns(here, CloneFlags::CLONE_NEWNET).expect("root may enter");
        let result = act();
        drop(home);
        result
    }

    /// A server that listens here.
    #[track_caller]
    pub(crate) fn serve(&self, config: ServerConfig, addr: impl ToBindAddr) -> UdpServer {
        let mut server = UdpServer::with_config(config).unwrap();
        self.enter(|| server.listen(addr)).unwrap();
        server
    }

    /// A client here that is connected to `server` and has not said anything yet.
    #[track_caller]
    pub(crate) fn connect(&self, server: impl ToSocketAddrs) -> PacketPeerUdp {
        let mut client = PacketPeerUdp::new();
        self.enter(|| client.connect_to_host(server)).unwrap();
        client
    }

    /// A peer here that takes packets from anybody.
    #[track_caller]
    pub(crate) fn bind(&self, addr: impl ToBindAddr) -> PacketPeerUdp {
        let mut peer = PacketPeerUdp::new();
        self.enter(|| peer.bind(addr)).unwrap();
        peer
    }

    /// A link-local address, with the scope that it has on this host's `device`.
    pub(crate) fn on_link(&self, device: &str, ip: &str, port: u16) -> SocketAddr {
        let scope = self.enter(|| if_nametoindex(device)).expect("the device is there");
        SocketAddrV6::new(ip.parse().expect("an IPv6 address"), port, 0, scope).into()
    }

    /// Runs an example here.
    pub(crate) fn start(&self, name: &str, options: &[&str]) -> Process {
        self.start_command(our_example(name).args(options))
    }

    /// Runs a command here.
    pub(crate) fn start_command(&self, command: &mut Command) -> Process {
        self.enter(|| Process::start(command))
    }

    /// Runs a program here to its end; returns what it wrote, or why it failed.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> Result<String, String> {
        self.enter(|| run(program, args))
    }

    /// `ip` on this host; the words of `args` are separated by spaces.
    #[track_caller]
    pub(crate) fn ip(&self, args: &str) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend(args.split(' '));
        run("ip", &all).unwrap_or_else(|why| panic!("{why}"))
    }

    /// Gives `device` an address that can be bound to and receives when this returns: without the question first
    /// whether somebody else has it (RFC 4862, 5.4).
    #[track_caller]
    pub(crate) fn add_addr(&self, addr: &str, device: &str) {
        self.ip(&format!("addr add {addr} dev {device} nodad"));
        self.wait_for_addrs(device);
    }

    /// Waits until `device` receives at each of its addresses: with IPv6 that comes a moment later than the address.
    #[track_caller]
    fn wait_for_addrs(&self, device: &str) {
        wait_until("a device receives at all its addresses", || {
            let table = self.ip("-6 route show table local");
            let addresses = self.ip(&format!("-6 -o addr show dev {device}"));
            let mut ips = addresses.split(" inet6 ").skip(1).filter_map(|rest| rest.split('/').next());
            ips.all(|ip| table.contains(&format!("local {ip} dev {device} ")))
        });
    }

    /// Gives this host a firewall with these rules for what comes in or goes out (`hook`) and no others, after those
    /// from before are gone. Returns whether this machine lets us.
    #[must_use = "without a firewall there is nothing to test"]
    pub(crate) fn firewall(&self, hook: &str, rules: &[&str]) -> bool {
        let mut ruleset = "flush ruleset; table inet test { counter lost {}; counter passed {}; ".to_owned();
        write!(ruleset, "chain {hook} {{ type filter hook {hook} priority 0; ").expect("a String takes all");
        for rule in rules {
            write!(ruleset, "{rule}; ").expect("a String takes all");
        }
        self.is_there("nft", &[&format!("{ruleset}}}; }}")])
    }

    /// Takes the firewall away.
    #[track_caller]
    pub(crate) fn open_firewall(&self) {
        self.run("nft", &["flush ruleset"]).unwrap_or_else(|why| panic!("{why}"));
    }

    /// Packets that the firewall has counted under `lost` or `passed`.
    #[track_caller]
    pub(crate) fn firewall_counted(&self, counter: &str) -> u64 {
        let listed = self.run("nft", &["-j", "list", "counter", "inet", "test", counter]);
        let json = listed.unwrap_or_else(|why| panic!("{why}"));
        let (_, packets) = json.split_once("\"packets\": ").unwrap_or_else(|| panic!("no counter in {json}"));
        let digits = packets.split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number in {json}"))
    }

    /// Sends what leaves by `device` at `rate` (in the words of `tc`), and lets `queue` bytes wait for it. Returns
    /// whether this machine lets us.
    #[must_use = "on a fast link there is nothing to test"]
    pub(crate) fn slow_down(&self, device: &str, rate: &str, queue: usize) -> bool {
        let args = format!("qdisc replace dev {device} root tbf rate {rate} burst 5kb limit {queue}");
        self.is_there("tc", &args.split(' ').collect::<Vec<_>>())
    }

    /// Runs a tool that need not be there: whether it did what it was asked for.
    fn is_there(&self, tool: &str, args: &[&str]) -> bool {
        match self.run(tool, args) {
            Ok(_) => true,
            Err(why) => {
                assert!(env::var_os("CI").is_none(), "{why}");
                eprintln!("skipped: {why}");
                false
            }
        }
    }

    /// Writes to a setting of the kernel, below `/proc/sys/net`, which is this host's.
    #[track_caller]
    pub(crate) fn write(&self, file: &str, value: &str) {
        self.enter(|| fs::write(file, value)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Err(why) = run("ip", &["netns", "del", &self.name]) {
            eprintln!("{} is left behind: {why}", self.name);
        }
    }
}

/// Brings the thread home, also when what it did on a host panics.
struct Home(File);

impl Drop for Home {
    fn drop(&mut self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the way back is open");
    }
}

/// Two hosts with a cable between them, `veth0` on both: 198.51.100.1 and .2, 2001:db8::1 and ::2.
pub(crate) fn two_hosts() -> Option<[Host; 2]> {
    let hosts = [Host::new()?, Host::new()?];
    let [here, there] = &hosts;
    lay_cable([(here, "veth0"), (there, "veth0")]);
    for (host, number) in hosts.iter().zip(1..) {
        host.add_addr(&format!("198.51.100.{number}/24"), "veth0");
        host.add_addr(&format!("2001:db8::{number}/64"), "veth0");
    }
    wait_until_up([(here, "veth0"), (there, "veth0")]);
    Some(hosts)
}

/// Two hosts with a router between them, which is .1 and ::1 on both sides: 198.51.100.2 and 2001:db8::2 at its
/// `veth0`, 203.0.113.2 and 2001:db8:1::2 at its `veth1`. The second side carries packets of up to `mtu` bytes.
pub(crate) fn two_hosts_and_a_router(mtu: usize) -> Option<[Host; 3]> {
    let hosts = [Host::new()?, Host::new()?, Host::new()?];
    let [here, there, router] = &hosts;
    router.write("/proc/sys/net/ipv4/ip_forward", "1");
    router.write("/proc/sys/net/ipv6/conf/all/forwarding", "1");
    for (host, side, v4, v6) in
        [(here, "veth0", "198.51.100", "2001:db8:"), (there, "veth1", "203.0.113", "2001:db8:1:")]
    {
        let ends = [(host, "veth0"), (router, side)];
        lay_cable(ends);
        for ((end, device), number) in ends.into_iter().zip([2, 1]) {
            end.add_addr(&format!("{v4}.{number}/24"), device);
            end.add_addr(&format!("{v6}:{number}/64"), device);
        }
        host.ip(&format!("route add default via {v4}.1"));
        host.ip(&format!("-6 route add default via {v6}:1"));
    }
    for (host, device) in [(there, "veth0"), (router, "veth1")] {
        host.ip(&format!("link set {device} mtu {mtu}"));
    }
    wait_until_up([(here, "veth0"), (router, "veth0")]);
    wait_until_up([(there, "veth0"), (router, "veth1")]);
    Some(hosts)
}

/// Joins two hosts by new devices, which are up but may take a moment until they carry.
pub(crate) fn lay_cable(ends: [(&Host, &str); 2]) {
    let [(here, device), (there, far_device)] = ends;
    here.ip(&format!("link add {device} type veth peer name {far_device} netns {}", there.name));
    for (host, device) in ends {
        // Otherwise a device that goes down forgets its IPv6 addresses, though not those of IPv4.
        host.write(&format!("/proc/sys/net/ipv6/conf/{device}/keep_addr_on_down"), "1");
        host.ip(&format!("link set {device} up"));
    }
}

/// Waits until the cable is in, and there is a way to IPv6 groups and a link-local address to send from.
#[track_caller]
pub(crate) fn wait_until_up(ends: [(&Host, &str); 2]) {
    for (host, device) in ends {
        wait_until("a cable comes up", || is_up(host, device));
        host.wait_for_addrs(device);
    }
}

fn is_up(host: &Host, device: &str) -> bool {
    let addresses = host.ip(&format!("-6 addr show dev {device}"));
    host.ip(&format!("-o link show dev {device}")).contains("state UP")
        && host.ip("-6 route show table local").contains(&format!("ff00::/8 dev {device}"))
        && addresses.contains("fe80::")
        && !addresses.contains("tentative")
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "this did not happen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Address and port from their parts.
pub(crate) fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().expect("an IP address"), port)
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error: io::Error| format!("{program}, of a package in ci/packages: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let why = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program} {}: {} {}", args.join(" "), output.status, why.trim()))
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
