//! STUN messages: made, signed and read with the `stun` crate.

use std::net::SocketAddr;
use std::time::Duration;

use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, ATTR_XOR_RELAYED_ADDRESS, AttrType, RawAttribute,
};
use stun::error_code::ErrorCodeAttribute;
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter,
    METHOD_SEND, Message, MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use turn::proto::PROTO_UDP;
use turn::proto::data::Data;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqtrans::RequestedTransport;
use turnd_proto::wire::channel_data;

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

    /// The same with another password.
    pub(crate) fn with_password(self, password: &str) -> Self {
        let (user, realm) = (self.user.clone(), self.realm.clone());
        let integrity = MessageIntegrity::new_long_term_integrity(user, realm, password.to_owned());
        Self { integrity, ..self }
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
            // As long as the test likes.
            raw(ATTR_USERNAME, self.user.as_bytes()),
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

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The error code of a response, or 200.
pub(crate) fn status(reply: &Message) -> u16 {
    match error_code(reply) {
        Some(code) => {
            assert_eq!(reply.typ.class, CLASS_ERROR_RESPONSE);
            code
        }
        None => {
            assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE);
            200
        }
    }
}

pub(crate) fn relayed_address(reply: &Message) -> SocketAddr {
    xor_address(reply, ATTR_XOR_RELAYED_ADDRESS)
        .unwrap_or_else(|| panic!("no relayed address in {reply}"))
}

/// REQUESTED-TRANSPORT: UDP.
pub(crate) fn transport() -> Box<dyn Setter> {
    Box::new(RequestedTransport {
        protocol: PROTO_UDP,
    })
}

pub(crate) fn lifetime(seconds: u32) -> Box<dyn Setter> {
    Box::new(Lifetime(Duration::from_secs(seconds.into())))
}

/// XOR-PEER-ADDRESS.
pub(crate) fn peer(text: &str) -> Box<dyn Setter> {
    let peer = addr(text);
    Box::new(PeerAddress {
        ip: peer.ip(),
        port: peer.port(),
    })
}

pub(crate) const fn indication(method: Method) -> MessageType {
    MessageType {
        method,
        class: CLASS_INDICATION,
    }
}

/// A Send indication.
pub(crate) fn send(to: &str, data: &[u8]) -> Message {
    let attributes: Attributes = vec![peer(to), Box::new(Data(data.to_vec()))];
    message(indication(METHOD_SEND), attributes)
}

pub(crate) fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = channel_data::header(number, data.len().try_into().unwrap()).to_vec();
    bytes.extend_from_slice(data);
    bytes
}
