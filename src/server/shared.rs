//! What all workers have in common; touched by requests, not by relayed packets, except for the
//! ports of peers that are this server's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use stun::attributes::ATTR_SOFTWARE;
use stun::textattrs::TextAttribute;

use super::allocation::Reach;
use super::alternates::Alternates;
use super::five_tuple::PeerAddr;
use super::relay_addresses::RelayAddresses;
use super::reservations::Reservations;
use crate::auth::Authenticator;
use crate::config::{Config, Limits, Listen, Protocol};
use crate::policy::peer_filter::{Denied, PeerFilter};
use crate::policy::quota::Quota;

/// Lifetime of an allocation for which the client asks nothing (RFC 8656 §3.2).
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

/// The common parts of all workers' servers.
pub struct Shared {
    /// Who may come.
    pub auth: Authenticator,
    /// Which peers may be reached, relayed addresses of this server aside.
    pub filter: PeerFilter,
    /// Allocations by user and in all.
    pub quota: Arc<Quota>,
    /// Relay addresses and ports.
    pub relays: RelayAddresses,
    /// Ports set aside.
    pub reservations: Reservations,
    /// Limits.
    pub limits: Limits,
    /// Longest lifetime of an allocation.
    pub max_lifetime: Duration,
    /// Lifetime of a channel.
    pub channel_lifetime: Duration,
    /// Lifetime of a permission.
    pub permission_lifetime: Duration,
    /// Switches.
    pub protocol: Protocol,
    /// The sockets of `rfc5780`; `None`: it is off.
    pub alternates: Option<Alternates>,
}

impl Shared {
    /// Takes the configuration, the addresses at which clients reach the server, and all that
    /// the host has.
    #[must_use]
    pub fn new(
        config: &Config,
        auth: Authenticator,
        reachable: &[IpAddr],
        host: &[IpAddr],
    ) -> Self {
        let relays = RelayAddresses::new(&config.relay, reachable);
        let own: Vec<IpAddr> = relays
            .all()
            .chain(reachable.iter().chain(host).copied())
            .collect();
        Self {
            auth,
            filter: PeerFilter::new(&config.peers).with_own(&own),
            quota: Arc::new(Quota::new(
                config.limits.user_quota,
                config.limits.total_quota,
            )),
            relays,
            reservations: Reservations::default(),
            limits: config.limits.clone(),
            max_lifetime: config.lifetimes.max_allocate,
            channel_lifetime: config.lifetimes.channel,
            permission_lifetime: config.lifetimes.permission,
            protocol: config.protocol.clone(),
            alternates: None,
        }
    }

    /// Takes the addresses that sockets are bound to, in the order of their [`SocketId`]s, for
    /// clients that find out their NAT by them, if `listen` wants that.
    ///
    /// [`SocketId`]: super::five_tuple::SocketId
    #[must_use]
    pub fn with_alternates(mut self, listen: &Listen, bound: &[SocketAddr]) -> Self {
        self.alternates = Alternates::new(listen, bound);
        self
    }

    /// Whether a permission for `ip` may be made, and for which ports.
    ///
    /// # Errors
    /// The policy's refusal.
    pub fn reach(&self, ip: IpAddr) -> Result<Reach, Denied> {
        self.filter
            .check(ip)
            .map(|()| Reach::Any)
            .or_else(|denied| {
                // A call between two clients of this server goes from relay to relay, always.
                if self.relays.contains(ip) {
                    Ok(Reach::RelayedOnly)
                } else {
                    Err(denied)
                }
            })
    }

    /// Whether `peer` is within `reach` right now.
    #[must_use]
    pub fn reaches(&self, reach: Reach, peer: PeerAddr) -> bool {
        reach == Reach::Any || self.relays.ports().is_taken(peer.0)
    }

    /// The SOFTWARE attribute, if it is sent.
    #[must_use]
    pub fn software(&self) -> Option<TextAttribute> {
        let text = self.protocol.software.clone()?;
        Some(TextAttribute::new(ATTR_SOFTWARE, text))
    }

    /// The lifetime that is granted (L10): `max(default, min(requested, max))`.
    #[must_use]
    pub fn lifetime(&self, requested: Option<Duration>) -> Duration {
        requested.map_or(DEFAULT_LIFETIME, |wanted| {
            wanted.min(self.max_lifetime).max(DEFAULT_LIFETIME)
        })
    }
}
