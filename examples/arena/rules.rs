//! The server's side: one frame is poll, welcome and part, read, move, send, flush.
//!
//! Nothing here knows what the packets travel by: the game plays over any [`PacketServer`] that listens already.

use std::time::{Duration, Instant};

use packetpeer::error::PollError;
use packetpeer::{PacketPeer, PacketServer, PeerId, Peers};

use super::wire::{ClientMessage, Input, PLANE, PlayerState, Request, WorldState};

/// A player from whom nothing has come for so long is gone: the server's idle timeout has to be this. Short, so that ten
/// seconds show it; a game would say 10 s.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that may arrive within one frame: the server is to let no more be pending. Others are dropped, and ask
/// again: a client's join is not lost by that, only late, and nobody can make the server work without end.
pub(crate) const WELCOMED_PER_FRAME: usize = 32;

/// Centimetres per second.
const FULL_SPEED: f32 = 2_000.0;

/// The game, and the server that its players come through.
pub(crate) struct Arena<S: PacketServer> {
    server: S,
    /// The handle of each peer, with what the game knows of it.
    players: Peers<S, Player>,
    tick: u32,
    /// Seconds between two frames.
    step: f32,
    tally: ServerTally,
    // Kept from frame to frame for their memory.
    world: Vec<PlayerState>,
    packet: Vec<u8>,
}

/// What the game counts itself; what became of packets and connections, the server has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerTally {
    /// Packets taken from peers, of whatever kind.
    pub(crate) heard: u64,
    pub(crate) welcomed: u64,
    /// Connections that did not begin with a join: of players that had been ended as idle and did not know it yet.
    pub(crate) turned_away: u64,
    pub(crate) goodbyes: u64,
    /// Players that ended without a goodbye.
    pub(crate) ended: u64,
    pub(crate) inputs: u64,
    /// Those that were put.
    pub(crate) world_states: u64,
    pub(crate) put_failures: u64,
    /// World states that were not put, since there was no room for them.
    pub(crate) held_back: u64,
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

impl<S: PacketServer> Arena<S> {
    /// `server` listens already.
    pub(crate) fn new(server: S, hz: u32) -> Self {
        Self {
            server,
            players: Peers::new(),
            tick: 0,
            step: 1.0 / hz as f32,
            tally: ServerTally::default(),
            world: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// One frame of the game.
    pub(crate) fn frame(&mut self) -> Result<Frame, PollError> {
        let before = Instant::now();
        self.server.poll()?;
        let frame = Frame { poll_time: before.elapsed(), pending: self.server.pending_count() };

        self.welcome_and_part();
        self.read_players();
        self.move_players();
        self.send_world_states();
        self.server.flush()?;
        Ok(frame)
    }

    /// Takes all that are pending, since those that wait for the next frame keep others out, and lets go of those that
    /// have ended. Nobody is a player yet: a stream is connected before the first packet has come.
    fn welcome_and_part(&mut self) {
        let tally = &mut self.tally;
        self.players.update(
            &mut self.server,
            |_, _| Some(Player::new()),
            |_, mut peer, mut player, _reason| {
                // Its last words may still wait to be read, and a goodbye may be among them.
                let ended_in_the_game = player.read(&mut peer, tally) && player.nonce.is_some();
                tally.ended += u64::from(ended_in_the_game);
            },
        );
    }

    /// Reads those that have said something, and lets go of those that are not to stay.
    fn read_players(&mut self) {
        while let Some((id, peer, player)) = self.players.next_ready() {
            if !player.read(peer, &mut self.tally) {
                // The handle is dropped here, which ends the connection.
                drop(self.players.remove(id));
            }
        }
    }

    fn move_players(&mut self) {
        self.tick += 1;
        for (_, _, player) in self.players.iter_mut() {
            player.step(self.step);
        }
    }

    /// Tells each player about itself and as many others as fit. The others stay left out until somebody leaves;
    /// a larger game would choose the nearest.
    fn send_world_states(&mut self) {
        self.world.clear();
        self.world.extend(joined(&self.players).map(|(id, player)| player.state(id)));
        let mut own = 0;
        for (_, peer, player) in self.players.iter_mut() {
            let Some(nonce) = player.nonce else { continue };
            let own_first = self.world[own..].iter().chain(&self.world[..own]).copied();
            own += 1;
            let state = WorldState { nonce, tick: self.tick, last_input: player.last_input };
            state.encode(own_first.take(WorldState::room(peer.max_packet_size())), &mut self.packet);
            // A stream pushes back when its player reads too slowly: nothing is gained by making it wait for more of what
            // will be old by then. Datagrams that cannot be sent are lost. The next frame has a newer one in both cases.
            if !peer.can_put(self.packet.len()) {
                self.tally.held_back += 1;
            } else if peer.put_packet(&self.packet).is_ok() {
                self.tally.world_states += 1;
            } else {
                self.tally.put_failures += 1;
            }
        }
    }

    /// Players in the game.
    pub(crate) fn player_count(&self) -> usize {
        joined(&self.players).count()
    }

    pub(crate) fn tally(&self) -> &ServerTally {
        &self.tally
    }

    /// The server, for what it tells of itself. Its peers are the players, those that have not joined yet, and those that
    /// have left in this frame.
    pub(crate) fn server(&self) -> &S {
        &self.server
    }
}

/// Those of the peers that play.
fn joined<S: PacketServer>(players: &Peers<S, Player>) -> impl Iterator<Item = (PeerId, &Player)> {
    players.iter().filter(|(_, _, player)| player.nonce.is_some()).map(|(id, _, player)| (id, player))
}

/// A player as the game knows it.
struct Player {
    /// As the client chose it when it joined; `None` before that.
    nonce: Option<u32>,
    last_input: u32,
    heading: [i8; 2],
    /// Centimetres from the plane's corner.
    position: [f32; 2],
}

impl Player {
    /// Starts in the middle of the plane.
    fn new() -> Self {
        Self { nonce: None, last_input: 0, heading: [0; 2], position: [f32::from(PLANE) / 2.0; 2] }
    }

    /// Takes what has come from this player since the last frame. Returns whether it stays.
    fn read(&mut self, peer: &mut impl PacketPeer, tally: &mut ServerTally) -> bool {
        // That nothing more will ever come is told to `Peers::update`, once, with the reason.
        while let Ok(Some(packet)) = peer.get_packet() {
            tally.heard += 1;
            if !self.hear(&packet, tally) {
                return false;
            }
        }
        true
    }

    fn hear(&mut self, packet: &[u8], tally: &mut ServerTally) -> bool {
        let message = ClientMessage::decode(packet);
        tally.malformed += u64::from(message.is_none());
        let Some(nonce) = self.nonce else { return self.join(message, tally) };
        match message {
            None => {}
            Some(message) if message.nonce != nonce => tally.crossed += 1,
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
        true
    }

    /// The first message of a connection: there is no other way into the game than to ask for it.
    fn join(&mut self, first: Option<ClientMessage>, tally: &mut ServerTally) -> bool {
        match first {
            Some(ClientMessage { nonce, request: Request::Join }) => {
                tally.welcomed += 1;
                self.nonce = Some(nonce);
            }
            Some(_) => tally.turned_away += 1,
            None => {}
        }
        self.nonce.is_some()
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

    fn state(&self, id: PeerId) -> PlayerState {
        let [x, y] = self.position.map(|centimetres| centimetres as u16);
        // The server's limit on peers keeps the index small.
        PlayerState { id: id.index() as u16, x, y }
    }
}
