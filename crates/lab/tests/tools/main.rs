//! The tools as a user runs them: real processes that talk over the loopback interface, on ports that the system chooses.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

mod bad_network;
#[path = "../../../../tests/util/counts.rs"]
mod counts;
mod options;
// How a process is started, read and interrupted is the same for the library's examples.
#[path = "../../../../tests/process/mod.rs"]
mod process;
mod slow_upstream;
mod soak;

use process::{Ended, Process, our_program};

/// How long anything may take, on the busiest of machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// The path of a tool, which cargo builds before this test.
macro_rules! tool {
    ($name:literal) => {
        env!(concat!("CARGO_BIN_EXE_", $name))
    };
}
use tool;

/// Runs a tool that ends by itself.
fn run(tool: &str, options: &[&str]) -> Ended {
    Process::start(our_program(Path::new(tool)).args(options)).wait(PATIENCE)
}

/// A tool that listens, and is ended as by Ctrl-C.
struct Listening {
    process: Process,
    addr: SocketAddr,
}

impl Listening {
    fn start(tool: &str, options: &[&str]) -> Self {
        // Should nobody be left to end it, it ends by itself.
        let always = ["--listen", "127.0.0.1:0", "--seconds", "120"];
        let mut process = Process::start(our_program(Path::new(tool)).args(always).args(options));
        let line = process.wait_for_line("listening on ", PATIENCE).expect("it says where it listens");
        let addr = line["listening on ".len()..].parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { process, addr }
    }

    /// What it printed when it ended.
    fn stop(mut self) -> Counters {
        Counters(self.process.interrupt(PATIENCE).said)
    }
}

/// The table of a server's counters, as printed.
struct Counters(Vec<String>);

impl Counters {
    /// The line that begins with this label, without it.
    #[track_caller]
    fn line(&self, label: &str) -> &str {
        let line = self.0.iter().find_map(|line| line.trim().strip_prefix(label));
        line.unwrap_or_else(|| panic!("no {label} in {:#?}", self.0)).trim()
    }

    /// Asserts that the line of this label says just this.
    #[track_caller]
    fn assert_has(&self, label: &str, value: &str) {
        let values: Vec<_> = self.0.iter().filter_map(|line| line.trim().strip_prefix(label)).map(str::trim).collect();
        assert_eq!(values, [value], "{label}, in {:#?}", self.0);
    }
}

/// A client that speaks byte by byte.
struct Stranger {
    socket: UdpSocket,
}

impl Stranger {
    fn of(server: &Listening) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free UDP port");
        socket.connect(server.addr).expect("a server on loopback");
        Self { socket }
    }

    fn say(&self, bytes: &[u8]) {
        self.socket.send(bytes).expect("sending over loopback");
    }

    /// What comes next; `None` where nothing does for so long.
    #[track_caller]
    fn hear_within(&self, time: Duration) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        self.socket.set_read_timeout(Some(time)).expect("a time-out");
        match self.socket.recv(&mut buffer) {
            Ok(len) => Some(buffer[..len].to_vec()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    fn hear(&self) -> Vec<u8> {
        self.hear_within(PATIENCE).unwrap_or_else(|| panic!("nothing came in {PATIENCE:?}"))
    }
}
