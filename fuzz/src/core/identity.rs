//! By what senders are known, and what the functions of the caller's do that a server asks: as the datagrams say.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, MoveVerdict, OnMove, WithoutId};
use packetpeer::{FirstDatagram, UdpServer, Verdict};

use super::{REPLY, World};
use crate::input::Input;

/// By what senders are known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Known {
    ByAddress,
    ById { without_id: WithoutId, on_move: Move, grace: Duration },
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Follow,
    Refuse,
    Ask,
}

/// What a filter does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    /// It follows the first byte.
    ByKind,
    Ignore,
    Consume,
    Accept,
    Reply,
    AcceptAndConsume,
    AcceptAndReply,
}

impl Known {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        let choice = input.byte();
        if choice & 1 == 0 {
            return Self::ByAddress;
        }
        let graces = [Duration::ZERO, Duration::from_millis(500), Duration::from_secs(5), Duration::MAX];
        Self::ById {
            without_id: if choice & 2 == 0 { WithoutId::Drop } else { WithoutId::ByAddress },
            on_move: [Move::Follow, Move::Refuse, Move::Ask, Move::Follow][usize::from(choice >> 2 & 3)],
            grace: graces[usize::from(choice >> 4 & 3)],
        }
    }

    pub(super) fn is_by_id(self) -> bool {
        matches!(self, Self::ById { .. })
    }

    pub(super) fn knows_by_address(self) -> bool {
        !matches!(self, Self::ById { without_id: WithoutId::Drop, .. })
    }

    pub(super) fn id_in(self, bytes: &[u8]) -> Option<ConnectionId> {
        if self.is_by_id() { read_id(bytes) } else { None }
    }

    pub(super) fn identity(self, answers: &Arc<Mutex<u64>>) -> Identity {
        let Self::ById { without_id, on_move, grace } = self else { return Identity::Address };
        let answers = Arc::clone(answers);
        let on_move = match on_move {
            Move::Follow => OnMove::follow(),
            Move::Refuse => OnMove::refuse(),
            Move::Ask => OnMove::ask(move |attempt, reply| match kind(attempt.bytes) % 4 {
                0 => MoveVerdict::Follow,
                1 => MoveVerdict::FollowProved,
                2 => MoveVerdict::Refuse,
                _ => {
                    write_reply(attempt.bytes, reply, &answers);
                    MoveVerdict::Challenge
                }
            }),
        };
        let ids = ConnectionIds::new(read_id).without_id(without_id).on_move(on_move).old_address_grace(grace);
        Identity::ConnectionId(ids)
    }
}

/// Half of all datagrams have one of eight ids.
fn read_id(bytes: &[u8]) -> Option<ConnectionId> {
    match *bytes {
        [kind, id, ..] if kind >= 0x80 => Some(ConnectionId(u64::from(id % 8))),
        _ => None,
    }
}

fn kind(bytes: &[u8]) -> u8 {
    bytes.first().map_or(0, |kind| kind >> 1 & 0x1f)
}

/// The question under another mark, perhaps shorter or longer by one.
fn write_reply(question: &[u8], reply: &mut Vec<u8>, answers: &Mutex<u64>) {
    assert!(reply.is_empty(), "what somebody else was answered");
    *answers.lock().unwrap() += 1;
    let len = match kind(question) >> 2 & 3 {
        0 => question.len() + 1,
        1 => question.len().saturating_sub(1),
        _ => question.len(),
    };
    reply.extend(question.iter().copied().chain([0]).take(len));
    if let Some(mark) = reply.first_mut() {
        *mark = REPLY;
    }
}

impl Style {
    pub(super) fn decide(self, datagram: &FirstDatagram<'_>, reply: &mut Vec<u8>, answers: &Mutex<u64>) -> Verdict {
        let verdict = match self {
            Self::ByKind => match kind(datagram.bytes) & 7 {
                0 => Verdict::Accept,
                1 => Verdict::Ignore,
                2 => Verdict::Consume,
                3 | 7 => Verdict::Reply,
                4 => Verdict::AcceptAndConsume,
                5 => Verdict::AcceptAndReply,
                _ => Verdict::Accept,
            },
            Self::Ignore => Verdict::Ignore,
            Self::Consume => Verdict::Consume,
            Self::Accept => Verdict::Accept,
            Self::Reply => Verdict::Reply,
            Self::AcceptAndConsume => Verdict::AcceptAndConsume,
            Self::AcceptAndReply => Verdict::AcceptAndReply,
        };
        match verdict {
            // Where there is no room it is thrown away, unless it is a reply in any case.
            Verdict::AcceptAndReply if !datagram.has_room => reply.push(0xee),
            Verdict::Reply | Verdict::AcceptAndReply => write_reply(datagram.bytes, reply, answers),
            // What is written and not to be sent is nobody's.
            _ => reply.push(0xee),
        }
        verdict
    }

    fn set(self, server: &mut UdpServer, answers: &Arc<Mutex<u64>>) {
        let answers = Arc::clone(answers);
        server.set_filter(move |datagram, reply| self.decide(datagram, reply, &answers));
    }
}

impl World {
    pub(super) fn change_filter(&mut self, input: &mut Input<'_>) {
        match Style::read(input) {
            None => self.server.clear_filter(),
            Some(style) => style.set(&mut self.server, &self.answers),
        }
    }
}

impl Style {
    pub(super) fn read(input: &mut Input<'_>) -> Option<Self> {
        Some(match input.below(10) {
            0 => return None,
            1 => Self::Ignore,
            2 => Self::Consume,
            3 => Self::Accept,
            4 => Self::Reply,
            5 => Self::AcceptAndConsume,
            6 => Self::AcceptAndReply,
            _ => Self::ByKind,
        })
    }
}
