//! STUN messages over the `stun` crate: what RFC 8489 §6.3 wants checked before it decodes, and
//! replies.

use std::net::SocketAddr;

use crc::{CRC_32_ISO_HDLC, Crc};
use stun::addr::MappedAddress;
use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_ALTERNATE_SERVER, ATTR_ERROR_CODE, ATTR_FINGERPRINT, ATTR_MESSAGE_INTEGRITY,
    ATTR_UNKNOWN_ATTRIBUTES, AttrType,
};
use stun::error_code::{self, ErrorCode};
use stun::fingerprint::{FINGERPRINT, FINGERPRINT_XOR_VALUE};
use stun::message::{
    ATTRIBUTE_HEADER_SIZE, CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, MAGIC_COOKIE,
    MESSAGE_HEADER_SIZE, Message, MessageClass, MessageType, Method, Setter,
};

use crate::auth::{integrity, key::Key};

/// Why a datagram is not a STUN message; none of these is answered (S1, S3, S5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than a header, or than its length field says, or that is not a multiple of four.
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
/// [`Malformed`], in the RFC's order.
pub fn frame(datagram: &[u8]) -> Result<&[u8], Malformed> {
    let header = datagram
        .get(..MESSAGE_HEADER_SIZE)
        .ok_or(Malformed::Length)?;
    if header[0] & 0xC0 != 0 {
        return Err(Malformed::Type);
    }
    if header[4..8] != MAGIC_COOKIE.to_be_bytes() {
        return Err(Malformed::Cookie);
    }
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if !len.is_multiple_of(4) {
        return Err(Malformed::Length);
    }
    datagram
        .get(..MESSAGE_HEADER_SIZE + len)
        .ok_or(Malformed::Length)
}

/// The type and value of every attribute of a framed message, without allocation.
///
/// Ends early with `Err` at an attribute that reaches beyond the message.
pub fn attributes(frame: &[u8]) -> impl Iterator<Item = Result<(AttrType, &[u8]), Malformed>> {
    let mut rest = frame.get(MESSAGE_HEADER_SIZE..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = split_attribute(rest);
        rest = next.as_ref().map_or(&[], |(_, _, rest)| rest);
        Some(
            next.map(|(typ, value, _)| (typ, value))
                .ok_or(Malformed::Attribute),
        )
    })
}

fn split_attribute(bytes: &[u8]) -> Option<(AttrType, &[u8], &[u8])> {
    let (header, rest) = bytes.split_at_checked(ATTRIBUTE_HEADER_SIZE)?;
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let rest_after = rest.get(len.next_multiple_of(4)..)?;
    Some((
        AttrType(u16::from_be_bytes([header[0], header[1]])),
        &rest[..len],
        rest_after,
    ))
}

/// Checks the FINGERPRINT at the end of a framed message, given its value (RFC 8489 §14.7).
///
/// The caller has made sure that the attribute is the last one.
#[must_use]
pub fn fingerprint_matches(frame: &[u8], value: &[u8]) -> bool {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    const LEN: usize = ATTRIBUTE_HEADER_SIZE + 4;
    let Some(covered) = frame.len().checked_sub(LEN) else {
        return false;
    };
    value == (CRC.checksum(&frame[..covered]) ^ FINGERPRINT_XOR_VALUE).to_be_bytes()
}

/// What a response repeats of its request.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Method and class.
    pub typ: MessageType,
    /// The transaction.
    pub id: TransactionId,
    /// There was a FINGERPRINT, for the response to mirror (S5).
    pub fingerprint: bool,
}

