//! Requests as typed values.
//!
//! A malformed attribute does not make a request unreadable: the RFCs say at which step it
//! matters, so its field holds the error and the method's handler meets it there.

use std::net::SocketAddr;
use std::time::Duration;

use super::address::decode_xor;
use super::discovery::{ChangeRequest, ResponsePort};
use super::message::Message;
use super::numbers::{AttributeType, Class, Method};

/// An attribute whose value is not what its RFC says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadAttribute(pub AttributeType);

/// An attribute that a request may have.
pub type Field<T> = Result<Option<T>, BadAttribute>;

/// Whether the attribute is there, well formed or not.
pub(crate) fn is_present<T>(field: &Field<T>) -> bool {
    !matches!(field, Ok(None))
}

/// A TURN request, for which its sender has to authenticate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// RFC 8656 §7.
    Allocate(Allocate),
    /// RFC 8656 §8.
    Refresh(Refresh),
    /// RFC 8656 §10.
    CreatePermission(CreatePermission),
    /// RFC 8656 §12.
    ChannelBind(ChannelBind),
    /// RFC 6062 §4.3.
    Connect(Connect),
    /// RFC 6062 §4.3.
    ConnectionBind(ConnectionBind),
}

impl Request {
    /// Reads a request; `None`: it is no request, or has none of these methods.
    #[must_use]
    pub fn parse(message: &Message<'_>) -> Option<Self> {
        let typ = message.head().typ;
        if typ.class != Class::Request {
            return None;
        }
        Some(match typ.method {
            Method::ALLOCATE => Self::Allocate(Allocate::parse(message)),
            Method::REFRESH => Self::Refresh(Refresh::parse(message)),
            Method::CREATE_PERMISSION => Self::CreatePermission(CreatePermission::parse(message)),
            Method::CHANNEL_BIND => Self::ChannelBind(ChannelBind::parse(message)),
            Method::CONNECT => Self::Connect(Connect::parse(message)),
            Method::CONNECTION_BIND => Self::ConnectionBind(ConnectionBind::parse(message)),
            _ => return None,
        })
    }
}

/// Protocol between relay and peers (REQUESTED-TRANSPORT).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedTransport {
    /// 17.
    Udp,
    /// 6.
    Tcp,
    /// Any other protocol number.
    Other(u8),
}

/// Family of the relayed transport address (REQUESTED-ADDRESS-FAMILY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedFamily {
    /// 0x01.
    Ipv4,
    /// 0x02.
    Ipv6,
    /// Any other number.
    Other(u8),
}

/// An Allocate request (RFC 8656 §7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocate {
    /// REQUESTED-TRANSPORT.
    pub transport: Field<RequestedTransport>,
    /// REQUESTED-ADDRESS-FAMILY.
    pub family: Field<RequestedFamily>,
    /// Whether there is an ADDITIONAL-ADDRESS-FAMILY.
    pub additional_family: bool,
    /// EVEN-PORT; its R bit: whether the next port is to be reserved.
    pub even_port: Field<bool>,
    /// RESERVATION-TOKEN.
    pub reservation_token: Field<[u8; 8]>,
    /// Whether there is a DONT-FRAGMENT.
    pub dont_fragment: bool,
    /// LIFETIME.
    pub lifetime: Field<Duration>,
}

impl Allocate {
    fn parse(message: &Message<'_>) -> Self {
        let transport = field(message, AttributeType::REQUESTED_TRANSPORT, |value| {
            let [protocol, _, _, _] = *value else {
                return None;
            };
            Some(match protocol {
                6 => RequestedTransport::Tcp,
                17 => RequestedTransport::Udp,
                other => RequestedTransport::Other(other),
            })
        });
        let even_port = field(message, AttributeType::EVEN_PORT, |value| {
            let [bits] = *value else { return None };
            Some(bits & 0x80 != 0)
        });
        Self {
            transport,
            family: family(message),
            additional_family: message.contains(AttributeType::ADDITIONAL_ADDRESS_FAMILY),
            even_port,
            reservation_token: field(message, AttributeType::RESERVATION_TOKEN, |value| {
                value.try_into().ok()
            }),
            dont_fragment: message.contains(AttributeType::DONT_FRAGMENT),
            lifetime: lifetime(message),
        }
    }
}

/// A Refresh request (RFC 8656 §8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// LIFETIME.
    pub lifetime: Field<Duration>,
    /// REQUESTED-ADDRESS-FAMILY.
    pub family: Field<RequestedFamily>,
}

impl Refresh {
    fn parse(message: &Message<'_>) -> Self {
        Self {
            lifetime: lifetime(message),
            family: family(message),
        }
    }
}

/// A CreatePermission request (RFC 8656 §10.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePermission {
    /// Every XOR-PEER-ADDRESS.
    pub peers: Result<Vec<SocketAddr>, BadAttribute>,
}

impl CreatePermission {
    fn parse(message: &Message<'_>) -> Self {
        let peers = message
            .attributes()
            .filter(|(typ, _)| *typ == AttributeType::XOR_PEER_ADDRESS)
            .map(|(typ, value)| decode_xor(value, &message.head().id).ok_or(BadAttribute(typ)));
        Self {
            peers: peers.collect(),
        }
    }
}

