//! Allocate (RFC 8656 §7.2); the checks stand in the RFC's order, under its numbers.

use std::net::SocketAddr;
use std::time::Duration;

use crate::auth::Identity;
use crate::ip::{canonical_ip, canonical_socket};
use crate::policy::account::Directions;
use crate::policy::quota::{QuotaError, QuotaGuard};
use crate::server::allocation::{Allocation, Opening, PortRequest, Replay};
use crate::server::connections::PeerConnections;
use crate::server::context::Context;
use crate::server::counters::Limit;
use crate::server::deadlines::Subject;
use crate::server::five_tuple::{Family, Path};
use crate::server::output::{Event, Output, RelayId, Traffic};
use crate::server::peer_table::PeerTable;
use crate::server::ports::{Parity, PortLease, Relayed};
use crate::server::refusal::Refusal;
use crate::server::settings::DefaultFamily;
use crate::server::table::Allocations;
use crate::server::tokens::{RESERVATION_LIFETIME, Reservation, ReservationToken};
use crate::wire::message::Head;
use crate::wire::numbers::AttributeType;
use crate::wire::request::{Allocate, RequestedFamily, RequestedTransport, is_present};
use crate::wire::response::Success;

/// Time for which a request may come again with the same transaction id (RFC 8489 §6.3.1).
const RETRANSMISSION: Duration = Duration::from_secs(40);

/// Ports that are tried before the client hears 508: another program may sit on some.
const BIND_TRIES: usize = 64;

/// A port for an allocation, and its place in the quotas.
struct Port {
    lease: PortLease,
    quota: QuotaGuard,
    /// The next port, to be reserved.
    partner: Option<(PortLease, QuotaGuard)>,
}

/// Begins an allocation; the answer comes when its relay socket is open.
pub(in crate::server) fn handle(
    allocations: &mut Allocations,
    ctx: &mut Context,
    path: &Path,
    request: &Allocate,
    head: &Head,
    identity: &Identity,
) -> Result<(), Refusal> {
    // 1. The request is authenticated: done before this is called.
    // 2. The five-tuple must be free, but a retransmission gets the same response again.
    if let Some(existing) = allocations.by_tuple(&path.tuple) {
        if existing.opening.is_some() {
            return Ok(());
        }
        return match &existing.replay {
            Some(replay) if replay.id == head.id && existing.identity == *identity => {
                ctx.send_message(path, replay.response.to_vec());
                Ok(())
            }
            _ => Err(Refusal::AllocationExists),
        };
    }
    // 11. Before anything is taken: a client that is sent elsewhere leaves nothing here.
    let public = ctx
        .shared
        .relays
        .public(canonical_socket(path.tuple.server));
    if let Some(refusal) = ctx.shared.redirection.refusal(path, public, ctx.draining) {
        return Err(refusal);
    }
    // 3. REQUESTED-TRANSPORT is there, and is UDP, or TCP (RFC 6062 §5.1).
    let transport = request
        .transport?
        .ok_or(Refusal::Missing(AttributeType::REQUESTED_TRANSPORT))?;
    let relayed = match transport {
        RequestedTransport::Udp if !ctx.shared.udp_relay => return Err(Refusal::NoUdpRelay),
        RequestedTransport::Udp => Relayed::Udp,
        RequestedTransport::Tcp => check_tcp(ctx, path, request)?,
        RequestedTransport::Other(_) => return Err(Refusal::UnsupportedTransport),
    };
    // 4. DONT-FRAGMENT is supported.
    // 5., 6., 8. RESERVATION-TOKEN, the two families, and EVEN-PORT.
    let (token, port) = port_request(request)?;
    // 7. The family is one that there is an address of; 9. no second one is made.
    let family = family(ctx, path, request)?;
    let lifetime = request.lifetime?;
    let found = match token {
        Some(token) => redeem(ctx, token)?,
        None => {
            if !ctx.shared.relays.has(family) {
                return Err(Refusal::FamilyNotSupported);
            }
            // 10. The quotas, before a port is looked for.
            find_port(ctx, path, family, port, identity)?
        }
    };
    let lifetime = ctx.shared.lifetime(ctx.now, identity, lifetime);
    let opening = Opening {
        head: *head,
        refused: Vec::new(),
        partner: found.partner,
        port,
    };
    let addr = found.lease.addr();
    let expires = ctx.now.mono + lifetime;
    let relay = allocations.insert(path.tuple, |relay| Allocation {
        serial: ctx.shared.next_serial(),
        relay,
        path: *path,
        identity: identity.clone(),
        public: ctx.shared.relays.announce(addr),
        lease: found.lease,
        _quota: found.quota,
        created: ctx.now.mono,
        expires,
        armed: expires,
        opening: Some(Box::new(opening)),
        replay: None,
        peers: PeerTable::new(ctx.hash_keys),
        tcp: (relayed == Relayed::Tcp)
            .then(|| Box::new(PeerConnections::with_hasher(ctx.hash_keys))),
        traffic: Traffic::default(),
        bandwidth: Directions::default(),
        holding: ctx.shared.holding(ctx.now, identity),
    });
    ctx.deadlines.arm(expires, Subject::Allocation(relay.0));
    ctx.outputs.push_back(open_relay(relay, addr, relayed));
    Ok(())
}

