//! `sendmsg` with UDP_SEGMENT, `sendto` for one datagram, `sendmmsg` for what cannot be segmented.

use std::io;
use std::mem::zeroed;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use libc::{iovec, mmsghdr, msghdr};

use crate::control::ToSend;
use crate::dont_fragment::with_dont_fragment;
use crate::errors::is_pending;
use crate::options::retry;
use crate::run::{Payloads, Queued, Run};
use crate::sockaddr::SockAddr;
use crate::{Burst, UdpSocket};

/// Largest number of datagrams in one `sendmmsg`.
const BATCH: usize = 64;

/// Longest datagram in bytes that is copied into one piece, as that costs less than to have the kernel
/// gather the parts.
const COPIED: usize = 2048;

/// Length in bytes of a datagram that fits every path: IPv6 wants 1,280 with the headers.
const FITS: usize = 1200;

/// Sends runs of datagrams; gives up segmentation for good when the kernel refuses it.
#[derive(Debug)]
pub(crate) struct Sender {
    segmentation: bool,
    iovecs: Vec<iovec>,
    /// Buffer in which a datagram of several parts is put together.
    joined: Vec<u8>,
}

/// Outcome of sending a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// Datagrams that the kernel took.
    pub(crate) datagrams: usize,
    /// Whether they left in one segmented message.
    pub(crate) segmented: bool,
}

impl Sent {
    /// Nothing was sent.
    pub(crate) const NONE: Self = Self::singly(0);

    const fn singly(datagrams: usize) -> Self {
        Self {
            datagrams,
            segmented: false,
        }
    }
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            segmentation: true,
            iovecs: Vec::with_capacity(3 * 64),
            joined: Vec::with_capacity(COPIED),
        }
    }

    pub(crate) fn max_segments(&self) -> usize {
        if self.segmentation { usize::MAX } else { 1 }
    }

    /// Sends a run.
    pub(crate) fn send<S: Copy + Eq>(
        &mut self,
        socket: &UdpSocket,
        run: Run<'_, S>,
        payloads: Payloads<'_>,
    ) -> Sent {
        if run.first().dont_fragment {
            let sent = with_dont_fragment(&socket.socket, socket.addr, || {
                self.send_run(socket, run, payloads).is_ok()
            });
            return Sent::singly(usize::from(sent));
        }
        match self.send_run(socket, run, payloads) {
            Ok(()) => Sent {
                datagrams: run.len(),
                segmented: run.len() > 1,
            },
            Err(error) if run.len() > 1 && error.kind() != io::ErrorKind::WouldBlock => {
                Sent::singly(self.send_singly(socket, run, payloads, &error))
            }
            Err(_) => Sent::NONE,
        }
    }

    /// Sends the datagrams of a run that the kernel refused, one by one: segments beyond the MTU have
    /// to be fragmented, and some devices cannot segment at all.
    fn send_singly<S: Copy + Eq>(
        &mut self,
        socket: &UdpSocket,
        run: Run<'_, S>,
        payloads: Payloads<'_>,
        error: &io::Error,
    ) -> usize {
        let mut sent = 0;
        for single in run.singles() {
            sent += usize::from(self.send_run(socket, single, payloads).is_ok());
        }
        // Segmentation is to blame only where the single datagrams are sent and are short enough. An
        // unreachable destination, or long datagrams of one client, which some kernels refuse with
        // EINVAL too, must not switch it off for everyone.
        let refused = matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL));
        if sent > 0 && refused && run.first().size() <= FITS {
            self.segmentation = false;
        }
        sent
    }

    fn send_run<S: Copy + Eq>(
        &mut self,
        socket: &UdpSocket,
        run: Run<'_, S>,
        payloads: Payloads<'_>,
    ) -> io::Result<()> {
        let first = run.first();
        let mut control = ToSend::new();
        if let Some(ip) = first.from {
            control.push_source(ip);
        }
        if first.traffic_class != 0 {
            control.push_traffic_class(first.to.is_ipv6(), first.traffic_class);
        }
        if run.len() > 1 {
            control.push_segment(first.size() as u16);
        } else if control.is_empty() && first.size() <= COPIED {
            let bytes = self.join(first, payloads);
            return send_to(socket, bytes, first.to);
        }
        self.iovecs.clear();
        for item in run.iter() {
            let payload = payloads.of(item);
            let parts = [item.header.as_bytes(), payload, item.header.padding()];
            self.iovecs.extend(
                parts
                    .into_iter()
                    .filter(|bytes| !bytes.is_empty())
                    .map(part),
            );
        }
        send_message(socket, &mut self.iovecs, first.to, control)
    }

    /// The datagram in one piece.
    fn join<'a, S>(&'a mut self, item: &Queued<S>, payloads: Payloads<'a>) -> &'a [u8] {
        let payload = payloads.of(item);
        let (header, padding) = (item.header.as_bytes(), item.header.padding());
        if header.is_empty() && padding.is_empty() {
            return payload;
        }
        self.joined.clear();
        for part in [header, payload, padding] {
            self.joined.extend_from_slice(part);
        }
        &self.joined
    }
}

