//! What a case starts with, and who is there.

use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, MoveVerdict, OnMove, WithoutId};
use packetpeer::{Limits, SendMode, ServerConfig, SocketOptions, Verdict};

pub(crate) const SERVER_PORT: u16 = 7777;
pub(crate) const SERVER_V4: &str = "10.0.0.1:7777";
pub(crate) const SERVER_V6: &str = "[2001:db8:1::1]:7777";

/// The addresses of the server's host: two of each IP version, the first of each being the one that it sends from where
/// nobody asks for another.
pub(crate) const SERVER_IPS: [&str; 4] = ["10.0.0.1", "10.0.0.11", "2001:db8:1::1", "2001:db8:1::11"];

/// Some share an IP address, and those of 2001:db8:0:0::/64 count as one.
pub(crate) const CLIENTS: [&str; 10] = [
    "10.0.0.2:1000",
    "10.0.0.2:1001",
    "10.0.0.2:1002",
    "10.0.0.3:1000",
    "10.1.0.4:1000",
    "[2001:db8::2]:1000",
    "[2001:db8::3]:1000",
    "[2001:db8::3]:1001",
    "[2001:db8:0:1::2]:1000",
    NAMELESS,
];

/// What comes from here bears source port 0, which only a raw socket can write.
pub(crate) const NAMELESS: &str = "10.0.0.7:1000";

/// Whom the server speaks to of itself: the clients, two that are not there, and port 0.
pub(crate) static TARGETS: LazyLock<Vec<SocketAddr>> = LazyLock::new(|| {
    let others = ["10.0.0.9:9", "[2001:db8::9]:9", "10.0.0.2:0"];
    CLIENTS.iter().chain(&others).map(|addr| addr.parse().unwrap()).collect()
});

/// Ids that datagrams may bear.
pub(crate) const IDS: u64 = 5;

#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) limits: Limits,
    pub(crate) max_packet_size: usize,
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) send_mode: SendMode,
    pub(crate) pins: bool,
    pub(crate) ids: Option<Ids>,
}

/// Of a server that goes by connection ids.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ids {
    pub(crate) by_address: bool,
    pub(crate) on_move: Move,
    pub(crate) grace: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Move {
    Follow,
    Refuse,
    Ask,
}

impl Setup {
    pub(crate) fn config(&self) -> ServerConfig {
        let socket = SocketOptions::new()
            .max_packet_size(self.max_packet_size)
            .receive_buffer(self.receive_buffer)
            .pin_reply_address(self.pins);
        let identity = self.ids.map_or(Identity::Address, |ids| Identity::ConnectionId(ids.connection_ids()));
        ServerConfig::new().limits(self.limits.clone()).socket(socket).send_mode(self.send_mode).identity(identity)
    }

    /// The id in a datagram, on a server that goes by them.
    pub(crate) fn id_in(&self, bytes: &[u8]) -> Option<ConnectionId> {
        self.ids.and_then(|_| read_id(bytes))
    }
}

impl Ids {
    fn connection_ids(self) -> ConnectionIds {
        let on_move = match self.on_move {
            Move::Follow => OnMove::follow(),
            Move::Refuse => OnMove::refuse(),
            Move::Ask => OnMove::ask(|attempt, reply| {
                let (verdict, written) = decide_move(attempt.bytes);
                reply.extend(written);
                verdict
            }),
        };
        let without_id = if self.by_address { WithoutId::ByAddress } else { WithoutId::Drop };
        ConnectionIds::new(read_id).on_move(on_move).without_id(without_id).old_address_grace(self.grace)
    }
}

/// The second byte is an id where the first is odd.
pub(crate) fn read_id(bytes: &[u8]) -> Option<ConnectionId> {
    match *bytes {
        [kind, id, ..] if kind % 2 == 1 => Some(ConnectionId(u64::from(id) % IDS)),
        _ => None,
    }
}

/// Bytes that tell which datagram they are, as far as they go.
pub(crate) fn payload(kind: u8, id: u8, mark: u32, size: usize) -> Vec<u8> {
    let mut bytes = vec![kind; size];
    let header = [&[kind, id][..], &mark.to_le_bytes()].concat();
    for (byte, header) in bytes.iter_mut().zip(header) {
        *byte = header;
    }
    bytes
}

/// What a filter does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// It follows the first byte.
    ByKind,
    Ignore,
    Consume,
    Accept,
}

/// What a filter of this style answers, and what it writes.
pub(crate) fn decide(style: Style, bytes: &[u8]) -> (Verdict, Vec<u8>) {
    let by_kind = |kind: u8| match kind >> 1 & 15 {
        0 => (Verdict::Ignore, repeated(bytes, 1)),
        1 => (Verdict::Consume, repeated(bytes, 1)),
        2 => (Verdict::Reply, repeated(bytes, bytes.len())),
        3 => (Verdict::Reply, repeated(bytes, bytes.len() - 1)),
        4 => (Verdict::Reply, repeated(bytes, bytes.len() + 1)),
        5 | 6 => (Verdict::AcceptAndConsume, repeated(bytes, 1)),
        7 => (Verdict::AcceptAndReply, repeated(bytes, bytes.len())),
        8 => (Verdict::AcceptAndReply, repeated(bytes, bytes.len() - 1)),
        9 => (Verdict::AcceptAndReply, repeated(bytes, bytes.len() + 1)),
        _ => (Verdict::Accept, repeated(bytes, 1)),
    };
    match style {
        Style::ByKind => bytes.first().map_or((Verdict::Reply, Vec::new()), |&kind| by_kind(kind)),
        Style::Ignore => (Verdict::Ignore, Vec::new()),
        Style::Consume => (Verdict::Consume, Vec::new()),
        Style::Accept => (Verdict::Accept, Vec::new()),
    }
}

/// What is decided on a move, by the first byte of the datagram, and what is written.
pub(crate) fn decide_move(bytes: &[u8]) -> (MoveVerdict, Vec<u8>) {
    match bytes.first().map_or(0, |kind| kind >> 4 & 7) {
        0 => (MoveVerdict::Refuse, repeated(bytes, 1)),
        1 => (MoveVerdict::Challenge, repeated(bytes, bytes.len())),
        2 => (MoveVerdict::Challenge, repeated(bytes, bytes.len() + 1)),
        3 => (MoveVerdict::Challenge, Vec::new()),
        4 => (MoveVerdict::FollowProved, repeated(bytes, 1)),
        _ => (MoveVerdict::Follow, repeated(bytes, 1)),
    }
}

fn repeated(bytes: &[u8], len: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(len).collect()
}

/// Which senders a bound address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Both,
    V4,
    V6,
}

impl Reach {
    pub(crate) fn reaches(self, addr: SocketAddr) -> bool {
        match self {
            Self::Both => true,
            Self::V4 => addr.is_ipv4(),
            Self::V6 => addr.is_ipv6(),
        }
    }

    /// The one address that is listened on.
    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Both => None,
            Self::V4 => Some(server_addr_for(true).ip()),
            Self::V6 => Some(server_addr_for(false).ip()),
        }
    }

    /// The address listened on, as the server shows it.
    pub(crate) fn addr(self) -> SocketAddr {
        match self {
            Self::Both => SocketAddr::new(IpAddr::from([0u16; 8]), SERVER_PORT),
            Self::V4 => server_addr_for(true),
            Self::V6 => server_addr_for(false),
        }
    }
}

/// Where the server is heard from that listens on its port, by IP version.
pub(crate) fn server_addr_for(is_ipv4: bool) -> SocketAddr {
    if is_ipv4 { SERVER_V4 } else { SERVER_V6 }.parse().unwrap()
}
