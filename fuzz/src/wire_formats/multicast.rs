#[path = "../../../examples/multicast/wire.rs"]
mod wire;

use crate::input::Input;

pub(super) fn run(input: &mut Input<'_>) {
    let (stream, number) = (input.u32(), input.u32());
    let mut datagram = Vec::new();
    wire::write(stream, number, &mut datagram);
    assert_eq!(wire::read(&datagram), Some((stream, number)));

    // A bit of it, and its end.
    let bit = usize::from(input.u16()) % (datagram.len() * 8);
    datagram[bit / 8] ^= 1 << (bit % 8);
    assert_eq!(wire::read(&datagram), None, "a damaged datagram");
    datagram.truncate(bit / 8);
    assert_eq!(wire::read(&datagram), None, "half a datagram");

    let bytes = input.rest();
    if let Some((stream, number)) = wire::read(bytes) {
        wire::write(stream, number, &mut datagram);
        assert_eq!(datagram, bytes);
    }
}
