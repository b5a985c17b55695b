//! Verdicts on packets, and the outputs that the driver is to do.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connections::ConnectionId;
use super::five_tuple::{ClientSocket, FiveTuple, Path, PeerAddr};
use super::lookups::LookupId;
use super::peer_table::Reach;
use crate::policy::peer_filter::Denied;
use crate::wire::indication::Header;
use crate::wire::numbers::Method;

/// Names a relay socket between the server and its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId(pub u32);

/// Verdict on a packet from a client.
#[derive(Debug)]
pub enum ClientVerdict<'a> {
    /// The packet was a message; outputs may wait in [`Server::poll_output`](super::Server::poll_output).
    Handled,
    /// Send `payload` from the relay socket.
    ToPeer {
        /// Relay socket to send from.
        relay: RelayId,
        /// Destination.
        peer: PeerAddr,
        /// Part of the packet.
        payload: &'a [u8],
        /// Whether to set the DF bit (RFC 8656 §15).
        dont_fragment: bool,
    },
    /// Drop the packet, which is counted.
    Drop(DropReason),
}

/// Verdict on a packet from a peer.
#[derive(Debug)]
pub enum PeerVerdict {
    /// Send header, payload and padding to the client.
    ToClient {
        /// Path to the client.
        path: Path,
        /// Bytes before the payload, and the padding behind it.
        header: Header,
    },
    /// Drop the packet, which is counted.
    Drop(DropReason),
}

/// Why a packet went nowhere. The discriminant indexes [`Counters::drops`](super::Counters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum DropReason {
    /// Neither STUN nor channel data, or not well formed.
    Malformed,
    /// A method or class that a server does not take.
    UnknownMethod,
    /// Data on a five-tuple without an allocation, or by another port of the client's proxy than
    /// the last signed request.
    NoAllocation,
    /// Channel data on a number that is not bound.
    NoChannel,
    /// The peer has no permission.
    NoPermission,
    /// The peer had a permission or a channel until the settings refused it.
    PeerRefused,
    /// The peer is of the other address family.
    WrongFamily,
    /// The peer is one of this server's own addresses, but no relayed one.
    OwnAddress,
    /// `max-bps`.
    Bandwidth,
    /// `unauthenticated-rate` or `binding-rate`.
    ReplyRate,
    /// A request with a long user name, of a source network that sends many.
    UserNameRate,
    /// A request whose user could not be looked up: too many requests waited, the answer did not
    /// come in time, or the look-up failed.
    UserLookup,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Malformed,
        Self::UnknownMethod,
        Self::NoAllocation,
        Self::NoChannel,
        Self::NoPermission,
        Self::PeerRefused,
        Self::WrongFamily,
        Self::OwnAddress,
        Self::Bandwidth,
        Self::ReplyRate,
        Self::UserNameRate,
        Self::UserLookup,
    ];

    /// The word for metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownMethod => "unknown-method",
            Self::NoAllocation => "no-allocation",
            Self::NoChannel => "no-channel",
            Self::NoPermission => "no-permission",
            Self::PeerRefused => "peer-refused",
            Self::WrongFamily => "wrong-family",
            Self::OwnAddress => "own-address",
            Self::Bandwidth => "bandwidth",
            Self::ReplyRate => "reply-rate",
            Self::UserNameRate => "user-name-rate",
            Self::UserLookup => "user-lookup",
        }
    }

    /// Number of reasons.
    pub const COUNT: usize = Self::UserLookup as usize + 1;
}

