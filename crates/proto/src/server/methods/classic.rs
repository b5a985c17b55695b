//! Responses of RFC 3489: like STUN's, with 16 bytes of transaction id and no cookie.

use std::net::SocketAddr;

use stun::attributes::{ATTR_ERROR_CODE, ATTR_UNKNOWN_ATTRIBUTES, AttrType};
use stun::error_code::ErrorCode;
use stun::message::{BINDING_ERROR, BINDING_SUCCESS, MESSAGE_HEADER_SIZE, MessageType};

use super::super::refusal::Refusal;
use crate::wire::address;
use crate::wire::message::reason;

/// A response under construction.
pub(super) struct ClassicReply(Vec<u8>);

impl ClassicReply {
    /// A response to a request, of which `frame` begins with the whole header.
    fn new(frame: &[u8], typ: MessageType) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&typ.value().to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&frame[4..MESSAGE_HEADER_SIZE]);
        Self(bytes)
    }

    pub(super) fn success(frame: &[u8]) -> Self {
        Self::new(frame, BINDING_SUCCESS)
    }

    /// ERROR-CODE and UNKNOWN-ATTRIBUTES of `refusal` (RFC 3489 §11.2.9, §11.2.10).
    pub(super) fn error(frame: &[u8], refusal: &Refusal) -> Self {
        let mut reply = Self::new(frame, BINDING_ERROR);
        let mut value = vec![0, 0, (refusal.code / 100) as u8, (refusal.code % 100) as u8];
        value.extend_from_slice(reason(ErrorCode(refusal.code)).as_bytes());
        // Attributes and their texts are multiples of four bytes long.
        value.resize(value.len().next_multiple_of(4), b' ');
        reply.push(ATTR_ERROR_CODE, &value);
        let mut types = refusal.unknown.clone();
        if types.len() % 2 == 1 {
            // An odd one is repeated.
            types.extend_from_within(types.len() - 1..);
        }
        if !types.is_empty() {
            let types: Vec<u8> = types.iter().flat_map(|t| t.value().to_be_bytes()).collect();
            reply.push(ATTR_UNKNOWN_ATTRIBUTES, &types);
        }
        reply
    }

    pub(super) fn with(mut self, typ: AttrType, addr: SocketAddr) -> Self {
        let mut value = [0; address::MAX_LEN];
        let len = address::encode_plain(addr, &mut value);
        self.push(typ, &value[..len]);
        self
    }

    fn push(&mut self, typ: AttrType, value: &[u8]) {
        debug_assert!(value.len().is_multiple_of(4));
        self.0.extend_from_slice(&typ.value().to_be_bytes());
        self.0
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.0.extend_from_slice(value);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let len = (self.0.len() - MESSAGE_HEADER_SIZE) as u16;
        self.0[2..4].copy_from_slice(&len.to_be_bytes());
        self.0
    }
}
