//! A game server that answers server browsers, also when it is full.
//!
//!     cargo run --release --example discovery_server -- --listen 0.0.0.0:4434 --name "My game"
//!
//! A browser's query is answered by the filter: it makes no connection, is remembered nowhere, and meets none of the
//! limits on connections. `discovery_client` is the browser. Ends on Ctrl-C, or after `--seconds`, and prints its
//! counters.

mod support;
#[path = "discovery/wire.rs"]
mod wire;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use packetpeer::{FirstDatagram, Peers, UdpServer, Verdict};
use support::FrameClock;
use wire::{Answer, LONGEST_NAME};

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4434");
    let mut name = String::from("An example game");
    let mut seats: u16 = 8;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "A game server that server browsers find, also when it is full (--max-players 0: always).",
        &mut [("listen", &mut listen), ("name", &mut name), ("max-players", &mut seats), ("seconds", &mut seconds)],
    )?;
    if name.len() > LONGEST_NAME {
        return Err(format!("--name: at most {LONGEST_NAME} bytes").into());
    }

    let game = Arc::new(Game { name, seats, taken: AtomicU16::new(0) });
    let mut server = UdpServer::new();
    let shown = Arc::clone(&game);
    server.set_filter(move |datagram, reply| shown.judge(datagram, reply));
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut clock = FrameClock::new(60);
    let mut players = Peers::new();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        clock.sleep();
        // No more may knock than there are seats left; with none, only the filter still listens to strangers.
        server.set_max_pending_connections(usize::from(seats) - players.len());
        server.poll()?;
        players.update(&mut server, |_, _| Some(()), |_, _, (), _| {});
        while let Some((_, player, ())) = players.next_ready() {
            while let Ok(Some(_packet)) = player.get_packet() {} // the game goes here
        }
        game.taken.store(players.len() as u16, Ordering::Relaxed);
    }
    println!("{}", server.stats());
    Ok(())
}

/// What a browser shows of a game.
struct Game {
    name: String,
    seats: u16,
    taken: AtomicU16,
}

impl Game {
    /// Answers browsers, lets players in, and has no ear for anybody else. It never sees what players say once they are
    /// in, so a player who browses does that from another socket.
    fn judge(&self, datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>) -> Verdict {
        if let Some(chosen) = wire::read_query(datagram.bytes) {
            let players = self.taken.load(Ordering::Relaxed);
            Answer { players, seats: self.seats, name: self.name.as_bytes() }.write(chosen, reply);
            // Where that is longer than the query, the server drops it: a query without padding gets no answer.
            Verdict::Reply
        } else if wire::is_join(datagram.bytes) {
            Verdict::Accept
        } else {
            Verdict::Ignore
        }
    }
}
