use std::time::{Duration, Instant};

use super::udp_server::UdpServer;
use crate::error::WaitError;
use crate::peer::{WaitOutcome, Waker};

/// How long a wait sleeps before it looks again, where something may change that does not end it.
const NAP: Duration = Duration::from_millis(1);

/// # Waiting
impl UdpServer {
    /// Blocks until a datagram has come, a [`Waker`] wakes, or `timeout` is over (`None` = never): for servers that
    /// have nothing to do between datagrams. Poll afterwards. On the in-memory network it never blocks.
    ///
    /// First it sends what waits to be sent, as [`flush`](Self::flush) does, and while the system will not take all of
    /// that it looks every millisecond whether it does. What handles on other threads put meanwhile in
    /// [`OnFlush`](crate::SendMode::OnFlush) leaves when the wait ends and the server polls or flushes: let them
    /// [wake](Waker) it.
    ///
    /// It waits for all sockets of the server, those of single peers too. Where one of these cannot be waited for beside
    /// others, as behind [`Conditioned`](crate::sim::Conditioned) links, it sleeps for a millisecond at a time and asks.
    ///
    /// # Errors
    ///
    /// See [`WaitError`].
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<WaitOutcome, WaitError> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let is_blocked = self.flush().map_err(|_| WaitError::NotOpen)?.waiting > 0;
            let listening = self.listening.as_ref().ok_or(WaitError::NotOpen)?;
            let transport = listening.transport.get().io();
            let dedicated = &mut self.dedicated;
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let nap = (is_blocked || dedicated.have_to_be_asked(transport)).then_some(NAP);
            let time = left.into_iter().chain(nap).min();
            let outcome =
                self.wait.wait(|interrupt| dedicated.wait(transport, time, interrupt)).map_err(WaitError::Io)?;
            if outcome != WaitOutcome::TimedOut || time == left || self.clock.is_virtual() {
                return Ok(outcome);
            }
        }
    }

    /// A handle by which another thread can end a [`wait`](Self::wait).
    ///
    /// # Errors
    ///
    /// [`WaitError::Io`] where the system has no more descriptors for it.
    pub fn waker(&mut self) -> Result<Waker, WaitError> {
        self.wait.waker().map_err(WaitError::Io)
    }
}
