use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use super::sys;

/// A network interface, as multicast asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Interface {
    /// The one the system's routing table names.
    #[default]
    Default,
    /// The one that has this IPv4 address; for IPv4 groups only.
    Addr(Ipv4Addr),
    /// The one with this index, for groups of both families.
    Index(u32),
}

impl Interface {
    /// The interface of this name, such as `eth0` (`if_nametoindex`).
    ///
    /// # Errors
    ///
    /// What the system answers where there is none of that name.
    #[doc(alias = "if_name")]
    pub fn by_name(name: &str) -> io::Result<Self> {
        sys::interface_index(name).map(Self::Index)
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default interface"),
            Self::Addr(addr) => write!(f, "the interface of {addr}"),
            Self::Index(index) => write!(f, "interface {index}"),
        }
    }
}
