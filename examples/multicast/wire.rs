//! The datagrams: numbered, and every bit of them follows from the stream and the number.

/// What every datagram starts with.
const MARK: &[u8] = b"packetpeer multicast";

/// So many bytes follow from stream and number at least: with a few, as many may follow from a stream or a number that
/// was damaged.
const LEAST_FILLER: usize = 8;

/// The `number`th datagram of `stream`, which is a server's: mark, stream, number, and bytes that follow from both.
pub(crate) fn write(stream: u32, number: u32, datagram: &mut Vec<u8>) {
    datagram.clear();
    datagram.extend_from_slice(MARK);
    datagram.extend_from_slice(&stream.to_le_bytes());
    datagram.extend_from_slice(&number.to_le_bytes());
    let mut filler = fastrand::Rng::with_seed((u64::from(stream) << 32) | u64::from(number));
    let len = datagram.len() + filler.usize(LEAST_FILLER..256);
    datagram.resize_with(len, || filler.u8(..));
}

/// Stream and number; `None` where a single bit is not as it was sent.
pub(crate) fn read(datagram: &[u8]) -> Option<(u32, u32)> {
    let (stream, rest) = datagram.strip_prefix(MARK)?.split_first_chunk()?;
    let (stream, number) = (u32::from_le_bytes(*stream), u32::from_le_bytes(*rest.first_chunk()?));
    let mut sent = Vec::new();
    write(stream, number, &mut sent);
    (datagram == sent).then_some((stream, number))
}
