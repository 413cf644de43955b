//! How a connection's id stands in its datagrams: the first eight bytes, big-endian; then comes a byte that says what
//! follows.
#![allow(dead_code, reason = "server and client each use one side")]

use packetpeer::identity::ConnectionId;

pub(crate) const ID_SIZE: usize = 8;

/// Bytes in front of a stream's.
pub(crate) const HEADER: usize = ID_SIZE + 1;

const DATA: u8 = 0;
const TOKEN: u8 = 1;

/// What the server sends to a new address and nowhere else, and a client that receives there sends back.
pub(crate) type Token = [u8; 16];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    Data(&'a [u8]),
    Token(Token),
}

pub(crate) fn read(datagram: &[u8]) -> Option<(ConnectionId, Said<'_>)> {
    let (id, rest) = datagram.split_first_chunk()?;
    let said = match *rest {
        [DATA, ref payload @ ..] => Said::Data(payload),
        [TOKEN, ref token @ ..] => Said::Token(token.try_into().ok()?),
        _ => return None,
    };
    Some((ConnectionId(u64::from_be_bytes(*id)), said))
}

pub(crate) fn write(ConnectionId(id): ConnectionId, said: Said<'_>) -> Vec<u8> {
    let (kind, payload) = match said {
        Said::Data(payload) => (DATA, payload),
        Said::Token(ref token) => (TOKEN, &token[..]),
    };
    [&id.to_be_bytes(), &[kind][..], payload].concat()
}
