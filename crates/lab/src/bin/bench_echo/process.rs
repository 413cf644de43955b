//! A server in a process of its own, and the line it is told what to do by: both ends.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, SocketAddrV4};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{machine, servers};

/// A server that runs freely and hears nothing for so long ends, in case nobody is left to end it.
const LONELY: Duration = Duration::from_secs(30);

/// The server's end: `serve CONTENDER PEERS [CORE]`. Ends with the line.
pub(crate) fn serve(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let [name, peers, core @ ..] = arguments else { return Err("serve CONTENDER PEERS [CORE]".into()) };
    if let [core] = core {
        machine::pin(core.parse()?);
    }
    let servers::Opened { mut server, addr, receive_buffer } = servers::open(name, peers.parse()?)?;
    println!("{addr} {receive_buffer}");
    for line in std::io::stdin().lock().lines() {
        match line?.as_str() {
            "frame" => {
                let before = machine::processor_time()?;
                let received = server.frame()?;
                let took = machine::processor_time()? - before;
                println!("{received} {}", took.as_nanos());
            }
            "figures" => println!("{} {}", machine::resident_kib()?, server.pool_misses()),
            "run" => return run_freely(&mut *server),
            other => return Err(format!("no command {other:?}").into()),
        }
    }
    Ok(())
}

fn run_freely(server: &mut dyn servers::EchoServer) -> Result<(), Box<dyn Error>> {
    let mut heard = Instant::now();
    while heard.elapsed() < LONELY {
        server.wait(Duration::from_secs(1))?;
        if server.frame()? > 0 {
            heard = Instant::now();
        }
    }
    Ok(())
}

/// Our end. The process ends when this is dropped.
pub(crate) struct ServerProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pub(crate) addr: SocketAddrV4,
    pub(crate) receive_buffer: usize,
}

/// What one frame took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Frame {
    pub(crate) received: usize,
    pub(crate) time: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) resident_kib: u64,
    pub(crate) pool_misses: u64,
}

impl ServerProcess {
    pub(crate) fn start(contender: &str, peers: usize, core: Option<usize>) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", contender, &peers.to_string()]).args(core.map(|core| core.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or("stdin is piped")?;
        let output = BufReader::new(child.stdout.take().ok_or("stdout is piped")?);
        let nobody = SocketAddrV4::new([127, 0, 0, 1].into(), 0);
        let mut process = Self { child, input, output, addr: nobody, receive_buffer: 0 };
        let opened = process.read_line()?;
        let (addr, receive_buffer) = opened.split_once(' ').ok_or_else(|| format!("{contender} did not start"))?;
        process.addr = match addr.parse()? {
            SocketAddr::V4(addr) => addr,
            SocketAddr::V6(addr) => return Err(format!("IPv6: {addr}").into()),
        };
        process.receive_buffer = receive_buffer.parse()?;
        Ok(process)
    }

    pub(crate) fn frame(&mut self) -> Result<Frame, Box<dyn Error>> {
        let (received, nanoseconds) = self.ask("frame")?;
        Ok(Frame { received: received as usize, time: Duration::from_nanos(nanoseconds) })
    }

    pub(crate) fn figures(&mut self) -> Result<Figures, Box<dyn Error>> {
        let (resident_kib, pool_misses) = self.ask("figures")?;
        Ok(Figures { resident_kib, pool_misses })
    }

    /// From now on it runs on its own.
    pub(crate) fn run(&mut self) -> Result<(), Box<dyn Error>> {
        Ok(writeln!(self.input, "run")?)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn ask(&mut self, command: &str) -> Result<(u64, u64), Box<dyn Error>> {
        writeln!(self.input, "{command}")?;
        let line = self.read_line()?;
        let (first, second) = line.split_once(' ').ok_or("the server has ended")?;
        Ok((first.parse()?, second.parse()?))
    }

    fn read_line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Either fails only where the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
