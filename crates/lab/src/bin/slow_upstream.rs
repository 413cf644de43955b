//! A server that replies late, in another order than it was asked, or not at all: for what has to live with such a one.
//!
//! ```sh
//! cargo run --release -p lab --bin slow_upstream -- --listen 127.0.0.1:4433 --max-delay-ms 200 --drop-percent 10
//! ```
//!
//! Each reply is what came, after a delay drawn anew. The same `--seed` and the same requests make the same delays.
//! It is made for the example `gateway`. Ends on Ctrl-C, or after `--seconds`, and prints its counters.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use packetpeer::{PeerId, Peers, UdpServer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4433");
    let mut max_delay_ms: u64 = 100;
    let mut drop_percent: u8 = 5;
    let mut repeat_percent: u8 = 0;
    let mut seed: u64 = 1;
    let mut seconds: f64 = f64::INFINITY;
    lab::read_options(
        "Replies with what it is sent, after up to --max-delay-ms, --drop-percent of the time never and\n\
         --repeat-percent of the time twice.",
        &mut [
            ("listen", &mut listen),
            ("max-delay-ms", &mut max_delay_ms),
            ("drop-percent", &mut drop_percent),
            ("repeat-percent", &mut repeat_percent),
            ("seed", &mut seed),
            ("seconds", &mut seconds),
        ],
    )?;

    let mut server = UdpServer::new();
    let stop = lab::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let mut luck = fastrand::Rng::with_seed(seed);
    let mut peers = Peers::new();
    let mut waiting = Waiting::default();
    let (mut dropped, mut repeated) = (0, 0);
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        server.wait(Some(waiting.time_to_next().min(Duration::from_millis(50))))?;
        server.poll()?;
        peers.update(&mut server, |_, _| Some(()), |_, _, (), _| {});
        while let Some((id, peer, ())) = peers.next_ready() {
            while let Ok(Some(packet)) = peer.get_packet() {
                if luck.u8(..100) < drop_percent {
                    dropped += 1;
                    continue;
                }
                if luck.u8(..100) < repeat_percent {
                    repeated += 1;
                    let delay = Duration::from_micros(luck.u64(..=max_delay_ms * 1000));
                    waiting.add(delay, id, packet.to_vec());
                }
                let delay = Duration::from_micros(luck.u64(..=max_delay_ms * 1000));
                waiting.add(delay, id, packet.into_vec());
            }
        }
        while let Some((id, reply)) = waiting.take_due() {
            if let Some((peer, ())) = peers.get_mut(id) {
                let _ = peer.put_packet(&reply);
            }
        }
    }
    println!("dropped on purpose {dropped}, repeated {repeated}");
    println!("{}", server.stats());
    Ok(())
}

/// Replies that wait for their time, the next one on top.
#[derive(Default)]
struct Waiting {
    replies: BinaryHeap<Reverse<(Instant, PeerId, Vec<u8>)>>,
}

impl Waiting {
    fn add(&mut self, delay: Duration, to: PeerId, reply: Vec<u8>) {
        self.replies.push(Reverse((Instant::now() + delay, to, reply)));
    }

    fn take_due(&mut self) -> Option<(PeerId, Vec<u8>)> {
        let Reverse((due, ..)) = self.replies.peek()?;
        if *due > Instant::now() {
            return None;
        }
        self.replies.pop().map(|Reverse((_, to, reply))| (to, reply))
    }

    fn time_to_next(&self) -> Duration {
        self.replies.peek().map_or(Duration::MAX, |Reverse((due, ..))| due.saturating_duration_since(Instant::now()))
    }
}
