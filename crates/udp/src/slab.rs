//! The memory that a batch of datagrams lies in.

/// Slots of one size, side by side; pages that no datagram has touched cost nothing.
pub(crate) struct Slab {
    bytes: Box<[u8]>,
}

impl Slab {
    /// Datagrams of one batch.
    pub(crate) const SLOTS: usize = 32;
    /// Bytes of each: no datagram is longer, nor is what GRO makes of several.
    pub(crate) const SLOT: usize = 1 << 16;

    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; Self::SLOTS * Self::SLOT].into_boxed_slice(),
        }
    }

    /// The memory of all slots, as one.
    pub(crate) fn whole(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// The slots, to be filled.
    pub(crate) fn slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.bytes.chunks_exact_mut(Self::SLOT)
    }

    /// The first `len` bytes of slot `index`, or all of it.
    pub(crate) fn slot(&self, index: usize, len: usize) -> &[u8] {
        &self.bytes[index * Self::SLOT..][..len.min(Self::SLOT)]
    }

    /// Where `payload` begins; `None` if it is from elsewhere.
    pub(crate) fn offset_of(&self, payload: &[u8]) -> Option<usize> {
        if payload.is_empty() {
            return Some(0);
        }
        let start = payload.as_ptr().addr();
        let start = start.checked_sub(self.bytes.as_ptr().addr())?;
        (start + payload.len() <= self.bytes.len()).then_some(start)
    }

    /// What [`Self::offset_of`] has named.
    pub(crate) fn slice(&self, start: usize, len: usize) -> &[u8] {
        &self.bytes[start..][..len]
    }
}
