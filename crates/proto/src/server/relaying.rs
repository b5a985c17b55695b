//! Relayed data, both ways: Send and Data indications, channel data (RFC 8656 §11, §12.5–§12.7).
//!
//! Nothing here allocates, locks or asks the system for anything.

use std::net::SocketAddr;

use super::Server;
use super::allocation::Allocation;
use super::counters::Counters;
use super::five_tuple::{Family, Path, PeerAddr};
use super::output::{ClientVerdict, DropReason, PeerVerdict, RelayId};
use super::ports::Relayed;
use crate::Now;
use crate::policy::peer_filter::canonical_socket;
use crate::wire::channel_data;
use crate::wire::indication::{self, Header};
use crate::wire::numbers::TransactionId;

/// The longest payload that fits a Data indication with an IPv6 peer.
const MAX_INDICATED: u16 = 65_504;

impl Server {
    pub(super) fn channel_data<'a>(
        &mut self,
        now: Now,
        path: &Path,
        bytes: &'a [u8],
    ) -> ClientVerdict<'a> {
        let Some((number, payload)) = channel_data::parse(bytes) else {
            return ClientVerdict::Drop(DropReason::Malformed);
        };
        let Some(allocation) = self.allocations.by_path_mut(path) else {
            return ClientVerdict::Drop(DropReason::NoAllocation);
        };
        // A channel outlives its permission in this direction (§12.6, C7).
        let Some((peer, reach)) = allocation.peers.of_channel(number, now.mono) else {
            return ClientVerdict::Drop(DropReason::NoChannel);
        };
        if !self.shared.reaches(reach, peer, Relayed::Udp) {
            return ClientVerdict::Drop(DropReason::OwnAddress);
        }
        if !self
            .shared
            .carries(now, allocation, true, payload.len() as u64)
        {
            return ClientVerdict::Drop(DropReason::Bandwidth);
        }
        to_peer(allocation, &mut self.counters, peer, payload, false)
    }

    pub(super) fn send<'a>(&mut self, now: Now, path: &Path, bytes: &'a [u8]) -> ClientVerdict<'a> {
        if self.shared.protocol.stun_only {
            return ClientVerdict::Drop(DropReason::UnknownMethod);
        }
        let Some(send) = indication::parse_send(bytes) else {
            return ClientVerdict::Drop(DropReason::Malformed);
        };
        let Some(allocation) = self.allocations.by_path_mut(path) else {
            return ClientVerdict::Drop(DropReason::NoAllocation);
        };
        let peer = self.shared.relays.peer(send.peer);
        if Family::of(peer.ip()) != allocation.family() {
            return ClientVerdict::Drop(DropReason::WrongFamily);
        }
        let Some(permission) = allocation.peers.permission(peer.ip(), now.mono) else {
            return ClientVerdict::Drop(DropReason::NoPermission);
        };
        if !self.shared.reaches(permission.reach, peer, Relayed::Udp) {
            return ClientVerdict::Drop(DropReason::OwnAddress);
        }
        if !self
            .shared
            .carries(now, allocation, true, send.data.len() as u64)
        {
            return ClientVerdict::Drop(DropReason::Bandwidth);
        }
        let (counters, df) = (&mut self.counters, send.dont_fragment);
        to_peer(allocation, counters, peer, send.data, df)
    }

    /// Takes a datagram of `len` bytes that came to a relay socket.
    pub fn handle_peer(
        &mut self,
        now: Now,
        relay: RelayId,
        source: SocketAddr,
        len: u16,
    ) -> PeerVerdict {
        self.handle_timeout(now);
        self.counters.peers.receive(len.into());
        let verdict = self.peer_data(now, relay, PeerAddr(canonical_socket(source)), len);
        if let PeerVerdict::Drop(reason) = verdict {
            self.counters.drops[reason as usize] += 1;
        }
        verdict
    }

    fn peer_data(&mut self, now: Now, relay: RelayId, peer: PeerAddr, len: u16) -> PeerVerdict {
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return PeerVerdict::Drop(DropReason::NoAllocation);
        };
        let Some((reach, channel)) = allocation.peers.of_peer(peer, now.mono) else {
            return PeerVerdict::Drop(DropReason::NoPermission);
        };
        if !self.shared.reaches(reach, peer, Relayed::Udp) {
            return PeerVerdict::Drop(DropReason::OwnAddress);
        }
        if !self.shared.carries(now, allocation, false, len.into()) {
            return PeerVerdict::Drop(DropReason::Bandwidth);
        }
        let header = match channel {
            Some(number) if allocation.path.tuple.transport.is_stream() => {
                Header::channel_data(number, len).padded(len)
            }
            Some(number) => Header::channel_data(number, len),
            // Its length would not fit the field, and a stream must not lose step.
            None if len > MAX_INDICATED => return PeerVerdict::Drop(DropReason::Malformed),
            None => {
                self.indication_id = self.indication_id.wrapping_add(1);
                let [_, _, _, _, id @ ..] = self.indication_id.to_be_bytes();
                Header::data_indication(&TransactionId(id), self.shared.relays.public(peer.0), len)
            }
        };
        self.counters
            .clients
            .send(header.as_bytes().len() + usize::from(len) + header.padding());
        allocation.traffic.to_client += 1;
        allocation.traffic.to_client_bytes += u64::from(len);
        PeerVerdict::ToClient {
            path: allocation.path,
            header,
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
    allocation.traffic.to_peers += 1;
    allocation.traffic.to_peers_bytes += payload.len() as u64;
    ClientVerdict::ToPeer {
        relay: allocation.relay,
        peer,
        payload,
        dont_fragment,
    }
}
