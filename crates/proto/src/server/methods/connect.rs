//! Connect (RFC 6062 §5.2).

use stun::message::Message;

use super::super::Server;
use super::super::output::RelayId;
use super::super::ports::Relayed;
use super::super::refusal::Refusal;
use super::super::shared::Shared;
use super::peer_addresses;
use crate::Now;
use crate::wire::message::Head;

impl Server {
    /// The answer comes when the peer has answered, or not.
    pub(in crate::server) fn connect(
        &mut self,
        now: Now,
        relay: RelayId,
        message: &Message,
        head: &Head,
    ) -> Result<(), Refusal> {
        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or_else(Refusal::no_allocation)?;
        let Some(connections) = &allocation.tcp else {
            return Err(Refusal::no_tcp_allocation());
        };
        let named = peer_addresses(message)
            .next()
            .ok_or(Refusal::bad_request("no XOR-PEER-ADDRESS"))?
            .ok_or(Refusal::bad_request("malformed XOR-PEER-ADDRESS"))?;
        let peer = self.shared.relays.peer(named);
        if connections.values().any(|other| other.peer == peer) {
            return Err(Refusal::connection_exists());
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
