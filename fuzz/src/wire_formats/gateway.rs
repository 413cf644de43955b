#[path = "../../../examples/gateway/in_flight.rs"]
mod in_flight;
#[path = "../../../examples/gateway/wire.rs"]
mod wire;

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use packetpeer::{PacketPeerUdp, PeerId};

use crate::input::Input;
use in_flight::InFlight;

static CLIENT: LazyLock<PeerId> = LazyLock::new(|| PacketPeerUdp::new().id());

pub(super) fn run(input: &mut Input<'_>) {
    if input.bool() { requests_in_flight(input) } else { messages(input.rest()) }
}

fn messages(bytes: &[u8]) {
    let mut written = Vec::new();
    if let Some((number, body)) = wire::read_request(bytes) {
        wire::write_request(number, body, &mut written);
        assert_eq!(written, bytes);
    }
    if let Some((number, outcome, body)) = wire::read_answer(bytes) {
        wire::write_answer(number, outcome, body, &mut written);
        assert_eq!(written, bytes);
    }
}

/// The table against a queue that is walked.
fn requests_in_flight(input: &mut Input<'_>) {
    let (max, timeout) = (input.below(9), Duration::from_millis(input.byte().into()));
    let mut table = InFlight::new(input.u32(), max, timeout);
    let mut now = Instant::now();
    let mut expected: VecDeque<(u64, u32, Instant)> = VecDeque::new();
    let mut last_id = None;
    while !input.is_at_end() {
        let choice = input.byte();
        match choice & 3 {
            0 => {
                let number = u32::from(choice >> 2);
                let id = table.add(*CLIENT, number, now);
                assert_eq!(id.is_some(), expected.len() < max, "as many as may be");
                assert!(id.is_none() || id > last_id, "an id that was there before");
                last_id = id.or(last_id);
                expected.extend(id.map(|id| (id, number, now + timeout)));
            }
            1 => {
                let at = usize::from(choice >> 2);
                let Some((id, number, _)) = expected.remove(at) else { continue };
                assert_eq!(table.take(id).map(|request| request.number), Some(number));
                assert!(table.take(id).is_none(), "taken twice");
            }
            2 => now += Duration::from_millis(u64::from(choice >> 2)),
            _ => {
                while let Some(late) = table.take_expired(now) {
                    let (_, number, deadline) = expected.pop_front().expect("it was in flight");
                    assert!(late.number == number && late.client == *CLIENT && deadline <= now);
                }
                assert!(expected.front().is_none_or(|(_, _, deadline)| *deadline > now), "not found to be late");
            }
        }
        assert_eq!(table.len(), expected.len());
    }
}
