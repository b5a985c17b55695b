//! Refresh (RFC 8656 §8.2).

use std::time::Duration;

use crate::server::allocation::Allocation;
use crate::server::context::Context;
use crate::server::five_tuple::Family;
use crate::server::output::{Event, Output};
use crate::server::refusal::Refusal;
use crate::wire::request::{Refresh, RequestedFamily};

/// Lets the lifetime begin anew and tells the lifetime that is granted; `None`: the allocation is
/// to be deleted.
pub(in crate::server) fn handle(
    allocation: &mut Allocation,
    ctx: &mut Context,
    request: &Refresh,
) -> Result<Option<Duration>, Refusal> {
    let requested = request.lifetime?;
    let own = match allocation.family() {
        Family::V4 => RequestedFamily::Ipv4,
        Family::V6 => RequestedFamily::Ipv6,
    };
    // Any other family, known or not, is not the allocation's.
    if request.family?.is_some_and(|family| family != own) {
        return Err(Refusal::PeerFamilyMismatch);
    }
    if requested == Some(Duration::ZERO) {
        return Ok(None);
    }
    let granted = ctx
        .shared
        .lifetime(ctx.now, &allocation.identity, requested);
    allocation.expires = ctx.now.mono + granted;
    ctx.counters.refreshed += 1;
    allocation.arm_by(ctx, allocation.expires);
    ctx.outputs.push_back(Output::Event(Event::Refreshed {
        session: allocation.session(),
        lifetime: granted,
    }));
    Ok(Some(granted))
}
