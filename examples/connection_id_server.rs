//! Knows its clients by an id in each datagram, so that they may change their address in mid-conversation.
//!
//!     cargo run --release --example connection_id_server -- --listen 127.0.0.1:4437
//!
//! A phone leaves the Wi-Fi, a NAT forgets a quiet client and gives it another port: for a server that knows clients by
//! address, somebody new speaks. Here each datagram begins with eight bytes that name the connection, both ways, and
//! the server answers to wherever the last datagram came from.
//!
//! **Who draws the id?** The client does, 64 random bits of the system, before its first datagram. The server could do
//! it, and would have to answer everybody who asks, and remember which ids it gave to whom; as it is, an id that nobody
//! has used makes a connection, and nothing has to be agreed on. Two clients never draw the same by accident.
//!
//! **What can an attacker do?** The id is all that tells a client from somebody else.
//!
//! - An attacker that *guesses* an id can speak for its owner. There are 2^64: at a million tries a second, against
//!   a thousand clients, the first hit takes some 600 years. With 32 bits it would take four seconds, with a counter none.
//! - One that *overhears* an id, on the same Wi-Fi or on the way, can speak for its owner, and take the connection
//!   along: answers go to the thief until the owner is heard again after the grace for stragglers. Against that, ask
//!   for a proof (`OnMove::ask`), and encrypt: an id is no encryption.
//! - One that *forges* a victim's address with an id of its own makes answers go to the victim. So the library lets no
//!   more go to a new address than three times what came from it, until the server has seen that somebody receives
//!   there: it sends a token there, and the client sends it back (`Client::token`).
//!
//! So an id is a secret: this server prints its own names for clients instead.
//!
//! `connection_id_client` is the other side. Ends on Ctrl-C, or after `--seconds`, and prints its counters.

mod support;
#[path = "connection_id/wire.rs"]
mod wire;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use packetpeer::identity::{ConnectionIds, Identity};
use packetpeer::{Limits, PacketPeerUdp, Peers, ServerConfig, UdpServer};
use wire::{Said, Token};

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4437");
    let mut idle_seconds: f64 = 5.0;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Sends back what comes, to wherever the client is, and tells when one begins, moves or ends.",
        &mut [("listen", &mut listen), ("idle-seconds", &mut idle_seconds), ("seconds", &mut seconds)],
    )?;

    let idle = Duration::try_from_secs_f64(idle_seconds).map_err(|why| format!("--idle-seconds: {why}"))?;
    let config = ServerConfig::new()
        // What has no id, the server drops.
        .identity(Identity::ConnectionId(ConnectionIds::new(|datagram| wire::read(datagram).map(|(id, _)| id))))
        .limits(Limits::new().idle_timeout(Some(idle)));
    let mut server = UdpServer::with_config(config)?;
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut clients: Peers<UdpServer, Client> = Peers::new();
    let mut moved = Vec::new();
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        server.wait(Some(Duration::from_millis(20)))?;
        server.poll()?;
        clients.update(
            &mut server,
            |_, peer| {
                // It may have moved before it was taken. Where the system has no randomness to give, it is not let in.
                let token = if peer.is_address_confirmed() { None } else { Some(random().ok()?) };
                println!("{} begins at {}", peer.id(), peer.remote_addr()?);
                Some(Client { token })
            },
            |_, peer, _, reason| {
                println!("{} ended after {} datagrams: {reason}", peer.id(), peer.stats().received);
            },
        );
        // Answers go to the new address already, but not many. Each move has a token of its own: that somebody received
        // at one address says nothing of the next.
        server.take_moved(&mut moved);
        for moved in moved.drain(..) {
            println!("{} moved from {} to {}", moved.peer, moved.from, moved.to);
            let Some((_, client)) = clients.get_mut(moved.peer) else { continue };
            client.token = if moved.confirmed { None } else { Some(random()?) };
        }
        while let Some((id, peer, client)) = clients.next_ready() {
            let Some(proved) = client.answer(peer) else { continue };
            if server.confirm_move(id, proved) == Ok(true) {
                client.token = None;
                println!("{id} receives at {proved}");
            }
        }
    }
    println!("{}", server.stats());
    Ok(())
}

struct Client {
    /// What has to come back from where the client is, as long as it has not.
    token: Option<Token>,
}

impl Client {
    /// Sends back what has come, under the id of the connection that it came on. Returns where the token came from, if it
    /// has come.
    fn answer(&mut self, peer: &mut PacketPeerUdp) -> Option<SocketAddr> {
        // It or its answer may be lost: sent whenever something has come, and first, since then it has room.
        if let (Some(id), Some(token)) = (peer.connection_id(), self.token) {
            let _ = peer.put_packet(&wire::write(id, Said::Token(token)));
        }
        let mut proved = None;
        while let Ok(Some(packet)) = peer.get_packet() {
            match wire::read(&packet) {
                Some((id, said @ Said::Data(_))) => drop(peer.put_packet(&wire::write(id, said))),
                Some((_, Said::Token(token))) if self.token == Some(token) => proved = Some(packet.sender()),
                _ => {}
            }
        }
        proved
    }
}

fn random() -> Result<Token, getrandom::Error> {
    let mut token = Token::default();
    getrandom::fill(&mut token)?;
    Ok(token)
}
