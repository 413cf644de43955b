//! Members of multicast groups on this host, by the loopback interface. Between hosts: `tests/netns.rs`.

mod util;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use packetpeer::error::{BindError, OptionError};
use packetpeer::sim::Network;
use packetpeer::socket::Interface;
use packetpeer::{PacketPeerUdp, PeerState, UdpServer};
use util::{MOMENT, eventually};

/// A place where members meet. Each test has groups of its own: tests run at once.
#[derive(Debug, Clone, Copy)]
struct Place {
    groups: [IpAddr; 2],
    any: IpAddr,
    interface: Interface,
}

impl Place {
    fn v4(test: u8) -> Self {
        Self {
            groups: [[239, 255, 78, test].into(), [239, 255, 79, test].into()],
            any: Ipv4Addr::UNSPECIFIED.into(),
            interface: Interface::Addr(Ipv4Addr::LOCALHOST),
        }
    }

    /// `None` where the loopback interface has no way to IPv6 groups: as a rule on Linux, but for a network namespace
    /// where somebody has added one (`ip -6 route add local ff00::/8 dev lo table local`).
    fn v6(test: u8) -> Option<Self> {
        let names = ["lo", "lo0"];
        let named = names.iter().find_map(|name| Interface::by_name(name).ok());
        let group = |scope: u16| Ipv6Addr::new(0xff00 | scope, 0, 0, 0, 0, 0, 0x7878, test.into());
        // Interface-local and link-local (RFC 4291, 2.7), as transient addresses.
        let place = Self {
            groups: [group(0x11).into(), group(0x12).into()],
            any: Ipv6Addr::UNSPECIFIED.into(),
            interface: named.unwrap_or(Interface::Index(1)),
        };
        place.has_a_way().then_some(place)
    }

    /// IPv4, and IPv6 where there is a way.
    fn each(test: u8) -> impl Iterator<Item = Self> {
        let v6 = Self::v6(test);
        if v6.is_none() {
            eprintln!("not tested: no way to IPv6 groups by the loopback interface");
        }
        [Some(Self::v4(test)), v6].into_iter().flatten()
    }

    fn has_a_way(self) -> bool {
        let mut sender = PacketPeerUdp::new();
        sender.bind(self.any).is_ok()
            && sender.set_multicast_interface(self.interface).is_ok()
            && sender.set_dest_address((self.groups[0], 9)).is_ok()
            && sender.put_packet(b"anybody?").is_ok()
    }

    /// Of a port that is the first member's choice (0) or known.
    fn member(self, port: u16, groups: &[IpAddr]) -> PacketPeerUdp {
        let mut member = PacketPeerUdp::new();
        member.bind_shared((self.any, port)).unwrap();
        for &group in groups {
            member.join_multicast_group(group, self.interface).unwrap();
        }
        member
    }

    fn sender(self, group: IpAddr, port: u16) -> PacketPeerUdp {
        let mut sender = PacketPeerUdp::new();
        sender.bind(self.any).unwrap();
        sender.set_multicast_interface(self.interface).unwrap();
        sender.set_dest_address((group, port)).unwrap();
        sender
    }
}

/// Linux delivers a group's datagrams to all who are bound to every address, unless it is told otherwise
/// (`IP_MULTICAST_ALL`); Wine on Linux is not told. Says so where that is.
fn members_hear_the_hosts_other_groups() -> bool {
    if util::is_wine() {
        eprintln!("skipped: under Wine a member hears the groups of the host's other sockets too");
    }
    util::is_wine()
}

fn port(peer: &PacketPeerUdp) -> u16 {
    peer.local_addr().unwrap().port()
}

/// Everything up to `last`, which has been sent last.
#[track_caller]
fn heard_until(member: &mut PacketPeerUdp, last: &str) -> Vec<String> {
    let mut heard = Vec::new();
    eventually(last, || {
        member.wait(Some(MOMENT)).unwrap();
        member.poll().unwrap();
        while let Some(packet) = member.get_packet().unwrap() {
            heard.push(String::from_utf8(packet.to_vec()).unwrap());
        }
        (heard.last().map(String::as_str) == Some(last)).then_some(())
    });
    heard
}

#[test]
fn each_member_on_one_host_gets_a_copy() {
    for place in Place::each(1) {
        let group = place.groups[0];
        let first = place.member(0, &[group]);
        let port = port(&first);
        let mut members = vec![first, place.member(port, &[group]), place.member(port, &[group])];
        let mut sender = place.sender(group, port);
        for text in ["one", "two", "three"] {
            sender.put_packet(text.as_bytes()).unwrap();
        }
        for member in &mut members {
            assert_eq!(heard_until(member, "three"), ["one", "two", "three"], "{place:?}");
            assert_eq!(member.packet_addr().unwrap().port(), sender.local_addr().unwrap().port());
        }
    }
}

