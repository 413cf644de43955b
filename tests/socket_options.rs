//! What `SocketOptions` ask of the system, and what it answers.

use packetpeer::error::BindError;
use packetpeer::{Limits, ServerConfig, SocketOptions, UdpServer};

fn server(options: SocketOptions) -> UdpServer {
    UdpServer::with_config(ServerConfig::new().socket(options)).unwrap()
}

/// Every option with a value that makes no sense, and its name.
fn senseless_options() -> Vec<(&'static str, SocketOptions)> {
    let options = SocketOptions::new;
    vec![
        ("receive_buffer", options().receive_buffer(Some(0))),
        ("send_buffer", options().send_buffer(Some(0))),
        ("max_packet_size", options().max_packet_size(0)),
        ("max_packet_size", options().max_packet_size(65_528)),
        ("traffic_class", options().traffic_class(Some(64))),
        ("device", options().device(Some(String::new()))),
    ]
}

#[test]
fn a_value_that_makes_no_sense_is_an_error_that_names_it() {
    for (name, options) in senseless_options() {
        let error = UdpServer::with_config(ServerConfig::new().socket(options)).unwrap_err();
        assert_eq!(error.name(), name);
        assert!(error.to_string().starts_with(&format!("{name} has to be ")), "{error}");
    }
}

#[test]
fn options_that_make_no_sense_are_refused_where_they_are_set_and_change_nothing() {
    let mut server = server(SocketOptions::new().max_packet_size(8));
    for (name, options) in senseless_options() {
        assert_eq!(server.set_socket_options(options).unwrap_err().name(), name);
        assert_eq!(*server.socket_options(), SocketOptions::new().max_packet_size(8));
    }
}

#[test]
fn options_set_while_listening_hold_from_the_next_listen_on() {
    let network = packetpeer::sim::Network::new();
    let config = ServerConfig::new().socket(SocketOptions::new().max_packet_size(8));
    let mut server = UdpServer::with_transport(config, network.host([10, 0, 0, 1])).unwrap();
    server.listen(7777).unwrap();
    server.set_socket_options(SocketOptions::new().max_packet_size(4)).unwrap();
    assert_eq!(server.socket_options().max_packet_size, 4);

    let mut client = packetpeer::PacketPeerUdp::with_transport(network.host([10, 0, 0, 2]));
    client.connect_to_host("10.0.0.1:7777").unwrap();
    let mut too_large_of_an_8 = || {
        client.put_packet(&[1; 8]).unwrap();
        server.poll().unwrap();
        let too_large = server.stats().drops.too_large;
        server.stop();
        server.listen(7777).unwrap();
        too_large
    };
    assert_eq!(too_large_of_an_8(), 0, "those of the listen before hold");
    assert_eq!(too_large_of_an_8(), 1);

    server.set_socket_options(SocketOptions::new()).unwrap();
    assert!(matches!(server.listen(7777), Err(BindError::AlreadyOpen)));
    client.put_packet(&[1; 8]).unwrap();
    server.poll().unwrap();
    assert_eq!(server.stats().drops.too_large, 2, "a listen that failed changes nothing");
}

#[test]
fn limits_that_make_no_sense_change_nothing() {
    use std::time::Duration;
    let mut server = UdpServer::new();
    let before = server.limits().clone();
    let none = Duration::ZERO;
    for (name, limits) in [
        ("pending_lifetime", Limits::new().pending_lifetime(Some(none))),
        ("idle_timeout", Limits::new().idle_timeout(Some(none))),
        ("after_close", Limits::new().after_close(packetpeer::limits::AfterClose::Refuse(none))),
        (
            "max_refused_addresses",
            Limits::new()
                .after_close(packetpeer::limits::AfterClose::Refuse(Duration::from_secs(1)))
                .max_refused_addresses(0),
        ),
        ("max_known_per_poll", Limits::new().max_known_per_poll(0)),
        ("max_unknown_per_poll", Limits::new().max_unknown_per_poll(0)),
        ("quota_per_poll", Limits::new().quota_per_poll(Some(0))),
    ] {
        assert_eq!(server.set_limits(limits.clone()).unwrap_err().name(), name);
        assert_eq!(*server.limits(), before);
        assert_eq!(UdpServer::with_config(ServerConfig::new().limits(limits)).unwrap_err().name(), name);
    }
}

