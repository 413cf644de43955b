//! Sockets of which the fuzzer plays the network: what they receive, which errors they report, and what they take.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use packetpeer::socket::{BindAddr, BindOptions, Interrupt, ReceiveBatch, SendBatch, Transport, TransportFactory, TransportOption, Clock};

/// An error as the system reports it.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    Kind(io::ErrorKind),
    Os(i32),
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Kind(kind) => kind.into(),
            Trouble::Os(number) => Self::from_raw_os_error(number),
        }
    }
}

// Numbers of Linux, where these targets run: what its ICMP errors, its full queues and its firewall make of a call.
pub const EPERM: Trouble = Trouble::Os(1);
pub const EINTR: Trouble = Trouble::Os(4);
pub const EBADF: Trouble = Trouble::Os(9);
pub const EMFILE: Trouble = Trouble::Os(24);
pub const EMSGSIZE: Trouble = Trouble::Os(90);
pub const ENOBUFS: Trouble = Trouble::Os(105);
pub const ECONNREFUSED: Trouble = Trouble::Os(111);
pub const EHOSTUNREACH: Trouble = Trouble::Os(113);

/// Of these, a server says that the network made a noise, and goes on.
pub const NOISE: [Trouble; 8] = [
    ECONNREFUSED,
    EHOSTUNREACH,
    EINTR,
    EMSGSIZE,
    ENOBUFS,
    Trouble::Kind(io::ErrorKind::ConnectionReset),
    Trouble::Kind(io::ErrorKind::Other),
    Trouble::Kind(io::ErrorKind::TimedOut),
];

/// After these a socket is of no further use.
pub const FATAL: [Trouble; 3] =
    [EBADF, Trouble::Kind(io::ErrorKind::InvalidInput), Trouble::Kind(io::ErrorKind::BrokenPipe)];

/// What a receive meets next.
#[derive(Debug, Clone)]
pub enum Event {
    Datagram { sender: SocketAddr, bytes: Vec<u8> },
    Nothing,
    Noise(Trouble),
    Fatal(Trouble),
}

/// What becomes of a send.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    Accepted,
    Fails(Trouble),
    /// A batch of which nothing is accepted, without an error.
    NothingOfBatch,
}

/// A datagram that a socket has taken to be sent.
#[derive(Debug)]
pub struct Accepted {
    /// The index of the socket.
    pub by: usize,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

/// The network's side of all sockets.
#[derive(Debug)]
pub struct State {
    pub now: Instant,
    /// By index, in the order in which they were opened; one that is closed leaves a hole.
    pub sockets: Vec<Option<Socket>>,
    /// What becomes of the next sends, of whatever socket; when they are over, sends are accepted.
    pub fates: VecDeque<Fate>,
    /// After how many more calls of bind, connect and local_addr one fails, if any is to.
    pub setup_fails: Option<(usize, Trouble)>,
    /// Whether an empty socket says so by an error, as real ones do, or by a batch that is not full.
    pub empty_is_an_error: bool,
    pub max_segments: usize,
    pub handed: u64,
    /// As long as the datagrams were; a receiver may have room for less.
    pub handed_sizes: Vec<usize>,
    pub noise: u64,
    pub fatal: u64,
    pub accepted: Vec<Accepted>,
    next_port: u16,
}

#[derive(Debug)]
pub struct Socket {
    pub inbox: VecDeque<Event>,
    pub local_addr: SocketAddr,
    pub remote: Option<SocketAddr>,
}

#[derive(Debug, Clone)]
pub struct Wire(Arc<Mutex<State>>);

impl Wire {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            // Far enough from where an `Instant` begins for a caller to name earlier times.
            now: Instant::now() + Duration::from_secs(3600),
            sockets: Vec::new(),
            fates: VecDeque::new(),
            setup_fails: None,
            empty_is_an_error: false,
            max_segments: 1,
            handed: 0,
            handed_sizes: Vec::new(),
            noise: 0,
            fatal: 0,
            accepted: Vec::new(),
            next_port: 40_000,
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics that holds it")
    }
}

impl State {
    fn setup(&mut self) -> io::Result<()> {
        match self.setup_fails.take() {
            Some((0, trouble)) => Err(trouble.into()),
            later => {
                self.setup_fails = later.map(|(calls, trouble)| (calls - 1, trouble));
                Ok(())
            }
        }
    }

    /// The sockets that are open, the oldest first.
    pub fn open(&self) -> Vec<usize> {
        (0..self.sockets.len()).filter(|&index| self.sockets[index].is_some()).collect()
    }

    /// Whom a socket is connected to.
    pub fn remote_of(&self, index: usize) -> Option<SocketAddr> {
        self.sockets.get(index)?.as_ref()?.remote
    }

    /// Adds an event to the inbox of the socket that was opened as the `index`th, if it is still open.
    pub fn push(&mut self, index: usize, event: Event) {
        if let Some(Some(socket)) = self.sockets.get_mut(index) {
            socket.inbox.push_back(event);
        }
    }

    fn accept(&mut self, by: usize, to: SocketAddr, bytes: &[u8]) {
        self.accepted.push(Accepted { by, to, bytes: bytes.to_vec() });
    }
}

