//! Send and Data indications, read and written without allocation: they carry relayed data.

use std::net::SocketAddr;

use super::address;
use super::message::{attributes, fingerprint_matches, frame};
use super::numbers::{
    ATTRIBUTE_HEADER_LEN, AttributeType, Class, MAGIC_COOKIE, MESSAGE_HEADER_LEN, MessageType,
    Method, TransactionId,
};

/// A Send indication (RFC 8656 §11.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send<'a> {
    /// XOR-PEER-ADDRESS.
    pub peer: SocketAddr,
    /// DATA.
    pub data: &'a [u8],
    /// DONT-FRAGMENT is there.
    pub dont_fragment: bool,
}

/// Whether `datagram` begins as a Send indication does.
#[must_use]
pub fn is_send(datagram: &[u8]) -> bool {
    const SEND: MessageType = MessageType::new(Method::SEND, Class::Indication);
    datagram
        .first_chunk()
        .is_some_and(|typ| u16::from_be_bytes(*typ) == SEND.value())
}

/// Reads a Send indication; `None` when it is malformed, lacks the peer or the data, or holds a
/// comprehension-required attribute that is not known (S6, I1).
#[must_use]
pub fn parse_send(datagram: &[u8]) -> Option<Send<'_>> {
    let frame = frame(datagram).ok()?;
    let id = TransactionId(frame[8..MESSAGE_HEADER_LEN].try_into().ok()?);
    let (mut peer, mut data, mut dont_fragment) = (None, None, false);
    let (mut after_integrity, mut after_fingerprint) = (false, false);
    for attribute in attributes(frame) {
        let (typ, value) = attribute.ok()?;
        if after_fingerprint {
            return None;
        }
        match typ {
            AttributeType::FINGERPRINT if !fingerprint_matches(frame, value) => return None,
            AttributeType::FINGERPRINT => after_fingerprint = true,
            _ if after_integrity => {}
            AttributeType::MESSAGE_INTEGRITY | AttributeType::MESSAGE_INTEGRITY_SHA256 => {
                after_integrity = true;
            }
            AttributeType::XOR_PEER_ADDRESS => peer = peer.or(Some(value)),
            AttributeType::DATA => data = data.or(Some(value)),
            AttributeType::DONT_FRAGMENT => dont_fragment = true,
            typ if !typ.is_understood() => return None,
            _ => {}
        }
    }
    Some(Send {
        peer: address::decode_xor(peer?, &id)?,
        data: data?,
        dont_fragment,
    })
}

/// The bytes that come before the payload on its way to the client, and the padding behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
    padding: u8,
}

impl Header {
    /// The longest header: that of a Data indication with an IPv6 peer.
    pub const MAX_LEN: usize =
        MESSAGE_HEADER_LEN + ATTRIBUTE_HEADER_LEN + address::MAX_LEN + ATTRIBUTE_HEADER_LEN;

    /// The header of channel data on a datagram: no padding.
    #[must_use]
    pub fn channel_data(number: u16, payload_len: u16) -> Self {
        let mut header = Self {
            bytes: [0; Self::MAX_LEN],
            len: 0,
            padding: 0,
        };
        header.push(&super::channel_data::header(number, payload_len));
        header
    }

    /// The header for a stream, where every frame is padded to four bytes (C5).
    #[must_use]
    pub fn padded(mut self, payload_len: u16) -> Self {
        self.padding = (payload_len.wrapping_neg() % 4) as u8;
        self
    }

