//! Windows.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::windows::io::{AsRawSocket, RawSocket};
use std::ptr;
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket};
use windows_sys::Win32::NetworkManagement::IpHelper::if_nametoindex;
use windows_sys::Win32::Networking::WinSock;

use crate::socket::interrupt::Interrupt;

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

/// Forbids fragments for one IP version, on this host and on the way.
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

/// Returns whether `socket` is readable.
pub(in crate::socket) fn wait(
    socket: &UdpSocket,
    interrupt: Option<&Interrupt>,
    timeout: Option<Duration>,
) -> io::Result<bool> {
    PollSet::default().wait(socket, interrupt, timeout)
}

/// Sockets of which one call asks which are readable.
#[derive(Default)]
pub(in crate::socket) struct PollSet {
    watched: Vec<WinSock::WSAPOLLFD>,
}

impl std::fmt::Debug for PollSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.watched.iter().map(|watched| watched.fd)).finish()
    }
}

impl PollSet {
    pub(in crate::socket) fn push(&mut self, socket: &UdpSocket) {
        self.watched.push(watch(socket.as_raw_socket()));
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
            self.watched.push(watch(interrupt.reader().as_raw_socket()));
        }
        let result = poll(&mut self.watched, timeout);
        let readable = self.watched[..=own].iter().any(|watched| watched.revents != 0);
        self.watched.truncate(own);
        result.map(|()| readable)
    }
}

fn watch(socket: RawSocket) -> WinSock::WSAPOLLFD {
    WinSock::WSAPOLLFD { fd: socket as WinSock::SOCKET, events: WinSock::POLLRDNORM, revents: 0 }
}

/// Waits until one of `watched` is readable or the time is over.
fn poll(watched: &mut [WinSock::WSAPOLLFD], timeout: Option<Duration>) -> io::Result<()> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let count = u32::try_from(watched.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // SAFETY: `watched` is a slice of initialised WSAPOLLFDs, exclusively borrowed for the call, and the count
        // passed is its length. The callers hold the sockets that it names, so they are open.
        let ready = unsafe { WinSock::WSAPoll(watched.as_mut_ptr(), count, poll_timeout(left)) };
        if ready < 0 {
            return Err(io::Error::last_os_error());
        }
        if ready > 0 || left.is_some_and(|left| left.is_zero()) {
            return Ok(());
        }
    }
}

/// Milliseconds for WSAPoll, rounded up so that waiting for half a millisecond does not spin.
fn poll_timeout(left: Option<Duration>) -> i32 {
    let Some(left) = left else { return -1 };
    i32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
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
