//! Receiving a batch by `recvmmsg` with UDP_GRO.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::AsRawFd;

use libc::{iovec, mmsghdr, sockaddr_storage, socklen_t};

use crate::buffers::RecvBuffers;
use crate::control::{CONTROL_LEN, ControlBuffer, Received};
use crate::errors::is_pending;
use crate::options::retry;
use crate::sockaddr::socket_addr;
use crate::{Datagram, UdpSocket};

/// Structures that `recvmmsg` reads and fills beside the receive buffers.
pub(crate) struct Batch {
    names: Box<[sockaddr_storage]>,
    controls: Box<[ControlBuffer]>,
    iovecs: Box<[iovec]>,
    /// The pointers in these are valid within [`Self::receive`] alone; the lengths that the kernel
    /// has written stay valid until the next call.
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
            names: vec![name; RecvBuffers::COUNT].into_boxed_slice(),
            controls: vec![ControlBuffer::EMPTY; RecvBuffers::COUNT].into_boxed_slice(),
            iovecs: vec![iovec; RecvBuffers::COUNT].into_boxed_slice(),
            headers: vec![header; RecvBuffers::COUNT].into_boxed_slice(),
            received: 0,
        }
    }

    /// Takes datagrams that wait in `socket` into `buffers`, until these are used up; `true` when
    /// more may wait. An empty socket is no error.
    pub(crate) fn receive(
        &mut self,
        buffers: &mut RecvBuffers,
        socket: &UdpSocket,
    ) -> io::Result<bool> {
        self.clear();
        let prepared = self.prepare(buffers);
        let received = retry(|| {
            // SAFETY: `prepare` has just pointed the first `prepared` headers, with the buffers'
            // lengths, to a name, a control buffer and an iovec of `self`, and each iovec to one of
            // `buffers`. All of them are borrowed mutably here, so they live until the call returns,
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
            // The error of a datagram that was sent, in place of those that wait to be received.
            Err(error) if socket.reports_errors && is_pending(&error) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Drops the datagrams.
    pub(crate) fn clear(&mut self) {
        self.received = 0;
    }

    /// Number of buffers that are filled.
    pub(crate) fn filled(&self) -> usize {
        self.received
    }

    /// The datagrams in `buffers`, in order; those that the kernel has joined are taken apart.
    pub(crate) fn datagrams<'a>(
        &'a self,
        buffers: &'a RecvBuffers,
    ) -> impl Iterator<Item = Datagram<'a>> {
        (0..self.received)
            .filter_map(|i| self.message(i, buffers))
            .flatten()
    }

    /// Points a header to each buffer and returns the number of headers. All pointers are written
    /// anew each time, less than 1 % of the cost of one datagram: pointers that are kept could belong
    /// to other buffers, or be older than a later borrow of these.
    fn prepare(&mut self, buffers: &mut RecvBuffers) -> usize {
        let written = self.names.iter_mut().zip(&mut self.controls);
        let structures = self.headers.iter_mut().zip(&mut self.iovecs).zip(written);
        let mut prepared = 0;
        for (((header, iovec), (name, control)), buffer) in structures.zip(buffers.iter_mut()) {
            *iovec = libc::iovec {
                iov_base: buffer.as_mut_ptr().cast(),
                iov_len: buffer.len(),
            };
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut *name).cast();
            header.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
            header.msg_iov = iovec;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut *control).cast();
            header.msg_controllen = CONTROL_LEN as _;
            header.msg_flags = 0;
            prepared += 1;
        }
        prepared
    }

    fn message<'a>(
        &self,
        i: usize,
        buffers: &'a RecvBuffers,
    ) -> Option<impl Iterator<Item = Datagram<'a>> + use<'a>> {
        let header = &self.headers[i];
        let source = socket_addr(&self.names[i])?;
        let bytes = buffers.get(i, header.msg_len as usize);
        // SAFETY: `i` is below `received`, so the kernel has filled this control buffer, whose
        // header has the length; nothing else writes to it.
        let received = unsafe { Received::read(&self.controls[i], header.msg_hdr.msg_controllen) };
        let segment = received.segment.unwrap_or(bytes.len()).max(1);
        // `chunks` gives nothing for an empty datagram, which is one all the same.
        let empty = bytes.is_empty().then_some(bytes);
        Some(
            bytes
                .chunks(segment)
                .chain(empty)
                .map(move |bytes| Datagram {
                    source,
                    local: received.local,
                    traffic_class: received.traffic_class,
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
    fn datagrams_lie_in_the_buffers_that_were_given() {
        let local = (Ipv4Addr::LOCALHOST, 0);
        let socket = UdpSocket::bind(local.into()).unwrap();
        let sender = StdSocket::bind(local).unwrap();
        let source = sender.local_addr().unwrap();
        let mut batch = Batch::new();
        let mut buffers = [RecvBuffers::new(), RecvBuffers::new()];
        for text in [&b"one"[..], b"two", b"three", b""] {
            sender.send_to(text, socket.addr()).unwrap();
            // Other buffers each time.
            buffers.swap(0, 1);
            batch.clear();
            let deadline = Instant::now() + Duration::from_secs(20);
            while batch.filled() == 0 {
                batch.receive(&mut buffers[0], &socket).unwrap();
                assert!(Instant::now() < deadline);
            }
            buffers[1].iter_mut().for_each(|buffer| buffer.fill(0xFF));
            let got = batch.datagrams(&buffers[0]).map(|d| (d.source, d.bytes));
            assert_eq!(got.collect::<Vec<_>>(), [(source, text)]);
        }
    }
}
