//! Proxies in front of the server, and the headers by which they name their clients.

use std::net::IpAddr;

use turnd_proto::ip::canonical_ip;
use turnd_proto::policy::ip_range::IpRange;
use turnd_proto::wire::proxy::{self, Addresses, Parsed};

/// `trusted-proxies`.
#[derive(Clone, Debug)]
pub(super) struct TrustedProxies(Vec<IpRange>);

impl TrustedProxies {
    pub(super) fn new(ranges: Vec<IpRange>) -> Self {
        Self(ranges)
    }

    pub(super) fn ranges(&self) -> &[IpRange] {
        &self.0
    }

    /// Whether packets from `ip` begin with a PROXY header.
    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        !self.0.is_empty() && self.0.iter().any(|range| range.contains(canonical_ip(ip)))
    }
}

/// Whether bytes that are no message are a PROXY header, or part of one: its sender is not trusted.
pub(super) fn is_untrusted(bytes: &[u8]) -> bool {
    proxy::parse_stream(bytes) != Parsed::Malformed
}

/// Takes the header off a proxy's datagram; the rest is the client's. A header that came before is
/// good for datagrams without one: `known` are its addresses. A proxy that speaks for itself is
/// named by `own`.
pub(super) fn read_datagram(
    datagram: &[u8],
    own: Addresses,
    known: impl FnOnce() -> Option<Addresses>,
) -> Option<(Addresses, &[u8])> {
    if !proxy::is_header(datagram) {
        return Some((known()?, datagram));
    }
    match proxy::parse_datagram(datagram) {
        Parsed::Header { addresses, len } => Some((addresses.unwrap_or(own), &datagram[len..])),
        Parsed::Partial | Parsed::Malformed => None,
    }
}