impl TransportFactory for Wire {
    fn bind(&self, options: &BindOptions) -> io::Result<Box<dyn Transport>> {
        let mut state = self.state();
        state.setup()?;
        let asked = match options.addr {
            BindAddr::Any(port) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
            BindAddr::Addr(addr) => addr,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let mut local_addr = asked;
        if asked.port() == 0 {
            state.next_port += 1;
            local_addr.set_port(state.next_port);
        }
        let index = state.sockets.len();
        state.sockets.push(Some(Socket { inbox: VecDeque::new(), local_addr, remote: None }));
        Ok(Box::new(WireSocket { wire: self.clone(), index, any: matches!(options.addr, BindAddr::Any(_)) }))
    }

    fn clock(&self) -> Clock {
        let wire = self.clone();
        Clock::new(move || wire.state().now)
    }
}

#[derive(Debug)]
struct WireSocket {
    wire: Wire,
    index: usize,
    /// Bound to every address of both IP versions.
    any: bool,
}

impl WireSocket {
    fn with<T>(&self, act: impl FnOnce(&mut Socket) -> T) -> T {
        let mut state = self.wire.state();
        act(state.sockets[self.index].as_mut().expect("a socket is open until it is dropped"))
    }
}

impl Transport for WireSocket {
    fn inner(&self) -> Option<&dyn Transport> {
        None
    }

    fn receive(&self, batch: &mut ReceiveBatch) -> io::Result<()> {
        let mut state = self.wire.state();
        while !batch.is_full() {
            let socket = state.sockets[self.index].as_mut().expect("a socket is open until it is dropped");
            let Some(event) = socket.inbox.pop_front() else {
                let is_error = state.empty_is_an_error && batch.is_empty();
                return if is_error { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) };
            };
            match event {
                Event::Datagram { sender, bytes } => {
                    batch.push(sender, &bytes);
                    state.handed += 1;
                    state.handed_sizes.push(bytes.len());
                }
                Event::Nothing => return Err(io::ErrorKind::WouldBlock.into()),
                Event::Noise(trouble) => {
                    state.noise += 1;
                    return Err(trouble.into());
                }
                Event::Fatal(trouble) => {
                    state.fatal += 1;
                    return Err(trouble.into());
                }
            }
        }
        Ok(())
    }

    fn send(&self, bytes: &[u8], to: SocketAddr, _from: Option<IpAddr>) -> io::Result<()> {
        let mut state = self.wire.state();
        match state.fates.pop_front().unwrap_or(Fate::Accepted) {
            Fate::Accepted => state.accept(self.index, to, bytes),
            Fate::Fails(trouble) => return Err(trouble.into()),
            Fate::NothingOfBatch => return Err(io::ErrorKind::WouldBlock.into()),
        }
        Ok(())
    }

    fn send_batch(&self, batch: &SendBatch<'_>) -> io::Result<usize> {
        let mut state = self.wire.state();
        assert!(!batch.is_empty(), "a batch of nothing");
        let mut sent = 0;
        for message in batch.messages() {
            check_segments(message.datagrams, state.max_segments);
            match state.fates.front().copied().unwrap_or(Fate::Accepted) {
                Fate::Accepted => {
                    state.fates.pop_front();
                    message.datagrams.iter().for_each(|bytes| state.accept(self.index, message.to, bytes));
                    sent += message.datagrams.len();
                }
                // What was accepted before it is told first; the error comes again.
                _ if sent > 0 => return Ok(sent),
                Fate::Fails(trouble) => {
                    state.fates.pop_front();
                    return Err(trouble.into());
                }
                Fate::NothingOfBatch => {
                    state.fates.pop_front();
                    return Ok(0);
                }
            }
        }
        Ok(sent)
    }

    fn max_segments(&self) -> usize {
        self.wire.state().max_segments
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketAddr> {
        self.wire.state().setup()?;
        self.with(|socket| socket.remote = Some(remote));
        Ok(remote)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire.state().setup()?;
        Ok(self.with(|socket| socket.local_addr))
    }

    fn reaches(&self, to: SocketAddr) -> bool {
        self.any || self.with(|socket| socket.local_addr.is_ipv4()) == to.is_ipv4()
    }

    fn wait(&self, _timeout: Option<Duration>, _interrupt: Option<&Interrupt>) -> io::Result<bool> {
        Ok(self.with(|socket| !socket.inbox.is_empty()))
    }

    fn set_option(&self, _option: TransportOption) -> io::Result<()> {
        self.wire.state().setup()
    }

    fn path_payload(&self, _to: SocketAddr) -> Option<usize> {
        Some(1472)
    }
}

impl Drop for WireSocket {
    fn drop(&mut self) {
        self.wire.state().sockets[self.index] = None;
    }
}

/// What [`packetpeer::socket::Message`] promises of its datagrams.
fn check_segments(datagrams: &[&[u8]], max: usize) {
    let [first, others @ ..] = datagrams else { panic!("a message of no datagrams") };
    assert!(datagrams.len() <= max, "{} segments where {max} are possible", datagrams.len());
    if let [between @ .., last] = others {
        assert!(between.iter().all(|datagram| datagram.len() == first.len()), "segments of several sizes");
        assert!(!last.is_empty() && last.len() <= first.len(), "the last segment is empty or the largest");
    }
}
