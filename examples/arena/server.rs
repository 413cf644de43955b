//! The server's side: one frame is poll, welcome, read, move, send.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use packetpeer::error::PollError;
use packetpeer::limits::IpPrefix;
use packetpeer::stats::ServerStats;
use packetpeer::{Limits, PacketPeerUdp, ServerConfig, SocketOptions, UdpServer};

use crate::wire::{self, ClientMessage, Input, PLANE, PlayerState, Request, WorldState};

/// A player from whom nothing has come for so long is gone. Short, so that ten seconds show it; a game would say 10 s.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Players that may arrive within one frame. More are dropped, and ask again: a client's join is not lost by that, only
/// late, and nobody can make the server work without end.
const WELCOMED_PER_FRAME: usize = 32;

/// Centimetres a second.
const FULL_SPEED: f32 = 2_000.0;

/// The game, and the server that its players come through.
pub(crate) struct Arena {
    server: UdpServer,
    players: Vec<Player>,
    tick: u32,
    /// Seconds between two frames.
    step: f32,
    tally: ServerTally,
    // Kept from frame to frame for their memory.
    world: Vec<PlayerState>,
    packet: Vec<u8>,
}

/// What the game counts itself; what became of datagrams and connections, the crate has counted.
#[derive(Default)]
pub(crate) struct ServerTally {
    pub(crate) welcomed: u64,
    /// Connections that did not begin with a join: of players that had been ended as idle and did not know it yet.
    pub(crate) turned_away: u64,
    pub(crate) goodbyes: u64,
    pub(crate) ended: u64,
    pub(crate) inputs: u64,
    pub(crate) world_states: u64,
    pub(crate) malformed: u64,
    /// Messages with the nonce of another than the one they came from.
    pub(crate) crossed: u64,
}

/// What is worth knowing of one frame.
pub(crate) struct Frame {
    pub(crate) poll_time: Duration,
    /// Connections that the poll left waiting to be taken.
    pub(crate) pending: usize,
}

impl Arena {
    pub(crate) fn open(players: u16, hz: u32) -> Result<Self, Box<dyn Error>> {
        let limits = Limits::new()
            .max_pending_connections(WELCOMED_PER_FRAME)
            // One who vanished and came back is there twice until the idle timeout.
            .max_peers(2 * usize::from(players))
            // All bots share one address, as players behind a proxy do.
            .exempt_from_per_ip(vec![IpPrefix::new(Ipv4Addr::LOCALHOST.into(), 32)])
            .idle_timeout(Some(IDLE_TIMEOUT));
        // Whatever is longer comes from no client of this game.
        let socket = SocketOptions::new().max_packet_size(wire::MAX_CLIENT_MESSAGE);
        let mut server = UdpServer::with_config(ServerConfig::new().limits(limits).socket(socket))?;
        server.listen("127.0.0.1:0")?;
        Ok(Self {
            server,
            players: Vec::new(),
            tick: 0,
            step: 1.0 / hz as f32,
            tally: ServerTally::default(),
            world: Vec::new(),
            packet: Vec::new(),
        })
    }

    /// One frame of the game.
    pub(crate) fn frame(&mut self) -> Result<Frame, PollError> {
        let before = Instant::now();
        self.server.poll()?;
        let frame = Frame { poll_time: before.elapsed(), pending: self.server.pending_count() };

        self.welcome_players();
        self.read_players();
        self.move_players();
        self.send_world_states();
        Ok(frame)
    }

    /// Takes everybody who is pending: those who wait for the next frame keep others out.
    fn welcome_players(&mut self) {
        while let Some(mut peer) = self.server.take_connection() {
            // What made the connection waits in it already.
            let Ok(Some(packet)) = peer.get_packet() else { continue };
            match ClientMessage::decode(&packet) {
                Some(ClientMessage { nonce, request: Request::Join }) => {
                    self.players.push(Player::new(peer, nonce));
                    self.tally.welcomed += 1;
                }
                // The handle is dropped here, which ends the connection.
                Some(_) => self.tally.turned_away += 1,
                None => self.tally.malformed += 1,
            }
        }
    }

