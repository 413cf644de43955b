//! Sends requests through a `gateway`, as many clients with several requests each at a time, and checks every answer.
//!
//!     cargo run --release --example gateway_client -- --connect 127.0.0.1:4437 --clients 50 --count 100
//!
//! The upstream server is expected to reply with what it was sent. No two requests have the same number or body, so
//! that an answer to somebody else, or a second one, is recognised. Exit code 0 only if every request was answered,
//! once, and every reply was the right one; "timed out" and "busy" are answers.

mod support;
#[path = "gateway/wire.rs"]
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use packetpeer::PacketPeerUdp;
use packetpeer::error::PutError;
use support::FrameClock;
use wire::Outcome;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4437));
    let mut clients: u32 = 1;
    let mut count: u32 = 100;
    let mut window: usize = 8;
    let mut size: usize = 64;
    let mut patience_ms: u64 = 5000;
    let mut linger_ms: u64 = 0;
    support::read_options(
        "Sends --count requests of each of --clients through a gateway, and checks the answers. Each has up to --window\n\
         on the way. After --patience-ms an answer is lost; --linger-ms = wait so long for answers too many.",
        &mut [
            ("connect", &mut connect),
            ("clients", &mut clients),
            ("count", &mut count),
            ("window", &mut window),
            ("size", &mut size),
            ("patience-ms", &mut patience_ms),
            ("linger-ms", &mut linger_ms),
        ],
    )?;

    support::check("size", size, 0..=support::MAX_SIZE - wire::LONGEST_HEADER)?;
    clients.checked_mul(count).ok_or("--clients, --count: more requests than there are numbers for them")?;
    let patience = Duration::from_millis(patience_ms);
    let mut clients = (0..clients)
        .map(|client| Client::new(connect, client * count..(client + 1) * count, window, size, patience))
        .collect::<Result<Vec<_>, _>>()?;
    let mut clock = FrameClock::new(500);
    let mut done_at = None;
    while done_at.is_none_or(|done: Instant| done.elapsed() < Duration::from_millis(linger_ms)) {
        clock.sleep();
        for client in &mut clients {
            client.frame()?;
        }
        if done_at.is_none() && clients.iter().all(Client::is_done) {
            done_at = Some(Instant::now());
        }
    }

    let mut total = Tally::default();
    for client in clients {
        total.add(client.tally);
    }
    println!("{}", total.summary());
    Ok(if total.is_perfect() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Client {
    peer: PacketPeerUdp,
    /// The numbers of the requests still to be sent.
    numbers: Range<u32>,
    on_the_way: Vec<(u32, Instant)>,
    window: usize,
    size: usize,
    patience: Duration,
    datagram: Vec<u8>,
    tally: Tally,
}

impl Client {
    fn new(
        gateway: SocketAddr,
        numbers: Range<u32>,
        window: usize,
        size: usize,
        patience: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let mut peer = PacketPeerUdp::new();
        peer.connect_to_host(gateway)?;
        Ok(Self {
            peer,
            numbers,
            on_the_way: Vec::new(),
            window,
            size,
            patience,
            datagram: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn is_done(&self) -> bool {
        self.numbers.is_empty() && self.on_the_way.is_empty()
    }

    fn frame(&mut self) -> Result<(), Box<dyn Error>> {
        self.peer.poll()?;
        while let Some(packet) = self.peer.get_packet()? {
            self.check(&packet);
        }
        let before = self.on_the_way.len();
        self.on_the_way.retain(|(_, sent)| sent.elapsed() < self.patience);
        self.tally.lost += before - self.on_the_way.len();
        while self.on_the_way.len() < self.window && !self.numbers.is_empty() {
            let number = self.numbers.start;
            wire::write_request(number, &body(number, self.size), &mut self.datagram);
            match self.peer.put_packet(&self.datagram) {
                Ok(()) => {}
                // Full buffers, or a gateway that is not there (yet): again in the next frame.
                Err(PutError::WouldBlock | PutError::Refused) => break,
                Err(error) => return Err(error.into()),
            }
            self.numbers.start += 1;
            self.tally.sent += 1;
            self.on_the_way.push((number, Instant::now()));
        }
        Ok(())
    }

    fn check(&mut self, packet: &[u8]) {
        let Some((number, outcome, reply)) = wire::read_answer(packet) else {
            self.tally.damaged += 1;
            return;
        };
        let Some(asked) = self.on_the_way.iter().position(|&(sent, _)| sent == number) else {
            self.tally.unexpected += 1;
            return;
        };
        let (_, sent) = self.on_the_way.swap_remove(asked);
        match outcome {
            Outcome::Replied if reply == body(number, self.size) => {
                self.tally.replied += 1;
                self.tally.round_trips.push(sent.elapsed());
            }
            Outcome::Replied => self.tally.damaged += 1,
            Outcome::TimedOut => self.tally.timed_out += 1,
            Outcome::Busy => self.tally.busy += 1,
            Outcome::NotSent => self.tally.not_sent += 1,
        }
    }
}

/// What request `number` asks: bytes that follow from the number.
fn body(number: u32, size: usize) -> Vec<u8> {
    let mut bytes = fastrand::Rng::with_seed(number.into());
    (0..size).map(|_| bytes.u8(..)).collect()
}

#[derive(Default)]
struct Tally {
    sent: usize,
    replied: usize,
    timed_out: usize,
    busy: usize,
    not_sent: usize,
    /// Without an answer of any kind.
    lost: usize,
    /// With the reply to another request, for instance.
    damaged: usize,
    /// Another client's, or a second one, or after it was given up.
    unexpected: usize,
    round_trips: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.replied += other.replied;
        self.timed_out += other.timed_out;
        self.busy += other.busy;
        self.not_sent += other.not_sent;
        self.lost += other.lost;
        self.damaged += other.damaged;
        self.unexpected += other.unexpected;
        self.round_trips.extend(other.round_trips);
    }

    fn is_perfect(&self) -> bool {
        self.replied + self.timed_out + self.busy + self.not_sent == self.sent
            && self.lost + self.damaged + self.unexpected == 0
    }

    fn summary(&mut self) -> String {
        format!(
            "sent {}, replied {}, timed out {}, busy {}, not sent on {}, lost {}, damaged or crossed {}, unexpected {}, \
             round trip p50 {:?} p99 {:?}",
            self.sent,
            self.replied,
            self.timed_out,
            self.busy,
            self.not_sent,
            self.lost,
            self.damaged,
            self.unexpected,
            support::percentile(&mut self.round_trips, 50),
            support::percentile(&mut self.round_trips, 99)
        )
    }
}
