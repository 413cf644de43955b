//! Talks to an echo server as many clients at once, and checks every byte that comes back.
//!
//!     cargo run --release --example echo_client -- --connect 127.0.0.1:4433 --clients 16 --count 100
//!
//! A payload names its client and its number, and the rest follows from these, so that an answer that is damaged or
//! somebody else's is recognised. Exit code 0 only if everything came back, and to the right one.

mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use packetpeer::PacketPeerUdp;
use packetpeer::error::PutError;

/// Client and number: what every payload starts with, as far as it goes.
const HEADER: usize = 8;

/// Datagrams that one client has on the way at a time: more would only fill the buffers of the way.
const WINDOW: usize = 8;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4433));
    let mut clients: usize = 1;
    let mut count: usize = 100;
    let mut size: usize = 64;
    let mut lost_after_seconds: f64 = 1.0;
    support::read_options(
        "Sends numbered datagrams to an echo server and checks what comes back.",
        &mut [
            ("connect", &mut connect),
            ("clients", &mut clients),
            ("count", &mut count),
            ("size", &mut size),
            ("lost-after-seconds", &mut lost_after_seconds),
        ],
    )?;
    let lost_after =
        Duration::try_from_secs_f64(lost_after_seconds).map_err(|why| format!("--lost-after-seconds: {why}"))?;
    // Client and number have to fit.
    support::check("size", size, HEADER..=support::MAX_SIZE)?;

    let mut clients = (0..clients)
        .map(|number| Client::new(number as u32, connect, count, size, lost_after))
        .collect::<Result<Vec<_>, _>>()?;
    while clients.iter().any(|client| !client.is_done()) {
        for client in &mut clients {
            client.frame()?;
        }
        std::thread::sleep(Duration::from_micros(500));
    }

    let mut total = Tally::default();
    for client in clients {
        total.add(client.tally);
    }
    println!("{}", total.summary());
    Ok(if total.is_perfect() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Client {
    number: u32,
    peer: PacketPeerUdp,
    size: usize,
    left: usize,
    next: u32,
    on_the_way: Vec<(u32, Instant)>,
    /// After this long an unanswered datagram is lost.
    lost_after: Duration,
    expected: Vec<u8>,
    tally: Tally,
}

impl Client {
    fn new(
        number: u32,
        server: SocketAddr,
        count: usize,
        size: usize,
        lost_after: Duration,
    ) -> Result<Self, Box<dyn Error>> {
        let mut peer = PacketPeerUdp::new();
        peer.connect_to_host(server)?;
        Ok(Self {
            number,
            peer,
            size,
            left: count,
            next: 0,
            on_the_way: Vec::new(),
            lost_after,
            expected: Vec::new(),
            tally: Tally::default(),
        })
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.on_the_way.is_empty()
    }

    fn frame(&mut self) -> Result<(), Box<dyn Error>> {
        self.peer.poll()?;
        while let Some(packet) = self.peer.get_packet()? {
            self.check(&packet);
        }
        let before = self.on_the_way.len();
        self.on_the_way.retain(|(_, sent)| sent.elapsed() < self.lost_after);
        self.tally.lost += before - self.on_the_way.len();
        while self.left > 0 && self.on_the_way.len() < WINDOW {
            let number = self.next;
            self.expected_payload(number);
            match self.peer.put_packet(&self.expected) {
                Ok(()) => {}
                // Full buffers, or a server that is not there (yet): again in the next frame.
                Err(PutError::WouldBlock | PutError::Refused) => break,
                Err(error) => return Err(error.into()),
            }
            self.next += 1;
            self.left -= 1;
            self.tally.sent += 1;
            self.on_the_way.push((number, Instant::now()));
        }
        Ok(())
    }

    fn check(&mut self, packet: &[u8]) {
        let number = |at| packet.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        if number(0) != Some(self.number) {
            self.tally.strange += 1;
            return;
        }
        let answered = self.on_the_way.iter().position(|&(sent, _)| number(4) == Some(sent));
        let Some(answered) = answered else {
            self.tally.unexpected += 1;
            return;
        };
        let (number, sent) = self.on_the_way.swap_remove(answered);
        self.expected_payload(number);
        if packet == self.expected {
            self.tally.received += 1;
            self.tally.round_trips.push(sent.elapsed());
        } else {
            self.tally.strange += 1;
        }
    }

    /// Client, number, and bytes that follow from both.
    fn expected_payload(&mut self, number: u32) {
        self.expected.clear();
        self.expected.extend(self.number.to_le_bytes());
        self.expected.extend(number.to_le_bytes());
        let mut filler = fastrand::Rng::with_seed((u64::from(self.number) << 32) | u64::from(number));
        self.expected.resize_with(self.size, || filler.u8(..));
    }
}

#[derive(Default)]
struct Tally {
    sent: usize,
    received: usize,
    lost: usize,
    /// Damaged, or another client's.
    strange: usize,
    /// Answered twice, or after it was given up.
    unexpected: usize,
    round_trips: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.strange += other.strange;
        self.unexpected += other.unexpected;
        self.round_trips.extend(other.round_trips);
    }

    fn is_perfect(&self) -> bool {
        self.received == self.sent && self.lost + self.strange + self.unexpected == 0
    }

    fn summary(&mut self) -> String {
        self.round_trips.sort_unstable();
        let at = |percent: usize| {
            let index = self.round_trips.len().saturating_sub(1) * percent / 100;
            self.round_trips.get(index).copied().unwrap_or_default()
        };
        format!(
            "sent {}, received {}, lost {}, damaged or crossed {}, unexpected {}, round trip p50 {:?} p99 {:?}",
            self.sent,
            self.received,
            self.lost,
            self.strange,
            self.unexpected,
            at(50),
            at(99)
        )
    }
}