#[test]
fn one_that_leaves_hears_no_more_and_the_others_do() {
    if members_hear_the_hosts_other_groups() {
        return;
    }
    for place in Place::each(2) {
        let [group, other] = place.groups;
        let mut stays = place.member(0, &[group, other]);
        let port = port(&stays);
        let mut leaves = place.member(port, &[group, other]);
        let (mut to_group, mut to_other) = (place.sender(group, port), place.sender(other, port));

        to_group.put_packet(b"before").unwrap();
        leaves.leave_multicast_group(group, place.interface).unwrap();
        to_group.put_packet(b"after").unwrap();
        assert_eq!(heard_until(&mut stays, "after"), ["before", "after"]);
        to_other.put_packet(b"last").unwrap();
        assert_eq!(heard_until(&mut leaves, "last"), ["before", "last"], "{place:?}");

        leaves.join_multicast_group(group, place.interface).unwrap();
        to_group.put_packet(b"again").unwrap();
        assert_eq!(heard_until(&mut leaves, "again"), ["again"]);
    }
}

#[test]
fn a_member_hears_the_groups_it_has_joined_and_no_others() {
    if members_hear_the_hosts_other_groups() {
        return;
    }
    for place in Place::each(3) {
        let [group, other] = place.groups;
        let mut of_group = place.member(0, &[group]);
        let port = port(&of_group);
        let mut of_other = place.member(port, &[other]);
        let mut of_both = place.member(port, &[group, other]);
        let (mut to_group, mut to_other) = (place.sender(group, port), place.sender(other, port));

        to_group.put_packet(b"to group 1").unwrap();
        to_other.put_packet(b"to group 2").unwrap();
        to_group.put_packet(b"last of 1").unwrap();
        to_other.put_packet(b"last of 2").unwrap();
        assert_eq!(heard_until(&mut of_group, "last of 1"), ["to group 1", "last of 1"], "{place:?}");
        assert_eq!(heard_until(&mut of_other, "last of 2"), ["to group 2", "last of 2"], "{place:?}");
        assert_eq!(heard_until(&mut of_both, "last of 2"), ["to group 1", "to group 2", "last of 1", "last of 2"]);
    }
}

/// Windows and macOS do not let a socket of both IP versions join IPv4 groups.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn a_member_on_both_ip_versions_hears_the_groups_it_has_joined_and_no_others() {
    let place = Place::v4(4);
    let [group, other] = place.groups;
    let mut member = PacketPeerUdp::new();
    member.bind_shared(0).unwrap();
    member.join_multicast_group(group, place.interface).unwrap();
    let port = port(&member);
    let _of_other = place.member(port, &[other]);
    place.sender(other, port).put_packet(b"to the other").unwrap();
    place.sender(group, port).put_packet(b"last").unwrap();
    assert_eq!(heard_until(&mut member, "last"), ["last"]);
}

