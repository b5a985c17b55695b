//! The checked configuration.

pub mod certificate;
mod check;
pub mod coturn;
mod credentials;
mod error;
mod expand;
pub mod file;
mod keys;
mod load;
mod operation;
mod problems;
mod process;
pub(crate) mod quantity;
mod secret;
mod source;
pub mod summary;
mod syntax;
mod transports;
mod values;
mod weak;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use turnd_proto::policy::peer_filter::IpRange;
use turnd_proto::policy::unallocated::UnallocatedLimits;
use turnd_proto::server::settings::Listen;
use turnd_proto::{auth, server};

use self::certificate::{Certificate, CertificateFiles};

pub use error::ConfigError;
pub(crate) use keys::SECRETS;
pub use load::{Loaded, SEARCH, from_flags, load, load_again, log_format, search};
pub use process::ProcUser;
pub(crate) use secret::ClearTable;
pub(crate) use source::first_secret;
pub use turnd_proto::auth::secret::Secret;

/// Everything that the daemon was told, checked and with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach the server.
    pub listen: Listen,
    /// How clients may come.
    pub transports: Transports,
    /// Certificates and ciphers of TLS and DTLS.
    pub tls: Tls,
    /// Worker threads (`relay-threads`).
    pub workers: NonZeroUsize,
    /// Users, secrets and realms that may allocate.
    pub auth: auth::Settings,
    /// Behaviour of the TURN server.
    pub server: server::Settings,
    /// How the daemon is run.
    pub operation: Operation,
    /// Public addresses to look for.
    pub public_address: PublicAddress,
    /// Where log lines go.
    pub log: Log,
    /// A file that holds the process id while the daemon runs.
    pub pidfile: Option<PathBuf>,
    /// `proc-user` and `proc-group`.
    pub user: Option<ProcUser>,
}

impl Config {
    /// Checks a configuration that is given as text; errors call it `turnd.toml`.
    pub fn from_toml(text: &str) -> Result<Self, Vec<ConfigError>> {
        Ok(load::from_text(text, &|name| std::env::var_os(name))?.config)
    }
}

/// Warnings about a configuration that is given as text, where no environment variable is set.
fn warnings(text: &str) -> Result<Vec<String>, Vec<ConfigError>> {
    Ok(load::from_text(text, &|_| None)?.warnings)
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
    /// `trusted-proxies`.
    pub proxies: Vec<IpRange>,
    /// `max-allocate-timeout`: how long a connection may be without an allocation.
    pub idle_timeout: Duration,
    /// `max-idle-streams`, `max-idle-streams-per-ip`, `max-idle-memory`: clients without one.
    pub unallocated: UnallocatedLimits,
    /// `handshake-rate`: handshakes per second of one source network, and a tenth of its TCP
    /// connections; `None`: no limit.
    pub handshake_rate: Option<u32>,
}

/// Certificates, keys and ciphers of TLS and DTLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// `cert` and `pkey`.
    pub files: Vec<CertificateFiles>,
    /// `pkey-pwd`.
    pub password: Option<Secret>,
    /// Contents of `files`; empty: neither TLS nor DTLS is served.
    pub certificates: Vec<Certificate>,
    /// `cipher-list`, in OpenSSL's names.
    pub ciphers: Vec<&'static str>,
    /// Key that says what the server is called, and that name.
    pub name: (&'static str, String),
    /// Reason why `files` cannot be used now, so that `certificates` are those of before.
    pub unusable: Option<String>,
}

impl Tls {
    /// Whether both are read from the same files, with the same password.
    fn has_files_of(&self, other: &Self) -> bool {
        self.files == other.files && self.password == other.password
    }

    /// Reads the certificates again.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn load(&self) -> Result<Vec<Certificate>, certificate::CertificateError> {
        let password = self.password.as_ref();
        let load = |files| certificate::load(files, password);
        self.files.iter().map(load).collect()
    }

    /// Warnings about certificates that work but that clients may refuse.
    pub fn doubts(&self) -> Vec<String> {
        let (key, name) = &self.name;
        certificate::doubts(&self.files, &self.certificates, key, name)
    }
}

/// Public addresses to look for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicAddress {
    /// Elements of `external-ip` that are no addresses.
    pub sought: Vec<Sought>,
    /// `external-ip-stun`.
    pub stun: Vec<StunServer>,
    /// `external-ip-interval`.
    pub interval: Duration,
}

impl PublicAddress {
    /// Host names whose addresses are announced.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sought
            .iter()
            .filter_map(|sought| match &sought.source {
                Source::Name(name) => Some(name.as_str()),
                Source::Auto => None,
            })
    }
}

/// An element of `external-ip` that is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Where the public address is found.
    pub source: Source,
    /// The local address that it stands for; `None`: every relay address without another.
    pub private: Option<IpAddr>,
}

/// Where a public address is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `auto`: the interface, the cloud's metadata, STUN.
    Auto,
    /// The addresses of a host name.
    Name(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A STUN server that may be asked for a public address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunServer {
    /// Name or address.
    pub host: String,
    /// UDP port.
    pub port: u16,
}

impl std::fmt::Display for StunServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Draining, reloading and the admin listener.
#[derive(Clone, Debug)]
pub struct Operation {
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
    /// `log-file`; `None`: standard error, unless `syslog`.
    pub file: Option<PathBuf>,
    /// `syslog`: to the syslog daemon, and not to `file`.
    pub syslog: bool,
    /// `log-format`.
    pub format: LogFormat,
    /// `log-min-level`, or what `verbose` makes of it.
    pub level: LevelFilter,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
