//! Messages of the `stun` crate, with which the client tools ask: reading, signing, checking.

use stun::attributes::{AttrType, RawAttribute};
use stun::integrity::MessageIntegrity;
use stun::message::{Message, Setter as _};
use turnd_proto::auth::key::Key;
use turnd_proto::wire;
use zeroize::Zeroize as _;

/// Decodes the message at the start of `datagram`; `None`: it is malformed, or its FINGERPRINT is
/// wrong.
pub(crate) fn decode(datagram: &[u8]) -> Option<Message> {
    let parsed = wire::message::Message::parse(datagram).ok()?;
    let mut message = Message::new();
    message
        .unmarshal_binary(wire::message::frame(datagram).ok()?)
        .ok()?;
    // Nobody vouches for what follows MESSAGE-INTEGRITY.
    message.attributes.0.truncate(parsed.attributes().count());
    Some(message)
}

/// Adds MESSAGE-INTEGRITY; nothing but FINGERPRINT may be added afterwards.
pub(crate) fn sign(message: &mut Message, key: &Key) -> Result<(), stun::Error> {
    let mut integrity = MessageIntegrity(key.as_bytes().to_vec());
    let signed = integrity.add_to(message);
    integrity.0.zeroize();
    signed
}

/// Whether a message that [`decode`] has read was signed with `key`.
pub(crate) fn verify(message: &Message, key: &Key) -> bool {
    wire::message::Message::parse(&message.raw)
        .is_ok_and(|message| wire::integrity::verify(&message, key.as_bytes()))
}

/// An attribute with this value.
pub(crate) fn attribute(typ: AttrType, value: &[u8]) -> RawAttribute {
    RawAttribute {
        typ,
        length: u16::try_from(value.len()).unwrap_or(u16::MAX),
        value: value.to_vec(),
    }
}
