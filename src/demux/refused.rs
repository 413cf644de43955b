use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::address::Key;

/// Addresses of closed peers, refused for a time. At most so many: beyond, the one refused longest is forgotten.
#[derive(Debug, Default)]
pub(super) struct Refused {
    until: HashMap<Key, Instant>,
    /// In the order in which they were refused. An address refused again stands here twice, and the first does not count.
    order: VecDeque<(Key, Instant)>,
}

impl Refused {
    pub(super) fn refuse(&mut self, key: Key, until: Instant, max: usize) {
        self.until.insert(key, until);
        self.order.push_back((key, until));
        self.shrink_to(max);
    }

    /// Whether datagrams from there are refused now.
    pub(super) fn contains(&mut self, key: &Key, now: Instant) -> bool {
        // Most servers refuse nobody most of the time, and then this costs nothing.
        if self.until.is_empty() {
            return false;
        }
        self.until.get(key).is_some_and(|&until| now < until)
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.until.remove(key);
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.order.front().is_some_and(|&(_, until)| until <= now) {
            self.forget_first();
        }
    }

    pub(super) fn shrink_to(&mut self, max: usize) {
        while self.order.len() > max {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((key, until)) = self.order.pop_front() else { return };
        if self.until.get(&key) == Some(&until) {
            self.until.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::time::Duration;

    fn key(port: u16) -> Key {
        Key::of(SocketAddr::from(([192, 0, 2, 1], port)))
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
        assert_eq!((refused.until.len(), refused.order.len()), (0, 0));
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
        assert!(refused.until.is_empty());
    }
}
