//! Refusals: why a request of an authenticated client gets an error response, one variant a cause.

use std::net::SocketAddr;

use crate::wire::message::Head;
use crate::wire::numbers::{AttributeType, ErrorCode};
use crate::wire::request::{BadAttribute, UnknownAttributes};
use crate::wire::response::{ErrorResponse, Trailer};

/// Cause of an error response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 300: `alternate-server` or `tls-alternate-server`, the first choice first.
    Redirected(Vec<SocketAddr>),
    /// 300: the server drains, and these take its clients.
    DrainRedirected(Vec<SocketAddr>),
    /// 400: the value of an attribute is malformed.
    Malformed(AttributeType),
    /// 400: an attribute that the method needs is missing.
    Missing(AttributeType),
    /// 400: a TCP allocation was asked for over UDP or DTLS.
    TcpRelayOverUdp,
    /// 400: an attribute for UDP relays in a request for a TCP allocation.
    UdpRelayAttribute,
    /// 400: RESERVATION-TOKEN beside an attribute that says which port or family.
    ReservationTokenNotAlone,
    /// 400: REQUESTED-ADDRESS-FAMILY beside ADDITIONAL-ADDRESS-FAMILY.
    TwoFamilies,
    /// 400: EVEN-PORT with R = 1 beside ADDITIONAL-ADDRESS-FAMILY.
    PortPairInTwoFamilies,
    /// 400.
    ChannelOutOfRange,
    /// 400: channels are of UDP allocations.
    ChannelOfTcpAllocation,
    /// 400: the channel number has another peer.
    ChannelHasOtherPeer,
    /// 400: the peer has another channel number.
    PeerHasOtherChannel,
    /// 400: ConnectionBind over UDP or DTLS.
    ConnectionBindOverUdp,
    /// 400: ConnectionBind on the connection of an allocation.
    ConnectionHasAllocation,
    /// 400: no well-formed CONNECTION-ID.
    NoConnectionId,
    /// 400: nothing waits under this CONNECTION-ID.
    UnknownConnection,
    /// 400: together, RESPONSE-PORT and PADDING would aim long replies at a port (RFC 5780 §10).
    ResponsePortWithPadding,
    /// 403: `no-udp-relay`.
    NoUdpRelay,
    /// 403: `no-tcp-relay`.
    NoTcpRelay,
    /// 403: policy denies the peer.
    PeerDenied,
    /// 420.
    UnknownAttributes(UnknownAttributes),
    /// 437: there is no allocation on the five-tuple.
    NoAllocation,
    /// 437: there is one already.
    AllocationExists,
    /// 437: the allocation is for UDP.
    NoTcpAllocation,
    /// 440.
    FamilyNotSupported,
    /// 441: the allocation, or the peer connection, is another user's.
    WrongCredentials,
    /// 442.
    UnsupportedTransport,
    /// 443.
    PeerFamilyMismatch,
    /// 446.
    ConnectionExists,
    /// 447.
    ConnectionFailed,
    /// 486: `user-quota`.
    UserQuota,
    /// 486: `total-quota`.
    TotalQuota,
    /// 486: `user-allocate-rate`.
    AllocateRate,
    /// 508: the server drains, and no other takes its clients.
    Draining,
    /// 508: nothing is reserved under the RESERVATION-TOKEN.
    UnknownReservation,
    /// 508: every port of the range is taken.
    NoPortLeft,
    /// 508: no port could be bound.
    NoPortBound,
    /// 508: `max-permissions`.
    MaxPermissions,
    /// 508: `total-permissions`, or the user's share.
    TotalPermissions,
    /// 508: `max-channels`.
    MaxChannels,
    /// 508: `total-channels`, or the user's share.
    TotalChannels,
    /// 508: `max-peer-connections`.
    MaxPeerConnections,
}

