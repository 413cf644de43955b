use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::Hash;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::InvalidAddress;

/// A range of IP addresses, such as `192.0.2.0/24` or `2001:db8::/32`; an address alone is a range of one.
///
/// ```
/// use packetpeer::IpPrefix;
///
/// let proxies: IpPrefix = "10.1.0.0/16".parse()?;
/// assert!(proxies.contains("10.1.200.3".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    addr: IpAddr,
    len: u8,
}

impl IpPrefix {
    /// The addresses whose first `len` bits are those of `addr`; all bits where `len` is more than the address has. A
    /// range of IPv4 addresses mapped into IPv6 is that range of IPv4.
    pub fn new(addr: IpAddr, len: u8) -> Self {
        match (addr, addr.to_canonical(), len.checked_sub(96)) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_), Some(len)) => Self { addr: mapped, len: len.min(32) },
            (IpAddr::V4(_), _, _) => Self { addr, len: len.min(32) },
            (IpAddr::V6(_), _, _) => Self { addr, len: len.min(128) },
        }
    }

    /// Whether `addr` is one of them. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        let (own, other, spare) = match (self.addr, addr) {
            (IpAddr::V4(own), IpAddr::V4(other)) => (own.to_ipv6_mapped(), other.to_ipv6_mapped(), 96),
            (IpAddr::V6(own), IpAddr::V6(other)) => (own, other, 0),
            _ => return false,
        };
        let differs = u128::from(own) ^ u128::from(other);
        differs.leading_zeros() >= u32::from(self.len) + spare
    }
}

impl FromStr for IpPrefix {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress::new(text);
        let (addr, len) = text.split_once('/').map_or((text, None), |(addr, len)| (addr, Some(len)));
        let addr: IpAddr = addr.parse().map_err(|_| invalid())?;
        let bits = if addr.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Ok(bits), |len| len.parse().map_err(|_| invalid()))?;
        if len <= bits { Ok(Self::new(addr, len)) } else { Err(invalid()) }
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// Whom an address is counted with for the limits per IP address: an IPv4 address with itself, an IPv6 address with its
/// /64, since one host has that many addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    V4(u32),
    V6(u64),
}

impl Origin {
    /// Of a canonical address.
    pub(super) fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::V4(addr.into()),
            IpAddr::V6(addr) => Self::V6((u128::from(addr) >> 64) as u64),
        }
    }
}

/// How many are here from where. Two maps, since one entry for each peer has to be small.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    v4: HashMap<u32, u32>,
    v6: HashMap<u64, u32>,
}

impl Crowd {
    pub(super) fn from(&self, origin: Origin) -> usize {
        let count = match origin {
            Origin::V4(origin) => self.v4.get(&origin),
            Origin::V6(origin) => self.v6.get(&origin),
        };
        count.map_or(0, |&count| count as usize)
    }

    pub(super) fn add(&mut self, origin: Origin) {
        match origin {
            Origin::V4(origin) => *self.v4.entry(origin).or_default() += 1,
            Origin::V6(origin) => *self.v6.entry(origin).or_default() += 1,
        }
    }

    /// Takes one off; an origin of which none is left is forgotten.
    pub(super) fn remove(&mut self, origin: Origin) {
        match origin {
            Origin::V4(origin) => remove_one(&mut self.v4, origin),
            Origin::V6(origin) => remove_one(&mut self.v6, origin),
        }
    }
}

fn remove_one<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_contains_what_begins_like_it() {
        let prefix: IpPrefix = "192.0.2.128/25".parse().unwrap();
        assert!(prefix.contains(ip("192.0.2.255")));
        assert!(prefix.contains(ip("::ffff:192.0.2.129")));
        assert!(!prefix.contains(ip("192.0.2.127")));
        assert!(!prefix.contains(ip("2001:db8::1")));

        let prefix: IpPrefix = "2001:db8::/33".parse().unwrap();
        assert!(prefix.contains(ip("2001:db8:7fff::1")));
        assert!(!prefix.contains(ip("2001:db8:8000::1")));

        assert!("0.0.0.0/0".parse::<IpPrefix>().unwrap().contains(ip("255.1.2.3")));
        assert!(!"0.0.0.0/0".parse::<IpPrefix>().unwrap().contains(ip("::1")));
        assert!("::/0".parse::<IpPrefix>().unwrap().contains(ip("::1")));
        assert!(!"192.0.2.1".parse::<IpPrefix>().unwrap().contains(ip("192.0.2.2")));
    }

    /// It contained nothing at all: addresses are compared as IPv4, and it was not.
    #[test]
    fn a_prefix_of_mapped_addresses_is_one_of_ipv4() {
        let prefix: IpPrefix = "::ffff:192.0.2.0/120".parse().unwrap();
        assert!(prefix.contains(ip("192.0.2.7")) && prefix.contains(ip("::ffff:192.0.2.7")));
        assert!(!prefix.contains(ip("192.0.3.7")));
        assert_eq!(prefix, IpPrefix::new(ip("192.0.2.0"), 24));
        assert_eq!(IpPrefix::new(ip("::ffff:192.0.2.1"), 255), "192.0.2.1".parse().unwrap());
        assert!("::ffff:0:0/95".parse::<IpPrefix>().unwrap().contains(ip("::fffe:1:2")));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in ["", "/8", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "example/8", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<IpPrefix>().unwrap_err().text(), text);
        }
        assert_eq!(IpPrefix::new(ip("10.0.0.0"), 99).to_string(), "10.0.0.0/32");
    }

    #[test]
    fn hosts_of_one_ipv6_network_count_together() {
        assert_eq!(Origin::of(ip("2001:db8::1")), Origin::of(ip("2001:db8::ffff:1")));
        assert_ne!(Origin::of(ip("2001:db8::1")), Origin::of(ip("2001:db8:0:1::1")));
        assert_ne!(Origin::of(ip("192.0.2.1")), Origin::of(ip("192.0.2.2")));
    }
    #[test]
    fn an_origin_of_which_nobody_is_left_is_forgotten() {
        let mut crowd = Crowd::default();
        let origins = ["192.0.2.1", "::c000:201", "2001:db8::1"].map(|text| Origin::of(ip(text)));
        for origin in origins {
            crowd.add(origin);
            crowd.add(origin);
            assert_eq!(crowd.from(origin), 2);
            crowd.remove(origin);
        }
        assert_eq!(origins.map(|origin| crowd.from(origin)), [1; 3]);
        origins.into_iter().for_each(|origin| crowd.remove(origin));
        assert!(crowd.v4.is_empty() && crowd.v6.is_empty());
    }
}
