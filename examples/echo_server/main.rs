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
use packetpeer::error::GetError;
use packetpeer::{PacketPeer, PacketPeerUdp, PeerId, SendMode, ServerConfig, UdpServer};
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
    let mut peers = Peers::default();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        if hz == 0 {
            server.wait(Some(Duration::from_millis(50)))?;
        } else {
            clock.sleep();
        }
        server.poll()?;
        while let Some(peer) = server.take_connection() {
            peers.add(peer);
        }
        peers.echo(&mut server);
        server.flush()?;
    }
    println!("{}", server.stats());
    Ok(())
}

/// The peers by [`PeerId::index`], and room for the list of those that have something to say.
#[derive(Default)]
struct Peers {
    table: Vec<Option<PacketPeerUdp>>,
    ready: Vec<PeerId>,
}

impl Peers {
    fn add(&mut self, peer: PacketPeerUdp) {
        let index = peer.id().index();
        if index >= self.table.len() {
            self.table.resize_with(index + 1, || None);
        }
        self.table[index] = Some(peer);
    }

    fn echo(&mut self, server: &mut UdpServer) {
        self.ready.clear();
        server.ready(&mut self.ready);
        for id in &self.ready {
            let slot = &mut self.table[id.index()];
            if slot.as_mut().is_some_and(|peer| echo(peer).is_err()) {
                *slot = None;
            }
        }
    }
}

/// Sends back what has come. What cannot be sent now is lost, as datagrams are; the counters say so.
fn echo(peer: &mut impl PacketPeer) -> Result<(), GetError> {
    while let Some(packet) = peer.get_packet()? {
        let _ = peer.put_packet(&packet);
    }
    Ok(())
}