impl Refusal {
    /// ERROR-CODE.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Redirected(_) | Self::DrainRedirected(_) => ErrorCode::TRY_ALTERNATE,
            Self::Malformed(_)
            | Self::Missing(_)
            | Self::TcpRelayOverUdp
            | Self::UdpRelayAttribute
            | Self::ReservationTokenNotAlone
            | Self::TwoFamilies
            | Self::PortPairInTwoFamilies
            | Self::ChannelOutOfRange
            | Self::ChannelOfTcpAllocation
            | Self::ChannelHasOtherPeer
            | Self::PeerHasOtherChannel
            | Self::ConnectionBindOverUdp
            | Self::ConnectionHasAllocation
            | Self::NoConnectionId
            | Self::UnknownConnection
            | Self::ResponsePortWithPadding => ErrorCode::BAD_REQUEST,
            Self::NoUdpRelay | Self::NoTcpRelay | Self::PeerDenied => ErrorCode::FORBIDDEN,
            Self::UnknownAttributes(_) => ErrorCode::UNKNOWN_ATTRIBUTE,
            Self::NoAllocation | Self::AllocationExists | Self::NoTcpAllocation => {
                ErrorCode::ALLOCATION_MISMATCH
            }
            Self::FamilyNotSupported => ErrorCode::ADDRESS_FAMILY_NOT_SUPPORTED,
            Self::WrongCredentials => ErrorCode::WRONG_CREDENTIALS,
            Self::UnsupportedTransport => ErrorCode::UNSUPPORTED_TRANSPORT,
            Self::PeerFamilyMismatch => ErrorCode::PEER_ADDRESS_FAMILY_MISMATCH,
            Self::ConnectionExists => ErrorCode::CONNECTION_ALREADY_EXISTS,
            Self::ConnectionFailed => ErrorCode::CONNECTION_TIMEOUT_OR_FAILURE,
            Self::UserQuota | Self::TotalQuota | Self::AllocateRate => {
                ErrorCode::ALLOCATION_QUOTA_REACHED
            }
            Self::Draining
            | Self::UnknownReservation
            | Self::NoPortLeft
            | Self::NoPortBound
            | Self::MaxPermissions
            | Self::TotalPermissions
            | Self::MaxChannels
            | Self::TotalChannels
            | Self::MaxPeerConnections => ErrorCode::INSUFFICIENT_CAPACITY,
        }
    }

    /// Cause in words, for the log.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Redirected(_) => "sent on to an alternate server",
            Self::DrainRedirected(_) | Self::Draining => "draining",
            Self::Malformed(typ) => malformed(*typ),
            Self::Missing(typ) => missing(*typ),
            Self::TcpRelayOverUdp => "a TCP relay needs TCP or TLS",
            Self::UdpRelayAttribute => "an attribute of UDP relays",
            Self::ReservationTokenNotAlone => "RESERVATION-TOKEN beside what it already decides",
            Self::TwoFamilies => "REQUESTED- beside ADDITIONAL-ADDRESS-FAMILY",
            Self::PortPairInTwoFamilies => "EVEN-PORT with R beside ADDITIONAL-ADDRESS-FAMILY",
            Self::ChannelOutOfRange => "channel number out of range",
            Self::ChannelOfTcpAllocation => "a TCP allocation has no channels",
            Self::ChannelHasOtherPeer => "channel number is bound to another peer",
            Self::PeerHasOtherChannel => "peer is bound to another channel number",
            Self::ConnectionBindOverUdp => "ConnectionBind needs TCP or TLS",
            Self::ConnectionHasAllocation => "the connection has an allocation",
            Self::NoConnectionId => "no or malformed CONNECTION-ID",
            Self::UnknownConnection => "no such connection waits",
            Self::ResponsePortWithPadding => "RESPONSE-PORT with PADDING",
            Self::NoUdpRelay => "no-udp-relay",
            Self::NoTcpRelay => "no-tcp-relay",
            Self::PeerDenied => "peer not allowed",
            Self::UnknownAttributes(_) => "unknown attribute",
            Self::NoAllocation => "no allocation on this five-tuple",
            Self::AllocationExists => "the five-tuple has an allocation",
            Self::NoTcpAllocation => "no TCP allocation on this five-tuple",
            Self::FamilyNotSupported => "no relay address of this family",
            Self::WrongCredentials => "the allocation belongs to another user",
            Self::UnsupportedTransport => "transport is neither UDP nor TCP",
            Self::PeerFamilyMismatch => "peer and relay are of different families",
            Self::ConnectionExists => "there is a connection with this peer",
            Self::ConnectionFailed => "the peer cannot be connected to",
            Self::UserQuota => "user-quota reached",
            Self::TotalQuota => "total-quota reached",
            Self::AllocateRate => "user-allocate-rate reached",
            Self::UnknownReservation => "no such reservation",
            Self::NoPortLeft => "no relay port left",
            Self::NoPortBound => "no relay port could be bound",
            Self::MaxPermissions => "max-permissions reached",
            Self::TotalPermissions => "total-permissions reached",
            Self::MaxChannels => "max-channels reached",
            Self::TotalChannels => "total-channels reached",
            Self::MaxPeerConnections => "max-peer-connections reached",
        }
    }

    /// UNKNOWN-ATTRIBUTES.
    pub(super) fn unknown_attributes(&self) -> &[AttributeType] {
        match self {
            Self::UnknownAttributes(unknown) => unknown.types(),
            _ => &[],
        }
    }

    /// Appends the response to a request.
    pub(super) fn encode(&self, head: &Head, trailer: &Trailer<'_>, out: &mut Vec<u8>) {
        let response = ErrorResponse {
            alternate_servers: match self {
                Self::Redirected(servers) | Self::DrainRedirected(servers) => servers,
                _ => &[],
            },
            unknown_attributes: self.unknown_attributes(),
            ..ErrorResponse::new(self.code())
        };
        response.encode(head, trailer, out);
    }
}

impl From<BadAttribute> for Refusal {
    fn from(BadAttribute(typ): BadAttribute) -> Self {
        Self::Malformed(typ)
    }
}

fn malformed(typ: AttributeType) -> &'static str {
    match typ {
        AttributeType::CHANGE_REQUEST => "malformed CHANGE-REQUEST",
        AttributeType::CHANNEL_NUMBER => "malformed CHANNEL-NUMBER",
        AttributeType::EVEN_PORT => "malformed EVEN-PORT",
        AttributeType::LIFETIME => "malformed LIFETIME",
        AttributeType::REQUESTED_ADDRESS_FAMILY => "malformed REQUESTED-ADDRESS-FAMILY",
        AttributeType::REQUESTED_TRANSPORT => "malformed REQUESTED-TRANSPORT",
        AttributeType::RESERVATION_TOKEN => "malformed RESERVATION-TOKEN",
        AttributeType::RESPONSE_PORT => "malformed RESPONSE-PORT",
        AttributeType::XOR_PEER_ADDRESS => "malformed XOR-PEER-ADDRESS",
        _ => "malformed attribute",
    }
}

fn missing(typ: AttributeType) -> &'static str {
    match typ {
        AttributeType::CHANNEL_NUMBER => "no CHANNEL-NUMBER",
        AttributeType::REQUESTED_TRANSPORT => "no REQUESTED-TRANSPORT",
        AttributeType::XOR_PEER_ADDRESS => "no XOR-PEER-ADDRESS",
        _ => "an attribute is missing",
    }
}
