//! What every system has: one datagram a call, by the standard library; and what only some have, answered by "no".

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::datagram::ReceiveBatch;
use crate::socket::send_batch::SendBatch;

pub(in crate::socket) fn receive(
    socket: &UdpSocket,
    _pins_reply_address: bool,
    batch: &mut ReceiveBatch,
) -> io::Result<()> {
    while let Some(slot) = batch.next_slot() {
        let room = slot.len();
        let (len, sender) = match socket.recv_from(slot) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !batch.is_empty() => return Ok(()),
            received => received?,
        };
        // The system does not report that it has cut it, but a cut datagram fills the slot: see `ReceiveBatch::for_payloads`.
        batch.commit(sender, len, len == room, None);
    }
    Ok(())
}

pub(in crate::socket) fn pin_reply_address(_socket: &socket2::Socket, _v6: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::socket) fn send_from(_: &UdpSocket, _from: IpAddr, _bytes: &[u8], _to: SocketAddr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(in crate::socket) fn can_segment(_socket: &UdpSocket) -> bool {
    false
}

/// One datagram a call.
pub(in crate::socket) fn send_batch(
    socket: &UdpSocket,
    batch: &SendBatch<'_>,
    native: impl Fn(SocketAddr) -> SocketAddr,
) -> io::Result<usize> {
    let mut sent = 0;
    for message in batch.messages() {
        for datagram in message.datagrams {
            match socket.send_to(datagram, native(message.to)) {
                Ok(_) => sent += 1,
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(sent)
}

pub(in crate::socket) fn kernel_drops(_socket: &UdpSocket) -> Option<u64> {
    None
}

pub(in crate::socket) fn path_mtu(_to: SocketAddr) -> Option<usize> {
    None
}