/// Decodes the message at the start of `datagram` into `message`, whose buffers are reused.
///
/// Attributes behind MESSAGE-INTEGRITY are left out of `message.attributes` (S8).
///
/// # Errors
/// See [`Malformed`]; `message` then holds nothing of use.
pub fn decode(datagram: &[u8], message: &mut Message) -> Result<Head, Malformed> {
    let frame = frame(datagram)?;
    message.raw.clear();
    message.raw.extend_from_slice(frame);
    message.decode().map_err(|_| Malformed::Attribute)?;

    let fingerprint = message
        .attributes
        .0
        .iter()
        .position(|a| a.typ == ATTR_FINGERPRINT);
    if let Some(at) = fingerprint {
        let last = at + 1 == message.attributes.0.len();
        if !last || !fingerprint_matches(frame, &message.attributes.0[at].value) {
            return Err(Malformed::Fingerprint);
        }
    }
    if let Some(at) = message
        .attributes
        .0
        .iter()
        .position(|a| a.typ == ATTR_MESSAGE_INTEGRITY)
    {
        message.attributes.0.truncate(at + 1);
    }
    Ok(Head {
        typ: message.typ,
        id: message.transaction_id,
        fingerprint: fingerprint.is_some(),
    })
}

/// A response under construction; attributes come in the order in which they are added.
pub struct Reply {
    message: Message,
    code: u16,
    fingerprint: bool,
}

impl Reply {
    fn new(request: &Head, class: MessageClass) -> Self {
        let mut message = Message::new();
        message.transaction_id = request.id;
        message.typ = MessageType::new(request.typ.method, class);
        message.write_header();
        Self {
            message,
            code: 0,
            fingerprint: request.fingerprint,
        }
    }

    /// A success response to `request`.
    #[must_use]
    pub fn success(request: &Head) -> Self {
        Self::new(request, CLASS_SUCCESS_RESPONSE)
    }

    /// An error response to `request` with the code's usual reason phrase.
    #[must_use]
    pub fn error(request: &Head, code: ErrorCode) -> Self {
        let mut reply = Self::new(request, CLASS_ERROR_RESPONSE);
        let [class, number] = [code.0 / 100, code.0 % 100].map(|part| part as u8);
        let mut value = vec![0, 0, class, number];
        value.extend_from_slice(reason(code).as_bytes());
        reply.message.add(ATTR_ERROR_CODE, &value);
        reply.code = code.0;
        reply
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.message.typ.method
    }

    /// The error code; 0 for a success response.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Adds an attribute.
    ///
    /// Setters of what turnd sends fail only on text that is too long, and the configuration
    /// keeps texts short; such an attribute would be left out.
    #[must_use]
    pub fn with(mut self, attribute: &impl Setter) -> Self {
        let added = attribute.add_to(&mut self.message);
        debug_assert!(added.is_ok(), "{added:?}");
        self
    }

    /// Adds UNKNOWN-ATTRIBUTES (RFC 8489 §14.13).
    #[must_use]
    pub fn with_unknown(mut self, types: &[AttrType]) -> Self {
        let value: Vec<u8> = types.iter().flat_map(|t| t.value().to_be_bytes()).collect();
        self.message.add(ATTR_UNKNOWN_ATTRIBUTES, &value);
        self
    }

    /// Adds ALTERNATE-SERVER (RFC 8489 §14.15).
    #[must_use]
    pub fn with_alternate(mut self, server: SocketAddr) -> Self {
        let (ip, port) = (server.ip(), server.port());
        let added = MappedAddress { ip, port }.add_to_as(&mut self.message, ATTR_ALTERNATE_SERVER);
        debug_assert!(added.is_ok(), "{added:?}");
        self
    }

    /// Signs with `key` if there is one, adds FINGERPRINT if the request had one or it is
    /// `always` wanted, and gives the bytes.
    #[must_use]
    pub fn finish(mut self, key: Option<&Key>, always: bool) -> Vec<u8> {
        if let Some(key) = key {
            // Fails only behind a FINGERPRINT, which is added below.
            let signed = integrity::sign(&mut self.message, key);
            debug_assert!(signed.is_ok(), "{signed:?}");
        }
        if self.fingerprint || always {
            self = self.with(&FINGERPRINT);
        }
        self.message.raw
    }
}

