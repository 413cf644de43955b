//! Honest clients of `flood_target`, while somebody else floods it: what `ci/flood` measures.
//!
//! ```sh
//! cargo run --release -p lab --bin flood_clients -- --connect 198.51.100.2:6000 --clients 200 --seconds 10
//! ```
//!
//! Each says hello until it is welcome, with the token that it is given; then all wait for `--settle` seconds and send
//! data for `--seconds`. Prints a line when all are in, and one `summary` of `name=value` pairs at the end.

use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use lab::FrameClock;
use packetpeer::PacketPeerUdp;

/// After this long without a welcome it says hello again.
const RETRY: Duration = Duration::from_millis(100);

/// After this long it gives up.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 6000));
    let mut clients: usize = 200;
    let mut hz: u32 = 60;
    let mut size: usize = 64;
    let mut settle: f64 = 1.0;
    let mut seconds: f64 = 0.0;
    lab::read_options(
        "Honest clients of flood_target.",
        &mut [
            ("connect", &mut connect),
            ("clients", &mut clients),
            ("hz", &mut hz),
            ("size", &mut size),
            ("settle", &mut settle),
            ("seconds", &mut seconds),
        ],
    )?;
    // A token has to fit.
    lab::check("size", size, 9..=lab::MAX_SIZE)?;

    let mut clients = (0..clients).map(|_| Client::new(connect, size)).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let mut clock = FrameClock::new(60);
    while start.elapsed() < PATIENCE && clients.iter().any(|client| client.joined_after.is_none()) {
        for client in &mut clients {
            client.join(start)?;
        }
        clock.sleep();
    }
    let mut joined: Vec<_> = clients.iter().filter_map(|client| client.joined_after).collect();
    joined.sort_unstable();
    let slowest = joined.last().copied().unwrap_or_default();
    println!("joined: {} of {}, the slowest after {slowest:?}", joined.len(), clients.len());

    let mut sent: u64 = 0;
    let mut data = vec![0; size];
    data[0] = b'D';
    if seconds > 0.0 {
        thread::sleep(Duration::from_secs_f64(settle));
    }
    // Frames that were slept through are not made up for: a game would not either.
    let begin = Instant::now();
    let mut clock = FrameClock::new(hz);
    while begin.elapsed().as_secs_f64() < seconds {
        clock.sleep();
        for client in clients.iter_mut().filter(|client| client.joined_after.is_some()) {
            client.peer.poll()?;
            // What the system would not send is in no counter of the server's, and not counted here.
            sent += u64::from(client.peer.put_packet(&data).is_ok());
        }
    }
    println!(
        "summary clients={} joined={} median_join_ms={} slowest_join_ms={} data={sent}",
        clients.len(),
        joined.len(),
        joined.get(joined.len() / 2).copied().unwrap_or_default().as_millis(),
        slowest.as_millis(),
    );
    Ok(())
}

struct Client {
    peer: PacketPeerUdp,
    hello: Vec<u8>,
    next_hello: Option<Instant>,
    joined_after: Option<Duration>,
}

impl Client {
    fn new(server: SocketAddr, size: usize) -> Result<Self, Box<dyn Error>> {
        let mut peer = PacketPeerUdp::new();
        peer.connect_to_host(server)?;
        let mut hello = vec![0; size];
        hello[0] = b'H';
        Ok(Self { peer, hello, next_hello: None, joined_after: None })
    }

    /// One frame of joining. `start` is when everybody began.
    fn join(&mut self, start: Instant) -> Result<(), Box<dyn Error>> {
        self.peer.poll()?;
        while let Some(packet) = self.peer.get_packet()? {
            match packet.split_first() {
                Some((b'W', _)) => self.joined_after = self.joined_after.or(Some(start.elapsed())),
                Some((b'T', token)) if token.len() == 8 => {
                    self.hello[1..9].copy_from_slice(token);
                    self.next_hello = None;
                }
                _ => {}
            }
        }
        let now = Instant::now();
        if self.joined_after.is_none() && self.next_hello.is_none_or(|at| at <= now) {
            // Whether it was lost or could not be sent: there will be another.
            let _ = self.peer.put_packet(&self.hello);
            self.next_hello = Some(now + RETRY);
        }
        Ok(())
    }
}
