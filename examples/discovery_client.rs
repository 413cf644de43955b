//! A server browser: asks one address, or everybody on the local network, and lists who answers.
//!
//!     cargo run --release --example discovery_client -- --to 127.0.0.1:4434
//!     cargo run --release --example discovery_client -- --broadcast 4434
//!
//! Exit code 0 if at least one server has answered; `discovery_server` does.

mod support;
#[path = "discovery/wire.rs"]
mod wire;

use std::collections::HashSet;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use packetpeer::PacketPeerUdp;
use wire::Answer;

/// How often to ask: a query or its answer may be lost.
const TRIES: u32 = 3;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut to = SocketAddr::from(([127, 0, 0, 1], 4434));
    let mut broadcast: u16 = 0;
    let mut wait_ms: u32 = 1000;
    support::read_options(
        "Lists the game servers that answer: the one at --to, or with --broadcast PORT all on the local network.",
        &mut [("to", &mut to), ("broadcast", &mut broadcast), ("wait-ms", &mut wait_ms)],
    )?;

    // Not connected: a broadcast is answered from other addresses than it was sent to.
    let mut socket = PacketPeerUdp::new();
    if broadcast > 0 {
        socket.bind("0.0.0.0:0")?; // IPv6 has no broadcast
        socket.set_broadcast_enabled(true)?;
        socket.set_dest_address((Ipv4Addr::BROADCAST, broadcast))?;
    } else {
        socket.set_dest_address(to)?;
    }

    // Whoever has not seen our query cannot guess them, and so cannot put servers on the list that do not exist.
    let mut chosen = [0; 8];
    getrandom::fill(&mut chosen)?;
    let query = wire::write_query(chosen);

    let mut found = HashSet::new();
    let start = Instant::now();
    for number in 1..=TRIES {
        socket.put_packet(&query)?;
        let until = start + Duration::from_millis(wait_ms.into()) * number / TRIES;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            socket.wait(Some(left))?;
            socket.poll()?;
            while let Some(packet) = socket.get_packet()? {
                if let Some(server) = Answer::read(&packet, chosen).filter(|_| found.insert(packet.sender())) {
                    // Quoted, so that a name made for it cannot play tricks on the terminal.
                    let name = String::from_utf8_lossy(server.name);
                    println!("{}  {name:?}  {}/{} players", packet.sender(), server.players, server.seats);
                }
            }
            if broadcast == 0 && !found.is_empty() {
                return Ok(ExitCode::SUCCESS); // nobody else was asked
            }
        }
    }
    if found.is_empty() {
        eprintln!("no answer in {wait_ms} ms");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
