use super::config::SocketOptions;
use super::udp_server::UdpServer;
use crate::demux::{Filter, FirstDatagram, Limits, Verdict};
use crate::error::ConfigError;

/// # Who is admitted
impl UdpServer {
    /// Asks `filter` about each datagram of an unknown sender, before anything is remembered of the sender and before the
    /// limits on connections, so that it works when these are reached. It replaces an earlier filter.
    ///
    /// Datagrams from refused addresses (see [`AfterClose`](crate::limits::AfterClose)) are dropped before it.
    ///
    /// What the filter writes into the vector is sent back where it answers [`Verdict::Reply`]. It runs within `poll`,
    /// for each datagram of a flood too: it should be quick, and must not block. If it panics, so does `poll`; where that
    /// is caught, the server goes on, and what was received in one go with the datagram and comes behind it is lost
    /// ([`panicked`](crate::stats::ReceiveDrops#structfield.panicked)).
    ///
    /// **No reply may pass for a question**, that of another server with this filter or with one like it: a single
    /// datagram with a forged sender would set the two answering each other for ever. Begin questions and replies
    /// differently, as here, and ignore what is neither. A server that sends back all that it receives has the same problem.
    ///
    /// ```
    /// use packetpeer::{UdpServer, Verdict};
    ///
    /// let mut server = UdpServer::new();
    /// server.set_filter(|datagram, reply| match datagram.bytes {
    ///     [b'?', ..] => {
    ///         reply.extend_from_slice(b"!"); // a server browser asks who is here
    ///         Verdict::Reply
    ///     }
    ///     bytes if bytes.starts_with(b"my game 1") => Verdict::Accept,
    ///     _ => Verdict::Ignore,
    /// });
    /// ```
    pub fn set_filter(&mut self, filter: impl Fn(&FirstDatagram<'_>, &mut Vec<u8>) -> Verdict + Send + Sync + 'static) {
        self.demux.set_filter(Some(Filter::new(filter)));
    }

    /// Lets all unknown senders in again, as far as the limits allow.
    pub fn clear_filter(&mut self) {
        self.demux.set_filter(None);
    }
}

/// # Limits and options
impl UdpServer {
    /// Changes the limits, all of them: to change some, start from those in force, since `Limits::new()` sets the others
    /// back to their defaults.
    ///
    /// ```
    /// # use packetpeer::UdpServer;
    /// # let mut server = UdpServer::new();
    /// server.set_limits(server.limits().clone().max_peers(500))?;
    /// # Ok::<(), packetpeer::error::ConfigError>(())
    /// ```
    ///
    /// They hold from now on. Pending connections beyond a lowered cap, that of all or that of one IP address, are
    /// forgotten, the newest first; peers stay. Idle memory beyond a lowered `max_queued_bytes` is freed.
    ///
    /// # Errors
    ///
    /// A value makes no sense; the limits stay as they were.
    pub fn set_limits(&mut self, limits: Limits) -> Result<(), ConfigError> {
        limits.check()?;
        self.demux.set_limits(limits);
        Ok(())
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        self.demux.limits()
    }

    /// Changes [`Limits::max_pending_connections`] alone. Raising it keeps all that are pending; lowering it forgets
    /// the newest beyond it, and counts them.
    #[doc(alias = "max_pending_connections")]
    pub fn set_max_pending_connections(&mut self, connections: usize) {
        self.demux.set_limits(self.limits().clone().max_pending_connections(connections));
    }

    /// [`Limits::max_pending_connections`].
    #[doc(alias = "get_max_pending_connections")]
    pub fn max_pending_connections(&self) -> usize {
        self.limits().max_pending_connections
    }

    /// Replaces all options with which the next [`listen`](Self::listen) opens the socket; to change some, start from the
    /// [present ones](Self::socket_options). An open socket, and peers' own sockets, stay as they are.
    ///
    /// # Errors
    ///
    /// A value makes no sense; the options stay as they were. If the system refuses an option, `listen` returns
    /// [`BindError::OptionRefused`](crate::error::BindError::OptionRefused).
    pub fn set_socket_options(&mut self, options: SocketOptions) -> Result<(), ConfigError> {
        options.check()?;
        self.next_config = options;
        Ok(())
    }

    /// The options set last, for the next [`listen`](Self::listen).
    pub fn socket_options(&self) -> &SocketOptions {
        &self.next_config
    }
}
