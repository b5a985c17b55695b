//! Options of a socket.

use std::io;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_void, socklen_t};
use socket2::Socket;

/// Repeats a call that a signal interrupted, and turns -1 into the error.
pub(crate) fn retry(mut call: impl FnMut() -> isize) -> io::Result<usize> {
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

/// Sets an option that old kernels and containers refuse, and does not try again once refused.
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

/// Sets the length of both kernel buffers in bytes, beyond the system's limit where the process may.
pub(crate) fn set_buffers(socket: &Socket, bytes: usize) {
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

/// Lets the kernel join datagrams of one sender.
pub(crate) fn request_coalescing(socket: &Socket) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    try_option(&REFUSED, socket, libc::SOL_UDP, libc::UDP_GRO, 1);
}

/// Requests DSCP and ECN with every datagram; without them they read as 0.
pub(crate) fn request_traffic_class(socket: &Socket, addr: SocketAddr) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    let (level, name) = match addr {
        SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_RECVTOS),
        SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS),
    };
    try_option(&REFUSED, socket, level, name, 1);
}

/// Requests the local address that each datagram was sent to.
pub(crate) fn request_local_address(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1),
    }
}

/// Requests that errors of sent datagrams be kept.
pub(crate) fn request_errors(socket: &impl AsFd, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        SocketAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}
