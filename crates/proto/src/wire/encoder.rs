//! Writing a STUN message.

use std::net::SocketAddr;

use super::address;
use super::integrity::{signature, signature_sha256};
use super::message::fingerprint;
use super::numbers::{
    ATTRIBUTE_HEADER_LEN, AttributeType, MAGIC_COOKIE, MESSAGE_HEADER_LEN, MessageType,
    TransactionId,
};

/// A message that grows at the end of the caller's buffer; its length field is right at any time.
#[derive(Debug)]
pub struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    /// Offset of the message's first byte.
    start: usize,
    id: TransactionId,
}

impl<'a> Encoder<'a> {
    /// A message without attributes.
    pub fn new(out: &'a mut Vec<u8>, typ: MessageType, id: TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&typ.value().to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&id.0);
        Self { out, start, id }
    }

    /// Adds an attribute with its padding. One that would make the message longer than its length
    /// field can say is left out.
    pub fn attribute(&mut self, typ: AttributeType, value: &[u8]) {
        let before = self.out.len() - self.start - MESSAGE_HEADER_LEN;
        let after = before + ATTRIBUTE_HEADER_LEN + value.len().next_multiple_of(4);
        let Ok(len) = u16::try_from(after) else {
            debug_assert!(false, "an attribute of {} bytes", value.len());
            return;
        };
        self.out.extend_from_slice(&typ.0.to_be_bytes());
        self.out
            .extend_from_slice(&(value.len() as u16).to_be_bytes());
        self.out.extend_from_slice(value);
        self.out.resize(self.start + MESSAGE_HEADER_LEN + after, 0);
        self.set_length(len);
    }

    /// Adds an XOR-…-ADDRESS.
    pub fn xor_address(&mut self, typ: AttributeType, addr: SocketAddr) {
        let mut value = [0; address::MAX_LEN];
        let len = address::encode_xor(addr, &self.id, &mut value);
        self.attribute(typ, &value[..len]);
    }

    /// Adds MAPPED-ADDRESS or its like.
    pub fn plain_address(&mut self, typ: AttributeType, addr: SocketAddr) {
        let mut value = [0; address::MAX_LEN];
        let len = address::encode_plain(addr, &mut value);
        self.attribute(typ, &value[..len]);
    }

    /// Adds MESSAGE-INTEGRITY; nothing but FINGERPRINT may follow.
    pub fn sign(&mut self, key: &[u8]) {
        let signature = signature(&self.out[self.start..], key);
        self.attribute(AttributeType::MESSAGE_INTEGRITY, &signature);
    }

    /// Adds MESSAGE-INTEGRITY-SHA256; nothing but FINGERPRINT may follow.
    pub fn sign_sha256(&mut self, key: &[u8]) {
        let signature = signature_sha256(&self.out[self.start..], key);
        self.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256, &signature);
    }

    /// Adds FINGERPRINT; nothing may follow.
    pub fn fingerprint(&mut self) {
        // The checksum covers a length field that counts the attribute in.
        self.attribute(AttributeType::FINGERPRINT, &[0; 4]);
        let value = self.out.len() - 4;
        let checksum = fingerprint(&self.out[self.start..value - ATTRIBUTE_HEADER_LEN]);
        self.out[value..].copy_from_slice(&checksum);
    }

    fn set_length(&mut self, len: u16) {
        self.out[self.start + 2..self.start + 4].copy_from_slice(&len.to_be_bytes());
    }
}
