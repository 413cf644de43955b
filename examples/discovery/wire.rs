//! What server browsers, players and the server say to each other.
//!
//! | message | bytes |
//! |---|---|
//! | a browser's query | `packetpeer demo?`, 8 of the browser's choice, padding |
//! | the answer | `packetpeer demo!`, the query's 8, players: 2, seats: 2, name |
//! | what a player says first | `packetpeer demo+`, whatever the game needs |
//!
//! Numbers are big-endian.
#![allow(dead_code, reason = "server and browser each use one side")]

const QUERY: &[u8] = b"packetpeer demo?";
const ANSWER: &[u8] = b"packetpeer demo!";
const JOIN: &[u8] = b"packetpeer demo+";

/// Bytes of a query, and the most that an answer can have.
///
/// Anybody can send a query with somebody else's address on it. If the answer were longer, a server would turn a small
/// stream of such queries into a large one towards that address; so it answers with no more bytes than it was sent, and
/// whoever wants a long answer sends a long query.
pub(crate) const QUERY_SIZE: usize = 128;

/// So that the answer fits a query.
pub(crate) const LONGEST_NAME: usize = QUERY_SIZE - ANSWER.len() - 8 - 2 - 2;

/// A query; whoever has not seen it cannot guess the bytes `chosen`.
pub(crate) fn write_query(chosen: [u8; 8]) -> Vec<u8> {
    let mut query = [QUERY, &chosen].concat();
    query.resize(QUERY_SIZE, 0);
    query
}

/// What the browser has chosen; `None` where it is no query.
pub(crate) fn read_query(datagram: &[u8]) -> Option<[u8; 8]> {
    datagram.strip_prefix(QUERY)?.first_chunk().copied()
}

pub(crate) fn is_join(datagram: &[u8]) -> bool {
    datagram.starts_with(JOIN)
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) players: u16,
    pub(crate) seats: u16,
    /// As the server calls itself; it need not be UTF-8.
    pub(crate) name: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Appends the answer to a query to `datagram`.
    pub(crate) fn write(&self, chosen: [u8; 8], datagram: &mut Vec<u8>) {
        datagram.extend_from_slice(ANSWER);
        datagram.extend_from_slice(&chosen);
        datagram.extend_from_slice(&self.players.to_be_bytes());
        datagram.extend_from_slice(&self.seats.to_be_bytes());
        datagram.extend_from_slice(self.name);
    }

    /// `None` where it is no answer, or none to that query.
    pub(crate) fn read(datagram: &'a [u8], chosen: [u8; 8]) -> Option<Self> {
        let rest = datagram.strip_prefix(ANSWER)?.strip_prefix(&chosen)?;
        let (players, rest) = rest.split_first_chunk()?;
        let (seats, name) = rest.split_first_chunk()?;
        Some(Self { players: u16::from_be_bytes(*players), seats: u16::from_be_bytes(*seats), name })
    }
}
