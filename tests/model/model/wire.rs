//! What is on its way.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use crate::setup::{CLIENTS, server_addr_for};

/// What a socket of the network holds where nobody asks for a size, in bytes.
const SYSTEMS_BUFFER: usize = 212_992;

#[derive(Debug)]
pub(crate) struct Wire {
    /// What waits at the port listened on.
    pub(crate) to_server: Inbox,
    pub(crate) to_clients: BTreeMap<SocketAddr, Inbox>,
    pub(crate) lost: u64,
    server_capacity: usize,
}

/// What waits in the buffer of a socket.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    capacity: usize,
}

impl Inbox {
    fn new(capacity: usize) -> Self {
        Self { waiting: VecDeque::new(), capacity }
    }

    fn accept(&mut self, from: SocketAddr, bytes: &[u8]) -> bool {
        let cost = |bytes: &[u8]| bytes.len() + 256;
        let waiting: usize = self.waiting.iter().map(|(_, bytes)| cost(bytes)).sum();
        let fits = waiting + cost(bytes) <= self.capacity;
        if fits {
            self.waiting.push_back((from, bytes.to_vec()));
        }
        fits
    }
}

impl Wire {
    pub(crate) fn new(receive_buffer: Option<usize>) -> Self {
        let server_capacity = receive_buffer.unwrap_or(SYSTEMS_BUFFER);
        let clients = CLIENTS.iter().map(|addr| (addr.parse().unwrap(), Inbox::new(SYSTEMS_BUFFER)));
        Self { to_server: Inbox::new(server_capacity), to_clients: clients.collect(), lost: 0, server_capacity }
    }

    /// The inbox of one more socket of the server's.
    pub(crate) fn own_inbox(&self) -> Inbox {
        Inbox::new(self.server_capacity)
    }

    pub(crate) fn carry_to_server(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.lost += u64::from(!self.to_server.accept(from, bytes));
    }

    /// To the own socket of a peer that is at `remote`: what comes from elsewhere, the network keeps away.
    pub(crate) fn carry_to_own(&mut self, inbox: &mut Inbox, remote: SocketAddr, from: SocketAddr, bytes: &[u8]) {
        self.lost += u64::from(from != remote || !inbox.accept(from, bytes));
    }

    /// From the socket that a peer has for itself at `own`, or from the port listened on.
    pub(crate) fn carry_to_client(&mut self, own: Option<SocketAddr>, to: SocketAddr, bytes: &[u8]) {
        let from = own.unwrap_or_else(|| server_addr_for(to.is_ipv4()));
        let accepted = self.to_clients.get_mut(&to).is_some_and(|inbox| inbox.accept(from, bytes));
        self.lost += u64::from(!accepted);
    }

    /// The port listened on is closed, with what waits there.
    pub(crate) fn close_port(&mut self) {
        self.lost += std::mem::take(&mut self.to_server.waiting).len() as u64;
    }
}
