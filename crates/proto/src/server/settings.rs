//! Settings of the server: plain values, checked by whoever builds them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::policy::account::Cap;
use crate::policy::peer_filter::PeerRules;

/// Everything that decides how a server behaves, credentials aside.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Source of the relayed transport addresses.
    pub relay: RelaySettings,
    /// Bounds on what one user, one allocation and everyone together may use.
    pub limits: Limits,
    /// Lifetimes of allocations, channels and permissions.
    pub lifetimes: Lifetimes,
    /// Peers that may be reached.
    pub peers: PeerRules,
    /// Protocol behaviour that operators switch.
    pub protocol: Protocol,
    /// UDP allocations: not `no-udp-relay`.
    pub udp_relay: bool,
    /// TCP allocations (RFC 6062): not `no-tcp-relay`.
    pub tcp_relay: bool,
    /// Servers that new clients are sent on to.
    pub alternate_servers: AlternateServers,
}

/// Servers that take clients in place of this one (RFC 8489 §10).
#[derive(Clone, Debug, Default)]
pub struct AlternateServers {
    /// `alternate-server`: for every client, in turn.
    pub any: Vec<SocketAddr>,
    /// `tls-alternate-server`: for clients on TLS and DTLS, in turn; empty: those of `any`.
    pub tls: Vec<SocketAddr>,
    /// `drain-alternate-server`: for every client while this server drains.
    pub drain: Vec<SocketAddr>,
}

/// Listening addresses.
#[derive(Clone, Debug)]
pub struct Listen {
    /// `listening-ip`; empty means the wildcard of both families.
    pub ips: Vec<IpAddr>,
    /// `listening-port`.
    pub port: u16,
    /// `tls-listening-port`; either one speaks everything.
    pub tls_port: u16,
    /// The other ports of `rfc5780`; `None`: `rfc5780` is off.
    pub alternate_ports: Option<AlternatePorts>,
}

impl Listen {
    /// The first two addresses of a family, which answer for each other (RFC 5780 §6).
    #[must_use]
    pub fn pair(&self, v6: bool) -> Option<[IpAddr; 2]> {
        let mut ips = self.ips.iter().filter(|ip| ip.is_ipv6() == v6);
        Some([*ips.next()?, *ips.next()?])
    }

    /// The other address of `ip`'s pair.
    #[must_use]
    pub fn other_ip(&self, ip: IpAddr) -> Option<IpAddr> {
        let [one, two] = self.pair(ip.is_ipv6())?;
        match ip {
            _ if ip == one => Some(two),
            _ if ip == two => Some(one),
            _ => None,
        }
    }

    /// The ports to listen on at `ip`.
    pub fn ports(&self, ip: IpAddr) -> impl Iterator<Item = u16> {
        let others = self.alternate_ports.filter(|_| self.other_ip(ip).is_some());
        [self.port, self.tls_port].into_iter().chain(
            others
                .into_iter()
                .flat_map(|ports| [ports.port, ports.tls_port]),
        )
    }
}

/// The second ports of RFC 5780 §6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlternatePorts {
    /// `alt-listening-port`.
    pub port: u16,
    /// `alt-tls-listening-port`.
    pub tls_port: u16,
}

/// Relayed transport addresses.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// `relay-ip`; empty means the local address that the client reached.
    pub ips: Vec<IpAddr>,
    /// `external-ip`.
    pub external: Vec<ExternalIp>,
    /// `min-port`.
    pub min_port: u16,
    /// `max-port`, included.
    pub max_port: u16,
}

/// One `external-ip`: the address that the world sees in place of a local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternalIp {
    /// The address that clients are told.
    pub public: IpAddr,
    /// The local address it stands for; `None`: every relay address of the same family.
    pub private: Option<IpAddr>,
}

