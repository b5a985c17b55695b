//! TCP allocations: connections between relayed transport addresses and peers (RFC 6062 §5).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Server;
use super::allocation::Allocation;
use super::connections::ConnectionId;
use super::deadlines::Subject;
use super::five_tuple::PeerAddr;
use super::output::{Output, RelayId};
use super::ports::Relayed;
use super::refusal::Refusal;
use crate::Now;
use crate::policy::peer_filter::canonical_socket;
use crate::random::HashKeys;
use crate::wire::message::Head;
use crate::wire::numbers::TransactionId;
use crate::wire::response::{Success, encode_connection_attempt};

/// How long a peer may take to answer, and then the client to come for it (§5.2, §5.3).
pub const PATIENCE: Duration = Duration::from_secs(30);

/// One connection with a peer.
#[derive(Debug)]
pub struct PeerConnection {
    /// The peer.
    pub peer: PeerAddr,
    state: State,
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// The Connect request that it answers.
    Connecting(Head),
    /// No data connection has come for it.
    Waiting,
    /// Data flows.
    Joined,
}

/// The peer connections of one TCP allocation.
pub type PeerConnections = HashMap<ConnectionId, PeerConnection, HashKeys>;

impl Server {
    /// Begins a connection for a Connect request, which is answered when it is there.
    pub(super) fn begin_connection(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: PeerAddr,
        head: &Head,
    ) -> Result<(), Refusal> {
        let state = State::Connecting(*head);
        let connection = self
            .add_connection(now, relay, peer, state)
            .ok_or(Refusal::MaxPeerConnections)?;
        if let Some(allocation) = self.allocations.get_mut(relay) {
            let from = allocation.lease.addr();
            self.outputs.push_back(Output::Connect {
                connection,
                from,
                to: peer,
            });
        }
        Ok(())
    }

    fn add_connection(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: PeerAddr,
        state: State,
    ) -> Option<ConnectionId> {
        let allocation = self.allocations.get_mut(relay)?;
        let connections = allocation.tcp.as_mut()?;
        if connections.len() >= self.shared.limits.peer_connections {
            return None;
        }
        let deadline = now.mono + PATIENCE;
        let connection =
            self.shared
                .connections
                .put(self.worker, &allocation.identity, &mut self.random);
        connections.insert(
            connection,
            PeerConnection {
                peer,
                state,
                deadline: Some(deadline),
            },
        );
        self.connections.insert(connection, relay);
        self.deadlines
            .arm(deadline, Subject::Connection(connection));
        Some(connection)
    }

    /// Takes the outcome of an [`Output::Connect`].
    pub fn handle_connected(&mut self, now: Now, connection: ConnectionId, connected: bool) {
        let Some(state) = self.peer_connection(connection) else {
            return;
        };
        let State::Connecting(head) = state.state else {
            return;
        };
        if !connected {
            return self.connect_failed(connection, &head);
        }
        let before = state.deadline;
        let deadline = now.mono + PATIENCE;
        state.state = State::Waiting;
        state.deadline = Some(deadline);
        if let Some(before) = before {
            self.deadlines
                .disarm(before, Subject::Connection(connection));
        }
        self.deadlines
            .arm(deadline, Subject::Connection(connection));
        self.answer(
            connection,
            &head,
            &Success::Connect {
                connection: connection.0,
            },
        );
    }

    fn connect_failed(&mut self, connection: ConnectionId, head: &Head) {
        let refusal = Refusal::ConnectionFailed;
        if let Some(allocation) = self.allocation_of(connection) {
            let (path, identity) = (allocation.path, allocation.identity.clone());
            self.refuse(&path, head, &identity, &refusal);
        }
        self.drop_connection(connection);
    }

    fn answer(&mut self, connection: ConnectionId, head: &Head, success: &Success) {
        if let Some(allocation) = self.allocation_of(connection) {
            let (path, identity) = (allocation.path, allocation.identity.clone());
            self.transmit(&path, head, success, &identity);
        }
    }

    /// Takes a connection that a peer has made to a relayed transport address; `None`: it is to
    /// be closed at once (T4).
    pub fn handle_inbound(
        &mut self,
        now: Now,
        relay: RelayId,
        source: SocketAddr,
    ) -> Option<ConnectionId> {
        self.handle_timeout(now);
        let peer = PeerAddr(canonical_socket(source));
        let allocation = self.allocations.get_mut(relay)?;
        let permission = allocation.peers.permission(peer.ip(), now.mono)?;
        if !self.shared.reaches(permission.reach, peer, Relayed::Tcp) {
            return None;
        }
        let path = allocation.path;
        let connection = self.add_connection(now, relay, peer, State::Waiting)?;
        let named = self.shared.relays.public(peer.0);
        let mut message = Vec::new();
        let id = TransactionId(self.random.bytes());
        encode_connection_attempt(id, connection.0, named, &mut message);
        self.outputs.push_back(Output::Transmit { path, message });
        Some(connection)
    }

