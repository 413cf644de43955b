use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

/// Messages of one [`Transport::send_batch`](super::Transport::send_batch), at most.
pub(crate) const MAX_MESSAGES: usize = 64;

/// Payloads of one batch, at most.
pub(crate) const MAX_PAYLOADS: usize = 256;

/// Several messages to be sent by one call, each of one datagram or, where the transport can, of several to one
/// destination: at most 64 messages and 256 datagrams.
///
/// Servers fill one and pass it to [`Transport::send_batch`](super::Transport::send_batch). A wrapper that changes what is
/// sent fills another for the transport it wraps:
///
/// ```
/// use packetpeer::socket::SendBatch;
///
/// let to = ([192, 0, 2, 1], 4433).into();
/// let mut batch = SendBatch::new();
/// assert!(batch.begin(to, None, b"first ") && batch.add(b"second") && batch.add(b"last"));
/// assert!(!batch.add(b"more"), "a shorter one ends a message");
/// assert!(batch.begin(to, None, b"more"));
/// assert_eq!((batch.len(), batch.datagrams_in(1), batch.datagrams_in(2)), (2, 3, 4));
/// ```
///
/// It takes some 8 KiB, and allocates nothing.
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
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a message to `to`, with one datagram so far. It is to leave from `from`, an address of this host; `None`
    /// leaves the choice to the system. Returns whether there was room.
    #[must_use = "what there is no room for is not sent"]
    pub fn begin(&mut self, to: SocketAddr, from: Option<IpAddr>, datagram: &'a [u8]) -> bool {
        if self.is_full() {
            return false;
        }
        self.payloads.push(datagram);
        self.messages.push(Envelope { to, from, end: self.payloads.len() });
        true
    }

    /// Adds a datagram to the message begun last. Returns whether it fitted: it does not if there is no room, or if it
    /// cannot go with the [others](Message#structfield.datagrams). Then begin a new message with it.
    ///
    /// The caller sees to it that a message has no more datagrams than
    /// [`max_segments`](super::Transport::max_segments), and no more than 65,000 bytes.
    #[must_use = "what there is no room for is not sent"]
    pub fn add(&mut self, datagram: &'a [u8]) -> bool {
        let start = self.messages.len().checked_sub(2).map_or(0, |before| self.messages[before].end);
        let Some(message) = self.messages.last_mut().filter(|_| self.payloads.len() < MAX_PAYLOADS) else {
            return false;
        };
        let (size, last) = (self.payloads[start].len(), self.payloads[message.end - 1].len());
        if datagram.is_empty() || datagram.len() > size || last < size {
            return false;
        }
        self.payloads.push(datagram);
        message.end = self.payloads.len();
        true
    }

    /// Adds a whole message, such as one of another batch. Returns whether it was added: not where there is no room for
    /// all of it, or where its datagrams do not make one message.
    #[must_use = "what there is no room for is not sent"]
    pub fn push(&mut self, to: SocketAddr, from: Option<IpAddr>, datagrams: &[&'a [u8]]) -> bool {
        let Some((first, others)) = datagrams.split_first() else { return false };
        let payloads = self.payloads.len();
        if !self.begin(to, from, first) {
            return false;
        }
        let is_whole = others.iter().all(|datagram| self.add(datagram));
        if !is_whole {
            self.payloads.truncate(payloads);
            self.messages.pop();
        }
        is_whole
    }

    /// Removes all messages.
    pub fn clear(&mut self) {
        self.messages.clear();
        self.payloads.clear();
    }

    /// Whether there is no room for another message.
    pub fn is_full(&self) -> bool {
        self.messages.len() == MAX_MESSAGES || self.payloads.len() == MAX_PAYLOADS
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

#[cfg(test)]
mod tests {
    use super::*;

    fn to() -> SocketAddr {
        ([192, 0, 2, 1], 4433).into()
    }

    #[test]
    fn a_batch_is_full_when_either_limit_is_reached() {
        let mut batch = SendBatch::new();
        while batch.begin(to(), None, b"x") {}
        assert_eq!((batch.len(), batch.is_full()), (MAX_MESSAGES, true));
        batch.clear();
        assert!(batch.is_empty() && !batch.is_full());
        assert!(!batch.add(b"x"), "there is no message to add to");
        assert!(batch.begin(to(), None, b"x"));
        while batch.add(b"x") {}
        assert_eq!((batch.len(), batch.datagrams_in(1), batch.is_full()), (1, MAX_PAYLOADS, true));
    }

    #[test]
    fn a_message_is_added_whole_or_not_at_all() {
        let datagrams = [&b"xx"[..]; 200];
        let mut batch = SendBatch::new();
        assert!(batch.push(to(), None, &datagrams));
        assert!(!batch.push(to(), None, &datagrams));
        assert!(batch.push(to(), None, &datagrams[..56]) && batch.is_full());
        let all: Vec<_> = batch.messages().map(|message| message.datagrams.len()).collect();
        assert_eq!(all, [200, 56]);
    }

    #[test]
    fn what_no_system_cuts_from_one_message_is_not_made_one() {
        let mut batch = SendBatch::new();
        let (none, a, ab) = (&b""[..], &b"a"[..], &b"ab"[..]);
        for datagrams in [&[][..], &[a, ab], &[ab, a, ab], &[ab, none], &[none, none]] {
            assert!(!batch.push(to(), None, datagrams), "{datagrams:?}");
        }
        assert!(batch.is_empty());
        for datagrams in [&[none][..], &[a], &[ab, ab, a]] {
            assert!(batch.push(to(), None, datagrams), "{datagrams:?}");
        }
    }
}
