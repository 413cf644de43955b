use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};

use super::bind::{BindAddr, BindOptions, RefusedOption};
use super::interrupt::Interrupt;
use super::multicast::Interface;
use super::send_batch::SendBatch;
use super::socket_ref::SocketRef;
use super::sys;
use super::transport::{Transport, TransportFactory, TransportOption, send_one_by_one, this_host};
use crate::clock::Clock;
use crate::datagram::ReceiveBatch;

/// The real thing: UDP sockets of the operating system. What servers and peers use unless told otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSockets;

impl TransportFactory for SystemSockets {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let (socket, family) = match options.addr {
            // An IPv4 address mapped into IPv6 is meant as IPv4.
            BindAddr::Addr(addr) if addr.ip().to_canonical().is_ipv4() => (open(options, Family::V4)?, Family::V4),
            BindAddr::Addr(_) => (open(options, Family::V6)?, Family::V6),
            BindAddr::Any(_) => match open(options, Family::Dual) {
                Ok(socket) => (socket, Family::Dual),
                Err(error) if sys::is_family_missing(&error) => (open(options, Family::V4)?, Family::V4),
                Err(error) => return Err(error),
            },
        };
        Ok(Box::new(UdpTransport::new(socket, family, None, options.pin_reply_address)))
    }

    fn clock(&self) -> Clock {
        Clock::system()
    }

    fn adopt(&self, socket: UdpSocket) -> io::Result<Box<dyn Transport>> {
        socket.set_nonblocking(true)?;
        sys::adopt(&socket);
        let family = match socket.local_addr()? {
            SocketAddr::V4(_) => Family::V4,
            SocketAddr::V6(_) if SockRef::from(&socket).only_v6()? => Family::V6,
            SocketAddr::V6(_) => Family::Dual,
        };
        let connected = socket.peer_addr().ok();
        Ok(Box::new(UdpTransport::new(socket, family, connected, false)))
    }
}

/// Which addresses a socket can speak to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
    /// An IPv6 socket that speaks IPv4 by mapped addresses (RFC 4291, 2.5.5.2).
    Dual,
}

impl Family {
    /// Sets an option that exists once per IP version, by `set(is_v6)`. Not every system lets an IPv6 socket have the
    /// IPv4 one: then a dual-stack socket cannot have the option, since half of its peers would go without.
    fn each(self, set: impl Fn(bool) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::V4 => set(false),
            Self::V6 => set(true),
            Self::Dual => set(true).and_then(|()| set(false)),
        }
    }

    /// As [`each`](Self::each), but a dual-stack socket does with IPv6 alone where it must.
    fn each_possible(self, set: impl Fn(bool) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Dual => {
                set(true)?;
                let _ = set(false);
                Ok(())
            }
            one => one.each(set),
        }
    }
}

