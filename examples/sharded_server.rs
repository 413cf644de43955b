//! One port, several threads: each thread has a server of its own on the same port, and the system spreads the clients.
//!
//!     cargo run --release --example sharded_server -- --listen 127.0.0.1:4433 --shards 2
//!     cargo run --release --example echo_client -- --connect 127.0.0.1:4433 --clients 50
//!
//! For loads that one thread cannot poll. A client stays with its shard as long as no shard comes or goes; nothing is
//! shared between the shards, so a game has to be one in which players of different shards need not meet, or it passes
//! messages between them. Linux, Android and FreeBSD only.

mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::stats::ServerStats;
use packetpeer::{Limits, Peers, ServerConfig, SocketOptions, UdpServer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 4433));
    let mut shards: usize = 2;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Echoes by several servers on one port, each on a thread of its own.",
        &mut [("listen", &mut listen), ("shards", &mut shards), ("seconds", &mut seconds)],
    )?;

    let servers = open(listen, shards)?;
    println!("listening on {}, {shards} shards", servers[0].local_addr().ok_or("not listening")?);

    let stop = support::ctrl_c()?;
    let stats = thread::scope(|scope| {
        let running: Vec<_> = servers.into_iter().map(|server| scope.spawn(|| Shard::new(server).run(&stop))).collect();
        let start = Instant::now();
        while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        running.into_iter().map(|shard| shard.join().expect("a shard does not panic")).collect::<Vec<_>>()
    });
    for (shard, stats) in stats.iter().enumerate() {
        println!("\nshard {shard}\n{stats}");
    }
    Ok(())
}

/// The first shard may be given port 0; the others take the port that it got.
fn open(listen: SocketAddr, shards: usize) -> Result<Vec<UdpServer>, Box<dyn Error>> {
    let config = ServerConfig::new()
        .limits(Limits::new().max_pending_connections(256).max_pending_per_ip(256).max_peers_per_ip(None))
        .socket(SocketOptions::new().share_port(true));
    let mut servers: Vec<UdpServer> = Vec::new();
    for _ in 0..shards.max(1) {
        let mut server = UdpServer::with_config(config.clone())?;
        server.listen(servers.first().and_then(UdpServer::local_addr).unwrap_or(listen))?;
        servers.push(server);
    }
    Ok(servers)
}

struct Shard {
    server: UdpServer,
    peers: Peers<UdpServer>,
}

impl Shard {
    fn new(server: UdpServer) -> Self {
        Self { server, peers: Peers::new() }
    }

    fn run(mut self, stop: &AtomicBool) -> ServerStats {
        while !stop.load(Ordering::Relaxed) && self.frame().is_ok() {}
        self.server.stats()
    }

    fn frame(&mut self) -> Result<(), Box<dyn Error>> {
        self.server.wait(Some(Duration::from_millis(20)))?;
        self.server.poll()?;
        self.peers.update(&mut self.server, |_, _| Some(()), |_, _, (), _| {});
        while let Some((_, peer, ())) = self.peers.next_ready() {
            while let Some(packet) = peer.get_packet()? {
                // What cannot be sent now is lost, as datagrams are; the counters say so.
                let _ = peer.put_packet(&packet);
            }
        }
        Ok(())
    }
}
