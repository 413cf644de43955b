#[path = "../../../examples/arena/wire.rs"]
#[allow(dead_code, reason = "the game uses all of it")]
mod wire;

use crate::input::Input;
use wire::{ClientMessage, MAX_CLIENT_MESSAGE, PlayerState, WorldState};

pub(super) fn run(input: &mut Input<'_>) {
    let bytes = input.rest();
    let mut written = Vec::new();
    if let Some(message) = ClientMessage::decode(bytes) {
        message.encode(&mut written);
        assert_eq!(written, bytes);
        assert!(bytes.len() <= MAX_CLIENT_MESSAGE);
        assert!(WorldState::decode(bytes).is_none(), "a message of both sides");
    }
    if let Some((state, own, others)) = WorldState::decode(bytes) {
        let players = std::iter::once(own).chain(others);
        assert!(
            players.clone().all(|player: PlayerState| player.is_on_the_plane() == (player.x.max(player.y) <= 10_000))
        );
        state.encode(players, &mut written);
        // What is longer than anybody writes is read all the same.
        assert!(bytes.starts_with(&written) && (written.len() == bytes.len() || bytes.len() > 1200));
    }
}
