//! STUN messages as a test wants them, malformed ones too.

use std::net::SocketAddr;
use std::time::Duration;

use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, ATTR_XOR_RELAYED_ADDRESS};
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_SUCCESS_RESPONSE, Message, MessageType, Method,
    Setter,
};
use stun::textattrs::TextAttribute;
use turn::proto::channum::ChannelNumber;
use turnd_client::turn::message;

pub(crate) use turnd_client::turn::message::{
    Attributes, channel_data, error_code, message, raw, request, udp as transport, xor_address,
};

/// Credentials of a client, right or wrong as the test likes.
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

pub(crate) fn decode(bytes: &[u8]) -> Message {
    let mut message = Message::new();
    message
        .unmarshal_binary(bytes)
        .unwrap_or_else(|error| panic!("not a STUN message ({error}): {bytes:02x?}"));
    message
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

pub(crate) fn lifetime(seconds: u32) -> Box<dyn Setter> {
    message::lifetime(Duration::from_secs(seconds.into()))
}

/// Channel 0x4000, for ChannelBind to this peer.
pub(crate) fn channel_to(to: SocketAddr) -> Attributes {
    vec![Box::new(ChannelNumber(0x4000)), peer(&to.to_string())]
}

/// XOR-PEER-ADDRESS.
pub(crate) fn peer(text: &str) -> Box<dyn Setter> {
    message::peer(addr(text))
}

pub(crate) const fn indication(method: Method) -> MessageType {
    MessageType {
        method,
        class: CLASS_INDICATION,
    }
}

/// A Send indication.
pub(crate) fn send(to: &str, data: &[u8]) -> Message {
    message::send(addr(to), data)
}
