//! `recvmmsg` with UDP_GRO.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd;

use libc::{iovec, mmsghdr, sockaddr_storage, socklen_t};

use crate::control::{Arrival, Control};
use crate::name::socket_addr;
use crate::options::retry;
use crate::slab::Slab;
use crate::{Datagram, UdpSocket};

/// What `recvmmsg` fills and reads beside the slots.
pub(crate) struct Batch {
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
    iovecs: Box<[iovec]>,
    /// Their pointers mean something within [`Self::receive`] alone; the
    /// lengths that the kernel has written are good until the next one.
    headers: Box<[mmsghdr]>,
    received: usize,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new() -> Self {
        // SAFETY: all-zero bytes are valid for these plain C structures.
        let (name, iovec, header): (sockaddr_storage, iovec, mmsghdr) =
            unsafe { (zeroed(), zeroed(), zeroed()) };
        Self {
            names: vec![name; Slab::SLOTS].into_boxed_slice(),
            controls: vec![Control::EMPTY; Slab::SLOTS].into_boxed_slice(),
            iovecs: vec![iovec; Slab::SLOTS].into_boxed_slice(),
            headers: vec![header; Slab::SLOTS].into_boxed_slice(),
            received: 0,
        }
    }

    /// Takes what waits in `socket` into `slab`, a slot for each at the most; `true` when there may
    /// be more.
    ///
    /// # Errors
    /// Any but an empty socket, which is no error.
    pub(crate) fn receive(&mut self, slab: &mut Slab, socket: &UdpSocket) -> io::Result<bool> {
        self.clear();
        let prepared = self.prepare(slab);
        let received = retry(|| {
            // SAFETY: `prepare` has just pointed the first `prepared` headers, with the buffers'
            // lengths, to a name, a control buffer and an iovec of `self`, and each iovec to a slot
            // of `slab`. All of them are borrowed mutably here, so they live until the call returns,
            // and since then nothing has moved or borrowed them. An interrupted call has written
            // nothing, and is repeated.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    prepared as u32,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                ) as isize
            }
        });
        match received {
            Ok(count) => {
                self.received = count;
                Ok(count == prepared)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Forgets what came.
    pub(crate) fn clear(&mut self) {
        self.received = 0;
    }

    /// Number of slots that are filled.
    pub(crate) fn filled(&self) -> usize {
        self.received
    }

    /// The datagrams of what came into `slab`, in order; what the kernel has joined is taken apart.
    pub(crate) fn datagrams<'a>(&'a self, slab: &'a Slab) -> impl Iterator<Item = Datagram<'a>> {
        (0..self.received)
            .filter_map(|i| self.message(i, slab))
            .flatten()
    }

    /// Points a header to each slot, and tells how many there are. All is written anew each time, less than
    /// 1 % of what one datagram costs: pointers that were kept would be those of another slab, or older
    /// than what was done with this one since.
    fn prepare(&mut self, slab: &mut Slab) -> usize {
        let buffers = self.names.iter_mut().zip(&mut self.controls);
        let places = self.headers.iter_mut().zip(&mut self.iovecs).zip(buffers);
        let mut prepared = 0;
        for (((header, iovec), (name, control)), slot) in places.zip(slab.slots()) {
            *iovec = libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            };
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut *control).cast();
            header.msg_controllen = Control::LEN as _;
            header.msg_flags = 0;
            prepared += 1;
        }
        prepared
    }

    fn message<'a>(
        &self,
        i: usize,
        slab: &'a Slab,
    ) -> Option<impl Iterator<Item = Datagram<'a>> + use<'a>> {
        let header = &self.headers[i];
        let source = socket_addr(&self.names[i])?;
        let bytes = slab.slot(i, header.msg_len as usize);
        // SAFETY: `i` is below `received`, so the kernel has filled this control buffer, whose
        // header has the length; nothing else writes to it.
        let arrival = unsafe { Arrival::read(&self.controls[i], header.msg_hdr.msg_controllen) };
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
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket as StdSocket};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn datagrams_lie_in_the_slab_that_was_given() {
        let local = (Ipv4Addr::LOCALHOST, 0);
        let socket = UdpSocket::bind_relay(local.into()).unwrap();
        let sender = StdSocket::bind(local).unwrap();
        let source = sender.local_addr().unwrap();
        let mut batch = Batch::new();
        let mut slabs = [Slab::new(), Slab::new()];
        for text in [&b"one"[..], b"two", b"three", b""] {
            sender.send_to(text, socket.addr()).unwrap();
            // Another slab each time.
            slabs.swap(0, 1);
            batch.clear();
            let deadline = Instant::now() + Duration::from_secs(20);
            while batch.filled() == 0 {
                batch.receive(&mut slabs[0], &socket).unwrap();
                assert!(Instant::now() < deadline);
            }
            slabs[1].whole().fill(0xFF);
            let got = batch.datagrams(&slabs[0]).map(|d| (d.source, d.bytes));
            assert_eq!(got.collect::<Vec<_>>(), [(source, text)]);
        }
    }
}
