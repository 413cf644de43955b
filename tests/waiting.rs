//! `wait` and `Waker`: for programs that have nothing to do between packets.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use packetpeer::error::WaitError;
use packetpeer::{CloseReason, PeerId, UdpServer, WaitOutcome, Waker};

mod util;

use util::{MOMENT, PATIENCE, World, client_of, eventually, loopback_peer, loopback_server, millis, pair_of};

/// Longer than anything here takes: who waits for so long was not woken.
const FOR_EVER: Option<Duration> = Some(Duration::from_secs(2 * PATIENCE.as_secs()));

/// Runs `waiting`, which should not wait for ever.
#[track_caller]
fn does_not_wait_out<T>(waiting: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let outcome = waiting();
    assert!(start.elapsed() < PATIENCE, "it waited to the end");
    outcome
}

/// Runs `act` while `wait`, on another thread, probably waits already: after ever longer pauses, since nothing tells
/// from outside whether it does. What it says has to be right either way.
fn while_waiting<T: Send>(pause: u32, wait: impl FnOnce() -> T + Send, act: impl FnOnce()) -> T {
    thread::scope(|scope| {
        let (about_to_wait, is_about_to_wait) = mpsc::channel();
        let waiting = scope.spawn(move || {
            about_to_wait.send(()).unwrap();
            does_not_wait_out(wait)
        });
        is_about_to_wait.recv().unwrap();
        thread::sleep(MOMENT / 5 * pause);
        act();
        waiting.join().unwrap()
    })
}

#[track_caller]
fn assert_times_out(mut wait: impl FnMut(Option<Duration>) -> Result<WaitOutcome, WaitError>) {
    for time in [Duration::ZERO, millis(1), millis(30)] {
        let start = Instant::now();
        assert_eq!(wait(Some(time)).unwrap(), WaitOutcome::TimedOut);
        assert!(start.elapsed() >= time);
    }
}

#[test]
fn a_wait_for_nothing_ends_on_time_and_not_before() {
    let mut server = loopback_server();
    let (_client, mut served) = pair_of(&mut server);
    let mut peer = loopback_peer();
    assert_times_out(|time| server.wait(time));
    assert_times_out(|time| served.wait(time));
    assert_times_out(|time| peer.wait(time));
}

#[test]
fn a_server_is_ready_when_a_datagram_has_come() {
    let mut server = loopback_server();
    client_of(&server).put_packet(b"hello").unwrap();
    assert_eq!(does_not_wait_out(|| server.wait(FOR_EVER)).unwrap(), WaitOutcome::Ready);
    assert_eq!(server.wait(None).unwrap(), WaitOutcome::Ready, "it waits until it is polled");
    eventually("the hello", || (server.poll().unwrap().received == 1).then_some(()));
    assert_eq!(server.wait(Some(MOMENT)).unwrap(), WaitOutcome::TimedOut);
}

#[test]
fn a_server_that_waits_is_ready_when_a_datagram_comes() {
    for pause in 0..5 {
        let mut server = loopback_server();
        let mut client = client_of(&server);
        let outcome = while_waiting(pause, || server.wait(FOR_EVER).unwrap(), || client.put_packet(b"hello").unwrap());
        assert_eq!(outcome, WaitOutcome::Ready);
    }
}

#[test]
fn a_stand_alone_peer_is_ready_when_a_datagram_or_a_packet_waits() {
    let mut peer = loopback_peer();
    let mut remote = loopback_peer();
    remote.set_dest_address(peer.local_addr().unwrap()).unwrap();
    remote.put_packet(b"x").unwrap();
    assert_eq!(does_not_wait_out(|| peer.wait(FOR_EVER)).unwrap(), WaitOutcome::Ready);
    eventually("the packet", || {
        peer.poll().unwrap();
        (peer.available_packet_count() > 0).then_some(())
    });
    assert_eq!(peer.wait(None).unwrap(), WaitOutcome::Ready, "the packet has not been taken");
    peer.get_packet().unwrap().unwrap();
    assert_eq!(peer.wait(Some(MOMENT)).unwrap(), WaitOutcome::TimedOut);
}

/// Wakes while it waits, and before, which is remembered.
#[track_caller]
fn assert_can_be_woken(waker: &Waker, mut wait: impl FnMut(Option<Duration>) -> Result<WaitOutcome, WaitError> + Send) {
    let mut wait = |timeout| wait(timeout).unwrap();
    for pause in 0..5 {
        assert_eq!(while_waiting(pause, || wait(FOR_EVER), || waker.wake()), WaitOutcome::Woken);
    }
    assert_eq!(wait(Some(MOMENT)), WaitOutcome::TimedOut, "each wake was one");

    waker.wake();
    assert_eq!(does_not_wait_out(|| wait(FOR_EVER)), WaitOutcome::Woken);
    waker.wake();
    waker.wake();
    assert_eq!(wait(None), WaitOutcome::Woken);
    assert_eq!(wait(Some(MOMENT)), WaitOutcome::TimedOut, "two wakes before a wait are one");
}

#[test]
fn a_server_can_be_woken() {
    let mut server = loopback_server();
    let waker = server.waker().unwrap();
    assert_can_be_woken(&waker, |timeout| server.wait(timeout));
}

#[test]
fn a_stand_alone_peer_can_be_woken() {
    let mut peer = loopback_peer();
    let waker = peer.waker().unwrap();
    assert_can_be_woken(&waker, |timeout| peer.wait(timeout));
}

#[test]
fn a_servers_peer_can_be_woken() {
    let mut server = loopback_server();
    let (_client, mut peer) = pair_of(&mut server);
    let waker = peer.waker().unwrap();
    assert_can_be_woken(&waker, |timeout| peer.wait(timeout));
}

