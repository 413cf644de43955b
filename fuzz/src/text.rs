//! What the crate reads from texts: addresses to bind to, prefixes of addresses, names of links and interfaces. Nothing
//! of it panics, and what was read is read again from how it is written.

use std::net::{IpAddr, SocketAddr};

use packetpeer::sim::Link;
use packetpeer::socket::BindAddr;
use packetpeer::limits::IpPrefix;
use packetpeer::socket::{Interface, ToBindAddr};

/// The entry of the fuzzer.
pub fn run(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    bind_address(text);
    prefix(text, data);
    if let Some(link) = Link::preset(text) {
        assert!(Link::PRESETS.contains(&(text, link)));
    }
    // Asks the system, which has few of them.
    if let Ok(Interface::Index(index)) = Interface::by_name(text) {
        assert!(index > 0 && !text.is_empty() && !text.contains('\0'));
    }
}

fn bind_address(text: &str) {
    let read = text.to_bind_addr();
    assert_eq!(read, text.to_owned().to_bind_addr());
    match read {
        Ok(BindAddr::Any(port)) => {
            assert!(text == "*" || text.starts_with("*:"));
            assert_eq!(format!("*:{port}").to_bind_addr(), read);
        }
        Ok(BindAddr::Addr(addr)) => {
            let as_std = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 0).into()));
            assert_eq!(as_std, Ok(addr));
            assert_eq!(addr.to_string().to_bind_addr().as_ref().map(shown), Ok(shown(&BindAddr::Addr(addr))));
        }
        Ok(other) => panic!("what is {other:?}?"),
        Err(error) => {
            assert_eq!(error.text(), text);
            assert!(text.parse::<SocketAddr>().is_err() && text.parse::<IpAddr>().is_err());
        }
    }
}

/// The flow information is not part of an address's text.
fn shown(addr: &BindAddr) -> String {
    match addr {
        BindAddr::Addr(addr) => addr.to_string(),
        other => format!("{other:?}"),
    }
}

fn prefix(text: &str, data: &[u8]) {
    let Ok(prefix) = text.parse::<IpPrefix>() else { return };
    assert_eq!(prefix.to_string().parse(), Ok(prefix));
    let (ip, len) = text.split_once('/').map_or((text, None), |(ip, len)| (ip, len.parse::<u8>().ok()));
    let ip: IpAddr = ip.parse().expect("a prefix begins with an address");
    let len = len.unwrap_or(128);
    assert_eq!(prefix, IpPrefix::new(ip, len));
    // Mapped addresses count as IPv4, and some IPv6 prefixes are of more than those.
    let is_mapped = |ip| matches!(ip, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
    let is_wide = is_mapped(ip) && len < 96;
    assert_eq!(prefix.contains(ip), !is_wide, "whether a prefix contains the address it is made of");
    // Bit by bit.
    let other = flipped(ip, usize::from(data[data.len() - 1]));
    let first_difference = bits(ip).zip(bits(other)).position(|(own, other)| own != other);
    let is_near = first_difference.is_none_or(|at| at >= usize::from(len));
    let is_ipv4 = ip.is_ipv4() || is_mapped(ip) && len >= 96;
    let is_comparable = is_ipv4 == other.to_canonical().is_ipv4();
    assert_eq!(prefix.contains(other), is_near && is_comparable, "{other} in {prefix}");
}

fn flipped(ip: IpAddr, bit: usize) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => IpAddr::V4((ip.to_bits() ^ 1 << (bit % 32)).into()),
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() ^ 1 << (bit % 128)).into()),
    }
}

fn bits(ip: IpAddr) -> impl Iterator<Item = bool> {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.into_iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
}
