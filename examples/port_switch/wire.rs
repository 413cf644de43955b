//! What the server says to its clients; what they say is theirs.
//!
//! ```text
//! 0  payload                    what the client has sent
//! 1  port, 2 bytes, big-endian  from now on talk to this port of mine
//! ```
#![allow(dead_code, reason = "server and client each use one side")]

/// Bytes in front of an echo.
pub(crate) const HEADER: usize = 1;

const ECHO: u8 = 0;
const CHANGE_PORT: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    Echo(&'a [u8]),
    ChangePort(u16),
}

impl<'a> Answer<'a> {
    /// `None` where it is neither.
    pub(crate) fn read(datagram: &'a [u8]) -> Option<Self> {
        match *datagram {
            [ECHO, ref payload @ ..] => Some(Self::Echo(payload)),
            [CHANGE_PORT, high, low] => Some(Self::ChangePort(u16::from_be_bytes([high, low]))),
            _ => None,
        }
    }

    pub(crate) fn to_vec(self) -> Vec<u8> {
        match self {
            Self::Echo(payload) => [&[ECHO], payload].concat(),
            Self::ChangePort(port) => [&[CHANGE_PORT][..], &port.to_be_bytes()].concat(),
        }
    }
}
