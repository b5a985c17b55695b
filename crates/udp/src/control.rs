//! Control messages, which the kernel attaches to a received datagram and takes with one to send.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{c_int, cmsghdr, msghdr};

/// Room in bytes for the control messages of one datagram: local address, segment size, traffic
/// class.
// SAFETY: CMSG_SPACE is arithmetic on its argument.
pub(crate) const CONTROL_LEN: usize = unsafe {
    libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) as usize
        + 2 * libc::CMSG_SPACE(size_of::<c_int>() as u32) as usize
};

/// Buffer for control messages, aligned for their headers.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct ControlBuffer<const LEN: usize = CONTROL_LEN>([u8; LEN]);

impl<const LEN: usize> ControlBuffer<LEN> {
    pub(crate) const EMPTY: Self = Self([0; LEN]);

    /// Calls `each` with level, type and value of every control message in the first `len` bytes.
    ///
    /// # Safety
    /// The kernel has written the buffer, and said that `len` bytes are control messages.
    pub(crate) unsafe fn for_each(
        &self,
        len: usize,
        mut each: impl FnMut(c_int, c_int, *const u8),
    ) {
        // SAFETY: all-zero bytes are valid for this plain C structure.
        let mut header: msghdr = unsafe { zeroed() };
        header.msg_control = (&raw const *self).cast_mut().cast();
        header.msg_controllen = len.min(LEN) as _;
        // SAFETY: these are well-formed control messages within the buffer, and the CMSG functions
        // stay within them. Nothing is written.
        unsafe {
            let mut cmsg = libc::CMSG_FIRSTHDR(&raw const header);
            while let Some(message) = cmsg.as_ref() {
                each(message.cmsg_level, message.cmsg_type, libc::CMSG_DATA(cmsg));
                cmsg = libc::CMSG_NXTHDR(&raw const header, cmsg);
            }
        }
    }
}

/// Control messages of a received datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    /// Local address that the datagram was sent to.
    pub(crate) local: Option<IpAddr>,
    /// Length in bytes of each datagram that GRO has joined; the last one may be shorter.
    pub(crate) segment: Option<usize>,
    pub(crate) traffic_class: u8,
}

impl Received {
    /// Reads the control messages in the first `len` bytes of `control`.
    ///
    /// # Safety
    /// The kernel has written `control`, and said that `len` bytes are control messages.
    pub(crate) unsafe fn read(control: &ControlBuffer, len: usize) -> Self {
        let mut received = Self::default();
        // SAFETY: the caller vouches for the buffer; each value is read unaligned and with the type
        // that its level and type stand for.
        unsafe {
            control.for_each(len, |level, typ, data| match (level, typ) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                    let ip = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    received.local = Some(ip.into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    received.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let size = data.cast::<c_int>().read_unaligned();
                    received.segment = usize::try_from(size).ok();
                }
                (libc::IPPROTO_IP, libc::IP_TOS) => received.traffic_class = data.read(),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    received.traffic_class = data.cast::<c_int>().read_unaligned() as u8;
                }
                _ => {}
            });
        }
        received
    }
}

/// Control messages for a datagram to be sent, or several of one size.
pub(crate) struct ToSend {
    control: ControlBuffer,
    used: usize,
}

impl ToSend {
    pub(crate) fn new() -> Self {
        Self {
            control: ControlBuffer::EMPTY,
            used: 0,
        }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Adds the local address to send from.
    pub(crate) fn push_source(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr {
                        s_addr: u32::from(ip).to_be(),
                    },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            IpAddr::V6(ip) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
        }
    }

    /// Adds the length in bytes of the datagrams to cut the message into.
    pub(crate) fn push_segment(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }

    /// Adds DSCP and ECN.
    pub(crate) fn push_traffic_class(&mut self, v6: bool, class: u8) {
        let (level, typ) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        self.push(level, typ, c_int::from(class));
    }

    /// Points `message` to these, which must outlive its use.
    pub(crate) fn attach(&mut self, message: &mut msghdr) {
        message.msg_controllen = self.used as _;
        if self.used > 0 {
            message.msg_control = (&raw mut self.control).cast();
        }
    }

    fn push<T: Copy>(&mut self, level: c_int, typ: c_int, value: T) {
        // SAFETY: CMSG_SPACE and CMSG_LEN are arithmetic on their argument.
        let (space, len) = unsafe {
            let size = size_of::<T>() as u32;
            (
                libc::CMSG_SPACE(size) as usize,
                libc::CMSG_LEN(size) as usize,
            )
        };
        assert!(
            self.used + space <= CONTROL_LEN,
            "`ControlBuffer` has room for every message that is sent"
        );
        let header = cmsghdr {
            cmsg_len: len as _,
            cmsg_level: level,
            cmsg_type: typ,
        };
        // SAFETY: the assertion keeps both writes within `control`; `used` is a sum of
        // CMSG_SPACEs.
        unsafe {
            let start = self.control.0.as_mut_ptr().add(self.used);
            start.cast::<cmsghdr>().write_unaligned(header);
            start
                .add(len - size_of::<T>())
                .cast::<T>()
                .write_unaligned(value);
        }
        self.used += space;
    }
}
