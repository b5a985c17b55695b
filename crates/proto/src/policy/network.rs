//! Source networks, whose clients share what one source may take.

use std::net::{IpAddr, Ipv6Addr};

/// Clients of an IPv6 /48 for each client that a /64 may have: a site has many hosts.
const SITE_FACTOR: u32 = 4;

/// First address of a network, and the length of its prefix.
pub(crate) type Network = (IpAddr, u8);

/// The networks that a client counts in: its IPv4 address, or its IPv6 /48 and /64.
pub(crate) fn networks(source: IpAddr) -> impl Iterator<Item = Network> {
    let cut = |ip: Ipv6Addr, len: u8| {
        let mask = u128::MAX << (128 - u32::from(len));
        (IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask)), len)
    };
    let (first, second) = match source {
        IpAddr::V4(_) => ((source, 32), None),
        IpAddr::V6(ip) => (cut(ip, 48), Some(cut(ip, 64))),
    };
    [first].into_iter().chain(second)
}

/// Clients that a network may have where an IPv4 address or a /64 may have `per_source`.
pub(crate) fn share(network: Network, per_source: u32) -> u32 {
    match network {
        (IpAddr::V6(_), 48) => per_source.saturating_mul(SITE_FACTOR),
        _ => per_source,
    }
}
