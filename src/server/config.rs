use crate::demux::{Identity, Limits, SendMode};
use crate::error::ConfigError;
use crate::setters::setters;
use crate::socket::{BindAddr, BindOptions, MAX_PAYLOAD_V6};

/// How a server is set up. [`Limits`] can be changed while it runs, [`SocketOptions`] for the next `listen`; the rest is
/// fixed.
///
/// ```
/// use packetpeer::{Limits, ServerConfig, SocketOptions, UdpServer};
///
/// let config = ServerConfig::new()
///     .limits(Limits::new().max_peers(64))
///     .socket(SocketOptions::new().receive_buffer(Some(1 << 20)));
/// let server = UdpServer::with_config(config)?;
/// assert_eq!(server.limits().max_peers, 64);
/// # Ok::<(), packetpeer::error::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ServerConfig {
    /// What the server allows.
    pub limits: Limits,
    /// How its socket is opened.
    pub socket: SocketOptions,
    /// When peers send what is put. It never changes: handles on other threads read it at each put.
    pub send_mode: SendMode,
    /// By what a sender is known again.
    pub identity: Identity,
}

impl ServerConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        limits: Limits,
        socket: SocketOptions,
        send_mode: SendMode,
        identity: Identity,
    }

    /// Finds the first value that makes no sense.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.limits.check()?;
        self.socket.check()
    }
}

/// How `listen` opens a server's socket. Options hold until `stop`; those given to
/// [`set_socket_options`](crate::UdpServer::set_socket_options) hold from the next `listen` on.
///
/// | | a match of 16 | a shard of 1,000 | a hub of 100,000 |
/// |---|---|---|---|
/// | [`receive_buffer`](Self#structfield.receive_buffer), [`send_buffer`](Self#structfield.send_buffer) | as it is | as it is | 32 MiB, and `net.core.rmem_max`, `wmem_max` raised to it |
/// | [`max_packet_size`](Self#structfield.max_packet_size) | as it is, or what your protocol sends | 1,200 | 1,200 |
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Bytes to ask of the system for datagrams that wait for the next poll (`SO_RCVBUF`). Default 4 MiB; `None` leaves
    /// the system's own, on Linux some 256 small datagrams.
    ///
    /// What is refused is asked for again by half. How much was granted is in
    /// [`UdpServer::receive_buffer_size`](crate::UdpServer::receive_buffer_size); Linux grants no more than
    /// `net.core.rmem_max`.
    pub receive_buffer: Option<usize>,
    /// Bytes to ask of the system for datagrams on their way out (`SO_SNDBUF`). Default 4 MiB; `None` leaves the
    /// system's own.
    pub send_buffer: Option<usize>,
    /// Largest datagram accepted, in bytes, 1 to 65,527, which is the default and the most that UDP carries. Longer
    /// ones are dropped and counted.
    ///
    /// The server has room for 64 datagrams of this size, which the system fills with real memory only as far as it is
    /// used.
    pub max_packet_size: usize,
    /// Whether answers leave from the address that the client spoke to, on a host with several (`IP_PKTINFO`). Default:
    /// no; the routing table chooses, and a client behind a strict NAT may not recognise the answer. It costs a few per
    /// cent per datagram. Linux and Android only; elsewhere bind to the one address. A client that asked at a broadcast
    /// address or a group is answered from the host's own address on that network.
    pub pin_reply_address: bool,
    /// Whether datagrams must not be cut into fragments on their way (`IP_MTU_DISCOVER`, `IP_DONTFRAG`). Default: they
    /// may.
    ///
    /// macOS, iOS and FreeBSD cannot forbid it for IPv4 on a socket of both IP versions, so a bare port is refused there:
    /// listen on `0.0.0.0` or `[::]`.
    ///
    /// Linux cuts at the sender, by what the path is known to carry: what is found too large by a router on the path is
    /// lost, and cut from its answer on.
    ///
    /// The right thing for game packets of up to 1,200 bytes, and a few per cent cheaper; what is larger than the path
    /// carries is then [`PutError::ExceedsMtu`](crate::error::PutError::ExceedsMtu), instead of fragments that some routers
    /// drop.
    pub dont_fragment: bool,
    /// Whether other servers of this user may listen on the same port, as those of other threads do: the system spreads
    /// the clients over them, and a client stays with one as long as none comes or goes (`SO_REUSEPORT`,
    /// `SO_REUSEPORT_LB`). Default: the port is this server's alone. Linux, Android and FreeBSD only.
    ///
    /// Each server has to ask for it. Choose the port yourself: port 0 would give each its own.
    pub share_port: bool,
    /// Differentiated services code point of what is sent, 0 to 63 (`IP_TOS`, `IPV6_TCLASS`; RFC 2474), such as 46 for
    /// expedited forwarding. Default `None`: the system's. Not on Windows; on macOS and FreeBSD not on a bare port, but
    /// with one IP version.
    pub traffic_class: Option<u8>,
    /// Name of the one network device to receive and send by (`SO_BINDTODEVICE`, `IP_BOUND_IF`), such as `eth1`.
    /// Default `None`: any. Linux, Android, macOS and iOS only.
    pub device: Option<String>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            receive_buffer: Some(4 << 20),
            send_buffer: Some(4 << 20),
            max_packet_size: MAX_PAYLOAD_V6,
            pin_reply_address: false,
            dont_fragment: false,
            share_port: false,
            traffic_class: None,
            device: None,
        }
    }
}

impl SocketOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        receive_buffer: Option<usize>,
        send_buffer: Option<usize>,
        max_packet_size: usize,
        pin_reply_address: bool,
        dont_fragment: bool,
        share_port: bool,
        traffic_class: Option<u8>,
        device: Option<String>,
    }

    /// Finds the first value that makes no sense.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let refuse = |sense: bool, name, needs| if sense { Ok(()) } else { Err(ConfigError::new(name, needs)) };
        refuse(self.receive_buffer != Some(0), "receive_buffer", "at least 1, or None for the system's")?;
        refuse(self.send_buffer != Some(0), "send_buffer", "at least 1, or None for the system's")?;
        refuse((1..=MAX_PAYLOAD_V6).contains(&self.max_packet_size), "max_packet_size", "1 to 65527")?;
        refuse(self.traffic_class.is_none_or(|dscp| dscp < 64), "traffic_class", "0 to 63")?;
        refuse(self.device.as_deref() != Some(""), "device", "a name, or None for any")
    }

    pub(super) fn bind_options(&self, addr: BindAddr) -> BindOptions {
        let mut options = BindOptions::new(addr);
        options.receive_buffer = self.receive_buffer;
        options.send_buffer = self.send_buffer;
        options.pin_reply_address = self.pin_reply_address;
        options.dont_fragment = self.dont_fragment;
        options.share_port = self.share_port;
        options.traffic_class = self.traffic_class;
        options.device.clone_from(&self.device);
        options
    }
}
