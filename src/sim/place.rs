use std::net::{IpAddr, SocketAddr};

/// A socket address, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Place {
    ip: u128,
    scope_and_port: u64,
}

/// The address as one number: the bits of the IPv6 address that it is, or that it is mapped to.
pub(super) fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => 0xffff_0000_0000 | u128::from(addr.to_bits()),
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

impl Place {
    pub(super) fn of(addr: SocketAddr) -> Self {
        let scope = if let SocketAddr::V6(addr) = addr { addr.scope_id() } else { 0 };
        Self { ip: bits(addr.ip()), scope_and_port: u64::from(scope) << 16 | u64::from(addr.port()) }
    }
}