    /// The header of a Data indication (RFC 8656 §11.5); DATA comes last so that the payload
    /// needs no copy.
    #[must_use]
    pub fn data_indication(id: &TransactionId, peer: SocketAddr, payload_len: u16) -> Self {
        const DATA: MessageType = MessageType::new(Method::DATA, Class::Indication);
        let mut address = [0; address::MAX_LEN];
        let address_len = address::encode_xor(peer, id, &mut address);
        let padding = payload_len.wrapping_neg() % 4;
        let body = ATTRIBUTE_HEADER_LEN + address_len + ATTRIBUTE_HEADER_LEN;
        // At most 32 + 65,507: a datagram so long does not fit once wrapped, and sending it fails.
        let message_len = (body as u16)
            .saturating_add(payload_len)
            .saturating_add(padding);

        let mut header = Self {
            bytes: [0; Self::MAX_LEN],
            len: 0,
            padding: padding as u8,
        };
        header.push(&DATA.value().to_be_bytes());
        header.push(&message_len.to_be_bytes());
        header.push(&MAGIC_COOKIE.to_be_bytes());
        header.push(&id.0);
        header.push_attribute(AttributeType::XOR_PEER_ADDRESS, address_len as u16);
        header.push(&address[..address_len]);
        header.push_attribute(AttributeType::DATA, payload_len);
        header
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    fn push_attribute(&mut self, typ: AttributeType, len: u16) {
        self.push(&typ.0.to_be_bytes());
        self.push(&len.to_be_bytes());
    }

    /// The bytes before the payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Zero bytes that go behind the payload: 0–3.
    #[must_use]
    pub fn padding(&self) -> usize {
        usize::from(self.padding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stun::attributes::AttrType;
    use stun::fingerprint::FINGERPRINT;
    use stun::message::{CLASS_INDICATION, Getter as _, METHOD_SEND, Message, Setter};
    use turn::proto::{data::Data, dontfrag::DontFragmentAttr, peeraddr::PeerAddress};

    const SEND: stun::message::MessageType = stun::message::MessageType {
        method: METHOD_SEND,
        class: CLASS_INDICATION,
    };

    fn peer(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn send(setters: Vec<Box<dyn Setter>>) -> Vec<u8> {
        let mut message = Message::new();
        message.new_transaction_id().unwrap();
        SEND.add_to(&mut message).unwrap();
        message.write_header();
        for setter in setters {
            setter.add_to(&mut message).unwrap();
        }
        message.raw
    }

    fn xor_peer(addr: SocketAddr) -> Box<dyn Setter> {
        Box::new(PeerAddress {
            ip: addr.ip(),
            port: addr.port(),
        })
    }

    fn data(bytes: &[u8]) -> Box<dyn Setter> {
        Box::new(Data(bytes.to_vec()))
    }

    #[test]
    fn i1_send_is_read_in_any_order_and_needs_both_parts() {
        for addr in [peer("192.0.2.7:5"), peer("[2001:db8::7]:65535")] {
            let bytes = send(vec![data(b"hello"), xor_peer(addr), Box::new(FINGERPRINT)]);
            assert!(is_send(&bytes));
            let expected = Send {
                peer: addr,
                data: b"hello",
                dont_fragment: false,
            };
            assert_eq!(parse_send(&bytes), Some(expected));
        }
        let addr = peer("192.0.2.7:5");
        assert_eq!(parse_send(&send(vec![data(b"hello")])), None);
        assert_eq!(parse_send(&send(vec![xor_peer(addr)])), None);
        let empty = send(vec![xor_peer(addr), data(b""), Box::new(DontFragmentAttr)]);
        assert_eq!(
            parse_send(&empty),
            Some(Send {
                peer: addr,
                data: b"",
                dont_fragment: true
            })
        );
    }

    #[test]
    fn s6_s9_unknown_required_is_silence_and_the_first_of_two_wins() {
        let addr = peer("192.0.2.7:5");
        let raw = |typ| -> Box<dyn Setter> {
            Box::new(stun::attributes::RawAttribute {
                typ: AttrType(typ),
                length: 0,
                value: vec![],
            })
        };
        assert_eq!(
            parse_send(&send(vec![xor_peer(addr), data(b"x"), raw(0x7FFF)])),
            None
        );
        assert!(parse_send(&send(vec![xor_peer(addr), data(b"x"), raw(0x8FFF)])).is_some());
        let twice = send(vec![
            xor_peer(addr),
            xor_peer(peer("192.0.2.8:5")),
            data(b"x"),
            data(b"y"),
        ]);
        assert_eq!(
            parse_send(&twice),
            Some(Send {
                peer: addr,
                data: b"x",
                dont_fragment: false
            })
        );
    }

    #[test]
    fn s5_a_wrong_fingerprint_is_silence() {
        let mut bytes = send(vec![
            xor_peer(peer("192.0.2.7:5")),
            data(b"x"),
            Box::new(FINGERPRINT),
        ]);
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(parse_send(&bytes), None);
    }

    #[test]
    fn i3_data_indication_reads_back_with_the_stun_crate() {
        for addr in [peer("192.0.2.7:5"), peer("[2001:db8::7]:65535")] {
            for len in 0..9usize {
                let payload = vec![0xAB; len];
                let id = TransactionId([7; 12]);
                let header = Header::data_indication(&id, addr, len as u16);
                let mut message = Message::new();
                message.raw = header.as_bytes().to_vec();
                message.raw.extend_from_slice(&payload);
                message.raw.resize(message.raw.len() + header.padding(), 0);
                message.decode().unwrap();
                assert_eq!(
                    message.raw.len(),
                    MESSAGE_HEADER_LEN + message.length as usize
                );
                let (mut got, mut from) = (Data::default(), PeerAddress::default());
                got.get_from(&message).unwrap();
                from.get_from(&message).unwrap();
                assert_eq!(
                    (got.0, SocketAddr::new(from.ip, from.port)),
                    (payload, addr)
                );
            }
        }
    }

    #[test]
    fn c5_channel_data_is_padded_on_streams() {
        for (len, padding) in [(0, 0), (1, 3), (2, 2), (3, 1), (4, 0), (65_535, 1)] {
            let header = Header::channel_data(0x4001, len).padded(len);
            assert_eq!(header.padding(), padding);
            assert_eq!(
                header.as_bytes()[2..],
                len.to_be_bytes(),
                "the length is without padding"
            );
        }
    }

    #[test]
    fn channel_data_header_has_no_padding() {
        let header = Header::channel_data(0x4001, 3);
        assert_eq!(
            (header.as_bytes(), header.padding()),
            (&[0x40, 1, 0, 3][..], 0)
        );
    }
}
