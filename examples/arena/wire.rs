//! This game's messages, as bytes. Numbers are little-endian.
//!
//! | message | bytes |
//! |---|---|
//! | every one begins with | `AR`, kind: 1, nonce: 4 |
//! | join, goodbye | nothing more |
//! | input | number: 4, heading: 2 × 1 |
//! | world state | tick: 4, last input: 4, then a player: id 2, x 2, y 2; as many as there are, the receiver first |
//!
//! The nonce is a random number that a client chooses when it joins. Everything that it sends, and everything that is
//! sent to it, has it: a message that reached the wrong one is recognised.
//!
//! Whatever the bytes are, decoding them never panics. `None` = this is no such message.

/// What is sent fits the way of nearly every network in one piece.
const MAX_WORLD_STATE: usize = 1200;
/// The longest message of a client: an input.
pub(crate) const MAX_CLIENT_MESSAGE: usize = HEADER + 6;

/// The plane is a square with sides of so many centimetres. Whoever has a larger coordinate is not on it.
pub(crate) const PLANE: u16 = 10_000;

const MAGIC: [u8; 2] = *b"AR";
const HEADER: usize = 7;
const PLAYER: usize = 6;

const JOIN: u8 = 1;
const INPUT: u8 = 2;
const GOODBYE: u8 = 3;
const WORLD_STATE: u8 = 4;

/// What a client sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientMessage {
    pub(crate) nonce: u32,
    pub(crate) request: Request,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Request {
    Join,
    Input(Input),
    Goodbye,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Input {
    /// 1, 2, 3 … in the order in which they were made; the network may change it.
    pub(crate) number: u32,
    /// Along x and y; 127 is full speed.
    pub(crate) heading: [i8; 2],
}

/// What the server sends, but for the players.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WorldState {
    pub(crate) nonce: u32,
    pub(crate) tick: u32,
    /// The number of the latest input the server has seen from the receiver; 0 = none yet.
    pub(crate) last_input: u32,
}

/// One player, as the world state has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlayerState {
    pub(crate) id: u16,
    pub(crate) x: u16,
    pub(crate) y: u16,
}

impl ClientMessage {
    /// Writes the message to `out`, in the place of what was there.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self.request {
            Request::Join => begin(out, JOIN, self.nonce),
            Request::Goodbye => begin(out, GOODBYE, self.nonce),
            Request::Input(Input { number, heading: [x, y] }) => {
                begin(out, INPUT, self.nonce);
                out.extend(number.to_le_bytes());
                out.extend(x.to_le_bytes());
                out.extend(y.to_le_bytes());
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let (kind, nonce) = reader.header()?;
        let request = match kind {
            JOIN => Request::Join,
            GOODBYE => Request::Goodbye,
            INPUT => Request::Input(Input { number: reader.u32()?, heading: [reader.i8()?, reader.i8()?] }),
            _ => return None,
        };
        reader.is_at_end().then_some(Self { nonce, request })
    }
}

impl WorldState {
    /// How many players fit where no packet may have more than `max_packet_size` bytes: a transport that adds something
    /// of its own leaves room for fewer.
    pub(crate) fn room(max_packet_size: usize) -> usize {
        max_packet_size.min(MAX_WORLD_STATE).saturating_sub(HEADER + 8) / PLAYER
    }

    /// Writes the state to `out`, in the place of what was there, with as many of `players` as fit.
    pub(crate) fn encode(&self, players: impl Iterator<Item = PlayerState>, out: &mut Vec<u8>) {
        begin(out, WORLD_STATE, self.nonce);
        out.extend(self.tick.to_le_bytes());
        out.extend(self.last_input.to_le_bytes());
        for player in players.take(Self::room(MAX_WORLD_STATE)) {
            out.extend(player.id.to_le_bytes());
            out.extend(player.x.to_le_bytes());
            out.extend(player.y.to_le_bytes());
        }
    }

    /// The state, the receiver's own player, and the others.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, PlayerState, Vec<PlayerState>)> {
        let mut reader = Reader(bytes);
        let (kind, nonce) = reader.header()?;
        if kind != WORLD_STATE {
            return None;
        }
        let state = Self { nonce, tick: reader.u32()?, last_input: reader.u32()? };
        let own = reader.player()?;
        let mut others = Vec::with_capacity(reader.0.len() / PLAYER);
        while !reader.is_at_end() {
            others.push(reader.player()?);
        }
        Some((state, own, others))
    }
}

impl PlayerState {
    pub(crate) fn is_on_the_plane(&self) -> bool {
        self.x <= PLANE && self.y <= PLANE
    }
}

fn begin(out: &mut Vec<u8>, kind: u8, nonce: u32) {
    out.clear();
    out.extend(MAGIC);
    out.push(kind);
    out.extend(nonce.to_le_bytes());
}

/// What is left to read. Each number is `None` where the bytes have come to an end.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn header(&mut self) -> Option<(u8, u32)> {
        if self.take()? != MAGIC {
            return None;
        }
        Some((self.u8()?, self.u32()?))
    }

    fn player(&mut self) -> Option<PlayerState> {
        Some(PlayerState { id: self.u16()?, x: self.u16()?, y: self.u16()? })
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    fn i8(&mut self) -> Option<i8> {
        self.take().map(i8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}
