//! Who somebody is: one key, made here and nowhere else.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::ConnectionId;

/// The one form of an address that this crate shows and compares: IPv4 mapped into IPv6 becomes IPv4, the flow
/// information, which senders choose freely, becomes 0. The scope id stays: link-local addresses mean nothing without
/// it.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match addr.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), addr.port()),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        },
    }
}

/// Who somebody is, in 24 bytes that are cheap to hash and to compare: an address, or a connection id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Address and port of IPv4; the upper half of an IPv6 address; the connection id.
    first: u64,
    /// The lower half of an IPv6 address.
    second: u64,
    /// The scope of an IPv6 address.
    scope: u32,
    port: u16,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    V4,
    V6,
    Connection,
}

impl Key {
    /// The key of an address, which need not be canonical.
    pub(super) fn of(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => {
                let first = u64::from(u32::from(*addr.ip())) << 16 | u64::from(addr.port());
                Self { first, second: 0, scope: 0, port: 0, kind: Kind::V4 }
            }
            SocketAddr::V6(addr) => match addr.ip().to_ipv4_mapped() {
                Some(ip) => Self::of(SocketAddr::new(ip.into(), addr.port())),
                None => {
                    let ip = u128::from(*addr.ip());
                    let (first, second) = ((ip >> 64) as u64, ip as u64);
                    Self { first, second, scope: addr.scope_id(), port: addr.port(), kind: Kind::V6 }
                }
            },
        }
    }

    pub(super) fn of_connection(id: ConnectionId) -> Self {
        Self { first: id.0, second: 0, scope: 0, port: 0, kind: Kind::Connection }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // What differs between keys of a kind, in one write and no more of it: each eight bytes are a round of the
        // hash.
        if self.kind != Kind::V6 {
            return state.write(&self.first.to_ne_bytes());
        }
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.first.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.second.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.scope.to_ne_bytes());
        bytes[20..22].copy_from_slice(&self.port.to_ne_bytes());
        state.write(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str, flow: u32, scope: u32) -> SocketAddr {
        SocketAddrV6::new(text.parse().unwrap(), 9, flow, scope).into()
    }

    #[test]
    fn mapped_ipv4_is_ipv4() {
        let plain: SocketAddr = "192.0.2.1:9".parse().unwrap();
        let mapped = v6("::ffff:192.0.2.1", 0, 3);
        assert_eq!(canonical(mapped), plain);
        assert_eq!(Key::of(mapped), Key::of(plain));
    }

    #[test]
    fn flow_information_is_not_identity_and_the_scope_is() {
        assert_eq!(canonical(v6("fe80::1", 77, 2)), v6("fe80::1", 0, 2));
        assert_eq!(Key::of(v6("fe80::1", 77, 2)), Key::of(v6("fe80::1", 0, 2)));
        assert_ne!(Key::of(v6("fe80::1", 0, 2)), Key::of(v6("fe80::1", 0, 3)));
    }

    #[test]
    fn neighbours_differ() {
        let keys = ["192.0.2.1:9", "192.0.2.2:9", "192.0.2.1:10", "[2001:db8::1]:9"]
            .map(|text| Key::of(text.parse().unwrap()));
        for (i, a) in keys.iter().enumerate() {
            for b in &keys[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}
