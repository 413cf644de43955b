//! The wire formats of the example programs, which users copy: whatever arrives is read or refused without a panic, what
//! was read is written as it was, and what was written is read as it was meant.

mod arena;
mod connection_id;
mod cookie;
mod discovery;
mod gateway;
mod multicast;
mod port_switch;

use crate::input::Input;

/// The entry of the fuzzer. The first byte chooses the example.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let test = input.one_of(&[
        arena::run as fn(&mut Input<'_>),
        connection_id::run,
        cookie::run,
        discovery::run,
        gateway::run,
        multicast::run,
        port_switch::run,
    ]);
    test(&mut input);
}
