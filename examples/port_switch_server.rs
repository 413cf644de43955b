//! Gives each stream a socket of its own and tells the client its port, which goes there when it has heard of it.
//!
//!     cargo run --release --example port_switch_server -- --listen 127.0.0.1:4439
//!
//! Each answer begins with a byte that says what it is:
//!
//! ```text
//! 0  payload        what the client has sent
//! 1  port, 2 bytes  from now on talk to this port of mine
//! ```
//!
//! The second goes out from the port listened on, with each answer until the client is heard on the new port: any of
//! them may get lost. Answers leave by the old port as long, so nothing stands still meanwhile.
//!
//! **Where it works.** The client sends to the new port before anything comes from there, which opens the NATs and
//! firewalls on *its* side; `dedicated_socket_server` fails there. Two things can still be in the way, and then the
//! client has to stay at the port listened on, where it is heard as before:
//!
//! - A NAT that gives the client another port for each port that it sends to ("symmetric"): to the stream's socket it
//!   is somebody else.
//! - The *server's* firewall, if it lets clients in to the port listened on alone, and not to all that the system may
//!   choose.
//!
//! **What can an attacker do?** Make a socket here with each address that he forges, until there are no more. A server
//! on the public internet gives sockets only to those who have shown that they receive what is sent to them; see
//! `cookie_server`.
//!
//! **When a NAT gives the client another port** in mid-stream, its socket here does not hear it any more. The client
//! has to speak to the port listened on again, where it is somebody new; the old stream ends by its timer. Where that
//! happens often, let an id tell clients apart: see `connection_id_server`.
//!
//! `port_switch_client` is the other side. Ends on Ctrl-C, or after `--seconds`, and prints its counters.

mod support;
#[path = "port_switch/wire.rs"]
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use packetpeer::identity::Switch;
use packetpeer::{Limits, PacketPeerUdp, Peers, ServerConfig, UdpServer};
use wire::Answer;

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4439");
    let mut idle_seconds: f64 = 5.0;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Sends back what comes, and tells each stream to go on at a port of its own.",
        &mut [("listen", &mut listen), ("idle-seconds", &mut idle_seconds), ("seconds", &mut seconds)],
    )?;

    let idle = Duration::try_from_secs_f64(idle_seconds).map_err(|why| format!("--idle-seconds: {why}"))?;
    let mut server = UdpServer::with_config(ServerConfig::new().limits(Limits::new().idle_timeout(Some(idle))))?;
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut streams: Peers<UdpServer, Stream> = Peers::new();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        server.wait(Some(Duration::from_millis(20)))?;
        server.poll()?;
        streams.update(
            &mut server,
            |server, peer| {
                // Without one it is never told to go anywhere. A stranger may have caused that, by forging an address
                // that nothing can be sent to, so it is no reason to end.
                let own = server.dedicate_socket(peer, Switch::WithClient).ok();
                println!("{} begins", address(peer));
                Some(Stream { own, has_switched: false })
            },
            |_, peer, _, reason| {
                println!("{} ended after {} datagrams: {reason}", address(&peer), peer.stats().received);
            },
        );
        while let Some((_, peer, stream)) = streams.next_ready() {
            stream.answer(peer);
        }
    }
    println!("{}", server.stats());
    Ok(())
}

struct Stream {
    /// Where the client is to go.
    own: Option<SocketAddr>,
    has_switched: bool,
}

impl Stream {
    /// Sends back what has come. What cannot be sent now is lost, as datagrams are.
    fn answer(&mut self, peer: &mut PacketPeerUdp) {
        while let Ok(Some(packet)) = peer.get_packet() {
            let _ = peer.put_packet(&Answer::Echo(&packet).to_vec());
            self.tell_port(peer);
        }
    }

    /// Tells the client where to go, as long as it is not there. Packets leave by the port on which it is heard.
    fn tell_port(&mut self, peer: &mut PacketPeerUdp) {
        let Some(own) = self.own.filter(|_| !self.has_switched) else { return };
        if peer.local_addr() == Some(own) {
            self.has_switched = true;
            println!("{} goes on at {own}", address(peer));
        } else {
            let _ = peer.put_packet(&Answer::ChangePort(own.port()).to_vec());
        }
    }
}

fn address(peer: &PacketPeerUdp) -> String {
    peer.remote_addr().map_or_else(String::new, |addr| addr.to_string())
}