/// Limits; zero in the file means `None` here: no limit.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `user-quota`: allocations of one user at a time.
    pub user_quota: Option<u32>,
    /// `total-quota`: allocations at a time.
    pub total_quota: Option<u32>,
    /// `user-allocate-rate`: allocations of one user per second, those of ten seconds at once.
    pub user_allocate_rate: Option<u32>,
    /// `max-bps`: bytes per second of one allocation in each direction, coturn's unit.
    pub max_bps: Option<u64>,
    /// `user-bps`: of all allocations of one user.
    pub user_bps: Option<u64>,
    /// `bps-capacity`: of all allocations.
    pub bps_capacity: Option<u64>,
    /// `total-permissions`, of all allocations.
    pub total_permissions: Option<u32>,
    /// `total-channels`, of all allocations.
    pub total_channels: Option<u32>,
    /// `max-permissions` of one allocation.
    pub permissions: usize,
    /// `max-channels` of one allocation.
    pub channels: usize,
    /// `max-peer-connections` of one allocation (RFC 6062).
    pub peer_connections: usize,
    /// `unauthenticated-rate`: error replies per second to one source network before it has authenticated.
    pub unauthenticated_rate: Option<u32>,
    /// `binding-rate`: Binding replies per second to one source network.
    pub binding_rate: Option<u32>,
}

impl Limits {
    /// A user's part of the relay ports, permissions and channels: one in so many.
    pub const SHARE: u32 = 10;

    /// Whether bytes per second are limited at all.
    #[must_use]
    pub fn any_bps(&self) -> bool {
        self.max_bps.is_some() || self.user_bps.is_some() || self.bps_capacity.is_some()
    }

    /// Permissions of a user and in all.
    #[must_use]
    pub fn permission_cap(&self) -> Cap {
        self.cap(self.total_permissions, self.permissions)
    }

    /// Channels of a user and in all.
    #[must_use]
    pub fn channel_cap(&self) -> Cap {
        self.cap(self.total_channels, self.channels)
    }

    /// A share for a user whose allocations are limited, but what one allocation may have.
    fn cap(&self, total: Option<u32>, of_one: usize) -> Cap {
        let share = total.filter(|_| self.user_quota.is_some());
        let least = u32::try_from(of_one).unwrap_or(u32::MAX);
        Cap {
            user: share.map(|total| (total / Self::SHARE).max(least)),
            total,
        }
    }
}

/// Lifetimes.
#[derive(Clone, Debug)]
pub struct Lifetimes {
    /// `max-allocate-lifetime`.
    pub max_allocate: Duration,
    /// `channel-lifetime`.
    pub channel: Duration,
    /// `permission-lifetime`.
    pub permission: Duration,
}

/// Protocol switches.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// `fingerprint`: every reply has one.
    pub fingerprint: bool,
    /// `software-attribute`; `None`: not sent.
    pub software: Option<String>,
    /// `stun-only`: Binding and nothing else.
    pub stun_only: bool,
    /// `secure-stun`: Binding needs credentials.
    pub secure_stun: bool,
    /// `rfc3489-compatibility`.
    pub rfc3489: bool,
    /// `rfc5766-channel-numbers`: up to 0x7FFF.
    pub rfc5766_channels: bool,
    /// `allocation-default-address-family`.
    pub default_family: DefaultFamily,
}

/// The family of a relayed address when the client names none (RFC 8656 §7.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultFamily {
    /// IPv4, as the RFC says.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// The family that the client came with (coturn's `keep`).
    Client,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            relay: RelaySettings::default(),
            limits: Limits::default(),
            lifetimes: Lifetimes::default(),
            peers: PeerRules::default(),
            protocol: Protocol::default(),
            udp_relay: true,
            tcp_relay: true,
            alternate_servers: AlternateServers::default(),
        }
    }
}

/// The dynamic ports (RFC 8656 §7.2), of the addresses that clients reach.
impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            ips: Vec::new(),
            external: Vec::new(),
            min_port: 49_152,
            max_port: 65_535,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            user_quota: None,
            total_quota: None,
            user_allocate_rate: Some(100),
            max_bps: None,
            user_bps: None,
            bps_capacity: None,
            total_permissions: Some(500_000),
            total_channels: Some(250_000),
            permissions: 1024,
            channels: 1024,
            peer_connections: 64,
            unauthenticated_rate: Some(500),
            binding_rate: Some(5000),
        }
    }
}

/// The RFC's lifetimes (RFC 8656 §3.2, §9, §12).
impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            max_allocate: Duration::from_secs(3600),
            channel: Duration::from_secs(600),
            permission: Duration::from_secs(300),
        }
    }
}

impl Default for Protocol {
    fn default() -> Self {
        Self {
            fingerprint: false,
            software: None,
            stun_only: false,
            secure_stun: false,
            rfc3489: false,
            rfc5766_channels: false,
            default_family: DefaultFamily::Ipv4,
        }
    }
}
