//! STUN messages, coded with the `stun` and `turn` crates.

use std::net::SocketAddr;
use std::time::Duration;

use stun::addr::MappedAddress;
use stun::agent::TransactionId;
use stun::attributes::{
    ATTR_CHANGE_REQUEST, ATTR_CONNECTION_ID, ATTR_DATA, ATTR_RESPONSE_PORT, AttrType, RawAttribute,
};
use stun::error_code::ErrorCodeAttribute;
use stun::fingerprint::FINGERPRINT;
use stun::message::{
    CLASS_INDICATION, CLASS_REQUEST, Getter, MESSAGE_HEADER_SIZE, METHOD_SEND, Message,
    MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use turn::proto::channum::ChannelNumber;
use turn::proto::data::Data;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqtrans::RequestedTransport;
use turn::proto::{PROTO_TCP, PROTO_UDP, Protocol};

use turnd_proto::wire::integrity;

use crate::Oddity;
use crate::random;

/// Attributes of a message, in their order.
pub type Attributes = Vec<Box<dyn Setter>>;

/// RFC 8489 §14.6.
const MESSAGE_INTEGRITY_SHA256: AttrType = AttrType(0x001C);

/// A message with a fresh transaction id.
pub fn message(typ: MessageType, attributes: Attributes) -> Message {
    let mut message = Message::new();
    message.transaction_id = TransactionId(random::bytes());
    message.typ = typ;
    message.write_header();
    for attribute in attributes {
        let added = attribute.add_to(&mut message);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    message
}

/// A request with a fresh transaction id.
pub fn request(method: Method, attributes: Attributes) -> Message {
    message(MessageType::new(method, CLASS_REQUEST), attributes)
}

/// A Send indication (RFC 8656 §11.1).
pub fn send(to: SocketAddr, data: &[u8]) -> Message {
    let typ = MessageType::new(METHOD_SEND, CLASS_INDICATION);
    message(typ, vec![peer(to), Box::new(Data(data.to_vec()))])
}

/// Channel data without padding (RFC 8656 §12.4); `data` is shorter than 64 KiB.
pub fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The channel and the payload of channel data, without its padding.
pub fn parse_channel_data(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let &[n0 @ 64..=79, n1, l0, l1, ref rest @ ..] = bytes else {
        return None;
    };
    let payload = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
    Some((u16::from_be_bytes([n0, n1]), payload))
}

/// The value of DATA, read without allocation.
pub fn data(bytes: &[u8]) -> Option<&[u8]> {
    let len = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]));
    let mut rest = bytes.get(MESSAGE_HEADER_SIZE..MESSAGE_HEADER_SIZE + len)?;
    while let &[t0, t1, l0, l1, ref value @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([l0, l1]));
        if u16::from_be_bytes([t0, t1]) == ATTR_DATA.value() {
            return value.get(..len);
        }
        rest = value.get(len.next_multiple_of(4)..)?;
    }
    None
}

/// Reads a message; a datagram may hold more bytes behind it.
///
/// # Errors
/// The reason why there is none.
pub fn decode(bytes: &[u8]) -> Result<Message, Oddity> {
    if bytes.first().is_none_or(|first| *first > 3) {
        return Err(Oddity::NotStun);
    }
    let mut message = Message::new();
    if message.unmarshal_binary(bytes).is_err() || !message.length.is_multiple_of(4) {
        return Err(Oddity::Damaged);
    }
    message
        .raw
        .truncate(MESSAGE_HEADER_SIZE + message.length as usize);
    let fingerprint = FINGERPRINT.check(&message);
    match fingerprint {
        Err(error) if error != stun::Error::ErrAttributeNotFound => Err(Oddity::Damaged),
        _ => Ok(message),
    }
}

/// Whether a decoded message was signed with this key, by MESSAGE-INTEGRITY-SHA256 or MESSAGE-INTEGRITY (RFC 8489
/// §14.5 and §14.6).
pub fn verify(message: &Message, key: &[u8]) -> bool {
    let parsed = turnd_proto::wire::message::Message::parse(&message.raw);
    parsed.is_ok_and(|message| integrity::verify(&message, key))
}

