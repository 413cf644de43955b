//! What can be done, and the dice that choose.

use std::time::Duration;

use packetpeer::identity::Switch;
use packetpeer::limits::{AfterClose, IpPrefix, QueueLimits, WhenFull};
use packetpeer::{Limits, SendMode};

use crate::setup::{CLIENTS, Ids, Move, Reach, Setup, Style};

const STEPS: usize = 100;

/// One thing that is done. Handles, peers and clients are meant modulo how many there are, so that a list of steps
/// stays a list of steps when some are left out.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A client sends to the port listened on.
    Send {
        client: usize,
        kind: u8,
        id: u8,
        size: usize,
        count: usize,
    },
    /// A datagram goes to a peer's own socket, from that peer's address or another client's.
    SendToOwn {
        socket: usize,
        stranger: Option<usize>,
        size: usize,
        count: usize,
    },
    /// From now on a client speaks to another of the server's addresses.
    Reroute {
        client: usize,
        way: usize,
    },
    Collect {
        client: usize,
    },
    Advance {
        millis: u64,
    },
    /// With a filter for this poll alone, or the one that is set.
    Poll {
        filter: Option<Style>,
    },
    PollAt {
        filter: Option<Style>,
        millis_from_now: i64,
    },
    Take,
    Get {
        handle: usize,
    },
    GetAll {
        handle: usize,
    },
    GetInto {
        handle: usize,
        room: usize,
    },
    Put {
        handle: usize,
        size: usize,
    },
    Broadcast {
        size: usize,
    },
    BroadcastTo {
        peers: Vec<usize>,
        size: usize,
    },
    Flush,
    Wait,
    /// The system takes so many datagrams more to be sent.
    SendRoom {
        datagrams: usize,
    },
    CloseHandle {
        handle: usize,
    },
    DropHandle {
        handle: usize,
    },
    DropAllHandles,
    ServerClose {
        peer: usize,
    },
    /// Ids of another server mean nobody here.
    Foreign {
        peer: usize,
    },
    Connect {
        target: usize,
    },
    ConnectAs {
        target: usize,
        id: u64,
    },
    SendTo {
        target: usize,
        size: usize,
    },
    Dedicate {
        handle: usize,
        switch: Switch,
    },
    /// A peer receives where it is, or at another client's address.
    ConfirmMove {
        peer: usize,
        elsewhere: Option<usize>,
    },
    Drain,
    Stop,
    Listen {
        on: Reach,
    },
    Filter {
        style: Option<Style>,
    },
    Limits {
        limits: Box<Limits>,
    },
    Nonsense {
        limits: Box<Limits>,
    },
    MaxPending {
        connections: usize,
    },
    Ready,
    Ended,
    Moved,
}

pub(crate) struct Dice(pub(crate) fastrand::Rng);

impl Dice {
    pub(crate) fn setup(&mut self) -> Setup {
        Setup {
            limits: self.limits(),
            max_packet_size: self.one_of(&[1, 20, 40, 40, 60, 300]),
            receive_buffer: self.one_of(&[None, Some(1200), Some(4 << 20), Some(4 << 20)]),
            send_mode: self.one_of(&[SendMode::Now, SendMode::QueueWhenBlocked, SendMode::OnFlush]),
            pins: self.0.bool(),
            ids: self.0.bool().then(|| self.ids()),
        }
    }

    fn ids(&mut self) -> Ids {
        Ids {
            by_address: self.0.bool(),
            on_move: self.one_of(&[Move::Follow, Move::Follow, Move::Refuse, Move::Ask]),
            grace: Duration::from_millis(self.one_of(&[0, 100, 1000, 5000])),
        }
    }

    pub(crate) fn steps(&mut self) -> Vec<Step> {
        let listen = Step::Listen { on: Reach::Both };
        std::iter::once(listen).chain((1..STEPS).map(|_| self.step())).collect()
    }

    fn step(&mut self) -> Step {
        match self.0.u32(..20) {
            0..5 => self.traffic(),
            5..9 => self.time(),
            9..14 => self.by_a_handle(),
            14..17 => self.by_the_server(),
            17..19 => self.sending(),
            _ => self.change(),
        }
    }

