//! ChannelBind (RFC 8656 §12.2).

use crate::server::allocation::Allocation;
use crate::server::context::Context;
use crate::server::counters::Limit;
use crate::server::output::Event;
use crate::server::peer_table::Binding;
use crate::server::ports::Relayed;
use crate::server::refusal::Refusal;
use crate::wire::channel_data::{MAX_NUMBER, MAX_NUMBER_RFC5766, MIN_NUMBER};
use crate::wire::numbers::AttributeType;
use crate::wire::request::ChannelBind;
use crate::wire::response::Success;

use super::create_permission::check_peer;

pub(in crate::server) fn handle(
    allocation: &mut Allocation,
    ctx: &mut Context,
    request: &ChannelBind,
) -> Result<Success, Refusal> {
    // 1. CHANNEL-NUMBER and XOR-PEER-ADDRESS are there.
    let number = request
        .number?
        .ok_or(Refusal::Missing(AttributeType::CHANNEL_NUMBER))?;
    let named = request
        .peer?
        .ok_or(Refusal::Missing(AttributeType::XOR_PEER_ADDRESS))?;
    // 2. The number is one that may be bound.
    let max = if ctx.shared.protocol.rfc5766_channels {
        MAX_NUMBER_RFC5766
    } else {
        MAX_NUMBER
    };
    if !(MIN_NUMBER..=max).contains(&number) {
        return Err(Refusal::ChannelOutOfRange);
    }
    if allocation.tcp.is_some() {
        return Err(Refusal::ChannelOfTcpAllocation);
    }
    // Policy, and the family of the peer.
    let peer = ctx.shared.relays.peer(named);
    let reach = check_peer(allocation, ctx, peer, Some(Relayed::Udp))?;
    // 3., 4. Neither the number nor the peer is bound otherwise.
    let (now, channels) = (ctx.now.mono, allocation.peers.channels());
    match (channels.get(number, now), channels.of_peer(peer, now)) {
        (Some(bound), _) if bound.peer != peer => return Err(Refusal::ChannelHasOtherPeer),
        (_, Some(other)) if other != number => return Err(Refusal::PeerHasOtherChannel),
        (None, None) if channels.count() >= ctx.shared.limits.channels => {
            return Err(Refusal::MaxChannels);
        }
        (None, None) => {
            let cap = ctx.shared.limits.channel_cap();
            if !allocation.holding.add_channels(1, cap) {
                ctx.counters.refuse(Limit::Channels);
                return Err(Refusal::TotalChannels);
            }
        }
        _ => {}
    }
    // A binding makes or refreshes the permission too.
    if let Err(refusal) = allocation.permit(ctx, &[(peer.ip(), reach)]) {
        allocation.settle();
        return Err(refusal);
    }
    let expires = now + ctx.shared.channel_lifetime;
    let binding = Binding {
        peer,
        expires,
        reach,
    };
    allocation.peers.bind(number, binding);
    // An expired channel may have had the number.
    allocation.settle();
    allocation.announce(ctx, |other| other.peer.ip() == peer.ip());
    allocation.arm_by(ctx, expires);
    let lifetime = ctx.shared.channel_lifetime;
    ctx.tell(|| Event::ChannelBound {
        session: allocation.session(),
        number,
        peer,
        lifetime,
    });
    Ok(Success::Empty)
}
