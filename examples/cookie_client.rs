//! Proves its address to a `cookie_server`, then sends it texts and checks what comes back.
//!
//!     cargo run --release --example cookie_client -- --connect 127.0.0.1:4435 --count 10
//!
//! Exit code 0 only if every text has come back. One question at a time, with a pause for its answer: a game would do
//! the same over several frames.

mod support;
#[path = "cookie/wire.rs"]
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use packetpeer::PacketPeerUdp;
use packetpeer::error::PutError;
use wire::{COOKIE_SIZE, Message};

/// After this long without an answer, the question or the answer is lost and we ask again.
const PATIENCE: Duration = Duration::from_millis(200);

/// All together well within the ten seconds that a cookie is good for.
const TRIES: usize = 20;

fn main() -> Result<(), Box<dyn Error>> {
    let mut connect = SocketAddr::from(([127, 0, 0, 1], 4435));
    let mut count: usize = 10;
    support::read_options(
        "Gets a cookie from the server, comes back with it, and sends numbered texts.",
        &mut [("connect", &mut connect), ("count", &mut count)],
    )?;

    let mut server = PacketPeerUdp::new();
    server.connect_to_host(connect)?;

    let question = Message::Question(&[0; COOKIE_SIZE]).to_vec();
    let cookie = ask(&mut server, &question, |answer| match Message::read(answer) {
        Some(Message::Cookie(cookie)) => Some(cookie),
        _ => None,
    })?;

    for number in 0..count {
        let text = format!("text number {number}");
        let text = text.as_bytes();
        let message = if number == 0 { Message::First { cookie, text } } else { Message::Text(text) };
        let echo = Message::Text(text);
        ask(&mut server, &message.to_vec(), |answer| (Message::read(answer) == Some(echo)).then_some(()))?;
    }
    println!("let in, and {count} texts came back");
    Ok(())
}

/// Sends `question` until something comes that `read` takes for its answer; late answers to earlier questions it does
/// not.
fn ask<T>(server: &mut PacketPeerUdp, question: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Result<T, Box<dyn Error>> {
    for _ in 0..TRIES {
        match server.put_packet(question) {
            // Nobody listens there, yet: that, too, is worth another try.
            Ok(()) | Err(PutError::WouldBlock | PutError::Refused) => {}
            Err(error) => return Err(error.into()),
        }
        let until = Instant::now() + PATIENCE;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            server.wait(Some(left))?;
            server.poll()?;
            while let Some(packet) = server.get_packet()? {
                if let Some(answer) = read(&packet) {
                    return Ok(answer);
                }
            }
        }
    }
    Err(format!("no answer, {TRIES} times").into())
}
