use std::collections::VecDeque;
use std::time::Duration;

use super::mailbox::Common;
use super::table::Table;
use super::time::Tick;
use crate::peer_id::LocalId;

/// How long the memory of a peer's queues is kept after it was last needed: no less, and not much more.
const REST: Duration = Duration::from_secs(5);

/// Of how many peers one poll looks whether their memory was needed.
const LOOKS: usize = 64;

/// Gives back the memory of queues that was needed once, of some peers in each poll.
#[derive(Debug, Default)]
pub(super) struct GiveBack {
    /// Peers whose queues take memory, and when it was looked whether they need it.
    grown: VecDeque<(Tick, LocalId)>,
    /// How many there may be before those that are gone are looked for.
    room: usize,
}

impl GiveBack {
    /// Looks at some of the peers whose queues take memory, at those that it has not looked at for longest, and gives
    /// back what was not needed since.
    pub(super) fn look(&mut self, now: Tick, shared: &Common, table: &Table) {
        shared.take_grown(|id| self.grown.push_back((now, id)));
        for _ in 0..LOOKS {
            let is_due = |(looked, _): &&(Tick, LocalId)| looked.is_over(now, REST);
            let Some(&(_, id)) = self.grown.front().filter(is_due) else { break };
            self.grown.pop_front();
            let is_done = table.own_member(id).is_none_or(|member| member.mailbox.give_back_memory());
            if !is_done {
                self.grown.push_back((now, id));
            }
        }
        self.tidy(table);
    }

    /// Forgets peers that are gone, where many come and go between two polls, or faster than they are looked at.
    fn tidy(&mut self, table: &Table) {
        if self.grown.len() > self.room {
            self.grown.retain(|&(_, id)| table.own_member(id).is_some());
            self.room = 2 * self.grown.len() + 64;
        }
        if self.grown.is_empty() {
            self.grown.shrink_to(64);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::demux::test_house::House;
    use crate::peer_id::PeerId;

    /// Several packets wait at a time, and are taken.
    fn use_memory(house: &House, id: PeerId) {
        (0..2).for_each(|_| house.push(id));
        (0..2).for_each(|_| drop(house.mailbox(id).take()));
    }

    fn look(give_back: &mut GiveBack, house: &House, seconds: u64) -> usize {
        give_back.look(house.tick(seconds), &house.shared, &house.table);
        give_back.grown.len()
    }

    #[test]
    fn memory_is_kept_while_it_is_used_and_given_back_after_a_rest() {
        let (mut house, mut give_back) = (House::new(), GiveBack::default());
        let id = house.peer(1);
        assert_eq!(look(&mut give_back, &house, 0), 0, "it has none");
        use_memory(&house, id);
        assert_eq!(look(&mut give_back, &house, 0), 1);
        assert_eq!(look(&mut give_back, &house, 4), 1, "not yet");
        assert_eq!(look(&mut give_back, &house, 5), 1, "it was used since the last look");
        use_memory(&house, id);
        assert_eq!(look(&mut give_back, &house, 10), 1, "and again");
        assert_eq!(look(&mut give_back, &house, 14), 1);
        assert_eq!(look(&mut give_back, &house, 15), 0);
        use_memory(&house, id);
        assert_eq!(look(&mut give_back, &house, 16), 1, "it takes some anew");
    }

    #[test]
    fn so_many_are_looked_at_and_no_more() {
        let (mut house, mut give_back) = (House::new(), GiveBack::default());
        for port in 0..100 {
            let id = house.peer(port);
            use_memory(&house, id);
            house.mailbox(id).give_back_memory();
        }
        assert_eq!(look(&mut give_back, &house, 0), 100);
        assert_eq!(look(&mut give_back, &house, 5), 100 - LOOKS);
        assert_eq!(look(&mut give_back, &house, 5), 0);
    }

    #[test]
    fn those_that_are_gone_are_forgotten() {
        let (mut house, mut give_back) = (House::new(), GiveBack::default());
        for port in 0..1000 {
            let id = house.peer(port);
            use_memory(&house, id);
            house.table.remove(id);
            assert!(look(&mut give_back, &house, 0) <= 65);
        }
    }
}