/// A ChannelBind request (RFC 8656 §12.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelBind {
    /// CHANNEL-NUMBER, in range or not.
    pub number: Field<u16>,
    /// XOR-PEER-ADDRESS.
    pub peer: Field<SocketAddr>,
}

impl ChannelBind {
    fn parse(message: &Message<'_>) -> Self {
        let number = field(message, AttributeType::CHANNEL_NUMBER, |value| {
            let [high, low, _, _] = *value else {
                return None;
            };
            Some(u16::from_be_bytes([high, low]))
        });
        Self {
            number,
            peer: peer(message),
        }
    }
}

/// A Connect request (RFC 6062 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// XOR-PEER-ADDRESS.
    pub peer: Field<SocketAddr>,
}

impl Connect {
    fn parse(message: &Message<'_>) -> Self {
        Self {
            peer: peer(message),
        }
    }
}

/// A ConnectionBind request (RFC 6062 §5.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionBind {
    /// CONNECTION-ID.
    pub connection: Field<u32>,
}

impl ConnectionBind {
    fn parse(message: &Message<'_>) -> Self {
        let id = |value: &[u8]| Some(u32::from_be_bytes(value.try_into().ok()?));
        Self {
            connection: field(message, AttributeType::CONNECTION_ID, id),
        }
    }
}

/// A Binding request (RFC 8489 §3, RFC 5780 §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// CHANGE-REQUEST.
    pub change_request: Field<ChangeRequest>,
    /// RESPONSE-PORT.
    pub response_port: Field<ResponsePort>,
    /// Bytes of PADDING.
    pub padding: Option<usize>,
    /// Attributes that are understood under conditions (the three above), or not at all.
    pub conditional: UnknownAttributes,
}

impl Binding {
    /// Reads the attributes of a Binding request.
    #[must_use]
    pub fn parse(message: &Message<'_>) -> Self {
        Self {
            change_request: field(
                message,
                AttributeType::CHANGE_REQUEST,
                ChangeRequest::decode,
            ),
            response_port: field(message, AttributeType::RESPONSE_PORT, ResponsePort::decode),
            padding: message.get(AttributeType::PADDING).map(<[u8]>::len),
            conditional: UnknownAttributes::of(message.attributes().map(|(typ, _)| typ)),
        }
    }
}

/// Comprehension-required attributes that are not understood, each once, in the order of the
/// message (RFC 8489 §14.13).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnknownAttributes {
    types: Vec<AttributeType>,
    /// A bit for the types with the same last six bits: most are seen to be new without a look at
    /// those before, and so a request full of them is cheap.
    seen: u64,
}

impl UnknownAttributes {
    /// Types that a response lists at the most, so that it stays below 548 bytes.
    const MAX: usize = 64;

    /// Attributes of a Binding request that [`Self::except`] may take away again.
    const CONDITIONAL: usize = 3;

    /// The part of `types` that is not understood everywhere.
    #[must_use]
    pub fn of(types: impl Iterator<Item = AttributeType>) -> Self {
        let mut unknown = Self::default();
        for typ in types.filter(|typ| !typ.is_understood()) {
            if !unknown.push(typ) {
                break;
            }
        }
        unknown
    }

    /// Adds a type that is not there yet; `false`: no other finds room.
    pub fn push(&mut self, typ: AttributeType) -> bool {
        let has_room = self.types.len() < Self::MAX + Self::CONDITIONAL;
        let bit = 1 << (typ.0 % 64);
        if has_room && (self.seen & bit == 0 || !self.types.contains(&typ)) {
            self.seen |= bit;
            self.types.push(typ);
        }
        has_room
    }

    /// All but those that are `known` after all.
    #[must_use]
    pub fn except(mut self, known: &[AttributeType]) -> Self {
        self.types.retain(|typ| !known.contains(typ));
        self
    }

    /// Whether every attribute is understood.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The types to list.
    #[must_use]
    pub fn types(&self) -> &[AttributeType] {
        &self.types[..self.types.len().min(Self::MAX)]
    }
}

/// The first attribute of a type, as `decode` reads its value.
fn field<T>(
    message: &Message<'_>,
    typ: AttributeType,
    decode: impl FnOnce(&[u8]) -> Option<T>,
) -> Field<T> {
    match message.get(typ) {
        None => Ok(None),
        Some(value) => decode(value).map(Some).ok_or(BadAttribute(typ)),
    }
}

fn lifetime(message: &Message<'_>) -> Field<Duration> {
    field(message, AttributeType::LIFETIME, |value| {
        let seconds = u32::from_be_bytes(value.try_into().ok()?);
        Some(Duration::from_secs(seconds.into()))
    })
}

fn family(message: &Message<'_>) -> Field<RequestedFamily> {
    field(message, AttributeType::REQUESTED_ADDRESS_FAMILY, |value| {
        let [family, _, _, _] = *value else {
            return None;
        };
        Some(match family {
            1 => RequestedFamily::Ipv4,
            2 => RequestedFamily::Ipv6,
            other => RequestedFamily::Other(other),
        })
    })
}

fn peer(message: &Message<'_>) -> Field<SocketAddr> {
    let id = message.head().id;
    field(message, AttributeType::XOR_PEER_ADDRESS, |value| {
        decode_xor(value, &id)
    })
}

#[cfg(test)]
mod tests;
