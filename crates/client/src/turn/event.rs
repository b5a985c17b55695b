//! Events of a client.

use std::net::SocketAddr;
use std::time::Duration;

use stun::attributes::{ATTR_ALTERNATE_SERVER, ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS};
use stun::message::{CLASS_SUCCESS_RESPONSE, Getter, Message, Method};
use turn::proto::lifetime::Lifetime;

use super::message::{connection_id, error_code, plain_address, xor_address};
use crate::Oddity;

/// A request of one client, whatever transactions it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub(super) u32);

/// Something that a server's bytes, or the time, led to.
#[derive(Clone, Debug)]
pub enum Event {
    /// The response to a request.
    Response(RequestId, Response),
    /// No response to a request in its time.
    TimedOut(RequestId, Method),
    /// A payload from a peer in a Data indication.
    Data(SocketAddr, Vec<u8>),
    /// A payload on a channel.
    ChannelData(u16, Vec<u8>),
    /// A peer has connected: its CONNECTION-ID and address (RFC 6062 §4.4).
    ConnectionAttempt(u32, SocketAddr),
    /// Something that is none of these. On a stream, nothing comes after [`Oddity::NotStun`].
    Odd(Oddity),
}

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    /// The message.
    pub message: Message,
    /// Code of an error response, 0 where it has none; `None`: a success response.
    pub error: Option<u16>,
    /// The message is signed with the key of the client's credentials.
    pub signed: bool,
}

impl Response {
    pub(super) fn new(message: Message, signed: bool) -> Self {
        let success = message.typ.class == CLASS_SUCCESS_RESPONSE;
        Self {
            error: (!success).then(|| error_code(&message).unwrap_or(0)),
            message,
            signed,
        }
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn mapped(&self) -> Option<SocketAddr> {
        xor_address(&self.message, ATTR_XORMAPPED_ADDRESS)
    }

    /// XOR-RELAYED-ADDRESS.
    pub fn relayed(&self) -> Option<SocketAddr> {
        xor_address(&self.message, ATTR_XOR_RELAYED_ADDRESS)
    }

    /// ALTERNATE-SERVER.
    pub fn alternate(&self) -> Option<SocketAddr> {
        plain_address(&self.message, ATTR_ALTERNATE_SERVER)
    }

    /// LIFETIME.
    pub fn lifetime(&self) -> Option<Duration> {
        let mut lifetime = Lifetime::default();
        lifetime.get_from(&self.message).ok()?;
        Some(lifetime.0)
    }

    /// CONNECTION-ID.
    pub fn connection_id(&self) -> Option<u32> {
        connection_id(&self.message)
    }
}
