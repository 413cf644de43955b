//! The clients' side: what a game does that connects to a server, many times over on one thread.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use packetpeer::PacketPeerUdp;
use packetpeer::error::{ConnectError, PollError};
use packetpeer::sim::Conditioned;
use packetpeer::socket::SystemSockets;

use crate::server::IDLE_TIMEOUT;
use crate::support::FrameClock;
use crate::wire::{ClientMessage, Input, PLANE, PlayerState, Request, WorldState};

/// Without a world state for so long, a client takes it that the server has forgotten it, and asks to join again.
const PATIENCE: Duration = Duration::from_millis(500);

/// After so long the server has forgotten who left, also one whose goodbye was lost on the way: the idle timeout, and what may
/// still have been under way.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// A bot that is so many centimetres from where it wants to go chooses another place.
const CLOSE: f32 = 200.0;

type AnyError = Box<dyn Error + Send + Sync>;

/// Where bots get their sockets: behind the link of `--link`, which by default is perfect.
type Sockets = Conditioned<SystemSockets>;

/// All bots.
pub(crate) struct Crowd {
    pub(crate) server: SocketAddr,
    pub(crate) sockets: Sockets,
    pub(crate) bots: u16,
    pub(crate) hz: u32,
    pub(crate) seed: u64,
}

/// What the bots saw, all together.
#[derive(Default)]
pub(crate) struct BotsTally {
    /// Sessions in which a world state came.
    pub(crate) joins: u64,
    pub(crate) goodbyes: u64,
    pub(crate) vanished: u64,
    pub(crate) back_from_vanishing: u64,
    /// Times that a bot asked again because nothing came.
    pub(crate) silences: u64,
    pub(crate) inputs: u64,
    /// Datagrams that were put, inputs and all others.
    pub(crate) sent: u64,
    pub(crate) put_failures: u64,
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

impl Crowd {
    /// Plays until `stop`, then says goodbye.
    pub(crate) fn play(&self, stop: &AtomicBool) -> Result<BotsTally, AnyError> {
        let mut tally = BotsTally::default();
        let mut rng = Rng::with_seed(self.seed);
        let mut clock = FrameClock::new(self.hz);
        let now = Instant::now();
        let mut bots = Vec::new();
        for _ in 0..self.bots {
            bots.push(Bot::new(self.server, self.sockets.clone(), rng.fork(), now)?);
        }
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            for bot in &mut bots {
                bot.frame(now, &mut tally)?;
            }
            clock.sleep();
        }
        for bot in &mut bots {
            bot.finish(&mut tally);
        }
        Ok(tally)
    }
}

struct Bot {
    server: SocketAddr,
    sockets: Sockets,
    rng: Rng,
    session: Session,
    former: Vec<FormerSocket>,
    state: State,
    was_served: bool,
    was_heard: bool,
}

/// One stay in the game, with a socket of its own.
struct Session {
    peer: PacketPeerUdp,
    nonce: u32,
    /// Of the newest world state; 0 before the first.
    tick: u32,
    /// Number of the last input.
    inputs: u32,
    destination: [f32; 2],
    // Kept from frame to frame for its memory.
    packet: Vec<u8>,
}

/// The socket of a stay that is over, open until nobody sends to it any more. Otherwise the system could give its port to
/// another bot, and world states for this one would come there.
struct FormerSocket {
    peer: PacketPeerUdp,
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

impl Bot {
    fn new(server: SocketAddr, sockets: Sockets, mut rng: Rng, now: Instant) -> Result<Self, ConnectError> {
        let session = Session::open(server, &sockets, &mut rng)?;
        let state = State::Joining { ask_at: now };
        Ok(Self { server, sockets, rng, session, former: Vec::new(), state, was_served: false, was_heard: false })
    }

    /// One frame of the client: poll, read, answer.
    fn frame(&mut self, now: Instant, tally: &mut BotsTally) -> Result<(), AnyError> {
        self.keep_former(now)?;
        if let State::Away { until, vanished } = self.state {
            if now < until {
                // What a slow link still holds, such as the goodbye, leaves when the socket is polled.
                self.session.peer.poll()?;
                return Ok(());
            }
            self.come_back(now)?;
            tally.back_from_vanishing += u64::from(vanished);
        }

        self.session.peer.poll()?;
        while let Some(packet) = self.session.peer.get_packet()? {
            self.read(&packet, now, tally);
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
    /// from bot to bot, until a world state answers it.
    fn ask_to_join(&mut self, now: Instant, tally: &mut BotsTally) {
        self.session.send(Request::Join, tally);
        self.state = State::Joining { ask_at: now + self.between_millis(100, 300) };
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
        session.inputs += 1;
        session.send(Request::Input(Input { number: session.inputs, heading }), tally);
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

    fn come_back(&mut self, now: Instant) -> Result<(), ConnectError> {
        let next = Session::open(self.server, &self.sockets, &mut self.rng)?;
        let former = std::mem::replace(&mut self.session, next);
        self.former.push(FormerSocket { peer: former.peer, until: now + FORGOTTEN });
        self.state = State::Joining { ask_at: now };
        Ok(())
    }

    fn keep_former(&mut self, now: Instant) -> Result<(), PollError> {
        self.former.retain(|former| now < former.until);
        self.former.iter_mut().try_for_each(|former| former.peer.poll().map(drop))
    }

    fn finish(&mut self, tally: &mut BotsTally) {
        if let State::Playing { .. } = self.state {
            self.say_goodbye(tally);
        }
    }

    /// Once: should it be lost, the server's idle timeout does the same, only later.
    fn say_goodbye(&mut self, tally: &mut BotsTally) {
        self.session.send(Request::Goodbye, tally);
        tally.goodbyes += 1;
    }

    fn between_millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.rng.u64(least..=most))
    }
}

impl Session {
    fn open(server: SocketAddr, sockets: &Sockets, rng: &mut Rng) -> Result<Self, ConnectError> {
        let mut peer = PacketPeerUdp::with_transport(sockets.clone());
        peer.connect_to_host(server)?;
        Ok(Self { peer, nonce: rng.u32(..), tick: 0, inputs: 0, destination: somewhere(rng), packet: Vec::new() })
    }

    fn send(&mut self, request: Request, tally: &mut BotsTally) {
        ClientMessage { nonce: self.nonce, request }.encode(&mut self.packet);
        let sent = self.peer.put_packet(&self.packet).is_ok();
        tally.sent += u64::from(sent);
        tally.put_failures += u64::from(!sent);
        tally.inputs += u64::from(sent && matches!(request, Request::Input(_)));
    }
}

fn somewhere(rng: &mut Rng) -> [f32; 2] {
    [rng.u16(0..=PLANE).into(), rng.u16(0..=PLANE).into()]
}
