//! A way that loses datagrams at random.

use std::ops::RangeInclusive;

use packetpeer::limits::QueueLimits;
use packetpeer::{Limits, ServerConfig};

use super::hosts::{Host, at, two_hosts};
use super::talk::{admit, assert_counts_add_up, assert_peers_counts_add_up};
use crate::util::{MOMENT, assert_counts, eventually, poll_texts, texts};

/// Datagrams that each side sends.
const COUNT: u64 = 2_000;

/// A tenth, and six standard deviations to either side: those of a binomial distribution, the square root of 2 000 ·
/// 0.1 · 0.9.
const LOSSES: RangeInclusive<u64> = 200 - 80..=200 + 80;

/// Datagrams that are on the way at a time: few enough for the kernel's own queue between two hosts, which every cable
/// of this machine shares (`net.core.netdev_max_backlog`).
const AT_ONCE: u64 = 50;

/// Lets a tenth of what comes to `port` go lost, and counts both.
fn lossy(host: &Host, port: u16) -> bool {
    let lose = format!("udp dport {port} numgen random mod 1000 < 100 counter name lost drop");
    host.firewall("input", &[&lose, &format!("udp dport {port} counter name passed")])
}

/// Waits until the firewall has seen `count`.
#[track_caller]
fn wait_for_firewall(host: &Host, count: u64) {
    eventually("all have arrived at the firewall", || {
        (host.firewall_counted("lost") + host.firewall_counted("passed") == count).then_some(())
    });
}

#[test]
fn what_arrives_is_what_a_lossy_way_let_pass() {
    let Some([here, there]) = two_hosts() else { return };
    // Room for all.
    let limits = Limits::new().queue(QueueLimits::new().packets(COUNT as usize));
    for ip in ["198.51.100.2", "2001:db8::2"] {
        let mut server = there.serve(ServerConfig::new().limits(limits.clone()), 0);
        let port = server.local_port().unwrap();
        let mut client = here.connect(at(ip, port));
        let mut peer = admit(&mut server, &mut client);
        if !lossy(&there, port) || !lossy(&here, client.local_addr().unwrap().port()) {
            return;
        }
        // Both ways at once, a way of loss each.
        let (mut heard, mut answers) = (Vec::new(), Vec::new());
        for sent in (0..COUNT).step_by(AT_ONCE as usize) {
            for number in sent..sent + AT_ONCE {
                client.put_packet(number.to_string().as_bytes()).unwrap();
                peer.put_packet(number.to_string().as_bytes()).unwrap();
            }
            wait_for_firewall(&there, sent + AT_ONCE);
            wait_for_firewall(&here, sent + AT_ONCE);
            server.poll().unwrap();
            heard.extend(texts(&mut peer));
            answers.extend(poll_texts(&mut client));
        }
        let (there_lost, there_passed) = (there.firewall_counted("lost"), there.firewall_counted("passed"));
        let (here_lost, here_passed) = (here.firewall_counted("lost"), here.firewall_counted("passed"));
        eventually("all that passed is there", || {
            server.wait(Some(MOMENT)).unwrap();
            server.poll().unwrap();
            heard.extend(texts(&mut peer));
            answers.extend(poll_texts(&mut client));
            let all = (heard.len() as u64, answers.len() as u64) == (there_passed, here_passed);
            all.then_some(())
        });

        for (texts, lost) in [(heard, there_lost), (answers, here_lost)] {
            assert!(LOSSES.contains(&lost), "{lost} of {COUNT} lost");
            let numbers: Vec<u64> = texts.iter().map(|text| text.parse().unwrap()).collect();
            assert!(numbers.is_sorted_by(|one, next| one < next), "in order, and none twice");
        }
        let (stats, peers, clients) = (server.stats(), peer.stats(), client.stats());
        // The hellos of before came through.
        assert_counts!(stats, received: 1 + there_passed);
        assert_counts!(peers, received: 1 + there_passed, "{stats}");
        assert_counts!(clients, sent: 1 + COUNT, received: here_passed);
        assert_eq!(clients.sent, stats.received + there_lost);
        assert_eq!(peers.sent, clients.received + here_lost);
        assert_counts!(stats, drops.total(): 0, kernel_drops.unwrap_or(0): 0, noise: 0);
        assert_counts_add_up(&server, COUNT);
        assert_peers_counts_add_up(&clients, 1 + COUNT);
    }
}
