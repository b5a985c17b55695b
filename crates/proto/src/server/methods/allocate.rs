//! Allocate (RFC 8656 §7.2); the checks stand in the RFC's order.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::Server;
use super::super::allocation::{Allocation, Opening, Replay, Wish};
use super::super::counters::Limit;
use super::super::deadlines::Subject;
use super::super::five_tuple::{Family, Path};
use super::super::output::{Event, Output, RelayId, Traffic};
use super::super::peer_table::PeerTable;
use super::super::ports::{Parity, PortLease, Relayed};
use super::super::refusal::Refusal;
use super::super::reservations::{self, Reservation, Token};
use super::super::tcp_relay::PeerConnections;
use crate::Now;
use crate::auth::Identity;
use crate::policy::account::Directions;
use crate::policy::peer_filter::{canonical_ip, canonical_socket};
use crate::policy::quota::{QuotaGuard, QuotaRefusal};
use crate::server::settings::DefaultFamily;
use crate::wire::message::Head;
use crate::wire::numbers::AttributeType;
use crate::wire::request::{Allocate, RequestedFamily, RequestedTransport, is_present};
use crate::wire::response::Success;

/// How long a request may come again with the same transaction id (RFC 8489 §6.3.1).
const RETRANSMISSION: Duration = Duration::from_secs(40);

/// Ports that are tried before the client hears 508: another program may sit on some.
const BIND_TRIES: usize = 64;

/// A port found for an allocation, with what goes along.
struct Place {
    lease: PortLease,
    quota: QuotaGuard,
    partner: Option<(PortLease, QuotaGuard)>,
}

/// How it is to be opened.
struct Terms {
    wish: Wish,
    lifetime: Duration,
    tcp: bool,
}

impl Server {
    pub(in crate::server) fn allocate(
        &mut self,
        now: Now,
        path: &Path,
        request: &Allocate,
        head: &Head,
        identity: &Identity,
    ) -> Result<(), Refusal> {
        // 2. The five-tuple must be free, but a retransmission gets what the request got (L2).
        if let Some(existing) = self.allocations.by_tuple(&path.tuple) {
            if existing.opening.is_some() {
                return Ok(());
            }
            return match &existing.replay {
                Some(replay) if replay.id == head.id && existing.identity == *identity => {
                    let message = replay.reply.to_vec();
                    self.send_message(path, message);
                    Ok(())
                }
                _ => Err(Refusal::AllocationExists),
            };
        }

        // 11. Before anything is taken: whoever is sent elsewhere leaves nothing here.
        if self.draining {
            return Err(Refusal::draining(
                &self.shared.alternate_servers,
                path.tuple.client.ip(),
            ));
        }

        // 3. Transport.
        let transport = request
            .transport?
            .ok_or(Refusal::Missing(AttributeType::REQUESTED_TRANSPORT))?;
        let tcp = match transport {
            RequestedTransport::Udp => false,
            RequestedTransport::Tcp => {
                self.check_tcp(path, request)?;
                true
            }
            RequestedTransport::Other(_) => return Err(Refusal::UnsupportedTransport),
        };

        // 5.–8. What port on what address.
        let (token, wish) = wish(request)?;
        let family = self.family(path, request)?;
        let lifetime = request.lifetime?;
        let place = match token {
            Some(token) => self.redeem(now, token)?,
            None => {
                if !self.shared.relays.has(family) {
                    return Err(Refusal::FamilyNotSupported);
                }
                // 10. Quota, before a port is looked for.
                self.check_rate(now, identity)?;
                let quota = self.acquire(identity)?;
                let partner = if wish == Wish::Pair {
                    Some(self.acquire(identity)?)
                } else {
                    None
                };
                self.place(path, family, wish, quota, partner)?
            }
        };
        let lifetime = self.shared.lifetime(now, identity, lifetime);
        let terms = Terms {
            wish,
            lifetime,
            tcp,
        };
        self.open(now, path, head, identity, place, &terms);
        Ok(())
    }

    /// Whether a TCP relay may be had, and had this way (RFC 6062 §5.1).
    fn check_tcp(&self, path: &Path, request: &Allocate) -> Result<(), Refusal> {
        if !path.tuple.transport.is_stream() {
            return Err(Refusal::TcpRelayOverUdp);
        }
        if request.dont_fragment
            || is_present(&request.even_port)
            || is_present(&request.reservation_token)
        {
            return Err(Refusal::UdpRelayAttribute);
        }
        if !self.shared.tcp_relay {
            return Err(Refusal::NoTcpRelay);
        }
        Ok(())
    }

