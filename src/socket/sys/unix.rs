//! Linux, Android, macOS, iOS, FreeBSD and other Unix systems.

use std::ffi::CString;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::socket::interrupt::Interrupt;

/// Dissolves the connection of a socket (`connect(2)` with `AF_UNSPEC`).
pub(in crate::socket) fn dissolve(socket: &UdpSocket) {
    // SAFETY: a sockaddr is plain bytes and integers, for which all bits zero is a value.
    let mut nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
    // SAFETY: the pointer is to an initialised sockaddr, alive for the call, and the length passed is its size. The
    // descriptor is open for as long as `socket` is borrowed. The result says nothing: macOS dissolves and reports an
    // error.
    unsafe {
        libc::connect(socket.as_raw_fd(), &raw const nobody, size_of::<libc::sockaddr>() as libc::socklen_t);
    }
}

pub(in crate::socket) fn prepare(_socket: &Socket) {}

pub(in crate::socket) fn adopt(_socket: &UdpSocket) {}

/// Nothing to do: without `SO_REUSEADDR`, binding is exclusive on Unix.
pub(in crate::socket) fn bind_exclusively(_socket: &Socket) -> io::Result<()> {
    Ok(())
}

/// Linux shares among sockets with `SO_REUSEADDR`. The BSDs ask for `SO_REUSEPORT` as well, unless what is bound to is
/// a group; on Linux that one would spread unicast over the sockets, and shut out those who ask for the other alone.
pub(in crate::socket) fn reuse_address(socket: &Socket) -> io::Result<()> {
    #[cfg(any(
        target_os = "freebsd",
        target_os = "dragonfly",
        target_os = "netbsd",
        target_os = "openbsd",
        target_vendor = "apple"
    ))]
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::socket) fn bind_device(socket: &Socket, name: &str) -> io::Result<()> {
    socket.bind_device(Some(name.as_bytes()))
}

#[cfg(target_vendor = "apple")]
pub(in crate::socket) fn bind_device(socket: &Socket, name: &str) -> io::Result<()> {
    let index = std::num::NonZeroU32::new(interface_index(name)?);
    // An unbound socket has an address too: that of nobody, in its own family.
    if socket.local_addr()?.is_ipv4() {
        socket.bind_device_by_index_v4(index)
    } else {
        socket.bind_device_by_index_v6(index)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
pub(in crate::socket) fn bind_device(_socket: &Socket, _name: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos"))]
pub(in crate::socket) fn set_traffic_class(socket: &Socket, v6: bool, class: u32) -> io::Result<()> {
    if v6 { socket.set_tclass_v6(class) } else { socket.set_tos_v4(class) }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "macos")))]
pub(in crate::socket) fn set_traffic_class(socket: &Socket, v6: bool, class: u32) -> io::Result<()> {
    if v6 { Err(io::ErrorKind::Unsupported.into()) } else { socket.set_tos_v4(class) }
}

/// Forbids fragments for one IP version, on this host and on the way.
pub(in crate::socket) fn set_dont_fragment(socket: &Socket, v6: bool) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let (level, option, value) = if v6 {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_DO)
    } else {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO)
    };
    #[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
    let (level, option, value) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1) } else { (libc::IPPROTO_IP, libc::IP_DONTFRAG, 1) };
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple")))]
    let (level, option, value) = {
        let _ = v6;
        return Err(io::ErrorKind::Unsupported.into());
    };
    set_int(socket.as_raw_fd(), level, option, value)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::socket) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(target_os = "freebsd")]
pub(in crate::socket) fn share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port_lb(true)
}

/// Elsewhere the last to bind gets all, or each gets a copy: nothing that shards could use.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(in crate::socket) fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn set_int(socket: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer is to an int, alive for the call, and the length passed is its size; every caller names an
    // option that takes an int.
    let result = unsafe {
        libc::setsockopt(socket, level, option, (&raw const value).cast(), size_of::<libc::c_int>() as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns whether `socket` is readable.
pub(in crate::socket) fn wait(
    socket: &UdpSocket,
    interrupt: Option<&Interrupt>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut watched =
        [watch(socket.as_raw_fd()), watch(interrupt.map_or(-1, |interrupt| interrupt.reader().as_raw_fd()))];
    poll(&mut watched, timeout)?;
    Ok(watched[0].revents != 0)
}

/// Sockets of which one call asks which are readable.
#[derive(Default)]
pub(in crate::socket) struct PollSet {
    watched: Vec<libc::pollfd>,
}

impl std::fmt::Debug for PollSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.watched.iter().map(|watched| watched.fd)).finish()
    }
}

impl PollSet {
    pub(in crate::socket) fn push(&mut self, socket: &UdpSocket) {
        self.watched.push(watch(socket.as_raw_fd()));
    }

