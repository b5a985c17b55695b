//! Canonical form of addresses: IPv4-mapped IPv6 addresses are IPv4 addresses everywhere.

use std::net::{IpAddr, SocketAddr};

/// The IPv4 address that an IPv4-mapped IPv6 address holds (D7); any other address as it is.
#[must_use]
pub fn canonical_ip(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// [`canonical_ip`] for a socket address.
#[must_use]
pub fn canonical_socket(addr: SocketAddr) -> SocketAddr {
    match canonical_ip(addr.ip()) {
        // Only a mapped address is built anew: flow label and scope of a real IPv6 one matter.
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, addr.port()),
        IpAddr::V6(_) => addr,
    }
}