/// One thing for the driver to do.
#[derive(Debug)]
pub enum Output {
    /// Send a control message to a client.
    Transmit {
        /// The client.
        path: Path,
        /// The message.
        message: Vec<u8>,
    },
    /// Count a client among those without an allocation: its own has ended.
    Idle {
        /// The client.
        path: Path,
    },
    /// Bind a relay socket, then call
    /// [`Server::handle_relay_opened`](super::Server::handle_relay_opened).
    OpenRelay {
        /// The relay's name from now on.
        relay: RelayId,
        /// Address to bind.
        addr: SocketAddr,
    },
    /// Listen for TCP connections of peers, then call
    /// [`Server::handle_relay_opened`](super::Server::handle_relay_opened).
    OpenTcpRelay {
        /// The relay's name from now on.
        relay: RelayId,
        /// Address to bind.
        addr: SocketAddr,
    },
    /// Connect to a peer, then call
    /// [`Server::handle_connected`](super::Server::handle_connected).
    Connect {
        /// The connection's name from now on.
        connection: ConnectionId,
        /// The relayed transport address, which is to be its source.
        from: SocketAddr,
        /// The peer.
        to: PeerAddr,
    },
    /// Close a peer connection and its data connection, whatever has become of them.
    CloseConnection {
        /// The connection's name.
        connection: ConnectionId,
    },
    /// The stream of `path` carries data for a peer connection from now on: hand it to
    /// the worker that has it.
    HandOver {
        /// The stream; no longer a client's.
        path: Path,
        /// The peer connection.
        connection: ConnectionId,
        /// Index of the worker that has it.
        worker: usize,
    },
    /// Close a relay socket.
    CloseRelay {
        /// The relay's name, which may be used again afterwards.
        relay: RelayId,
    },
    /// A channel was bound, or something about it has changed: a lifetime, the client's socket, a
    /// limit.
    ChannelUp(Channel),
    /// A channel is gone: expired, denied, or its allocation has ended.
    ChannelDown {
        /// The relay of [`Channel::relay`].
        relay: RelayId,
        /// The number of [`Channel::number`].
        number: u16,
    },
    /// Look a user up, then call [`Server::handle_user`](super::Server::handle_user); a request
    /// waits for it.
    LookupUser {
        /// Name of the look-up, which is never used again.
        id: LookupId,
        /// User name, prepared as RFC 8489 §14.3 has it; anybody may have sent it.
        user: Arc<str>,
        /// Realm that the key is for.
        realm: Arc<str>,
    },
    /// Something that operators want to see.
    Event(Event),
}

/// A channel, with everything that it takes to relay its data in place of the server. Data that
/// was relayed so is reported with [`Server::handle_offloaded`](super::Server::handle_offloaded).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The relay socket; with `number`, the channel's name.
    pub relay: RelayId,
    /// The channel number.
    pub number: u16,
    /// The client, the server's address that it uses, and the transport between them.
    pub tuple: FiveTuple,
    /// The socket that serves the client.
    pub socket: ClientSocket,
    /// The relayed transport address as it is bound.
    pub relayed: SocketAddr,
    /// The peer.
    pub peer: PeerAddr,
    /// Ports of the peer's address that may be reached: anything but [`Reach::Any`] is decided by
    /// the server, packet by packet.
    pub reach: Reach,
    /// End of the channel: data of the client is relayed until then.
    pub until: Instant,
    /// End of the permission: data of the peer is relayed until then; `None`: it has ended.
    pub permission_until: Option<Instant>,
    /// Bytes per second that the allocation may carry each way.
    pub rate: Option<u64>,
}

