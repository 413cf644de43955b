use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::error::{BindError, InvalidAddress};

/// Where to bind: every local address, or one.
///
/// Usually made by [`ToBindAddr`] from a port, an address or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BindAddr {
    /// Every local address of both families (one IPv6 socket with `IPV6_V6ONLY` off), or every IPv4 address where the
    /// system has no IPv6. The number is the port, 0 = one of the system's choice. Godot's `"*"`.
    Any(u16),
    /// This address only. `0.0.0.0` is every IPv4 address, `[::]` every IPv6 address and no IPv4.
    Addr(SocketAddr),
}

/// What `listen` and `bind` accept as an address.
///
/// | value | binds to |
/// |---|---|
/// | `4433` | port 4433 of every address, IPv6 and IPv4 |
/// | `0` | the same, the system chooses the port |
/// | `SocketAddr`, `"127.0.0.1:4433"`, `"[::1]:4433"` | that address and port |
/// | `(IpAddr, u16)` | that address and port |
/// | `IpAddr`, `"127.0.0.1"` | that address, the system chooses the port |
/// | `"*:4433"`, `"*"` | as the bare port; Godot's spelling |
///
/// Names such as `"localhost"` are not looked up: which interface a server binds to should not hang on a resolver.
pub trait ToBindAddr {
    /// Reads `self` as an address to bind to.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] for a text that is none of the above.
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress>;
}

impl ToBindAddr for BindAddr {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(*self)
    }
}

impl ToBindAddr for u16 {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(BindAddr::Any(*self))
    }
}

impl ToBindAddr for SocketAddr {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(BindAddr::Addr(*self))
    }
}

impl ToBindAddr for SocketAddrV4 {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(BindAddr::Addr((*self).into()))
    }
}

impl ToBindAddr for SocketAddrV6 {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(BindAddr::Addr((*self).into()))
    }
}

impl ToBindAddr for IpAddr {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        (*self, 0).to_bind_addr()
    }
}

impl ToBindAddr for (IpAddr, u16) {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(BindAddr::Addr((*self).into()))
    }
}

impl ToBindAddr for (Ipv4Addr, u16) {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(BindAddr::Addr((*self).into()))
    }
}

impl ToBindAddr for (Ipv6Addr, u16) {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        Ok(BindAddr::Addr((*self).into()))
    }
}

impl ToBindAddr for str {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        if let Some(rest) = self.strip_prefix('*') {
            let port = match rest.strip_prefix(':') {
                Some(port) => port.parse().ok(),
                None => rest.is_empty().then_some(0),
            };
            return port.map(BindAddr::Any).ok_or_else(|| InvalidAddress::new(self));
        }
        if let Ok(addr) = self.parse::<SocketAddr>() {
            return addr.to_bind_addr();
        }
        self.parse::<IpAddr>().map_err(|_| InvalidAddress::new(self))?.to_bind_addr()
    }
}

impl ToBindAddr for String {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        self.as_str().to_bind_addr()
    }
}

impl<T: ToBindAddr + ?Sized> ToBindAddr for &T {
    fn to_bind_addr(&self) -> Result<BindAddr, InvalidAddress> {
        (**self).to_bind_addr()
    }
}

/// What a [`TransportFactory`](super::TransportFactory) is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BindOptions {
    /// Where to bind.
    pub addr: BindAddr,
    /// Bytes to ask of the system for datagrams not yet received (`SO_RCVBUF`), halved until it accepts; `None` leaves
    /// the system's default.
    pub receive_buffer: Option<usize>,
    /// Bytes to ask of the system for datagrams not yet sent (`SO_SNDBUF`), halved until it accepts; `None` leaves the
    /// system's default.
    pub send_buffer: Option<usize>,
    /// Find out which address of this host a datagram was sent to, and let answers leave from there.
    pub pin_reply_address: bool,
    /// Forbid fragments along the path.
    pub dont_fragment: bool,
    /// Let other sockets that ask for it bind the same port, and the system choose who receives what.
    pub share_port: bool,
    /// Let other sockets that ask for it bind the same address and port, as the members of a multicast group on one
    /// host do: each receives what is sent to a group, and one of them what is sent to it alone. See
    /// [`PacketPeerUdp::bind_shared`](crate::PacketPeerUdp::bind_shared).
    pub reuse_address: bool,
    /// DSCP of what is sent, 0 to 63; `None` leaves the system's.
    pub traffic_class: Option<u8>,
    /// Name of the one network device to use.
    pub device: Option<String>,
}

impl BindOptions {
    /// Binds to `addr`, everything else as the system has it.
    pub fn new(addr: BindAddr) -> Self {
        Self {
            addr,
            receive_buffer: None,
            send_buffer: None,
            pin_reply_address: false,
            dont_fragment: false,
            share_port: false,
            reuse_address: false,
            traffic_class: None,
            device: None,
        }
    }
}

