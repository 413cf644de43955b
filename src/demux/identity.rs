use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::peer_id::PeerId;

/// By what a server knows a datagram's sender again. See [Which identity?](crate#which-identity) for what to choose.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Identity {
    /// By IP address and port. The default, and Godot's way.
    #[default]
    Address,
    /// By an id inside each datagram.
    ConnectionId(ConnectionIds),
}

/// Names a connection inside its datagrams. Draw it from 64 random bits: anyone guessing it can speak for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// How connection ids are read and what follows from them.
///
/// From one address there may be any number of connections, each with its own id. So a single port can take all places, and
/// [`AfterClose::Refuse`](crate::limits::AfterClose::Refuse) refuses the id, while a new id from the same port is heard at
/// once: keep strangers out by the [filter](crate::UdpServer::set_filter), with something that they cannot make up
/// themselves.
///
/// ```
/// use packetpeer::identity::{ConnectionId, ConnectionIds, Identity, OnMove};
/// use packetpeer::ServerConfig;
///
/// // The first eight bytes of every datagram.
/// let ids = ConnectionIds::new(|datagram| {
///     let id = datagram.first_chunk::<8>()?;
///     Some(ConnectionId(u64::from_be_bytes(*id)))
/// });
/// let config = ServerConfig::new().identity(Identity::ConnectionId(ids.on_move(OnMove::follow())));
/// # let _ = config;
/// ```
#[derive(Clone)]
pub struct ConnectionIds {
    read: Arc<ReadId>,
    without_id: WithoutId,
    on_move: OnMove,
    old_address_grace: Duration,
}

type ReadId = dyn Fn(&[u8]) -> Option<ConnectionId> + Send + Sync;
type DecideMove = dyn Fn(&MoveAttempt<'_>, &mut Vec<u8>) -> MoveVerdict + Send + Sync;

/// What becomes of a datagram without an id, in which `read` found none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WithoutId {
    /// The [filter](crate::UdpServer::set_filter) may consume or answer it, for instance with an id to use; else it is
    /// dropped and counted as [`no_id`](crate::stats::ReceiveDrops#structfield.no_id). The default.
    #[default]
    Drop,
    /// Its sender is known by address, beside those known by id.
    ByAddress,
}

/// What becomes of a datagram with the id of a known connection, from another address than before: after a NAT has
/// forgotten it, from Wi-Fi to mobile, or from an attacker.
///
/// The attacker may be a client that was let in: with its own id and the forged address of a victim, it tells the server
/// to send there. No token at the door prevents that, since the token proved another address. Therefore a new address gets,
/// by every call, no more than three times the bytes that came from it since the move (RFC 9000, 8.1; payloads are counted,
/// an empty one as a byte), until the game calls [`UdpServer::confirm_move`](crate::UdpServer::confirm_move) or the
/// connection returns to the last address where it was known to receive. What exceeds that is not sent, and is counted as
/// [`unconfirmed`](crate::stats::SendDrops#structfield.unconfirmed); what the system refuses to send does not count against
/// it. Datagrams without a peer, as from [`send_to`](crate::UdpServer::send_to), are not limited.
#[derive(Clone, Default)]
pub struct OnMove(Rule);

#[derive(Clone, Default)]
enum Rule {
    #[default]
    Follow,
    Refuse,
    Ask(Arc<DecideMove>),
}

impl OnMove {
    /// The connection goes on at the new address, which gets up to three times what came from there until it is confirmed.
    /// The default: right where ids are 64 random bits and nobody eavesdrops.
    pub fn follow() -> Self {
        Self(Rule::Follow)
    }

    /// The datagram is dropped, and counted as [`move_refused`](crate::stats::ReceiveDrops#structfield.move_refused).
    pub fn refuse() -> Self {
        Self(Rule::Refuse)
    }

    /// Asks `decide` about each datagram that comes with a known id from a new address. It may demand proof first: what
    /// it writes into the vector is sent to the new address where it answers [`MoveVerdict::Challenge`], and the answer
    /// to that comes to it as the next attempt, for [`MoveVerdict::FollowProved`] if it is right.
    ///
    /// If it panics, the connection stays where it is, and it is as with the
    /// [filter](crate::UdpServer::set_filter): what was received in one go and comes behind the datagram is lost with
    /// it.
    pub fn ask(decide: impl Fn(&MoveAttempt<'_>, &mut Vec<u8>) -> MoveVerdict + Send + Sync + 'static) -> Self {
        Self(Rule::Ask(Arc::new(decide)))
    }
}

/// A datagram with the id of a known connection, from a new address.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct MoveAttempt<'a> {
    /// Whose id it carries.
    pub peer: PeerId,
    /// Its id.
    pub id: ConnectionId,
    /// Where the connection is.
    pub from: SocketAddr,
    /// Where the datagram came from, or claims to.
    pub to: SocketAddr,
    /// Its payload, id included.
    pub bytes: &'a [u8],
    /// The time of the poll that received it.
    pub received_at: Instant,
}