    /// Reads all players, and lets go of those who have left. This asks each of them, since each is sent something in
    /// every frame anyway; a server of many silent peers would ask `UdpServer::ready` who has sent something.
    fn read_players(&mut self) {
        let tally = &mut self.tally;
        self.players.retain_mut(|player| player.read(tally));
    }

    fn move_players(&mut self) {
        self.tick += 1;
        for player in &mut self.players {
            player.step(self.step);
        }
    }

    /// Tells each player about itself and as many others as fit. Who does not fit stays left out until somebody leaves;
    /// a larger game would choose the nearest.
    fn send_world_states(&mut self) {
        self.world.clear();
        self.world.extend(self.players.iter().map(Player::state));
        for (own, player) in self.players.iter_mut().enumerate() {
            let own_first = self.world[own..].iter().chain(&self.world[..own]).copied();
            let state = WorldState { nonce: player.nonce, tick: self.tick, last_input: player.last_input };
            state.encode(own_first, &mut self.packet);
            // What cannot be sent is lost, and counted by the crate; the next frame sends a newer one.
            let _ = player.peer.put_packet(&self.packet);
            self.tally.world_states += 1;
        }
    }

    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.server.local_addr()
    }

    /// Players in the game.
    pub(crate) fn player_count(&self) -> usize {
        self.players.len()
    }

    /// Peers of the server: the players, and who has left in this frame.
    pub(crate) fn peer_count(&self) -> usize {
        self.server.peer_count()
    }

    pub(crate) fn tally(&self) -> &ServerTally {
        &self.tally
    }

    pub(crate) fn stats(&self) -> ServerStats {
        self.server.stats()
    }
}

/// A player as the server knows it. The handle is the connection: to drop the player is to end it.
struct Player {
    peer: PacketPeerUdp,
    nonce: u32,
    last_input: u32,
    heading: [i8; 2],
    /// Centimetres from the plane's corner.
    position: [f32; 2],
}

impl Player {
    /// Starts in the middle of the plane.
    fn new(peer: PacketPeerUdp, nonce: u32) -> Self {
        Self { peer, nonce, last_input: 0, heading: [0; 2], position: [f32::from(PLANE) / 2.0; 2] }
    }

    /// Takes what the player has sent since the last frame. Returns whether it stays.
    fn read(&mut self, tally: &mut ServerTally) -> bool {
        loop {
            let packet = match self.peer.get_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return true,
                // Nothing more will come from this one: the idle timeout has ended it.
                Err(_) => {
                    tally.ended += 1;
                    return false;
                }
            };
            match ClientMessage::decode(&packet) {
                None => tally.malformed += 1,
                Some(message) if message.nonce != self.nonce => tally.crossed += 1,
                // Asked again before the first world state reached it.
                Some(ClientMessage { request: Request::Join, .. }) => {}
                Some(ClientMessage { request: Request::Input(input), .. }) => {
                    tally.inputs += 1;
                    self.apply(input);
                }
                Some(ClientMessage { request: Request::Goodbye, .. }) => {
                    tally.goodbyes += 1;
                    return false;
                }
            }
        }
    }

    /// The newest input holds, whatever comes after it on a slower way.
    fn apply(&mut self, input: Input) {
        if input.number > self.last_input {
            self.last_input = input.number;
            self.heading = input.heading;
        }
    }

    fn step(&mut self, seconds: f32) {
        for (position, heading) in self.position.iter_mut().zip(self.heading) {
            let speed = f32::from(heading) / 127.0 * FULL_SPEED;
            *position = (*position + speed * seconds).clamp(0.0, f32::from(PLANE));
        }
    }

    fn state(&self) -> PlayerState {
        let [x, y] = self.position.map(|centimetres| centimetres as u16);
        // `max_peers` keeps the index small.
        PlayerState { id: self.peer.id().index() as u16, x, y }
    }
}
