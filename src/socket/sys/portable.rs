//! Receiving by the standard library, one datagram a system call.

use std::io;
use std::net::UdpSocket;

use crate::socket::ReceiveBatch;

pub(in crate::socket) fn receive(socket: &UdpSocket, batch: &mut ReceiveBatch) -> io::Result<()> {
    while let Some(slot) = batch.next_slot() {
        let (len, sender) = match socket.recv_from(slot) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !batch.is_empty() => return Ok(()),
            received => received?,
        };
        batch.commit(sender, len, false);
    }
    Ok(())
}
