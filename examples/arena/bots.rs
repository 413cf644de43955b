//! The clients' side: what a game does that connects to a server, many times over on one thread.
//!
//! How a bot gets its peer is the caller's, and what time it is its peer tells: bots play over any [`PacketPeer`], and in
//! virtual time as well.

use std::error::Error;
use std::time::{Duration, Instant};

use fastrand::Rng;
use packetpeer::PacketPeer;
use packetpeer::error::PollError;

use super::rules::IDLE_TIMEOUT;
use super::wire::{ClientMessage, Input, PLANE, PlayerState, Request, WorldState};

/// Without a world state for so long, a client takes it that the server has forgotten it, and asks to join again.
const PATIENCE: Duration = Duration::from_millis(500);

/// After so long the server has forgotten a bot that left, also one whose goodbye was lost on the way: the idle timeout,
/// and what may still have been under way.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// A bot that is so many centimetres from where it wants to go chooses another place.
const CLOSE: f32 = 200.0;

pub(crate) type AnyError = Box<dyn Error + Send + Sync>;

/// All bots, and `connect`: how one of them gets a peer that is connected to the server, or is about to be.
pub(crate) struct Crowd<P, C> {
    bots: Vec<Bot<P>>,
    connect: C,
    tally: BotsTally,
}

/// What the bots saw, all together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BotsTally {
    /// Sessions in which a world state came.
    pub(crate) joins: u64,
    pub(crate) goodbyes: u64,
    pub(crate) vanished: u64,
    pub(crate) back_from_vanishing: u64,
    /// Times that a bot asked again because nothing came.
    pub(crate) silences: u64,
    pub(crate) inputs: u64,
    /// Messages that were put, inputs and all others.
    pub(crate) sent: u64,
    pub(crate) put_failures: u64,
    /// Messages that were not put, since there was no room for them.
    pub(crate) held_back: u64,
    /// Times that a bot's connection ended without its doing. Over UDP nobody tells.
    pub(crate) cut_off: u64,
    pub(crate) world_states: u64,
    pub(crate) malformed: u64,
    /// World states with the nonce of another.
    pub(crate) crossed: u64,
    /// World states that are not newer than the one before: what a link holds back or doubles. They are ignored.
    pub(crate) out_of_order: u64,
    /// World states with a player beside the plane, or an input that was never sent.
    pub(crate) impossible: u64,
    /// Bots that received a world state.
    pub(crate) bots_served: u16,
    /// Bots that were told that an input of theirs had been seen.
    pub(crate) bots_heard: u16,
}

impl<P: PacketPeer, C: FnMut(&mut Rng) -> Result<P, AnyError>> Crowd<P, C> {
    /// The same `seed`, the same bots. `connect` is given the randomness of the bot that asks.
    pub(crate) fn new(bots: u16, seed: u64, mut connect: C) -> Result<Self, AnyError> {
        let mut rng = Rng::with_seed(seed);
        let bots = (0..bots).map(|_| Bot::new(rng.fork(), &mut connect)).collect::<Result<_, _>>()?;
        Ok(Self { bots, connect, tally: BotsTally::default() })
    }

    /// One frame of each client.
    pub(crate) fn frame(&mut self) -> Result<(), AnyError> {
        self.bots.iter_mut().try_for_each(|bot| bot.frame(&mut self.connect, &mut self.tally))
    }

    /// Says goodbye, and closes everything.
    pub(crate) fn finish(mut self) -> BotsTally {
        for bot in &mut self.bots {
            bot.finish(&mut self.tally);
        }
        self.tally
    }
}

struct Bot<P> {
    rng: Rng,
    session: Session<P>,
    former: Vec<FormerPeer<P>>,
    state: State,
    was_served: bool,
    was_heard: bool,
}

/// One stay in the game, with a peer of its own.
struct Session<P> {
    peer: P,
    nonce: u32,
    /// Of the newest world state; 0 before the first.
    tick: u32,
    /// Number of the last input.
    inputs: u32,
    destination: [f32; 2],
    // Kept from frame to frame for its memory.
    packet: Vec<u8>,
}

