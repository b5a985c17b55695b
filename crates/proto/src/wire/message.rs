//! STUN messages as they come: the checks of RFC 8489 §6.3, and a view of the attributes.

use crc::{CRC_32_ISO_HDLC, Crc};

use super::numbers::{
    ATTRIBUTE_HEADER_LEN, AttributeType, MAGIC_COOKIE, MESSAGE_HEADER_LEN, MessageType,
    TransactionId,
};

/// Why a datagram is not a STUN message; none of these is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Shorter than a header or than the length field says, or a length field that is not a
    /// multiple of four.
    Length,
    /// The first two bits are not zero.
    Type,
    /// No magic cookie.
    Cookie,
    /// An attribute reaches beyond the message.
    Attribute,
    /// FINGERPRINT is wrong or not last.
    Fingerprint,
}

/// Cuts `datagram` to the one STUN message at its start, after the checks of RFC 8489 §6.3.
///
/// # Errors
/// [`MessageError`], in the RFC's order.
pub fn frame(datagram: &[u8]) -> Result<&[u8], MessageError> {
    let header = datagram
        .get(..MESSAGE_HEADER_LEN)
        .ok_or(MessageError::Length)?;
    if header[0] & 0xC0 != 0 {
        return Err(MessageError::Type);
    }
    if header[4..8] != MAGIC_COOKIE.to_be_bytes() {
        return Err(MessageError::Cookie);
    }
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if !len.is_multiple_of(4) {
        return Err(MessageError::Length);
    }
    datagram
        .get(..MESSAGE_HEADER_LEN + len)
        .ok_or(MessageError::Length)
}

/// The type and value of every attribute of a framed message.
///
/// Ends early with `Err` at an attribute that reaches beyond the message.
pub fn attributes(frame: &[u8]) -> Attributes<'_> {
    Attributes {
        rest: frame.get(MESSAGE_HEADER_LEN..).unwrap_or_default(),
    }
}

/// Iterator over the attributes of a message.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<(AttributeType, &'a [u8]), MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let next = split_attribute(self.rest);
        self.rest = next.map_or(&[], |(_, _, rest)| rest);
        Some(
            next.map(|(typ, value, _)| (typ, value))
                .ok_or(MessageError::Attribute),
        )
    }
}

fn split_attribute(bytes: &[u8]) -> Option<(AttributeType, &[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(ATTRIBUTE_HEADER_LEN)?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let rest_after = rest.get(len.next_multiple_of(4)..)?;
    Some((
        AttributeType(u16::from_be_bytes([header[0], header[1]])),
        &rest[..len],
        rest_after,
    ))
}

/// FINGERPRINT of a message whose other bytes, with the length field that counts the attribute
/// in, are `covered` (RFC 8489 §14.7).
pub(super) fn fingerprint(covered: &[u8]) -> [u8; 4] {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    const XOR: u32 = 0x5354_554E;
    (CRC.checksum(covered) ^ XOR).to_be_bytes()
}

/// Checks the FINGERPRINT at the end of a framed message, given its value.
///
/// The caller has made sure that the attribute is the last one.
#[must_use]
pub fn fingerprint_matches(frame: &[u8], value: &[u8]) -> bool {
    const LEN: usize = ATTRIBUTE_HEADER_LEN + 4;
    let Some(covered) = frame.len().checked_sub(LEN) else {
        return false;
    };
    value == fingerprint(&frame[..covered])
}

/// The part of a request that its response repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Method and class.
    pub typ: MessageType,
    /// The transaction.
    pub id: TransactionId,
    /// Whether there was a FINGERPRINT, which the response then has too.
    pub fingerprint: bool,
    /// Whether MESSAGE-INTEGRITY-SHA256 signs it, and not MESSAGE-INTEGRITY; so it is with the response.
    pub sha256: bool,
}

/// Attribute that signs a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY (RFC 8489 §14.5).
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6).
    Sha256,
}

/// A well-formed STUN message; attributes behind the first MESSAGE-INTEGRITY or
/// MESSAGE-INTEGRITY-SHA256 do not show (RFC 8489 §14.5).
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    head: Head,
    /// The whole message.
    frame: &'a [u8],
    /// End of the attributes that show.
    end: usize,
    /// The attribute that is checked, and its offset.
    integrity: Option<(Integrity, usize)>,
}

