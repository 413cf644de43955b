//! Tells streams apart by address and port alone, and ends each when nothing has come from it for a while.
//!
//!     cargo run --release --example pseudo_connection_server -- --listen 127.0.0.1:4436 --idle-seconds 2
//!
//! UDP has no connections. What is one here begins with the first datagram from an address and port, and ends with a
//! word of goodbye, or when its read timer has run out: the server's idle timeout. Everything that came is sent back.
//!
//! `pseudo_connection_client` is the other side. Ends on Ctrl-C, or after `--seconds`, and prints its counters.

mod support;

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use packetpeer::limits::AfterClose;
use packetpeer::{Limits, PacketPeerUdp, Peers, ServerConfig, UdpServer};

/// What a client says that ends its stream itself. It may get lost, and then the timer ends the stream.
const BYE: &[u8] = b"bye";

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4436");
    let mut idle_seconds: f64 = 5.0;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Sends back what comes, and tells when streams begin and end.",
        &mut [("listen", &mut listen), ("idle-seconds", &mut idle_seconds), ("seconds", &mut seconds)],
    )?;

    let idle = Duration::try_from_secs_f64(idle_seconds).map_err(|why| format!("--idle-seconds: {why}"))?;
    let limits = Limits::new()
        .idle_timeout(Some(idle))
        // What a stream's goodbye has overtaken on its way must not begin another one.
        .after_close(AfterClose::Refuse(idle));
    let mut server = UdpServer::with_config(ServerConfig::new().limits(limits))?;
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut streams = Peers::new();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        // Also when nothing comes: timers run out by polls.
        server.wait(Some(Duration::from_millis(20)))?;
        server.poll()?;
        streams.update(
            &mut server,
            |_, stream| {
                println!("{} begins", address(stream));
                Some(())
            },
            // Whatever ended a stream, it is told here, once.
            |_, stream, (), reason| {
                println!("{} ended after {} datagrams: {reason}", address(&stream), stream.stats().received);
            },
        );
        while let Some((_, stream, ())) = streams.next_ready() {
            echo(stream);
        }
    }
    println!("{}", server.stats());
    Ok(())
}

/// Sends back what has come. What cannot be sent now is lost, as datagrams are.
fn echo(stream: &mut PacketPeerUdp) {
    while let Ok(Some(packet)) = stream.get_packet() {
        if *packet == *BYE {
            stream.close();
        } else {
            let _ = stream.put_packet(&packet);
        }
    }
}

fn address(stream: &PacketPeerUdp) -> String {
    stream.remote_addr().map_or_else(String::new, |addr| addr.to_string())
}
