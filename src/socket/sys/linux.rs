//! Linux and Android: many datagrams a system call, packet info, and what the kernel dropped.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::datagram::ReceiveBatch;
use crate::socket::send_batch::{MAX_MESSAGES, MAX_PAYLOADS, SendBatch};

/// Datagrams a call: more saves nothing that can be measured.
const AT_ONCE: usize = 64;

/// Room for control messages with packet info of both IP versions, or one and a segment size, aligned as the kernel wants
/// it; and for a timestamp, which a program may have asked the socket for.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; 128]);

/// Fills `batch` with what waits, by one call of recvmmsg(2). Says for each datagram whether it was cut and, where the
/// socket was asked for packet info, which local address it was sent to.
pub(in crate::socket) fn receive(
    socket: &UdpSocket,
    pins_reply_address: bool,
    batch: &mut ReceiveBatch,
) -> io::Result<()> {
    let mut names = [const { MaybeUninit::<libc::sockaddr_in6>::uninit() }; AT_ONCE];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; AT_ONCE];
    let mut slots = [const { MaybeUninit::<libc::iovec>::uninit() }; AT_ONCE];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; AT_ONCE];

    let mut count = 0;
    for slot in batch.free_slots().take(AT_ONCE) {
        let slot = slots[count].write(libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() });
        // SAFETY: an mmsghdr is plain integers and pointers, for which all bits zero is a value. It cannot be written
        // out field by field because some C libraries have private padding in it.
        let message = messages[count].write(unsafe { mem::zeroed() });
        message.msg_hdr.msg_name = names[count].as_mut_ptr().cast();
        message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
        message.msg_hdr.msg_iov = slot;
        message.msg_hdr.msg_iovlen = 1;
        if pins_reply_address {
            message.msg_hdr.msg_control = controls[count].as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        count += 1;
    }

    // SAFETY: the first `count` messages are initialised; each points to a name buffer, an iovec, the iovec's slot of
    // the batch and perhaps a control buffer, all of the lengths stated, written by nobody else, and alive until the
    // end of this function. The flags ask the kernel not to wait, and no time-out is given. The descriptor is open for
    // as long as `socket` is borrowed.
    let received = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            messages.as_mut_ptr().cast(),
            count as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    for (message, name) in messages.iter().zip(&names).take(received) {
        // SAFETY: the kernel has said that it received this message, which is one of the first `count`, initialised
        // above.
        let message = unsafe { message.assume_init_ref() };
        let cut = message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        // SAFETY: the kernel wrote the sender's address into `name`, which `msg_name` points to.
        let sender = unsafe { address(name, message.msg_hdr.msg_namelen) };
        let local = if pins_reply_address { local_address(&message.msg_hdr) } else { None };
        match sender {
            Some(sender) => batch.commit(sender, message.msg_len as usize, cut, local),
            // Of no IP version: cannot be on a UDP socket. Something has to stand for its slot.
            None => batch.commit(SocketAddr::from(([0; 4], 0)), message.msg_len as usize, true, None),
        }
    }
    Ok(())
}

