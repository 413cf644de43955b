use std::io;

use super::noise::{Trouble, classify};
use super::transport::Transport;
use crate::datagram::ReceiveBatch;

/// How many errors of the socket one call passes over. Each stands for something that was sent; more wait for the next
/// poll.
const MAX_NOISE: usize = 4096;

/// Takes what a socket has received.
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

/// What is left in a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Nothing: it was seen empty.
    Nothing,
    /// Perhaps more: the budget is used up.
    PerhapsMore,
}

/// Moves what waits in `transport` to `sink`, until nothing waits or the budget is used up. Noise never ends it.
///
/// # Errors
///
/// The socket is of no further use.
pub(crate) fn receive_all(
    transport: &dyn Transport,
    batch: &mut ReceiveBatch,
    sink: &mut impl Sink,
) -> Result<Left, io::Error> {
    let mut noise_left = MAX_NOISE;
    while sink.budget() > 0 && noise_left > 0 {
        batch.clear(sink.budget());
        let result = transport.receive(batch);
        sink.take(batch);
        match result.as_ref().map_err(classify) {
            // A batch that is not full has already seen the socket empty. One that is full of nothing, since a transport
            // has put another in its place, would be asked for ever.
            Ok(()) if !batch.is_full() || batch.is_empty() => return Ok(Left::Nothing),
            Ok(()) => {}
            Err(Trouble::Empty) => return Ok(Left::Nothing),
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
    Ok(Left::PerhapsMore)
}
