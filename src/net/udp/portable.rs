//! Any system: one datagram at a time, with nothing but what the standard library and `socket2`
//! offer. Slow, safe, and what the Linux module is tested against.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::Socket;

use super::queue::Run;
use super::{Burst, Datagram, UdpSocket};

pub(super) const HAS_LOCAL_ADDRESS: bool = false;

/// Datagrams of one batch.
const BATCH: usize = 32;
/// The size of each buffer: no datagram is longer.
const SLOT: usize = 1 << 16;

/// The buffers of one worker: filled by [`Self::receive`], read by [`Self::datagrams`].
pub struct Receiver {
    slab: Box<[u8]>,
    /// Source and length of each datagram.
    received: Vec<(SocketAddr, usize)>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver")
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

impl Receiver {
    /// Buffers for one batch; pages that no datagram has touched cost nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slab: vec![0; BATCH * SLOT].into_boxed_slice(),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits in `socket`, one batch at the most; `true` when there may be more.
    ///
    /// # Errors
    /// What the system says, except that an empty socket is no error.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.received.clear();
        for slot in self.slab.chunks_exact_mut(SLOT) {
            match socket.socket.recv_from(slot) {
                Ok((len, source)) => self.received.push((source, len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // What came before the error is served first.
                Err(_) if !self.received.is_empty() => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The buffer, for bytes that come by another way and leave through a [`super::SendQueue`];
    /// the last batch is gone.
    pub fn scratch(&mut self) -> &mut [u8] {
        self.received.clear();
        &mut self.slab
    }

    /// What [`Self::scratch`] was filled with.
    #[must_use]
    pub fn filled(&self, len: usize) -> &[u8] {
        &self.slab[..len]
    }

    /// The datagrams of the last batch, in order.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let slots = self.slab.chunks_exact(SLOT);
        slots
            .zip(&self.received)
            .map(|(slot, (source, len))| Datagram {
                source: *source,
                local: None,
                traffic_class: 0,
                bytes: &slot[..*len],
            })
    }

    /// Where `payload` begins in the buffers; `None` if it is from elsewhere.
    #[must_use]
    pub(super) fn offset_of(&self, payload: &[u8]) -> Option<usize> {
        if payload.is_empty() {
            return Some(0);
        }
        let start = payload
            .as_ptr()
            .addr()
            .checked_sub(self.slab.as_ptr().addr())?;
        (start + payload.len() <= self.slab.len()).then_some(start)
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

/// Puts each datagram together and sends it.
#[derive(Debug)]
pub(super) struct Sender {
    datagram: Vec<u8>,
}

impl Sender {
    pub(super) fn new() -> Self {
        Self {
            datagram: Vec::with_capacity(SLOT),
        }
    }

    pub(super) fn max_segments(&self) -> usize {
        1
    }

    /// Sends a run and tells how many datagrams of it the system took.
    pub(super) fn send(&mut self, socket: &UdpSocket, run: Run<'_>, receiver: &Receiver) -> usize {
        let mut sent = 0;
        for item in run.iter() {
            self.datagram.clear();
            self.datagram.extend_from_slice(item.header());
            let payload = &receiver.slab[item.start..][..item.len];
            self.datagram.extend_from_slice(payload);
            let padded = self.datagram.len() + item.padding();
            self.datagram.resize(padded, 0);
            sent += usize::from(socket.socket.send_to(&self.datagram, item.to).is_ok());
        }
        sent
    }
}

/// Sends one datagram; the local address is the socket's own here.
pub(super) fn send(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    _from: Option<IpAddr>,
) -> io::Result<()> {
    socket.socket.send_to(bytes, to).map(drop)
}

/// Sends `bytes` as datagrams of `size` bytes; see [`UdpSocket::send_burst`].
pub(super) fn send_burst(
    socket: &UdpSocket,
    bytes: &[u8],
    size: usize,
    to: SocketAddr,
    _how: Burst,
) -> io::Result<usize> {
    let mut sent = 0;
    for datagram in bytes.chunks(size) {
        match socket.socket.send_to(datagram, to) {
            Ok(_) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Asks for both buffers; the system cuts them to its limit.
pub(super) fn set_buffers(socket: &Socket, bytes: usize) {
    // A smaller buffer is no reason to fail.
    let _ = socket.set_recv_buffer_size(bytes);
    let _ = socket.set_send_buffer_size(bytes);
}

/// Nothing joins datagrams here.
pub(super) fn request_coalescing(_socket: &Socket) {}

/// DSCP and ECN are not passed on.
pub(super) fn request_traffic_class(_socket: &Socket, _addr: SocketAddr) {}

/// No socket is bound to a wildcard (see [`HAS_LOCAL_ADDRESS`]) unless the operator says so, and
/// then the system chooses.
pub(super) fn request_local_address(_socket: &Socket, _addr: SocketAddr) -> io::Result<()> {
    Ok(())
}

/// The system's default stays.
pub(super) fn set_dont_fragment(_socket: &Socket, _addr: SocketAddr, _on: bool) -> io::Result<()> {
    Ok(())
}
