//! Local addresses to send from.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The wildcard address of `server`'s family, and any port.
pub(crate) fn any(server: SocketAddr) -> SocketAddr {
    let ip: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    SocketAddr::new(ip, 0)
}

/// The address of this host from which `server` is reached; sends nothing.
pub(crate) fn local_ip(server: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind(any(server))?;
    socket.connect(server)?;
    Ok(socket.local_addr()?.ip())
}
