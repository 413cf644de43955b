use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::key::Key;

/// Who is refused for a time, because the peer was closed. At most so many: beyond, the one refused first is forgotten.
#[derive(Debug, Default)]
pub(super) struct Refused {
    by_key: HashMap<Key, Refusal>,
    /// In the order in which they were refused. One that was lifted, or replaced by a later one, may still stand here.
    order: VecDeque<(Key, u64)>,
    next_number: u64,
}

#[derive(Debug)]
struct Refusal {
    until: Instant,
    /// Tells it from another refusal of the same key.
    number: u64,
}

impl Refused {
    pub(super) fn refuse(&mut self, key: Key, until: Instant, max: usize) {
        let number = self.next_number;
        self.next_number += 1;
        self.by_key.insert(key, Refusal { until, number });
        self.order.push_back((key, number));
        self.shrink_to(max);
        // Those lifted or replaced are left in the order, up to as many as there are others.
        if self.order.len() > 2 * self.by_key.len() + 16 {
            let by_key = &self.by_key;
            self.order.retain(|(key, number)| by_key.get(key).is_some_and(|refusal| refusal.number == *number));
        }
    }

    /// Whether datagrams of this key are refused now.
    pub(super) fn contains(&self, key: &Key, now: Instant) -> bool {
        // Most servers refuse nobody most of the time, and then this costs nothing.
        !self.by_key.is_empty() && self.by_key.get(key).is_some_and(|refusal| now < refusal.until)
    }

    /// How many are refused now. Looks at each.
    pub(super) fn count(&self, now: Instant) -> usize {
        self.by_key.values().filter(|refusal| now < refusal.until).count()
    }

    pub(super) fn lift(&mut self, key: &Key) {
        self.by_key.remove(key);
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((key, number)) = self.order.front() {
            let live = self.by_key.get(key).filter(|refusal| refusal.number == *number);
            if live.is_some_and(|refusal| now < refusal.until) {
                return;
            }
            self.forget_first();
        }
    }

    pub(super) fn shrink_to(&mut self, max: usize) {
        while self.by_key.len() > max {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((key, number)) = self.order.pop_front() else { return };
        if self.by_key.get(&key).is_some_and(|refusal| refusal.number == number) {
            self.by_key.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn key(port: u16) -> Key {
        Key::of(&SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn an_address_is_refused_until_its_time_is_over() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut refused = Refused::default();
        refused.refuse(key(1), later(5), 10);
        assert!(refused.contains(&key(1), later(4)));
        assert!(!refused.contains(&key(1), later(5)));
        assert!(!refused.contains(&key(2), later(4)));
        refused.expire(later(5));
        assert_eq!((refused.by_key.len(), refused.order.len()), (0, 0));
    }

    #[test]
    fn refused_again_counts_from_the_last_time() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut refused = Refused::default();
        refused.refuse(key(1), later(5), 10);
        refused.refuse(key(1), later(9), 10);
        refused.expire(later(5));
        assert!(refused.contains(&key(1), later(8)));
    }

    #[test]
    fn beyond_the_cap_the_first_is_forgotten() {
        let start = Instant::now();
        let until = start + Duration::from_secs(5);
        let mut refused = Refused::default();
        for port in 1..=4 {
            refused.refuse(key(port), until, 3);
        }
        assert!(!refused.contains(&key(1), start));
        assert!(refused.contains(&key(2), start));
        refused.shrink_to(0);
        assert!(refused.by_key.is_empty());
    }

    #[test]
    fn one_that_was_lifted_takes_nobodys_place() {
        let start = Instant::now();
        let until = start + Duration::from_secs(5);
        let mut refused = Refused::default();
        for _ in 0..3 {
            refused.refuse(key(1), until, 1);
            refused.lift(&key(1));
        }
        refused.refuse(key(1), until, 1);
        assert!(refused.contains(&key(1), start));
        refused.refuse(key(2), until, 2);
        assert!(refused.contains(&key(1), start) && refused.contains(&key(2), start));
    }

    #[test]
    fn lifting_again_and_again_takes_no_memory() {
        let until = Instant::now() + Duration::from_secs(5);
        let mut refused = Refused::default();
        for _ in 0..1000 {
            refused.refuse(key(1), until, 10);
            refused.lift(&key(1));
        }
        assert!(refused.order.len() < 20);
    }
}
