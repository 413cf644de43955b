//! What clients and the gateway say to each other.
//!
//! A request is a number of the client's choice and a body. The answer has the same number, what became of the request,
//! and if there was a reply in time, its body.
#![allow(dead_code, reason = "the gateway and its client each use one side")]

/// Bytes in front of a body, at most: those of the id by which the gateway and the upstream server speak of it.
pub(crate) const LONGEST_HEADER: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Replied,
    /// The upstream server has not replied in time, and may still do what was asked.
    TimedOut,
    /// As many requests are in flight as the gateway allows; this one was not passed on.
    Busy,
    /// The request could not be sent to the upstream server.
    NotSent,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Replied, Self::TimedOut, Self::Busy, Self::NotSent];
}

pub(crate) fn write_request(number: u32, body: &[u8], datagram: &mut Vec<u8>) {
    datagram.clear();
    datagram.extend_from_slice(&number.to_le_bytes());
    datagram.extend_from_slice(body);
}

pub(crate) fn read_request(datagram: &[u8]) -> Option<(u32, &[u8])> {
    let (number, body) = datagram.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), body))
}

pub(crate) fn write_answer(number: u32, outcome: Outcome, body: &[u8], datagram: &mut Vec<u8>) {
    datagram.clear();
    datagram.extend_from_slice(&number.to_le_bytes());
    datagram.push(outcome as u8);
    datagram.extend_from_slice(body);
}

pub(crate) fn read_answer(datagram: &[u8]) -> Option<(u32, Outcome, &[u8])> {
    let (number, rest) = datagram.split_first_chunk()?;
    let (&outcome, body) = rest.split_first()?;
    let outcome = Outcome::ALL.into_iter().find(|known| *known as u8 == outcome)?;
    Some((u32::from_le_bytes(*number), outcome, body))
}