#[test]
fn a_socket_of_the_standard_library_that_joins_hears_no_other_groups() {
    if members_hear_the_hosts_other_groups() {
        return;
    }
    let place = Place::v4(5);
    let [group, other] = place.groups;
    let mut member = PacketPeerUdp::from_std(UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
    let port = port(&member);
    member.join_multicast_group(group, place.interface).unwrap();
    let mut elsewhere = PacketPeerUdp::new();
    elsewhere.bind("0.0.0.0:0").unwrap();
    elsewhere.join_multicast_group(other, place.interface).unwrap();
    place.sender(other, port).put_packet(b"to the other").unwrap();
    place.sender(group, port).put_packet(b"last").unwrap();
    assert_eq!(heard_until(&mut member, "last"), ["last"]);
}

#[test]
fn what_is_sent_to_a_shared_port_itself_reaches_one_of_those_who_share() {
    let place = Place::v4(6);
    let mut members = vec![place.member(0, &place.groups)];
    let port = port(&members[0]);
    members.push(place.member(port, &place.groups));
    let mut sender = PacketPeerUdp::new();
    sender.bind("127.0.0.1:0").unwrap();
    sender.set_dest_address((Ipv4Addr::LOCALHOST, port)).unwrap();
    for _ in 0..10 {
        sender.put_packet(b"to one").unwrap();
    }
    // To all: so that each has something to wait for.
    place.sender(place.groups[0], port).put_packet(b"last").unwrap();
    let heard: usize = members.iter_mut().map(|member| heard_until(member, "last").len() - 1).sum();
    assert_eq!(heard, 10);
}

#[test]
fn a_port_is_shared_only_among_those_who_ask() {
    let refused = |result: Result<(), BindError>| {
        // Windows calls it a permission where the other socket is an exclusive one.
        assert!(matches!(result, Err(BindError::AddressInUse(_) | BindError::PermissionDenied(_))), "{result:?}");
    };
    let mut shared = PacketPeerUdp::new();
    shared.bind_shared("127.0.0.1:0").unwrap();
    let address = shared.local_addr().unwrap();
    refused(PacketPeerUdp::new().bind(address));
    refused(UdpServer::new().listen(address));

    let mut alone = PacketPeerUdp::new();
    alone.bind("127.0.0.1:0").unwrap();
    refused(PacketPeerUdp::new().bind_shared(alone.local_addr().unwrap()));
}

#[test]
fn sharing_ends_with_the_socket() {
    let mut peer = PacketPeerUdp::new();
    peer.bind_shared("127.0.0.1:0").unwrap();
    assert!(matches!(peer.bind_shared("127.0.0.1:0"), Err(BindError::AlreadyOpen)));
    peer.close();
    peer.bind("127.0.0.1:0").unwrap();
    let address = peer.local_addr().unwrap();
    assert!(PacketPeerUdp::new().bind_shared(address).is_err());
}

#[test]
fn a_servers_peer_has_no_port_to_share() {
    let mut server = UdpServer::new();
    server.listen("127.0.0.1:0").unwrap();
    let (_client, mut peer) = util::pair_of(&mut server);
    assert!(matches!(peer.bind_shared(0), Err(BindError::ServersPeer)));
    assert_eq!(peer.state(), PeerState::Open);
}

#[test]
fn the_in_memory_network_shares_no_port() {
    let host = Network::new().host([10, 0, 0, 1]);
    let address = SocketAddr::from(([10, 0, 0, 1], 7777));
    let mut first = PacketPeerUdp::with_transport(host.clone());
    first.bind_shared(address).unwrap();
    let mut second = PacketPeerUdp::with_transport(host);
    assert!(matches!(second.bind_shared(address), Err(BindError::AddressInUse(_))));
}

#[test]
fn an_interface_can_be_named_in_each_way() {
    let place = Place::v4(7);
    let group = place.groups[0];
    let mut ways = vec![place.interface];
    if util::is_wine() {
        eprintln!("not tested: Wine takes an interface's index for an address");
    } else {
        ways.push(Interface::Index(1));
    }
    ways.extend(Interface::by_name("lo").or_else(|_| Interface::by_name("lo0")).ok());
    for interface in ways {
        let place = Place { interface, ..place };
        let mut member = place.member(0, &[group]);
        place.sender(group, port(&member)).put_packet(b"heard").unwrap();
        assert_eq!(heard_until(&mut member, "heard"), ["heard"], "{interface}");
        member.leave_multicast_group(group, interface).unwrap();
        assert!(matches!(member.leave_multicast_group(group, interface), Err(OptionError::Io(_))), "left already");
    }
}

#[test]
fn an_interface_that_makes_no_sense_is_an_error_and_the_peer_goes_on() {
    let nowhere = Interface::Index(0x00ff_fffe);
    let group = IpAddr::from([239, 255, 78, 8]);
    let mut v4 = PacketPeerUdp::new();
    v4.bind_shared("0.0.0.0:0").unwrap();
    assert!(matches!(v4.join_multicast_group(group, nowhere), Err(OptionError::Io(_))));
    assert!(matches!(v4.set_multicast_interface(nowhere), Err(OptionError::Io(_))));
    assert_eq!(v4.state(), PeerState::Open);

    let mut v6 = PacketPeerUdp::new();
    if v6.bind_shared("[::]:0").is_err() {
        eprintln!("not tested: no IPv6 here");
        return;
    }
    let by_v4_address = Interface::Addr(Ipv4Addr::LOCALHOST);
    let group = IpAddr::from(Ipv6Addr::new(0xff15, 0, 0, 0, 0, 0, 0x7878, 8));
    assert!(matches!(v6.join_multicast_group(group, by_v4_address), Err(OptionError::Io(_))));
    assert!(matches!(v6.join_multicast_group(group, nowhere), Err(OptionError::Io(_))));
    assert!(matches!(v6.set_multicast_interface(by_v4_address), Err(OptionError::Io(_))));
    assert_eq!(v6.state(), PeerState::Open);
}

#[test]
fn hops_and_loop_reach_the_system() {
    for any in ["0.0.0.0:0", "[::]:0", "*:0"] {
        let mut peer = PacketPeerUdp::new();
        if peer.bind(any).is_err() {
            eprintln!("not tested: no IPv6 here");
            continue;
        }
        let v6 = peer.local_addr().unwrap().is_ipv6();
        let options = |peer: &PacketPeerUdp| {
            let socket = peer.socket().unwrap();
            let socket = socket2::SockRef::from(&socket);
            if v6 {
                (socket.multicast_hops_v6().unwrap(), socket.multicast_loop_v6().unwrap())
            } else {
                (socket.multicast_ttl_v4().unwrap(), socket.multicast_loop_v4().unwrap())
            }
        };
        assert_eq!(options(&peer), (1, true), "{any}, as the system has it");
        peer.set_multicast_ttl(9).unwrap();
        peer.set_multicast_loop(false).unwrap();
        assert_eq!(options(&peer), (9, false), "{any}");
        peer.set_multicast_ttl(0).unwrap();
        peer.set_multicast_loop(true).unwrap();
        assert_eq!(options(&peer), (0, true), "{any}");
        if any.starts_with('*') && cfg!(target_os = "linux") {
            let socket = peer.socket().unwrap();
            assert_eq!(socket2::SockRef::from(&socket).multicast_ttl_v4().unwrap(), 0, "for both IP versions");
        }
    }
}