    /// A client's data connection has come to this worker, which has the peer connection; `false`
    /// when that is gone.
    pub fn handle_joined(&mut self, connection: ConnectionId) -> bool {
        let Some(state) = self.peer_connection(connection) else {
            return false;
        };
        state.state = State::Joined;
        if let Some(deadline) = state.deadline.take() {
            self.deadlines
                .disarm(deadline, Subject::Connection(connection));
        }
        true
    }

    /// Whether the limits let more bytes pass now.
    ///
    /// # Errors
    /// When to ask again.
    pub fn may_carry(
        &mut self,
        now: Now,
        connection: ConnectionId,
        to_peer: bool,
    ) -> Result<(), Instant> {
        let relay = self.connections.get(&connection);
        let allocation = relay.and_then(|relay| self.allocations.get_mut(*relay));
        let again = allocation.and_then(|a| self.shared.carries_again(now, a, to_peer));
        again.map_or(Ok(()), Err)
    }

    /// Counts `len` bytes that are relayed.
    pub fn handle_connection_data(
        &mut self,
        now: Now,
        connection: ConnectionId,
        to_peer: bool,
        len: usize,
    ) {
        let relay = self.connections.get(&connection);
        let Some(allocation) = relay.and_then(|relay| self.allocations.get_mut(*relay)) else {
            return;
        };
        let len = len as u64;
        self.shared.carried(now, allocation, to_peer, len);
        let traffic = &mut allocation.traffic;
        let (packets, bytes) = if to_peer {
            (&mut traffic.to_peers, &mut traffic.to_peers_bytes)
        } else {
            (&mut traffic.to_client, &mut traffic.to_client_bytes)
        };
        *packets += 1;
        *bytes += len;
    }

    /// One of the two sides has closed.
    pub fn handle_connection_closed(&mut self, connection: ConnectionId) {
        self.drop_connection(connection);
    }

    /// The peer, or the client, has not come in time.
    pub(super) fn connection_due(&mut self, connection: ConnectionId) {
        let Some(state) = self.peer_connection(connection) else {
            return;
        };
        state.deadline = None;
        if !matches!(state.state, State::Joined) {
            self.end_connection(connection);
        }
    }

    /// Closes a connection; a client that waits for it hears that it failed.
    fn end_connection(&mut self, connection: ConnectionId) {
        match self.peer_connection(connection).map(|state| &state.state) {
            Some(State::Connecting(head)) => {
                let head = *head;
                self.connect_failed(connection, &head);
            }
            _ => self.drop_connection(connection),
        }
    }

    /// Closes the connections with peers that the settings no longer allow.
    pub(super) fn review_connections(&mut self, relay: RelayId) {
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return;
        };
        let shared = &self.shared;
        let allowed = |peer: PeerAddr| {
            let reach = shared.reach(peer.ip());
            reach.is_ok_and(|reach| shared.reaches(reach, peer, Relayed::Tcp))
        };
        let connections = allocation.tcp.iter().flat_map(|all| all.iter());
        let denied: Vec<_> = connections
            .filter(|(_, state)| !allowed(state.peer))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in denied {
            self.end_connection(connection);
        }
    }

    fn allocation_of(&mut self, connection: ConnectionId) -> Option<&mut Allocation> {
        let relay = *self.connections.get(&connection)?;
        self.allocations.get_mut(relay)
    }

    fn peer_connection(&mut self, connection: ConnectionId) -> Option<&mut PeerConnection> {
        let allocation = self.allocation_of(connection)?;
        allocation.tcp.as_mut()?.get_mut(&connection)
    }

    fn drop_connection(&mut self, connection: ConnectionId) {
        let Some(relay) = self.connections.get(&connection) else {
            return;
        };
        let state = self
            .allocations
            .get_mut(*relay)
            .and_then(|allocation| allocation.tcp.as_mut()?.remove(&connection));
        if let Some(state) = state {
            self.forget_connection(connection, &state);
        }
    }

    /// Frees what is kept of a connection outside of its allocation.
    pub(super) fn forget_connection(&mut self, connection: ConnectionId, state: &PeerConnection) {
        self.connections.remove(&connection);
        self.shared.connections.remove(connection);
        if let Some(deadline) = state.deadline {
            self.deadlines
                .disarm(deadline, Subject::Connection(connection));
        }
        self.outputs
            .push_back(Output::CloseConnection { connection });
    }
}
