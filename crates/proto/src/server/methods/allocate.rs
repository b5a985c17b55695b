//! Allocate (RFC 8656 §7.2); the checks stand in the RFC's order.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use stun::attributes::{
    ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT,
    ATTR_RESERVATION_TOKEN,
};
use stun::message::{Message, Setter as _};
use stun::xoraddr::XorMappedAddress;
use turn::proto::evenport::EvenPort;
use turn::proto::lifetime::Lifetime;
use turn::proto::relayaddr::RelayedAddress;
use turn::proto::reqfamily::{REQUESTED_FAMILY_IPV6, RequestedAddressFamily};
use turn::proto::reqtrans::RequestedTransport;
use turn::proto::rsrvtoken::ReservationToken;
use turn::proto::{PROTO_TCP, PROTO_UDP};

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
use super::{lifetime, optional};
use crate::Now;
use crate::auth::Identity;
use crate::policy::account::Directions;
use crate::policy::peer_filter::{canonical_ip, canonical_socket};
use crate::policy::quota::{QuotaGuard, QuotaRefusal};
use crate::server::settings::DefaultFamily;
use crate::wire::attributes::ATTR_ADDITIONAL_ADDRESS_FAMILY;
use crate::wire::message::{Head, Reply};

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
        message: &Message,
        head: &Head,
        identity: &Identity,
    ) -> Result<Option<Reply>, Refusal> {
        // 2. The five-tuple must be free, but a retransmission gets what the request got (L2).
        if let Some(existing) = self.allocations.by_tuple(&path.tuple) {
            if existing.opening.is_some() {
                return Ok(None);
            }
            return match &existing.replay {
                Some(replay) if replay.id == head.id && existing.identity == *identity => {
                    let message = replay.reply.to_vec();
                    self.send_message(path, message);
                    Ok(None)
                }
                _ => Err(Refusal::allocation_exists()),
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
        let transport: RequestedTransport = optional(
            message,
            ATTR_REQUESTED_TRANSPORT,
            "malformed REQUESTED-TRANSPORT",
        )?
        .ok_or(Refusal::bad_request("no REQUESTED-TRANSPORT"))?;
        let tcp = match transport.protocol {
            PROTO_UDP => false,
            PROTO_TCP => {
                self.check_tcp(path, message)?;
                true
            }
            _ => return Err(Refusal::unsupported_transport()),
        };

        // 5.–8. What port on what address.
        let (token, wish) = wish(message)?;
        let family = self.family(path, message)?;
        let lifetime = lifetime(message)?;
        let place = match token {
            Some(token) => self.redeem(now, token)?,
            None => {
                if self.addresses(path, family).next().is_none() {
                    return Err(Refusal::family_not_supported());
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
        Ok(None)
    }

    /// Whether a TCP relay may be had, and had this way (RFC 6062 §5.1).
    fn check_tcp(&self, path: &Path, message: &Message) -> Result<(), Refusal> {
        if !path.tuple.transport.is_stream() {
            return Err(Refusal::bad_request("a TCP relay needs TCP or TLS"));
        }
        let of_udp = [ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_RESERVATION_TOKEN];
        if of_udp.into_iter().any(|typ| message.contains(typ)) {
            return Err(Refusal::bad_request("an attribute of UDP relays"));
        }
        if !self.shared.tcp_relay {
            return Err(Refusal::forbidden("no-tcp-relay"));
        }
        Ok(())
    }

    fn family(&self, path: &Path, message: &Message) -> Result<Family, Refusal> {
        let wanted = match message.get(ATTR_REQUESTED_ADDRESS_FAMILY) {
            Ok(value) if value.len() != 4 => {
                return Err(Refusal::bad_request("malformed REQUESTED-ADDRESS-FAMILY"));
            }
            Ok(_) => optional::<RequestedAddressFamily>(message, ATTR_REQUESTED_ADDRESS_FAMILY, "")
                .map_err(|_| Refusal::family_not_supported())?,
            Err(_) => None,
        };
        Ok(match (wanted, self.shared.protocol.default_family) {
            (Some(REQUESTED_FAMILY_IPV6), _) | (None, DefaultFamily::Ipv6) => Family::V6,
            (None, DefaultFamily::Client) => Family::of(canonical_ip(path.tuple.client.ip())),
            (Some(_), _) | (None, DefaultFamily::Ipv4) => Family::V4,
        })
    }

    fn check_rate(&mut self, now: Now, identity: &Identity) -> Result<(), Refusal> {
        let rates = &self.shared.rates;
        if rates.allow_allocate(now.mono, &identity.quota_id) {
            return Ok(());
        }
        self.counters.refuse(Limit::AllocateRate);
        Err(Refusal::quota("user-allocate-rate reached"))
    }

    fn acquire(&mut self, identity: &Identity) -> Result<QuotaGuard, Refusal> {
        let acquired = self.shared.quota.acquire(&identity.quota_id);
        acquired.map_err(|refusal| {
            let (limit, reason) = match refusal {
                QuotaRefusal::Holder => (Limit::UserQuota, "user-quota reached"),
                QuotaRefusal::Total => (Limit::TotalQuota, "total-quota reached"),
            };
            self.counters.refuse(limit);
            Refusal::quota(reason)
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
            .ok_or(Refusal::no_capacity("no such reservation"))?;
        // Armed on the worker that made it; where that is another one, its deadline finds nothing.
        self.deadlines.disarm(expires, Subject::Reservation(token));
        Ok(Place {
            lease,
            quota,
            partner: None,
        })
    }

    fn place(
        &self,
        path: &Path,
        family: Family,
        wish: Wish,
        quota: QuotaGuard,
        partner_quota: Option<QuotaGuard>,
    ) -> Result<Place, Refusal> {
        let (lease, partner) = self
            .take(path, family, wish)
            .ok_or(Refusal::no_capacity("no relay port left"))?;
        Ok(Place {
            lease,
            quota,
            partner: partner.zip(partner_quota),
        })
    }

    /// The addresses to relay from, the best first.
    fn addresses(&self, path: &Path, family: Family) -> impl Iterator<Item = IpAddr> {
        let server = canonical_ip(path.tuple.server.ip());
        self.shared.relays.choices(family, server)
    }

    /// A free port on the best address that has one.
    fn take(
        &self,
        path: &Path,
        family: Family,
        wish: Wish,
    ) -> Option<(PortLease, Option<PortLease>)> {
        let ports = self.shared.relays.ports();
        self.addresses(path, family).find_map(|ip| match wish {
            Wish::Any => Some((ports.take(ip, Parity::Any)?, None)),
            Wish::Even => Some((ports.take(ip, Parity::Even)?, None)),
            Wish::Pair => ports.take_pair(ip).map(|(even, odd)| (even, Some(odd))),
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
            peers: PeerTable::default(),
            tcp: tcp.then(Box::default),
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
        let refusal = Refusal::no_capacity("no relay port could be bound");
        let Allocation { path, identity, .. } = &allocation;
        self.refuse(path, &opening.head, identity, &refusal);
    }

    fn opened(&mut self, now: Now, relay: RelayId, opening: Opening) {
        let token = opening.partner.map(|(lease, quota)| {
            let expires = now.mono + reservations::LIFETIME;
            let token = self.shared.reservations.put(Reservation {
                lease,
                quota,
                expires,
            });
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
        let mut reply = Reply::success(&opening.head)
            .with(&RelayedAddress {
                ip: allocation.public.ip(),
                port: allocation.public.port(),
            })
            .with(&XorMappedAddress {
                ip: client.ip(),
                port: client.port(),
            })
            .with(&Lifetime(lifetime));
        if let Some(token) = token {
            reply = reply.with(&ReservationToken(token.to_vec()));
        }
        let (path, key, session) = (
            allocation.path,
            allocation.identity.key.clone(),
            allocation.session(),
        );
        let message = self.encode(reply, key.as_ref());
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
fn wish(message: &Message) -> Result<(Option<Token>, Wish), Refusal> {
    let family = message.contains(ATTR_REQUESTED_ADDRESS_FAMILY);
    let additional = message.contains(ATTR_ADDITIONAL_ADDRESS_FAMILY);
    let token: Option<ReservationToken> = optional(
        message,
        ATTR_RESERVATION_TOKEN,
        "malformed RESERVATION-TOKEN",
    )?;
    let even: Option<EvenPort> = optional(message, ATTR_EVEN_PORT, "malformed EVEN-PORT")?;
    if let Some(token) = token {
        if even.is_some() || family || additional {
            return Err(Refusal::bad_request(
                "RESERVATION-TOKEN beside what it already decides",
            ));
        }
        let token = token
            .0
            .try_into()
            .map_err(|_| Refusal::bad_request("malformed RESERVATION-TOKEN"))?;
        return Ok((Some(token), Wish::Reserved));
    }
    if family && additional {
        return Err(Refusal::bad_request(
            "REQUESTED- beside ADDITIONAL-ADDRESS-FAMILY",
        ));
    }
    let Some(even) = even else {
        return Ok((None, Wish::Any));
    };
    // The crate's field is private; its encoding is not.
    let mut encoded = Message::new();
    let reserve = even.add_to(&mut encoded).is_ok()
        && encoded
            .attributes
            .0
            .first()
            .is_some_and(|a| a.value[0] & 0x80 != 0);
    match reserve {
        true if additional => Err(Refusal::bad_request(
            "EVEN-PORT with R beside ADDITIONAL-ADDRESS-FAMILY",
        )),
        true => Ok((None, Wish::Pair)),
        false => Ok((None, Wish::Even)),
    }
}
