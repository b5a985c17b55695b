//! The buffers of one worker.

use std::io;

use crate::batch::Batch;
use crate::slab::Slab;
use crate::{Datagram, UdpSocket};

/// The buffers of one worker: filled by [`Self::receive`], read by [`Self::datagrams`].
pub struct Receiver {
    slab: Slab,
    batch: Batch,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("filled", &self.batch.filled())
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// Buffers for one batch; pages that no datagram has touched cost nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slab: Slab::new(),
            batch: Batch::new(),
        }
    }

    /// Takes what waits in `socket`, one batch at the most; `true` when there may be more.
    ///
    /// # Errors
    /// What the system says, except that an empty socket is no error.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.batch.receive(&mut self.slab, socket)
    }

    /// The buffer, for bytes that come by another way and leave through a [`crate::SendQueue`];
    /// the last batch is gone.
    pub fn scratch(&mut self) -> &mut [u8] {
        self.batch.clear();
        self.slab.whole()
    }

    /// What [`Self::scratch`] was filled with.
    #[must_use]
    pub fn filled(&self, len: usize) -> &[u8] {
        self.slab.slice(0, len)
    }

    /// The datagrams of the last batch, in order; what GRO has joined is taken apart.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.batch.datagrams(&self.slab)
    }

    /// The buffers.
    pub(crate) fn slab(&self) -> &Slab {
        &self.slab
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}
