//! Sends every datagram back to where it came from.
//!
//!     cargo run --release --example echo_server -- --listen 127.0.0.1:4433
//!
//! Every limit of the server and every option of its socket has a flag of its own; `--help` lists them. Ends on Ctrl-C,
//! or after `--seconds`, and prints its counters.

mod options;
#[path = "../support/mod.rs"]
mod support;

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use options::Options;
use packetpeer::{PacketPeer, Peers, SendMode, ServerConfig, UdpServer};
use support::FrameClock;

fn main() -> Result<(), Box<dyn Error>> {
    let Options { listen, hz, seconds, send_on_flush, limits, socket } = Options::from_command_line()?;
    let send_mode = if send_on_flush { SendMode::OnFlush } else { SendMode::Now };

    let mut server = UdpServer::with_config(ServerConfig::new().limits(limits).socket(socket).send_mode(send_mode))?;
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut clock = FrameClock::new(hz);
    let mut peers = Peers::new();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        if hz == 0 {
            server.wait(Some(Duration::from_millis(50)))?;
        } else {
            clock.sleep();
        }
        server.poll()?;
        peers.update(&mut server, |_, _| Some(()), |_, _, (), _| {});
        while let Some((_, peer, ())) = peers.next_ready() {
            echo(peer);
        }
        server.flush()?;
    }
    println!("{}", server.stats());
    Ok(())
}

/// Sends back what has come. What cannot be sent now is lost, as datagrams are; the counters say so.
fn echo(peer: &mut impl PacketPeer) {
    while let Ok(Some(packet)) = peer.get_packet() {
        let _ = peer.put_packet(&packet);
    }
}
