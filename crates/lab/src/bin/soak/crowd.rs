//! The clients: each a socket behind the link, that comes, talks, goes and comes again.

use std::collections::BTreeSet;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use packetpeer::PacketPeerUdp;
use packetpeer::sim::Conditioned;
use packetpeer::socket::SystemSockets;

use lab::FrameClock;

/// Session, kind, number: at the beginning of each datagram. The rest follows from them.
pub(crate) const HEADER: usize = 8 + 1 + 4;
pub(crate) const GOODBYE: u8 = b'G';
const TALK: u8 = b'T';

const HZ: u32 = 30;

/// Frames between two datagrams of one client: four a second.
const TALK_EVERY: u32 = HZ / 4;

/// A goodbye may be lost, so it is said several times; should all be lost, the idle timeout ends the peer.
const GOODBYES: u32 = 3;

/// Nothing is under way any more when nothing has come for so long.
const SILENCE: Duration = Duration::from_millis(1500);

/// What the clients are to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    ComeAndGo,
    /// Who is there stays and talks.
    Stay,
    /// Nobody says anything. When all has arrived, it is over.
    Quiet,
}

/// What both threads know.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    phase: Phase,
    /// Who should be in, at each server: from when nobody comes or goes.
    expected: Option<[BTreeSet<u64>; 2]>,
    /// How many of them have not been answered since then.
    unanswered: usize,
}

impl Stage {
    pub(crate) fn enter(&self, phase: Phase) {
        self.known().phase = phase;
    }

    pub(crate) fn expected(&self) -> Option<[BTreeSet<u64>; 2]> {
        self.known().expected.clone()
    }

    /// How many of those who should be in have not been answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.known().unanswered
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Crowd {
    pub(crate) servers: [SocketAddr; 2],
    pub(crate) sockets: Conditioned<SystemSockets>,
    pub(crate) clients: usize,
    pub(crate) seed: u64,
}

/// What the clients have seen, all together and in all their sessions.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sessions: u64,
    pub(crate) vanished: u64,
    pub(crate) goodbyes: u64,
    pub(crate) came_back_at_once: u64,
    pub(crate) moved: u64,
    /// Datagrams that were put, whether they were sent or not.
    pub(crate) puts: u64,
    pub(crate) received: u64,
    /// Echoes of what a former owner of the port has said.
    pub(crate) strays: u64,
    /// Echoes that are not what was said.
    pub(crate) wrong: u64,
}

impl Crowd {
    pub(crate) fn run(&self, stage: &Stage) -> Result<Tally, Box<dyn Error>> {
        let mut dice = fastrand::Rng::with_seed(self.seed);
        let mut tally = Tally::default();
        let mut clients: Vec<_> = (0..self.clients).map(|number| Client::new(number, dice.fork())).collect();
        let mut clock = FrameClock::new(HZ);
        let (mut frame, mut phase, mut last_heard) = (0, Phase::ComeAndGo, Instant::now());
        loop {
            clock.sleep();
            frame += 1;
            let before = std::mem::replace(&mut phase, stage.known().phase);
            if (before, phase) == (Phase::ComeAndGo, Phase::Stay) {
                let expected = self.expected(&mut clients);
                let mut known = stage.known();
                known.unanswered = expected.iter().map(BTreeSet::len).sum();
                known.expected = Some(expected);
            }
            let received = tally.received;
            for client in &mut clients {
                client.frame(frame, phase, self, &mut tally)?;
            }
            if phase == Phase::Stay {
                let sessions = clients.iter().filter_map(|client| client.session.as_ref());
                stage.known().unanswered = sessions.filter(|session| !session.is_answered).count();
            }
            if tally.received > received || phase != Phase::Quiet {
                last_heard = Instant::now();
            }
            if last_heard.elapsed() > SILENCE {
                break;
            }
        }
        Ok(tally)
    }

    /// From now on nobody comes or goes: those who are saying goodbye vanish.
    fn expected(&self, clients: &mut [Client]) -> [BTreeSet<u64>; 2] {
        let mut expected = [BTreeSet::new(), BTreeSet::new()];
        for client in clients {
            client.session.take_if(|session| session.goodbyes_left.is_some());
            if let Some(session) = &mut client.session {
                session.is_answered = false;
                expected[client.server].insert(session.id);
            }
        }
        expected
    }

    /// A socket to the server, from this port if it is free.
    fn connect(&self, server: usize, port: u16) -> Result<PacketPeerUdp, Box<dyn Error>> {
        let mut peer = PacketPeerUdp::with_transport(self.sockets.clone());
        if port != 0 && peer.bind(SocketAddr::from(([127, 0, 0, 1], port))).is_err() {
            peer = PacketPeerUdp::with_transport(self.sockets.clone());
        }
        peer.connect_to_host(self.servers[server])?;
        Ok(peer)
    }
}

