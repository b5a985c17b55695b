//! MESSAGE-INTEGRITY (RFC 8489 §14.5).

use stun::attributes::{ATTR_MESSAGE_INTEGRITY, AttrType, RawAttribute};
use stun::integrity::MessageIntegrity;
use stun::message::{ATTRIBUTE_HEADER_SIZE, MESSAGE_HEADER_SIZE, Message, Setter};
use zeroize::Zeroize;

use super::key::Key;

/// The length of an HMAC-SHA1.
const MAC_LEN: usize = 20;

/// The attributes that MESSAGE-INTEGRITY protects: those before the first one (S8).
///
/// `None` when the message has no MESSAGE-INTEGRITY.
pub(super) fn protected(msg: &Message) -> Option<&[RawAttribute]> {
    position(msg).map(|mi| &msg.attributes.0[..mi])
}

/// The value of the first attribute of a type (S9).
pub(super) fn find(attributes: &[RawAttribute], typ: AttrType) -> Option<&[u8]> {
    attributes
        .iter()
        .find(|attribute| attribute.typ == typ)
        .map(|attribute| attribute.value.as_slice())
}

fn position(msg: &Message) -> Option<usize> {
    msg.attributes
        .0
        .iter()
        .position(|attribute| attribute.typ == ATTR_MESSAGE_INTEGRITY)
}

/// Whether the first MESSAGE-INTEGRITY of a decoded message was made with `key`.
///
/// The message is the same afterwards. Attributes that the caller took off its end do not
/// matter, and neither do those that follow MESSAGE-INTEGRITY.
#[must_use]
pub fn verify(msg: &mut Message, key: &Key) -> bool {
    let Some(mi) = position(msg) else {
        return false;
    };
    let end = MESSAGE_HEADER_SIZE
        + msg.attributes.0[..=mi]
            .iter()
            .map(|attribute| ATTRIBUTE_HEADER_SIZE + attribute.value.len().next_multiple_of(4))
            .sum::<usize>();
    // `stun` takes these two for granted when it slices the message.
    if msg.attributes.0[mi].value.len() != MAC_LEN || end > msg.raw.len() {
        return false;
    }
    let Ok(signed_length) = u32::try_from(end - MESSAGE_HEADER_SIZE) else {
        return false;
    };
    // `stun` finds the end of what was signed by counting back from the end of the message,
    // which is wrong once attributes have been taken off. Let it see none after this one.
    let length = msg.length;
    let after = msg.attributes.0.split_off(mi + 1);
    msg.length = signed_length;
    let genuine = Integrity::new(key).0.check(msg).is_ok();
    msg.attributes.0.extend(after);
    msg.length = length;
    msg.write_length();
    genuine
}

/// Adds MESSAGE-INTEGRITY; nothing but FINGERPRINT may be added afterwards.
///
/// # Errors
/// When the message has its FINGERPRINT already.
pub fn sign(msg: &mut Message, key: &Key) -> Result<(), stun::Error> {
    Integrity::new(key).0.add_to(msg)
}

/// A copy of a key for `stun`, overwritten when it is dropped.
struct Integrity(MessageIntegrity);

impl Integrity {
    fn new(key: &Key) -> Self {
        Self(MessageIntegrity(key.as_bytes().to_vec()))
    }
}

impl Drop for Integrity {
    fn drop(&mut self) {
        self.0.0.zeroize();
    }
}

#[cfg(test)]
mod tests;
