//! ChannelBind (RFC 8656 §12.2).

use stun::attributes::ATTR_CHANNEL_NUMBER;
use stun::message::Message;
use turn::proto::channum::ChannelNumber;

use super::super::Server;
use super::super::counters::Limit;
use super::super::output::{Channel, Output, RelayId};
use super::super::peer_table::Binding;
use super::super::ports::Relayed;
use super::super::refusal::Refusal;
use super::super::shared::Shared;
use super::{optional, peer_addresses};
use crate::Now;
use crate::wire::channel_data::{MAX_NUMBER, MAX_NUMBER_RFC5766, MIN_NUMBER};
use crate::wire::message::{Head, Reply};

impl Server {
    pub(in crate::server) fn channel_bind(
        &mut self,
        now: Now,
        relay: RelayId,
        message: &Message,
        head: &Head,
    ) -> Result<Reply, Refusal> {
        let ChannelNumber(number) =
            optional(message, ATTR_CHANNEL_NUMBER, "malformed CHANNEL-NUMBER")?
                .ok_or(Refusal::bad_request("no CHANNEL-NUMBER"))?;
        let named = peer_addresses(message)
            .next()
            .ok_or(Refusal::bad_request("no XOR-PEER-ADDRESS"))?
            .ok_or(Refusal::bad_request("malformed XOR-PEER-ADDRESS"))?;
        let max = if self.shared.protocol.rfc5766_channels {
            MAX_NUMBER_RFC5766
        } else {
            MAX_NUMBER
        };
        if !(MIN_NUMBER..=max).contains(&number) {
            return Err(Refusal::bad_request("channel number out of range"));
        }

        let tcp = self
            .allocations
            .get_mut(relay)
            .is_some_and(|a| a.tcp.is_some());
        if tcp {
            return Err(Refusal::bad_request("a TCP allocation has no channels"));
        }
        let peer = self.shared.relays.peer(named);
        let reach = self.permit(now, relay, peer)?;
        if !self.shared.reaches(reach, peer, Relayed::Udp) {
            let (path, user) = self.owner(relay)?;
            let denied = Shared::out_of_reach(reach);
            return Err(self.deny(now, &path, &user, peer, denied));
        }

        let allocation = self
            .allocations
            .get_mut(relay)
            .ok_or_else(Refusal::no_allocation)?;
        let channels = allocation.peers.channels();
        match (
            channels.get(number, now.mono),
            channels.of_peer(peer, now.mono),
        ) {
            (Some(bound), _) if bound.peer != peer => {
                return Err(Refusal::bad_request(
                    "channel number is bound to another peer",
                ));
            }
            (_, Some(other)) if other != number => {
                return Err(Refusal::bad_request(
                    "peer is bound to another channel number",
                ));
            }
            (None, None) if channels.count() >= self.shared.limits.channels => {
                return Err(Refusal::no_capacity("max-channels reached"));
            }
            (None, None) => {
                let cap = self.shared.limits.channel_cap();
                if !allocation.holding.add_channels(1, cap) {
                    self.counters.refuse(Limit::Channels);
                    return Err(Refusal::no_capacity("total-channels reached"));
                }
            }
            _ => {}
        }
        let installed = self.install(now, relay, &[(peer.ip(), reach)]);
        let expires = now.mono + self.shared.channel_lifetime;
        if let Some(allocation) = self.allocations.get_mut(relay) {
            if let Err(refusal) = installed {
                allocation.settle();
                return Err(refusal);
            }
            allocation.peers.bind(
                number,
                Binding {
                    peer,
                    expires,
                    reach,
                },
            );
            // An expired one may have had the number.
            allocation.settle();
            let tuple = allocation.path.tuple;
            self.outputs.push_back(Output::ChannelUp(Channel {
                tuple,
                relay,
                number,
                peer,
            }));
        }
        self.rearm(relay, expires);
        Ok(Reply::success(head))
    }
}
