//! Godot's own `UDPServer`, with the script that the tests use too.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Debian's package of the same name.
pub(crate) const PROGRAM: &str = "godot3-server";

/// It ends after so long, in case nobody is left to end it.
const SECONDS: &str = "120";

pub(crate) fn is_installed() -> bool {
    Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// A running Godot; ends when this is dropped.
pub(crate) struct GodotServer {
    child: Child,
    addr: SocketAddrV4,
}

impl GodotServer {
    pub(crate) fn start(core: Option<usize>) -> Result<Self, Box<dyn Error>> {
        // It cannot tell which port 0 became, so it gets one that was free a moment ago.
        let free = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let SocketAddr::V4(addr) = free else { return Err("asked for IPv4".into()) };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/godot/echo_server.gd");
        let mut command = match core {
            // Godot does not pin itself; where there is no taskset(1), it runs on any core.
            Some(core) if is_taskset_there() => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string(), PROGRAM]);
                command
            }
            _ => Command::new(PROGRAM),
        };
        command.arg("-s").arg(script);
        command.env("PACKETPEER_PORT", addr.port().to_string()).env("PACKETPEER_SECONDS", SECONDS);
        // It complains about locales like C.UTF-8, and writes its logs where it stands.
        command.env_remove("LANG").current_dir(std::env::temp_dir());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut server = Self { child, addr };
        let output = server.child.stdout.take().ok_or("stdout is piped")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        if !lines.any(|line| line == "listening") {
            return Err(format!("{PROGRAM} does not listen on {addr}").into());
        }
        // Somebody has to read what else it says.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(server)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn addr(&self) -> SocketAddrV4 {
        self.addr
    }
}

impl Drop for GodotServer {
    fn drop(&mut self) {
        // Either fails only where the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_taskset_there() -> bool {
    Command::new("taskset").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
