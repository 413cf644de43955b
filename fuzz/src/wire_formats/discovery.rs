#[path = "../../../examples/discovery/wire.rs"]
mod wire;

use crate::input::Input;
use wire::{Answer, LONGEST_NAME, QUERY_SIZE};

pub(super) fn run(input: &mut Input<'_>) {
    let chosen = input.array();
    let (players, seats) = (input.u16(), input.u16());
    let bytes = input.rest();
    let mut datagram = Vec::new();

    if let Some(answer) = Answer::read(bytes, chosen) {
        answer.write(chosen, &mut datagram);
        assert_eq!(datagram, bytes);
        assert!(wire::read_query(bytes).is_none() && !wire::is_join(bytes), "more than one kind of message");
    }
    if let Some(asked) = wire::read_query(bytes) {
        assert!(wire::write_query(asked).starts_with(&bytes[..24]) && !wire::is_join(bytes));
    }
    let query = wire::write_query(chosen);
    assert_eq!((query.len(), wire::read_query(&query)), (QUERY_SIZE, Some(chosen)));

    let answer = Answer { players, seats, name: &bytes[..bytes.len().min(LONGEST_NAME)] };
    datagram.clear();
    answer.write(chosen, &mut datagram);
    assert!(datagram.len() <= QUERY_SIZE, "an answer larger than its query");
    assert_eq!(Answer::read(&datagram, chosen), Some(answer));
    let others = chosen.map(|byte| !byte);
    assert_eq!(Answer::read(&datagram, others), None, "an answer to another query");
}
