/// Largest buffer that is kept, in bytes: more than any packet that crosses the internet in one piece.
const LARGEST: usize = 2048;

/// Buffers that are kept, at most.
const MOST: usize = 4096;

/// Memory for payloads, last in first out. In a steady state nothing is allocated.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    idle: Vec<Vec<u8>>,
}

impl Buffers {
    /// A copy of `bytes`.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = self.idle.pop().unwrap_or_default();
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Takes a buffer back.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= LARGEST && self.idle.len() < MOST {
            buffer.clear();
            self.idle.push(buffer);
        }
    }
}
