use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::endpoints::Endpoint;
use super::network::Network;
use crate::address::canonical;
use crate::datagram::ReceiveBatch;
use crate::socket::{Interrupt, SendBatch, Transport, send_one_by_one};

/// A socket of a [`Host`](super::Host).
#[derive(Debug)]
pub(super) struct HostTransport {
    network: Network,
    /// Of its endpoint, for as long as it lives.
    index: usize,
    addrs: Vec<IpAddr>,
    local_addr: SocketAddr,
}

impl HostTransport {
    /// The transport of the endpoint of this `index`, which closes it.
    pub(super) fn new(network: Network, index: usize, addrs: Vec<IpAddr>, local_addr: SocketAddr) -> Self {
        Self { network, index, addrs, local_addr }
    }

    /// Where a datagram to `to` goes: what is unspecified means this host, and hosts have no interfaces for a scope to
    /// tell apart.
    fn meant(&self, to: SocketAddr) -> SocketAddr {
        let to = canonical(to);
        let to = if to.ip().is_unspecified() { self.this_host(to) } else { to };
        SocketAddr::new(to.ip(), to.port())
    }

    /// The address that a datagram to `to` comes from.
    fn source(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        let ip = self.addrs.iter().find(|ip| ip.is_ipv4() == to.is_ipv4()).ok_or(io::ErrorKind::NetworkUnreachable)?;
        Ok(SocketAddr::new(*ip, self.local_addr.port()))
    }
}

impl Transport for HostTransport {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        self.network.state().receive(self.index, batch);
        Ok(())
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
        let to = self.meant(to);
        let from = self.source(to)?;
        self.network.state().carry(from, to, bytes);
        Ok(())
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        send_one_by_one(self, batch)
    }

    fn max_segments(&self) -> usize {
        1
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        let remote = self.meant(remote);
        let local_addr = self.source(remote)?;
        if let Some(endpoint) = self.network.state().endpoints.get_mut(self.index) {
            endpoint.connect(remote);
        }
        self.local_addr = local_addr;
        Ok(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr)
    }

    fn reaches(&self, to: SocketAddr) -> bool {
        self.source(canonical(to)).is_ok()
    }

    fn this_host(&self, to: SocketAddr) -> SocketAddr {
        let of_family = |v4: bool| self.addrs.iter().find(|ip| ip.is_ipv4() == v4);
        let any = if canonical(to).is_ipv4() { of_family(true) } else { of_family(false).or(of_family(true)) };
        any.map_or(to, |&ip| SocketAddr::new(ip, to.port()))
    }

    fn receive_buffer_size(&self) -> Option<usize> {
        self.network.state().endpoints.get(self.index).map(Endpoint::capacity)
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(self.network.state().endpoints.get(self.index).is_some_and(|endpoint| !endpoint.is_empty()))
    }
}

impl Drop for HostTransport {
    fn drop(&mut self) {
        let mut state = self.network.state();
        let unread = state.endpoints.close(self.index, &self.addrs, self.local_addr.port());
        state.lose(unread);
    }
}
