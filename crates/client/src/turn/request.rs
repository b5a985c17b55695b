//! Requests of STUN and TURN.

use std::net::SocketAddr;
use std::time::Duration;

use stun::attributes::ATTR_CONNECTION_ID;
use stun::message::{
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CONNECT, METHOD_CONNECTION_BIND,
    METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message, Method,
};
use turn::proto::reqfamily::REQUESTED_FAMILY_IPV6;

use super::message::{self, Attributes};

/// A request of STUN or TURN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Binding: ask for this host's address (RFC 8489 §2).
    Binding,
    /// Allocate (RFC 8656 §7.1).
    Allocate {
        /// A TCP allocation (RFC 6062) and not one of UDP.
        tcp: bool,
        /// REQUESTED-ADDRESS-FAMILY: IPv6.
        ipv6: bool,
    },
    /// Refresh; no time at all deletes the allocation (RFC 8656 §8.1).
    Refresh(Duration),
    /// CreatePermission (RFC 8656 §10.1).
    CreatePermission(Vec<SocketAddr>),
    /// ChannelBind (RFC 8656 §12.1).
    ChannelBind(u16, SocketAddr),
    /// Connect (RFC 6062 §4.3).
    Connect(SocketAddr),
    /// ConnectionBind to a CONNECTION-ID, on a connection of its own (RFC 6062 §4.3).
    ConnectionBind(u32),
}

impl Request {
    /// An allocation of UDP over IPv4, as browsers ask for it.
    pub const ALLOCATE: Self = Self::Allocate {
        tcp: false,
        ipv6: false,
    };

    /// The method.
    pub fn method(&self) -> Method {
        match self {
            Self::Binding => METHOD_BINDING,
            Self::Allocate { .. } => METHOD_ALLOCATE,
            Self::Refresh(_) => METHOD_REFRESH,
            Self::CreatePermission(_) => METHOD_CREATE_PERMISSION,
            Self::ChannelBind(..) => METHOD_CHANNEL_BIND,
            Self::Connect(_) => METHOD_CONNECT,
            Self::ConnectionBind(_) => METHOD_CONNECTION_BIND,
        }
    }

    /// The message, with a fresh transaction id and without credentials.
    pub fn encode(&self) -> Message {
        message::request(self.method(), self.attributes())
    }

    fn attributes(&self) -> Attributes {
        match self {
            Self::Binding => Vec::new(),
            Self::Allocate { tcp, ipv6 } => {
                let transport = if *tcp { message::tcp() } else { message::udp() };
                let mut attributes = vec![transport];
                if *ipv6 {
                    attributes.push(Box::new(REQUESTED_FAMILY_IPV6));
                }
                attributes
            }
            Self::Refresh(time) => vec![message::lifetime(*time)],
            Self::CreatePermission(peers) => peers.iter().copied().map(message::peer).collect(),
            Self::ChannelBind(number, peer) => {
                vec![message::channel(*number), message::peer(*peer)]
            }
            Self::Connect(peer) => vec![message::peer(*peer)],
            Self::ConnectionBind(id) => {
                vec![message::raw(ATTR_CONNECTION_ID, &id.to_be_bytes())]
            }
        }
    }
}
