use std::io;

use super::{ReceiveBatch, Transport, Trouble, classify};

/// Errors of the socket that one drain passes over. Each stands for something that was sent; more wait for the next
/// poll.
const MAX_NOISE: usize = 4096;

/// Who takes what a socket is drained of.
pub(crate) trait Sink {
    /// How many more datagrams may be taken.
    fn budget(&self) -> usize;
    /// What was received, perhaps nothing.
    fn take(&mut self, batch: &ReceiveBatch);
    /// A datagram that the system only reports as too long.
    fn truncated(&mut self);
    /// An error that is nothing but noise.
    fn noise(&mut self);
}

/// How far a drain came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Nothing waits any more.
    Empty,
    /// The budget is used up; more may be waiting.
    OutOfBudget,
}

/// Moves what waits in `transport` to `sink`, until nothing waits or the budget is used up. Noise never ends it.
///
/// # Errors
///
/// The socket is of no further use.
pub(crate) fn drain(
    transport: &dyn Transport,
    batch: &mut ReceiveBatch,
    sink: &mut impl Sink,
) -> Result<Drained, io::Error> {
    let mut noise_left = MAX_NOISE;
    while sink.budget() > 0 && noise_left > 0 {
        batch.clear(sink.budget());
        let result = transport.receive(batch);
        sink.take(batch);
        match result.as_ref().map_err(classify) {
            // A batch that is not full has already seen the socket empty.
            Ok(()) if !batch.is_full() => return Ok(Drained::Empty),
            Ok(()) => {}
            Err(Trouble::Empty) => return Ok(Drained::Empty),
            Err(Trouble::Truncated) => {
                sink.truncated();
                noise_left -= 1;
            }
            Err(Trouble::Noise) => {
                sink.noise();
                noise_left -= 1;
            }
            Err(Trouble::Fatal) => {
                result?;
            }
        }
    }
    Ok(Drained::OutOfBudget)
}
