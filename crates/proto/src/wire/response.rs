//! Responses from typed values.

use std::net::SocketAddr;
use std::time::Duration;

use super::encoder::Encoder;
use super::message::Head;
use super::numbers::{AttributeType, Class, ErrorCode, MessageType, Method, TransactionId};

/// The attributes at the end of a response.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trailer<'a> {
    /// SOFTWARE.
    pub software: Option<&'a str>,
    /// Key of MESSAGE-INTEGRITY, or -SHA256; `None`: the response is not signed.
    pub key: Option<&'a [u8]>,
    /// FINGERPRINT also where the request has none.
    pub fingerprint: bool,
}

impl Trailer<'_> {
    fn finish(&self, mut encoder: Encoder<'_>, head: &Head) {
        if let Some(software) = self.software {
            encoder.attribute(AttributeType::SOFTWARE, software.as_bytes());
        }
        match self.key {
            Some(key) if head.sha256 => encoder.sign_sha256(key),
            Some(key) => encoder.sign(key),
            None => {}
        }
        if head.fingerprint || self.fingerprint {
            encoder.fingerprint();
        }
    }
}

/// A success response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Success {
    /// No attributes: CreatePermission, ChannelBind, ConnectionBind.
    Empty,
    /// Binding.
    Binding(Binding),
    /// Allocate (RFC 8656 §7.2).
    Allocate {
        /// XOR-RELAYED-ADDRESS.
        relayed: SocketAddr,
        /// XOR-MAPPED-ADDRESS.
        mapped: SocketAddr,
        /// LIFETIME.
        lifetime: Duration,
        /// RESERVATION-TOKEN.
        reservation_token: Option<[u8; 8]>,
    },
    /// Refresh (RFC 8656 §8.2).
    Refresh {
        /// LIFETIME.
        lifetime: Duration,
    },
    /// Connect (RFC 6062 §5.2).
    Connect {
        /// CONNECTION-ID.
        connection: u32,
    },
}

/// A Binding response (RFC 8489 §3, RFC 5780 §6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// XOR-MAPPED-ADDRESS.
    pub mapped: SocketAddr,
    /// The attributes of RFC 5780, if the server has them.
    pub discovery: Option<Discovery>,
}

/// The attributes of a Binding response by which a client finds out its NAT (RFC 5780 §7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// RESPONSE-ORIGIN.
    pub origin: SocketAddr,
    /// OTHER-ADDRESS.
    pub other: Option<SocketAddr>,
    /// Bytes of PADDING.
    pub padding: Option<u16>,
}

impl Success {
    /// Appends the response to a request.
    pub fn encode(&self, head: &Head, trailer: &Trailer<'_>, out: &mut Vec<u8>) {
        let typ = MessageType::new(head.typ.method, Class::Success);
        let mut encoder = Encoder::new(out, typ, head.id);
        match self {
            Self::Empty => {}
            Self::Binding(binding) => binding.encode(&mut encoder),
            Self::Allocate {
                relayed,
                mapped,
                lifetime,
                reservation_token,
            } => {
                encoder.xor_address(AttributeType::XOR_RELAYED_ADDRESS, *relayed);
                encoder.xor_address(AttributeType::XOR_MAPPED_ADDRESS, *mapped);
                encode_lifetime(&mut encoder, *lifetime);
                if let Some(token) = reservation_token {
                    encoder.attribute(AttributeType::RESERVATION_TOKEN, token);
                }
            }
            Self::Refresh { lifetime } => encode_lifetime(&mut encoder, *lifetime),
            Self::Connect { connection } => {
                encoder.attribute(AttributeType::CONNECTION_ID, &connection.to_be_bytes());
            }
        }
        trailer.finish(encoder, head);
    }
}

