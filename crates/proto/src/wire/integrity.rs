//! MESSAGE-INTEGRITY: an HMAC-SHA1 of the message up to the attribute, with a length field that
//! counts the attribute in (RFC 8489 §14.5).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::message::Message;
use super::numbers::{ATTRIBUTE_HEADER_LEN, MESSAGE_HEADER_LEN};

/// Bytes of an HMAC-SHA1.
pub(super) const MAC_LEN: usize = 20;

/// Whether the first MESSAGE-INTEGRITY of a message was made with `key`. Attributes that follow
/// it do not matter.
#[must_use]
pub fn verify(message: &Message<'_>, key: &[u8]) -> bool {
    let Some((signed, value)) = message.signed() else {
        return false;
    };
    // A value of another length must not be compared in part.
    value.len() == MAC_LEN && mac(signed, key).verify_slice(value).is_ok()
}

/// The signature of `message`: header and attributes so far, and nothing else.
pub(super) fn signature(message: &[u8], key: &[u8]) -> [u8; MAC_LEN] {
    mac(message, key).finalize().into_bytes().into()
}

fn mac(message: &[u8], key: &[u8]) -> Hmac<Sha1> {
    let mut mac =
        Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes a key of any length (RFC 2104 §3)");
    let with_signature = message.len() - MESSAGE_HEADER_LEN + ATTRIBUTE_HEADER_LEN + MAC_LEN;
    // A message that was parsed is no longer than its 16-bit length says.
    mac.update(&message[..2]);
    mac.update(&(with_signature as u16).to_be_bytes());
    mac.update(&message[4..]);
    mac
}

#[cfg(test)]
mod tests;