    fn family(&self, path: &Path, request: &Allocate) -> Result<Family, Refusal> {
        Ok(
            match (request.family?, self.shared.protocol.default_family) {
                (Some(RequestedFamily::Other(_)), _) => return Err(Refusal::FamilyNotSupported),
                (Some(RequestedFamily::Ipv6), _) | (None, DefaultFamily::Ipv6) => Family::V6,
                (None, DefaultFamily::Client) => Family::of(canonical_ip(path.tuple.client.ip())),
                (Some(RequestedFamily::Ipv4), _) | (None, DefaultFamily::Ipv4) => Family::V4,
            },
        )
    }

    fn check_rate(&mut self, now: Now, identity: &Identity) -> Result<(), Refusal> {
        let rates = &self.shared.rates;
        if rates.allow_allocate(now.mono, &identity.quota_id) {
            return Ok(());
        }
        self.counters.refuse(Limit::AllocateRate);
        Err(Refusal::AllocateRate)
    }

    fn acquire(&mut self, identity: &Identity) -> Result<QuotaGuard, Refusal> {
        let acquired = self.shared.quota.acquire(&identity.quota_id);
        acquired.map_err(|refusal| {
            let (limit, refusal) = match refusal {
                QuotaRefusal::Holder => (Limit::UserQuota, Refusal::UserQuota),
                QuotaRefusal::Total => (Limit::TotalQuota, Refusal::TotalQuota),
            };
            self.counters.refuse(limit);
            refusal
        })
    }

    fn redeem(&mut self, now: Now, token: Token) -> Result<Place, Refusal> {
        let Reservation {
            lease,
            quota,
            expires,
        } = self
            .shared
            .reservations
            .redeem(token, now.mono)
            .ok_or(Refusal::UnknownReservation)?;
        // Armed on the worker that made it; where that is another one, its deadline finds nothing.
        self.deadlines.disarm(expires, Subject::Reservation(token));
        Ok(Place {
            lease,
            quota,
            partner: None,
        })
    }

    fn place(
        &mut self,
        path: &Path,
        family: Family,
        wish: Wish,
        quota: QuotaGuard,
        partner_quota: Option<QuotaGuard>,
    ) -> Result<Place, Refusal> {
        let (lease, partner) = self.take(path, family, wish).ok_or(Refusal::NoPortLeft)?;
        Ok(Place {
            lease,
            quota,
            partner: partner.zip(partner_quota),
        })
    }

    /// A free port on the best address that has one.
    fn take(
        &mut self,
        path: &Path,
        family: Family,
        wish: Wish,
    ) -> Option<(PortLease, Option<PortLease>)> {
        let server = canonical_ip(path.tuple.server.ip());
        let (relays, random) = (&self.shared.relays, &mut self.random);
        let ports = relays.ports();
        let mut choices = relays.choices(family, server, random);
        choices.find_map(|ip| match wish {
            Wish::Any => Some((ports.take(ip, Parity::Any, random)?, None)),
            Wish::Even => Some((ports.take(ip, Parity::Even, random)?, None)),
            Wish::Pair => {
                let (even, odd) = ports.take_pair(ip, random)?;
                Some((even, Some(odd)))
            }
            Wish::Reserved => None,
        })
    }

    fn open(
        &mut self,
        now: Now,
        path: &Path,
        head: &Head,
        identity: &Identity,
        place: Place,
        terms: &Terms,
    ) {
        let Terms {
            wish,
            lifetime,
            tcp,
        } = *terms;
        let addr = place.lease.addr();
        let expires = now.mono + lifetime;
        let serial = self.shared.next_serial();
        let holding = self.shared.holding(now, identity);
        let public = self.shared.relays.public(addr);
        let hash_keys = self.hash_keys;
        let relay = self.allocations.insert(path.tuple, |relay| Allocation {
            serial,
            relay,
            path: *path,
            identity: identity.clone(),
            lease: place.lease,
            public,
            quota: place.quota,
            created: now.mono,
            expires,
            armed: expires,
            opening: Some(Box::new(Opening {
                head: *head,
                refused: Vec::new(),
                partner: place.partner,
                wish,
            })),
            replay: None,
            peers: PeerTable::new(hash_keys),
            tcp: tcp.then(|| Box::new(PeerConnections::with_hasher(hash_keys))),
            traffic: Traffic::default(),
            bandwidth: Directions::default(),
            holding,
        });
        self.deadlines.arm(expires, Subject::Allocation(relay.0));
        self.outputs.push_back(open_relay(relay, addr, tcp));
    }

