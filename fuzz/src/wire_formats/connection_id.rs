#[path = "../../../examples/connection_id/wire.rs"]
mod wire;

use crate::input::Input;

pub(super) fn run(input: &mut Input<'_>) {
    let bytes = input.rest();
    match wire::read(bytes) {
        Some((id, said)) => assert_eq!(wire::write(id, said), bytes),
        // Without a kind, of one that there is not, or a token that is none.
        None => assert!(bytes.get(wire::ID_SIZE).is_none_or(|&kind| kind != 0)),
    }
}
