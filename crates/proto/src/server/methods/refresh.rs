//! Refresh (RFC 8656 §8.2).

use std::time::Duration;

use super::super::Server;
use super::super::five_tuple::Family;
use super::super::output::{EndReason, Event, Output, RelayId};
use super::super::refusal::Refusal;
use crate::Now;
use crate::wire::request::{Refresh, RequestedFamily};
use crate::wire::response::Success;

impl Server {
    pub(in crate::server) fn refresh(
        &mut self,
        now: Now,
        relay: RelayId,
        request: &Refresh,
    ) -> Result<Success, Refusal> {
        let requested = request.lifetime?;
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or(Refusal::NoAllocation)?;
        let granted = self.shared.lifetime(now, &allocation.identity, requested);
        let own = match allocation.family() {
            Family::V4 => RequestedFamily::Ipv4,
            Family::V6 => RequestedFamily::Ipv6,
        };
        // Any other, known or not, is not the allocation's (R3).
        if request.family?.is_some_and(|family| family != own) {
            return Err(Refusal::PeerFamilyMismatch);
        }
        if requested == Some(Duration::ZERO) {
            self.end(now, relay, EndReason::Deleted);
            return Ok(Success::Refresh {
                lifetime: Duration::ZERO,
            });
        }
        allocation.expires = now.mono + granted;
        let (session, expires) = (allocation.session(), allocation.expires);
        self.counters.refreshed += 1;
        self.rearm(relay, expires);
        self.outputs.push_back(Output::Event(Event::Refreshed {
            session,
            lifetime: granted,
        }));
        Ok(Success::Refresh { lifetime: granted })
    }
}