    /// Takes the outcome of an [`Output::OpenRelay`]; where another program has the port, another
    /// port is tried.
    pub fn handle_relay_opened(&mut self, now: Now, relay: RelayId, opened: Result<(), OpenError>) {
        let Some(opening) = self
            .allocations
            .get_mut(relay)
            .and_then(|a| a.opening.take())
        else {
            return;
        };
        match opened {
            Ok(()) => self.opened(now, relay, *opening),
            Err(OpenError::InUse)
                if opening.refused.len() + 1 < BIND_TRIES && opening.wish != Wish::Reserved =>
            {
                self.try_next_port(relay, opening);
            }
            Err(_) => self.open_failed(relay, &opening),
        }
    }

    fn try_next_port(&mut self, relay: RelayId, mut opening: Box<Opening>) {
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return;
        };
        let (path, wish) = (allocation.path, opening.wish);
        let family = Family::of(allocation.lease.addr().ip());
        let Some((lease, partner)) = self.take(&path, family, wish) else {
            return self.open_failed(relay, &opening);
        };
        let addr = lease.addr();
        let public = self.shared.relays.public(addr);
        if let Some(allocation) = self.allocations.get_mut(relay) {
            opening.partner = partner.zip(opening.partner.take().map(|(_, quota)| quota));
            let refused = std::mem::replace(&mut allocation.lease, lease);
            opening.refused.push(refused);
            allocation.public = public;
            allocation.opening = Some(opening);
            let tcp = allocation.tcp.is_some();
            self.outputs.push_back(open_relay(relay, addr, tcp));
        }
    }

    fn open_failed(&mut self, relay: RelayId, opening: &Opening) {
        let Some(allocation) = self.allocations.remove(relay) else {
            return;
        };
        self.deadlines
            .disarm(allocation.armed, Subject::Allocation(relay.0));
        let refusal = Refusal::NoPortBound;
        let Allocation { path, identity, .. } = &allocation;
        self.refuse(path, &opening.head, identity, &refusal);
    }

    fn opened(&mut self, now: Now, relay: RelayId, opening: Opening) {
        let token = opening.partner.map(|(lease, quota)| {
            let expires = now.mono + reservations::LIFETIME;
            let reservation = Reservation {
                lease,
                quota,
                expires,
            };
            let token = self.shared.reservations.put(reservation, &mut self.random);
            self.deadlines.arm(expires, Subject::Reservation(token));
            token
        });
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return;
        };
        allocation.lease.opened(match allocation.tcp {
            Some(_) => Relayed::Tcp,
            None => Relayed::Udp,
        });
        let client = canonical_socket(allocation.path.tuple.client);
        let lifetime = allocation
            .expires
            .saturating_duration_since(allocation.created);
        let success = Success::Allocate {
            relayed: allocation.public,
            mapped: client,
            lifetime,
            reservation_token: token,
        };
        let (path, key, session) = (
            allocation.path,
            allocation.identity.key.clone(),
            allocation.session(),
        );
        let message = self.encode(&opening.head, &success, key.as_ref());
        let until = now.mono + RETRANSMISSION;
        if let Some(allocation) = self.allocations.get_mut(relay) {
            allocation.replay = Some(Replay {
                id: opening.head.id,
                reply: message.clone().into(),
                until,
            });
        }
        self.rearm(relay, until);
        self.counters.created += 1;
        let family = Family::of(session.relayed.ip());
        *self.counters.active(path.tuple.transport, family) += 1;
        self.counters.response(opening.head.typ.method, 0);
        self.send_message(&path, message);
        self.outputs
            .push_back(Output::Event(Event::Created { session, lifetime }));
    }
}

fn open_relay(relay: RelayId, addr: SocketAddr, tcp: bool) -> Output {
    if tcp {
        Output::OpenTcpRelay { relay, addr }
    } else {
        Output::OpenRelay { relay, addr }
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

/// Reads RESERVATION-TOKEN and EVEN-PORT; RFC 8656 §7.2 steps 5, 6 and 8.
fn wish(request: &Allocate) -> Result<(Option<Token>, Wish), Refusal> {
    let family = is_present(&request.family);
    let (token, even) = (request.reservation_token?, request.even_port?);
    if let Some(token) = token {
        if even.is_some() || family || request.additional_family {
            return Err(Refusal::ReservationTokenNotAlone);
        }
        return Ok((Some(token), Wish::Reserved));
    }
    if family && request.additional_family {
        return Err(Refusal::TwoFamilies);
    }
    match even {
        None => Ok((None, Wish::Any)),
        Some(true) if request.additional_family => Err(Refusal::PortPairInTwoFamilies),
        Some(true) => Ok((None, Wish::Pair)),
        Some(false) => Ok((None, Wish::Even)),
    }
}
