//! ICMP messages that somebody forges: whoever can send them must not end a server.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use nix::sys::socket::{setsockopt, sockopt};
use packetpeer::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};

use super::hosts::{Host, at};
use super::talk::admit;
use crate::util::{MOMENT, eventually, receive, receive_at};

/// A message that says why a datagram from one to the other was not delivered (RFC 792).
fn unreachable(kind: u8, code: u8, from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend([0x45, 0, 0, 36, 0, 0, 0, 0, 64, 17, 0, 0]);
    message.extend(from.ip().octets());
    message.extend(to.ip().octets());
    message.extend(from.port().to_be_bytes());
    message.extend(to.port().to_be_bytes());
    message.extend([0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let sum: u32 = message.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

fn v4(addr: SocketAddr) -> SocketAddrV4 {
    let SocketAddr::V4(addr) = addr else { unreachable!("{addr} is of IPv4") };
    addr
}

#[test]
fn no_icmp_message_ends_a_server_or_a_client_that_has_asked_to_hear_of_them() {
    let Some(host) = Host::new() else { return };
    let forger = host.enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4))).unwrap();
    forger.set_nonblocking(true).unwrap();
    let mut server = host.serve(ServerConfig::new(), "127.0.0.1:0");
    let mut client = host.connect(server.local_addr().unwrap());
    let mut peer = admit(&mut server, &mut client);
    for socket in [server.socket().unwrap(), client.socket().unwrap()] {
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap();
    }
    let [here, there] = [server.local_addr().unwrap(), client.local_addr().unwrap()].map(v4);
    let unreachables = (0..=15).map(|code| (3, code));
    for (kind, code) in unreachables.chain([(11, 0), (12, 0)]) {
        for (from, to) in [(here, there), (there, here)] {
            let message = unreachable(kind, code, from, to);
            forger.send_to(&message, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        }
        let noise = (server.stats().noise, client.stats().noise);
        eventually(&format!("both are told of type {kind} code {code}"), || {
            let polled = server.poll().and_then(|_| client.poll());
            assert!(polled.is_ok(), "type {kind} code {code}: {polled:?}");
            (server.stats().noise > noise.0 && client.stats().noise > noise.1).then_some(())
        });
        // The error queue, which is the program's that asked for it; without that a wait would not sleep.
        for socket in [server.socket().unwrap(), client.socket().unwrap()] {
            let mut room = [MaybeUninit::uninit(); 1];
            while socket2::SockRef::from(&socket).recv_with_flags(&mut room, ERROR_QUEUE).is_ok() {}
        }
        server.poll().unwrap();
        client.poll().unwrap();
        let _ = client.put_packet(b"told of what is past");
        eventually("they go on", || {
            client.put_packet(b"still here?").ok()?;
            peer.put_packet(b"yes").ok()
        });
        assert_eq!(&*receive(&mut client), b"yes");
        while &*receive_at(&mut server, &mut peer) != b"still here?" {}
        while server.wait(Some(MOMENT)).unwrap() == packetpeer::WaitOutcome::Ready {
            server.poll().unwrap();
        }
    }
    assert_eq!((server.peer_count(), peer.remote_addr()), (1, Some(at("127.0.0.1", there.port()))));
}

/// `MSG_ERRQUEUE`.
const ERROR_QUEUE: i32 = 0x2000;
