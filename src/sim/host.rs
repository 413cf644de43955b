use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::endpoints::Endpoint;
use super::host_transport::HostTransport;
use super::network::Network;
use crate::clock::Clock;
use crate::socket::{BindAddr, BindOptions, Transport, TransportFactory};

/// What an endpoint holds where its owner asks for no size, in bytes: the usual `net.core.rmem_default` of Linux.
const DEFAULT_BUFFER: usize = 212_992;

/// A host of a [`Network`]: where servers and peers get their sockets. Clones are the same host.
#[derive(Debug, Clone)]
pub struct Host {
    network: Network,
    addrs: Vec<IpAddr>,
}

// Here, so that a network does not have to know its hosts.
impl Network {
    /// A host with this address, to be given to [`UdpServer::with_transport`](crate::UdpServer::with_transport) or
    /// [`PacketPeerUdp::with_transport`](crate::PacketPeerUdp::with_transport). Asking twice gives the same host.
    pub fn host(&self, addr: impl Into<IpAddr>) -> Host {
        Host { network: self.clone(), addrs: vec![addr.into().to_canonical()] }
    }
}

impl Host {
    /// The same host with one more address, of the same IP version or the other.
    #[must_use]
    pub fn with_address(mut self, addr: impl Into<IpAddr>) -> Self {
        self.addrs.push(addr.into().to_canonical());
        self
    }

    /// Which of the host's addresses a bind is for, and on what port.
    fn resolve(&self, addr: BindAddr) -> io::Result<(Vec<IpAddr>, u16)> {
        let of_family = |v4: bool| self.addrs.iter().copied().filter(|ip| ip.is_ipv4() == v4).collect::<Vec<_>>();
        let (addrs, port) = match addr {
            BindAddr::Any(port) => (self.addrs.clone(), port),
            BindAddr::Addr(addr) => {
                let ip = addr.ip().to_canonical();
                let own = || self.addrs.iter().copied().filter(|&own| own == ip).collect();
                (if ip.is_unspecified() { of_family(ip.is_ipv4()) } else { own() }, addr.port())
            }
        };
        if addrs.is_empty() { Err(io::ErrorKind::AddrNotAvailable.into()) } else { Ok((addrs, port)) }
    }
}

impl TransportFactory for Host {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let (addrs, asked) = self.resolve(options.addr)?;
        let endpoints = &mut self.network.state().endpoints;
        let port = if asked == 0 { endpoints.free_port(self.addrs[0], &addrs)? } else { asked };
        if !endpoints.is_free(&addrs, port) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let endpoint = Endpoint::new(options.receive_buffer.unwrap_or(DEFAULT_BUFFER));
        let index = endpoints.open(endpoint, &addrs, port);
        let local_addr = match (options.addr, addrs.as_slice()) {
            (BindAddr::Any(_), _) => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port),
            (BindAddr::Addr(addr), _) => SocketAddr::new(addr.ip().to_canonical(), port),
        };
        Ok(Box::new(HostTransport::new(self.network.clone(), index, addrs, local_addr)))
    }

    fn clock(&self) -> Clock {
        self.network.clock()
    }
}
