//! Socket addresses in the form that the kernel uses.

use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use libc::{c_int, c_void, sockaddr_storage, socklen_t};

/// Address to send to; smaller than `sockaddr_storage`, as it is written for every send.
pub(crate) enum SockAddr {
    V4(libc::sockaddr_in),
    V6(libc::sockaddr_in6),
}

impl SockAddr {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(addr) => Self::V4(libc::sockaddr_in {
                sin_family: libc::AF_INET as _,
                sin_port: addr.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*addr.ip()).to_be(),
                },
                sin_zero: [0; 8],
            }),
            SocketAddr::V6(addr) => Self::V6(libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as _,
                sin6_port: addr.port().to_be(),
                sin6_flowinfo: addr.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: addr.ip().octets(),
                },
                sin6_scope_id: addr.scope_id(),
            }),
        }
    }

    /// Pointer and length for `msg_name`, which the kernel only reads when it sends.
    pub(crate) fn parts(&self) -> (*mut c_void, socklen_t) {
        match self {
            Self::V4(name) => (
                (&raw const *name).cast_mut().cast(),
                size_of::<libc::sockaddr_in>() as socklen_t,
            ),
            Self::V6(name) => (
                (&raw const *name).cast_mut().cast(),
                size_of::<libc::sockaddr_in6>() as socklen_t,
            ),
        }
    }
}

/// Reads an address that the kernel has written.
pub(crate) fn socket_addr(name: &sockaddr_storage) -> Option<SocketAddr> {
    let pointer: *const sockaddr_storage = name;
    match c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says what the storage holds, and it is large and aligned enough.
            let addr = unsafe { &*pointer.cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(addr.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(addr.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says what the storage holds, and it is large and aligned enough.
            let addr = unsafe { &*pointer.cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(addr.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(addr.sin6_port), 0, addr.sin6_scope_id).into())
        }
        _ => None,
    }
}
