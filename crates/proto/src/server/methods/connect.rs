//! Connect (RFC 6062 §5.2).

use crate::auth::Identity;
use crate::server::allocation::Allocation;
use crate::server::context::Context;
use crate::server::ports::Relayed;
use crate::server::refusal::Refusal;
use crate::server::tcp_relay;
use crate::wire::message::Head;
use crate::wire::numbers::AttributeType;
use crate::wire::request::Connect;

use super::create_permission::check_peer;

/// Begins a connection; the answer comes when the peer has answered, or not.
pub(in crate::server) fn handle(
    allocation: &mut Allocation,
    ctx: &mut Context,
    request: &Connect,
    head: &Head,
    identity: &Identity,
) -> Result<(), Refusal> {
    let Some(connections) = &allocation.tcp else {
        return Err(Refusal::NoTcpAllocation);
    };
    let named = request
        .peer?
        .ok_or(Refusal::Missing(AttributeType::XOR_PEER_ADDRESS))?;
    let peer = ctx.shared.relays.peer(named);
    if connections.values().any(|other| other.peer == peer) {
        return Err(Refusal::ConnectionExists);
    }
    check_peer(allocation, ctx, peer, Some(Relayed::Tcp))?;
    tcp_relay::begin(allocation, ctx, peer, head, identity)
}
