//! Refresh (RFC 8656 §8.2).

use std::time::Duration;

use stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY;
use stun::message::Message;
use turn::proto::lifetime::Lifetime;
use turn::proto::reqfamily::{REQUESTED_FAMILY_IPV4, REQUESTED_FAMILY_IPV6};

use super::super::Server;
use super::super::five_tuple::Family;
use super::super::output::{EndReason, Event, Output, RelayId};
use super::super::refusal::Refusal;
use super::lifetime;
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
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or_else(Refusal::no_allocation)?;
        let granted = self.shared.lifetime(now, &allocation.identity, requested);
        let own = match allocation.family() {
            Family::V4 => REQUESTED_FAMILY_IPV4,
            Family::V6 => REQUESTED_FAMILY_IPV6,
        };
        // Any other, known or not, is not the allocation's (R3).
        if let Ok(family) = message.get(ATTR_REQUESTED_ADDRESS_FAMILY) {
            match family[..] {
                [value, _, _, _] if value == own.0 => {}
                [_, _, _, _] => return Err(Refusal::family_mismatch()),
                _ => return Err(Refusal::bad_request("malformed REQUESTED-ADDRESS-FAMILY")),
            }
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
