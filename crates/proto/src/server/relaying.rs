//! Relayed data, both ways: Send and Data indications, channel data (RFC 8656 §11, §12.5–§12.7).
//!
//! Nothing here allocates, locks or asks the system for anything.

use super::allocation::Allocation;
use super::bandwidth;
use super::context::Context;
use super::counters::Counters;
use super::five_tuple::{Family, PeerAddr};
use super::output::{ClientVerdict, DropReason, PeerVerdict, Traffic};
use super::ports::Relayed;
use crate::wire::channel_data;
use crate::wire::indication::{Header, Send};

/// The longest payload that fits a Data indication with an IPv6 peer.
const MAX_INDICATED: u16 = 65_504;

/// Relays channel data to the peer.
pub(super) fn channel_data<'a>(
    allocation: &mut Allocation,
    ctx: &mut Context,
    number: u16,
    payload: &'a [u8],
) -> ClientVerdict<'a> {
    // A channel outlives its permission in this direction (§12.6).
    let Some((peer, reach)) = allocation.peers.of_channel(number, ctx.now.mono) else {
        let refused = allocation.peers.has_refused_channel(number);
        return ClientVerdict::Drop(if refused {
            DropReason::PeerRefused
        } else {
            DropReason::NoChannel
        });
    };
    if !ctx.shared.reaches(reach, peer, Relayed::Udp) {
        return ClientVerdict::Drop(DropReason::OwnAddress);
    }
    if !bandwidth::take(&ctx.shared, ctx.now, allocation, true, payload.len() as u64) {
        return ClientVerdict::Drop(DropReason::Bandwidth);
    }
    to_peer(allocation, &mut ctx.counters, peer, payload, false)
}

/// Relays the data of a Send indication to the peer.
pub(super) fn send<'a>(
    allocation: &mut Allocation,
    ctx: &mut Context,
    send: &Send<'a>,
) -> ClientVerdict<'a> {
    let peer = ctx.shared.relays.peer(send.peer);
    if Family::of(peer.ip()) != allocation.family() {
        return ClientVerdict::Drop(DropReason::WrongFamily);
    }
    let Some(permission) = allocation.peers.permission(peer.ip(), ctx.now.mono) else {
        return ClientVerdict::Drop(without_permission(allocation, peer));
    };
    if !ctx.shared.reaches(permission.reach, peer, Relayed::Udp) {
        return ClientVerdict::Drop(DropReason::OwnAddress);
    }
    let len = send.data.len() as u64;
    if !bandwidth::take(&ctx.shared, ctx.now, allocation, true, len) {
        return ClientVerdict::Drop(DropReason::Bandwidth);
    }
    let (counters, df) = (&mut ctx.counters, send.dont_fragment);
    to_peer(allocation, counters, peer, send.data, df)
}

/// Relays a datagram of `len` bytes from a peer to the client.
pub(super) fn peer_data(
    allocation: &mut Allocation,
    ctx: &mut Context,
    peer: PeerAddr,
    len: u16,
) -> PeerVerdict {
    let Some((reach, channel)) = allocation.peers.of_peer(peer, ctx.now.mono) else {
        return PeerVerdict::Drop(without_permission(allocation, peer));
    };
    if !ctx.shared.reaches(reach, peer, Relayed::Udp) {
        return PeerVerdict::Drop(DropReason::OwnAddress);
    }
    if !bandwidth::take(&ctx.shared, ctx.now, allocation, false, len.into()) {
        return PeerVerdict::Drop(DropReason::Bandwidth);
    }
    let header = match channel {
        Some(number) if allocation.path.tuple.transport.is_stream() => {
            Header::channel_data(number, len).padded(len)
        }
        Some(number) => Header::channel_data(number, len),
        // The length would not fit the field, and a stream must not lose step.
        None if len > MAX_INDICATED => return PeerVerdict::Drop(DropReason::Malformed),
        None => {
            let id = ctx.next_indication_id();
            Header::data_indication(&id, ctx.shared.relays.public(peer.0), len)
        }
    };
    ctx.counters
        .clients
        .send(header.as_bytes().len() + usize::from(len) + header.padding());
    allocation.traffic.count(false, 1, len.into());
    PeerVerdict::ToClient {
        path: allocation.path,
        header,
    }
}

/// Why nothing is relayed between a client and a peer without a permission.
fn without_permission(allocation: &Allocation, peer: PeerAddr) -> DropReason {
    if allocation.peers.has_refused(peer.ip()) {
        DropReason::PeerRefused
    } else {
        DropReason::NoPermission
    }
}

/// Counts channel data that was relayed in place of the server.
pub(super) fn offloaded(allocation: &mut Allocation, ctx: &mut Context, traffic: Traffic) {
    for (to_peer, packets, bytes) in [
        (true, traffic.to_peers, traffic.to_peers_bytes),
        (false, traffic.to_client, traffic.to_client_bytes),
    ] {
        bandwidth::owe(&ctx.shared, ctx.now, allocation, to_peer, bytes);
        allocation.traffic.count(to_peer, packets, bytes);
        let with_headers = bytes + packets * channel_data::HEADER_LEN as u64;
        let Counters { clients, peers, .. } = &mut ctx.counters;
        if to_peer {
            clients.received += packets;
            clients.received_bytes += with_headers;
            peers.sent += packets;
            peers.sent_bytes += bytes;
        } else {
            peers.received += packets;
            peers.received_bytes += bytes;
            clients.sent += packets;
            clients.sent_bytes += with_headers;
        }
    }
}

/// Sends `payload` to a peer within reach.
fn to_peer<'a>(
    allocation: &mut Allocation,
    counters: &mut Counters,
    peer: PeerAddr,
    payload: &'a [u8],
    dont_fragment: bool,
) -> ClientVerdict<'a> {
    counters.peers.send(payload.len());
    allocation.traffic.count(true, 1, payload.len() as u64);
    ClientVerdict::ToPeer {
        relay: allocation.relay,
        peer,
        payload,
        dont_fragment,
    }
}
