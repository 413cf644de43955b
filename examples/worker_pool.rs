//! Slow work for each packet, such as a query of a database, without a slow poll.
//!
//!     cargo run --release --example worker_pool -- --workers 4 --clients 16 --seconds 3
//!
//! The server polls on the main thread, 60 times a second, and never waits. Whoever has something to say is handed,
//! handle and all, to a pool of threads; the thread that takes it answers one packet and sends the handle back. Client
//! 0 asks for work ten times as slow as the others do, and for several pieces at once: nobody else must notice.
//!
//! Clients run in this process. Exit code 0 only if everything was answered, the poll did not wait for the workers, and
//! the others did not wait for client 0.

mod support;

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use packetpeer::{CloseReason, Limits, PacketPeerUdp, PeerId, SendMode, ServerConfig, UdpServer};
use support::{FrameClock, percentile};

const HZ: u32 = 60;

/// What a question of client 0 costs.
const SLOW: Duration = Duration::from_millis(200);

/// What the others' questions cost, in milliseconds.
const QUICK: RangeInclusive<u64> = 5..=20;

/// How many questions client 0 has open at a time. The others have one.
const GREED: usize = 4;

/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut workers: usize = 4;
    let mut clients: u32 = 16;
    let mut seconds: f64 = 3.0;
    support::read_options(
        "A server whose packets take long to answer, its worker threads, and clients that measure.",
        &mut [("workers", &mut workers), ("clients", &mut clients), ("seconds", &mut seconds)],
    )?;
    if workers < 2 || clients < 2 {
        return Err("--workers, --clients: at least 2, for one of each is slow".into());
    }
    support::check("workers", workers, 2..=1024)?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|why| format!("--seconds: {why}"))?;

    // All clients have one address, and may come in one frame.
    let places = clients as usize;
    let limits = Limits::new().max_pending_connections(places).max_pending_per_ip(places);
    // Workers send while others do, and nobody asks twice here: where the system is busy, an answer waits for the next poll.
    let config = ServerConfig::new().limits(limits).send_mode(SendMode::QueueWhenBlocked);
    let mut server = UdpServer::with_config(config)?;
    server.listen("127.0.0.1:0")?;
    let address = server.local_addr().ok_or("not listening")?;
    // Client 0 keeps one worker busy. Between questions the others rest for so long that they keep half of the rest
    // busy.
    let rest = Duration::from_millis(QUICK.end() + QUICK.start()) * clients / (workers as u32 - 1);
    let crowd = thread::spawn(move || play(address, clients, rest, duration).map_err(|error| error.to_string()));

    let mut desk = Desk { pool: Pool::start(workers), at_home: HashMap::new(), ready: Vec::new(), ended: Vec::new() };
    let mut poll_times = Vec::new();
    let mut clock = FrameClock::new(HZ);
    while !crowd.is_finished() {
        clock.sleep();
        let begin = Instant::now();
        server.poll()?;
        desk.frame(&mut server)?;
        poll_times.push(begin.elapsed());
        desk.pool.polls.fetch_add(1, Ordering::Relaxed);
    }
    let work = desk.pool.stop()?;
    let mut clients = crowd.join().map_err(|_| "the clients' thread panicked")??;

    println!(
        "{} polls with dispatch: p99 {:?}, max {:?}",
        poll_times.len(),
        percentile(&mut poll_times, 99),
        percentile(&mut poll_times, 100)
    );
    println!(
        "{workers} workers: {} answers in {:.1?} of work, {} polls meanwhile",
        work.answers, work.time, work.polls
    );
    for client in &mut clients {
        client.print();
    }
    Ok(judge(&work, &mut clients))
}

