//! Sends numbered datagrams to a multicast group: once each, however many listen.
//!
//!     cargo run --release --example multicast_server -- --group 239.255.77.1:4436 --interface 127.0.0.1
//!     cargo run --release --example multicast_server -- --group [ff15::7701]:4436 --interface eth0 --ttl 4
//!
//! `multicast_client` listens. Ends on Ctrl-C, after `--count` datagrams or after `--seconds`.

mod multicast;
mod support;

use std::error::Error;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Instant;

use multicast::Choice;
use packetpeer::PacketPeerUdp;
use packetpeer::error::PutError;
use packetpeer::socket::Interface;
use support::FrameClock;

fn main() -> Result<(), Box<dyn Error>> {
    let mut group = SocketAddr::from(([239, 255, 77, 1], 4436));
    let mut interface = Interface::Default;
    let mut ttl: u8 = 1;
    let mut on_this_host = Choice(true);
    let mut hz: u32 = 20;
    let mut count: u32 = u32::MAX;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Sends numbered datagrams to a multicast group. --interface takes a name, an IPv4 address or an index;\n\
         --ttl is in hops, 0 = this host, 1 = its network; --loop false = not to members on this host.",
        &mut [
            ("group", &mut group),
            ("interface", &mut interface),
            ("ttl", &mut ttl),
            ("loop", &mut on_this_host),
            ("hz", &mut hz),
            ("count", &mut count),
            ("seconds", &mut seconds),
        ],
    )?;

    let mut sender = PacketPeerUdp::new();
    if group.is_ipv4() { sender.bind((Ipv4Addr::UNSPECIFIED, 0)) } else { sender.bind((Ipv6Addr::UNSPECIFIED, 0)) }?;
    sender.set_multicast_interface(interface)?;
    sender.set_multicast_ttl(ttl)?;
    sender.set_multicast_loop(on_this_host.0)?;
    sender.set_dest_address(group)?;
    let stop = support::ctrl_c()?;
    println!("sending to {group} by {interface}");

    let stream = fastrand::u32(..);
    let mut datagram = Vec::new();
    let mut number = 0;
    let start = Instant::now();
    let mut clock = FrameClock::new(hz);
    while number < count && !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        multicast::wire::write(stream, number, &mut datagram);
        match sender.put_packet(&datagram) {
            Ok(()) => number += 1,
            Err(PutError::WouldBlock) => {} // again in the next frame
            Err(error) => return Err(error.into()),
        }
        clock.sleep();
    }
    println!("sent {number}");
    Ok(())
}