impl<'a> Message<'a> {
    /// Reads the message at the start of `datagram`.
    ///
    /// # Errors
    /// See [`MessageError`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, MessageError> {
        let frame = frame(datagram)?;
        let (mut offset, mut fingerprint) = (MESSAGE_HEADER_LEN, None);
        let (mut integrity, mut end) = (None, frame.len());
        for attribute in attributes(frame) {
            let (typ, value) = attribute?;
            let next = offset + ATTRIBUTE_HEADER_LEN + value.len().next_multiple_of(4);
            match typ {
                AttributeType::FINGERPRINT if fingerprint.is_none() => {
                    fingerprint = Some((next, value));
                }
                AttributeType::MESSAGE_INTEGRITY if integrity.is_none() => {
                    integrity = Some((Integrity::Sha1, offset));
                    end = next;
                }
                AttributeType::MESSAGE_INTEGRITY_SHA256 => match integrity {
                    None => {
                        integrity = Some((Integrity::Sha256, offset));
                        end = next;
                    }
                    // With both, this one is checked (RFC 8489 §9.2.4).
                    Some((Integrity::Sha1, _)) => integrity = Some((Integrity::Sha256, offset)),
                    Some((Integrity::Sha256, _)) => {}
                },
                _ => {}
            }
            offset = next;
        }
        if let Some((next, value)) = fingerprint
            && (next != frame.len() || !fingerprint_matches(frame, value))
        {
            return Err(MessageError::Fingerprint);
        }
        let mut id = TransactionId::default();
        id.0.copy_from_slice(&frame[8..MESSAGE_HEADER_LEN]);
        Ok(Self {
            head: Head {
                typ: MessageType::from_value(u16::from_be_bytes([frame[0], frame[1]])),
                id,
                fingerprint: fingerprint.is_some(),
                sha256: matches!(integrity, Some((Integrity::Sha256, _))),
            },
            frame,
            end,
            integrity,
        })
    }

    /// The part that a response repeats.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Every attribute that shows; the first that signs the message is the last.
    pub fn attributes(&self) -> impl Iterator<Item = (AttributeType, &'a [u8])> + use<'a> {
        // No attribute of a message that was parsed is malformed.
        attributes(self.as_bytes()).flatten()
    }

    /// The value of the first attribute of a type (RFC 8489 §14: later ones are ignored).
    #[must_use]
    pub fn get(&self, typ: AttributeType) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(own, value)| (own == typ).then_some(value))
    }

    /// Whether there is an attribute of a type.
    #[must_use]
    pub fn contains(&self, typ: AttributeType) -> bool {
        self.get(typ).is_some()
    }

    /// Whether there is a MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.integrity.is_some()
    }

    /// The attribute that is checked, the header and attributes that it covers, and its value.
    pub(super) fn signed(&self) -> Option<(Integrity, &'a [u8], &'a [u8])> {
        let (integrity, offset) = self.integrity?;
        let (signed, attribute) = self.frame.split_at_checked(offset)?;
        let (_, value, _) = split_attribute(attribute)?;
        Some((integrity, signed, value))
    }

    /// The message without the attributes that do not show.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        &self.frame[..self.end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encoder::Encoder;
    use crate::wire::integrity;
    use crate::wire::numbers::ErrorCode;
    use crate::wire::response::{ErrorResponse, Trailer};
    use stun::fingerprint::FINGERPRINT;
    use stun::message::{BINDING_REQUEST, Setter};
    use stun::textattrs::TextAttribute;

    fn request(setters: &[Box<dyn Setter>]) -> stun::message::Message {
        let mut message = stun::message::Message::new();
        message.build(setters).unwrap();
        message
    }

    fn read(bytes: &[u8]) -> Result<bool, MessageError> {
        Message::parse(bytes).map(|message| message.head().fingerprint)
    }

    fn binding() -> stun::message::Message {
        request(&[Box::new(BINDING_REQUEST), Box::new(FINGERPRINT)])
    }

    #[test]
    fn s1_s3_what_is_not_a_message_is_refused() {
        let good = binding().raw;
        let damaged = |at: usize, to: u8| {
            let mut bytes = good.clone();
            bytes[at] = to;
            read(&bytes)
        };
        assert_eq!(read(&good), Ok(true));
        assert_eq!(damaged(0, 0x40), Err(MessageError::Type));
        assert_eq!(damaged(0, 0x80), Err(MessageError::Type));
        assert_eq!(damaged(3, 9), Err(MessageError::Length));
        assert_eq!(damaged(3, 12), Err(MessageError::Length));
        assert_eq!(damaged(4, 0), Err(MessageError::Cookie));
        assert_eq!(damaged(23, 5), Err(MessageError::Attribute));
        assert_eq!(damaged(27, !good[27]), Err(MessageError::Fingerprint));
        assert_eq!(read(&good[..19]), Err(MessageError::Length));
        assert_eq!(read(&[]), Err(MessageError::Length));
    }

    #[test]
    fn s1_surplus_bytes_behind_the_message_are_ignored() {
        let mut bytes = binding().raw;
        bytes.extend_from_slice(b"more");
        assert_eq!(read(&bytes), Ok(true));
    }

    #[test]
    fn s5_a_fingerprint_must_come_last() {
        let mut message = binding();
        message.add(stun::attributes::AttrType(0x8022), b"late");
        assert_eq!(read(&message.raw), Err(MessageError::Fingerprint));
    }

    #[test]
    fn s8_what_follows_integrity_is_left_out() {
        let mut message = request(&[
            Box::new(BINDING_REQUEST),
            Box::new(stun::integrity::MessageIntegrity(vec![7; 16])),
        ]);
        message.add(stun::attributes::AttrType(0x7FFF), b"late");
        let got = Message::parse(&message.raw).unwrap();
        assert!(!got.head().fingerprint);
        assert_eq!(got.attributes().count(), 1);
        assert!(integrity::verify(&got, &[7; 16]));
    }

    #[test]
    fn attributes_agree_with_the_stun_crate() {
        let message = request(&[
            Box::new(BINDING_REQUEST),
            Box::new(TextAttribute::new(
                stun::attributes::ATTR_REALM,
                "odd".into(),
            )),
            Box::new(FINGERPRINT),
        ]);
        let parsed = Message::parse(&message.raw).unwrap();
        let ours: Vec<_> = parsed.attributes().map(|(typ, v)| (typ.0, v)).collect();
        let theirs: Vec<_> = message
            .attributes
            .0
            .iter()
            .map(|a| (a.typ.value(), &a.value[..]))
            .collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn s9_padding_sent_is_zero() {
        let mut message = request(&[Box::new(BINDING_REQUEST)]);
        message.encode();
        let head = *Message::parse(&message.raw).unwrap().head();
        let mut reply = Vec::new();
        ErrorResponse::new(ErrorCode::BAD_REQUEST).encode(&head, &Trailer::default(), &mut reply);
        assert_eq!(&reply[20..24], &[0, 9, 0, 15]);
        assert_eq!(&reply[24..], b"\0\0\x04\0Bad Request\0");
    }

    #[test]
    fn a_message_is_appended_to_the_buffer_of_the_caller() {
        let typ = MessageType::from_value(0x0001);
        let mut buffer = b"before".to_vec();
        let mut encoder = Encoder::new(&mut buffer, typ, TransactionId([7; 12]));
        encoder.attribute(AttributeType::SOFTWARE, b"odd");
        encoder.sign(b"key");
        encoder.fingerprint();
        let message = Message::parse(&buffer[6..]).unwrap();
        assert_eq!(message.head().id, TransactionId([7; 12]));
        assert!(message.head().fingerprint);
        assert!(integrity::verify(&message, b"key"));
        let mut theirs = stun::message::Message::new();
        theirs.unmarshal_binary(&buffer[6..]).unwrap();
        stun::integrity::MessageIntegrity(b"key".to_vec())
            .check(&mut theirs)
            .unwrap();
        FINGERPRINT.check(&theirs).unwrap();
    }
}
