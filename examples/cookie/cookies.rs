//! Cookies: how the server knows its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::wire::COOKIE_SIZE;

/// Bakes cookies and knows its own: a cookie is a MAC over an address and the number of the period.
///
/// It proves that somebody receives at the address, not who that is; who can read on the way can use it, too.
pub(crate) struct Cookies {
    keyed: Hmac<Sha256>,
    start: Instant,
    period: Duration,
}

impl Cookies {
    /// With `key` from the system, another one each time the server starts; `period` is not zero.
    pub(crate) fn new(key: &[u8; 32], start: Instant, period: Duration) -> Self {
        let keyed = Hmac::new_from_slice(key).expect("HMAC takes keys of any length");
        Self { keyed, start, period }
    }

    pub(crate) fn bake(&self, addr: SocketAddr, now: Instant) -> [u8; COOKIE_SIZE] {
        let mac = self.mac(addr, self.period(now)).finalize().into_bytes();
        std::array::from_fn(|index| mac[index])
    }

    /// Cookies of the present period and of the one before are good: who got one just before the turn has time to use
    /// it.
    pub(crate) fn is_good(&self, cookie: &[u8; COOKIE_SIZE], addr: SocketAddr, now: Instant) -> bool {
        let now = self.period(now);
        // Verified in constant time: how long the refusal takes does not tell how many bytes were right.
        (now.saturating_sub(1)..=now).any(|period| self.mac(addr, period).verify_truncated_left(cookie).is_ok())
    }

    /// Each part has a fixed length, so that no two addresses and periods make the same bytes.
    fn mac(&self, addr: SocketAddr, period: u64) -> Hmac<Sha256> {
        let ip = match addr.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.keyed
            .clone()
            .chain_update(ip.octets())
            .chain_update(addr.port().to_be_bytes())
            .chain_update(period.to_be_bytes())
    }

    fn period(&self, now: Instant) -> u64 {
        (now.saturating_duration_since(self.start).as_nanos() / self.period.as_nanos()) as u64
    }
}