/// Whether a TCP relay may be had, and had in this way (RFC 6062 §5.1).
fn check_tcp(ctx: &Context, path: &Path, request: &Allocate) -> Result<Relayed, Refusal> {
    if !path.tuple.transport.is_stream() {
        return Err(Refusal::TcpRelayOverUdp);
    }
    if request.dont_fragment
        || is_present(&request.even_port)
        || is_present(&request.reservation_token)
    {
        return Err(Refusal::UdpRelayAttribute);
    }
    if !ctx.shared.tcp_relay {
        return Err(Refusal::NoTcpRelay);
    }
    Ok(Relayed::Tcp)
}

/// The port that RESERVATION-TOKEN or EVEN-PORT asks for.
fn port_request(request: &Allocate) -> Result<(Option<ReservationToken>, PortRequest), Refusal> {
    let family = is_present(&request.family);
    let (token, even) = (request.reservation_token?, request.even_port?);
    // 5. The token decides port and family, so nothing else may.
    if let Some(token) = token {
        if even.is_some() || family || request.additional_family {
            return Err(Refusal::ReservationTokenNotAlone);
        }
        return Ok((Some(token), PortRequest::Reserved));
    }
    // 6. One family, or a second one.
    if family && request.additional_family {
        return Err(Refusal::TwoFamilies);
    }
    // 8. A pair of ports is of one family.
    match even {
        None => Ok((None, PortRequest::Any)),
        Some(true) if request.additional_family => Err(Refusal::PortPairInTwoFamilies),
        Some(true) => Ok((None, PortRequest::Pair)),
        Some(false) => Ok((None, PortRequest::Even)),
    }
}

fn family(ctx: &Context, path: &Path, request: &Allocate) -> Result<Family, Refusal> {
    let by_default = ctx.shared.protocol.default_family;
    Ok(match (request.family?, by_default) {
        (Some(RequestedFamily::Other(_)), _) => return Err(Refusal::FamilyNotSupported),
        (Some(RequestedFamily::Ipv6), _) | (None, DefaultFamily::Ipv6) => Family::V6,
        (None, DefaultFamily::Client) => Family::of(canonical_ip(path.tuple.client.ip())),
        (Some(RequestedFamily::Ipv4), _) | (None, DefaultFamily::Ipv4) => Family::V4,
    })
}

fn redeem(ctx: &mut Context, token: ReservationToken) -> Result<Port, Refusal> {
    let Reservation {
        lease,
        quota,
        expires,
    } = ctx
        .shared
        .reservations
        .redeem(token, ctx.now.mono)
        .ok_or(Refusal::UnknownReservation)?;
    // Armed on the worker that made it; where that is another one, its deadline finds nothing.
    ctx.deadlines.disarm(expires, Subject::Reservation(token));
    Ok(Port {
        lease,
        quota,
        partner: None,
    })
}

fn find_port(
    ctx: &mut Context,
    path: &Path,
    family: Family,
    port: PortRequest,
    identity: &Identity,
) -> Result<Port, Refusal> {
    let rates = &ctx.shared.rates;
    if !rates.allow_allocate(ctx.now.mono, &identity.quota_id) {
        ctx.counters.refuse(Limit::AllocateRate);
        return Err(Refusal::AllocateRate);
    }
    let quota = acquire(ctx, identity)?;
    let partner_quota = match port {
        PortRequest::Pair => Some(acquire(ctx, identity)?),
        _ => None,
    };
    let (lease, partner) = lease(ctx, path, family, port).ok_or(Refusal::NoPortLeft)?;
    Ok(Port {
        lease,
        quota,
        partner: partner.zip(partner_quota),
    })
}

fn acquire(ctx: &mut Context, identity: &Identity) -> Result<QuotaGuard, Refusal> {
    let acquired = ctx.shared.quota.acquire(&identity.quota_id);
    acquired.map_err(|refusal| {
        let (limit, refusal) = match refusal {
            QuotaError::Holder => (Limit::UserQuota, Refusal::UserQuota),
            QuotaError::Total => (Limit::TotalQuota, Refusal::TotalQuota),
        };
        ctx.counters.refuse(limit);
        refusal
    })
}

