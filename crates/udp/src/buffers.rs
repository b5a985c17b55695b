//! Memory that a batch of datagrams is received into.

/// Receive buffers of one size, side by side; pages that no datagram has touched cost nothing.
pub(crate) struct RecvBuffers {
    bytes: Box<[u8]>,
}

impl RecvBuffers {
    /// Number of buffers, each for one datagram or for several that GRO has joined.
    pub(crate) const COUNT: usize = 32;
    /// Length of each buffer in bytes: no datagram is longer, nor is what GRO makes of several.
    pub(crate) const LEN: usize = 1 << 16;

    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; Self::COUNT * Self::LEN].into_boxed_slice(),
        }
    }

    /// The buffers one by one, to be filled.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.bytes.chunks_exact_mut(Self::LEN)
    }

    /// The first `len` bytes of buffer `index`, or all of it.
    pub(crate) fn get(&self, index: usize, len: usize) -> &[u8] {
        &self.bytes[index * Self::LEN..][..len.min(Self::LEN)]
    }

    /// Offset at which `payload` begins in the buffers; `None` if it lies elsewhere.
    ///
    /// Protocol code hands a payload back as a plain slice of the datagram that it was given, so its
    /// address is compared with that of the buffers: two subtractions, and nothing is read through a
    /// pointer. The offset is an index like any other; bounds are checked when it is used.
    pub(crate) fn offset_of(&self, payload: &[u8]) -> Option<usize> {
        // An empty slice may point anywhere.
        if payload.is_empty() {
            return Some(0);
        }
        let address = payload.as_ptr().addr();
        let offset = address.checked_sub(self.bytes.as_ptr().addr())?;
        (offset + payload.len() <= self.bytes.len()).then_some(offset)
    }

    /// The `len` bytes from `offset` on.
    pub(crate) fn slice(&self, offset: usize, len: usize) -> &[u8] {
        &self.bytes[offset..][..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_buffers_are_found_and_nothing_else() {
        let (buffers, others) = (RecvBuffers::new(), RecvBuffers::new());
        let end = RecvBuffers::COUNT * RecvBuffers::LEN;
        for (offset, len) in [(0, 1), (0, end), (70_000, 12), (end - 1, 1)] {
            let part = buffers.slice(offset, len);
            assert_eq!(buffers.offset_of(part), Some(offset));
            assert_eq!(others.offset_of(part), None);
        }
        assert_eq!(buffers.offset_of(&[]), Some(0));
        assert_eq!(buffers.offset_of(b"elsewhere"), None);
    }
}
