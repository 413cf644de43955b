//! What the standard library and `socket2` lack, one file a family of systems. This is the only place with `unsafe`.
//!
//! Every system supplies, by the same names:
//!
//! - `prepare(&Socket)`: options a fresh socket needs before it is bound;
//! - `adopt(&UdpSocket)`: the same for a socket somebody else has bound, best effort;
//! - `receive(&UdpSocket, &mut ReceiveBatch)`: fills a batch;
//! - `wait(&UdpSocket, Option<&Interrupt>, Option<Duration>)`: blocks until there is something to read;
//! - `set_multicast_interface_v4(&UdpSocket, index)`: `IP_MULTICAST_IF` by interface index;
//! - `interface_index(name)`;
//! - `is_truncation`, `is_dead_socket`, `is_firewall`, `is_too_large`, `is_family_missing`: what error numbers mean.

#[cfg_attr(not(windows), path = "sys/unix.rs")]
#[cfg_attr(windows, path = "sys/windows.rs")]
#[allow(unsafe_code)]
mod imp;
mod portable;

pub(super) use imp::*;
pub(super) use portable::receive;
