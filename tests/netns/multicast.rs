//! `multicast_server` on one host, `multicast_client` on both.

use std::env;
use std::process::Command;

use super::hosts::{Host, PATIENCE, two_hosts};
use crate::process::Process;

#[test]
fn ipv4_members_on_another_host_hear_until_they_leave() {
    let Some(hosts) = two_hosts() else { return };
    // A server may name its interface by an address too.
    members_on_another_host_hear_until_they_leave(&hosts, "239.255.77.1:0", "198.51.100.1");
}

#[test]
fn ipv6_members_on_another_host_hear_until_they_leave() {
    let Some(hosts) = two_hosts() else { return };
    // Of the organisation, and of the link (RFC 4291, 2.7).
    members_on_another_host_hear_until_they_leave(&hosts, "[ff18::7701]:0", "veth0");
    members_on_another_host_hear_until_they_leave(&hosts, "[ff12::7701]:0", "veth0");
}

fn members_on_another_host_hear_until_they_leave([here, there]: &[Host; 2], group: &str, interface: &str) {
    let (stay, group) = join(there, group, "veth0", &["--members", "2", "--count", "150"]);
    let (leave, _) = join(there, &group, "veth0", &["--leave-after", "10", "--quiet-ms", "300"]);
    let _server = send(here, &group, &["--interface", interface, "--hz", "200"]);
    assert_done(leave, "1 of 1 members done: heard 10, ");
    // These go on for longer than the other has to be quiet.
    assert_done(stay, "2 of 2 members done: ");
}

#[test]
fn fifty_members_on_one_host_all_hear() {
    let Some([here, there]) = two_hosts() else { return };
    let (members, group) = join(&there, "239.255.77.1:0", "veth0", &["--members", "50", "--count", "20"]);
    let _server = send(&here, &group, &["--interface", "veth0", "--hz", "100"]);
    assert_done(members, "50 of 50 members done: ");
}

#[test]
fn without_an_interface_the_routing_table_chooses() {
    let Some([here, there]) = two_hosts() else { return };
    for host in [&here, &there] {
        host.ip("route add 224.0.0.0/4 dev veth0");
    }
    let mut member = there.start("multicast_client", &["--group", "239.255.77.1:0", "--count", "5"]);
    let group = joined(&mut member);
    let _server = send(&here, &group, &["--hz", "100"]);
    assert_done(member, "1 of 1 members done: ");

    let mut member = there.start("multicast_client", &["--group", "[ff18::7701]:0", "--count", "5"]);
    let group = joined(&mut member);
    let _server = send(&here, &group, &["--hz", "100"]);
    assert_done(member, "1 of 1 members done: ");
}

#[test]
fn without_hops_nothing_leaves_the_host() {
    let Some([here, there]) = two_hosts() else { return };
    for group in ["239.255.77.1:0", "[ff18::7701]:0"] {
        let (near, group) = join(&here, group, "veth0", &["--count", "20"]);
        let (far, _) = join(&there, &group, "veth0", &["--count", "1"]);
        // No more than are heard: where nobody on the host has joined, Linux sends them out.
        let _server = send(&here, &group, &["--interface", "veth0", "--ttl", "0", "--hz", "100", "--count", "20"]);
        assert_done(near, "1 of 1 members done: ");
        assert_heard_nothing(far);
    }
}

#[test]
fn without_loop_members_on_the_senders_host_hear_nothing() {
    let Some([here, there]) = two_hosts() else { return };
    for group in ["239.255.77.1:0", "[ff18::7701]:0"] {
        let (far, group) = join(&there, group, "veth0", &["--count", "20"]);
        let (near, _) = join(&here, &group, "veth0", &["--count", "1"]);
        let _server = send(&here, &group, &["--interface", "veth0", "--loop", "false", "--hz", "100"]);
        assert_done(far, "1 of 1 members done: ");
        assert_heard_nothing(near);
    }
}

#[test]
fn a_member_hears_no_other_group_on_its_port() {
    let Some([here, there]) = two_hosts() else { return };
    for (group, other) in [("239.255.77.1:0", "239.255.77.2"), ("[ff18::7701]:0", "[ff18::7702]")] {
        let (heard, group) = join(&there, group, "veth0", &["--count", "20"]);
        let (_, port) = group.rsplit_once(':').expect("a port");
        let (silent, _) = join(&there, &format!("{other}:{port}"), "veth0", &["--count", "1"]);
        let _server = send(&here, &group, &["--interface", "veth0", "--hz", "100"]);
        assert_done(heard, "1 of 1 members done: ");
        assert_heard_nothing(silent);
    }
}

#[test]
fn members_on_one_host_by_the_loopback_interface_with_ipv6() {
    let Some(host) = Host::new() else { return };
    host.ip("-6 route add local ff00::/8 dev lo table local");
    let mut tests = Command::new(env::current_exe().expect("the path of this test"));
    tests.args(["on_loopback::", "--nocapture"]);
    let ended = host.start_command(&mut tests).wait(PATIENCE);
    assert!(ended.status.success(), "{ended:#?}");
    assert!(!ended.said.iter().any(|line| line.contains("not tested")), "{ended:#?}");
    assert!(ended.said.iter().any(|line| line.starts_with("running") && line != "running 0 tests"), "{ended:#?}");
}

/// A client that has joined, and the group with the port that it has.
fn join(host: &Host, group: &str, interface: &str, options: &[&str]) -> (Process, String) {
    let always = ["--group", group, "--interface", interface, "--seconds", "60"];
    let mut client = host.start("multicast_client", &[&always, options].concat());
    let group = joined(&mut client);
    (client, group)
}

fn joined(client: &mut Process) -> String {
    let line = client.wait_for_line("joined ", PATIENCE).expect("a client that joins");
    line["joined ".len()..].to_owned()
}

fn send(host: &Host, group: &str, options: &[&str]) -> Process {
    host.start("multicast_server", &[&["--group", group, "--seconds", "60"], options].concat())
}

/// Asserts that each member heard what it had to, and nothing else.
#[track_caller]
fn assert_done(mut client: Process, summary: &str) {
    let ended = client.wait(PATIENCE);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.said.last().is_some_and(|line| line.starts_with(summary)), "{ended:?}");
}

/// Ends a member that others have outlasted.
#[track_caller]
fn assert_heard_nothing(mut member: Process) {
    let ended = member.interrupt(PATIENCE);
    let nothing = "0 of 1 members done: heard 0, missed 0, damaged 0, repeated 0, another server's 0, after leaving 0";
    assert_eq!(ended.said.last().map(String::as_str), Some(nothing), "{ended:?}");
}
