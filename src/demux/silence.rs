use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::time::Tick;
use crate::peer_id::LocalId;

/// Finds peers that have been silent for long, without a look at the others and at no cost a packet.
///
/// Each peer stands here once, by the time at which it was heard from when it was last looked at. Only when that time
/// is due is it looked at again, which for a lively peer is once in a time-out.
#[derive(Debug, Default)]
pub(super) struct Silence {
    by_time: BinaryHeap<Reverse<(Tick, LocalId)>>,
}

impl Silence {
    pub(super) fn watch(&mut self, id: LocalId, heard: Tick) {
        self.by_time.push(Reverse((heard, id)));
    }

    /// The peer last heard from the longest time ago, if that is `timeout` or longer; it is watched no more.
    /// `last_heard` tells the truth, or that there is no such peer any more.
    pub(super) fn next(
        &mut self,
        now: Tick,
        timeout: Duration,
        last_heard: impl Fn(LocalId) -> Option<Tick>,
    ) -> Option<LocalId> {
        loop {
            let Reverse((then, id)) = *self.by_time.peek().filter(|Reverse((then, _))| then.is_over(now, timeout))?;
            self.by_time.pop();
            match last_heard(id) {
                // Earlier where a peer was connected between two polls, at a time that the second was not told.
                Some(heard) if heard <= then => return Some(id),
                Some(heard) => self.watch(id, heard),
                None => {}
            }
        }
    }

    /// Forgets peers that there are no more, once they are the most of those watched; `peers` is how many there are.
    pub(super) fn tidy(&mut self, peers: usize, is_peer: impl Fn(LocalId) -> bool) {
        if self.by_time.len() > 2 * peers + 64 {
            self.by_time.retain(|Reverse((_, id))| is_peer(*id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::time::Instant;

    fn peer(index: u32) -> LocalId {
        LocalId { index, generation: 1 }
    }

    #[test]
    fn the_silent_are_found_at_the_time_and_in_the_order_of_their_silence() {
        let start = Instant::now();
        let at = |millis| Tick::at(start + Duration::from_millis(millis), start);
        let timeout = Duration::from_millis(100);
        let mut silence = Silence::default();
        let mut heard = BTreeMap::from([(peer(1), at(0)), (peer(2), at(1)), (peer(3), at(2))]);
        for (&id, &time) in &heard {
            silence.watch(id, time);
        }
        heard.insert(peer(1), at(50));
        heard.remove(&peer(2));
        let mut next = |now| silence.next(now, timeout, |id| heard.get(&id).copied());
        assert_eq!(next(at(101)), None);
        assert_eq!(next(at(102)), Some(peer(3)));
        assert_eq!(next(at(149)), None);
        assert_eq!(next(at(150)), Some(peer(1)));
        assert_eq!(next(at(9_999)), None);
    }

    #[test]
    fn those_that_are_gone_are_forgotten() {
        let mut silence = Silence::default();
        for index in 0..10_000 {
            silence.watch(peer(index), Tick::default());
            silence.tidy(10, |id| id.index < 10);
        }
        assert!(silence.by_time.len() <= 2 * 10 + 65);
    }
}
