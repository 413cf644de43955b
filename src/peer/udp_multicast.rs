use std::net::IpAddr;

use super::udp::PacketPeerUdp;
use crate::error::OptionError;
use crate::socket::{Interface, TransportOption};

/// # Multicast
///
/// For stand-alone peers only, too.
impl PacketPeerUdp {
    /// Receives what is sent to a multicast group on this peer's port, from now until it is left or closed.
    ///
    /// Bind first, to the group's port:
    ///
    /// - of every address of the group's IP version, `0.0.0.0` or `[::]`. That works everywhere. Bound to one address
    ///   of the host, a peer receives groups on Windows only; bound to the group's own address, it receives on Unix
    ///   only, and that group alone; and a bare port (both IP versions) has IPv4 groups not on every system;
    /// - by [`bind_shared`](Self::bind_shared) where others on this host may want the same group and port.
    ///
    /// From the first join on, of all groups only those that this peer has joined are received. Before, a peer on every
    /// address hears on Linux what anybody on the host has joined on that port (`IP_MULTICAST_ALL`). What is sent to an
    /// address of the host comes as ever.
    ///
    /// A membership is of one interface. `interface` says which: on a host with several it is better named than
    /// [`Default`](Interface::Default). IPv6 takes an [`Index`](Interface::Index) ([`Interface::by_name`]), and needs
    /// it for groups of the link, `ff02::/16`.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn join_multicast_group(&mut self, group: IpAddr, interface: Interface) -> Result<(), OptionError> {
        self.stand_alone_mut()?.join_group(group, interface)
    }

    /// Leaves a multicast group again, on the interface on which it was joined. What had been received before can still
    /// be polled and taken.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn leave_multicast_group(&mut self, group: IpAddr, interface: Interface) -> Result<(), OptionError> {
        self.stand_alone_mut()?.leave_group(group, interface)
    }

    /// Chooses the interface that multicast packets leave by. Default: the routing table's choice.
    ///
    /// On a bare port, this and the two options below are those of both IP versions on Linux, Android and Windows. macOS,
    /// iOS and FreeBSD have them there for IPv6 groups only, and leave those of IPv4 as they are: bind to `0.0.0.0` for
    /// these.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_multicast_interface(&mut self, interface: Interface) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_option(TransportOption::MulticastInterface(interface))
    }

    /// How many hops multicast packets travel. Default 1: the local network; 0: this host, but Linux lets IPv4
    /// ones out all the same where nobody on it has joined the group.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_multicast_ttl(&mut self, hops: u8) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_option(TransportOption::MulticastTtl(hops))
    }

    /// Whether multicast packets sent here reach members on this very host (`IP_MULTICAST_LOOP`). Default: yes.
    ///
    /// On Windows it is the receiver that decides: set it on both. What is sent by the loopback interface comes back in
    /// any case.
    ///
    /// # Errors
    ///
    /// See [`OptionError`].
    pub fn set_multicast_loop(&mut self, enabled: bool) -> Result<(), OptionError> {
        self.stand_alone_mut()?.set_option(TransportOption::MulticastLoop(enabled))
    }
}
