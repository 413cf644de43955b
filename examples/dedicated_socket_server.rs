//! Gives each stream a socket of its own and answers from there at once; the client follows to the new port.
//!
//!     cargo run --release --example dedicated_socket_server -- --listen 127.0.0.1:4438
//!
//! What comes to the new port is sorted by the kernel: a socket that is connected hears its client only. Each stream
//! costs a descriptor and some memory of the kernel; when there are no more, streams stay on the port listened on, and
//! nobody is worse off.
//!
//! **Where it fails.** The client's first answer comes from a port that it has never sent to. Most NATs and firewalls
//! in front of *clients* let nothing like that in, and the client hears nothing at all. It is for clients that can be
//! reached: other servers, a local network. For all others there is the example `port_switch_server`.
//!
//! **What can an attacker do?** Make a socket here with each address that he forges, until there are no more. A server
//! on the public internet gives sockets only to those who have shown that they receive what is sent to them; see
//! `cookie_server`.
//!
//! **When a NAT gives the client another port** in mid-stream, its socket here does not hear it any more. The client
//! has to speak to the port listened on again, where it is somebody new; the old stream ends by its timer.
//!
//! `dedicated_socket_client` is the other side. Ends on Ctrl-C, or after `--seconds`, and prints its counters.

mod support;

use std::error::Error;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use packetpeer::identity::Switch;
use packetpeer::{Limits, PacketPeerUdp, Peers, ServerConfig, UdpServer};

fn main() -> Result<(), Box<dyn Error>> {
    let mut listen = String::from("127.0.0.1:4438");
    let mut idle_seconds: f64 = 5.0;
    let mut seconds: f64 = f64::INFINITY;
    support::read_options(
        "Sends back what comes, to each stream from a port of its own.",
        &mut [("listen", &mut listen), ("idle-seconds", &mut idle_seconds), ("seconds", &mut seconds)],
    )?;

    let idle = Duration::try_from_secs_f64(idle_seconds).map_err(|why| format!("--idle-seconds: {why}"))?;
    let mut server = UdpServer::with_config(ServerConfig::new().limits(Limits::new().idle_timeout(Some(idle))))?;
    let stop = support::ctrl_c()?;
    server.listen(&listen)?;
    println!("listening on {}", server.local_addr().ok_or("not listening")?);

    let start = Instant::now();
    let mut streams = Peers::new();
    let mut complained = false;
    while !stop.load(Ordering::Relaxed) && start.elapsed().as_secs_f64() < seconds {
        // These wait and receive for all sockets, the streams' own too.
        server.wait(Some(Duration::from_millis(20)))?;
        server.poll()?;
        streams.update(
            &mut server,
            |server, stream| {
                match server.dedicate_socket(stream, Switch::AtOnce) {
                    Ok(own) => println!("{} begins, answered from {own}", address(stream)),
                    // A stranger may have caused it, by forging an address that nothing can be sent to, so it is no
                    // reason to end.
                    Err(why) => {
                        println!("{} begins, answered from the port listened on", address(stream));
                        if !complained {
                            eprintln!("no socket to give: {why}");
                            complained = true;
                        }
                    }
                }
                Some(())
            },
            // The poll that found it has closed its socket.
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

/// Sends back what has come, no matter by which port. What cannot be sent now is lost, as datagrams are.
fn echo(stream: &mut PacketPeerUdp) {
    while let Ok(Some(packet)) = stream.get_packet() {
        let _ = stream.put_packet(&packet);
    }
}

fn address(stream: &PacketPeerUdp) -> String {
    stream.remote_addr().map_or_else(String::new, |addr| addr.to_string())
}
