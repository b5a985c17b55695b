//! An allocation as one plain value, to go on with it in another worker or another process.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::allocation::Allocation;
use super::context::Context;
use super::deadlines::Subject;
use super::five_tuple::{ClientSocket, Family, FiveTuple, Path, PeerAddr, Transport};
use super::output::{RelayId, Traffic};
use super::peer_table::{Binding, PeerTable, Permission};
use super::ports::Relayed;
use super::table::Allocations;
use crate::auth::Identity;
use crate::auth::key::Key;
use crate::policy::account::Directions;

/// Everything that is known of a UDP allocation, except for its sockets. Times are counted from
/// the moment of the export, because no other process shares the clock.
///
/// A TCP allocation (RFC 6062) is not written out: it is nothing without its peer and data
/// connections, whose bytes under way belong to the splices of the driver. Its client begins anew.
///
/// The user's key is part of it, which is as secret as a password.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct AllocationState {
    /// Transport of the five-tuple.
    pub transport: Transport,
    /// Client of the five-tuple.
    pub client: SocketAddr,
    /// Server of the five-tuple.
    pub server: SocketAddr,
    /// Whether the client's address is a proxy's word.
    pub proxied: bool,
    /// User name; `None` with `no-auth`.
    pub user: Option<String>,
    /// Name under which the user's allocations count together.
    pub quota_id: String,
    /// Realm of the key.
    pub realm: String,
    /// Long-term key of the user, which its length tells the algorithm of; `None` with `no-auth`.
    pub key: Option<Vec<u8>>,
    /// Last second of REST credentials, since the Unix epoch.
    pub credentials_expire: Option<u64>,
    /// Whether the key came from a look-up.
    pub looked_up: bool,
    /// Relayed transport address as it is bound.
    pub relayed: SocketAddr,
    /// Time since the allocation was made.
    pub age: Duration,
    /// Time until the allocation ends.
    pub remaining: Duration,
    /// Peers with a permission, and the time until it ends; in order.
    pub permissions: Vec<(IpAddr, Duration)>,
    /// Channel numbers, their peers, and the time until the channel ends; in order.
    pub channels: Vec<(u16, SocketAddr, Duration)>,
    /// Data that it has carried.
    pub traffic: Traffic,
}

impl fmt::Debug for AllocationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocationState")
            .field("client", &self.client)
            .field("relayed", &self.relayed)
            .finish_non_exhaustive()
    }
}

/// Why an allocation cannot go on here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// The five-tuple has an allocation.
    FiveTuple,
    /// The relayed transport address is taken, or not one of this server's.
    Port,
    /// `user-quota` or `total-quota`.
    Quota,
}

/// Writes an allocation out; `None`: it relays TCP, or its relay socket is being opened.
pub(super) fn export(allocation: &Allocation, ctx: &Context) -> Option<AllocationState> {
    if allocation.tcp.is_some() || allocation.opening.is_some() {
        return None;
    }
    let now = ctx.now.mono;
    let (tuple, identity) = (&allocation.path.tuple, &allocation.identity);
    let permitted = allocation.peers.permitted();
    let mut permissions: Vec<_> = permitted
        .filter_map(|ip| Some((*ip, allocation.peers.permission(*ip, now)?.expires - now)))
        .collect();
    permissions.sort_unstable();
    let mut channels: Vec<_> = allocation
        .peers
        .channels()
        .iter()
        .filter(|(_, binding)| now < binding.expires)
        .map(|(number, binding)| (number, binding.peer.0, binding.expires - now))
        .collect();
    channels.sort_unstable();
    Some(AllocationState {
        transport: tuple.transport,
        client: tuple.client,
        server: tuple.server,
        proxied: allocation.path.proxied,
        user: identity.user.as_deref().map(str::to_owned),
        quota_id: identity.quota_id.as_ref().to_owned(),
        realm: identity.realm.as_ref().to_owned(),
        key: identity.key.as_ref().map(|key| key.as_bytes().to_vec()),
        credentials_expire: identity.expires,
        looked_up: identity.looked_up,
        relayed: allocation.lease.addr(),
        age: now.saturating_duration_since(allocation.created),
        remaining: allocation.expires.saturating_duration_since(now),
        permissions,
        channels,
        traffic: allocation.traffic,
    })
}

