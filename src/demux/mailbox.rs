use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use super::contents::{Bell, Contents, Outbox};
use super::identity::ConnectionId;
use super::key::Key;
use super::queue::Weigh;
use super::tally::OwnTally;
use crate::peer_id::{LocalId, PeerId};
use crate::peer_state::CloseReason;
use crate::stats::{PeerStats, SendDropReason};
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What a server shares with all its peers' handles.
pub(crate) type Common = super::common::Common<Mailbox>;

/// What the server and a peer's handle share: what has been received and not taken, what has been put and not sent,
/// whether the peer has ended, and counters.
///
/// Only the server receives into it and flushes it, only the handle takes and puts, either may end it. The lock is held
/// for the move of one packet, never across a system call; asking whether anything waits, and whether it has ended,
/// takes no lock. How it receives is in `inbox.rs`, how it sends in `outbox.rs`, and where its remote is in `way.rs`.
pub(crate) struct Mailbox {
    id: LocalId,
    connection: Option<ConnectionId>,
    pub(super) first_remote: SocketAddr,
    /// Whether the remote has ever been another; which it is, is in the contents.
    pub(super) has_moved: AtomicBool,
    pub(super) shared: Arc<Common>,
    /// The remote has spoken to the socket that this peer has for itself.
    switched: AtomicBool,
    /// There is no handle any more.
    abandoned: AtomicBool,
    /// [`OPEN`], or the [code](CloseReason::code) of the reason.
    ended: AtomicU8,
    pub(super) waiting: AtomicU32,
    /// What the handle has sent at once, and what the server has sent by flush or broadcast. Each counts for itself, so
    /// that neither has to exclude the other.
    pub(super) sent_at_once: OwnTally,
    pub(super) flushed: OwnTally,
    /// Broadcasts that it was among. The puts of the handle are counted there.
    pub(super) broadcasts: AtomicU64,
    contents: Mutex<Contents>,
}

impl Mailbox {
    pub(super) fn new(id: LocalId, connection: Option<ConnectionId>, remote: SocketAddr, shared: Arc<Common>) -> Self {
        Self {
            id,
            connection,
            first_remote: remote,
            has_moved: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            abandoned: AtomicBool::new(false),
            shared,
            ended: AtomicU8::new(OPEN),
            waiting: AtomicU32::new(0),
            sent_at_once: OwnTally::default(),
            flushed: OwnTally::default(),
            broadcasts: AtomicU64::new(0),
            contents: Mutex::default(),
        }
    }

    /// Ends the peer, unless it has ended already. Returns whether it was this call.
    pub(super) fn end(&self, reason: CloseReason) -> bool {
        let ended = self.ended.compare_exchange(OPEN, reason.code(), Ordering::Release, Ordering::Relaxed).is_ok();
        if ended {
            let bell = self.contents().bell();
            if let Some(bell) = bell {
                bell.ring();
            }
        }
        ended
    }

    /// Ends the peer from its handle, on whatever thread: an atomic mark, and a word to the server's next poll.
    pub(crate) fn close(&self) {
        let mark = CloseReason::Closed.code();
        if self.ended.compare_exchange(OPEN, mark, Ordering::Release, Ordering::Relaxed).is_ok() {
            self.shared.announce_closed(self.id());
        }
    }

