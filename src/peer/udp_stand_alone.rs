use std::net::ToSocketAddrs;

use super::udp::{Kind, PacketPeerUdp};
use crate::demux::QueueLimits;
use crate::error::{BindError, ConnectError, OptionError};
use crate::socket::{SocketRef, ToBindAddr};

/// # Stand-alone only
///
/// A server's peer uses the server's socket and follows the server's limits. Calls that would change them return
/// `ServersPeer` there.
impl PacketPeerUdp {
    /// Opens a socket on an address of this machine; see [`ToBindAddr`] for what an address may be. The port is also
    /// the one that sends leave from.
    ///
    /// The port is this peer's alone, unless all that want it [share](Self::bind_shared) it. Needed only to be found at
    /// a known port: connecting and sending open a socket by themselves.
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the peer stays as it was.
    pub fn bind(&mut self, addr: impl ToBindAddr) -> Result<(), BindError> {
        match &mut self.kind {
            Kind::Served(_) => Err(BindError::ServersPeer),
            Kind::Standalone(peer) => peer.bind(addr, false),
        }?;
        self.last_sender = None;
        Ok(())
    }

    /// As [`bind`](Self::bind), on a port that other sockets may have too, if each of them asks for it (`SO_REUSEADDR`,
    /// on macOS and BSD with `SO_REUSEPORT`): so that one host can have several members of a multicast group.
    ///
    /// Every member receives what is sent to a group that it has [joined](Self::join_multicast_group).
    ///
    /// **For multicast only.** What is sent to an address of this host reaches *one* of the sockets on the port, and
    /// which one is the system's affair. And the port is not protected: on Linux and Windows programs of other users
    /// may ask for it too. So have unicast on another peer, with a port of its own. To spread clients over several
    /// servers there is [`SocketOptions::share_port`](crate::SocketOptions#structfield.share_port).
    ///
    /// A socket that does not ask keeps the port for itself, and cannot have one that is shared. Name the port: 0 is
    /// one of the system's choice, for the first member to find one. The in-memory network shares no port.
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv4Addr};
    /// use std::time::Duration;
    /// use packetpeer::socket::Interface;
    /// use packetpeer::PacketPeerUdp;
    ///
    /// let group = IpAddr::from([239, 255, 77, 1]);
    /// let on = Interface::Addr(Ipv4Addr::LOCALHOST);
    /// let mut members = [PacketPeerUdp::new(), PacketPeerUdp::new()];
    /// let mut port = 0;
    /// for member in &mut members {
    ///     member.bind_shared((Ipv4Addr::UNSPECIFIED, port))?;
    ///     member.join_multicast_group(group, on)?;
    ///     port = member.local_addr().unwrap().port();
    /// }
    ///
    /// let mut sender = PacketPeerUdp::new();
    /// sender.bind("127.0.0.1:0")?;
    /// sender.set_multicast_interface(on)?;
    /// sender.set_dest_address((group, port))?;
    /// sender.put_packet(b"to all of you")?;
    /// for member in &mut members {
    ///     member.wait(Some(Duration::from_secs(5)))?;
    ///     member.poll()?;
    ///     assert_eq!(&*member.get_packet()?.unwrap(), b"to all of you");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`BindError`]; the peer stays as it was.
    #[doc(alias = "SO_REUSEADDR")]
    pub fn bind_shared(&mut self, addr: impl ToBindAddr) -> Result<(), BindError> {
        match &mut self.kind {
            Kind::Served(_) => Err(BindError::ServersPeer),
            Kind::Standalone(peer) => peer.bind(addr, true),
        }?;
        self.last_sender = None;
        Ok(())
    }

    /// Fixes the remote (`connect(2)`): packets go there, and packets from anywhere else are dropped and counted.
    /// Nothing is sent.
    ///
    /// `host` may be an address, a text such as `"203.0.113.7:4433"`, or a name and port such as `("localhost", 4433)`.
    /// **A name is looked up in this call, which blocks**; do that outside the frame loop, or resolve elsewhere and
    /// pass the address. Of a host's several addresses it takes the first that the socket can reach. A peer without a
    /// socket opens one that speaks both IP versions. May be called again to change the remote; what was received from
    /// the former is dropped.
    ///
    /// An unspecified address, such as the [`local_addr`](crate::UdpServer::local_addr) of a server on a bare port, means
    /// this host, on every system: the address that the peer is bound to, if it is bound to one, or else the loopback
    /// address. [`remote_addr`](Self::remote_addr) shows whom the peer is connected to. From a broadcast address or a
    /// group nobody answers, so these are errors: have them as a [destination](Self::set_dest_address).
    ///
    /// **A peer stays at the address of this host from which it was connected.** When a phone goes from Wi-Fi to mobile, or
    /// a laptop wakes up in another network, puts fail with [`PutError::Unreachable`](crate::error::PutError::Unreachable)
    /// over IPv4, for ever, while the [`state`](Self::state) is still [`Open`](crate::PeerState::Open); over IPv6 they may
    /// go on to succeed, but no answer comes. So have a rule in the client: if nothing has arrived for a time in which
    /// something should have, such as two seconds in a game whose server sends all the time, call this again with the same
    /// address, and again after the next two seconds. The socket keeps its port, and gets the address that the routing table
    /// now gives. To the server that is a new address: a new connection, or, if it goes by
    /// [connection ids](crate::identity::Identity), the same one.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]; the peer stays as it was.
    pub fn connect_to_host(&mut self, host: impl ToSocketAddrs) -> Result<(), ConnectError> {
        match &mut self.kind {
            Kind::Served(_) => Err(ConnectError::ServersPeer),
            Kind::Standalone(peer) => peer.connect_to_host(host),
        }?;
        self.last_sender = None;
        Ok(())
    }

    /// Says where packets go without fixing from where they may come. The socket is opened by the first put, or by
    /// [`bind`](Self::bind).
    ///
    /// As for [`connect_to_host`](Self::connect_to_host), **a name is looked up in this call, which blocks**, the first
    /// address that can be reached is taken, and an unspecified one means this host, as soon as there is a socket. Broadcast
    /// and multicast addresses are fine; enable [broadcasts](Self::set_broadcast_enabled) first, so that a way to them is
    /// found.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`]; the destination stays as it was.
    pub fn set_dest_address(&mut self, host: impl ToSocketAddrs) -> Result<(), ConnectError> {
        match &mut self.kind {
            Kind::Served(_) => Err(ConnectError::ServersPeer),
            Kind::Standalone(peer) => peer.set_dest_address(host),
        }
    }

    /// Allows or forbids sending to broadcast addresses (`SO_BROADCAST`), as a
    /// [destination](Self::set_dest_address). Forbidden by default. Holds for the sockets that this peer opens later too,
    /// from before anything is sent by them.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_broadcast_enabled(&mut self, enabled: bool) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_broadcast_enabled(enabled)
    }

    /// Lets the next [`connect_to_host`](Self::connect_to_host) take the server's first answer from another port of the
    /// same host, and go on with that port: for servers that give each client a socket of its own
    /// ([`Switch::AtOnce`](crate::identity::Switch::AtOnce)). [`remote_addr`](Self::remote_addr) then shows the new port. Off
    /// by default.
    ///
    /// Only the host connected to is heard, its first port and the one that it answered from first. Anyone forging
    /// that host's address can choose the port. A peer that was connected without this has to be closed first. Of a
    /// host name's several addresses the first is taken, without asking for a way to it.
    ///
    /// # Errors
    ///
    /// [`OptionError::ServersPeer`].
    pub fn set_follow_port(&mut self, follow: bool) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_follow_port(follow);
        Ok(())
    }

    /// Bytes to ask of the system for datagrams that wait for the next poll (`SO_RCVBUF`), by the sockets that a
    /// stand-alone peer opens from now on; `None`, the default, leaves the system's own, on Linux some 256 small
    /// datagrams.
    ///
    /// For a peer that receives more between two polls, such as many replies at a time. What is refused is asked for
    /// again by half; what was granted is in [`receive_buffer_size`](Self::receive_buffer_size). Raise
    /// [`set_queue_limits`](Self::set_queue_limits) too. A server has
    /// [`SocketOptions::receive_buffer`](crate::SocketOptions#structfield.receive_buffer).
    ///
    /// # Errors
    ///
    /// [`OptionError::ServersPeer`]; [`OptionError::InvalidConfig`] for `Some(0)`, and what was asked for before stays.
    pub fn set_receive_buffer(&mut self, bytes: Option<usize>) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_receive_buffer(bytes)
    }

    /// Bytes the system granted a stand-alone peer's socket for datagrams that wait for the next poll, where it tells.
    pub fn receive_buffer_size(&self) -> Option<usize> {
        match &self.kind {
            Kind::Served(_) => None,
            Kind::Standalone(peer) => peer.receive_buffer_size(),
        }
    }

    /// How much may wait to be taken from a stand-alone peer. What comes beyond is dropped, counted, and logged by one line
    /// per kind and minute. A server's peers follow the server's [`Limits::queue`](crate::Limits#structfield.queue).
    ///
    /// # Errors
    ///
    /// [`OptionError::ServersPeer`]; [`OptionError::InvalidConfig`] for 0 packets or 0 bytes, with which nothing could ever
    /// arrive. The limits then stay as they were.
    pub fn set_queue_limits(&mut self, limits: QueueLimits) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_queue_limits(limits)
    }

    /// Sets how many datagrams one [`poll`](Self::poll) of a stand-alone peer takes from its socket at most, whatever becomes
    /// of them. Default 4,096; at least 1.
    ///
    /// This bounds the length of a poll: the rest waits in the system for the next, and
    /// [`more_waiting`](crate::stats::PollReport#structfield.more_waiting) is set. A server has
    /// [`Limits::max_known_per_poll`](crate::Limits#structfield.max_known_per_poll) instead.
    ///
    /// # Errors
    ///
    /// [`OptionError::ServersPeer`]; [`OptionError::InvalidConfig`] for 0. The budget then stays as it was.
    pub fn set_max_per_poll(&mut self, datagrams: usize) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_max_per_poll(datagrams)
    }

    /// How many datagrams one poll takes at most; `None` for a server's peer, for which the server's poll receives.
    pub fn max_per_poll(&self) -> Option<usize> {
        match &self.kind {
            Kind::Served(_) => None,
            Kind::Standalone(peer) => Some(peer.max_per_poll()),
        }
    }

    /// The socket of a stand-alone peer, to set options the crate does not know or to wait for it beside others.
    #[doc(alias = "AsFd")]
    #[doc(alias = "AsSocket")]
    pub fn socket(&self) -> Option<SocketRef<'_>> {
        match &self.kind {
            Kind::Served(_) => None,
            Kind::Standalone(peer) => peer.socket(),
        }
    }
}
