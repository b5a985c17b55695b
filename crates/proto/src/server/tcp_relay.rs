//! TCP allocations: connections between relayed transport addresses and peers (RFC 6062 §5).

use std::time::Duration;

use super::allocation::Allocation;
use super::connections::{ConnectionId, ConnectionState, PeerConnection};
use super::context::Context;
use super::deadlines::Subject;
use super::five_tuple::PeerAddr;
use super::output::Output;
use super::ports::Relayed;
use super::refusal::Refusal;
use crate::auth::Identity;
use crate::wire::message::Head;
use crate::wire::numbers::TransactionId;
use crate::wire::response::{Success, encode_connection_attempt};

/// Time that a peer has to answer, and then the client to come for the connection (§5.2, §5.3).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Begins a connection for a Connect request, which is answered when the peer has.
pub(super) fn begin(
    allocation: &mut Allocation,
    ctx: &mut Context,
    peer: PeerAddr,
    head: &Head,
    identity: &Identity,
) -> Result<(), Refusal> {
    let state = ConnectionState::Connecting(*head, identity.clone());
    let connection = add(allocation, ctx, peer, state).ok_or(Refusal::MaxPeerConnections)?;
    ctx.outputs.push_back(Output::Connect {
        connection,
        from: allocation.lease.addr(),
        to: peer,
    });
    Ok(())
}

fn add(
    allocation: &mut Allocation,
    ctx: &mut Context,
    peer: PeerAddr,
    state: ConnectionState,
) -> Option<ConnectionId> {
    let connections = allocation.tcp.as_mut()?;
    if connections.len() >= ctx.shared.limits.peer_connections {
        return None;
    }
    let deadline = ctx.now.mono + CONNECT_TIMEOUT;
    let waiting = &ctx.shared.connections;
    let connection = waiting.put(ctx.worker, &allocation.identity, &mut ctx.random);
    let added = PeerConnection {
        peer,
        state,
        deadline: Some(deadline),
    };
    connections.insert(connection, added);
    ctx.connections.insert(connection, allocation.relay);
    ctx.deadlines.arm(deadline, Subject::Connection(connection));
    Some(connection)
}

/// Takes the outcome of an [`Output::Connect`].
pub(super) fn connected(
    allocation: &mut Allocation,
    ctx: &mut Context,
    connection: ConnectionId,
    connected: bool,
) {
    let Some(state) = peer_connection(allocation, connection) else {
        return;
    };
    let ConnectionState::Connecting(head, identity) = &state.state else {
        return;
    };
    let (head, identity) = (*head, identity.clone());
    if !connected {
        return fail(allocation, ctx, connection, &head, &identity);
    }
    let deadline = ctx.now.mono + CONNECT_TIMEOUT;
    state.state = ConnectionState::Waiting;
    if let Some(before) = state.deadline.replace(deadline) {
        ctx.deadlines
            .disarm(before, Subject::Connection(connection));
    }
    ctx.deadlines.arm(deadline, Subject::Connection(connection));
    let success = Success::Connect {
        connection: connection.0,
    };
    ctx.send_success(&allocation.path, &head, identity.key.as_ref(), &success);
}

fn fail(
    allocation: &mut Allocation,
    ctx: &mut Context,
    connection: ConnectionId,
    head: &Head,
    identity: &Identity,
) {
    ctx.refuse(&allocation.path, head, identity, &Refusal::ConnectionFailed);
    close(allocation, ctx, connection);
}

/// Takes a connection that a peer has made; `None`: it is to be closed at once.
pub(super) fn inbound(
    allocation: &mut Allocation,
    ctx: &mut Context,
    peer: PeerAddr,
) -> Option<ConnectionId> {
    let permission = allocation.peers.permission(peer.ip(), ctx.now.mono)?;
    if !ctx.shared.reaches(permission.reach, peer, Relayed::Tcp) {
        return None;
    }
    let connection = add(allocation, ctx, peer, ConnectionState::Waiting)?;
    let named = ctx.shared.relays.public(peer.0);
    let mut message = Vec::new();
    let id = TransactionId(ctx.random.bytes());
    encode_connection_attempt(id, connection.0, named, &mut message);
    ctx.outputs.push_back(Output::Transmit {
        path: allocation.path,
        message,
    });
    Some(connection)
}

/// Takes the client's data connection; `false`: the peer connection is gone.
pub(super) fn joined(
    allocation: &mut Allocation,
    ctx: &mut Context,
    connection: ConnectionId,
) -> bool {
    let Some(state) = peer_connection(allocation, connection) else {
        return false;
    };
    state.state = ConnectionState::Joined;
    if let Some(deadline) = state.deadline.take() {
        ctx.deadlines
            .disarm(deadline, Subject::Connection(connection));
    }
    true
}

/// Ends a connection for which the peer, or the client, has not come in time.
pub(super) fn due(allocation: &mut Allocation, ctx: &mut Context, connection: ConnectionId) {
    let Some(state) = peer_connection(allocation, connection) else {
        return;
    };
    state.deadline = None;
    if !matches!(state.state, ConnectionState::Joined) {
        end(allocation, ctx, connection);
    }
}

/// Closes a connection; a client that waits for it hears that it failed.
fn end(allocation: &mut Allocation, ctx: &mut Context, connection: ConnectionId) {
    match peer_connection(allocation, connection).map(|state| &state.state) {
        Some(ConnectionState::Connecting(head, identity)) => {
            let (head, identity) = (*head, identity.clone());
            fail(allocation, ctx, connection, &head, &identity);
        }
        _ => close(allocation, ctx, connection),
    }
}

/// Closes the connections with peers that the settings no longer allow, and tells whether there
/// were any.
pub(super) fn review(allocation: &mut Allocation, ctx: &mut Context) -> bool {
    let shared = &ctx.shared;
    let allowed = |peer: PeerAddr| {
        let reach = shared.reach(peer.ip());
        reach.is_ok_and(|reach| shared.reaches(reach, peer, Relayed::Tcp))
    };
    let connections = allocation.tcp.iter().flat_map(|all| all.iter());
    let denied: Vec<_> = connections
        .filter(|(_, state)| !allowed(state.peer))
        .map(|(connection, _)| *connection)
        .collect();
    for connection in &denied {
        end(allocation, ctx, *connection);
    }
    !denied.is_empty()
}

/// Closes a connection without a word.
pub(super) fn close(allocation: &mut Allocation, ctx: &mut Context, connection: ConnectionId) {
    let connections = allocation.tcp.as_mut();
    if let Some(state) = connections.and_then(|connections| connections.remove(&connection)) {
        ctx.forget_connection(connection, &state);
    }
}

fn peer_connection(
    allocation: &mut Allocation,
    connection: ConnectionId,
) -> Option<&mut PeerConnection> {
    allocation.tcp.as_mut()?.get_mut(&connection)
}
