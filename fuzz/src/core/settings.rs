//! Addresses and limits, as the bytes say.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use packetpeer::limits::{AfterClose, IpPrefix, QueueLimits, WhenFull};
use packetpeer::Limits;

use crate::input::Input;

/// Some share a host, some a network, some are one and the same in other clothes; and some are whatever the bytes say.
pub(super) fn address(input: &mut Input<'_>) -> SocketAddr {
    let choice = input.byte();
    let port = 1000 + u16::from(choice >> 5);
    let v6 = |text: &str, flow, scope| SocketAddrV6::new(text.parse().unwrap(), port, flow, scope).into();
    let v4 = |last| SocketAddr::from(([192, 0, 2, last], port));
    match choice & 31 {
        0..6 => v4(1),
        6..10 => v4(2),
        10 => v4(200),
        11 => SocketAddr::from(([198, 51, 100, 1], port)),
        12 | 13 => v6("::ffff:192.0.2.1", 0, 0),
        14 => v6("::ffff:192.0.2.1", 7, 3),
        15 => v6("::ffff:192.0.2.2", 0, 0),
        16..19 => v6("2001:db8::1", 0, 0),
        19 => v6("2001:db8::1", 99, 0),
        20 => v6("2001:db8::2", 0, 0),
        21 => v6("2001:db8:0:1::1", 0, 0),
        22 => v6("fe80::1", 0, 1),
        23 => v6("fe80::1", 0, 2),
        24 => v6("fe80::1", 5, 1),
        25 => v6("fe80::1", 0, 0),
        26 => v6("::192.0.2.1", 0, 0),
        27 => SocketAddr::from(([192, 0, 2, 1], 0)),
        28 => v6("::", 0, 0),
        29 => SocketAddr::from(([255; 4], port)),
        30 => SocketAddr::from((input.array::<4>(), input.u16())),
        _ => SocketAddrV6::new(Ipv6Addr::from(input.array::<16>()), input.u16(), input.u32(), input.u32()).into(),
    }
}

pub(super) fn limits(input: &mut Input<'_>) -> Limits {
    let mut limits = Limits::new();
    // Each byte changes one of them, so that most stay roomy.
    for _ in 0..input.below(6) {
        limits = change(limits, input);
    }
    limits
}

/// Whether a server takes them.
pub(super) fn make_sense(limits: &Limits) -> bool {
    limits.max_known_per_poll > 0
        && limits.max_unknown_per_poll > 0
        && limits.quota_per_poll != Some(0)
        && limits.idle_timeout != Some(Duration::ZERO)
        && limits.pending_lifetime != Some(Duration::ZERO)
        && limits.after_close != AfterClose::Refuse(Duration::ZERO)
        && (limits.after_close == AfterClose::Forget || limits.max_refused_addresses > 0)
}

pub(super) fn change(limits: Limits, input: &mut Input<'_>) -> Limits {
    const COUNTS: [usize; 8] = [0, 1, 2, 3, 5, 20, 100, usize::MAX];
    let choice = input.byte();
    let count = COUNTS[usize::from(choice >> 5)];
    let time = [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_millis(1),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_secs(3),
        Duration::from_secs(1 << 40),
        Duration::MAX,
    ][usize::from(choice >> 5)];
    match choice & 31 {
        0 => limits.max_pending_connections(count),
        1 => limits.max_peers_per_ip(Some(count).filter(|&count| count < usize::MAX)),
        2 => limits.max_pending_per_ip(count),
        3 => {
            let prefix = IpPrefix::new(address(input).ip(), input.byte());
            limits.exempt_from_per_ip(vec![prefix, IpPrefix::new(IpAddr::from([198, 51, 100, 0]), 24)])
        }
        4 => limits.exempt_from_per_ip(Vec::new()),
        5 => limits.pending_lifetime(Some(time)),
        6 => limits.pending_lifetime(None),
        7 | 8 => limits.max_peers(count),
        9 | 10 => limits.idle_timeout(Some(time)),
        11 => limits.idle_timeout(None),
        12 | 13 => limits.after_close(AfterClose::Refuse(time)),
        14 => limits.after_close(AfterClose::Forget),
        15 => limits.max_refused_addresses(count),
        16..19 => limits.queue(queue_limits(count, input)),
        19..22 => limits.send_queue(queue_limits(count, input)),
        22..24 => limits.max_queued_bytes(count),
        24 => limits.max_known_per_poll(count),
        25 => limits.max_unknown_per_poll(count),
        26 => limits.max_replies_per_poll(count),
        27 => limits.quota_per_poll(Some(count)),
        28 => limits.quota_per_poll(None),
        29 => limits.max_queued_bytes(64 << 20),
        30 => limits.queue(QueueLimits::new()).send_queue(QueueLimits::new()),
        _ => Limits::new(),
    }
}

fn queue_limits(packets: usize, input: &mut Input<'_>) -> QueueLimits {
    let choice = input.byte();
    let bytes = [0, 1, 10, 40, 100, 1000, 1 << 20, usize::MAX][usize::from(choice & 7)];
    let when_full = if choice & 8 == 0 { WhenFull::DropNewest } else { WhenFull::DropOldest };
    QueueLimits::new().packets(packets).bytes(bytes).when_full(when_full)
}
