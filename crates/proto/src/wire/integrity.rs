//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256: an HMAC of the message up to the attribute, with a
//! length field that counts the attribute in (RFC 8489 §14.5 and §14.6).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

use super::message::{Integrity, Message};
use super::numbers::{ATTRIBUTE_HEADER_LEN, MESSAGE_HEADER_LEN};

/// Bytes of an HMAC-SHA1.
pub(super) const MAC_LEN: usize = 20;

/// Bytes of an HMAC-SHA256.
pub const SHA256_MAC_LEN: usize = 32;

/// Whether a message was signed with `key`: its first MESSAGE-INTEGRITY-SHA256 where it has one that
/// counts, else its first MESSAGE-INTEGRITY. Attributes that follow do not matter.
#[must_use]
pub fn verify(message: &Message<'_>, key: &[u8]) -> bool {
    // A value of another length must not be compared in part. A shorter HMAC-SHA256 is for usages
    // that allow it (RFC 8489 §14.6), which TURN does not.
    match message.signed() {
        Some((Integrity::Sha1, signed, value)) if value.len() == MAC_LEN => {
            sha1(signed, key).verify_slice(value).is_ok()
        }
        Some((Integrity::Sha256, signed, value)) if value.len() == SHA256_MAC_LEN => {
            sha256(signed, key).verify_slice(value).is_ok()
        }
        _ => false,
    }
}

/// MESSAGE-INTEGRITY of `message`: header and attributes so far, and nothing else.
pub(super) fn signature(message: &[u8], key: &[u8]) -> [u8; MAC_LEN] {
    sha1(message, key).finalize().into_bytes().into()
}

/// MESSAGE-INTEGRITY-SHA256 of `message`: header and attributes so far, and nothing else.
#[must_use]
pub fn signature_sha256(message: &[u8], key: &[u8]) -> [u8; SHA256_MAC_LEN] {
    sha256(message, key).finalize().into_bytes().into()
}

fn sha1(message: &[u8], key: &[u8]) -> Hmac<Sha1> {
    let mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104 §3)");
    updated(mac, message, MAC_LEN)
}

fn sha256(message: &[u8], key: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104 §3)");
    updated(mac, message, SHA256_MAC_LEN)
}

fn updated<M: Mac>(mut mac: M, message: &[u8], mac_len: usize) -> M {
    let with_signature = message.len() - MESSAGE_HEADER_LEN + ATTRIBUTE_HEADER_LEN + mac_len;
    // A message that was parsed is no longer than its 16-bit length says.
    mac.update(&message[..2]);
    mac.update(&(with_signature as u16).to_be_bytes());
    mac.update(&message[4..]);
    mac
}

#[cfg(test)]
mod tests;
