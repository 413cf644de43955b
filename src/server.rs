//! [`UdpServer`]: one socket, sorted into one handle per peer.

mod as_packet_server;
mod broadcast;
mod by_id;
mod config;
mod connections;
mod dedicated;
mod intake;
mod observing;
mod outgoing;
mod own_sockets;
mod route;
mod routes;
mod sending;
mod settings;
mod udp_server;
mod waiting;

pub use config::{ServerConfig, SocketOptions};
pub use udp_server::UdpServer;
