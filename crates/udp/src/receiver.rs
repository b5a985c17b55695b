//! Receiving in batches.

use std::fmt;
use std::io;

use crate::batch::Batch;
use crate::buffers::RecvBuffers;
use crate::{Datagram, UdpSocket};

/// Buffers for one batch of datagrams, 2 MiB of address space: filled by [`Self::receive`], read by
/// [`Self::datagrams`]. One is enough for any number of sockets.
pub struct Receiver {
    buffers: RecvBuffers,
    batch: Batch,
}

impl Receiver {
    /// Empty buffers; pages that no datagram has touched cost nothing.
    pub fn new() -> Self {
        Self {
            buffers: RecvBuffers::new(),
            batch: Batch::new(),
        }
    }

    /// Takes one batch of the datagrams that wait in `socket`, in place of the last batch; `true`
    /// when more may wait, even if none came (see [`UdpSocket::enable_errors`]). An empty socket is
    /// no error.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.batch.receive(&mut self.buffers, socket)
    }

    /// The datagrams of the last batch, in the order in which they came.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.batch.datagrams(&self.buffers)
    }

    pub(crate) fn buffers(&self) -> &RecvBuffers {
        &self.buffers
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("filled", &self.batch.filled())
            .finish_non_exhaustive()
    }
}
