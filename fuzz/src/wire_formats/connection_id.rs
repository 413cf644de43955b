#[path = "../../../examples/connection_id/wire.rs"]
mod wire;

use crate::input::Input;

pub(super) fn run(input: &mut Input<'_>) {
    let bytes = input.rest();
    match wire::read(bytes) {
        Some((id, payload)) => assert_eq!(wire::write(id, payload), bytes),
        None => assert!(bytes.len() < wire::ID_SIZE),
    }
}
