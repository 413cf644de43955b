//! The key by which a sender is known, made here and nowhere else.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};

use super::identity::ConnectionId;
use crate::address::scope_of;

/// A sender's identity in three words that are cheap to hash and to compare: an address, or a connection id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Address and port of IPv4; the upper half of an IPv6 address; the connection id.
    first: u64,
    /// The lower half of an IPv6 address.
    second: u64,
    /// Of an IPv6 address the scope, the port, and one bit: never 0. Otherwise which of the other two kinds it is.
    third: u64,
}

const V4: u64 = 0;
const CONNECTION: u64 = 2;

impl Key {
    /// The key of an address, which need not be canonical.
    #[inline]
    pub(super) fn of(addr: &SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::of_v4(*addr.ip(), addr.port()),
            SocketAddr::V6(addr) => Self::of_v6(addr),
        }
    }

    fn of_v4(ip: Ipv4Addr, port: u16) -> Self {
        Self { first: u64::from(u32::from(ip)) << 16 | u64::from(port), second: 0, third: V4 }
    }

    #[inline(never)]
    fn of_v6(addr: &SocketAddrV6) -> Self {
        if let Some(ip) = addr.ip().to_ipv4_mapped() {
            return Self::of_v4(ip, addr.port());
        }
        let ip = u128::from(*addr.ip());
        let third = u64::from(scope_of(addr)) << 32 | u64::from(addr.port()) << 16 | 1;
        Self { first: (ip >> 64) as u64, second: ip as u64, third }
    }

    pub(super) fn of_connection(id: ConnectionId) -> Self {
        Self { first: id.0, second: 0, third: CONNECTION }
    }

    /// The id, if this is the key of one.
    pub(super) fn connection(&self) -> Option<ConnectionId> {
        (self.third == CONNECTION).then_some(ConnectionId(self.first))
    }
}

impl fmt::Debug for Key {
    /// An id is a secret, and what is shown ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.connection() {
            Some(_) => f.write_str("a connection id"),
            None => write!(f, "{:x}:{:x}:{:x}", self.first, self.second, self.third),
        }
    }
}

impl Hash for Key {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What differs between keys of a kind, in one write and no more of it: each eight bytes are a round of the
        // hash.
        if self.third == V4 || self.third == CONNECTION {
            return state.write(&self.first.to_ne_bytes());
        }
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.first.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.second.to_ne_bytes());
        bytes[16..].copy_from_slice(&self.third.to_ne_bytes());
        state.write(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::canonical;

    fn v6(text: &str, flow: u32, scope: u32) -> SocketAddr {
        SocketAddrV6::new(text.parse().unwrap(), 9, flow, scope).into()
    }

    #[test]
    fn mapped_ipv4_is_ipv4() {
        let plain: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let mapped = v6("::ffff:192.0.2.1", 0, 3);
        assert_eq!(canonical(mapped), plain);
        assert_eq!(Key::of(&mapped), Key::of(&plain));
    }

    #[test]
    fn flow_information_is_not_identity_and_the_scope_is() {
        assert_eq!(canonical(v6("fe80::1", 77, 2)), v6("fe80::1", 0, 2));
        assert_eq!(Key::of(&v6("fe80::1", 77, 2)), Key::of(&v6("fe80::1", 0, 2)));
        assert_ne!(Key::of(&v6("fe80::1", 0, 2)), Key::of(&v6("fe80::1", 0, 3)));
    }

    #[test]
    fn a_scope_that_says_nothing_is_not_identity() {
        for (ip, plain) in [("2001:db8::1", 0), ("::1", 0), ("fc00::1", 0), ("ff02::1", 2)] {
            assert_eq!(canonical(v6(ip, 0, 2)), v6(ip, 0, plain));
            assert_eq!(Key::of(&v6(ip, 0, 2)), Key::of(&v6(ip, 0, plain)));
        }
    }

    #[test]
    fn neighbours_differ() {
        let keys = ["192.0.2.1:9", "192.0.2.2:9", "192.0.2.1:10", "[2001:db8::1]:9"]
            .map(|text| Key::of(&text.parse().unwrap()));
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}