/// The reason phrase of an error code (RFC 8489 §14.8, RFC 8656 §19).
#[must_use]
pub fn reason(code: ErrorCode) -> &'static str {
    match code {
        error_code::CODE_TRY_ALTERNATE => "Try Alternate",
        error_code::CODE_BAD_REQUEST => "Bad Request",
        // Nothing, as this is the reply that can be had with a forged address.
        error_code::CODE_UNAUTHORIZED => "",
        error_code::CODE_FORBIDDEN => "Forbidden",
        // Shorter than the registry has it: to a Binding request of 24 bytes it is much already.
        error_code::CODE_UNKNOWN_ATTRIBUTE => "Unknown",
        error_code::CODE_ALLOC_MISMATCH => "Allocation Mismatch",
        error_code::CODE_STALE_NONCE => "Stale Nonce",
        error_code::CODE_ADDR_FAMILY_NOT_SUPPORTED => "Address Family not Supported",
        error_code::CODE_WRONG_CREDENTIALS => "Wrong Credentials",
        error_code::CODE_UNSUPPORTED_TRANS_PROTO => "Unsupported Transport Protocol",
        error_code::CODE_PEER_ADDR_FAMILY_MISMATCH => "Peer Address Family Mismatch",
        error_code::CODE_CONN_ALREADY_EXISTS => "Connection Already Exists",
        error_code::CODE_CONN_TIMEOUT_OR_FAILURE => "Connection Timeout or Failure",
        error_code::CODE_ALLOC_QUOTA_REACHED => "Allocation Quota Reached",
        error_code::CODE_INSUFFICIENT_CAPACITY => "Insufficient Capacity",
        _ => "Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stun::message::BINDING_REQUEST;
    use stun::textattrs::TextAttribute;

    fn request(setters: &[Box<dyn Setter>]) -> Message {
        let mut message = Message::new();
        message.build(setters).unwrap();
        message
    }

    fn read(bytes: &[u8]) -> Result<bool, Malformed> {
        decode(bytes, &mut Message::new()).map(|head| head.fingerprint)
    }

    fn binding() -> Message {
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
        assert_eq!(damaged(0, 0x40), Err(Malformed::Type));
        assert_eq!(damaged(0, 0x80), Err(Malformed::Type));
        assert_eq!(damaged(3, 9), Err(Malformed::Length));
        assert_eq!(damaged(3, 12), Err(Malformed::Length));
        assert_eq!(damaged(4, 0), Err(Malformed::Cookie));
        assert_eq!(damaged(23, 5), Err(Malformed::Attribute));
        assert_eq!(damaged(27, !good[27]), Err(Malformed::Fingerprint));
        assert_eq!(read(&good[..19]), Err(Malformed::Length));
        assert_eq!(read(&[]), Err(Malformed::Length));
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
        message.add(AttrType(0x8022), b"late");
        assert_eq!(read(&message.raw), Err(Malformed::Fingerprint));
    }

    #[test]
    fn s8_what_follows_integrity_is_left_out() {
        let key = Key::from_password("a", "b", "c").unwrap();
        let mut message = request(&[Box::new(BINDING_REQUEST)]);
        integrity::sign(&mut message, &key).unwrap();
        message.add(AttrType(0x7FFF), b"late");
        let mut got = Message::new();
        assert!(!decode(&message.raw, &mut got).unwrap().fingerprint);
        assert_eq!(got.attributes.0.len(), 1);
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
        let ours: Vec<_> = attributes(&message.raw).map(|a| a.unwrap()).collect();
        let theirs: Vec<_> = message
            .attributes
            .0
            .iter()
            .map(|a| (a.typ, &a.value[..]))
            .collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn s9_padding_sent_is_zero() {
        let mut message = request(&[Box::new(BINDING_REQUEST)]);
        message.encode();
        let head = decode(&message.raw, &mut Message::new()).unwrap();
        let reply = Reply::error(&head, error_code::CODE_BAD_REQUEST).finish(None, false);
        assert_eq!(&reply[20..24], &[0, 9, 0, 15]);
        assert_eq!(&reply[24..], b"\0\0\x04\0Bad Request\0");
    }
}