/// Sees to it that each player's packets are answered one after the other, and different players' at the same time.
///
/// A player with packets waiting is given away by handle: while a worker has it, it cannot be given to another, so that
/// answers keep their order, and a player who asks a lot keeps one worker busy and no more. Who still has something to
/// say after that is in the server's `ready` list again, and goes to the end of the queue.
///
/// (With a thread for each player, that thread could sleep in `PacketPeerUdp::wait`. A pool has fewer threads than
/// there are players, so the server's list tells who needs one.)
struct Desk {
    pool: Pool,
    /// The players that no worker has.
    at_home: HashMap<PeerId, PacketPeerUdp>,
    ready: Vec<PeerId>,
    ended: Vec<(PeerId, CloseReason)>,
}

impl Desk {
    fn frame(&mut self, server: &mut UdpServer) -> Result<(), Box<dyn Error>> {
        while let Some(player) = server.take_connection() {
            self.at_home.insert(player.id(), player);
        }
        for player in self.pool.finished.try_iter().filter(|player| player.close_reason().is_none()) {
            self.at_home.insert(player.id(), player);
        }
        self.ended.clear();
        server.take_ended(&mut self.ended);
        for (id, _) in &self.ended {
            self.at_home.remove(id);
        }
        self.ready.clear();
        server.ready(&mut self.ready);
        for id in &self.ready {
            if let Some(player) = self.at_home.remove(id) {
                self.pool.jobs.send(player).map_err(|_| "the workers are gone")?;
            }
        }
        Ok(())
    }
}

/// The threads, a channel to them and one back. A player is in one of them and once at most, so that they cannot grow
/// long.
struct Pool {
    jobs: Sender<PacketPeerUdp>,
    finished: Receiver<PacketPeerUdp>,
    threads: Vec<JoinHandle<Work>>,
    /// Polls so far, by which the workers tell whether the poll goes on while they work.
    polls: Arc<AtomicU64>,
}

/// What workers have done.
#[derive(Default)]
struct Work {
    answers: u64,
    time: Duration,
    /// Polls that the server made during that time; several workers count the same poll.
    polls: u64,
}

impl Pool {
    fn start(workers: usize) -> Self {
        let (jobs, queue) = mpsc::channel();
        let (home, finished) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let polls = Arc::new(AtomicU64::new(0));
        let threads = (0..workers).map(|_| {
            let (queue, home, polls) = (Arc::clone(&queue), home.clone(), Arc::clone(&polls));
            thread::spawn(move || work(&queue, &home, &polls))
        });
        Self { jobs, finished, threads: threads.collect(), polls }
    }

    /// Lets the workers finish what is in the queue.
    fn stop(self) -> Result<Work, Box<dyn Error>> {
        drop(self.jobs);
        let mut all = Work::default();
        for thread in self.threads {
            let work = thread.join().map_err(|_| "a worker panicked")?;
            all.answers += work.answers;
            all.time += work.time;
            all.polls += work.polls;
        }
        Ok(all)
    }
}

/// A worker: takes a player off the queue, answers one packet, sends the player home; until the queue's other end is
/// gone.
fn work(queue: &Mutex<Receiver<PacketPeerUdp>>, home: &Sender<PacketPeerUdp>, polls: &AtomicU64) -> Work {
    let mut done = Work::default();
    while let Some(mut player) = next_job(queue) {
        if let Ok(Some(packet)) = player.get_packet() {
            let (begin, polls_before) = (Instant::now(), polls.load(Ordering::Relaxed));
            if let Some(answer) = look_up(&packet) {
                let _ = player.put_packet(&answer); // straight from here: the socket may be used by any thread
                done.answers += 1;
            }
            done.time += begin.elapsed();
            done.polls += polls.load(Ordering::Relaxed) - polls_before;
        }
        let _ = home.send(player); // fails where the server has stopped
    }
    done
}

/// One worker sleeps in the channel, the others at the lock; nobody holds it while working.
fn next_job(queue: &Mutex<Receiver<PacketPeerUdp>>) -> Option<PacketPeerUdp> {
    queue.lock().ok()?.recv().ok()
}

