//! The group in which a sender is counted for the limits per IP address.

use std::collections::{HashMap, hash_map};
use std::hash::Hash;
use std::net::IpAddr;

/// Whom an address is counted with for the limits per IP address: an IPv4 address with itself, an IPv6 address with its
/// /64, since one host has that many addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    V4(u32),
    V6(u64),
}

impl Origin {
    /// Of a canonical address.
    pub(super) fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::V4(addr.into()),
            IpAddr::V6(addr) => Self::V6((u128::from(addr) >> 64) as u64),
        }
    }
}

/// How many are here from where. Two maps, since one entry for each peer has to be small.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    v4: HashMap<u32, u32>,
    v6: HashMap<u64, u32>,
}

impl Crowd {
    pub(super) fn from(&self, origin: Origin) -> usize {
        let count = match origin {
            Origin::V4(origin) => self.v4.get(&origin),
            Origin::V6(origin) => self.v6.get(&origin),
        };
        count.map_or(0, |&count| count as usize)
    }

    pub(super) fn add(&mut self, origin: Origin) {
        match origin {
            Origin::V4(origin) => *self.v4.entry(origin).or_default() += 1,
            Origin::V6(origin) => *self.v6.entry(origin).or_default() += 1,
        }
    }

    /// Takes one off; an origin of which none is left is forgotten.
    pub(super) fn remove(&mut self, origin: Origin) {
        match origin {
            Origin::V4(origin) => remove_one(&mut self.v4, origin),
            Origin::V6(origin) => remove_one(&mut self.v6, origin),
        }
    }
}

fn remove_one<K: Eq + Hash>(counts: &mut HashMap<K, u32>, key: K) {
    if let hash_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_of_one_ipv6_network_count_together() {
        assert_eq!(Origin::of(ip("2001:db8::1")), Origin::of(ip("2001:db8::ffff:1")));
        assert_ne!(Origin::of(ip("2001:db8::1")), Origin::of(ip("2001:db8:0:1::1")));
        assert_ne!(Origin::of(ip("192.0.2.1")), Origin::of(ip("192.0.2.2")));
    }

    #[test]
    fn an_origin_of_which_nobody_is_left_is_forgotten() {
        let mut crowd = Crowd::default();
        let origins = ["192.0.2.1", "::c000:201", "2001:db8::1"].map(|text| Origin::of(ip(text)));
        for origin in origins {
            crowd.add(origin);
            crowd.add(origin);
            assert_eq!(crowd.from(origin), 2);
            crowd.remove(origin);
        }
        assert_eq!(origins.map(|origin| crowd.from(origin)), [1; 3]);
        origins.into_iter().for_each(|origin| crowd.remove(origin));
        assert!(crowd.v4.is_empty() && crowd.v6.is_empty());
    }
}
