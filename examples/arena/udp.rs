//! What of the arena is UDP's own: the server's limits, the bots' sockets, and what only datagrams can be asked.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};

use packetpeer::limits::IpPrefix;
use packetpeer::sim::{Conditioned, LinkStats};
use packetpeer::socket::SystemSockets;
use packetpeer::{Limits, PacketPeerUdp, ServerConfig, SocketOptions, UdpServer};

use super::bots::{AnyError, BotsTally};
use super::report::{Check, Links};
use super::rules::{Arena, IDLE_TIMEOUT, WELCOMED_PER_FRAME};
use super::wire;

/// Where bots get their sockets: behind the link of `--link`, which by default is perfect.
pub(crate) type Sockets = Conditioned<SystemSockets>;

pub(crate) fn listen(players: u16) -> Result<UdpServer, Box<dyn Error>> {
    let limits = Limits::new()
        .max_pending_connections(WELCOMED_PER_FRAME)
        // One that vanished and came back is there twice until the idle timeout.
        .max_peers(2 * usize::from(players))
        // All bots share one address, as players behind a proxy do.
        .exempt_from_per_ip(vec![IpPrefix::new(Ipv4Addr::LOCALHOST.into(), 32)])
        .idle_timeout(Some(IDLE_TIMEOUT));
    // Whatever is longer comes from no client of this game.
    let socket = SocketOptions::new().max_packet_size(wire::MAX_CLIENT_MESSAGE);
    let mut server = UdpServer::with_config(ServerConfig::new().limits(limits).socket(socket))?;
    server.listen("127.0.0.1:0")?;
    Ok(server)
}

pub(crate) fn connect(server: SocketAddr, sockets: &Sockets) -> Result<PacketPeerUdp, AnyError> {
    let mut peer = PacketPeerUdp::with_transport(sockets.clone());
    peer.connect_to_host(server)?;
    Ok(peer)
}

/// Compares what both sides put and took with the datagrams that the server and the links have counted.
pub(crate) fn checks(arena: &Arena<UdpServer>, bots: &BotsTally, links: &Links) -> Vec<Check> {
    let (server, stats) = (arena.tally(), arena.server().stats());
    let connections = stats.connections;
    let Links { to_server, to_bots } = links;
    let came_through = to_server.passed + to_server.duplicated - to_server.undelivered;
    // Where the system does not tell what it dropped, some may be missing.
    let all_received = match stats.kernel_drops {
        Some(kernel_drops) => stats.received + kernel_drops == came_through,
        None => stats.received <= came_through,
    };
    vec![
        ("the server received what came through the link", Some(all_received)),
        ("the bots sent through the link", Some(to_server.offered == bots.sent)),
        (
            "the link brought the bots no more than was sent, and they read no more than it let pass",
            Some(
                to_bots.offered <= stats.sent
                    && bots.world_states + bots.out_of_order <= to_bots.passed + to_bots.duplicated,
            ),
        ),
        ("every datagram of the links is accounted for", Some([to_server, to_bots].into_iter().all(balances))),
        ("nobody's socket told of an end", Some(bots.cut_off == 0)),
        ("there was room for every datagram", Some(bots.held_back + server.held_back == 0)),
        ("sent = put by the game", Some(stats.sent == server.world_states)),
        ("not sent = what the game could not put", Some(stats.send_drops.total() == server.put_failures)),
        ("those that ended without a goodbye were idle", Some(server.ended == connections.idle)),
        (
            "taken = peers + closed + idle",
            Some(connections.taken == arena.server().peer_count() as u64 + connections.closed + connections.idle),
        ),
    ]
}

fn balances(link: &LinkStats) -> bool {
    link.offered == link.passed + link.lost + link.blacked_out + link.too_large + link.queue_full
}
