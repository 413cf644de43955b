//! Linux, Android, macOS, iOS, FreeBSD and other Unix systems.

use std::ffi::CString;
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

use socket2::Socket;

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
/// a group; on Linux that one would spread unicast over the sockets, and shut out those that ask for the other alone.
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

/// Forbids fragments for one IP version, on this host and along the path.
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

/// What poll(2) takes for a socket, with its answer.
pub(super) type Watched = libc::pollfd;

/// The caller holds the socket for as long as it polls the result.
pub(super) fn watch(socket: &impl AsRawFd) -> Watched {
    Watched { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// Calls poll(2) once, for at most `milliseconds`, for ever if that is negative; returns how many are readable.
pub(super) fn poll(watched: &mut [Watched], milliseconds: i32) -> io::Result<usize> {
    // SAFETY: `watched` is a slice of initialised `pollfd`s, exclusively borrowed for the call, and the count passed is
    // its length. The callers hold the sockets whose descriptors it names, so they are open.
    let ready = unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, milliseconds) };
    usize::try_from(ready).map_err(|_| io::Error::last_os_error())
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
