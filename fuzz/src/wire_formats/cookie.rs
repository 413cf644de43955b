#[path = "../../../examples/cookie/cookies.rs"]
mod cookies;
#[path = "../../../examples/cookie/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::input::Input;
use cookies::Cookies;
use wire::{COOKIE_SIZE, Message};

const PERIOD: Duration = Duration::from_secs(10);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

pub(super) fn run(input: &mut Input<'_>) {
    let cookies = Cookies::new(&[7; 32], *START, PERIOD);
    let owner = SocketAddr::from((input.array::<4>(), input.u16()));
    let baked_at = *START + Duration::from_millis(input.u32().into());
    let age = Duration::from_millis(u64::from(input.u16()));
    let cookie = cookies.bake(owner, baked_at);

    let is_good = cookies.is_good(&cookie, owner, baked_at + age);
    if age <= PERIOD {
        assert!(is_good, "refused after {age:?}");
    }
    if age >= 2 * PERIOD {
        assert!(!is_good, "good after {age:?}");
    }
    let mut other = owner;
    other.set_port(owner.port() ^ 1);
    assert!(!cookies.is_good(&cookie, other, baked_at), "another's cookie is good");

    let bytes = input.rest();
    if let Some(forged) = bytes.first_chunk::<COOKIE_SIZE>() {
        assert!(!cookies.is_good(forged, owner, baked_at) || *forged == cookie, "a forged cookie is good");
    }
    if let Some(message) = Message::read(bytes) {
        assert_eq!(message.to_vec(), bytes);
    }
    for message in [
        Message::Question(bytes),
        Message::Cookie(cookie),
        Message::First { cookie, text: bytes },
        Message::Text(bytes),
    ] {
        assert_eq!(Message::read(&message.to_vec()), Some(message));
    }
}
