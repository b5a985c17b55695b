//! CreatePermission (RFC 8656 §10.2): all of the addresses or none (P3).

use std::net::IpAddr;
use std::sync::Arc;

use super::super::Server;
use super::super::counters::Limit;
use super::super::five_tuple::{Family, Path, PeerAddr};
use super::super::output::RelayId;
use super::super::peer_table::{Permission, Reach};
use super::super::refusal::Refusal;
use crate::Now;
use crate::wire::numbers::AttributeType;
use crate::wire::request::CreatePermission;
use crate::wire::response::Success;

impl Server {
    pub(in crate::server) fn create_permission(
        &mut self,
        now: Now,
        relay: RelayId,
        request: &CreatePermission,
    ) -> Result<Success, Refusal> {
        let named = request.peers.as_ref().map_err(|bad| *bad)?;
        if named.is_empty() {
            return Err(Refusal::Missing(AttributeType::XOR_PEER_ADDRESS));
        }
        let mut permitted = Vec::with_capacity(named.len());
        for addr in named {
            let peer = self.shared.relays.peer(*addr);
            let reach = self.permit(now, relay, peer)?;
            permitted.push((peer.ip(), reach));
        }
        self.install(now, relay, &permitted)?;
        Ok(Success::Empty)
    }

    /// Whether policy lets this allocation reach `peer`.
    pub(in crate::server) fn permit(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: PeerAddr,
    ) -> Result<Reach, Refusal> {
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or(Refusal::NoAllocation)?;
        if Family::of(peer.ip()) != allocation.family() {
            return Err(Refusal::PeerFamilyMismatch);
        }
        self.shared.reach(peer.ip()).or_else(|denied| {
            let (path, user) = self.owner(relay)?;
            Err(self.deny(now, &path, &user, peer, denied))
        })
    }

    /// The client and the user of an allocation.
    pub(in crate::server) fn owner(
        &mut self,
        relay: RelayId,
    ) -> Result<(Path, Option<Arc<str>>), Refusal> {
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or(Refusal::NoAllocation)?;
        Ok((allocation.path, allocation.identity.user.clone()))
    }

    /// Makes permissions, or lets their lifetime begin anew, unless that would be too many.
    pub(in crate::server) fn install(
        &mut self,
        now: Now,
        relay: RelayId,
        permitted: &[(IpAddr, Reach)],
    ) -> Result<(), Refusal> {
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or(Refusal::NoAllocation)?;
        let mut new: Vec<_> = permitted
            .iter()
            .map(|(ip, _)| *ip)
            .filter(|ip| !allocation.peers.knows(ip))
            .collect();
        new.sort_unstable();
        new.dedup();
        let limits = &self.shared.limits;
        if allocation.peers.permitted().len() + new.len() > limits.permissions {
            return Err(Refusal::MaxPermissions);
        }
        let cap = limits.permission_cap();
        if !allocation.holding.add_permissions(new.len(), cap) {
            self.counters.refuse(Limit::Permissions);
            return Err(Refusal::TotalPermissions);
        }
        let expires = now.mono + self.shared.permission_lifetime;
        for (ip, reach) in permitted {
            allocation.peers.permit(
                *ip,
                Permission {
                    expires,
                    reach: *reach,
                },
            );
        }
        self.rearm(relay, expires);
        Ok(())
    }
}