/// A free port on the best address that has one.
fn lease(
    ctx: &mut Context,
    path: &Path,
    family: Family,
    port: PortRequest,
) -> Option<(PortLease, Option<PortLease>)> {
    let server = canonical_ip(path.tuple.server.ip());
    let (relays, random) = (&ctx.shared.relays, &mut ctx.random);
    let ports = relays.ports();
    let mut addresses = relays.choices(family, server, random);
    addresses.find_map(|ip| match port {
        PortRequest::Any => Some((ports.take(ip, Parity::Any, random)?, None)),
        PortRequest::Even => Some((ports.take(ip, Parity::Even, random)?, None)),
        PortRequest::Pair => {
            let (even, odd) = ports.take_pair(ip, random)?;
            Some((even, Some(odd)))
        }
        PortRequest::Reserved => None,
    })
}

/// Takes another port for an allocation whose port is another program's; `Err`: that was in vain.
pub(in crate::server) fn try_next_port(
    allocation: &mut Allocation,
    ctx: &mut Context,
    mut opening: Box<Opening>,
) -> Result<(), Box<Opening>> {
    if opening.refused.len() + 1 >= BIND_TRIES || opening.port == PortRequest::Reserved {
        return Err(opening);
    }
    let family = allocation.family();
    let Some((lease, partner)) = lease(ctx, &allocation.path, family, opening.port) else {
        return Err(opening);
    };
    let addr = lease.addr();
    opening.partner = partner.zip(opening.partner.take().map(|(_, quota)| quota));
    let refused = std::mem::replace(&mut allocation.lease, lease);
    opening.refused.push(refused);
    allocation.public = ctx.shared.relays.announce(addr);
    allocation.opening = Some(opening);
    let relayed = match allocation.tcp {
        Some(_) => Relayed::Tcp,
        None => Relayed::Udp,
    };
    ctx.outputs
        .push_back(open_relay(allocation.relay, addr, relayed));
    Ok(())
}

/// Answers an Allocate request whose relay socket could not be opened.
pub(in crate::server) fn open_failed(
    allocation: &Allocation,
    ctx: &mut Context,
    opening: &Opening,
) {
    ctx.deadlines
        .disarm(allocation.armed, Subject::Allocation(allocation.relay.0));
    let (path, identity) = (&allocation.path, &allocation.identity);
    ctx.refuse(path, &opening.head, identity, &Refusal::NoPortBound);
}

/// Answers an Allocate request whose relay socket is open.
pub(in crate::server) fn opened(allocation: &mut Allocation, ctx: &mut Context, opening: Opening) {
    let now = ctx.now.mono;
    let reservation_token = opening.partner.map(|(lease, quota)| {
        let expires = now + RESERVATION_LIFETIME;
        let reservation = Reservation {
            lease,
            quota,
            expires,
        };
        let token = ctx.shared.reservations.put(reservation, &mut ctx.random);
        ctx.deadlines.arm(expires, Subject::Reservation(token));
        token
    });
    allocation.lease.opened(match allocation.tcp {
        Some(_) => Relayed::Tcp,
        None => Relayed::Udp,
    });
    let lifetime = allocation
        .expires
        .saturating_duration_since(allocation.created);
    let success = Success::Allocate {
        relayed: allocation.public,
        mapped: canonical_socket(allocation.path.tuple.client),
        lifetime,
        reservation_token,
    };
    let (head, key) = (&opening.head, allocation.identity.key.as_ref());
    let response = ctx.encode(head, key, &success);
    let until = now + RETRANSMISSION;
    allocation.replay = Some(Replay {
        id: head.id,
        response: response.clone().into(),
        until,
    });
    allocation.arm_by(ctx, until);
    ctx.counters.created += 1;
    let (path, family) = (&allocation.path, allocation.family());
    *ctx.counters.active(path.tuple.transport, family) += 1;
    ctx.send_response(path, head, 0, response);
    ctx.outputs.push_back(Output::Event(Event::Created {
        session: allocation.session(),
        lifetime,
    }));
}

fn open_relay(relay: RelayId, addr: SocketAddr, relayed: Relayed) -> Output {
    match relayed {
        Relayed::Udp => Output::OpenRelay { relay, addr },
        Relayed::Tcp => Output::OpenTcpRelay { relay, addr },
    }
}

/// Why a relay socket could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Another program has the port.
    InUse,
    /// Anything else: no descriptor left, no such address.
    Failed,
}