/// Goes on with an allocation whose client is served by `socket`. Peers that policy denies here,
/// and those beyond a limit, are left out.
pub(super) fn import(
    allocations: &mut Allocations,
    ctx: &mut Context,
    socket: ClientSocket,
    state: &AllocationState,
) -> Result<RelayId, ImportError> {
    let tuple = FiveTuple {
        transport: state.transport,
        client: state.client,
        server: state.server,
    };
    if allocations.by_tuple(&tuple).is_some() {
        return Err(ImportError::FiveTuple);
    }
    let identity = Identity {
        user: state.user.as_deref().map(Into::into),
        quota_id: state.quota_id.as_str().into(),
        realm: state.realm.as_str().into(),
        key: state.key.as_deref().and_then(Key::from_bytes),
        expires: state.credentials_expire,
        looked_up: state.looked_up,
    };
    let (relays, now) = (&ctx.shared.relays, ctx.now.mono);
    let lease = relays
        .ports()
        .claim(state.relayed.ip(), state.relayed.port());
    let lease = lease.ok_or(ImportError::Port)?;
    let quota = ctx.shared.quota.acquire(&identity.quota_id);
    let quota = quota.map_err(|_| ImportError::Quota)?;
    lease.opened(Relayed::Udp);
    let expires = now + state.remaining;
    let path = Path {
        tuple,
        socket,
        proxied: state.proxied,
    };
    let relay = allocations.insert(tuple, |relay| Allocation {
        serial: ctx.shared.next_serial(),
        relay,
        path,
        public: relays.announce(state.relayed),
        lease,
        _quota: quota,
        created: now.checked_sub(state.age).unwrap_or(now),
        expires,
        armed: expires,
        opening: None,
        replay: None,
        peers: PeerTable::new(ctx.hash_keys),
        tcp: None,
        traffic: state.traffic,
        bandwidth: Directions::default(),
        holding: ctx.shared.holding(ctx.now, &identity),
        identity,
    });
    ctx.deadlines.arm(expires, Subject::Allocation(relay.0));
    let family = Family::of(state.relayed.ip());
    *ctx.counters.active(state.transport, family) += 1;
    if let Some(allocation) = allocations.get_mut(relay) {
        add_peers(allocation, ctx, state);
    }
    Ok(relay)
}

fn add_peers(allocation: &mut Allocation, ctx: &mut Context, state: &AllocationState) {
    let now = ctx.now.mono;
    let family = allocation.family();
    for (ip, remaining) in &state.permissions {
        let Some(reach) = ctx
            .shared
            .reach(*ip)
            .ok()
            .filter(|_| Family::of(*ip) == family)
        else {
            continue;
        };
        if allocation.permit(ctx, &[(*ip, reach)]).is_ok() {
            let expires = now + *remaining;
            allocation.peers.permit(*ip, Permission { expires, reach });
            allocation.arm_by(ctx, expires);
        }
    }
    for (number, peer, remaining) in &state.channels {
        let (peer, expires) = (PeerAddr(*peer), now + *remaining);
        let Ok(reach) = ctx.shared.reach(peer.ip()) else {
            continue;
        };
        let limits = &ctx.shared.limits;
        let fits = allocation.peers.channels().count() < limits.channels
            && allocation.holding.add_channels(1, limits.channel_cap());
        if fits {
            let binding = Binding {
                peer,
                expires,
                reach,
            };
            allocation.peers.bind(*number, binding);
            allocation.arm_by(ctx, expires);
        }
    }
    allocation.settle();
    allocation.announce(ctx, |_| true);
}
