//! The PROXY protocol, versions 1 and 2: what a load balancer says of the client before the
//! client's own bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// First bytes of every version 2 header.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a version 2 header before the addresses.
const FIXED: usize = 16;
/// The longest version 1 header.
const MAX_V1: usize = 107;
/// More than this no header of version 2 needs: addresses, and a certificate's name.
const MAX_V2: usize = 2048;

/// Reading of the bytes that have come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Part of a header.
    Partial,
    /// A whole header.
    Header {
        /// Source and destination; `None`: the proxy speaks for itself, or does not know.
        addresses: Option<Addresses>,
        /// Length of the header, in bytes.
        len: usize,
    },
    /// No header, or a malformed one.
    Malformed,
}

/// The connection that the client made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub client: SocketAddr,
    /// The address that the client connected to.
    pub server: SocketAddr,
}

/// Reads the header at the start of a stream.
#[must_use]
pub fn parse_stream(bytes: &[u8]) -> Parsed {
    let begins = |word: &[u8]| bytes.iter().zip(word).all(|(a, b)| a == b);
    if begins(&SIGNATURE) {
        parse_v2(bytes, 1)
    } else if begins(b"PROXY ") {
        parse_v1(bytes)
    } else {
        Parsed::Malformed
    }
}

/// Reads the header at the start of a datagram: version 2, and whole.
#[must_use]
pub fn parse_datagram(bytes: &[u8]) -> Parsed {
    match parse_v2(bytes, 2) {
        Parsed::Partial => Parsed::Malformed,
        parsed => parsed,
    }
}

/// Whether a datagram begins as a header of version 2 does.
#[must_use]
pub fn is_header(datagram: &[u8]) -> bool {
    datagram.starts_with(&SIGNATURE)
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let searched = &bytes[..bytes.len().min(MAX_V1)];
    let Some(end) = searched.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < MAX_V1 {
            Parsed::Partial
        } else {
            Parsed::Malformed
        };
    };
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else {
        return Parsed::Malformed;
    };
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    let addresses = match family {
        Some("UNKNOWN") => None,
        Some("TCP4" | "TCP6") => {
            let ips = [words.next(), words.next()].map(|word| word?.parse::<IpAddr>().ok());
            let ports = [words.next(), words.next()].map(port);
            let ([Some(client), Some(server)], [Some(from), Some(to)], None) =
                (ips, ports, words.next())
            else {
                return Parsed::Malformed;
            };
            let v4 = family == Some("TCP4");
            if client.is_ipv4() != v4 || server.is_ipv4() != v4 {
                return Parsed::Malformed;
            }
            Some(Addresses {
                client: SocketAddr::new(client, from),
                server: SocketAddr::new(server, to),
            })
        }
        _ => return Parsed::Malformed,
    };
    Parsed::Header {
        addresses,
        len: end + 2,
    }
}

/// A decimal number without sign or leading zeros.
fn port(word: Option<&str>) -> Option<u16> {
    let word = word?;
    let plain = word.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (word == "0" || !word.starts_with('0')))
        .then(|| word.parse().ok())
        .flatten()
}

/// `protocol`: 1 for streams, 2 for datagrams.
fn parse_v2(bytes: &[u8], protocol: u8) -> Parsed {
    if !bytes.iter().zip(SIGNATURE).all(|(a, b)| *a == b) {
        return Parsed::Malformed;
    }
    let Some(&[version, family, high, low]) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Parsed::Partial;
    };
    let len = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 != 2 || len > MAX_V2 {
        return Parsed::Malformed;
    }
    let Some(rest) = bytes.get(FIXED..len) else {
        return Parsed::Partial;
    };
    let addresses = match (version & 0xF, family >> 4) {
        // LOCAL: the proxy's own connection, to see whether the server lives.
        (0, _) | (1, 0) => None,
        (1, 1) if family & 0xF == protocol => match ipv4(rest) {
            Some(addresses) => Some(addresses),
            None => return Parsed::Malformed,
        },
        (1, 2) if family & 0xF == protocol => match ipv6(rest) {
            Some(addresses) => Some(addresses),
            None => return Parsed::Malformed,
        },
        _ => return Parsed::Malformed,
    };
    Parsed::Header { addresses, len }
}

fn ipv4(bytes: &[u8]) -> Option<Addresses> {
    let [client, server] = [0, 4].map(|at| bytes.get(at..)?.first_chunk::<4>());
    addresses(
        Ipv4Addr::from(*client?).into(),
        Ipv4Addr::from(*server?).into(),
        bytes.get(8..)?,
    )
}

fn ipv6(bytes: &[u8]) -> Option<Addresses> {
    let [client, server] = [0, 16].map(|at| bytes.get(at..)?.first_chunk::<16>());
    addresses(
        Ipv6Addr::from(*client?).into(),
        Ipv6Addr::from(*server?).into(),
        bytes.get(32..)?,
    )
}

fn addresses(client: IpAddr, server: IpAddr, ports: &[u8]) -> Option<Addresses> {
    let &[a, b, c, d] = ports.first_chunk()?;
    Some(Addresses {
        client: SocketAddr::new(client, u16::from_be_bytes([a, b])),
        server: SocketAddr::new(server, u16::from_be_bytes([c, d])),
    })
}

#[cfg(test)]
mod tests;
