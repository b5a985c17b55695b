//! Connections between relayed transport addresses and peers (RFC 6062).

use std::collections::HashMap;
use std::time::Instant;

use super::five_tuple::PeerAddr;
use crate::auth::Identity;
use crate::random::HashKeys;
use crate::wire::message::Head;

/// Name of a peer connection; the CONNECTION-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// Connection of a TCP allocation with a peer.
#[derive(Debug)]
pub(super) struct PeerConnection {
    pub(super) peer: PeerAddr,
    pub(super) state: ConnectionState,
    /// End of the wait for the peer, or for the client's data connection.
    pub(super) deadline: Option<Instant>,
}

/// Progress of a peer connection.
#[derive(Debug)]
pub(super) enum ConnectionState {
    /// The peer has not answered; the Connect request waits, which this identity has signed.
    Connecting(Head, Identity),
    /// No data connection has come.
    Waiting,
    /// Data flows.
    Joined,
}

/// The peer connections of one TCP allocation.
pub(super) type PeerConnections = HashMap<ConnectionId, PeerConnection, HashKeys>;
