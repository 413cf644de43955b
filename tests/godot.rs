//! Our examples against a real Godot, both ways round: its `PacketPeerUDP` against our `echo_server`, our `echo_client`
//! against its `UDPServer`. The Godot side is in `tests/godot/*.gd`; each script says how to run it by hand.
//!
//! Wants Debian's `godot3-server` (Godot 3.2, headless). Where that is missing the tests pass without testing anything,
//! except in CI (`CI` is set), where they fail.

#![cfg(target_os = "linux")] // where Debian is

use std::env;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

mod process;

use process::{Process, our_example};

const GODOT: &str = "godot3-server";

/// How long a process may take to say that it is ready.
const STARTUP: Duration = Duration::from_secs(20);

/// How long one exchange may take. Every process is told when to end, in case nobody is left to end it.
const EXCHANGE_SECONDS: u64 = 60;

/// How much longer we wait than the scripts do: they can say what is missing.
const GRACE: Duration = Duration::from_secs(10);

#[test]
fn godot_client_gets_every_size_back_from_our_server() {
    if !godot_is_installed() {
        return;
    }
    let (_server, addr) = our_server(&["--hz", "250", "--max-pending", "16"]);
    assert_passes(godot("mixed-sizes", "client.gd", addr.port()));
}

#[test]
fn a_hundred_godot_clients_get_only_their_own_data() {
    if !godot_is_installed() {
        return;
    }
    // All clients speak at once, to a server that admits sixteen a frame.
    let (_server, addr) = our_server(&["--hz", "60", "--max-pending", "16"]);
    assert_passes(godot("many-clients", "many_clients.gd", addr.port()));
}

#[test]
fn our_clients_get_their_data_back_from_godots_server() {
    if !godot_is_installed() {
        return;
    }
    let (_server, addr) = godot_server();
    // echo_client sends nothing twice, so all of a run's datagrams together must fit into a socket's buffer of 208 KiB.
    // The kernel charges more than the payload: about 800 bytes for 64, about 2300 for 1200.
    for (clients, count, size) in [("16", "10", "64"), ("4", "10", "1200"), ("1", "3", "8192")] {
        let mut command = our_example("echo_client");
        command.args(["--connect", &addr.to_string(), "--clients", clients]);
        command.args(["--count", count, "--size", size]);
        // Late is not lost: Godot may be slow to answer.
        command.args(["--lost-after-seconds", "30"]);
        let mut client = Process::start(&mut command);
        let status = client.wait(Duration::from_secs(EXCHANGE_SECONDS) + GRACE).status;
        assert!(status.success(), "echo_client, {clients} clients × {count} datagrams of {size} bytes: {status}");
    }
}

/// Whether the test can run; in CI, it must.
fn godot_is_installed() -> bool {
    match Command::new(GODOT).arg("--version").output() {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let in_ci = env::var_os("CI").is_some_and(|value| !value.is_empty());
            assert!(!in_ci, "CI must not skip this: apt-get install --no-install-recommends {GODOT}");
            eprintln!("skipped, {GODOT} is not installed");
            false
        }
        Err(error) => panic!("{GODOT} does not start: {error}"),
    }
}

fn our_server(options: &[&str]) -> (Process, SocketAddr) {
    let mut command = our_example("echo_server");
    command.args(["--listen", "127.0.0.1:0"]).args(options);
    command.args(["--seconds", &(2 * EXCHANGE_SECONDS).to_string()]);
    let mut server = Process::start(&mut command);
    let line = server.wait_for_line("listening on ", STARTUP).expect("echo_server says where it listens");
    let addr = line["listening on ".len()..].trim().parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
    (server, addr)
}

/// A Godot server on a port that was free a moment ago, as Godot 3.2 cannot tell which port it got.
fn godot_server() -> (Process, SocketAddr) {
    let mut failed = Vec::new(); // kept, so that they say why when we panic
    for _ in 0..5 {
        let free = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free UDP port");
        let mut server = godot("godot-server", "echo_server.gd", free.port());
        if server.wait_for_line("listening", STARTUP).is_some() {
            return (server, free);
        }
        failed.push(server);
    }
    panic!("no Godot server came up on any of five ports");
}

fn godot(test: &str, script: &str, port: u16) -> Process {
    let mut command = Command::new(GODOT);
    command.arg("-s").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/godot").join(script));
    command.env("PACKETPEER_PORT", port.to_string()).env("PACKETPEER_SECONDS", EXCHANGE_SECONDS.to_string());
    // Without a project, Godot writes its logs into the working directory.
    command.current_dir(scratch_directory(test));
    // It complains on stderr about locales like C.UTF-8.
    command.env_remove("LANG");
    Process::start(&mut command)
}

/// The exit code alone proves nothing: Godot exits 0 also when it cannot read or parse the script.
fn assert_passes(mut script: Process) {
    let ended = script.wait(Duration::from_secs(EXCHANGE_SECONDS) + GRACE);
    let (status, passed) = (ended.status, ended.said.iter().any(|line| line.starts_with("PASS ")));
    assert!(status.success() && passed, "the script did not pass: {status}");
}

fn scratch_directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("godot").join(test);
    fs::create_dir_all(&path).expect("a scratch directory");
    path
}