fn open(options: &BindOptions, family: Family) -> io::Result<UdpSocket> {
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if family != Family::V4 {
        socket.set_only_v6(family == Family::V6)?;
    }
    socket.set_nonblocking(true)?;
    sys::prepare(&socket);
    if options.reuse_address {
        sys::reuse_address(&socket)?;
    } else {
        sys::bind_exclusively(&socket)?;
    }
    if let Some(size) = options.receive_buffer {
        ask_for_buffer(size, |size| socket.set_recv_buffer_size(size));
    }
    if let Some(size) = options.send_buffer {
        ask_for_buffer(size, |size| socket.set_send_buffer_size(size));
    }
    if options.pin_reply_address {
        RefusedOption::name("pin_reply_address", family.each(|v6| sys::pin_reply_address(&socket, v6)))?;
    }
    if options.dont_fragment {
        RefusedOption::name("dont_fragment", family.each(|v6| sys::set_dont_fragment(&socket, v6)))?;
    }
    if options.share_port {
        RefusedOption::name("share_port", sys::share_port(&socket))?;
    }
    if let Some(dscp) = options.traffic_class {
        RefusedOption::name("traffic_class", set_traffic_class(&socket, family, dscp))?;
    }
    if let Some(device) = &options.device {
        RefusedOption::name("device", sys::bind_device(&socket, device))?;
    }
    let addr = match (options.addr, family) {
        (BindAddr::Addr(addr), Family::V4) => SocketAddr::new(addr.ip().to_canonical(), addr.port()),
        (BindAddr::Addr(addr), _) => addr,
        (BindAddr::Any(port), Family::V4) => (Ipv4Addr::UNSPECIFIED, port).into(),
        (BindAddr::Any(port), _) => (Ipv6Addr::UNSPECIFIED, port).into(),
    };
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Sets the upper six bits of the type of service or traffic class; the lower two are the network's (RFC 2474, RFC
/// 3168).
fn set_traffic_class(socket: &Socket, family: Family, dscp: u8) -> io::Result<()> {
    let class = u32::from(dscp) << 2;
    family.each(|v6| sys::set_traffic_class(socket, v6, class))
}

/// Halves `size` until the system takes it. Linux takes any size and grants what its limit allows; others refuse.
fn ask_for_buffer(size: usize, set: impl Fn(usize) -> io::Result<()>) {
    // The option is an `int`: of a larger number only the lower half would arrive, which may be anything.
    let mut size = size.min(i32::MAX as usize);
    while size > 0 && set(size).is_err() {
        size /= 2;
    }
}

/// An IPv4 address that a dual-stack socket reports mapped into IPv6, as such.
fn unmapped(addr: SocketAddr) -> SocketAddr {
    let ip = addr.ip().to_canonical();
    if ip.is_ipv4() { SocketAddr::new(ip, addr.port()) } else { addr }
}

/// Whether the system connects to `to` only where broadcasts are enabled, as Linux and Windows do with a broadcast
/// address. What a firewall or a route forbids, they refuse in any case.
///
/// The host's main routes decide. A socket that is bound to a device may go by others, as in a VRF: a broadcast address
/// that only they know is not found out, and one that they do not know is taken for one.
fn needs_broadcast_flag(to: SocketAddrV4) -> bool {
    // One of our own: what is sent meanwhile must not pass by a flag that nobody has set.
    let Ok(scratch) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)) else { return false };
    let is_refused = scratch.connect(to).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    is_refused && scratch.set_broadcast(true).is_ok() && scratch.connect(to).is_ok()
}

/// Segments that every kernel with `UDP_SEGMENT` takes in one message.
const MAX_SEGMENTS: usize = 64;

#[derive(Debug)]
struct UdpTransport {
    socket: UdpSocket,
    family: Family,
    connected: Option<SocketAddr>,
    pins_reply_address: bool,
    segments: AtomicBool,
}

impl UdpTransport {
    fn new(socket: UdpSocket, family: Family, connected: Option<SocketAddr>, pins_reply_address: bool) -> Self {
        let segments = AtomicBool::new(sys::can_segment(&socket));
        Self { socket, family, connected, pins_reply_address, segments }
    }

    /// `to` in the form that this socket's family takes.
    fn native(&self, to: SocketAddr) -> SocketAddr {
        match (self.family, to) {
            (Family::Dual, SocketAddr::V4(to)) => SocketAddrV6::new(to.ip().to_ipv6_mapped(), to.port(), 0, 0).into(),
            (Family::V4, SocketAddr::V6(_)) => SocketAddr::new(to.ip().to_canonical(), to.port()),
            _ => to,
        }
    }

    /// Connects; returns whom the system has connected to.
    fn connect_anew(&self, remote: SocketAddr) -> io::Result<SocketAddr> {
        // Not every system takes an unspecified address for this host.
        let remote = if remote.ip().to_canonical().is_unspecified() { self.this_host(remote) } else { remote };
        self.socket.connect(self.native(remote))?;
        Ok(self.socket.peer_addr().map_or(remote, unmapped))
    }

    /// Dissolves the connection, and keeps the port.
    fn disconnect(&self) {
        let port = self.socket.local_addr().map_or(0, |addr| addr.port());
        sys::dissolve(&self.socket);
        // Linux gives a port that it chose itself back when the connection is dissolved.
        if self.socket.local_addr().is_ok_and(|addr| addr.port() != port) {
            let any: IpAddr =
                if self.family == Family::V4 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let _ = SockRef::from(&self.socket).bind(&SocketAddr::new(any, port).into());
        }
    }

