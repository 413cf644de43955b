//! A server that sends back what comes, and remembers who is in by the session that each datagram names.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use packetpeer::error::PollError;
use packetpeer::identity::{ConnectionId, ConnectionIds, Identity};
use packetpeer::limits::AfterClose;
use packetpeer::{Limits, PacketPeerUdp, Peers, ServerConfig, UdpServer};

use crate::IDLE;
use crate::crowd::{GOODBYE, HEADER};

/// Longer than anything that was sent before a goodbye is under way.
const REFUSED: Duration = Duration::from_secs(2);

pub(crate) struct Hall {
    pub(crate) name: &'static str,
    pub(crate) server: UdpServer,
    players: Peers<UdpServer, Player>,
    /// Datagrams that were put, whether they were sent or not.
    pub(crate) puts: u64,
    /// Datagrams that are none of the crowd's.
    pub(crate) malformed: u64,
}

#[derive(Default)]
struct Player {
    /// `None` until the first datagram has been read.
    session: Option<u64>,
}

impl Hall {
    pub(crate) fn by_address(clients: usize) -> Result<Self, Box<dyn Error>> {
        Self::open("by address", clients, Identity::Address)
    }

    pub(crate) fn by_id(clients: usize) -> Result<Self, Box<dyn Error>> {
        let ids = ConnectionIds::new(|datagram| session_of(datagram).map(ConnectionId));
        Self::open("by id", clients, Identity::ConnectionId(ids))
    }

    fn open(name: &'static str, clients: usize, identity: Identity) -> Result<Self, Box<dyn Error>> {
        // All come from one address, and those who have vanished are there for a while beside those who came instead.
        let limits = Limits::new()
            .max_pending_connections(clients)
            .max_pending_per_ip(clients)
            .max_peers(4 * clients)
            .idle_timeout(Some(IDLE))
            .after_close(AfterClose::Refuse(REFUSED));
        let mut server = UdpServer::with_config(ServerConfig::new().limits(limits).identity(identity))?;
        server.listen("127.0.0.1:0")?;
        Ok(Self { name, server, players: Peers::new(), puts: 0, malformed: 0 })
    }

    pub(crate) fn addr(&self) -> Result<SocketAddr, Box<dyn Error>> {
        Ok(self.server.local_addr().ok_or("not listening")?)
    }

    /// A frame of each. An error of a poll ends everything.
    pub(crate) fn frames(halls: &mut [Self]) -> Result<(), PollError> {
        halls.iter_mut().try_for_each(Self::frame)
    }

    fn frame(&mut self) -> Result<(), PollError> {
        self.server.poll()?;
        self.players.update(&mut self.server, |_, _| Some(Player::default()), |_, _, _, _| {});
        while let Some((id, peer, player)) = self.players.next_ready() {
            if !player.echo(peer, &mut self.puts, &mut self.malformed) {
                // The handle goes, and with it the peer.
                drop(self.players.remove(id));
            }
        }
        Ok(())
    }

    /// Who is in.
    pub(crate) fn sessions(&self) -> BTreeSet<u64> {
        self.players.iter().filter_map(|(_, _, player)| player.session).collect()
    }

    /// Whether nothing and nobody is remembered, on either side of the handles.
    pub(crate) fn is_empty(&self) -> bool {
        let (sizes, stats) = (self.server.table_sizes(), self.server.stats());
        let known = sizes.peers + sizes.pending + sizes.refused + sizes.moved + self.players.len();
        known == 0 && stats.queued + stats.queued_bytes + stats.send_queued == 0
    }
}

impl Player {
    /// Sends back what has come. Whether the player stays.
    fn echo(&mut self, peer: &mut PacketPeerUdp, puts: &mut u64, malformed: &mut u64) -> bool {
        while let Ok(Some(packet)) = peer.get_packet() {
            let Some(session) = session_of(&packet).filter(|_| packet.len() >= HEADER) else {
                *malformed += 1;
                continue;
            };
            // By address, who comes back at once from the same port is the same peer in a new session.
            self.session = Some(session);
            if packet[8] == GOODBYE {
                return false;
            }
            *puts += 1;
            // What is not sent is in the counters.
            let _ = peer.put_packet(&packet);
        }
        true
    }
}

/// Each datagram begins with the session that it belongs to; of those known by id, it is the id.
fn session_of(datagram: &[u8]) -> Option<u64> {
    datagram.first_chunk().map(|session| u64::from_be_bytes(*session))
}
