#[path = "../../../examples/port_switch/wire.rs"]
mod wire;

use crate::input::Input;
use wire::Answer;

pub(super) fn run(input: &mut Input<'_>) {
    let port = input.u16();
    let bytes = input.rest();
    if let Some(answer) = Answer::read(bytes) {
        assert_eq!(answer.to_vec(), bytes);
    }
    for answer in [Answer::Echo(bytes), Answer::ChangePort(port)] {
        assert_eq!(Answer::read(&answer.to_vec()), Some(answer));
    }
}