/// What is decided on a [`MoveAttempt`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveVerdict {
    /// The connection goes on at the new address, and the datagram is delivered. The address is not confirmed, so what
    /// may go there is limited, as by [`OnMove::follow`]. That holds for a datagram with a MAC too: the MAC proves which
    /// client made it, but not where that client is, and a client that was let in may be the attacker.
    Follow,
    /// The same, and the datagram proves that its sender receives at the new address, by what has been sent to nowhere
    /// else: the answer to a [`Challenge`](Self::Challenge). The address is confirmed.
    FollowProved,
    /// The datagram is dropped, and counted as [`move_refused`](crate::stats::ReceiveDrops#structfield.move_refused).
    Refuse,
    /// What was written is sent to the new address, no more bytes than were received; the datagram goes no further.
    Challenge,
}

/// A connection that has moved to a new address; listed by [`UdpServer::take_moved`](crate::UdpServer::take_moved).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// The peer.
    pub peer: PeerId,
    /// Where it was.
    pub from: SocketAddr,
    /// Where it is now.
    pub to: SocketAddr,
    /// Whether it is known to receive there, because the move was proved ([`MoveVerdict::FollowProved`]) or led back to
    /// where it was known to receive last. Else find out, and call
    /// [`UdpServer::confirm_move`](crate::UdpServer::confirm_move).
    pub confirmed: bool,
}

impl ConnectionIds {
    /// Ids as `read` finds them in a datagram: quick, and without a panic, since it sees what strangers send. If it
    /// panics all the same, so does `poll`; where that is caught, the server goes on, and all that was received in one
    /// go with the datagram is lost ([`panicked`](crate::stats::ReceiveDrops#structfield.panicked)).
    pub fn new(read: impl Fn(&[u8]) -> Option<ConnectionId> + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            without_id: WithoutId::default(),
            on_move: OnMove::default(),
            old_address_grace: Duration::from_secs(5),
        }
    }

    /// What becomes of datagrams without an id. Default: [`WithoutId::Drop`].
    #[must_use]
    pub fn without_id(mut self, without_id: WithoutId) -> Self {
        self.without_id = without_id;
        self
    }

    /// What becomes of datagrams with a known id from a new address. Default: [`OnMove::follow`].
    #[must_use]
    pub fn on_move(mut self, on_move: OnMove) -> Self {
        self.on_move = on_move;
        self
    }

    /// How long after a move datagrams from the old address are delivered as stragglers. Default 5 s. Later they count
    /// as a move back. Of one connection the last four addresses it left are remembered.
    ///
    /// Until then *answers* go to the new address: a client that is back at the old one is heard, and hears nothing for
    /// what is left of the grace. Whoever has its id or one of its datagrams, and sends that again from elsewhere each
    /// time the grace is over, makes it deaf half of the time by one address, and nearly always by six: where that
    /// matters, ask for a proof before the move ([`OnMove::ask`]). A shorter grace makes each time shorter, and lets
    /// what is overtaken on its way count as a move.
    #[must_use]
    pub fn old_address_grace(mut self, grace: Duration) -> Self {
        self.old_address_grace = grace;
        self
    }

    pub(super) fn grace(&self) -> Duration {
        self.old_address_grace
    }

    pub(super) fn decide(&self, attempt: &MoveAttempt<'_>, reply: &mut Vec<u8>) -> MoveVerdict {
        match &self.on_move.0 {
            Rule::Follow => MoveVerdict::Follow,
            Rule::Refuse => MoveVerdict::Refuse,
            Rule::Ask(decide) => decide(attempt, reply),
        }
    }
}

impl Identity {
    /// The id in a datagram, where there are any.
    pub(super) fn read(&self, bytes: &[u8]) -> Option<ConnectionId> {
        match self {
            Self::Address => None,
            Self::ConnectionId(ids) => (ids.read)(bytes),
        }
    }

    pub(super) fn ids(&self) -> Option<&ConnectionIds> {
        match self {
            Self::Address => None,
            Self::ConnectionId(ids) => Some(ids),
        }
    }

    /// Whether datagrams without an id may belong to a peer.
    pub(super) fn knows_by_address(&self) -> bool {
        self.ids().is_none_or(|ids| ids.without_id == WithoutId::ByAddress)
    }
}

impl fmt::Debug for ConnectionIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionIds")
            .field("without_id", &self.without_id)
            .field("on_move", &self.on_move)
            .field("old_address_grace", &self.old_address_grace)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OnMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Rule::Follow => "Follow",
            Rule::Refuse => "Refuse",
            Rule::Ask(_) => "Ask",
        })
    }
}