/// Event for the log.
#[derive(Debug)]
pub enum Event {
    /// An allocation was made.
    Created {
        /// The allocation.
        session: Session,
        /// Lifetime of the allocation from now on.
        lifetime: Duration,
    },
    /// A lifetime began anew.
    Refreshed {
        /// The allocation.
        session: Session,
        /// Lifetime of the allocation from now on.
        lifetime: Duration,
    },
    /// An allocation is gone.
    Ended {
        /// The allocation.
        session: Session,
        /// Cause of the end.
        reason: EndReason,
        /// Time since it was made.
        duration: Duration,
        /// Data that it carried.
        traffic: Traffic,
    },
    /// A request was refused.
    Refused {
        /// The client's side.
        tuple: FiveTuple,
        /// The user name as claimed or proved; not escaped.
        user: Option<Arc<str>>,
        /// Whether the client's address is proven, by a nonce or by the transport. If it is not,
        /// anybody may have sent the request.
        proven: bool,
        /// The method of the request.
        method: Method,
        /// The answer.
        code: u16,
        /// Cause, in words for people.
        reason: &'static str,
    },
    /// A peer was refused; at most one a minute for each reason.
    PeerDenied {
        /// The client's side.
        tuple: FiveTuple,
        /// The user.
        user: Option<Arc<str>>,
        /// The peer that the request names.
        peer: PeerAddr,
        /// Cause, and the option that would allow the peer.
        denied: Denied,
    },
    /// A request was answered 401 or 438 with a nonce, as every client's first one is; told if
    /// [`Server::tell_details`](super::Server::tell_details) wants that.
    Challenged {
        /// The client's side.
        tuple: FiveTuple,
        /// The user name as claimed; not escaped.
        user: Option<Arc<str>>,
        /// The method of the request.
        method: Method,
        /// The answer.
        code: u16,
        /// Why, for people.
        reason: &'static str,
    },
    /// A Binding request was answered; told if
    /// [`Server::tell_details`](super::Server::tell_details) wants that.
    Binding {
        /// The client's side.
        tuple: FiveTuple,
        /// The answer; 0: success.
        code: u16,
    },
    /// Permissions were installed, or began anew; told if
    /// [`Server::tell_details`](super::Server::tell_details) wants that.
    Permitted {
        /// The allocation.
        session: Session,
        /// Addresses of the peers.
        peers: Vec<IpAddr>,
        /// Lifetime of the permissions from now on.
        lifetime: Duration,
    },
    /// A channel was bound, or began anew; told if
    /// [`Server::tell_details`](super::Server::tell_details) wants that.
    ChannelBound {
        /// The allocation.
        session: Session,
        /// The channel number.
        number: u16,
        /// The peer.
        peer: PeerAddr,
        /// Lifetime of the channel from now on.
        lifetime: Duration,
    },
}

/// The part of an allocation that log lines tell.
#[derive(Clone, Debug)]
pub struct Session {
    /// Unique in this process since the start.
    pub serial: u64,
    /// The client's side.
    pub tuple: FiveTuple,
    /// The user, not escaped; none with `no-auth`.
    pub user: Option<Arc<str>>,
    /// The relayed transport address in its public form, as peers see it.
    pub relayed: SocketAddr,
}

/// Why an allocation ended. The discriminant indexes [`Counters::ended`](super::counters::Counters::ended).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum EndReason {
    /// Refresh with LIFETIME 0.
    Deleted,
    /// The lifetime ran out.
    Expired,
    /// The server stops.
    Shutdown,
    /// An operator ended it.
    Killed,
    /// The client's connection is closed.
    Disconnected,
    /// A reload took the user's credentials away.
    Revoked,
    /// The user's credentials ran out (`rest-expiry`).
    CredentialsExpired,
}

impl EndReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Deleted,
        Self::Expired,
        Self::Shutdown,
        Self::Killed,
        Self::Disconnected,
        Self::Revoked,
        Self::CredentialsExpired,
    ];

    /// The name in logs and metric labels.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Expired => "expired",
            Self::Shutdown => "shutdown",
            Self::Killed => "killed",
            Self::Disconnected => "disconnected",
            Self::Revoked => "revoked",
            Self::CredentialsExpired => "credentials-expired",
        }
    }
}

/// Packets and payload bytes of one allocation, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Traffic {
    /// Packets that went to peers.
    pub to_peers: u64,
    /// Payload bytes that went to peers.
    pub to_peers_bytes: u64,
    /// Packets that went to the client.
    pub to_client: u64,
    /// Payload bytes that went to the client.
    pub to_client_bytes: u64,
}

impl Traffic {
    /// Counts packets of one direction and their payload bytes.
    pub(super) fn count(&mut self, to_peer: bool, packets: u64, bytes: u64) {
        let (all_packets, all_bytes) = if to_peer {
            (&mut self.to_peers, &mut self.to_peers_bytes)
        } else {
            (&mut self.to_client, &mut self.to_client_bytes)
        };
        *all_packets += packets;
        *all_bytes += bytes;
    }
}