#[test]
fn the_buffer_granted_can_be_read() {
    let mut asking = server(SocketOptions::new().receive_buffer(Some(64 << 10)));
    asking.listen("127.0.0.1:0").unwrap();
    let granted = asking.receive_buffer_size().expect("real sockets tell");
    assert!((64 << 10..=128 << 10).contains(&granted), "asked for 64 KiB and got {granted}");

    // More than any system gives: less is granted, and that is no error.
    let all = Some(usize::MAX);
    let mut greedy = server(SocketOptions::new().receive_buffer(all).send_buffer(all));
    greedy.listen("127.0.0.1:0").unwrap();
    let most = greedy.receive_buffer_size().expect("real sockets tell");
    assert!(most >= granted, "asked for all there is and got {most}, for 64 KiB {granted}");
}

/// What is asked of the system here, or how it answers, is Linux' own.
#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use packetpeer::PacketPeerUdp;
    use packetpeer::error::PutError;
    use std::io;
    use std::net::{Ipv4Addr, SocketAddr};
    use std::time::{Duration, Instant};

    /// Asks the server's socket.
    fn of<T>(server: &UdpServer, ask: impl FnOnce(&socket2::SockRef<'_>) -> io::Result<T>) -> T {
        ask(&socket2::SockRef::from(&server.socket().unwrap())).unwrap()
    }

    #[test]
    fn the_traffic_class_is_set_for_both_ip_versions() {
        let mut v4 = server(SocketOptions::new().traffic_class(Some(46)));
        v4.listen("127.0.0.1:0").unwrap();
        assert_eq!(of(&v4, |socket| socket.tos_v4()), 46 << 2);

        let mut dual = server(SocketOptions::new().traffic_class(Some(46)));
        dual.listen(0).unwrap();
        assert_eq!(of(&dual, |socket| socket.tos_v4()), 46 << 2);
        if dual.local_addr().unwrap().is_ipv6() {
            assert_eq!(of(&dual, |socket| socket.tclass_v6()), 46 << 2);
        }
    }

    #[test]
    fn a_device_that_does_not_exist_is_an_error_that_names_the_option() {
        let mut server = server(SocketOptions::new().device(Some("no-such-device".into())));
        match server.listen("127.0.0.1:0") {
            Err(BindError::OptionRefused { option, .. }) => assert_eq!(option, "device"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_bound_to_a_device_hears_what_comes_by_it() {
        let mut server = server(SocketOptions::new().device(Some("lo".into())));
        match server.listen("127.0.0.1:0") {
            Ok(()) => assert_eq!(of(&server, |socket| socket.device()).unwrap(), b"lo"),
            // Older kernels ask for CAP_NET_RAW.
            Err(BindError::OptionRefused { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => return,
            Err(error) => panic!("{error}"),
        }
        assert_eq!(echo_from(&mut server, Ipv4Addr::LOCALHOST).as_deref(), Some(&b"hello"[..]));
    }

    /// What a client gets back that speaks to the server by `addr`, and hears only what comes from there.
    fn echo_from(server: &mut UdpServer, addr: Ipv4Addr) -> Option<Vec<u8>> {
        let mut client = PacketPeerUdp::new();
        client.connect_to_host((addr, server.local_port().unwrap())).unwrap();
        client.put_packet(b"hello").unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut peer = loop {
            server.wait(Some(Duration::from_millis(100))).unwrap();
            server.poll().unwrap();
            match server.take_connection() {
                Some(peer) => break peer,
                None => assert!(Instant::now() < deadline, "the hello makes a connection"),
            }
        };
        let packet = peer.get_packet().unwrap().unwrap();
        peer.put_packet(&packet).unwrap();
        // Loopback delivers within the send: what is not there now never comes.
        client.poll().unwrap();
        client.get_packet().unwrap().map(packetpeer::Packet::into_vec)
    }

    #[cfg(not(packetpeer_portable))]
    #[test]
    fn answers_leave_from_the_address_spoken_to_where_asked() {
        for listen in ["0.0.0.0:0", "*:0"] {
            let mut plain = server(SocketOptions::new());
            plain.listen(listen).unwrap();
            let other = Ipv4Addr::new(127, 0, 0, 77);
            assert_eq!(echo_from(&mut plain, other), None, "by default the routing table chooses 127.0.0.1");

            let mut pinned = server(SocketOptions::new().pin_reply_address(true));
            pinned.listen(listen).unwrap();
            assert_eq!(echo_from(&mut pinned, other).as_deref(), Some(&b"hello"[..]));
        }
    }

    #[cfg(packetpeer_portable)]
    #[test]
    fn what_the_system_cannot_do_is_an_error_that_names_the_option() {
        let mut server = server(SocketOptions::new().pin_reply_address(true));
        match server.listen("127.0.0.1:0") {
            Err(BindError::OptionRefused { option, error }) => {
                assert_eq!((option, error.kind()), ("pin_reply_address", io::ErrorKind::Unsupported));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_fragments_what_is_larger_than_the_way_is_a_typed_error() {
        // Loopback carries 65 536 bytes, headers included: more than IPv4 can send, less than IPv6 can.
        let Ok(client) = std::net::UdpSocket::bind("[::1]:0") else {
            eprintln!("skipped: no IPv6 loopback here");
            return;
        };
        let mut server = server(SocketOptions::new().dont_fragment(true));
        server.listen("[::1]:0").unwrap();
        let to = client.local_addr().unwrap();
        server.send_to(to, &[0; 65_488]).unwrap();
        match server.send_to(to, &[0; 65_489]) {
            Err(PutError::ExceedsMtu { size: 65_489, limit }) => {
                let known = if cfg!(packetpeer_portable) { None } else { Some(65_488) };
                assert_eq!(limit, known);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(server.stats().send_drops.too_large, 1);
    }

    #[test]
    fn servers_that_share_a_port_share_the_clients_and_each_keeps_its_own() {
        let options = SocketOptions::new().share_port(true);
        let mut shards = [server(options.clone()), server(options)];
        shards[0].listen("127.0.0.1:0").unwrap();
        let address = shards[0].local_addr().unwrap();
        shards[1].listen(address).unwrap();

        let mut clients: Vec<_> = (0..32)
            .map(|_| {
                let mut client = PacketPeerUdp::new();
                client.connect_to_host(address).unwrap();
                client
            })
            .collect();
        let mut peers = Vec::new();
        for round in 0..5 {
            for client in &mut clients {
                client.put_packet(b"hello").unwrap();
                for (shard, server) in shards.iter_mut().enumerate() {
                    server.poll().unwrap();
                    peers.extend(server.take_connection().map(|peer| (shard, peer)));
                }
            }
            assert_eq!(peers.len(), clients.len(), "in round {round}");
        }
        let of_first = peers.iter().filter(|(shard, _)| *shard == 0).count();
        assert!((1..clients.len()).contains(&of_first), "the system spreads the clients: {of_first} of 32");
        assert!(peers.iter().all(|(_, peer)| peer.available_packet_count() == 5), "a client stays with its shard");
    }

    #[test]
    fn a_port_is_not_shared_with_who_does_not_ask() {
        let mut first = server(SocketOptions::new().share_port(true));
        first.listen("127.0.0.1:0").unwrap();
        let mut second = UdpServer::new();
        let address: SocketAddr = first.local_addr().unwrap();
        assert!(matches!(second.listen(address), Err(BindError::AddressInUse(_))));
    }

    #[cfg(not(packetpeer_portable))]
    #[test]
    fn what_the_kernel_drops_is_told_and_outlives_the_socket() {
        let mut server = server(SocketOptions::new().receive_buffer(Some(4096)));
        server.listen("127.0.0.1:0").unwrap();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..200 {
            sender.send_to(&[0; 100], server.local_addr().unwrap()).unwrap();
        }
        while server.poll().unwrap().more_waiting {}
        let stats = server.stats();
        let dropped = stats.kernel_drops.unwrap();
        assert!(dropped > 0);
        assert_eq!(stats.received + dropped, 200);
        server.stop();
        server.listen("127.0.0.1:0").unwrap();
        assert_eq!(server.stats().kernel_drops, Some(dropped));
    }
}