impl Binding {
    fn encode(&self, encoder: &mut Encoder<'_>) {
        encoder.xor_address(AttributeType::XOR_MAPPED_ADDRESS, self.mapped);
        let Some(discovery) = &self.discovery else {
            return;
        };
        encoder.plain_address(AttributeType::MAPPED_ADDRESS, self.mapped);
        encoder.plain_address(AttributeType::RESPONSE_ORIGIN, discovery.origin);
        if let Some(other) = discovery.other {
            encoder.plain_address(AttributeType::OTHER_ADDRESS, other);
        }
        if let Some(len) = discovery.padding {
            encoder.attribute(AttributeType::PADDING, &vec![0; usize::from(len)]);
        }
    }
}

fn encode_lifetime(encoder: &mut Encoder<'_>, lifetime: Duration) {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
    encoder.attribute(AttributeType::LIFETIME, &seconds.to_be_bytes());
}

/// The attributes of 401 and 438 that a client answers with its credentials (RFC 8489 §9.2.5).
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    /// REALM.
    pub realm: &'a str,
    /// NONCE.
    pub nonce: &'a str,
    /// The value of PASSWORD-ALGORITHMS, if the nonce announces it.
    pub password_algorithms: Option<&'a [u8]>,
}

/// An error response.
#[derive(Clone, Copy, Debug)]
pub struct ErrorResponse<'a> {
    /// ERROR-CODE; the reason phrase is the code's usual one.
    pub code: ErrorCode,
    /// ALTERNATE-SERVER, as often as there are servers.
    pub alternate_servers: &'a [SocketAddr],
    /// UNKNOWN-ATTRIBUTES, unless there are none.
    pub unknown_attributes: &'a [AttributeType],
    /// REALM, NONCE and what goes with them.
    pub challenge: Option<Challenge<'a>>,
}

impl<'a> ErrorResponse<'a> {
    /// A response with nothing but ERROR-CODE.
    #[must_use]
    pub fn new(code: ErrorCode) -> Self {
        Self {
            code,
            alternate_servers: &[],
            unknown_attributes: &[],
            challenge: None,
        }
    }

    /// Appends the response to a request.
    pub fn encode(&self, head: &Head, trailer: &Trailer<'_>, out: &mut Vec<u8>) {
        let typ = MessageType::new(head.typ.method, Class::Error);
        let mut encoder = Encoder::new(out, typ, head.id);
        let mut value = error_code(self.code);
        encoder.attribute(AttributeType::ERROR_CODE, &value);
        for server in self.alternate_servers {
            encoder.plain_address(AttributeType::ALTERNATE_SERVER, *server);
        }
        if !self.unknown_attributes.is_empty() {
            value.clear();
            value.extend(
                self.unknown_attributes
                    .iter()
                    .flat_map(|t| t.0.to_be_bytes()),
            );
            encoder.attribute(AttributeType::UNKNOWN_ATTRIBUTES, &value);
        }
        if let Some(challenge) = &self.challenge {
            encoder.attribute(AttributeType::REALM, challenge.realm.as_bytes());
            encoder.attribute(AttributeType::NONCE, challenge.nonce.as_bytes());
            if let Some(algorithms) = challenge.password_algorithms {
                encoder.attribute(AttributeType::PASSWORD_ALGORITHMS, algorithms);
            }
        }
        trailer.finish(encoder, head);
    }
}

/// The value of ERROR-CODE: class, number and reason phrase (RFC 8489 §14.8).
pub(super) fn error_code(code: ErrorCode) -> Vec<u8> {
    let reason = code.reason();
    let mut value = Vec::with_capacity(4 + reason.len() + 3);
    value.extend_from_slice(&[0, 0, (code.0 / 100) as u8, (code.0 % 100) as u8]);
    value.extend_from_slice(reason.as_bytes());
    value
}

/// Appends a ConnectionAttempt indication (RFC 6062 §5.3).
pub fn encode_connection_attempt(
    id: TransactionId,
    connection: u32,
    peer: SocketAddr,
    out: &mut Vec<u8>,
) {
    let typ = MessageType::new(Method::CONNECTION_ATTEMPT, Class::Indication);
    let mut encoder = Encoder::new(out, typ, id);
    encoder.attribute(AttributeType::CONNECTION_ID, &connection.to_be_bytes());
    encoder.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
}