/// Sends one datagram.
pub(crate) fn send(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<()> {
    let Some(ip) = from else {
        return send_to(socket, bytes, to);
    };
    let mut control = ToSend::new();
    control.push_source(ip);
    send_message(socket, &mut [part(bytes)], to, control)
}

/// See [`UdpSocket::send_burst`].
pub(crate) fn send_burst(
    socket: &UdpSocket,
    bytes: &[u8],
    size: usize,
    to: SocketAddr,
    how: Burst,
) -> io::Result<usize> {
    match how {
        Burst::Segmented => {
            let mut control = ToSend::new();
            if bytes.len() > size {
                let size = u16::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
                control.push_segment(size);
            }
            send_message(socket, &mut [part(bytes)], to, control)?;
            Ok(bytes.len().div_ceil(size))
        }
        Burst::Batched => {
            let mut sent = 0;
            for chunk in bytes.chunks(size * BATCH) {
                let count = send_batch(socket, chunk, size, to)?;
                sent += count;
                if count < chunk.len().div_ceil(size) {
                    break;
                }
            }
            Ok(sent)
        }
    }
}

/// One `sendmmsg` of at most [`BATCH`] datagrams.
fn send_batch(socket: &UdpSocket, bytes: &[u8], size: usize, to: SocketAddr) -> io::Result<usize> {
    let name = SockAddr::new(to);
    // SAFETY: all-zero bytes are valid for these plain C structures.
    let (mut iovecs, mut headers): ([iovec; BATCH], [mmsghdr; BATCH]) =
        unsafe { (zeroed(), zeroed()) };
    let mut count = 0;
    for ((datagram, iovec), header) in bytes.chunks(size).zip(&mut iovecs).zip(&mut headers) {
        *iovec = part(datagram);
        let message = &mut header.msg_hdr;
        (message.msg_name, message.msg_namelen) = name.parts();
        message.msg_iov = iovec;
        message.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers name addresses and iovecs that live until the call
    // returns, with the lengths given.
    retry_send(socket, || unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT,
        ) as isize
    })
}

/// Makes a system call that sends, and makes it again if it failed with the error of an earlier
/// datagram: the kernel has then forgotten that error, and sent nothing.
fn retry_send(socket: &UdpSocket, mut call: impl FnMut() -> isize) -> io::Result<usize> {
    match retry(&mut call) {
        Err(error) if socket.reports_errors && is_pending(&error) => retry(call),
        sent => sent,
    }
}

fn part(bytes: &[u8]) -> iovec {
    iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// Sends one datagram in one piece and without control messages: `sendto` costs the kernel less
/// than `sendmsg`.
fn send_to(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    let name = SockAddr::new(to);
    let (address, len) = name.parts();
    // SAFETY: bytes and name live until the call returns, with the lengths given, and are only
    // read.
    retry_send(socket, || unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_DONTWAIT,
            address.cast(),
            len,
        )
    })
    .map(drop)
}

/// Sends one message; the iovecs point to memory that is only read.
fn send_message(
    socket: &UdpSocket,
    iovecs: &mut [iovec],
    to: SocketAddr,
    mut control: ToSend,
) -> io::Result<()> {
    let name = SockAddr::new(to);
    // SAFETY: all-zero bytes are valid for this plain C structure.
    let mut message: msghdr = unsafe { zeroed() };
    (message.msg_name, message.msg_namelen) = name.parts();
    message.msg_iov = iovecs.as_mut_ptr();
    message.msg_iovlen = iovecs.len() as _;
    control.attach(&mut message);
    // SAFETY: name, control and iovecs live until the call returns, with the lengths given.
    retry_send(socket, || unsafe {
        libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT)
    })
    .map(drop)
}
