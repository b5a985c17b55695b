//! Linux: `recvmmsg` with UDP_GRO, `sendmsg` with UDP_SEGMENT, local addresses by IP_PKTINFO.
#![allow(
    unsafe_code,
    reason = "the batch calls and control messages exist in no safe wrapper that sends scattered payloads"
)]

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_void, cmsghdr, iovec, mmsghdr, msghdr, sockaddr_storage, socklen_t};
use socket2::{SockAddr, Socket};

use super::queue::Queued;
use super::{Datagram, UdpSocket};

pub(super) const HAS_LOCAL_ADDRESS: bool = true;

/// Buffers of one `recvmmsg`.
const BATCH: usize = 32;
/// The size of each: what GRO can make of a burst.
const SLOT: usize = 1 << 16;

static ZEROS: [u8; 4] = [0; 4];

/// Room for the control messages of one datagram.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; Self::LEN]);

impl Control {
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    const LEN: usize = unsafe {
        libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) as usize
            + libc::CMSG_SPACE(size_of::<c_int>() as u32) as usize
    };
}

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
        let mut controls = vec![Control([0; Control::LEN]); BATCH].into_boxed_slice();
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

    /// The buffer, for bytes that come by another way and leave through a [`super::SendQueue`];
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
        let (local, segment) = self.control(i);
        let segment = segment.unwrap_or(bytes.len()).max(1);
        // `chunks` gives nothing for an empty datagram, which is one all the same.
        let empty = bytes.is_empty().then_some(bytes);
        Some(
            bytes
                .chunks(segment)
                .chain(empty)
                .map(move |bytes| Datagram {
                    source,
                    local,
                    bytes,
                }),
        )
    }

    /// Local address and GRO segment size of message `i`.
    fn control(&self, i: usize) -> (Option<IpAddr>, Option<usize>) {
        let (mut local, mut segment) = (None, None);
        let header = &self.headers[i].msg_hdr;
        debug_assert!(header.msg_controllen <= size_of_val(&self.controls[i]));
        // SAFETY: the kernel has filled `msg_controllen` bytes of `controls[i]` with well-formed
        // control messages, and the CMSG functions stay within them; each payload is read
        // unaligned and with the type that its level and type stand for.
        unsafe {
            let mut cmsg = libc::CMSG_FIRSTHDR(header);
            while let Some(message) = cmsg.as_ref() {
                let data = libc::CMSG_DATA(cmsg);
                match (message.cmsg_level, message.cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        local = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        segment = usize::try_from(data.cast::<c_int>().read_unaligned()).ok();
                    }
                    _ => {}
                }
                cmsg = libc::CMSG_NXTHDR(header, cmsg);
            }
        }
        (local, segment)
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

fn reset(header: &mut mmsghdr) {
    header.msg_hdr.msg_namelen = size_of::<sockaddr_storage>() as socklen_t;
    header.msg_hdr.msg_controllen = Control::LEN as _;
    header.msg_hdr.msg_flags = 0;
}

fn socket_addr(name: &sockaddr_storage) -> Option<SocketAddr> {
    let pointer: *const sockaddr_storage = name;
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what the storage holds, and it is large and aligned enough.
            let addr = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let addr = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(addr.sin6_port), 0, addr.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// Sends runs of datagrams; gives up segmentation for good when the kernel refuses it.
#[derive(Debug)]
pub(super) struct Sender {
    segmentation: bool,
    iovecs: Vec<iovec>,
}

impl Sender {
    pub(super) fn new() -> Self {
        Self {
            segmentation: true,
            iovecs: Vec::with_capacity(3 * 64),
        }
    }

    pub(super) fn max_segments(&self) -> usize {
        if self.segmentation { usize::MAX } else { 1 }
    }

    /// Sends a run (see `run_length`) and tells how many datagrams of it the kernel took.
    pub(super) fn send(
        &mut self,
        socket: &UdpSocket,
        run: &[Queued],
        receiver: &Receiver,
    ) -> usize {
        match run {
            [single] if single.dont_fragment => self.send_unfragmented(socket, run, receiver),
            [_] => usize::from(self.send_run(socket, run, receiver).is_ok()),
            _ => match self.send_run(socket, run, receiver) {
                Ok(()) => run.len(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => self.send_singly(socket, run, receiver, &error),
            },
        }
    }

    /// What the kernel refused as a whole it may take in parts: segments beyond the MTU have to be
    /// fragmented, and some devices cannot segment at all.
    fn send_singly(
        &mut self,
        socket: &UdpSocket,
        run: &[Queued],
        receiver: &Receiver,
        error: &io::Error,
    ) -> usize {
        let mut sent = 0;
        for single in run.chunks(1) {
            sent += usize::from(self.send_run(socket, single, receiver).is_ok());
        }
        // Only where the parts do go, and were not just too long, is segmentation to blame; a
        // destination that nothing reaches must not switch it off for everyone.
        if sent > 0 && matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL)) {
            self.segmentation = false;
        }
        sent
    }

    /// Linux has DF as a property of the socket; such packets are rare.
    fn send_unfragmented(
        &mut self,
        socket: &UdpSocket,
        run: &[Queued],
        receiver: &Receiver,
    ) -> usize {
        if set_dont_fragment(&socket.socket, socket.addr, true).is_err() {
            return 0;
        }
        let sent = self.send_run(socket, run, receiver).is_ok();
        let restored = set_dont_fragment(&socket.socket, socket.addr, false);
        debug_assert!(restored.is_ok(), "{restored:?}");
        usize::from(sent)
    }

    fn send_run(
        &mut self,
        socket: &UdpSocket,
        run: &[Queued],
        receiver: &Receiver,
    ) -> io::Result<()> {
        let part = |bytes: &[u8]| iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        self.iovecs.clear();
        for item in run {
            let payload = &receiver.slab[item.start..][..item.len];
            let parts = [item.header(), payload, &ZEROS[..item.padding()]];
            self.iovecs.extend(
                parts
                    .into_iter()
                    .filter(|bytes| !bytes.is_empty())
                    .map(part),
            );
        }
        let segment = (run.len() > 1).then(|| run[0].size() as u16);
        send_message(
            socket.as_raw_fd(),
            &mut self.iovecs,
            run[0].to,
            run[0].from,
            segment,
        )
    }
}

