//! The checked configuration.

pub mod certificate;
mod check;
pub mod coturn;
mod credentials;
mod error;
mod expand;
pub mod file;
mod load;
mod operation;
mod problems;
mod process;
mod secret;
mod source;
mod transports;
mod values;
mod weak;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::key::Key;
use crate::policy::account::Cap;
use crate::policy::peer_filter::IpRange;
use crate::policy::unallocated::UnallocatedLimits;

use self::certificate::{Certificate, CertificateFiles};

pub use error::ConfigError;
pub(crate) use load::SECRETS;
pub use load::{Loaded, SEARCH, from_flags, load, search};
pub use process::ProcUser;
pub(crate) use secret::ClearTable;
pub use secret::Secret;
pub(crate) use source::first_secret;

/// Everything that the daemon was told, checked and with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach the server.
    pub listen: Listen,
    /// How clients may come.
    pub transports: Transports,
    /// Certificates and ciphers of TLS and DTLS.
    pub tls: Tls,
    /// Where relayed transport addresses come from.
    pub relay: Relay,
    /// Worker threads (`relay-threads`).
    pub workers: NonZeroUsize,
    /// Who may allocate.
    pub auth: Auth,
    /// What one user, one allocation and everyone together may use.
    pub limits: Limits,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// Which peers may be reached.
    pub peers: Peers,
    /// Protocol behaviour that operators switch.
    pub protocol: Protocol,
    /// How the daemon is run.
    pub operation: Operation,
    /// Where log lines go.
    pub log: Log,
    /// A file that holds the process id while the daemon runs.
    pub pidfile: Option<PathBuf>,
    /// `proc-user` and `proc-group`.
    pub user: Option<ProcUser>,
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
    /// The other ports of `rfc5780`; `None`: it is off.
    pub alternates: Option<AlternatePorts>,
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
        let alternates = self.alternates.filter(|_| self.other_ip(ip).is_some());
        [self.port, self.tls_port]
            .into_iter()
            .chain(alternates.into_iter().flat_map(|a| [a.port, a.tls_port]))
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

/// How clients may come, and how many of them that have nothing to show for it.
#[derive(Clone, Debug)]
pub struct Transports {
    /// Not `no-udp`: plain UDP.
    pub udp: bool,
    /// Not `no-tcp`: plain TCP.
    pub tcp: bool,
    /// Not `no-tls`, and there is a certificate.
    pub tls: bool,
    /// `dtls`, and there is a certificate.
    pub dtls: bool,
    /// Not `no-tcp-relay`: TCP allocations (RFC 6062).
    pub tcp_relay: bool,
    /// `trusted-proxies`.
    pub proxies: Vec<IpRange>,
    /// `max-allocate-timeout`: how long a connection may be without an allocation.
    pub patience: Duration,
    /// `max-idle-streams`, `max-idle-streams-per-ip`, `max-idle-memory`: clients without one.
    pub unallocated: UnallocatedLimits,
    /// `handshake-rate`: handshakes per second of one source network; `None`: no limit.
    pub handshake_rate: Option<u32>,
}

/// What TLS and DTLS need.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `cert` and `pkey`.
    pub files: Vec<CertificateFiles>,
    /// `pkey-pwd`.
    pub password: Option<Secret>,
    /// What was in the files; none: neither TLS nor DTLS is served.
    pub certificates: Vec<Certificate>,
    /// `cipher-list`, in OpenSSL's names.
    pub ciphers: Vec<&'static str>,
}

/// Relayed transport addresses.
#[derive(Clone, Debug)]
pub struct Relay {
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
    /// What clients are told.
    pub public: IpAddr,
    /// The local address it stands for; `None`: every relay address of the same family.
    pub private: Option<IpAddr>,
}

/// Credentials.
#[derive(Clone, Debug)]
pub struct Auth {
    /// `realm`.
    pub realm: String,
    /// `no-auth`: anyone may allocate.
    pub no_auth: bool,
    /// `user`.
    pub users: Vec<User>,
    /// `static-auth-secret`, newest first.
    pub secrets: Vec<Secret>,
    /// `rest-api-separator`.
    pub rest_separator: char,
    /// `rest-expiry`.
    pub rest_expiry: RestExpiry,
    /// `stale-nonce`.
    pub stale_nonce: Duration,
    /// `nonce-secret`; `None`: a random one at each start.
    pub nonce_secret: Option<Secret>,
}

/// The end of a call whose TURN REST credentials run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestExpiry {
    /// The call's own: credentials say until when it may begin.
    Keep,
    /// That of the credentials.
    End,
}

/// A static user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name as configured.
    pub name: String,
    /// How the user proves it.
    pub credential: Credential,
}

/// What is stored of a static user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The password itself.
    Password(Secret),
    /// The long-term key, written `0x…` (see `turnd key`).
    Key(Key),
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
    pub(crate) const SHARE: u32 = 10;

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

/// Peer policy.
#[derive(Clone, Debug)]
pub struct Peers {
    /// `allowed-peer-ip`.
    pub allowed: Vec<IpRange>,
    /// `denied-peer-ip`.
    pub denied: Vec<IpRange>,
    /// `allow-loopback-peers`.
    pub allow_loopback: bool,
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

/// Draining, reloading and the admin listener.
#[derive(Clone, Debug)]
pub struct Operation {
    /// `alternate-server`.
    pub alternates: Vec<SocketAddr>,
    /// `drain-timeout`; `None`: not set.
    pub drain_timeout: Option<Duration>,
    /// `admin-listen`.
    pub admin: AdminListen,
    /// `admin-token`.
    pub admin_token: Option<Secret>,
    /// `max-credential-ttl`: how long credentials may be good that turnd gives out itself.
    pub max_credential_ttl: Duration,
    /// `reload-on-change`.
    pub reload_on_change: bool,
}

/// Where the admin listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// The default places; one that cannot be had is left out.
    Default,
    /// These; one that cannot be had is an error.
    At(Vec<AdminAddr>),
}

/// One place of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddr {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `log-file`; `None`: standard error.
    pub file: Option<PathBuf>,
    /// `log-format`.
    pub format: LogFormat,
    /// `verbose`: debug lines too.
    pub verbose: bool,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
