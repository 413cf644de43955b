//! What one datagram costs a server's processor: this crate against bare sockets, naive code, and Godot. Linux only.
//!
//! ```sh
//! cargo run --release -p lab --bin bench_echo
//! cargo run --release -p lab --bin bench_echo -- --peers 1000 --sizes 64 --burst 1 --repeat 21
//! sudo -E cargo run --release -p lab --bin bench_echo -- --drop-replies
//! ```
//!
//! Every server is a process of its own, on another core than this one, which plays all clients. They are measured in
//! turns, and compared within one repetition, so that a machine that slows down slows down all of them alike.
//!
//! # A frame
//!
//! This process sends what arrives in a frame: one datagram (`--burst 4`: four) from each of up to 1,000 peers, others
//! each frame where there are more. Then it tells the server to run its frame. The server takes its own processor time
//! (user and system), empties its socket, answers every datagram by one, and takes the time again. Then every answer is
//! checked: to the right peer, whole, once. So waiting, waking up and telling are in nobody's time; the two readings of
//! the clock, half a microsecond per frame, are in everybody's.
//!
//! # The contenders
//!
//! | name | what it is |
//! |---|---|
//! | `plain` | `recv_from` and `send_to` of the standard library, one after the other; knows no peers. The measure of the others |
//! | `naive` | what one writes first: all into a `HashMap<SocketAddr, VecDeque<Vec<u8>>>`, then every peer's queue is emptied |
//! | `floor`, `floor-df` | `recvmmsg` and `sendmmsg` of up to 64, no peers: less is hardly possible with one socket |
//! | `now`, `now-df` | this crate, `SendMode::Now`: as the example `echo_server` |
//! | `queue` | this crate, `SendMode::QueueWhenBlocked` |
//! | `flush`, `flush-df` | this crate, `SendMode::OnFlush`, one flush per frame |
//! | `godot` | `UDPServer` of Godot 3 with `tests/godot/echo_server.gd`, where `godot3-server` is installed |
//!
//! `-df` means that datagrams must not be fragmented, which is cheaper. All sockets are opened by this crate, so that
//! buffers and options are the same.
//!
//! Godot cannot be told when to run a frame, so it has a table of its own: a number of datagrams is always under way,
//! the servers run freely, and the system says what time they took. Another table is of an overload: the clients send as
//! fast as they can, and what the servers cannot take is lost. `plain`, `now` and `flush-df` stand beside it under the same
//! conditions.
//!
//! # Where the answers go
//!
//! On loopback, sending a datagram includes delivering it, about a third of an echo, which a server with a network card
//! does not pay. `--drop-replies` (as root) moves the benchmark into a network namespace of its own and drops answers
//! as soon as they have left the stack.

#[cfg(target_os = "linux")]
mod compare;
#[cfg(target_os = "linux")]
mod generator;
#[cfg(target_os = "linux")]
mod godot;
#[cfg(target_os = "linux")]
mod machine;
#[cfg(target_os = "linux")]
mod namespace;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod report;
#[cfg(target_os = "linux")]
mod servers;

#[cfg(target_os = "linux")]
fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
    use std::process::ExitCode;

    // A server's process: this program, started by itself.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("serve", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        process::serve(rest)?;
        return Ok(ExitCode::SUCCESS);
    }

    let options = options::Options::read()?;
    if options.drop_replies && !options.is_inside_namespace() {
        return namespace::run_inside(&arguments);
    }
    let sound = compare::run(&options)?;
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("bench_echo runs on Linux only: it counts processor time and chooses source addresses by Linux's means");
}
