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

mod support;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use packetpeer::{FirstDatagram, PacketPeerUdp, UdpServer, Verdict};
use sha2::Sha256;
use support::FrameClock;

/// A datagram's first byte says what it is; this one asks for a cookie. As many bytes follow as a cookie has, whatever
/// they are: the answer must not be longer than the question, or it could be used to flood somebody else.
const ASK: u8 = b'?';

/// The answer to that: a cookie follows.
const COOKIE: u8 = b'!';

/// A client's first text: the cookie, and then the text.
const FIRST: u8 = b'+';

/// Every other text, and every echo.
const TEXT: u8 = b'=';

/// Bytes of a cookie: half of what SHA-256 gives, and still nothing that can be guessed.
const COOKIE_SIZE: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4435");
    let mut lifetime: f64 = 10.0;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Sends texts back to those who prove their address. A cookie is good for --cookie-seconds, at most twice that.",
        &mut [("listen", &mut listen), ("cookie-seconds", &mut lifetime), ("seconds", &mut seconds)],
    )?;

    let cookies = Arc::new(Cookies::new(lifetime)?);
    let mut server = UdpServer::new();
    let proof = Arc::clone(&cookies);
    server.set_filter(move |datagram, reply| judge(&proof, datagram, reply));
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut clock = FrameClock::new(60);
    let mut peers: Vec<PacketPeerUdp> = Vec::new();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        clock.sleep();
        server.poll()?;
        while let Some(peer) = server.take_connection() {
            peers.push(peer);
        }
        peers.retain_mut(|peer| {
            echo(peer, &cookies);
            peer.close_reason().is_none()
        });
    }
    println!("{}", server.stats());
    Ok(())
}

/// The filter: what becomes of the datagram of a stranger.
fn judge(cookies: &Cookies, datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>) -> Verdict {
    match datagram.bytes {
        [ASK, ..] => {
            reply.push(COOKIE);
            reply.extend(cookies.bake(datagram.sender, datagram.received_at));
            Verdict::Reply // which the server sends only where the question was as long
        }
        [FIRST, rest @ ..] if cookies.begins_with_a_good_one(rest, datagram.sender, datagram.received_at) => {
            Verdict::Accept
        }
        _ => Verdict::Ignore,
    }
}

/// Sends back the texts of somebody who has been let in. The first of them still has its cookie, and comes more than
/// once where an echo was lost.
fn echo(peer: &mut PacketPeerUdp, cookies: &Cookies) {
    while let Ok(Some(packet)) = peer.get_packet() {
        let answer = match &*packet {
            [FIRST, rest @ ..] if rest.len() >= COOKIE_SIZE => [&[TEXT], &rest[COOKIE_SIZE..]].concat(),
            [TEXT, ..] => packet.to_vec(),
            // Somebody new at a known address, for instance the client, started again.
            [ASK, rest @ ..] if rest.len() >= COOKIE_SIZE => {
                [&[COOKIE], &cookies.bake(packet.sender(), packet.received_at())[..]].concat()
            }
            _ => continue,
        };
        let _ = peer.put_packet(&answer);
    }
}

/// Bakes cookies and knows its own: a cookie is a MAC over an address and the number of the period.
///
/// It proves that somebody receives at the address, not who that is; who can read on the way can use it, too.
struct Cookies {
    /// With a key from the system, another one each time the server starts.
    keyed: Hmac<Sha256>,
    start: Instant,
    period: Duration,
}

impl Cookies {
    fn new(seconds: f64) -> Result<Self, Box<dyn Error>> {
        let period = Duration::try_from_secs_f64(seconds).map_err(|why| format!("--cookie-seconds: {why}"))?;
        if period.is_zero() {
            return Err("--cookie-seconds: more than zero".into());
        }
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { keyed: Hmac::new_from_slice(&key)?, start: Instant::now(), period })
    }

    fn bake(&self, addr: SocketAddr, now: Instant) -> [u8; COOKIE_SIZE] {
        let mac = self.mac(addr, self.period(now)).finalize().into_bytes();
        std::array::from_fn(|index| mac[index])
    }

    /// Cookies of the present period and of the one before are good: who got one just before the turn has time to use
    /// it.
    fn begins_with_a_good_one(&self, bytes: &[u8], addr: SocketAddr, now: Instant) -> bool {
        let Some(cookie) = bytes.first_chunk::<COOKIE_SIZE>() else { return false };
        let now = self.period(now);
        // Verified in constant time: how long the refusal takes does not tell how many bytes were right.
        (now.saturating_sub(1)..=now).any(|period| self.mac(addr, period).verify_truncated_left(cookie).is_ok())
    }

    /// Each part has a fixed length, so that no two addresses and periods make the same bytes.
    fn mac(&self, addr: SocketAddr, period: u64) -> Hmac<Sha256> {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.keyed
            .clone()
            .chain_update(ip.octets())
            .chain_update(addr.port().to_be_bytes())
            .chain_update(period.to_be_bytes())
    }

    fn period(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_nanos() / self.period.as_nanos()) as u64
    }
}
