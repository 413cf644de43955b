//! What clients and the server say to each other.
//!
//! | message | bytes |
//! |---|---|
//! | a question for a cookie | `?`, and as many as a cookie has, whatever they are |
//! | the answer to that | `!`, cookie |
//! | a client's first text | `+`, cookie, text |
//! | every other text, and every echo | `=`, text |
//!
//! The answer must not be longer than the question, or it could be used to flood somebody else.
#![allow(dead_code, reason = "server and client each use one side")]

/// Bytes of a cookie: half of what SHA-256 gives, and still nothing that can be guessed.
pub(crate) const COOKIE_SIZE: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    /// With its padding: there may be too little of it for an answer.
    Question(&'a [u8]),
    Cookie([u8; COOKIE_SIZE]),
    First {
        cookie: [u8; COOKIE_SIZE],
        text: &'a [u8],
    },
    Text(&'a [u8]),
}

impl<'a> Message<'a> {
    /// `None` where it is no such message.
    pub(crate) fn read(datagram: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = datagram.split_first()?;
        match kind {
            b'?' => Some(Self::Question(rest)),
            b'!' => rest.try_into().ok().map(Self::Cookie),
            b'+' => rest.split_first_chunk().map(|(cookie, text)| Self::First { cookie: *cookie, text }),
            b'=' => Some(Self::Text(rest)),
            _ => None,
        }
    }

    /// Appends the message to `datagram`.
    pub(crate) fn write(&self, datagram: &mut Vec<u8>) {
        let (kind, cookie, rest): (u8, &[u8], &[u8]) = match self {
            Self::Question(padding) => (b'?', &[], padding),
            Self::Cookie(cookie) => (b'!', cookie, &[]),
            Self::First { cookie, text } => (b'+', cookie, text),
            Self::Text(text) => (b'=', &[], text),
        };
        datagram.push(kind);
        datagram.extend_from_slice(cookie);
        datagram.extend_from_slice(rest);
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        let mut datagram = Vec::new();
        self.write(&mut datagram);
        datagram
    }
}
