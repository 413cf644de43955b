//! How a connection's id stands in its datagrams: the first eight bytes, big-endian; then comes what is said.
#![allow(dead_code, reason = "server and client each use one side")]

use packetpeer::ConnectionId;

pub(crate) const ID_SIZE: usize = 8;

/// What is shorter than an id has none.
pub(crate) fn read(datagram: &[u8]) -> Option<(ConnectionId, &[u8])> {
    let (id, payload) = datagram.split_first_chunk()?;
    Some((ConnectionId(u64::from_be_bytes(*id)), payload))
}

pub(crate) fn write(ConnectionId(id): ConnectionId, payload: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes(), payload].concat()
}
