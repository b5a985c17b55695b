//! `recvmmsg` with UDP_GRO.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::AsRawFd;

use libc::{iovec, mmsghdr, sockaddr_storage, socklen_t};

use super::super::slab::Slab;
use super::super::{Datagram, UdpSocket};
use super::control::{Arrival, Control};
use super::name::socket_addr;
use super::retry;

/// What `recvmmsg` fills and reads beside the slots.
pub struct Batch {
    names: Box<[sockaddr_storage]>,
    controls: Box<[Control]>,
    /// Points into the slab; kept, because `headers` points to it.
    _iovecs: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
    received: usize,
}

impl super::super::receiver::Batch for Batch {
    fn new(slab: &mut Slab) -> Self {
        // SAFETY: all-zero bytes are valid for these plain C structures.
        let (name, header): (sockaddr_storage, mmsghdr) = unsafe { (zeroed(), zeroed()) };
        let mut names = vec![name; Slab::SLOTS].into_boxed_slice();
        let mut controls = vec![Control::EMPTY; Slab::SLOTS].into_boxed_slice();
        let mut iovecs: Box<[iovec]> = slab
            .slots()
            .map(|slot| iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: slot.len(),
            })
            .collect();
        let mut headers = vec![header; Slab::SLOTS].into_boxed_slice();
        for (i, header) in headers.iter_mut().enumerate() {
            header.msg_hdr.msg_name = (&raw mut names[i]).cast();
            header.msg_hdr.msg_iov = &raw mut iovecs[i];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut controls[i]).cast();
            reset(header);
        }
        Self {
            names,
            controls,
            _iovecs: iovecs,
            headers,
            received: 0,
        }
    }

    fn receive(&mut self, _: &mut Slab, socket: &UdpSocket) -> io::Result<bool> {
        self.clear();
        let received = retry(|| {
            // SAFETY: the headers point into boxes that live as long as `self`, and into the slab
            // that was given to `new`, which lives as long; neither is borrowed now, and the
            // lengths are those of the buffers.
            unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    Slab::SLOTS as u32,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                ) as isize
            }
        });
        match received {
            Ok(count) => {
                self.received = count;
                Ok(count == Slab::SLOTS)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn clear(&mut self) {
        self.headers[..self.received].iter_mut().for_each(reset);
        self.received = 0;
    }

    fn filled(&self) -> usize {
        self.received
    }

    fn datagrams<'a>(&'a self, slab: &'a Slab) -> impl Iterator<Item = Datagram<'a>> {
        (0..self.received)
            .filter_map(|i| self.message(i, slab))
            .flatten()
    }
}

impl Batch {
    fn message<'a>(
        &self,
        i: usize,
        slab: &'a Slab,
    ) -> Option<impl Iterator<Item = Datagram<'a>> + use<'a>> {
        let header = &self.headers[i];
        let source = socket_addr(&self.names[i])?;
        let bytes = slab.slot(i, header.msg_len as usize);
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
}

fn reset(header: &mut mmsghdr) {
    header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
    header.msg_hdr.msg_controllen = Control::LEN as _;
    header.msg_hdr.msg_flags = 0;
}
