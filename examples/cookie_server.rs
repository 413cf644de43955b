//! An echo server that admits only those who prove that they receive at the address they send from.
//!
//!     cargo run --release --example cookie_server -- --listen 127.0.0.1:4435
//!
//! A sender's address is easily forged. Without a proof, whoever forges many takes all pending connections and peers.
//! So a stranger first gets a *cookie*, sent to the address in question, and only who comes back with it is let in. The
//! server remembers nothing of those it has given one: it computes the cookie a second time and compares. A forged
//! address thus costs some hashing, and neither memory nor a place.
//!
//! `cookie_client` is the other side. Ends on Ctrl-C, or after `--seconds`, and prints its counters.

#[path = "cookie/cookies.rs"]
mod cookies;
mod support;
#[path = "cookie/wire.rs"]
mod wire;

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cookies::Cookies;
use packetpeer::{FirstDatagram, PacketPeerUdp, Peers, UdpServer, Verdict};
use support::FrameClock;
use wire::{COOKIE_SIZE, Message};

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4435");
    let mut lifetime: f64 = 10.0;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Sends texts back to those who prove their address. A cookie is good for --cookie-seconds, at most twice that.",
        &mut [("listen", &mut listen), ("cookie-seconds", &mut lifetime), ("seconds", &mut seconds)],
    )?;

    let cookies = Arc::new(new_cookies(lifetime)?);
    let mut server = UdpServer::new();
    let proof = Arc::clone(&cookies);
    server.set_filter(move |datagram, reply| judge(&proof, datagram, reply));
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut clock = FrameClock::new(60);
    let mut peers = Peers::new();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        clock.sleep();
        server.poll()?;
        peers.update(&mut server, |_, _| Some(()), |_, _, (), _| {});
        while let Some((_, peer, ())) = peers.next_ready() {
            echo(peer, &cookies);
        }
    }
    println!("{}", server.stats());
    Ok(())
}

/// With a key from the system, another one each time the server starts.
fn new_cookies(seconds: f64) -> Result<Cookies, Box<dyn Error>> {
    let period = Duration::try_from_secs_f64(seconds).map_err(|why| format!("--cookie-seconds: {why}"))?;
    if period.is_zero() {
        return Err("--cookie-seconds: more than zero".into());
    }
    let mut key = [0; 32];
    getrandom::fill(&mut key)?;
    Ok(Cookies::new(&key, Instant::now(), period))
}

/// The filter: what becomes of the datagram of a stranger.
fn judge(cookies: &Cookies, datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>) -> Verdict {
    match Message::read(datagram.bytes) {
        Some(Message::Question(_)) => {
            Message::Cookie(cookies.bake(datagram.sender, datagram.received_at)).write(reply);
            Verdict::Reply // which the server sends only where the question was as long
        }
        Some(Message::First { cookie, .. }) if cookies.is_good(&cookie, datagram.sender, datagram.received_at) => {
            Verdict::Accept
        }
        _ => Verdict::Ignore,
    }
}

/// Sends back the texts of somebody who has been let in. The first of them still has its cookie, and comes more than
/// once where an echo was lost.
fn echo(peer: &mut PacketPeerUdp, cookies: &Cookies) {
    while let Ok(Some(packet)) = peer.get_packet() {
        let answer = match Message::read(&packet) {
            Some(Message::First { text, .. } | Message::Text(text)) => Message::Text(text),
            // Somebody new at a known address, for instance the client, started again.
            Some(Message::Question(padding)) if padding.len() >= COOKIE_SIZE => {
                Message::Cookie(cookies.bake(packet.sender(), packet.received_at()))
            }
            _ => continue,
        };
        let _ = peer.put_packet(&answer.to_vec());
    }
}
