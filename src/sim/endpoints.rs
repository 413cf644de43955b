use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};

use indexmap::IndexMap;

use super::fast_hash::FastHash;
use super::place::{Place, bits};

/// First of the ports given out where the caller leaves the choice (RFC 6335, 6).
const FIRST_DYNAMIC_PORT: u16 = 49_152;

/// What a waiting datagram costs beside its payload, in bytes.
const OVERHEAD: usize = 256;

/// Which endpoint is bound where.
#[derive(Default)]
pub(super) struct Endpoints {
    /// By the index that their transports have.
    endpoints: Vec<Option<Endpoint>>,
    vacant: Vec<usize>,
    bound: IndexMap<Place, usize, FastHash>,
    /// Which port each host chooses next, by the first of its addresses.
    next_ports: IndexMap<u128, u16, FastHash>,
}

/// What one socket has received, and from whom it receives.
pub(super) struct Endpoint {
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    bytes: usize,
    capacity: usize,
    connected: Option<SocketAddr>,
}

impl Endpoints {
    /// A port that is free at all of `addrs`, by the count of the host whose first address is `host`.
    pub(super) fn free_port(&mut self, host: IpAddr, addrs: &[IpAddr]) -> io::Result<u16> {
        let host = bits(host);
        let mut next = self.next_ports.get(&host).copied().unwrap_or(FIRST_DYNAMIC_PORT);
        for _ in FIRST_DYNAMIC_PORT..=u16::MAX {
            let port = next;
            next = port.checked_add(1).unwrap_or(FIRST_DYNAMIC_PORT);
            if self.is_free(addrs, port) {
                self.next_ports.insert(host, next);
                return Ok(port);
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    pub(super) fn is_free(&self, addrs: &[IpAddr], port: u16) -> bool {
        addrs.iter().all(|&ip| !self.bound.contains_key(&Place::of(SocketAddr::new(ip, port))))
    }

    /// Binds an endpoint to a port of each of `addrs`; returns its index.
    pub(super) fn open(&mut self, endpoint: Endpoint, addrs: &[IpAddr], port: u16) -> usize {
        let index = self.vacant.pop().unwrap_or(self.endpoints.len());
        if index == self.endpoints.len() {
            self.endpoints.push(None);
        }
        self.endpoints[index] = Some(endpoint);
        for &ip in addrs {
            self.bound.insert(Place::of(SocketAddr::new(ip, port)), index);
        }
        index
    }

    /// Frees what [`open`](Self::open) has bound; returns what was never received there.
    pub(super) fn close(
        &mut self,
        index: usize,
        addrs: &[IpAddr],
        port: u16,
    ) -> impl ExactSizeIterator<Item = Vec<u8>> + use<> {
        let unread = self.endpoints[index].take().map(|endpoint| {
            self.vacant.push(index);
            endpoint.inbox
        });
        for &ip in addrs {
            self.bound.swap_remove(&Place::of(SocketAddr::new(ip, port)));
        }
        unread.unwrap_or_default().into_iter().map(|(_, bytes)| bytes)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Endpoint> {
        self.endpoints[index].as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Endpoint> {
        self.endpoints[index].as_mut()
    }

    /// The endpoint bound at this address.
    pub(super) fn at(&mut self, addr: SocketAddr) -> Option<&mut Endpoint> {
        let &index = self.bound.get(&Place::of(addr))?;
        self.get_mut(index)
    }

    /// How many addresses with a port are taken.
    pub(super) fn bound_count(&self) -> usize {
        self.bound.len()
    }
}

impl Endpoint {
    /// One that holds so many bytes.
    pub(super) fn new(capacity: usize) -> Self {
        Self { inbox: VecDeque::new(), bytes: 0, capacity, connected: None }
    }

    pub(super) fn connect(&mut self, remote: SocketAddr) {
        self.connected = Some(remote);
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inbox.is_empty()
    }

    pub(super) fn accepts(&self, from: SocketAddr, len: usize) -> bool {
        self.connected.is_none_or(|remote| remote == from) && self.bytes + len + OVERHEAD <= self.capacity
    }

    pub(super) fn push(&mut self, from: SocketAddr, bytes: Vec<u8>) {
        self.bytes += bytes.len() + OVERHEAD;
        self.inbox.push_back((from, bytes));
    }

    pub(super) fn pop(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let (from, bytes) = self.inbox.pop_front()?;
        self.bytes -= bytes.len() + OVERHEAD;
        Some((from, bytes))
    }
}
