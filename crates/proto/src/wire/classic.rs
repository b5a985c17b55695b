//! Binding of RFC 3489: like STUN's, with 16 bytes of transaction id and no cookie.

use std::net::SocketAddr;

use super::address;
use super::discovery::ChangeRequest;
use super::message::attributes;
use super::numbers::{AttributeType, Class, ErrorCode, MESSAGE_HEADER_LEN, MessageType, Method};
use super::request::{BadAttribute, Field, UnknownAttributes};
use super::response::error_code;

const REQUEST: MessageType = MessageType::new(Method::BINDING, Class::Request);

/// A Binding request of RFC 3489.
#[derive(Clone, Debug)]
pub struct ClassicBinding<'a> {
    /// The header, which the response repeats from its fifth byte on.
    header: &'a [u8],
    /// CHANGE-REQUEST; of several, the last.
    pub change_request: Field<ChangeRequest>,
    /// Attributes that are not understood, and CHANGE-REQUEST if it asks for a change.
    /// RESPONSE-ADDRESS is one of them: it would have the server send to anybody.
    pub conditional: UnknownAttributes,
}

impl<'a> ClassicBinding<'a> {
    /// Reads the one request that `bytes` begin with; `None`: there is none, or a malformed one.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..MESSAGE_HEADER_LEN)?;
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let frame = bytes.get(..MESSAGE_HEADER_LEN + len)?;
        if header[..2] != REQUEST.value().to_be_bytes() || !len.is_multiple_of(4) {
            return None;
        }
        let mut change_request = Ok(None);
        let mut conditional = UnknownAttributes::default();
        for attribute in attributes(frame) {
            let (typ, value) = attribute.ok()?;
            if typ == AttributeType::CHANGE_REQUEST {
                let change = ChangeRequest::decode(value).ok_or(BadAttribute(typ));
                if change.is_ok_and(|change| !change.is_none()) {
                    conditional.push(typ);
                }
                change_request = change_request.and(change.map(Some));
            } else if !typ.is_understood() {
                conditional.push(typ);
            }
        }
        Some(Self {
            header,
            change_request,
            conditional,
        })
    }

    /// Appends the success response (RFC 3489 §8.1), with SOURCE-ADDRESS and CHANGED-ADDRESS if
    /// the server has another address.
    pub fn encode_success(
        &self,
        mapped: SocketAddr,
        source_and_changed: Option<(SocketAddr, SocketAddr)>,
        out: &mut Vec<u8>,
    ) {
        let start = self.encode_header(Class::Success, out);
        push_address(AttributeType::MAPPED_ADDRESS, mapped, out);
        if let Some((source, changed)) = source_and_changed {
            push_address(AttributeType::SOURCE_ADDRESS, source, out);
            push_address(AttributeType::CHANGED_ADDRESS, changed, out);
        }
        write_length(start, out);
    }

    /// Appends an error response with ERROR-CODE, and UNKNOWN-ATTRIBUTES unless there are none
    /// (RFC 3489 §11.2.9, §11.2.10).
    pub fn encode_error(&self, code: ErrorCode, unknown: &[AttributeType], out: &mut Vec<u8>) {
        let start = self.encode_header(Class::Error, out);
        let mut value = error_code(code);
        // Attributes and their texts are multiples of four bytes long.
        value.resize(value.len().next_multiple_of(4), b' ');
        push(AttributeType::ERROR_CODE, &value, out);
        if let Some(last) = unknown.last() {
            // RFC 3489 §11.2.10: an odd list repeats one type.
            let repeated = (unknown.len() % 2 == 1).then_some(last);
            let types = unknown.iter().chain(repeated);
            let types: Vec<u8> = types.flat_map(|typ| typ.0.to_be_bytes()).collect();
            push(AttributeType::UNKNOWN_ATTRIBUTES, &types, out);
        }
        write_length(start, out);
    }

    fn encode_header(&self, class: Class, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let typ = MessageType::new(Method::BINDING, class);
        out.extend_from_slice(&typ.value().to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.header[4..]);
        start
    }
}

fn push_address(typ: AttributeType, addr: SocketAddr, out: &mut Vec<u8>) {
    let mut value = [0; address::MAX_LEN];
    let len = address::encode_plain(addr, &mut value);
    push(typ, &value[..len], out);
}

fn push(typ: AttributeType, value: &[u8], out: &mut Vec<u8>) {
    debug_assert!(value.len().is_multiple_of(4));
    out.extend_from_slice(&typ.0.to_be_bytes());
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

fn write_length(start: usize, out: &mut [u8]) {
    let len = (out.len() - start - MESSAGE_HEADER_LEN) as u16;
    out[start + 2..start + 4].copy_from_slice(&len.to_be_bytes());
}