#[test]
fn a_waker_outlives_stopping_and_listening_again() {
    let mut server = UdpServer::new();
    let waker = server.waker().unwrap();
    waker.wake();
    assert!(matches!(server.wait(None), Err(WaitError::NotOpen)));
    for _ in 0..2 {
        server.listen("127.0.0.1:0").unwrap();
        waker.wake();
        assert_eq!(server.wait(None).unwrap(), WaitOutcome::Woken);
        server.stop();
    }
    drop(server);
    waker.wake();
}

#[test]
fn a_servers_peer_that_waits_is_ready_when_the_servers_poll_brings_a_packet() {
    let mut server = loopback_server();
    let (mut client, mut peer) = pair_of(&mut server);
    for pause in 0..5 {
        let bring_a_packet = || {
            client.put_packet(b"wake up").unwrap();
            eventually("a poll that brings the packet", || {
                server.wait(Some(MOMENT)).unwrap();
                (server.poll().unwrap().queued == 1).then_some(())
            });
        };
        assert_eq!(while_waiting(pause, || peer.wait(FOR_EVER).unwrap(), bring_a_packet), WaitOutcome::Ready);
        assert_eq!(&*peer.get_packet().unwrap().expect("ready means that there is one"), b"wake up");
    }
    assert_eq!(peer.wait(Some(MOMENT)).unwrap(), WaitOutcome::TimedOut);
}

/// A peer that waits while `end` ends it is ready, or learns why it has ended; and learns it when it asks again.
fn assert_told_of_the_end(reason: CloseReason, end: impl Fn(&mut UdpServer, PeerId)) {
    for pause in 0..5 {
        let mut server = loopback_server();
        let (_client, mut peer) = pair_of(&mut server);
        let id = peer.id();
        match while_waiting(pause, || peer.wait(FOR_EVER), || end(&mut server, id)) {
            Ok(WaitOutcome::Ready) => {}
            Err(WaitError::Ended(why)) if why == reason => {}
            other => panic!("{other:?}"),
        }
        assert!(matches!(peer.wait(None), Err(WaitError::Ended(why)) if why == reason));
    }
}

#[test]
fn a_servers_peer_that_waits_is_told_when_the_server_stops() {
    assert_told_of_the_end(CloseReason::ServerStopped, |server, _| server.stop());
}

#[test]
fn a_servers_peer_that_waits_is_told_when_the_server_closes_it() {
    assert_told_of_the_end(CloseReason::Closed, |server, id| server.close(id).unwrap());
}

#[test]
fn a_servers_peer_that_waits_is_told_when_it_has_gone_idle() {
    assert_told_of_the_end(CloseReason::Idle, |server, _| {
        let later = Instant::now() + Duration::from_secs(3_600);
        assert_eq!(server.poll_at(later).unwrap().idle, 1);
    });
}

#[test]
fn a_peer_that_has_ended_is_ready_as_long_as_it_has_packets() {
    let mut server = loopback_server();
    let (mut client, mut peer) = pair_of(&mut server);
    client.put_packet(b"x").unwrap();
    eventually("the packet", || (server.poll().unwrap().queued == 1).then_some(()));
    server.stop();
    assert_eq!(peer.wait(None).unwrap(), WaitOutcome::Ready);
    peer.get_packet().unwrap().unwrap();
    assert!(matches!(peer.wait(None), Err(WaitError::Ended(CloseReason::ServerStopped))));
}

#[test]
fn in_memory_nobody_ever_waits() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    assert_eq!(world.server.wait(None).unwrap(), WaitOutcome::TimedOut);
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::TimedOut);
    assert_eq!(peer.wait(None).unwrap(), WaitOutcome::TimedOut);
    client.put_packet(b"x").unwrap();
    assert_eq!(peer.wait(None).unwrap(), WaitOutcome::TimedOut, "the server has not been polled");
    assert_eq!(world.server.wait(None).unwrap(), WaitOutcome::Ready);
    world.poll();
    assert_eq!(peer.wait(None).unwrap(), WaitOutcome::Ready);
    peer.put_packet(b"y").unwrap();
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::Ready);
}

#[test]
fn in_memory_a_wake_is_remembered_too() {
    let mut world = World::new();
    let (mut client, mut peer) = world.pair(1);
    for waker in [world.server.waker().unwrap(), client.waker().unwrap(), peer.waker().unwrap()] {
        waker.wake();
    }
    assert_eq!(world.server.wait(None).unwrap(), WaitOutcome::Woken);
    assert_eq!(client.wait(None).unwrap(), WaitOutcome::Woken);
    assert_eq!(peer.wait(None).unwrap(), WaitOutcome::Woken);
}

/// As a peer or a server of another crate gives them out.
#[test]
fn a_waker_of_ones_own_does_what_it_was_made_for() {
    let (bell, rings) = mpsc::sync_channel(1);
    // One ring is remembered.
    let waker = Waker::new(move || {
        let _ = bell.try_send(());
    });
    let wait = |time| match rings.recv_timeout(time) {
        Ok(()) => WaitOutcome::Woken,
        Err(_) => WaitOutcome::TimedOut,
    };
    waker.wake();
    waker.clone().wake();
    assert_eq!((wait(millis(0)), wait(millis(0))), (WaitOutcome::Woken, WaitOutcome::TimedOut));
    let other = thread::spawn(move || waker.wake());
    assert_eq!(does_not_wait_out(|| wait(2 * PATIENCE)), WaitOutcome::Woken);
    other.join().unwrap();
}
