//! Refresh (RFC 8656 §8.2).

use std::time::Duration;

use stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY;
use stun::message::Message;
use turn::proto::lifetime::Lifetime;
use turn::proto::reqfamily::{REQUESTED_FAMILY_IPV6, RequestedAddressFamily};

use super::super::Server;
use super::super::five_tuple::Family;
use super::super::output::{EndReason, Event, Output, RelayId};
use super::super::refusal::Refusal;
use super::{lifetime, optional};
use crate::Now;
use crate::wire::message::{Head, Reply};

impl Server {
    pub(in crate::server) fn refresh(
        &mut self,
        now: Now,
        relay: RelayId,
        message: &Message,
        head: &Head,
    ) -> Result<Reply, Refusal> {
        let requested = lifetime(message)?;
        let family: Option<RequestedAddressFamily> = optional(
            message,
            ATTR_REQUESTED_ADDRESS_FAMILY,
            "malformed REQUESTED-ADDRESS-FAMILY",
        )?;
        let granted = self.shared.lifetime(requested);
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or_else(Refusal::no_allocation)?;
        let wanted = family.map(|f| {
            if f == REQUESTED_FAMILY_IPV6 {
                Family::V6
            } else {
                Family::V4
            }
        });
        if wanted.is_some_and(|family| family != allocation.family()) {
            return Err(Refusal::family_mismatch());
        }
        if requested == Some(Duration::ZERO) {
            self.end(now, relay, EndReason::Deleted);
            return Ok(Reply::success(head).with(&Lifetime(Duration::ZERO)));
        }
        allocation.expires = now.mono + granted;
        let (session, expires) = (allocation.session(), allocation.expires);
        self.counters.refreshed += 1;
        self.rearm(relay, expires);
        self.outputs.push_back(Output::Event(Event::Refreshed {
            session,
            lifetime: granted,
        }));
        Ok(Reply::success(head).with(&Lifetime(granted)))
    }
}