/// The database. A question is its number and how many milliseconds it is going to take, each a little-endian `u32`.
fn look_up(question: &[u8]) -> Option<[u8; 4]> {
    let (number, rest) = question.split_first_chunk::<4>()?;
    let millis = u32::from_le_bytes(*rest.first_chunk()?);
    thread::sleep(Duration::from_millis(millis.into()).min(SLOW));
    Some(*number)
}

/// All clients, on a thread of their own: they ask until the time is up, then wait for what is open.
fn play(server: SocketAddr, clients: u32, rest: Duration, duration: Duration) -> Result<Vec<Client>, Box<dyn Error>> {
    let mut clients = (0..clients)
        // Not all at once.
        .map(|number| Client::new(number, server, rest, Instant::now() + rest * number / clients))
        .collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    while start.elapsed() < duration || clients.iter().any(|client| !client.open.is_empty()) {
        if start.elapsed() > duration + PATIENCE {
            break;
        }
        for client in &mut clients {
            client.listen()?;
            if start.elapsed() < duration {
                client.ask()?;
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(clients)
}

struct Client {
    number: u32,
    peer: PacketPeerUdp,
    asked: u32,
    /// Questions without an answer, and when they were asked.
    open: Vec<(u32, Instant)>,
    next: Instant,
    rest: Duration,
    latencies: Vec<Duration>,
}

impl Client {
    fn new(number: u32, server: SocketAddr, rest: Duration, next: Instant) -> Result<Self, Box<dyn Error>> {
        let mut peer = PacketPeerUdp::new();
        peer.connect_to_host(server)?;
        Ok(Self { number, peer, asked: 0, open: Vec::new(), next, rest, latencies: Vec::new() })
    }

    fn is_slow(&self) -> bool {
        self.number == 0
    }

    fn ask(&mut self) -> Result<(), Box<dyn Error>> {
        let (may_be_open, cost) =
            if self.is_slow() { (GREED, SLOW) } else { (1, Duration::from_millis(fastrand::u64(QUICK))) };
        if self.open.len() < may_be_open && Instant::now() >= self.next {
            let question = [self.asked.to_le_bytes(), (cost.as_millis() as u32).to_le_bytes()].concat();
            self.peer.put_packet(&question)?;
            self.open.push((self.asked, Instant::now()));
            self.asked += 1;
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), Box<dyn Error>> {
        self.peer.poll()?;
        while let Some(answer) = self.peer.get_packet()? {
            let answered = self.open.iter().position(|(number, _)| *answer == number.to_le_bytes());
            if let Some(index) = answered {
                let (_, asked) = self.open.swap_remove(index);
                self.latencies.push(asked.elapsed());
                if !self.is_slow() {
                    self.next = Instant::now() + self.rest;
                }
            }
        }
        Ok(())
    }

    fn print(&mut self) {
        println!(
            "client {:<3} {:>4} asked, {:>4} answered, p50 {:>6.1?}, p99 {:>6.1?}{}",
            self.number,
            self.asked,
            self.latencies.len(),
            percentile(&mut self.latencies, 50),
            percentile(&mut self.latencies, 99),
            if self.is_slow() { "  (slow and greedy)" } else { "" },
        );
    }
}

/// Says what went wrong, if anything did. No limit is tight, for machines that are busy with something else too.
fn judge(work: &Work, clients: &mut [Client]) -> ExitCode {
    let mut wrong = Vec::new();
    if work.answers == 0 || clients.iter().any(|client| client.latencies.len() != client.asked as usize) {
        wrong.push("not everything was answered");
    }
    // A poll that waits for a worker happens after its work and not during it.
    if (work.polls as f64) < work.time.as_secs_f64() * f64::from(HZ) / 4.0 {
        wrong.push("the poll waited for the workers");
    }
    // Behind client 0, the others would wait for its work too.
    let others = clients.iter_mut().filter(|client| !client.is_slow());
    if others.map(|client| percentile(&mut client.latencies, 50)).any(|p50| p50 >= SLOW) {
        wrong.push("players waited for the slow one");
    }
    wrong.iter().for_each(|what| eprintln!("FAILED: {what}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
