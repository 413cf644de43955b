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