    fn change_membership(&self, group: IpAddr, interface: Interface, join: bool) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        match (group, interface) {
            (IpAddr::V4(group), interface) => {
                let interface = match interface {
                    Interface::Default => InterfaceIndexOrAddress::Address(Ipv4Addr::UNSPECIFIED),
                    Interface::Addr(addr) => InterfaceIndexOrAddress::Address(addr),
                    Interface::Index(index) => InterfaceIndexOrAddress::Index(index),
                };
                if join {
                    socket.join_multicast_v4_n(&group, &interface)
                } else {
                    socket.leave_multicast_v4_n(&group, &interface)
                }
            }
            (IpAddr::V6(_), Interface::Addr(_)) => Err(io::ErrorKind::InvalidInput.into()),
            (IpAddr::V6(group), interface) => {
                let index = if let Interface::Index(index) = interface { index } else { 0 };
                if join { socket.join_multicast_v6(&group, index) } else { socket.leave_multicast_v6(&group, index) }
            }
        }
    }

    fn set_multicast_interface(&self, interface: Interface) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        match interface {
            Interface::Addr(_) if self.family == Family::V6 => Err(io::ErrorKind::InvalidInput.into()),
            Interface::Addr(addr) => socket.set_multicast_if_v4(&addr),
            Interface::Default => self.family.each_possible(|v6| {
                if v6 { socket.set_multicast_if_v6(0) } else { socket.set_multicast_if_v4(&Ipv4Addr::UNSPECIFIED) }
            }),
            Interface::Index(index) => self.family.each_possible(|v6| {
                if v6 {
                    socket.set_multicast_if_v6(index)
                } else {
                    sys::set_multicast_interface_v4(&self.socket, index)
                }
            }),
        }
    }
}

