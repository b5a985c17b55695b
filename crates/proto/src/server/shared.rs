//! State that all workers share; touched by requests, not by relayed packets, except for the
//! ports of peers that are this server's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::five_tuple::PeerAddr;
use super::other_addresses::OtherAddresses;
use super::peer_table::Reach;
use super::ports::Relayed;
use super::rates::Rates;
use super::redirection::Redirection;
use super::relay_addresses::RelayAddresses;
use super::settings::{Limits, Listen, Protocol, Settings};
use super::tokens::{Reservations, WaitingConnections};
use crate::Now;
use crate::auth::{Authenticator, Identity};

use crate::policy::account::{Account, Accounts, Holding};
use crate::policy::peer_filter::{Denied, PeerFilter};
use crate::policy::quota::Quota;
use crate::policy::rate::Clock;
use crate::random::Random;

/// Lifetime of an allocation for which the client asks nothing (RFC 8656 §3.2).
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

/// The common parts of all workers' servers.
pub struct Shared {
    /// Users and nonces.
    pub auth: Authenticator,
    /// Peers that may be reached, relayed addresses of this server aside.
    pub filter: PeerFilter,
    /// Allocations by user and in all.
    pub quota: Arc<Quota>,
    /// Relay addresses and ports.
    pub relays: RelayAddresses,
    /// Ports set aside.
    pub reservations: Arc<Reservations>,
    /// Peer connections that wait for their clients.
    pub connections: Arc<WaitingConnections>,
    /// TCP allocations are made.
    pub tcp_relay: bool,
    /// UDP allocations.
    pub udp_relay: bool,
    /// Serial of the last allocation.
    serials: Arc<AtomicU64>,
    /// Servers that new clients are sent on to.
    pub(super) redirection: Redirection,
    /// Limits.
    pub limits: Limits,
    /// Rates of replies and requests.
    pub rates: Rates,
    /// Start of the time by which bytes per second are counted.
    pub(super) clock: Arc<Clock>,
    /// Account of all allocations together.
    pub total: Arc<Account>,
    /// Accounts of the users.
    pub accounts: Arc<Accounts>,
    /// Longest lifetime of an allocation.
    pub max_lifetime: Duration,
    /// Lifetime of a channel.
    pub channel_lifetime: Duration,
    /// Lifetime of a permission.
    pub permission_lifetime: Duration,
    /// Switches.
    pub protocol: Protocol,
    /// The sockets of `rfc5780`; `None`: it is off.
    pub other_addresses: Option<OtherAddresses>,
}

impl Shared {
    /// The state for these settings, the addresses at which clients reach the server, and all that
    /// the host has.
    #[must_use]
    pub fn new(
        settings: &Settings,
        auth: Authenticator,
        reachable: &[IpAddr],
        host: &[IpAddr],
    ) -> Self {
        Self::build(settings, auth, reachable, host, None)
    }

    /// The state that follows this one while the server runs: ports, quotas and reservations in use
    /// stay so.
    ///
    /// The quotas' new limits hold at once; everything else when a worker takes this over.
    #[must_use]
    pub fn renew(
        &self,
        settings: &Settings,
        auth: Authenticator,
        reachable: &[IpAddr],
        host: &[IpAddr],
    ) -> Self {
        Self::build(settings, auth, reachable, host, Some(self))
    }

