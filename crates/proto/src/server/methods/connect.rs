//! Connect (RFC 6062 §5.2).

use super::super::Server;
use super::super::output::RelayId;
use super::super::ports::Relayed;
use super::super::refusal::Refusal;
use super::super::shared::Shared;
use crate::Now;
use crate::wire::message::Head;
use crate::wire::numbers::AttributeType;
use crate::wire::request::Connect;

impl Server {
    /// The answer comes when the peer has answered, or not.
    pub(in crate::server) fn connect(
        &mut self,
        now: Now,
        relay: RelayId,
        request: &Connect,
        head: &Head,
    ) -> Result<(), Refusal> {
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or(Refusal::NoAllocation)?;
        let Some(connections) = &allocation.tcp else {
            return Err(Refusal::NoTcpAllocation);
        };
        let named = request
            .peer?
            .ok_or(Refusal::Missing(AttributeType::XOR_PEER_ADDRESS))?;
        let peer = self.shared.relays.peer(named);
        if connections.values().any(|other| other.peer == peer) {
            return Err(Refusal::ConnectionExists);
        }
        let reach = self.permit(now, relay, peer)?;
        if !self.shared.reaches(reach, peer, Relayed::Tcp) {
            let (path, user) = self.owner(relay)?;
            let denied = Shared::out_of_reach(reach);
            return Err(self.deny(now, &path, &user, peer, denied));
        }
        self.begin_connection(now, relay, peer, head)
    }
}
