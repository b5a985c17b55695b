//! STUN messages: made, signed and read with the `stun` crate.

use std::net::SocketAddr;

use stun::agent::TransactionId;
use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType, RawAttribute};
use stun::error_code::ErrorCodeAttribute;
use stun::integrity::MessageIntegrity;
use stun::message::{CLASS_REQUEST, Getter, Message, MessageType, Method, Setter};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;

pub(crate) type Attributes = Vec<Box<dyn Setter>>;

/// What a client signs with.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) realm: String,
    pub(crate) nonce: String,
    pub(crate) integrity: MessageIntegrity,
}

impl Login {
    /// With the realm and the nonce of a 401 or 438.
    pub(crate) fn answer(challenge: &Message, user: &str, password: &str) -> Self {
        let text = |attribute| {
            TextAttribute::get_from_as(challenge, attribute)
                .unwrap()
                .text
        };
        let (realm, nonce) = (text(ATTR_REALM), text(ATTR_NONCE));
        let integrity =
            MessageIntegrity::new_long_term_integrity(user.into(), realm.clone(), password.into());
        Self {
            user: user.into(),
            realm,
            nonce,
            integrity,
        }
    }

    /// A request with these attributes, signed.
    pub(crate) fn sign(&self, method: Method, mut attributes: Attributes) -> Message {
        attributes.extend(self.credentials());
        attributes.push(Box::new(self.integrity.clone()));
        request(method, attributes)
    }

    /// USERNAME, REALM and NONCE.
    pub(crate) fn credentials(&self) -> Attributes {
        let text = |attribute, text: &String| -> Box<dyn Setter> {
            Box::new(TextAttribute::new(attribute, text.clone()))
        };
        vec![
            text(ATTR_USERNAME, &self.user),
            text(ATTR_REALM, &self.realm),
            text(ATTR_NONCE, &self.nonce),
        ]
    }

    pub(crate) fn expect_signed(&self, reply: &mut Message) {
        self.integrity
            .check(reply)
            .unwrap_or_else(|error| panic!("signature of {reply}: {error}"));
    }
}

/// A request with a fresh transaction id and these attributes.
pub(crate) fn request(method: Method, attributes: Attributes) -> Message {
    message(MessageType::new(method, CLASS_REQUEST), attributes)
}

/// A message with a fresh transaction id and these attributes.
pub(crate) fn message(typ: MessageType, attributes: Attributes) -> Message {
    let mut setters: Attributes = vec![Box::new(TransactionId::new()), Box::new(typ)];
    setters.extend(attributes);
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message
}

/// An attribute of any type and value.
pub(crate) fn raw(typ: AttrType, value: &[u8]) -> Box<dyn Setter> {
    Box::new(RawAttribute {
        typ,
        length: 0,
        value: value.to_vec(),
    })
}

pub(crate) fn decode(bytes: &[u8]) -> Message {
    let mut message = Message::new();
    message
        .unmarshal_binary(bytes)
        .unwrap_or_else(|error| panic!("not a STUN message ({error}): {bytes:02x?}"));
    message
}

pub(crate) fn error_code(message: &Message) -> Option<u16> {
    let mut attribute = ErrorCodeAttribute::default();
    attribute.get_from(message).ok()?;
    Some(attribute.code.0)
}

pub(crate) fn xor_address(message: &Message, attribute: AttrType) -> Option<SocketAddr> {
    let mut address = XorMappedAddress::default();
    address.get_from_as(message, attribute).ok()?;
    Some(SocketAddr::new(address.ip, address.port))
}