impl Transport for UdpTransport {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        sys::receive(&self.socket, self.pins_reply_address, batch)
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        // A send is all or nothing for datagrams: the length that comes back says nothing new.
        match (self.connected, from) {
            (_, Some(from)) if self.pins_reply_address => {
                return sys::send_from(&self.socket, from, bytes, self.native(to));
            }
            (Some(_), _) => self.socket.send(bytes)?,
            (None, _) => self.socket.send_to(bytes, self.native(to))?,
        };
        Ok(())
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        // Not every system lets a message name an address on a connected socket.
        if self.connected.is_some() {
            return send_one_by_one(self, batch);
        }
        let result = sys::send_batch(&self.socket, batch, |to| self.native(to));
        if let Err(error) = &result {
            let segmented = batch.messages().next().is_some_and(|message| message.datagrams.len() > 1);
            if segmented && sys::is_segmentation_refused(error) && self.segments.swap(false, Ordering::Relaxed) {
                log::warn!("segmented sends are off: the network device refuses them ({error})");
            }
        }
        result
    }

    fn max_segments(&self) -> usize {
        if self.connected.is_none() && self.segments.load(Ordering::Relaxed) { MAX_SEGMENTS } else { 1 }
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        if self.connected.is_some() {
            // The first connect chose a local address, which may not do for the new remote.
            self.disconnect();
        }
        let result = self.connect_anew(remote);
        match (&result, self.connected) {
            (Ok(remote), _) => self.connected = Some(*remote),
            (Err(_), None) => {}
            (Err(_), Some(former)) => {
                self.disconnect();
                // It worked before; where it no longer does, sends will say so.
                let _ = self.socket.connect(self.native(former));
            }
        }
        result
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        // Connected to an IPv4 address, a dual-stack socket has one itself.
        self.socket.local_addr().map(unmapped)
    }

    fn this_host(&self, to: SocketAddr) -> SocketAddr {
        let here = this_host(self, to);
        // A socket of both IP versions may be opened where one of them has no address.
        let is_missing = here.ip() == Ipv6Addr::LOCALHOST
            && self.family == Family::Dual
            && UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err();
        if is_missing { (Ipv4Addr::LOCALHOST, to.port()).into() } else { here }
    }

    fn is_broadcast(&self, to: SocketAddr) -> bool {
        match to.ip().to_canonical() {
            IpAddr::V4(ip) => ip.is_broadcast() || needs_broadcast_flag(SocketAddrV4::new(ip, to.port())),
            IpAddr::V6(_) => false,
        }
    }

    fn reaches(&self, to: SocketAddr) -> bool {
        match self.family {
            Family::V4 => to.ip().to_canonical().is_ipv4(),
            Family::V6 => to.ip().to_canonical().is_ipv6(),
            Family::Dual => true,
        }
    }

    fn wait(&self, timeout: Option<Duration>, interrupt: Option<&Interrupt>) -> io::Result<bool> {
        sys::wait(&self.socket, interrupt, timeout)
    }

    fn set_option(&self, option: TransportOption) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        match option {
            TransportOption::Broadcast(on) => socket.set_broadcast(on),
            TransportOption::JoinGroup(group, interface) => {
                self.change_membership(group, interface, true)?;
                sys::receive_joined_groups_only(&self.socket);
                Ok(())
            }
            TransportOption::LeaveGroup(group, interface) => self.change_membership(group, interface, false),
            TransportOption::MulticastInterface(interface) => self.set_multicast_interface(interface),
            TransportOption::MulticastTtl(ttl) => self.family.each_possible(|v6| {
                if v6 { socket.set_multicast_hops_v6(ttl.into()) } else { socket.set_multicast_ttl_v4(ttl.into()) }
            }),
            TransportOption::MulticastLoop(on) => self.family.each_possible(|v6| {
                if v6 { socket.set_multicast_loop_v6(on) } else { socket.set_multicast_loop_v4(on) }
            }),
        }
    }

    fn path_payload(&self, to: SocketAddr) -> Option<usize> {
        let headers = if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
        sys::path_mtu(to)?.checked_sub(headers)
    }

    fn receive_buffer_size(&self) -> Option<usize> {
        SockRef::from(&self.socket).recv_buffer_size().ok()
    }

    fn kernel_drops(&self) -> Option<u64> {
        sys::kernel_drops(&self.socket)
    }

    fn socket(&self) -> Option<SocketRef<'_>> {
        Some(SocketRef::to(&self.socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_only_ipv6_gets_is_refused_on_a_dual_stack_socket() {
        let v6_alone = |v6: bool| if v6 { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) };
        assert!(Family::V6.each(v6_alone).is_ok());
        assert!(Family::V4.each(v6_alone).is_err());
        assert!(Family::Dual.each(v6_alone).is_err());
        // But for what only few need to be of both.
        assert!(Family::Dual.each_possible(v6_alone).is_ok());
        assert!(Family::Dual.each_possible(|v6| v6_alone(!v6)).is_err());
        assert!(Family::V4.each_possible(v6_alone).is_err());
    }

    #[test]
    fn a_buffer_is_halved_until_the_system_takes_it() {
        let asked = std::cell::RefCell::new(Vec::new());
        ask_for_buffer(4096, |size| {
            asked.borrow_mut().push(size);
            if size > 1024 { Err(io::ErrorKind::OutOfMemory.into()) } else { Ok(()) }
        });
        assert_eq!(*asked.borrow(), [4096, 2048, 1024]);
    }

    #[test]
    fn what_no_option_can_hold_is_asked_for_as_the_most_that_it_can() {
        let asked = std::cell::Cell::new(0);
        ask_for_buffer(usize::MAX, |size| {
            asked.set(size);
            Ok(())
        });
        assert_eq!(asked.get(), i32::MAX as usize);
    }

    #[test]
    fn a_socket_fills_slots_without_room() {
        let addr = BindAddr::Addr(([127, 0, 0, 1], 0).into());
        let [socket, sender] = [(); 2].map(|()| SystemSockets.bind(&BindOptions::new(addr)).unwrap());
        sender.send(b"x", socket.local_addr().unwrap(), None).unwrap();
        let mut batch = ReceiveBatch::new(2, 0);
        assert!(socket.wait(Some(std::time::Duration::from_secs(10)), None).unwrap());
        // Windows reports what is cut by an error.
        let received = socket.receive(&mut batch);
        assert!(received.is_ok() || cfg!(windows), "{received:?}");
        assert!(batch.iter().all(|datagram| datagram.cut && datagram.sender == sender.local_addr().unwrap()));
        assert_eq!(batch.len(), usize::from(received.is_ok()));
    }
}
