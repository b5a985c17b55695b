//! `recvmmsg` with UDP_GRO.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::AsRawFd;

use libc::{iovec, mmsghdr, sockaddr_storage, socklen_t};

use super::super::{Datagram, UdpSocket};
use super::control::{Arrival, Control};
use super::name::socket_addr;
use super::retry;

/// Buffers of one `recvmmsg`.
const BATCH: usize = 32;
/// The size of each: what GRO can make of a burst.
const SLOT: usize = 1 << 16;

/// The buffers of one worker: filled by [`Self::receive`], read by [`Self::datagrams`].
pub struct Receiver {
    slab: Box<[u8]>,
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
    /// Points into `slab`; kept, because `headers` points to it.
    _iovecs: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    received: usize,
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
        // SAFETY: all-zero bytes are valid for these plain C structures.
        let (name, header): (sockaddr_storage, mmsghdr) = unsafe { (zeroed(), zeroed()) };
        let mut slab = vec![0; BATCH * SLOT].into_boxed_slice();
        let mut names = vec![name; BATCH].into_boxed_slice();
        let mut controls = vec![Control::EMPTY; BATCH].into_boxed_slice();
        let mut iovecs: Box<[iovec]> = slab
            .chunks_exact_mut(SLOT)
            .map(|slot| iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: SLOT,
            })
            .collect();
        let mut headers = vec![header; BATCH].into_boxed_slice();
        for (i, header) in headers.iter_mut().enumerate() {
            header.msg_hdr.msg_name = (&raw mut names[i]).cast();
            header.msg_hdr.msg_iov = &raw mut iovecs[i];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut controls[i]).cast();
            reset(header);
        }
        Self {
            slab,
            names,
            controls,
            _iovecs: iovecs,
            headers,
            received: 0,
        }
    }

    /// Takes what waits in `socket`, one batch at the most; `true` when there may be more.
    ///
    /// # Errors
    /// What the system says, except that an empty socket is no error.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.headers[..self.received].iter_mut().for_each(reset);
        self.received = 0;
        let received = retry(|| {
            // SAFETY: the headers point into boxes that live as long as `self` and are not
            // borrowed now; their lengths are those of the buffers.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    BATCH as u32,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                ) as isize
            }
        });
        match received {
            Ok(count) => {
                self.received = count;
                Ok(count == BATCH)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The buffer, for bytes that come by another way and leave through a [`crate::net::udp::SendQueue`];
    /// the last batch is gone.
    pub fn scratch(&mut self) -> &mut [u8] {
        self.headers[..self.received].iter_mut().for_each(reset);
        self.received = 0;
        &mut self.slab
    }

    /// What [`Self::scratch`] was filled with.
    #[must_use]
    pub fn filled(&self, len: usize) -> &[u8] {
        &self.slab[..len]
    }

    /// The datagrams of the last batch, in order; what GRO has joined is taken apart.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        (0..self.received).filter_map(|i| self.message(i)).flatten()
    }

    fn message(&self, i: usize) -> Option<impl Iterator<Item = Datagram<'_>>> {
        let header = &self.headers[i];
        let source = socket_addr(&self.names[i])?;
        let slot = &self.slab[i * SLOT..][..SLOT];
        let bytes = &slot[..(header.msg_len as usize).min(SLOT)];
        debug_assert!(header.msg_hdr.msg_controllen <= size_of_val(&self.controls[i]));
        // SAFETY: `receive` has filled this header, which points to `controls[i]`.
        let arrival = unsafe { Arrival::read(&header.msg_hdr) };
        let segment = arrival.segment.unwrap_or(bytes.len()).max(1);
        // `chunks` gives nothing for an empty datagram, which is one all the same.
        let empty = bytes.is_empty().then_some(bytes);
        Some(
            bytes
                .chunks(segment)
                .chain(empty)
                .map(move |bytes| Datagram {
                    source,
                    local: arrival.local,
                    traffic_class: arrival.traffic_class,
                    bytes,
                }),
        )
    }

    /// Where `payload` begins in the buffers; `None` if it is from elsewhere.
    #[must_use]
    pub(in super::super) fn offset_of(&self, payload: &[u8]) -> Option<usize> {
        if payload.is_empty() {
            return Some(0);
        }
        let start = payload
            .as_ptr()
            .addr()
            .checked_sub(self.slab.as_ptr().addr())?;
        (start + payload.len() <= self.slab.len()).then_some(start)
    }

    /// What [`Self::offset_of`] has named.
    pub(super) fn slice(&self, start: usize, len: usize) -> &[u8] {
        &self.slab[start..][..len]
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

fn reset(header: &mut mmsghdr) {
    header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
    header.msg_hdr.msg_controllen = Control::LEN as _;
    header.msg_hdr.msg_flags = 0;
}