    pub(in crate::socket) fn swap_remove(&mut self, place: usize) {
        self.watched.swap_remove(place);
    }

    /// Appends to `ready` the places of those that are readable now.
    pub(in crate::socket) fn check(&mut self, ready: &mut Vec<usize>) -> io::Result<()> {
        if self.watched.is_empty() {
            return Ok(());
        }
        poll(&mut self.watched, Some(Duration::ZERO))?;
        let places = self.watched.iter().enumerate().filter(|(_, watched)| watched.revents != 0);
        ready.extend(places.map(|(place, _)| place));
        Ok(())
    }

    /// As [`wait`], for `socket` and all of the set.
    pub(in crate::socket) fn wait(
        &mut self,
        socket: &UdpSocket,
        interrupt: Option<&Interrupt>,
        timeout: Option<Duration>,
    ) -> io::Result<bool> {
        let own = self.watched.len();
        self.push(socket);
        if let Some(interrupt) = interrupt {
            self.watched.push(watch(interrupt.reader().as_raw_fd()));
        }
        let result = poll(&mut self.watched, timeout);
        let readable = self.watched[..=own].iter().any(|watched| watched.revents != 0);
        self.watched.truncate(own);
        result.map(|()| readable)
    }
}

fn watch(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits until one of `watched` is readable or the time is over.
fn poll(watched: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // SAFETY: `watched` is a slice of initialised `pollfd`s, exclusively borrowed for the call, and the count
        // passed is its length. The callers hold the sockets whose descriptors it names, so they are open; a negative
        // one is ignored by poll(2).
        let ready = unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, poll_timeout(left)) };
        if ready > 0 {
            return Ok(());
        }
        // An early return of poll, from rounding or from a time-out longer than it can express, is not the end.
        if ready == 0 && left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
        if ready < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Milliseconds for poll(2), rounded up so that waiting for half a millisecond does not spin.
fn poll_timeout(left: Option<Duration>) -> libc::c_int {
    let Some(left) = left else { return -1 };
    libc::c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple"))]
pub(in crate::socket) fn set_multicast_interface_v4(socket: &UdpSocket, index: u32) -> io::Result<()> {
    let any = libc::in_addr { s_addr: libc::INADDR_ANY };
    let index = libc::c_int::try_from(index).map_err(|_| io::ErrorKind::InvalidInput)?;
    let request = libc::ip_mreqn { imr_multiaddr: any, imr_address: any, imr_ifindex: index };
    // SAFETY: the pointer is to an initialised `ip_mreqn`, which IP_MULTICAST_IF accepts on these systems, alive for
    // the call, and the length passed is its size. The descriptor is open for as long as `socket` is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MULTICAST_IF,
            (&raw const request).cast(),
            size_of::<libc::ip_mreqn>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_vendor = "apple")))]
pub(in crate::socket) fn set_multicast_interface_v4(_socket: &UdpSocket, _index: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Linux delivers what is sent to a group to every socket on the port that is bound to all addresses, if anybody on the
/// host has joined. Best effort: an IPv4 socket has no option of IPv6, and before Linux 4.20 no socket had.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(in crate::socket) fn receive_joined_groups_only(socket: &UdpSocket) {
    let _ = set_int(socket.as_raw_fd(), libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0);
    let _ = set_int(socket.as_raw_fd(), libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, 0);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(in crate::socket) fn receive_joined_groups_only(_socket: &UdpSocket) {}

pub(in crate::socket) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Unix cuts silently; EMSGSIZE on a receive is an ICMP message about something sent earlier.
pub(in crate::socket) fn is_truncation(_error: &io::Error) -> bool {
    false
}

/// Nothing that an ICMP message can cause is among these: EOPNOTSUPP is Linux's word for "source route failed".
pub(in crate::socket) fn is_dead_socket(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EFAULT | libc::ENOSYS))
}

/// Whether connecting to a broadcast address is refused without the flag. BSD and macOS refuse only to send there.
pub(in crate::socket) const CONNECT_TELLS_BROADCAST: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// EPERM is netfilter's or pf's; EACCES is the socket layer's.
pub(in crate::socket) fn is_firewall(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

/// BSD and macOS say so of a device's full queue; Linux does where a program asks for ICMP errors (`IP_RECVERR`).
pub(in crate::socket) fn is_out_of_buffers(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ENOBUFS)
}

pub(in crate::socket) fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

/// Whether the system cannot do IPv6 at all, compiled out or switched off.
pub(in crate::socket) fn is_family_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT | libc::EADDRNOTAVAIL))
}

/// EIO is the answer of a device that cannot compute checksums, without which the kernel does not segment. Other errors
/// are of the one message: its route or its size.
pub(in crate::socket) fn is_segmentation_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

pub(in crate::socket) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS))
}