/// Reads the address that the kernel wrote into `name`.
///
/// # Safety
///
/// The kernel has written an address of `len` bytes there, or as much of it as fits.
unsafe fn address(name: &MaybeUninit<libc::sockaddr_in6>, len: libc::socklen_t) -> Option<SocketAddr> {
    let len = len as usize;
    if len < size_of::<libc::sa_family_t>() {
        return None;
    }
    let start = name.as_ptr();
    // SAFETY: at least the family was written, as the caller promises; it comes first in every address.
    let family = unsafe { start.cast::<libc::sa_family_t>().read() };
    match libc::c_int::from(family) {
        libc::AF_INET if len >= size_of::<libc::sockaddr_in>() => {
            // SAFETY: a whole sockaddr_in was written, and the buffer is aligned for the stricter sockaddr_in6.
            let addr = unsafe { start.cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into())
        }
        libc::AF_INET6 if len >= size_of::<libc::sockaddr_in6>() => {
            // SAFETY: a whole sockaddr_in6 was written.
            let addr = unsafe { start.read() };
            let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(addr.sin6_port), addr.sin6_flowinfo, addr.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The address of this host that a received datagram was sent to, from its control messages. Of one that was sent to a
/// group or to everybody, the address to answer from, where the kernel tells it: only IPv4 does.
fn local_address(message: &libc::msghdr) -> Option<IpAddr> {
    let mut sent_to = None;
    // SAFETY: `message` came back from the kernel, so `msg_control` and `msg_controllen` describe the control messages
    // that it wrote, in a buffer that is still alive; the CMSG macros stay within them.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: a header that the macros return, not null, is a whole one within the buffer.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the header is one of the kernel's, of a kind that carries an in_pktinfo.
                let Some(info) = (unsafe { carried::<libc::in_pktinfo>(header) }) else { break };
                let own = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                return (!own.is_unspecified()).then_some(own.into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the header is one of the kernel's, of a kind that carries an in6_pktinfo.
                let Some(info) = (unsafe { carried::<libc::in6_pktinfo>(header) }) else { break };
                // With a datagram of IPv4 it comes as well, and names where that was sent to, be it everybody: there
                // the other counts alone.
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                sent_to = (ip.to_ipv4_mapped().is_none() && !ip.is_multicast()).then_some(ip.into());
            }
            _ => {}
        }
        // SAFETY: as for CMSG_FIRSTHDR, and `header` is one of the message's.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    sent_to
}

/// Reads what a control message carries. `None` where the kernel had no room for all of it, since the program has asked
/// the socket for more than there is room for.
///
/// # Safety
///
/// `header` is a control message that the kernel wrote, of a kind that carries a `T`, made of plain integers; its length
/// says how much of it is there.
unsafe fn carried<T>(header: *const libc::cmsghdr) -> Option<T> {
    // SAFETY: CMSG_LEN only calculates.
    let whole = unsafe { libc::CMSG_LEN(size_of::<T>() as libc::c_uint) };
    // SAFETY: the header is a whole one, as the caller promises.
    if unsafe { (*header).cmsg_len } < whole as _ {
        return None;
    }
    // SAFETY: as much as a `T` takes is there behind the header; it may lie unaligned.
    Some(unsafe { libc::CMSG_DATA(header).cast::<T>().read_unaligned() })
}

/// Asks for packet info with each datagram of one IP version (`IP_PKTINFO`, `IPV6_RECVPKTINFO`).
pub(in crate::socket) fn pin_reply_address(socket: &socket2::Socket, v6: bool) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    super::unix::set_int(socket.as_raw_fd(), level, option, 1)
}

/// Whether the kernel cuts a message into segments (`UDP_SEGMENT`; Linux 4.18).
pub(in crate::socket) fn can_segment(socket: &UdpSocket) -> bool {
    get_int(socket, libc::SOL_UDP, libc::UDP_SEGMENT).is_some()
}

/// Sends from one of this host's addresses. `to` is of the socket's own IP version; `from` may be an IPv4 address as such
/// where that is mapped.
pub(in crate::socket) fn send_from(socket: &UdpSocket, from: IpAddr, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    let mut name = Name::of(to);
    let mut slot = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = Control([0; 128]);
    let mut message = message(&mut name, &mut slot, 1);
    write_controls(&mut message, &mut control, Some(from), None);
    // SAFETY: the message points to an address, an iovec over `bytes`, and a control message, all initialised, of the
    // lengths stated and alive for the call; sendmsg(2) writes to none of them. The descriptor is open for as long as
    // `socket` is borrowed.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends the messages of `batch` by one call of sendmmsg(2), those of several datagrams cut into segments by the
/// kernel. `native` gives an address in the socket's own IP version.
pub(in crate::socket) fn send_batch(
    socket: &UdpSocket,
    batch: &SendBatch<'_>,
    native: impl Fn(SocketAddr) -> SocketAddr,
) -> io::Result<usize> {
    let mut names = [const { MaybeUninit::<Name>::uninit() }; MAX_MESSAGES];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; MAX_MESSAGES];
    let mut slots = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_PAYLOADS];
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_MESSAGES];

    let mut free_slots = slots.as_mut_slice();
    let mut count = 0;
    for outgoing in batch.messages().take(MAX_MESSAGES) {
        let datagrams = outgoing.datagrams;
        let Some((slots, rest)) = free_slots.split_at_mut_checked(datagrams.len()) else { break };
        free_slots = rest;
        for (slot, bytes) in slots.iter_mut().zip(datagrams) {
            slot.write(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() });
        }
        let name = names[count].write(Name::of(native(outgoing.to)));
        let mut header = message(name, slots.as_mut_ptr().cast(), datagrams.len());
        let segment = datagrams.first().map(|first| first.len()).filter(|_| datagrams.len() > 1);
        if outgoing.from.is_some() || segment.is_some() {
            let control = controls[count].write(Control([0; 128]));
            write_controls(&mut header, control, outgoing.from, segment);
        }
        headers[count].write(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
        count += 1;
    }
    // SAFETY: the first `count` headers are initialised; each points to a name, iovecs over payloads that `batch`
    // borrows, and perhaps control messages, all initialised, of the lengths stated and alive until the end of this
    // function. The kernel writes to nothing but `msg_len`. The descriptor is open for as long as `socket` is borrowed.
    let sent = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr().cast(), count as libc::c_uint, libc::MSG_DONTWAIT as _)
    };
    let messages = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
    // A message cut into segments is sent as a whole or not at all.
    Ok(batch.datagrams_in(messages))
}