    fn number(&mut self) -> usize {
        self.0.usize(..60)
    }

    fn client(&mut self) -> usize {
        // The nameless one is rare.
        if self.0.u32(..50) == 0 { CLIENTS.len() - 1 } else { self.0.usize(..CLIENTS.len() - 1) }
    }

    fn traffic(&mut self) -> Step {
        let (client, count) = (self.client(), self.one_of(&[1, 1, 2, 5]));
        match self.0.u32(..24) {
            0..18 => Step::Send { client, kind: self.0.u8(..), id: self.0.u8(..), size: self.size(), count },
            18..21 => {
                let stranger = (self.0.u32(..4) == 0).then_some(client);
                Step::SendToOwn { socket: self.number(), stranger, size: self.size(), count }
            }
            21 => Step::Reroute { client, way: self.0.usize(..2) },
            _ => Step::Collect { client },
        }
    }

    fn size(&mut self) -> usize {
        self.one_of(&[0, 1, 2, 6, 6, 10, 15, 20, 21, 40, 41, 42, 60])
    }

    fn time(&mut self) -> Step {
        match self.0.u32(..20) {
            0..5 => Step::Advance { millis: self.one_of(&[1, 100, 500, 999, 1000, 3000, 31_000]) },
            5..16 => Step::Poll { filter: self.style_for_a_poll() },
            _ => Step::PollAt {
                filter: self.style_for_a_poll(),
                millis_from_now: self.one_of(&[-5000, -1000, -1, 0, 1, 400, 1000, 31_000]),
            },
        }
    }

    fn by_a_handle(&mut self) -> Step {
        let handle = self.number();
        match self.0.u32(..40) {
            0..15 => Step::Take,
            15..19 => Step::Get { handle },
            19..23 => Step::GetAll { handle },
            23..26 => Step::GetInto { handle, room: self.one_of(&[0, 5, 19, 64]) },
            26..32 => Step::Put { handle, size: self.one_of(&[0, 1, 6, 30, 90, 1200, 65_508, 65_528]) },
            32..35 => Step::CloseHandle { handle },
            35..39 => Step::DropHandle { handle },
            _ => Step::DropAllHandles,
        }
    }

    fn by_the_server(&mut self) -> Step {
        let (number, target) = (self.number(), self.number());
        match self.0.u32(..30) {
            0..3 => Step::ServerClose { peer: number },
            3 => Step::Foreign { peer: number },
            4..8 => Step::Connect { target },
            8..11 => Step::ConnectAs { target, id: number as u64 },
            11..14 => Step::SendTo { target, size: self.one_of(&[0, 9, 100]) },
            14..18 => Step::Dedicate { handle: number, switch: self.one_of(&[Switch::AtOnce, Switch::WithClient]) },
            18 => Step::ConfirmMove { peer: number, elsewhere: self.0.bool().then(|| self.client()) },
            19..23 => Step::Ready,
            23..27 => Step::Ended,
            _ => Step::Moved,
        }
    }

    fn sending(&mut self) -> Step {
        match self.0.u32(..20) {
            0..6 => Step::Flush,
            6 => Step::Wait,
            7..10 => Step::SendRoom { datagrams: self.one_of(&[0, 1, 2, 5, usize::MAX, usize::MAX]) },
            10..13 => Step::Broadcast { size: self.one_of(&[0, 6, 30, 90, 65_508]) },
            13..15 => {
                let peers = (0..self.0.usize(..5)).map(|_| self.number()).collect();
                Step::BroadcastTo { peers, size: self.one_of(&[6, 30, 90]) }
            }
            _ => Step::Put { handle: self.number(), size: self.one_of(&[6, 30, 90]) },
        }
    }

    fn change(&mut self) -> Step {
        match self.0.u32(..16) {
            0 if self.0.u32(..4) == 0 => Step::Drain,
            0..3 => Step::Filter { style: self.style() },
            3 if self.0.bool() => Step::Stop,
            3..6 => Step::Listen { on: self.one_of(&[Reach::Both, Reach::Both, Reach::V4, Reach::V6]) },
            6 => Step::Nonsense { limits: self.nonsense().into() },
            7 => Step::MaxPending { connections: self.0.usize(..4) },
            _ => Step::Limits { limits: self.limits().into() },
        }
    }