/// What an error of [`bind`](super::TransportFactory::bind) carries where it is one option that was refused, and not the
/// address: [`BindError::OptionRefused`] then names it.
///
/// ```
/// use std::io;
/// use packetpeer::error::BindError;
/// use packetpeer::socket::{BindOptions, Clock, RefusedOption, SystemSockets, Transport, TransportFactory};
/// use packetpeer::{ServerConfig, SocketOptions, UdpServer};
///
/// /// The system's sockets, which leave the choice of the device to somebody else.
/// #[derive(Debug)]
/// struct AnyDevice;
///
/// impl TransportFactory for AnyDevice {
///     fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
///         if options.device.is_some() {
///             return Err(RefusedOption { option: "device", error: io::ErrorKind::Unsupported.into() }.into());
///         }
///         SystemSockets.bind(options)
///     }
///     fn clock(&self) -> Clock {
///         SystemSockets.clock()
///     }
/// }
///
/// let config = ServerConfig::new().socket(SocketOptions::new().device(Some("eth1".into())));
/// let mut server = UdpServer::with_transport(config, AnyDevice)?;
/// assert!(matches!(server.listen(0), Err(BindError::OptionRefused { option: "device", .. })));
/// # Ok::<(), packetpeer::error::ConfigError>(())
/// ```
#[derive(Debug)]
pub struct RefusedOption {
    /// The field of [`BindOptions`].
    pub option: &'static str,
    /// What the system said, or [`Unsupported`](io::ErrorKind::Unsupported) where there is no such thing.
    pub error: io::Error,
}

impl RefusedOption {
    /// Names the option in the error, if it is one.
    pub(super) fn name(option: &'static str, result: io::Result<()>) -> io::Result<()> {
        result.map_err(|error| Self { option, error }.into())
    }
}

impl fmt::Display for RefusedOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.option, self.error)
    }
}

impl Error for RefusedOption {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<RefusedOption> for io::Error {
    /// Of the same [kind](io::Error::kind) as what the system said.
    fn from(refused: RefusedOption) -> Self {
        Self::new(refused.error.kind(), refused)
    }
}

impl From<io::Error> for BindError {
    /// What an answer of the system to `bind` and the like means, by its [kind](io::Error::kind): `AddrInUse`,
    /// `PermissionDenied`, `AddrNotAvailable` and `Unsupported` become the variants of these names, everything else
    /// [`Io`](BindError::Io). Where it names an option, as a [`RefusedOption`], it is
    /// [`OptionRefused`](BindError::OptionRefused). The error itself is kept in each.
    ///
    /// `listen` converts the errors of a custom [`TransportFactory`](crate::socket::TransportFactory) like this, and a custom
    /// server that opens its own sockets can do the same.
    fn from(error: io::Error) -> Self {
        let error = match error.downcast::<RefusedOption>() {
            Ok(RefusedOption { option, error }) => return Self::OptionRefused { option, error },
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse(error),
            io::ErrorKind::PermissionDenied => Self::PermissionDenied(error),
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable(error),
            io::ErrorKind::Unsupported => Self::Unsupported(error),
            _ => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers_become_bind_addresses() {
        let loopback = |port| BindAddr::Addr(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        assert_eq!(4433.to_bind_addr().unwrap(), BindAddr::Any(4433));
        assert_eq!("*:4433".to_bind_addr().unwrap(), BindAddr::Any(4433));
        assert_eq!("*".to_bind_addr().unwrap(), BindAddr::Any(0));
        assert_eq!("127.0.0.1:7".to_bind_addr().unwrap(), loopback(7));
        assert_eq!("127.0.0.1".to_bind_addr().unwrap(), loopback(0));
        assert_eq!("[::1]:7".to_bind_addr().unwrap(), (Ipv6Addr::LOCALHOST, 7).to_bind_addr().unwrap());
        assert_eq!("::1".to_bind_addr().unwrap(), (Ipv6Addr::LOCALHOST, 0).to_bind_addr().unwrap());
    }

    #[test]
    fn an_error_that_names_an_option_keeps_what_the_system_said() {
        let refused = RefusedOption { option: "device", error: io::ErrorKind::PermissionDenied.into() };
        let error = io::Error::from(refused);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let BindError::OptionRefused { option, error } = BindError::from(error) else { panic!("it is about the port") };
        assert_eq!((option, error.kind()), ("device", io::ErrorKind::PermissionDenied));
    }

    #[test]
    fn anything_else_is_refused_with_the_text() {
        for text in ["localhost:1", "", "*:", "*:70000", "*:-1", "*x", "1.2.3", "1.2.3.4:99999", ":80"] {
            let error = text.to_bind_addr().unwrap_err();
            assert_eq!(error.text(), text);
        }
    }
}
