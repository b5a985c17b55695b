//! Owners of allocations: requests that they may make, and the lifetime that their credentials leave.

use super::allocation::Allocation;
use super::connections::ConnectionId;
use super::context::Context;
use super::five_tuple::Path;
use super::output::EndReason;
use super::refusal::Refusal;
use super::table::Allocations;
use crate::auth::{Identity, Standing};
use crate::wire::request::Request;

/// The user who made what a request is about, if that is there.
pub(super) fn claimed_owner(
    allocations: &Allocations,
    ctx: &Context,
    path: &Path,
    request: &Request,
) -> Option<Identity> {
    // The data connection of an allocation is on another five-tuple.
    let peer_owner = match request {
        Request::ConnectionBind(bind) => {
            let connection = bind.connection.ok().flatten().map(ConnectionId);
            connection.and_then(|id| ctx.shared.connections.owner(id))
        }
        _ => None,
    };
    let own = || {
        allocations
            .by_tuple(&path.tuple)
            .map(|a| a.identity.clone())
    };
    peer_owner.or_else(own)
}

/// The allocation on the five-tuple of an authenticated request; `None`: its Allocate request has
/// no answer yet, and this one gets none.
pub(super) fn own_allocation<'a>(
    allocations: &'a mut Allocations,
    ctx: &mut Context,
    path: &Path,
    identity: &Identity,
) -> Result<Option<&'a mut Allocation>, Refusal> {
    let Some(allocation) = allocations.by_tuple_mut(&path.tuple) else {
        return Err(Refusal::NoAllocation);
    };
    if allocation.opening.is_some() {
        return Ok(None);
    }
    if allocation.identity != *identity {
        return Err(Refusal::WrongCredentials);
    }
    // A client that reaches the server itself is not the one that a proxy speaks of.
    if allocation.path.proxied != path.proxied {
        return Err(Refusal::NoAllocation);
    }
    // A client that has learned the server's present realm signs with it, and expects it.
    if allocation.identity.realm != identity.realm {
        allocation.identity = identity.clone();
    }
    // A client whose proxy uses another port is answered there from now on. Only a request moves
    // it: data is not signed.
    if allocation.path.socket != path.socket {
        allocation.path.socket = path.socket;
        allocation.announce(ctx, |_| true);
    }
    Ok(Some(allocation))
}

/// Bounds an allocation's lifetime by that of its credentials; `Err`: its owner would not be let
/// in now.
pub(super) fn review_owner(allocation: &mut Allocation, ctx: &Context) -> Result<(), EndReason> {
    let (auth, identity) = (&ctx.shared.auth, &allocation.identity);
    match auth.standing(ctx.now, identity) {
        Standing::Good => {
            if let Some(left) = auth.time_left(ctx.now, identity) {
                allocation.expires = allocation.expires.min(ctx.now.mono + left);
            }
            Ok(())
        }
        Standing::Revoked => Err(EndReason::Revoked),
        Standing::RunOut => Err(EndReason::CredentialsExpired),
    }
}
