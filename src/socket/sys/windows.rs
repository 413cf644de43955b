//! Windows.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::windows::io::{AsRawSocket, RawSocket};
use std::ptr;

use socket2::{SockRef, Socket};
use windows_sys::Win32::NetworkManagement::IpHelper::if_nametoindex;
use windows_sys::Win32::Networking::WinSock;

// From mstcpip.h: _WSAIOW(IOC_VENDOR, 12) and _WSAIOW(IOC_VENDOR, 15).
const SIO_UDP_CONNRESET: u32 = 0x9800_000C;
const SIO_UDP_NETRESET: u32 = 0x9800_000F;

/// Dissolves the connection of a socket, which Windows does where the new remote is all zeros.
pub(in crate::socket) fn dissolve(socket: &UdpSocket) {
    let v4 = socket.local_addr().is_ok_and(|addr| addr.is_ipv4());
    let nobody: SocketAddr = if v4 { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let _ = socket.connect(nobody);
}

pub(in crate::socket) fn prepare(socket: &Socket) {
    silence_resets(socket.as_raw_socket());
}

/// Without it, a socket with `SO_REUSEADDR` could take the port over.
pub(in crate::socket) fn bind_exclusively(socket: &Socket) -> io::Result<()> {
    set_on(socket.as_raw_socket(), WinSock::SOL_SOCKET, WinSock::SO_EXCLUSIVEADDRUSE)
}

pub(in crate::socket) fn reuse_address(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)
}

pub(in crate::socket) fn adopt(socket: &UdpSocket) {
    silence_resets(socket.as_raw_socket());
}

/// Asks Windows not to report, on a later receive, that an earlier send met a closed port (10054) or an expired TTL
/// (10052). Best effort: where it is refused, the drain loop counts the errors and goes on.
fn silence_resets(socket: RawSocket) {
    for code in [SIO_UDP_CONNRESET, SIO_UDP_NETRESET] {
        let off: u32 = 0;
        let mut returned: u32 = 0;
        // SAFETY: the input is a BOOL-sized value alive for the call, with its size; there is no output buffer, which a
        // null pointer and length 0 say; `returned` is writable; no OVERLAPPED and no completion routine are passed, so
        // the call is over when it returns. The socket is open for as long as the caller borrows it.
        unsafe {
            WinSock::WSAIoctl(
                socket as WinSock::SOCKET,
                code,
                (&raw const off).cast(),
                size_of::<u32>() as u32,
                ptr::null_mut(),
                0,
                &raw mut returned,
                ptr::null_mut(),
                None,
            );
        }
    }
}

pub(in crate::socket) fn bind_device(_socket: &Socket, _name: &str) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Forbids fragments for one IP version, on this host and along the path.
pub(in crate::socket) fn set_dont_fragment(socket: &Socket, v6: bool) -> io::Result<()> {
    let (level, option) = if v6 {
        (WinSock::IPPROTO_IPV6, WinSock::IPV6_DONTFRAG)
    } else {
        (WinSock::IPPROTO_IP, WinSock::IP_DONTFRAGMENT)
    };
    set_on(socket.as_raw_socket(), level, option)
}

/// Windows has no way to spread the datagrams of one port.
pub(in crate::socket) fn share_port(_socket: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn set_on(socket: RawSocket, level: i32, option: i32) -> io::Result<()> {
    let on: i32 = 1;
    // SAFETY: the pointer is to an `i32`, which every option that is passed takes, alive for the call, and the length
    // passed is its size. The socket is open for as long as the caller borrows it.
    let result = unsafe {
        WinSock::setsockopt(socket as WinSock::SOCKET, level, option, (&raw const on).cast(), size_of::<i32>() as i32)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Windows takes traffic classes by policy only. It accepts `IP_TOS`, and sends as before.
pub(in crate::socket) fn set_traffic_class(_socket: &Socket, _v6: bool, _class: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What WSAPoll takes for a socket, with its answer.
pub(super) type Watched = WinSock::WSAPOLLFD;

/// The caller holds the socket for as long as it polls the result.
pub(super) fn watch(socket: &impl AsRawSocket) -> Watched {
    Watched { fd: socket.as_raw_socket() as WinSock::SOCKET, events: WinSock::POLLRDNORM, revents: 0 }
}

/// Calls WSAPoll once, for at most `milliseconds`, for ever if that is negative; returns how many are readable.
pub(super) fn poll(watched: &mut [Watched], milliseconds: i32) -> io::Result<usize> {
    let count = u32::try_from(watched.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `watched` is a slice of initialised WSAPOLLFDs, exclusively borrowed for the call, and the count passed
    // is its length. The callers hold the sockets that it names, so they are open.
    let ready = unsafe { WinSock::WSAPoll(watched.as_mut_ptr(), count, milliseconds) };
    usize::try_from(ready).map_err(|_| io::Error::last_os_error())
}

/// Windows reads an address in 0.0.0.0/8 as an interface index.
pub(in crate::socket) fn set_multicast_interface_v4(socket: &UdpSocket, index: u32) -> io::Result<()> {
    if index >= 1 << 24 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    SockRef::from(socket).set_multicast_if_v4(&Ipv4Addr::from(index))
}

/// Windows delivers to members only.
pub(in crate::socket) fn receive_joined_groups_only(_socket: &UdpSocket) {}

pub(in crate::socket) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call.
    match unsafe { if_nametoindex(name.as_ptr().cast()) } {
        0 => Err(io::ErrorKind::NotFound.into()),
        index => Ok(index),
    }
}

pub(in crate::socket) fn is_truncation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WinSock::WSAEMSGSIZE)
}

pub(in crate::socket) fn is_dead_socket(error: &io::Error) -> bool {
    const DEAD: [i32; 5] =
        [WinSock::WSAENOTSOCK, WinSock::WSAEBADF, WinSock::WSAEFAULT, WinSock::WSAEINVAL, WinSock::WSANOTINITIALISED];
    error.raw_os_error().is_some_and(|number| DEAD.contains(&number))
}

/// Windows has one number for both.
pub(in crate::socket) fn is_firewall(_error: &io::Error) -> bool {
    false
}

/// Whether connecting to a broadcast address is refused without the flag.
pub(in crate::socket) const CONNECT_TELLS_BROADCAST: bool = true;

pub(in crate::socket) fn is_out_of_buffers(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WinSock::WSAENOBUFS)
}

pub(in crate::socket) fn is_too_large(error: &io::Error) -> bool {
    error.raw_os_error() == Some(WinSock::WSAEMSGSIZE)
}

/// Whether the system cannot do IPv6 at all.
pub(in crate::socket) fn is_family_missing(error: &io::Error) -> bool {
    const MISSING: [i32; 3] = [WinSock::WSAEAFNOSUPPORT, WinSock::WSAEPROTONOSUPPORT, WinSock::WSAEADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|number| MISSING.contains(&number))
}

/// Windows is not asked to segment.
pub(in crate::socket) fn is_segmentation_refused(_error: &io::Error) -> bool {
    false
}

pub(in crate::socket) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(WinSock::WSAEMFILE | WinSock::WSAENOBUFS))
}
