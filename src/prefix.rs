use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::error::InvalidAddress;

/// A range of IP addresses, such as `192.0.2.0/24` or `2001:db8::/32`; an address alone is a range of one.
///
/// ```
/// use packetpeer::limits::IpPrefix;
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
}
