//! Control messages: what comes with a datagram, and what is said of one that is sent.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libc::{c_int, cmsghdr, msghdr};

/// Room for the control messages of one datagram: local address, segment size, traffic class.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(crate) struct Control([u8; Self::LEN]);

impl Control {
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    pub(crate) const LEN: usize = unsafe {
        libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) as usize
            + 2 * libc::CMSG_SPACE(size_of::<c_int>() as u32) as usize
    };

    pub(crate) const EMPTY: Self = Self([0; Self::LEN]);
}

/// What the kernel says of a datagram that came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrival {
    pub(crate) local: Option<IpAddr>,
    /// The size of the datagrams that GRO has joined.
    pub(crate) segment: Option<usize>,
    pub(crate) traffic_class: u8,
}

impl Arrival {
    /// Reads the control messages in the first `len` bytes of `control`.
    ///
    /// # Safety
    /// The kernel has written `control`, and said that `len` bytes are control messages.
    pub(crate) unsafe fn read(control: &Control, len: usize) -> Self {
        let mut arrival = Self::default();
        // SAFETY: all-zero bytes are valid for this plain C structure.
        let mut header: msghdr = unsafe { zeroed() };
        header.msg_control = (&raw const *control).cast_mut().cast();
        header.msg_controllen = len.min(Control::LEN) as _;
        // SAFETY: these are well-formed control messages within `control`, which is aligned for
        // their headers, and the CMSG functions stay within them; each payload is read unaligned and
        // with the type that its level and type stand for. Nothing is written.
        unsafe {
            let mut cmsg = libc::CMSG_FIRSTHDR(&raw const header);
            while let Some(message) = cmsg.as_ref() {
                let data = libc::CMSG_DATA(cmsg);
                match (message.cmsg_level, message.cmsg_type) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        let info = data.cast::<libc::in_pktinfo>().read_unaligned();
                        let ip = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                        arrival.local = Some(ip.into());
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        let info = data.cast::<libc::in6_pktinfo>().read_unaligned();
                        arrival.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into());
                    }
                    (libc::SOL_UDP, libc::UDP_GRO) => {
                        let size = data.cast::<c_int>().read_unaligned();
                        arrival.segment = usize::try_from(size).ok();
                    }
                    (libc::IPPROTO_IP, libc::IP_TOS) => arrival.traffic_class = data.read(),
                    (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                        arrival.traffic_class = data.cast::<c_int>().read_unaligned() as u8;
                    }
                    _ => {}
                }
                cmsg = libc::CMSG_NXTHDR(&raw const header, cmsg);
            }
        }
        arrival
    }
}

/// Control messages for a datagram to be sent.
pub(crate) struct Departure {
    control: Control,
    used: usize,
}

impl Departure {
    pub(crate) fn new() -> Self {
        Self {
            control: Control::EMPTY,
            used: 0,
        }
    }

    /// Whether nothing is to be said.
    pub(crate) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The local address to send from.
    pub(crate) fn from(&mut self, ip: IpAddr) {
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

    /// The size of the datagrams to make of the bytes.
    pub(crate) fn segment(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, size);
    }

    /// DSCP and ECN.
    pub(crate) fn traffic_class(&mut self, v6: bool, class: u8) {
        let (level, typ) = if v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_TCLASS)
        } else {
            (libc::IPPROTO_IP, libc::IP_TOS)
        };
        self.push(level, typ, c_int::from(class));
    }

    /// Has `message` carry these; they must outlive its use.
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
            self.used + space <= Control::LEN,
            "`Control` has room for every message that is sent"
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
