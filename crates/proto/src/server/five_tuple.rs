//! The addresses that name an allocation, each role its own type.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Protocol by which a client reaches the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Transport {
    /// Plain UDP.
    Udp,
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Transport {
    /// Every transport, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Udp, Self::Tcp, Self::Tls, Self::Dtls];
    /// Number of transports.
    pub const COUNT: usize = Self::Dtls as usize + 1;

    /// The name in logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Dtls => "dtls",
        }
    }

    /// Whether nobody but the owner of a client's address can send a message from it: TCP begins with
    /// a handshake, and DTLS with a cookie (RFC 6347 §4.2.1).
    #[must_use]
    pub fn proves_address(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether messages follow each other on a stream, and channel data is padded (C5).
    #[must_use]
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// Client and server transport address and the protocol between them (RFC 8656 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// The protocol.
    pub transport: Transport,
    /// The client's transport address, as the server sees it.
    pub client: SocketAddr,
    /// The server's transport address that the client uses; never a wildcard.
    pub server: SocketAddr,
}

/// Socket by which a client's packets come in and its replies leave. The numbers are the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientSocket {
    /// Listening UDP socket, which all its clients share.
    Listener(u16),
    /// Connection of one client, TCP or TLS.
    Stream(u32),
    /// DTLS association of one client.
    Dtls(u32),
    /// One client of plain UDP behind a proxy.
    Proxied(u32),
}

/// A way to a client: the five-tuple and the socket that serves it.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Names the allocation.
    pub tuple: FiveTuple,
    /// Opaque to the server, but for the listening sockets of RFC 5780.
    pub socket: ClientSocket,
    /// Whether the client's address is a proxy's word (`trusted-proxies`).
    pub proxied: bool,
}

impl Path {
    /// The path of a client of plain UDP at a listening socket, without a proxy.
    #[must_use]
    pub fn udp(listener: u16, client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            tuple: FiveTuple {
                transport: Transport::Udp,
                client,
                server,
            },
            socket: ClientSocket::Listener(listener),
            proxied: false,
        }
    }
}

/// A peer's transport address as the relay's socket sees it.
///
/// Where `external-ip` stands for a local address, clients say and hear another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

impl PeerAddr {
    /// The address without the port: what a permission is for.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}
