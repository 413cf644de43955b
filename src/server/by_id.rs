use std::net::SocketAddr;

use super::udp_server::UdpServer;
use crate::demux::{ConnectionId, Moved};
use crate::error::{ConnectError, UnknownPeer};
use crate::peer::PacketPeerUdp;
use crate::peer_id::PeerId;

/// # Peers known by a connection id
///
/// For servers whose [identity](crate::identity::Identity) is a connection id.
impl UdpServer {
    /// As [`connect`](Self::connect), where the server's [identity](crate::identity::Identity) is a connection id: the
    /// peer is known by `id`. A pending connection of that id becomes the peer, and stays at the address from which it
    /// has spoken.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), but [`ConnectError::NoConnectionIds`] instead of `NeedsId`.
    pub fn connect_as(&mut self, addr: SocketAddr, id: ConnectionId) -> Result<PacketPeerUdp, ConnectError> {
        if !self.demux.goes_by_ids() {
            return Err(ConnectError::NoConnectionIds);
        }
        self.connect_by(addr, Some(id))
    }

    /// The peer of this connection id, if there is one; where the server's [identity](crate::identity::Identity) is a
    /// connection id.
    pub fn find_connection(&self, id: ConnectionId) -> Option<PeerId> {
        self.demux.find_connection(id)
    }

    /// Appends to `moved` the connections that have moved to another address since the last call, where the server's
    /// [identity](crate::identity::Identity) is a connection id. Their handles send there already, but no more than three
    /// times what came from there until it is [confirmed](Self::confirm_move). Call it after each poll: the next poll forgets
    /// what this one found.
    ///
    /// However often a connection has moved within a poll, it is listed once, with where it was first and where it is now.
    /// One that moves while pending is not listed, since the program does not know its id yet; whether it is confirmed,
    /// [`is_address_confirmed`](PacketPeerUdp::is_address_confirmed) says when it has been taken.
    pub fn take_moved(&mut self, moved: &mut Vec<Moved>) {
        self.demux.moved(moved);
    }

    /// Says that a peer receives at `addr`, to which it has moved, so that as much may be sent there as before the move
    /// (RFC 9000, 8.2 and 9.3). Returns whether that is where the peer is; if it has gone on since, nothing is confirmed.
    /// The first address of a connection counts as confirmed: admission is up to the [filter](Self::set_filter).
    ///
    /// What confirms an address is something random that was sent there, and to nowhere else, and has come back. So draw
    /// something new for each move [listed](Self::take_moved), and take no answer to an older one. The example
    /// `connection_id_server` does that.
    ///
    /// ```
    /// # use packetpeer::{PacketPeerUdp, PeerId, UdpServer};
    /// # use std::collections::HashMap;
    /// # let mut server = UdpServer::new();
    /// # server.listen("127.0.0.1:0")?;
    /// # let mut players: HashMap<PeerId, PacketPeerUdp> = HashMap::new();
    /// # let mut asked: HashMap<PeerId, [u8; 8]> = HashMap::new();
    /// # let mut moved = Vec::new();
    /// # fn random() -> [u8; 8] { [7; 8] }
    /// server.poll()?;
    /// server.take_moved(&mut moved);
    /// for moved in moved.drain(..).filter(|moved| !moved.confirmed) {
    ///     asked.insert(moved.peer, random());
    /// }
    /// for player in players.values_mut().filter(|player| player.available_packet_count() > 0) {
    ///     while let Ok(Some(packet)) = player.get_packet() {
    ///         match asked.get(&player.id()) {
    ///             Some(wanted) if &*packet == wanted => {
    ///                 server.confirm_move(player.id(), packet.sender())?;
    ///             }
    ///             // It may be lost, or its answer: ask again as long as something comes.
    ///             Some(question) if !player.is_address_confirmed() => drop(player.put_packet(question)),
    ///             _ => {} // the game
    ///         }
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`UnknownPeer`] where it has ended, or is another server's.
    pub fn confirm_move(&mut self, id: PeerId, addr: SocketAddr) -> Result<bool, UnknownPeer> {
        self.demux.confirm_move(id, addr)
    }
}