    /// As [`Mailbox::close`], where the handle goes with it: nobody takes what waits.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.close();
    }

    /// Whether something waits and there is a handle to take it.
    pub(super) fn is_ready(&self) -> bool {
        self.waiting() > 0 && !self.abandoned.load(Ordering::Acquire)
    }

    /// Why the peer has ended, if it has.
    ///
    /// Ask this before asking for packets: whatever was queued before the end is then seen.
    pub(crate) fn ended(&self) -> Option<CloseReason> {
        CloseReason::of_code(self.ended.load(Ordering::Acquire))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ended.load(Ordering::Acquire) == OPEN
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire) as usize
    }

    pub(crate) fn id(&self) -> PeerId {
        self.id.of(self.shared.server())
    }

    /// Whether the remote has spoken to the socket that this peer has for itself.
    pub(crate) fn has_switched(&self) -> bool {
        self.switched.load(Ordering::Acquire)
    }

    pub(super) fn set_switched(&self) {
        self.switched.store(true, Ordering::Release);
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Under which key the server knows this peer; that stays, wherever it moves.
    pub(super) fn key(&self) -> Key {
        self.connection.map_or_else(|| Key::of(&self.first_remote), Key::of_connection)
    }

    /// Where the remote was first heard, which is where one that is known by its address stays.
    pub(crate) fn first_remote(&self) -> &SocketAddr {
        &self.first_remote
    }

    pub(crate) fn shared(&self) -> &Common {
        &self.shared
    }

    /// From now on `bell` is rung whenever a packet is queued and when the peer ends.
    pub(crate) fn set_bell(&self, bell: Arc<dyn Bell>) {
        self.contents().rare().bell = Some(bell);
    }

    pub(crate) fn stats(&self) -> PeerStats {
        let (at_once, flushed) = (self.sent_at_once.read(), self.flushed.read());
        let contents = self.contents();
        let drops = contents.drops.received();
        let queued = contents.inbox.len() as u64;
        PeerStats {
            received: contents.received,
            received_bytes: contents.received_bytes,
            // Whatever else there was: a peer with a handle loses nothing but what is counted as dropped.
            delivered: contents.received - queued - drops.total(),
            queued,
            queued_bytes: contents.inbox.bytes() as u64,
            drops,
            kernel_drops: None,
            noise: 0,
            // The handle, which asks, adds its own.
            put: self.broadcasts.load(Ordering::Relaxed),
            sent: at_once.packets + flushed.packets,
            sent_bytes: at_once.bytes + flushed.bytes,
            send_queued: contents.outbox.queue.as_ref().map_or(0, |queue| queue.len() as u64),
            send_drops: contents.drops.unsent(),
        }
    }

    /// Says that several packets wait in a queue, which takes memory.
    #[inline]
    pub(super) fn note_memory(&self, contents: &mut Contents) {
        contents.outbox.memory.is_used = true;
        self.note_growth(contents);
    }

    /// Says that something was put to wait, perhaps behind something else.
    #[inline]
    pub(super) fn note_posted(&self, contents: &mut Contents, is_one_of_several: bool) {
        let memory = &mut contents.outbox.memory;
        memory.is_posted = true;
        memory.is_used |= is_one_of_several;
        self.note_growth(contents);
    }

    #[inline]
    fn note_growth(&self, contents: &mut Contents) {
        if !contents.outbox.memory.has_grown {
            contents.outbox.memory.has_grown = true;
            self.shared.list_grown(self.id);
        }
    }

    /// Gives back what memory of the queues was not used since this was asked before. Returns whether there is no more
    /// of it, and so no need to ask again before the peer is [listed](Common::list_grown) anew.
    pub(super) fn give_back_memory(&self) -> bool {
        let mut contents = self.contents();
        let Contents { inbox, outbox: Outbox { queue, memory, .. }, .. } = &mut *contents;
        let (is_used, is_posted) = (std::mem::take(&mut memory.is_used), std::mem::take(&mut memory.is_posted));
        if !is_used {
            inbox.shrink();
            queue.iter_mut().for_each(|queue| queue.shrink());
        }
        if !is_posted {
            queue.take_if(|queue| queue.len() == 0);
        }
        memory.has_grown = inbox.has_grown() || queue.is_some();
        !memory.has_grown
    }

    /// Gives back what memory of the queues nothing needs now, of a peer that has ended: the server, which has done so
    /// until then, knows it no more.
    #[cold]
    pub(crate) fn give_back_all_memory(&self) {
        let mut contents = self.contents();
        contents.inbox.shrink();
        contents.outbox.queue.take_if(|queue| queue.len() == 0);
    }

    pub(super) fn publish_waiting(&self, contents: &Contents) {
        // More than four billion packets do not fit into any memory.
        self.waiting.store(contents.inbox.len() as u32, Ordering::Release);
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        let contents = self.contents.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared.count_unread(contents.inbox.len() as u64, contents.inbox.bytes());
        if let Some(unsent) = &mut contents.outbox.queue {
            let (mut packets, mut bytes) = (0, 0);
            unsent.take_all(|payload| {
                packets += 1;
                bytes += payload.weight();
            });
            let sends = self.shared.sends();
            sends.count_unqueued(packets, bytes);
            sends.count_drops(SendDropReason::Unsent, packets);
        }
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("id", &self.id())
            .field("remote", &self.remote())
            .field("ended", &self.ended())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// No [code](CloseReason::code) of a reason.
const OPEN: u8 = 0;

#[cfg(all(loom, test))]
mod models {
    use super::*;
    use crate::clock::Clock;
    use crate::demux::limits::{QueueLimits, SendMode};
    use crate::demux::queue::Room;
    use crate::packet::{Packet, PacketPool};
    use crate::sync::mpsc::Receiver;
    use loom::thread;
    use std::net::Ipv4Addr;
    use std::time::Instant;

    fn mailbox() -> (Arc<Mailbox>, Receiver<PeerId>) {
        let (shared, closed) = Common::new(1, PacketPool::new(0), SendMode::Now, Clock::system());
        let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        (Arc::new(Mailbox::new(LocalId { index: 0, generation: 1 }, None, remote, shared)), closed)
    }

    fn push(mailbox: &Mailbox, byte: u8) {
        let packet = Packet::new(vec![byte], mailbox.remote(), Instant::now());
        assert_eq!(mailbox.push(packet, &None, &QueueLimits::new(), Room::left(usize::MAX, 0)), None);
    }

    /// A handle that sees the end has seen every packet queued before it, in order.
    #[test]
    fn nothing_queued_before_the_end_is_missed() {
        loom::model(|| {
            let (mailbox, _closed) = mailbox();
            let server = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    push(&mailbox, 1);
                    push(&mailbox, 2);
                    mailbox.end(CloseReason::Idle);
                })
            };
            let ended = mailbox.ended();
            let taken: Vec<u8> = std::iter::from_fn(|| mailbox.take()).map(|packet| packet[0]).collect();
            assert!([1, 2].starts_with(&taken));
            if ended.is_some() {
                assert_eq!(taken, [1, 2]);
            }
            server.join().unwrap();
        });
    }

    /// Whoever ends first gives the reason, and the server hears of a close exactly when that was the handle.
    #[test]
    fn one_side_ends_and_the_server_hears_of_it_once() {
        loom::model(|| {
            let (mailbox, closed) = mailbox();
            let handle = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    mailbox.close();
                    mailbox.close();
                })
            };
            let server_was_first = mailbox.end(CloseReason::Idle);
            handle.join().unwrap();
            let reason = if server_was_first { CloseReason::Idle } else { CloseReason::Closed };
            assert_eq!(mailbox.ended(), Some(reason));
            assert_eq!(closed.try_recv().is_ok(), !server_was_first);
            assert!(closed.try_recv().is_err());
        });
    }

    /// Received = delivered + queued + drops, whoever was faster.
    #[test]
    fn the_counters_agree_when_both_are_done() {
        loom::model(|| {
            let (mailbox, _closed) = mailbox();
            let handle = {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || drop(mailbox.take()))
            };
            let limits = QueueLimits::new().packets(1);
            for byte in [1, 2] {
                let packet = Packet::new(vec![byte], mailbox.remote(), Instant::now());
                mailbox.push(packet, &None, &limits, Room::left(usize::MAX, 0));
            }
            handle.join().unwrap();
            let stats = mailbox.stats();
            assert_eq!(stats.received, stats.delivered + stats.queued + stats.drops.total());
            let mut server = crate::stats::ServerStats::default();
            mailbox.shared.add_to(&mut server);
            assert_eq!(server.delivered, stats.delivered);
            assert_eq!(mailbox.waiting() as u64, stats.queued);
        });
    }
}
