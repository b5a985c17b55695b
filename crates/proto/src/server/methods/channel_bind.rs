//! ChannelBind (RFC 8656 §12.2).

use super::super::Server;
use super::super::counters::Limit;
use super::super::output::{Channel, Output, RelayId};
use super::super::peer_table::Binding;
use super::super::ports::Relayed;
use super::super::refusal::Refusal;
use super::super::shared::Shared;
use crate::Now;
use crate::wire::channel_data::{MAX_NUMBER, MAX_NUMBER_RFC5766, MIN_NUMBER};
use crate::wire::numbers::AttributeType;
use crate::wire::request::ChannelBind;
use crate::wire::response::Success;

impl Server {
    pub(in crate::server) fn channel_bind(
        &mut self,
        now: Now,
        relay: RelayId,
        request: &ChannelBind,
    ) -> Result<Success, Refusal> {
        let number = request
            .number?
            .ok_or(Refusal::Missing(AttributeType::CHANNEL_NUMBER))?;
        let named = request
            .peer?
            .ok_or(Refusal::Missing(AttributeType::XOR_PEER_ADDRESS))?;
        let max = if self.shared.protocol.rfc5766_channels {
            MAX_NUMBER_RFC5766
        } else {
            MAX_NUMBER
        };
        if !(MIN_NUMBER..=max).contains(&number) {
            return Err(Refusal::ChannelOutOfRange);
        }

        let tcp = self
            .allocations
            .get_mut(relay)
            .is_some_and(|a| a.tcp.is_some());
        if tcp {
            return Err(Refusal::ChannelOfTcpAllocation);
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
            .ok_or(Refusal::NoAllocation)?;
        let channels = allocation.peers.channels();
        match (
            channels.get(number, now.mono),
            channels.of_peer(peer, now.mono),
        ) {
            (Some(bound), _) if bound.peer != peer => {
                return Err(Refusal::ChannelHasOtherPeer);
            }
            (_, Some(other)) if other != number => {
                return Err(Refusal::PeerHasOtherChannel);
            }
            (None, None) if channels.count() >= self.shared.limits.channels => {
                return Err(Refusal::MaxChannels);
            }
            (None, None) => {
                let cap = self.shared.limits.channel_cap();
                if !allocation.holding.add_channels(1, cap) {
                    self.counters.refuse(Limit::Channels);
                    return Err(Refusal::TotalChannels);
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
        Ok(Success::Empty)
    }
}
