use crate::demux::Limits;

/// How a server is set up. [`Limits`] may be changed while it runs, [`SocketOptions`] hold from one `listen` to the next.
///
/// ```
/// use packetpeer::{Limits, ServerConfig, SocketOptions, UdpServer};
///
/// let config = ServerConfig::new()
///     .limits(Limits::new().max_peers(64))
///     .socket(SocketOptions::new().receive_buffer(Some(1 << 20)));
/// let server = UdpServer::with_config(config);
/// assert_eq!(server.limits().max_peers, 64);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerConfig {
    /// What the server allows.
    pub limits: Limits,
    /// How its socket is opened.
    pub socket: SocketOptions,
}

impl ServerConfig {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`limits`](Self#structfield.limits).
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`socket`](Self#structfield.socket).
    #[must_use]
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = options;
        self
    }
}

/// How `listen` opens a server's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketOptions {
    /// Bytes to ask of the system for datagrams that wait for the next poll (`SO_RCVBUF`). Default 4 MiB; `None` leaves the
    /// system's own, on Linux some 256 small datagrams.
    ///
    /// What is refused is asked for again by half. How much was granted is in
    /// [`UdpServer::receive_buffer_size`](crate::UdpServer::receive_buffer_size); Linux grants no more than
    /// `net.core.rmem_max`.
    pub receive_buffer: Option<usize>,
    /// Bytes to ask of the system for datagrams on their way out (`SO_SNDBUF`). Default 4 MiB; `None` leaves the system's
    /// own.
    pub send_buffer: Option<usize>,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { receive_buffer: Some(4 << 20), send_buffer: Some(4 << 20) }
    }
}

impl SocketOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`receive_buffer`](Self#structfield.receive_buffer).
    #[must_use]
    pub fn receive_buffer(mut self, bytes: Option<usize>) -> Self {
        self.receive_buffer = bytes;
        self
    }

    /// Sets [`send_buffer`](Self#structfield.send_buffer).
    #[must_use]
    pub fn send_buffer(mut self, bytes: Option<usize>) -> Self {
        self.send_buffer = bytes;
        self
    }
}
