//! Who somebody is: one key, made here and nowhere else.

use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use super::ConnectionId;

/// The one form of an address that this crate shows and compares: IPv4 mapped into IPv6 becomes IPv4, the flow
/// information, which senders choose freely, becomes 0. The scope id stays: link-local addresses mean nothing without it.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match addr.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), addr.port()),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, v6.port(), 0, v6.scope_id()).into(),
        },
    }
}

/// Who somebody is, as 24 bytes that are cheap to hash and to compare: a canonical address (IPv6 or mapped IPv4 address, port,
/// scope id, a zero), or a connection id (and a one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; 24]);

impl Key {
    /// The key of `addr`, which need not be canonical.
    pub(super) fn of(addr: SocketAddr) -> Self {
        let (ip, scope) = match addr {
            SocketAddr::V4(addr) => (addr.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(addr) if addr.ip().to_ipv4_mapped().is_some() => (*addr.ip(), 0),
            SocketAddr::V6(addr) => (*addr.ip(), addr.scope_id()),
        };
        let mut key = [0; 24];
        key[..16].copy_from_slice(&ip.octets());
        key[16..18].copy_from_slice(&addr.port().to_be_bytes());
        key[18..22].copy_from_slice(&scope.to_be_bytes());
        Self(key)
    }

    pub(super) fn of_connection(id: ConnectionId) -> Self {
        let mut key = [0; 24];
        key[..8].copy_from_slice(&id.0.to_be_bytes());
        key[23] = 1;
        Self(key)
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The derived one would hash the length of the array too.
        state.write(&self.0);
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
