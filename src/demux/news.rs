//! What has happened to peers, kept so that the program can ask between two polls.

use std::collections::VecDeque;
use std::net::SocketAddr;

use indexmap::IndexMap;

use super::identity::Moved;
use crate::peer_id::PeerId;
use crate::peer_state::CloseReason;

/// Moves that there is memory for all the time, so that a few of them allocate nothing.
const FEW_MOVES: usize = 64;

/// Peers that have ended and peers that have moved. What was there at the end of a poll is forgotten by the next.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Those before `ended_seen` have been there since the last poll.
    ended: VecDeque<(PeerId, CloseReason)>,
    ended_seen: usize,
    ended_so_far: u64,
    /// The same for peers that have moved to another address: once each, however often they did so within a poll.
    moved: IndexMap<PeerId, Moved>,
    moved_seen: usize,
}

impl News {
    /// Forgets what the program could have asked for since the last poll.
    pub(super) fn begin_poll(&mut self) {
        self.ended.drain(..self.ended_seen);
        self.moved.drain(..self.moved_seen);
        // A poll may not have come to its end.
        self.end_poll();
        if self.moved.is_empty() && self.moved.capacity() > 2 * FEW_MOVES {
            self.moved.shrink_to(FEW_MOVES);
        }
    }

    /// From now on the program can ask, until the next poll.
    pub(super) fn end_poll(&mut self) {
        (self.ended_seen, self.moved_seen) = (self.ended.len(), self.moved.len());
    }

    /// Remembers that a peer has ended; of more than `most` the first are forgotten.
    pub(super) fn tell_ended(&mut self, id: PeerId, reason: CloseReason, most: usize) {
        self.ended_so_far += 1;
        if self.ended.len() >= most {
            self.ended.pop_front();
            self.ended_seen = self.ended_seen.saturating_sub(1);
        }
        self.ended.push_back((id, reason));
    }

    pub(super) fn tell_moved(&mut self, peer: PeerId, from: SocketAddr, to: SocketAddr, confirmed: bool) {
        let moved = self.moved.entry(peer).or_insert(Moved { peer, from, to, confirmed });
        (moved.to, moved.confirmed) = (to, confirmed);
    }

    /// Appends to `out` the peers that have ended, and forgets them.
    pub(super) fn take_ended(&mut self, out: &mut Vec<(PeerId, CloseReason)>) {
        out.extend(self.ended.drain(..));
        self.ended_seen = 0;
    }

    /// Appends to `out` the peers that go on at another address, and forgets them.
    pub(super) fn take_moved(&mut self, out: &mut Vec<Moved>) {
        out.extend(self.moved.drain(..).map(|(_, moved)| moved));
        self.moved_seen = 0;
    }

    /// How many peers have ended, one by one.
    pub(super) fn ended_so_far(&self) -> u64 {
        self.ended_so_far
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer_id::LocalId;

    fn peer(index: u32) -> PeerId {
        LocalId { index, generation: 1 }.of(1)
    }

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn ended(news: &mut News) -> Vec<PeerId> {
        let mut ended = Vec::new();
        news.take_ended(&mut ended);
        ended.into_iter().map(|(id, _)| id).collect()
    }

    #[test]
    fn what_one_poll_has_told_the_next_forgets() {
        let mut news = News::default();
        news.begin_poll();
        news.tell_ended(peer(1), CloseReason::Idle, 9);
        news.end_poll();
        news.tell_ended(peer(2), CloseReason::Closed, 9);
        news.begin_poll();
        news.end_poll();
        assert_eq!(ended(&mut news), [peer(2)]);
        news.begin_poll();
        assert_eq!(ended(&mut news), []);
        assert_eq!(news.ended_so_far(), 2);
    }

    /// A function of the program's may panic in the middle of a poll.
    #[test]
    fn a_poll_without_an_end_forgets_nothing_twice() {
        let mut news = News::default();
        news.tell_ended(peer(1), CloseReason::Closed, 9);
        news.begin_poll();
        news.tell_ended(peer(2), CloseReason::Closed, 9);
        news.begin_poll();
        assert_eq!(ended(&mut news), [peer(2)]);
    }

    #[test]
    fn beyond_the_most_that_are_kept_the_first_are_forgotten() {
        let mut news = News::default();
        for index in 0..3 {
            news.tell_ended(peer(index), CloseReason::Closed, 2);
        }
        assert_eq!(ended(&mut news), [peer(1), peer(2)]);
        // One of those that were seen goes, and not one told since instead of it.
        (0..2).for_each(|index| news.tell_ended(peer(index), CloseReason::Closed, 2));
        news.end_poll();
        news.tell_ended(peer(2), CloseReason::Closed, 2);
        news.begin_poll();
        assert_eq!(ended(&mut news), [peer(2)]);
    }

    #[test]
    fn several_moves_of_a_peer_are_told_as_one() {
        let mut news = News::default();
        news.tell_moved(peer(1), addr(1), addr(2), false);
        news.tell_moved(peer(2), addr(9), addr(8), false);
        news.tell_moved(peer(1), addr(2), addr(3), true);
        let mut moved = Vec::new();
        news.take_moved(&mut moved);
        let first = Moved { peer: peer(1), from: addr(1), to: addr(3), confirmed: true };
        assert_eq!(moved, [first, Moved { peer: peer(2), from: addr(9), to: addr(8), confirmed: false }]);
        moved.clear();
        news.take_moved(&mut moved);
        assert_eq!(moved, []);
    }

    #[test]
    fn the_memory_of_a_burst_of_moves_is_given_back() {
        let mut news = News::default();
        (0..1000).for_each(|index| news.tell_moved(peer(index), addr(1), addr(2), false));
        news.end_poll();
        assert!(news.moved.capacity() >= 1000);
        news.begin_poll();
        assert!(news.moved.capacity() <= 2 * FEW_MOVES, "{}", news.moved.capacity());
    }
}