/// The peer of a stay that is over, open until nobody sends to it any more. Otherwise the system could give the port of
/// its socket to another bot, and world states for this one would come there.
struct FormerPeer<P> {
    peer: P,
    until: Instant,
}

#[derive(Clone, Copy)]
enum State {
    /// No world state has come yet, or for too long: asks again from time to time.
    Joining {
        ask_at: Instant,
    },
    Playing {
        own: PlayerState,
        heard_at: Instant,
        leave_at: Instant,
    },
    Away {
        until: Instant,
        vanished: bool,
    },
}

impl<P: PacketPeer> Bot<P> {
    fn new(mut rng: Rng, connect: impl FnOnce(&mut Rng) -> Result<P, AnyError>) -> Result<Self, AnyError> {
        let session = Session::open(&mut rng, connect)?;
        let state = State::Joining { ask_at: session.peer.now() };
        Ok(Self { rng, session, former: Vec::new(), state, was_served: false, was_heard: false })
    }

    /// One frame of the client: poll, read, answer.
    fn frame(
        &mut self,
        connect: impl FnOnce(&mut Rng) -> Result<P, AnyError>,
        tally: &mut BotsTally,
    ) -> Result<(), AnyError> {
        let now = self.session.peer.now();
        self.keep_former(now)?;
        if let State::Away { until, vanished } = self.state {
            if now < until {
                // What a slow link still holds, such as the goodbye, leaves when the socket is polled.
                poll(&mut self.session.peer)?;
                return Ok(());
            }
            self.come_back(now, connect)?;
            tally.back_from_vanishing += u64::from(vanished);
        }

        poll(&mut self.session.peer)?;
        while let Ok(Some(packet)) = self.session.peer.get_packet() {
            self.read(&packet, now, tally);
        }
        if self.session.peer.close_reason().is_some() {
            tally.cut_off += 1;
            self.state = State::Away { until: now + self.between_millis(200, 1_000), vanished: false };
        }

        match self.state {
            State::Joining { ask_at } if now >= ask_at => self.ask_to_join(now, tally),
            State::Playing { leave_at, .. } if now >= leave_at => self.leave(now, tally),
            State::Playing { heard_at, .. } if now >= heard_at + PATIENCE => {
                tally.silences += 1;
                self.ask_to_join(now, tally);
            }
            State::Playing { own, .. } => self.steer(own, tally),
            State::Joining { .. } | State::Away { .. } => {}
        }
        Ok(())
    }

    /// A join may be lost like every datagram, or come when too many others do. So it is repeated, at times that differ
    /// from bot to bot, until a world state answers it. As long as there is no room for it, such as before a stream is
    /// connected, it is tried in each frame.
    fn ask_to_join(&mut self, now: Instant, tally: &mut BotsTally) {
        let pause =
            if self.session.send(Request::Join, tally) { self.between_millis(100, 300) } else { Duration::ZERO };
        self.state = State::Joining { ask_at: now + pause };
    }

    /// Believes nothing that it can check.
    fn read(&mut self, packet: &[u8], now: Instant, tally: &mut BotsTally) {
        let Some((state, own, others)) = WorldState::decode(packet) else {
            tally.malformed += 1;
            return;
        };
        if state.nonce != self.session.nonce {
            tally.crossed += 1;
            return;
        }
        if state.tick <= self.session.tick {
            tally.out_of_order += 1;
            return;
        }
        let all_on_the_plane = own.is_on_the_plane() && others.iter().all(PlayerState::is_on_the_plane);
        if !all_on_the_plane || state.last_input > self.session.inputs {
            tally.impossible += 1;
            return;
        }
        tally.world_states += 1;
        tally.joins += u64::from(self.session.tick == 0);
        tally.bots_served += u16::from(!self.was_served);
        self.was_served = true;
        let is_heard = state.last_input > 0;
        tally.bots_heard += u16::from(is_heard && !self.was_heard);
        self.was_heard |= is_heard;

        self.session.tick = state.tick;
        let leave_at = match self.state {
            State::Playing { leave_at, .. } => leave_at,
            _ => now + self.between_millis(1_000, 6_000),
        };
        self.state = State::Playing { own, heard_at: now, leave_at };
    }