struct Client {
    /// At which of the servers.
    server: usize,
    dice: fastrand::Rng,
    session: Option<Session>,
    /// When it comes or goes, in frames.
    until: u32,
}

struct Session {
    id: u64,
    peer: PacketPeerUdp,
    /// Of the last datagram sent.
    number: u32,
    goodbyes_left: Option<u32>,
    is_answered: bool,
}

impl Client {
    fn new(number: usize, mut dice: fastrand::Rng) -> Self {
        // They do not all come at once.
        let until = dice.u32(0..3 * HZ);
        Self { server: number % 2, dice, session: None, until }
    }

    fn frame(&mut self, frame: u32, phase: Phase, crowd: &Crowd, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        if let Some(session) = &mut self.session {
            session.listen(tally)?;
        }
        match &mut self.session {
            _ if phase == Phase::Quiet => {}
            None if phase == Phase::ComeAndGo && frame >= self.until => self.come(frame, crowd, 0, tally)?,
            None => {}
            Some(session) => {
                if let Some(left) = &mut session.goodbyes_left {
                    *left -= 1;
                    let is_last = *left == 0;
                    session.say(GOODBYE, tally);
                    if is_last {
                        self.go(frame);
                    }
                } else if phase == Phase::ComeAndGo && frame >= self.until {
                    self.change(frame, crowd, tally)?;
                } else if (frame + self.until) % TALK_EVERY == 0 {
                    session.say(TALK, tally);
                }
            }
        }
        Ok(())
    }

    fn come(&mut self, frame: u32, crowd: &Crowd, port: u16, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        let peer = crowd.connect(self.server, port)?;
        let id = self.dice.u64(..);
        let mut session = Session { id, peer, number: 0, goodbyes_left: None, is_answered: false };
        session.say(TALK, tally);
        self.session = Some(session);
        self.until = frame + self.dice.u32(2 * HZ..8 * HZ);
        tally.sessions += 1;
        Ok(())
    }

    fn go(&mut self, frame: u32) {
        self.session = None;
        self.until = frame + self.dice.u32(HZ / 2..3 * HZ);
    }

    /// Vanishes, says goodbye, comes back at once from the same port, or, known by id, goes on from another.
    fn change(&mut self, frame: u32, crowd: &Crowd, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        let Some(session) = &mut self.session else { return Ok(()) };
        match self.dice.u8(0..10) {
            0..4 => {
                tally.vanished += 1;
                self.go(frame);
            }
            4..8 => {
                tally.goodbyes += 1;
                session.goodbyes_left = Some(GOODBYES);
            }
            _ if self.server == 1 => {
                tally.moved += 1;
                session.peer = crowd.connect(self.server, 0)?;
                session.say(TALK, tally);
                self.until = frame + self.dice.u32(2 * HZ..8 * HZ);
            }
            _ => {
                tally.came_back_at_once += 1;
                let port = session.peer.local_addr().map_or(0, |addr| addr.port());
                self.session = None;
                self.come(frame, crowd, port, tally)?;
            }
        }
        Ok(())
    }
}

impl Session {
    fn say(&mut self, kind: u8, tally: &mut Tally) {
        self.number += 1;
        tally.puts += 1;
        // What is not sent is in the counters.
        let _ = self.peer.put_packet(&datagram(self.id, kind, self.number));
    }

    fn listen(&mut self, tally: &mut Tally) -> Result<(), Box<dyn Error>> {
        self.peer.poll()?;
        while let Some(packet) = self.peer.get_packet()? {
            tally.received += 1;
            match parse(&packet) {
                Some((session, kind, number)) if *packet == *datagram(session, kind, number) => {
                    let is_own = session == self.id;
                    tally.strays += u64::from(!is_own);
                    tally.wrong += u64::from(kind != TALK || is_own && number > self.number);
                    self.is_answered |= is_own;
                }
                _ => tally.wrong += 1,
            }
        }
        Ok(())
    }
}

/// A datagram as it has to be, to the last byte.
fn datagram(session: u64, kind: u8, number: u32) -> Vec<u8> {
    let mut filler = fastrand::Rng::with_seed(session ^ u64::from(number));
    let mut bytes = Vec::with_capacity(HEADER + 256);
    bytes.extend(session.to_be_bytes());
    bytes.push(kind);
    bytes.extend(number.to_be_bytes());
    let len = HEADER + filler.usize(0..256);
    bytes.resize(len, 0);
    filler.fill(&mut bytes[HEADER..]);
    bytes
}

fn parse(bytes: &[u8]) -> Option<(u64, u8, u32)> {
    let (session, rest) = bytes.split_first_chunk()?;
    let (&kind, rest) = rest.split_first()?;
    Some((u64::from_be_bytes(*session), kind, u32::from_be_bytes(*rest.first_chunk()?)))
}
