//! Several hosts on one: network namespaces, joined by veth pairs, with the examples as programs on them, or with the
//! sockets of one test on each.
//!
//! Wants root, `ip` and `tc` (package iproute2), `nft` and `conntrack` (packages nftables and conntrack). Where any is
//! missing the tests pass without testing anything, except that in CI (`CI` is set) root has to get its namespaces and
//! tools. Addresses are those of documentation (RFC 5737, RFC 3849), and nothing leaves the namespaces, which go when a
//! test ends.
//!
//! A plain `cargo test` builds the examples first; `cargo test --test netns` does not, and runs those built last.

#![cfg(target_os = "linux")] // no other system has network namespaces

mod process;
#[allow(clippy::duplicate_mod, reason = "the tests that run once more bring it with them")]
mod util;

mod netns {
    mod hosts;
    mod talk;

    mod addresses;
    mod firewall;
    mod icmp;
    mod loss;
    mod multicast;
    mod nat;
    mod outage;
    #[cfg(not(packetpeer_portable))]
    mod overflow;
    mod path_mtu;
    mod rate;
}

/// The same tests once more, to be run on a host whose loopback interface has a way to IPv6 groups.
#[path = "multicast.rs"]
mod on_loopback;
