//! CreatePermission (RFC 8656 §10.2): all of the addresses or none.

use crate::server::allocation::Allocation;
use crate::server::context::Context;
use crate::server::five_tuple::{Family, PeerAddr};
use crate::server::output::Event;
use crate::server::peer_table::Reach;
use crate::server::ports::Relayed;
use crate::server::refusal::Refusal;
use crate::server::shared::Shared;
use crate::wire::numbers::AttributeType;
use crate::wire::request::CreatePermission;
use crate::wire::response::Success;

pub(in crate::server) fn handle(
    allocation: &mut Allocation,
    ctx: &mut Context,
    request: &CreatePermission,
) -> Result<Success, Refusal> {
    let named = request.peers.as_ref().map_err(|bad| *bad)?;
    if named.is_empty() {
        return Err(Refusal::Missing(AttributeType::XOR_PEER_ADDRESS));
    }
    let mut permitted = Vec::with_capacity(named.len());
    for addr in named {
        let peer = ctx.shared.relays.peer(*addr);
        let reach = check_peer(allocation, ctx, peer, None)?;
        permitted.push((peer.ip(), reach));
    }
    allocation.permit(ctx, &permitted)?;
    let is_permitted = |peer: PeerAddr| permitted.iter().any(|(ip, _)| *ip == peer.ip());
    allocation.announce(ctx, |binding| is_permitted(binding.peer));
    let lifetime = ctx.shared.permission_lifetime;
    ctx.tell(|| Event::Permitted {
        session: allocation.session(),
        peers: permitted.iter().map(|(ip, _)| *ip).collect(),
        lifetime,
    });
    Ok(Success::Empty)
}

/// Whether policy lets an allocation reach the address of `peer`, and also the port if that is to
/// be `reached` at once.
pub(super) fn check_peer(
    allocation: &Allocation,
    ctx: &mut Context,
    peer: PeerAddr,
    reached: Option<Relayed>,
) -> Result<Reach, Refusal> {
    if Family::of(peer.ip()) != allocation.family() {
        return Err(Refusal::PeerFamilyMismatch);
    }
    let reach = ctx.shared.reach(peer.ip()).and_then(|reach| match reached {
        Some(relayed) if !ctx.shared.reaches(reach, peer, relayed) => {
            Err(Shared::out_of_reach(reach))
        }
        _ => Ok(reach),
    });
    let user = allocation.identity.user.as_ref();
    reach.map_err(|denied| ctx.deny(&allocation.path, user, peer, denied))
}
