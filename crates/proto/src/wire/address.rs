//! XOR-ed transport addresses (RFC 8489 §14.2), read and written without allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::numbers::{MAGIC_COOKIE, TransactionId};

/// The longest encoded address: family, port, 16 bytes.
pub const MAX_LEN: usize = 20;

const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

fn mask(id: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&id.0);
    mask
}

fn xor<const N: usize>(bytes: [u8; N], mask: [u8; 16]) -> [u8; N] {
    std::array::from_fn(|i| bytes[i] ^ mask[i])
}

/// Reads the value of an XOR-…-ADDRESS attribute; `None` unless family and length agree.
#[must_use]
pub fn decode_xor(value: &[u8], id: &TransactionId) -> Option<SocketAddr> {
    let mask = mask(id);
    let (header, ip) = value.split_at_checked(4)?;
    let port = u16::from_be_bytes([header[2] ^ mask[0], header[3] ^ mask[1]]);
    let ip = match header[1] {
        FAMILY_IPV4 => IpAddr::V4(Ipv4Addr::from(xor::<4>(ip.try_into().ok()?, mask))),
        FAMILY_IPV6 => IpAddr::V6(Ipv6Addr::from(xor::<16>(ip.try_into().ok()?, mask))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Writes the value of an XOR-…-ADDRESS attribute and tells its length: 8 or 20.
pub fn encode_xor(addr: SocketAddr, id: &TransactionId, out: &mut [u8; MAX_LEN]) -> usize {
    let mask = mask(id);
    let [p0, p1] = addr.port().to_be_bytes();
    out[0] = 0;
    out[2] = p0 ^ mask[0];
    out[3] = p1 ^ mask[1];
    match addr.ip() {
        IpAddr::V4(ip) => {
            out[1] = FAMILY_IPV4;
            out[4..8].copy_from_slice(&xor(ip.octets(), mask));
            8
        }
        IpAddr::V6(ip) => {
            out[1] = FAMILY_IPV6;
            out[4..20].copy_from_slice(&xor(ip.octets(), mask));
            20
        }
    }
}

/// Reads the value of MAPPED-ADDRESS and its like; `None` unless family and length agree.
#[must_use]
pub fn decode_plain(value: &[u8]) -> Option<SocketAddr> {
    let (header, ip) = value.split_at_checked(4)?;
    let port = u16::from_be_bytes([header[2], header[3]]);
    let ip = match header[1] {
        FAMILY_IPV4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        FAMILY_IPV6 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Writes the value of MAPPED-ADDRESS and its like, and tells its length: 8 or 20.
pub fn encode_plain(addr: SocketAddr, out: &mut [u8; MAX_LEN]) -> usize {
    out[0] = 0;
    out[2..4].copy_from_slice(&addr.port().to_be_bytes());
    match addr.ip() {
        IpAddr::V4(ip) => {
            out[1] = FAMILY_IPV4;
            out[4..8].copy_from_slice(&ip.octets());
            8
        }
        IpAddr::V6(ip) => {
            out[1] = FAMILY_IPV6;
            out[4..].copy_from_slice(&ip.octets());
            20
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_both_families_read_back_and_agree_with_the_stun_crate() {
        use stun::message::{Getter as _, Message, Setter as _};
        let mut message = Message::new();
        message.new_transaction_id().unwrap();
        for text in [
            "192.0.2.1:32853",
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut value = [0; MAX_LEN];
            let id = TransactionId(message.transaction_id.0);
            let len = encode_xor(addr, &id, &mut value);
            assert_eq!(decode_xor(&value[..len], &id), Some(addr));

            let mut theirs = message.clone();
            stun::xoraddr::XorMappedAddress {
                ip: addr.ip(),
                port: addr.port(),
            }
            .add_to(&mut theirs)
            .unwrap();
            assert_eq!(theirs.attributes.0[0].value, &value[..len]);
            let mut read = stun::xoraddr::XorMappedAddress::default();
            read.get_from(&theirs).unwrap();
            assert_eq!(SocketAddr::new(read.ip, read.port), addr);
        }
    }

    #[test]
    fn n1_plain_addresses_read_back_and_agree_with_the_stun_crate() {
        use stun::message::{Getter as _, Message};
        for text in ["192.0.2.1:32853", "[2001:db8::7]:32853"] {
            let addr: SocketAddr = text.parse().unwrap();
            let mut value = [0; MAX_LEN];
            let len = encode_plain(addr, &mut value);
            assert_eq!(decode_plain(&value[..len]), Some(addr));
            assert_eq!(decode_plain(&value[..len - 1]), None);

            let mut message = Message::new();
            message.add(stun::attributes::ATTR_MAPPED_ADDRESS, &value[..len]);
            let mut read = stun::addr::MappedAddress::default();
            read.get_from(&message).unwrap();
            assert_eq!(SocketAddr::new(read.ip, read.port), addr);
        }
    }

    #[test]
    fn p2_wrong_lengths_and_families_are_malformed() {
        let id = TransactionId::default();
        for value in [
            &[0u8, 1, 0, 0][..],
            &[0, 1, 0, 0, 1, 2, 3],
            &[0, 1, 0, 0, 1, 2, 3, 4, 5],
            &[0, 2, 0, 0, 1, 2, 3, 4],
            &[0, 3, 0, 0, 1, 2, 3, 4],
            &[],
        ] {
            assert_eq!(decode_xor(value, &id), None, "{value:?}");
        }
    }
}
