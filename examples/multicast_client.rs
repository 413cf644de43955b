//! Listens to a multicast group, as one member or as many, and checks every datagram.
//!
//!     cargo run --release --example multicast_client -- --group 239.255.77.1:4436 --interface 127.0.0.1 --members 8
//!
//! Any number of these may run on one host: they share the port. `multicast_server` sends. Ends when each member has
//! heard `--count` datagrams; with `--leave-after`, each leaves after so many, and then must hear nothing more for
//! `--quiet-ms`. Exit code 0 only if that is how it went, or Ctrl-C has cut it short, and nothing was missing, damaged
//! or somebody else's.

mod multicast;
mod support;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use packetpeer::PacketPeerUdp;
use packetpeer::socket::Interface;
use support::FrameClock;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut group = SocketAddr::from(([239, 255, 77, 1], 4436));
    let mut interface = Interface::Default;
    let mut members: usize = 1;
    let mut count: usize = 20;
    let mut leave_after: usize = 0;
    let mut quiet_ms: u64 = 1000;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Listens to a multicast group. --group with port 0: one of the system's choice, which is printed.\n\
         --interface takes a name, an IPv4 address or an index. --leave-after 0: stay.",
        &mut [
            ("group", &mut group),
            ("interface", &mut interface),
            ("members", &mut members),
            ("count", &mut count),
            ("leave-after", &mut leave_after),
            ("quiet-ms", &mut quiet_ms),
            ("seconds", &mut seconds),
        ],
    )?;
    let plan = if leave_after > 0 {
        Plan { count: leave_after, quiet: Some(Duration::from_millis(quiet_ms)) }
    } else {
        Plan { count, quiet: None }
    };

    let mut joined = Vec::new();
    for _ in 0..members {
        let member = Member::join(group, interface, plan)?;
        group.set_port(member.port()?);
        joined.push(member);
    }
    let stop = support::ctrl_c()?;
    println!("joined {group}");

    let start = Instant::now();
    let mut clock = FrameClock::new(100);
    while joined.iter().any(|member| !member.is_done())
        && !stop.load(Ordering::Relaxed)
        && start.elapsed().as_secs_f64() < seconds
    {
        clock.sleep();
        for member in &mut joined {
            member.frame()?;
        }
    }

    let done = joined.iter().filter(|member| member.is_done()).count();
    let mut total = Tally::default();
    for member in joined {
        total.add(member.tally);
    }
    println!("{done} of {members} members done: {}", total.summary());
    let enough = done == members || stop.load(Ordering::Relaxed);
    Ok(if enough && total.is_perfect() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What each member does.
#[derive(Clone, Copy)]
struct Plan {
    /// Datagrams to hear.
    count: usize,
    /// Then to leave, and to hear nothing for so long.
    quiet: Option<Duration>,
}

struct Member {
    peer: PacketPeerUdp,
    group: IpAddr,
    interface: Interface,
    plan: Plan,
    /// The stream it listens to and the number that comes next, after the first datagram: it may join in the middle.
    next: Option<(u32, u32)>,
    left: Option<Instant>,
    tally: Tally,
}

impl Member {
    fn join(group: SocketAddr, interface: Interface, plan: Plan) -> Result<Self, Box<dyn Error>> {
        let mut peer = PacketPeerUdp::new();
        let every_address: IpAddr =
            if group.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        peer.bind_shared((every_address, group.port()))?;
        peer.join_multicast_group(group.ip(), interface)?;
        Ok(Self { peer, group: group.ip(), interface, plan, next: None, left: None, tally: Tally::default() })
    }

    fn port(&self) -> Result<u16, &'static str> {
        self.peer.local_addr().map(|addr| addr.port()).ok_or("not bound")
    }

    fn is_done(&self) -> bool {
        match (self.plan.quiet, self.left) {
            (None, _) => self.tally.heard >= self.plan.count,
            (Some(quiet), left) => left.is_some_and(|left| left.elapsed() >= quiet),
        }
    }

    fn frame(&mut self) -> Result<(), Box<dyn Error>> {
        self.peer.poll()?;
        while let Some(packet) = self.peer.get_packet()? {
            match self.left {
                None => self.check(&packet),
                Some(_) => self.tally.after_leaving += 1,
            }
            if self.left.is_none() && self.plan.quiet.is_some() && self.tally.heard >= self.plan.count {
                self.leave()?;
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Box<dyn Error>> {
        self.peer.leave_multicast_group(self.group, self.interface)?;
        self.left = Some(Instant::now());
        // What came before is still there.
        self.peer.poll()?;
        while self.peer.get_packet()?.is_some() {}
        Ok(())
    }

    fn check(&mut self, packet: &[u8]) {
        let Some((stream, number)) = multicast::wire::read(packet) else {
            self.tally.damaged += 1;
            return;
        };
        let (of, next) = self.next.unwrap_or((stream, number));
        if stream != of {
            self.tally.foreign += 1;
        } else if number < next {
            self.tally.repeated += 1;
        } else {
            self.tally.heard += 1;
            self.tally.missed += (number - next) as usize;
            self.next = Some((stream, number + 1));
        }
    }
}

#[derive(Default)]
struct Tally {
    heard: usize,
    missed: usize,
    damaged: usize,
    /// Twice, or too late.
    repeated: usize,
    /// Another server's.
    foreign: usize,
    after_leaving: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.heard += other.heard;
        self.missed += other.missed;
        self.damaged += other.damaged;
        self.repeated += other.repeated;
        self.foreign += other.foreign;
        self.after_leaving += other.after_leaving;
    }

    fn is_perfect(&self) -> bool {
        self.missed + self.damaged + self.repeated + self.foreign + self.after_leaving == 0
    }

    fn summary(&self) -> String {
        format!(
            "heard {}, missed {}, damaged {}, repeated {}, another server's {}, after leaving {}",
            self.heard, self.missed, self.damaged, self.repeated, self.foreign, self.after_leaving
        )
    }
}
