//! The buffers of one worker.

use std::io;

use super::slab::Slab;
use super::{Datagram, UdpSocket, platform};

/// How a system fills the slots of a slab.
pub trait Batch {
    /// A batch that is empty.
    fn new() -> Self;

    /// Takes what waits in `socket` into `slab`, a slot for each at the most; `true` when there may
    /// be more.
    ///
    /// # Errors
    /// What the system says, except that an empty socket is no error.
    fn receive(&mut self, slab: &mut Slab, socket: &UdpSocket) -> io::Result<bool>;

    /// Forgets what came.
    fn clear(&mut self);

    /// How many slots are filled.
    fn filled(&self) -> usize;

    /// The datagrams of what came into `slab`, in order; what the kernel has joined is taken apart.
    fn datagrams<'a>(&'a self, slab: &'a Slab) -> impl Iterator<Item = Datagram<'a>>;
}

/// The buffers of one worker: filled by [`Self::receive`], read by [`Self::datagrams`].
pub struct Receiver<B = platform::Batch> {
    slab: Slab,
    batch: B,
}

impl<B: Batch> std::fmt::Debug for Receiver<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("filled", &self.batch.filled())
            .finish_non_exhaustive()
    }
}

impl<B: Batch> Receiver<B> {
    /// Buffers for one batch; pages that no datagram has touched cost nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slab: Slab::new(),
            batch: B::new(),
        }
    }

    /// Takes what waits in `socket`, one batch at the most; `true` when there may be more.
    ///
    /// # Errors
    /// What the system says, except that an empty socket is no error.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.batch.receive(&mut self.slab, socket)
    }

    /// The buffer, for bytes that come by another way and leave through a [`super::SendQueue`];
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
    pub(super) fn slab(&self) -> &Slab {
        &self.slab
    }
}

impl<B: Batch> Default for Receiver<B> {
    fn default() -> Self {
        Self::new()
    }
}