/// A socket address as the kernel takes it.
#[derive(Clone, Copy)]
#[repr(C)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Name {
    fn of(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self {
                v4: libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: addr.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*addr.ip()).to_be() },
                    sin_zero: [0; 8],
                },
            },
            SocketAddr::V6(addr) => Self {
                v6: libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: addr.port().to_be(),
                    sin6_flowinfo: addr.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: addr.ip().octets() },
                    sin6_scope_id: addr.scope_id(),
                },
            },
        }
    }

    fn len(&self) -> libc::socklen_t {
        // SAFETY: both kinds of address begin with the family, so it is initialised whichever was written.
        let family = unsafe { self.v4.sin_family };
        if libc::c_int::from(family) == libc::AF_INET {
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        } else {
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// A message to `name` of `count` slots, without control messages.
fn message(name: &mut Name, slots: *mut libc::iovec, count: usize) -> libc::msghdr {
    // SAFETY: a msghdr is plain integers and pointers, for which all bits zero is a value. It cannot be written out
    // field by field because some C libraries have private padding in it.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_namelen = name.len();
    message.msg_name = (&raw mut *name).cast();
    message.msg_iov = slots;
    message.msg_iovlen = count as _;
    message
}

/// Writes into `control`, and hangs onto `message`, which address to send from and how large the segments are.
fn write_controls(message: &mut libc::msghdr, control: &mut Control, from: Option<IpAddr>, segment: Option<usize>) {
    message.msg_control = (&raw mut *control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: the control buffer was hung on with its length just above, and has room for at least one header.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    let mut used = 0;
    let mut write = |level, kind, info: &dyn ControlData| {
        // SAFETY: `next` is a header within the buffer, which has room for both kinds of message: 40 bytes for the
        // larger packet info and 24 for the segment size, headers included.
        unsafe {
            (*next).cmsg_level = level;
            (*next).cmsg_type = kind;
            (*next).cmsg_len = libc::CMSG_LEN(info.size()) as _;
            info.write_to(libc::CMSG_DATA(next));
            used += libc::CMSG_SPACE(info.size()) as usize;
            next = next.byte_add(libc::CMSG_SPACE(info.size()) as usize);
        }
    };
    match from {
        Some(IpAddr::V4(from)) => {
            let from = libc::in_addr { s_addr: u32::from(from).to_be() };
            let any = libc::in_addr { s_addr: libc::INADDR_ANY };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: from, ipi_addr: any };
            write(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        Some(IpAddr::V6(from)) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: from.octets() }, ipi6_ifindex: 0 };
            write(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
        None => {}
    }
    if let Some(size) = segment {
        write(libc::SOL_UDP, libc::UDP_SEGMENT, &(size as u16));
    }
    message.msg_controllen = used as _;
}

/// What a control message may carry.
trait ControlData {
    fn size(&self) -> libc::c_uint;

    /// # Safety
    ///
    /// `to` has room for [`ControlData::size`] bytes.
    unsafe fn write_to(&self, to: *mut libc::c_uchar);
}

impl<T: Copy> ControlData for T {
    fn size(&self) -> libc::c_uint {
        size_of::<T>() as libc::c_uint
    }

    unsafe fn write_to(&self, to: *mut libc::c_uchar) {
        // SAFETY: there is room for a `T`, as the caller promises; it may lie unaligned.
        unsafe { to.cast::<T>().write_unaligned(*self) }
    }
}

/// Bytes of the largest packet that the path to `to` is known to carry, headers included (`IP_MTU`, `IPV6_MTU`).
pub(in crate::socket) fn path_mtu(to: SocketAddr) -> Option<usize> {
    // The kernel tells only connected sockets, so one is made to ask. This happens when a send has failed, not on the
    // way.
    let any: SocketAddr =
        if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(to).ok()?;
    let (level, option) =
        if to.is_ipv4() { (libc::IPPROTO_IP, libc::IP_MTU) } else { (libc::IPPROTO_IPV6, libc::IPV6_MTU) };
    usize::try_from(get_int(&socket, level, option)?).ok()
}

fn get_int(socket: &UdpSocket, level: libc::c_int, option: libc::c_int) -> Option<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to an int, alive and exclusively borrowed for the call, and the length passed is its size.
    // The descriptor is open for as long as `socket` is borrowed.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut len) };
    (result == 0).then_some(value)
}

/// Datagrams dropped because the receive buffer was full (`SO_MEMINFO`, `SK_MEMINFO_DROPS`; Linux 4.12).
pub(in crate::socket) fn kernel_drops(socket: &UdpSocket) -> Option<u64> {
    const SO_MEMINFO: libc::c_int = 55;
    const SK_MEMINFO_DROPS: usize = 8;
    let mut info = [0u32; SK_MEMINFO_DROPS + 1];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the pointer is to nine u32, alive and exclusively borrowed for the call, and the length passed is their
    // size; the kernel writes no more than that. The descriptor is open for as long as `socket` is borrowed.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, SO_MEMINFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    (result == 0 && len as usize == size_of_val(&info)).then(|| info[SK_MEMINFO_DROPS].into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// Receives until `count` datagrams have come.
    fn collect(socket: &UdpSocket, pins: bool, batch: &mut ReceiveBatch, count: usize) {
        let deadline = Instant::now() + Duration::from_secs(10);
        batch.clear(usize::MAX);
        while batch.len() < count && Instant::now() < deadline {
            match receive(socket, pins, batch) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => panic!("{error}"),
                _ => std::thread::yield_now(),
            }
        }
        assert_eq!(batch.len(), count);
    }

    #[test]
    fn several_datagrams_come_in_order_and_a_cut_one_is_marked() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for payload in [&b"one"[..], b"", b"longer than eight"] {
            sender.send_to(payload, socket.local_addr().unwrap()).unwrap();
        }
        let mut batch = ReceiveBatch::new(4, 8);
        collect(&socket, false, &mut batch, 3);
        let seen: Vec<_> = batch.iter().map(|datagram| (datagram.bytes, datagram.cut)).collect();
        assert_eq!(seen, [(&b"one"[..], false), (b"", false), (b"longer t", true)]);
        assert!(batch.iter().all(|datagram| datagram.sender == sender.local_addr().unwrap()));
        assert!(batch.iter().all(|datagram| datagram.local.is_none()));
    }

    #[test]
    fn packet_info_tells_the_local_address_and_answers_leave_from_it() {
        for (any, spoken_to) in [("0.0.0.0:0", "127.0.0.9"), ("[::]:0", "::ffff:127.0.0.9"), ("[::]:0", "::1")] {
            let Ok(socket) = UdpSocket::bind(any) else {
                eprintln!("skipped: no IPv6 here");
                continue;
            };
            let spoken_to: IpAddr = spoken_to.parse().unwrap();
            for v6 in [false, true].into_iter().take(if any.starts_with('[') { 2 } else { 1 }) {
                pin_reply_address(&socket2::SockRef::from(&socket), v6).unwrap();
            }
            let here = SocketAddr::new(spoken_to.to_canonical(), socket.local_addr().unwrap().port());
            let client = UdpSocket::bind(if here.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }).unwrap();
            if client.connect(here).and_then(|()| client.send(b"?")).is_err() {
                eprintln!("skipped: no IPv6 loopback here");
                continue;
            }

            let mut batch = ReceiveBatch::new(4, 8);
            collect(&socket, true, &mut batch, 1);
            let question = batch.iter().next().unwrap();
            assert_eq!(question.local, Some(spoken_to.to_canonical()));

            // The client is connected: it receives what comes from that address and nothing else.
            send_from(&socket, spoken_to, b"!", question.sender).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let mut answer = [0; 8];
            assert_eq!(client.recv(&mut answer).unwrap(), 1);
        }
    }

    /// What a program asks a socket for beside takes room from what is asked for here, and the last is cut.
    #[test]
    fn packet_info_for_which_there_is_no_room_is_none() {
        let Ok(socket) = UdpSocket::bind("[::]:0") else {
            return eprintln!("skipped: no IPv6 here");
        };
        for v6 in [false, true] {
            pin_reply_address(&socket2::SockRef::from(&socket), v6).unwrap();
        }
        let more = [
            (libc::SOL_SOCKET, libc::SO_TIMESTAMP),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT),
            (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
            (libc::IPPROTO_IP, libc::IP_RECVTTL),
            (libc::IPPROTO_IP, libc::IP_RECVTOS),
        ];
        let here = SocketAddr::from(([127, 0, 0, 9], socket.local_addr().unwrap().port()));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = ReceiveBatch::new(4, 8);
        for (asked, (level, option)) in more.into_iter().enumerate() {
            super::super::unix::set_int(socket.as_raw_fd(), level, option, 1).unwrap();
            sender.send_to(b"?", here).unwrap();
            collect(&socket, true, &mut batch, 1);
            let local = batch.iter().next().unwrap().local.map(|ip| ip.to_canonical());
            assert!(local == Some(here.ip()) || (asked > 0 && local.is_none()), "{asked}: {local:?}");
        }
    }

    #[test]
    fn the_kernel_tells_what_it_dropped() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        assert_eq!(kernel_drops(&socket), Some(0));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sent = 200;
        for _ in 0..sent {
            sender.send_to(&[0; 100], socket.local_addr().unwrap()).unwrap();
        }
        let mut batch = ReceiveBatch::new(AT_ONCE, 128);
        let mut received = 0;
        loop {
            batch.clear(AT_ONCE);
            match receive(&socket, false, &mut batch) {
                Ok(()) => received += batch.len() as u64,
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert_eq!(kernel_drops(&socket), Some(sent - received));
    }
}