    fn style_for_a_poll(&mut self) -> Option<Style> {
        if self.0.u32(..4) == 0 { self.style() } else { None }
    }

    fn style(&mut self) -> Option<Style> {
        match self.0.u32(..8) {
            0..3 => None,
            3..5 => Some(Style::ByKind),
            5 => Some(Style::Ignore),
            6 => Some(Style::Consume),
            _ => Some(Style::Accept),
        }
    }

    /// Each limit is roomy, or tight.
    pub(crate) fn limits(&mut self) -> Limits {
        let time = |millis| Some(Duration::from_millis(millis));
        Limits::new()
            .max_pending_connections(self.roomy_or(16, &[0, 1, 2, 3]))
            .max_pending_per_ip(self.roomy_or(16, &[0, 1, 2]))
            .max_peers_per_ip(self.roomy_or(Some(256), &[None, Some(0), Some(1), Some(2), Some(3)]))
            .exempt_from_per_ip(self.prefixes())
            .pending_lifetime(self.roomy_or(None, &[1, 1000, 2000].map(time)))
            .max_peers(self.roomy_or(4096, &[0, 1, 2, 4]))
            .idle_timeout(self.roomy_or(None, &[1, 1000, 2000, 30_000].map(time)))
            .after_close(self.after_close())
            .max_refused_addresses(self.roomy_or(4096, &[1, 2, 3]))
            .queue(self.queue())
            .send_queue(self.queue())
            .max_queued_bytes(self.roomy_or(64 << 20, &[0, 30, 100, 200, 400, 1000]))
            .max_known_per_poll(self.roomy_or(16_384, &[1, 2, 3, 4, 70]))
            .max_unknown_per_poll(self.roomy_or(16_384, &[1, 2, 4]))
            .max_replies_per_poll(self.roomy_or(2048, &[0, 1, 2]))
            .quota_per_poll(self.roomy_or(None, &[1, 2, 4].map(Some)))
    }

    fn queue(&mut self) -> QueueLimits {
        QueueLimits::new()
            .packets(self.roomy_or(512, &[0, 1, 2, 3]))
            .bytes(self.roomy_or(1 << 18, &[0, 10, 30, 60]))
            .when_full(self.one_of(&[WhenFull::DropNewest, WhenFull::DropOldest]))
    }

    fn nonsense(&mut self) -> Limits {
        let limits = self.limits();
        match self.0.u32(..7) {
            0 => limits.pending_lifetime(Some(Duration::ZERO)),
            1 => limits.idle_timeout(Some(Duration::ZERO)),
            2 => limits.after_close(AfterClose::Refuse(Duration::ZERO)),
            3 => limits.max_known_per_poll(0),
            4 => limits.max_unknown_per_poll(0),
            5 => limits.after_close(AfterClose::Refuse(Duration::from_secs(1))).max_refused_addresses(0),
            _ => limits.quota_per_poll(Some(0)),
        }
    }

    fn prefixes(&mut self) -> Vec<IpPrefix> {
        let prefixes = self.one_of(&["", "", "10.0.0.0/8", "10.0.0.2 2001:db8::/64", "::/0"]);
        prefixes.split_whitespace().map(|prefix| prefix.parse().unwrap()).collect()
    }

    fn after_close(&mut self) -> AfterClose {
        let refuse = |millis| AfterClose::Refuse(Duration::from_millis(millis));
        let times = [refuse(1), refuse(1000), refuse(3000), refuse(20_000), AfterClose::Refuse(Duration::MAX)];
        self.roomy_or(AfterClose::Forget, &times)
    }

    fn roomy_or<T: Copy>(&mut self, roomy: T, tight: &[T]) -> T {
        if self.0.u32(..3) > 0 { roomy } else { self.one_of(tight) }
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(..all.len())]
    }
}
