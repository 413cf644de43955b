use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::place::bits;

/// Which address is at one end of a link: this one, or any.
///
/// Made from an address wherever one is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LinkEnd {
    /// Every address.
    Any,
    /// This address.
    Addr(IpAddr),
}

/// From where to where, as the bits of IPv6 addresses, into which IPv4 is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ends {
    from: u128,
    to: u128,
}

impl LinkEnd {
    pub(super) fn canonical(self) -> Self {
        match self {
            Self::Any => Self::Any,
            Self::Addr(addr) => Self::Addr(addr.to_canonical()),
        }
    }

    fn is(self, addr: u128) -> bool {
        match self {
            Self::Any => true,
            Self::Addr(own) => bits(own) == addr,
        }
    }
}

impl From<IpAddr> for LinkEnd {
    fn from(addr: IpAddr) -> Self {
        Self::Addr(addr)
    }
}

impl From<Ipv4Addr> for LinkEnd {
    fn from(addr: Ipv4Addr) -> Self {
        Self::Addr(addr.into())
    }
}

impl From<Ipv6Addr> for LinkEnd {
    fn from(addr: Ipv6Addr) -> Self {
        Self::Addr(addr.into())
    }
}

impl From<[u8; 4]> for LinkEnd {
    fn from(addr: [u8; 4]) -> Self {
        Self::Addr(addr.into())
    }
}

impl Ends {
    pub(super) fn new(from: IpAddr, to: IpAddr) -> Self {
        Self { from: bits(from), to: bits(to) }
    }

    pub(super) fn are(self, from: LinkEnd, to: LinkEnd) -> bool {
        from.is(self.from) && to.is(self.to)
    }

    /// The numbers that tell this link's chances from those of others.
    pub(super) fn name(self) -> [u64; 4] {
        let halves = |bits: u128| [(bits >> 64) as u64, bits as u64];
        let ([a, b], [c, d]) = (halves(self.from), halves(self.to));
        [a, b, c, d]
    }

    /// By which ends a link for these may have been set, the most specific first.
    pub(super) fn settable_as(self) -> [(LinkEnd, LinkEnd); 4] {
        let addr = |bits| LinkEnd::Addr(Ipv6Addr::from_bits(bits).into()).canonical();
        let (from, to) = (addr(self.from), addr(self.to));
        [(from, to), (from, LinkEnd::Any), (LinkEnd::Any, to), (LinkEnd::Any, LinkEnd::Any)]
    }
}