    /// Sends where to go from here.
    fn steer(&mut self, own: PlayerState, tally: &mut BotsTally) {
        let session = &mut self.session;
        let [x, y] = [session.destination[0] - f32::from(own.x), session.destination[1] - f32::from(own.y)];
        let distance = x.hypot(y);
        if distance < CLOSE {
            session.destination = somewhere(&mut self.rng);
        }
        let heading = [x, y].map(|along| (along / distance.max(1.0) * 127.0) as i8);
        let number = session.inputs + 1;
        if session.send(Request::Input(Input { number, heading }), tally) {
            session.inputs = number;
            tally.inputs += 1;
        }
    }

    /// Half of them say so, and the server lets go at once. The others fall silent, as when a cable is pulled.
    fn leave(&mut self, now: Instant, tally: &mut BotsTally) {
        let vanished = self.rng.bool();
        let pause = if vanished {
            tally.vanished += 1;
            // So long that the server must have noticed.
            IDLE_TIMEOUT + self.between_millis(1_000, 2_000)
        } else {
            self.say_goodbye(tally);
            self.between_millis(200, 1_000)
        };
        self.state = State::Away { until: now + pause, vanished };
    }

    fn come_back(
        &mut self,
        now: Instant,
        connect: impl FnOnce(&mut Rng) -> Result<P, AnyError>,
    ) -> Result<(), AnyError> {
        let next = Session::open(&mut self.rng, connect)?;
        let former = std::mem::replace(&mut self.session, next);
        self.former.push(FormerPeer { peer: former.peer, until: now + FORGOTTEN });
        self.state = State::Joining { ask_at: now };
        Ok(())
    }

    fn keep_former(&mut self, now: Instant) -> Result<(), PollError> {
        self.former.retain(|former| now < former.until);
        self.former.iter_mut().try_for_each(|former| poll(&mut former.peer))
    }

    fn finish(&mut self, tally: &mut BotsTally) {
        if let State::Playing { .. } = self.state {
            self.say_goodbye(tally);
        }
    }

    /// Once: should it be lost, or find no room, the server's idle timeout does the same, only later.
    fn say_goodbye(&mut self, tally: &mut BotsTally) {
        tally.goodbyes += u64::from(self.session.send(Request::Goodbye, tally));
    }

    fn between_millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.u64(least..=most))
    }
}

impl<P: PacketPeer> Session<P> {
    fn open(rng: &mut Rng, connect: impl FnOnce(&mut Rng) -> Result<P, AnyError>) -> Result<Self, AnyError> {
        let peer = connect(rng)?;
        Ok(Self { peer, nonce: rng.u32(..), tick: 0, inputs: 0, destination: somewhere(rng), packet: Vec::new() })
    }

    /// Returns whether it was put.
    fn send(&mut self, request: Request, tally: &mut BotsTally) -> bool {
        ClientMessage { nonce: self.nonce, request }.encode(&mut self.packet);
        if !self.peer.can_put(self.packet.len()) {
            tally.held_back += 1;
            return false;
        }
        let sent = self.peer.put_packet(&self.packet).is_ok();
        tally.sent += u64::from(sent);
        tally.put_failures += u64::from(!sent);
        sent
    }
}

/// Polls a peer. That one has ended is no failure: its state tells.
fn poll(peer: &mut impl PacketPeer) -> Result<(), PollError> {
    match peer.poll() {
        Ok(_) | Err(PollError::Ended(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn somewhere(rng: &mut Rng) -> [f32; 2] {
    [rng.u16(0..=PLANE).into(), rng.u16(0..=PLANE).into()]
}