/// Sends one datagram.
pub(super) fn send(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<()> {
    let mut iovecs = [iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }];
    send_message(socket.as_raw_fd(), &mut iovecs, to, from, None)
}

/// The one place that calls `sendmsg`; the iovecs point to memory that is only read.
fn send_message(
    fd: RawFd,
    iovecs: &mut [iovec],
    to: SocketAddr,
    from: Option<IpAddr>,
    segment: Option<u16>,
) -> io::Result<()> {
    let to = SockAddr::from(to);
    let mut control = Control([0; Control::LEN]);
    // SAFETY: all-zero bytes are valid for this plain C structure.
    let mut message: msghdr = unsafe { zeroed() };
    message.msg_name = to.as_ptr().cast_mut().cast();
    message.msg_namelen = to.len();
    message.msg_iov = iovecs.as_mut_ptr();
    message.msg_iovlen = iovecs.len() as _;
    message.msg_control = (&raw mut control).cast();
    let mut used = 0;
    match from {
        Some(IpAddr::V4(ip)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: u32::from(ip).to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += push_control(&mut control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(ip)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: ip.octets(),
                },
                ipi6_ifindex: 0,
            };
            used += push_control(
                &mut control,
                used,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                info,
            );
        }
        None => {}
    }
    if let Some(segment) = segment {
        used += push_control(
            &mut control,
            used,
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            segment,
        );
    }
    message.msg_controllen = used as _;
    if used == 0 {
        message.msg_control = std::ptr::null_mut();
    }
    // SAFETY: name, control and iovecs live until the call returns, with the lengths given.
    retry(|| unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_DONTWAIT) }).map(drop)
}

/// Writes a control message at `at` and returns the room that it takes.
fn push_control<T: Copy>(
    control: &mut Control,
    at: usize,
    level: c_int,
    typ: c_int,
    value: T,
) -> usize {
    // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic on their argument.
    let (space, len) = unsafe {
        let size = size_of::<T>() as u32;
        (
            libc::CMSG_SPACE(size) as usize,
            libc::CMSG_LEN(size) as usize,
        )
    };
    assert!(
        at + space <= Control::LEN,
        "`Control` has room for every message that is sent"
    );
    let header = cmsghdr {
        cmsg_len: len as _,
        cmsg_level: level,
        cmsg_type: typ,
    };
    // SAFETY: the assertion keeps both writes within `control`; `at` is a sum of CMSG_SPACEs.
    unsafe {
        let start = control.0.as_mut_ptr().add(at);
        start.cast::<cmsghdr>().write_unaligned(header);
        start
            .add(len - size_of::<T>())
            .cast::<T>()
            .write_unaligned(value);
    }
    space
}

/// Repeats a call that a signal interrupted, and turns -1 into the error.
fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
    loop {
        match usize::try_from(call()) {
            Ok(count) => return Ok(count),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn set_option(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let pointer: *const c_int = &raw const value;
    // SAFETY: the option's value is one `int`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            pointer.cast::<c_void>(),
            size_of::<c_int>() as socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Sets an option that old kernels and containers refuse, until the first refusal.
fn try_option(
    refused: &AtomicBool,
    socket: &Socket,
    level: c_int,
    name: c_int,
    value: c_int,
) -> bool {
    if refused.load(Ordering::Relaxed) {
        return false;
    }
    let set = set_option(socket, level, name, value).is_ok();
    if !set {
        refused.store(true, Ordering::Relaxed);
    }
    set
}

/// Asks for both buffers, beyond the system's limit where the process may.
pub(super) fn set_buffers(socket: &Socket, bytes: usize) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let value = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    for (force, plain) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF),
    ] {
        if !try_option(&REFUSED, socket, libc::SOL_SOCKET, force, value) {
            // The kernel cuts it to its limit; a smaller buffer is no reason to fail.
            let _ = set_option(socket, libc::SOL_SOCKET, plain, value);
        }
    }
}

/// Has the kernel join datagrams of one sender.
pub(super) fn request_coalescing(socket: &Socket) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    try_option(&REFUSED, socket, libc::SOL_UDP, libc::UDP_GRO, 1);
}

/// Has every datagram say to which address it came.
pub(super) fn request_local_address(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Sets or clears DF on what the socket sends from now on. The path MTU that the kernel believes
/// in is left out of it either way: whoever sends ICMP could choose it.
pub(super) fn set_dont_fragment(socket: &impl AsFd, addr: SocketAddr, on: bool) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => {
            let mode = if on {
                libc::IP_PMTUDISC_PROBE
            } else {
                libc::IP_PMTUDISC_DONT
            };
            set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, mode)
        }
        SocketAddr::V6(_) => {
            let mode = if on {
                libc::IPV6_PMTUDISC_PROBE
            } else {
                libc::IPV6_PMTUDISC_DONT
            };
            set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, mode)
        }
    }
}
