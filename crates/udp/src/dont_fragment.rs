//! DF bit, which Linux has as a property of the socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};

/// Sets or clears DF on datagrams that the socket sends from now on. The path MTU that the kernel
/// has learnt is ignored either way, as anybody who can send ICMP could choose it.
pub(crate) fn set_dont_fragment(socket: &impl AsFd, addr: SocketAddr, on: bool) -> io::Result<()> {
    match addr {
        SocketAddr::V4(_) => {
            let mode = if on {
                Ipv4PathMtuDiscovery::PROBE
            } else {
                Ipv4PathMtuDiscovery::OMIT
            };
            set_ip_mtu_discover(socket, mode)?;
        }
        SocketAddr::V6(_) => {
            let mode = if on {
                Ipv6PathMtuDiscovery::PROBE
            } else {
                Ipv6PathMtuDiscovery::OMIT
            };
            set_ipv6_mtu_discover(socket, mode)?;
        }
    }
    Ok(())
}

/// Calls `send` while DF is set.
pub(crate) fn with_dont_fragment(
    socket: &impl AsFd,
    addr: SocketAddr,
    send: impl FnOnce() -> bool,
) -> bool {
    if set_dont_fragment(socket, addr, true).is_err() {
        return false;
    }
    let sent = send();
    let restored = set_dont_fragment(socket, addr, false);
    debug_assert!(restored.is_ok(), "{restored:?}");
    sent
}