    fn build(
        settings: &Settings,
        auth: Authenticator,
        reachable: &[IpAddr],
        host: &[IpAddr],
        previous: Option<&Self>,
    ) -> Self {
        let relays = RelayAddresses::new(&settings.relay, reachable, previous.map(|p| &p.relays));
        let (user, total) = (settings.limits.user_quota, settings.limits.total_quota);
        let quota = previous.map_or_else(
            || Arc::new(Quota::new(user, total)),
            |p| Arc::clone(&p.quota),
        );
        quota.set_limits(user, total);
        let own: Vec<IpAddr> = relays
            .all()
            .chain(reachable.iter().chain(host).copied())
            .collect();
        let rates = Rates::new(
            &settings.limits,
            auth.lookup_rate(),
            previous.map(|p| &p.rates),
        );
        Self {
            auth,
            filter: PeerFilter::new(&settings.peers).with_own(&own),
            quota,
            relays,
            reservations: previous
                .map(|p| Arc::clone(&p.reservations))
                .unwrap_or_default(),
            connections: previous
                .map(|p| Arc::clone(&p.connections))
                .unwrap_or_default(),
            tcp_relay: settings.tcp_relay,
            udp_relay: settings.udp_relay,
            serials: previous.map(|p| Arc::clone(&p.serials)).unwrap_or_default(),
            redirection: Redirection::new(&settings.alternate_servers),
            limits: settings.limits.clone(),
            rates,
            clock: previous.map(|p| Arc::clone(&p.clock)).unwrap_or_default(),
            total: previous.map(|p| Arc::clone(&p.total)).unwrap_or_default(),
            accounts: previous
                .map(|p| Arc::clone(&p.accounts))
                .unwrap_or_default(),
            max_lifetime: settings.lifetimes.max_allocate,
            channel_lifetime: settings.lifetimes.channel,
            permission_lifetime: settings.lifetimes.permission,
            protocol: settings.protocol.clone(),
            other_addresses: None,
        }
    }

    /// Has the time of all rates begin, unless it has.
    pub fn begin(&self, now: Now, random: &mut Random) {
        self.clock.begin(now.mono);
        self.rates.begin(now.mono, random);
    }

    /// A new allocation's share of what its user and all have.
    #[must_use]
    pub fn holding(&self, now: Now, owner: &Identity) -> Holding {
        let now = self.clock.ticks(now.mono);
        let user = self.accounts.open(now, &owner.quota_id);
        Holding::new(Arc::clone(&self.total), user)
    }

    /// A number that no other allocation of this process has.
    #[must_use]
    pub fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Takes the addresses that the listening sockets are bound to, in the order of their numbers,
    /// for clients that find out their NAT by them, if `listen` wants that.
    #[must_use]
    pub fn with_other_addresses(mut self, listen: &Listen, bound: &[SocketAddr]) -> Self {
        self.other_addresses = OtherAddresses::new(listen, bound);
        self
    }

    /// Refuses these transport addresses as peers, whatever the lists say.
    #[must_use]
    pub fn with_never(mut self, never: &[SocketAddr]) -> Self {
        self.filter = self.filter.with_never(never);
        self
    }

    /// Whether a permission for `ip` may be made, and for which ports.
    ///
    /// # Errors
    /// The policy's refusal.
    pub fn reach(&self, ip: IpAddr) -> Result<Reach, Denied> {
        self.filter
            .check(ip)
            .map(|()| {
                if self.filter.has_never(ip) {
                    Reach::Guarded
                } else {
                    Reach::Any
                }
            })
            .or_else(|denied| {
                // A call between two clients of this server goes from relay to relay, always.
                if self.relays.contains(ip) {
                    Ok(Reach::RelayedOnly)
                } else {
                    Err(denied)
                }
            })
    }

    /// Whether `peer`, to which `relayed` goes, is within `reach` right now.
    #[must_use]
    pub fn reaches(&self, reach: Reach, peer: PeerAddr, relayed: Relayed) -> bool {
        let is_relay = || self.relays.ports().is_open(peer.0, relayed);
        match reach {
            Reach::Any => true,
            // A relay socket of ours is no service, whatever has the port besides.
            Reach::Guarded => !self.filter.is_never(peer.0) || is_relay(),
            Reach::RelayedOnly => is_relay(),
        }
    }

    /// The refusal of a peer that is not within `reach`.
    #[must_use]
    pub fn out_of_reach(reach: Reach) -> Denied {
        match reach {
            Reach::Guarded => Denied::NEVER,
            Reach::Any | Reach::RelayedOnly => Denied::NOT_RELAYED,
        }
    }

    /// The lifetime that is granted (L10): `max(default, min(requested, max))`, but no longer than
    /// the credentials last where they bound it.
    #[must_use]
    pub fn lifetime(&self, now: Now, owner: &Identity, requested: Option<Duration>) -> Duration {
        let granted = requested.map_or(DEFAULT_LIFETIME, |wanted| {
            wanted.min(self.max_lifetime).max(DEFAULT_LIFETIME)
        });
        let left = self.auth.time_left(now, owner);
        left.map_or(granted, |left| granted.min(left))
    }
}
