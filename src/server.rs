//! [`UdpServer`]: one socket, sorted into one handle per peer.

mod as_packet_server;
mod broadcast;
mod config;
mod dedicated;
mod intake;
mod outgoing;
mod route;
mod routes;
mod udp_server;

pub use config::{ServerConfig, SocketOptions};
pub use udp_server::UdpServer;
