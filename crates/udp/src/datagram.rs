//! Received datagrams.

use std::net::{IpAddr, SocketAddr};

/// One datagram of a received batch.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Address and port that sent the datagram.
    pub source: SocketAddr,
    /// Local address that the datagram was sent to; `None` unless the socket is bound to a wildcard.
    pub local: Option<IpAddr>,
    /// DSCP (upper six bits) and ECN (lower two); 0 where the kernel does not tell.
    pub traffic_class: u8,
    /// UDP payload, at most 65,527 bytes.
    pub bytes: &'a [u8],
}
