//! Runs many streams to a `pseudo_connection_server`, each from a port of its own, and checks every byte that comes
//! back.
//!
//!     cargo run --release --example pseudo_connection_client -- --connect 127.0.0.1:4436 --streams 50 --fall-silent
//!
//! At its end a stream says goodbye, or with `--fall-silent` nothing more: then the server's read timer ends it. Exit
//! code 0 only if all datagrams have come back, each to its own stream.

mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use packetpeer::PacketPeerUdp;
use support::streams::{Stream, Summary};

/// Ends a stream at the server.
const BYE: &[u8] = b"bye";

/// The goodbye is not answered, so it is said some times over: one of them will arrive.
const GOODBYES: usize = 3;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4436));
    let mut streams: usize = 10;
    let mut count: u32 = 20;
    let mut size: usize = 64;
    let mut give_up_seconds: f64 = 10.0;
    let mut fall_silent = false;
    support::read_options(
        "Sends numbered datagrams in many streams and checks what comes back.",
        &mut [
            ("connect", &mut connect),
            ("streams", &mut streams),
            ("count", &mut count),
            ("size", &mut size),
            ("give-up-seconds", &mut give_up_seconds),
            ("fall-silent", &mut fall_silent),
        ],
    )?;

    // Each stream has a socket of its own, whose port tells it from the others.
    let mut clients = Vec::new();
    for _ in 0..streams {
        let mut socket = PacketPeerUdp::new();
        socket.connect_to_host(connect)?;
        clients.push((Stream::new(count, size, give_up_seconds)?, socket));
    }
    while clients.iter().any(|(stream, _)| !stream.is_over()) {
        for (stream, socket) in &mut clients {
            stream.exchange(socket)?;
        }
        thread::sleep(Duration::from_micros(500));
    }
    if !fall_silent {
        for _ in 0..GOODBYES {
            for (_, socket) in &mut clients {
                let _ = socket.put_packet(BYE); // if all are lost, the timer is left
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    let summary = Summary::of(clients.iter().map(|(stream, _)| stream));
    println!("{summary}");
    Ok(if summary.is_perfect() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
