//! What the standard library and `socket2` lack, one file a family of systems. This is the only place with `unsafe`.
//!
//! Every system supplies, by the same names, in `unix` or `windows`:
//!
//! - `prepare(&Socket)`: what a fresh socket needs before it is bound;
//! - `adopt(&UdpSocket)`: the same for a socket somebody else has bound, best effort;
//! - `bind_exclusively(&Socket)`, `reuse_address(&Socket)`: whether others may bind the same port;
//! - `dissolve(&UdpSocket)`: undoes a connect;
//! - `Watched`, `watch(&socket)`, `poll(&mut [Watched], milliseconds)`: which of several sockets have something to read;
//!   from these, `poll_set` makes `wait` for one socket and `PollSet` for many, for every system;
//! - `bind_device(&Socket, name)`: one network device only;
//! - `set_dont_fragment(&Socket, v6)`, `share_port(&Socket)`;
//! - `set_traffic_class(&Socket, v6, class)`: `IP_TOS`, `IPV6_TCLASS`;
//! - `set_multicast_interface_v4(&UdpSocket, index)`: `IP_MULTICAST_IF` by interface index;
//! - `receive_joined_groups_only(&UdpSocket)`: and not those of the host's other sockets;
//! - `interface_index(name)`;
//! - `is_truncation`, `is_dead_socket`, `is_firewall`, `is_out_of_buffers`, `is_too_large`, `is_family_missing`,
//!   `is_segmentation_refused`, `is_out_of_descriptors`: what error numbers mean;
//! - `CONNECT_TELLS_BROADCAST`: whether a connect shows what is a broadcast address;
//!
//! and, in `linux` or else in `portable`:
//!
//! - `receive(&UdpSocket, pins_reply_address, &mut ReceiveBatch)`: fills a batch;
//! - `pin_reply_address(&Socket, v6)`, for each IP version, `send_from(&UdpSocket, from, bytes, to)`: answers from the address spoken to;
//! - `send_batch(&UdpSocket, &SendBatch, native)`, `can_segment(&UdpSocket)`: several datagrams a call;
//! - `path_mtu(to)`: what the path carries;
//! - `kernel_drops(&UdpSocket)`: what was lost to a full receive buffer.
//!
//! `RUSTFLAGS="--cfg packetpeer_portable"` uses `portable` on Linux too, so that the tests can be run over it.

#[cfg(all(any(target_os = "linux", target_os = "android"), not(packetpeer_portable)))]
#[allow(unsafe_code)]
mod linux;
mod poll_set;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(packetpeer_portable))))]
mod portable;
#[cfg(unix)]
#[allow(unsafe_code)]
mod unix;
#[cfg(windows)]
#[allow(unsafe_code)]
mod windows;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(packetpeer_portable)))]
pub(super) use linux::*;
pub(super) use poll_set::*;
#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(packetpeer_portable))))]
pub(super) use portable::*;
#[cfg(unix)]
pub(super) use unix::*;
#[cfg(windows)]
pub(super) use windows::*;
