use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

/// Messages of one [`Transport::send_batch`](super::Transport::send_batch), at most.
pub(crate) const MAX_MESSAGES: usize = 64;

/// Payloads of one batch, at most.
pub(crate) const MAX_PAYLOADS: usize = 256;

/// Several messages to be sent by one call, each of one datagram or, where the transport can, of several to one
/// destination.
#[derive(Debug, Default)]
pub struct SendBatch<'a> {
    // Both stay within their inline sizes: a flush allocates nothing.
    messages: SmallVec<[Envelope; MAX_MESSAGES]>,
    payloads: SmallVec<[&'a [u8]; MAX_PAYLOADS]>,
}

#[derive(Debug, Clone, Copy)]
struct Envelope {
    to: SocketAddr,
    from: Option<IpAddr>,
    /// Where its payloads end; they begin where those of the message before end.
    end: usize,
}

/// One message of a [`SendBatch`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Message<'a> {
    /// Where it goes.
    pub to: SocketAddr,
    /// Which of this host's addresses it is to come from; `None` = the system's choice.
    pub from: Option<IpAddr>,
    /// The datagrams it consists of, one or more. Where there are several, all have the size of the first, but for the
    /// last which may be shorter, and none is empty.
    pub datagrams: &'a [&'a [u8]],
}

impl<'a> SendBatch<'a> {
    /// Begins a message; says whether there is room.
    pub(crate) fn begin(&mut self, to: SocketAddr, from: Option<IpAddr>, datagram: &'a [u8]) -> bool {
        if self.messages.len() == MAX_MESSAGES || self.payloads.len() == MAX_PAYLOADS {
            return false;
        }
        self.payloads.push(datagram);
        self.messages.push(Envelope { to, from, end: self.payloads.len() });
        true
    }

    /// Adds a datagram to the last message; says whether there is room.
    pub(crate) fn add(&mut self, datagram: &'a [u8]) -> bool {
        let Some(message) = self.messages.last_mut().filter(|_| self.payloads.len() < MAX_PAYLOADS) else {
            return false;
        };
        self.payloads.push(datagram);
        message.end = self.payloads.len();
        true
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many datagrams the first `messages` messages consist of.
    pub fn datagrams_in(&self, messages: usize) -> usize {
        messages.min(self.len()).checked_sub(1).map_or(0, |last| self.messages[last].end)
    }

    /// The messages, in the order in which they are to be sent.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = Message<'_>> {
        (0..self.len()).map(|index| {
            let envelope = self.messages[index];
            let start = index.checked_sub(1).map_or(0, |before| self.messages[before].end);
            Message { to: envelope.to, from: envelope.from, datagrams: &self.payloads[start..envelope.end] }
        })
    }
}