/// Adds MESSAGE-INTEGRITY-SHA256 to a message without FINGERPRINT.
pub fn sign_sha256(message: &mut Message, key: &[u8]) {
    let signature = integrity::signature_sha256(&message.raw, key);
    message.add(MESSAGE_INTEGRITY_SHA256, &signature);
}

/// The code of ERROR-CODE.
pub fn error_code(message: &Message) -> Option<u16> {
    let mut attribute = ErrorCodeAttribute::default();
    attribute.get_from(message).ok()?;
    Some(attribute.code.0)
}

/// The text of an attribute.
pub fn text(message: &Message, typ: AttrType) -> Option<String> {
    let attribute = TextAttribute::get_from_as(message, typ).ok()?;
    Some(attribute.text)
}

/// The address in an attribute of the XOR kind.
pub fn xor_address(message: &Message, typ: AttrType) -> Option<SocketAddr> {
    if !has_address(message, typ) {
        return None;
    }
    let mut address = XorMappedAddress::default();
    address.get_from_as(message, typ).ok()?;
    Some(canonical(SocketAddr::new(address.ip, address.port)))
}

/// The address in an attribute as MAPPED-ADDRESS is.
pub fn plain_address(message: &Message, typ: AttrType) -> Option<SocketAddr> {
    if !has_address(message, typ) {
        return None;
    }
    let mut address = MappedAddress::default();
    address.get_from_as(message, typ).ok()?;
    Some(canonical(SocketAddr::new(address.ip, address.port)))
}

/// Whether the family and the length of an address attribute agree, which `stun` does not ask.
fn has_address(message: &Message, typ: AttrType) -> bool {
    message
        .get(typ)
        .is_ok_and(|value| matches!((value.get(1), value.len()), (Some(1), 8) | (Some(2), 20)))
}

/// An IPv4-mapped IPv6 address as the IPv4 address that it stands for.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The value of CONNECTION-ID (RFC 6062 §6.2.1).
pub fn connection_id(message: &Message) -> Option<u32> {
    let value = message.get(ATTR_CONNECTION_ID).ok()?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// An attribute of any type and value.
pub fn raw(typ: AttrType, value: &[u8]) -> Box<dyn Setter> {
    Box::new(RawAttribute {
        typ,
        length: 0,
        value: value.to_vec(),
    })
}

/// XOR-PEER-ADDRESS.
pub fn peer(addr: SocketAddr) -> Box<dyn Setter> {
    Box::new(PeerAddress {
        ip: addr.ip(),
        port: addr.port(),
    })
}

/// REQUESTED-TRANSPORT: UDP.
pub fn udp() -> Box<dyn Setter> {
    transport(PROTO_UDP)
}

/// REQUESTED-TRANSPORT: TCP (RFC 6062).
pub fn tcp() -> Box<dyn Setter> {
    transport(PROTO_TCP)
}

fn transport(protocol: Protocol) -> Box<dyn Setter> {
    Box::new(RequestedTransport { protocol })
}

/// LIFETIME.
pub fn lifetime(time: Duration) -> Box<dyn Setter> {
    Box::new(Lifetime(time))
}

/// CHANNEL-NUMBER.
pub fn channel(number: u16) -> Box<dyn Setter> {
    Box::new(ChannelNumber(number))
}

/// CHANGE-REQUEST (RFC 5780 §7.2).
pub fn change_request(ip: bool, port: bool) -> Box<dyn Setter> {
    let bits = u32::from(ip) << 2 | u32::from(port) << 1;
    raw(ATTR_CHANGE_REQUEST, &bits.to_be_bytes())
}

/// RESPONSE-PORT (RFC 5780 §7.5).
pub fn response_port(port: u16) -> Box<dyn Setter> {
    let [high, low] = port.to_be_bytes();
    raw(ATTR_RESPONSE_PORT, &[high, low, 0, 0])
}
