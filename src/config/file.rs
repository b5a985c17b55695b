//! The configuration as it is written: the keys of `turnd.toml`, which are also the flags of `turnd serve`.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;

use super::{ClearTable, Secret};

/// What `turnd check` shows in place of a secret.
const MASK: &str = "***";

/// The largest integer that TOML has.
const MOST: u64 = i64::MAX as u64;

/// Every key; `None`: not given.
#[derive(Clone, Default, Serialize, Deserialize, clap::Args)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FileConfig {
    /// Port for clients.
    #[arg(long, help_heading = "Listening", value_name = "PORT")]
    pub listening_port: Option<u16>,
    /// Second port for clients; either one speaks everything.
    #[arg(long, help_heading = "Listening", value_name = "PORT")]
    pub tls_listening_port: Option<u16>,
    /// Help clients to find out their NAT (RFC 5780); needs two listening-ip of a family, makes Binding replies longer.
    #[arg(long, help_heading = "Listening")]
    pub rfc5780: Option<bool>,
    /// Other port of rfc5780 beside listening-port; absent: the next one.
    #[arg(long, help_heading = "Listening", value_name = "PORT")]
    pub alt_listening_port: Option<u16>,
    /// Other port of rfc5780 beside tls-listening-port; absent: the next one.
    #[arg(long, help_heading = "Listening", value_name = "PORT")]
    pub alt_tls_listening_port: Option<u16>,
    /// Addresses to listen on; none: every address, IPv4 and IPv6.
    #[arg(long, help_heading = "Listening", value_name = "IP")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub listening_ip: Option<Vec<String>>,
    /// Worker threads; 0: one per CPU.
    #[arg(long, help_heading = "Listening", value_name = "N")]
    pub relay_threads: Option<u32>,
    /// Refuse plain UDP from clients.
    #[arg(long, help_heading = "Transports")]
    pub no_udp: Option<bool>,
    /// Refuse plain TCP from clients.
    #[arg(long, help_heading = "Transports")]
    pub no_tcp: Option<bool>,
    /// PEM files with a certificate and its chain; several are chosen between by the name that a client asks for.
    #[arg(long, help_heading = "Transports", value_name = "FILE")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub cert: Option<Vec<String>>,
    /// PEM files with the keys of cert, in the same order.
    #[arg(long, help_heading = "Transports", value_name = "FILE")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub pkey: Option<Vec<String>>,
    /// Password of the keys.
    #[arg(long, help_heading = "Transports", value_name = "TEXT")]
    pub pkey_pwd: Option<Secret>,
    /// File with that password on one line.
    #[arg(long, help_heading = "Transports", value_name = "FILE")]
    pub pkey_pwd_file: Option<PathBuf>,
    /// TLS and DTLS ciphers to offer, separated by colons; absent: all ECDHE AES-GCM and ChaCha20 ones.
    #[arg(long, help_heading = "Transports", value_name = "TEXT")]
    pub cipher_list: Option<String>,
    /// Refuse TLS from clients.
    #[arg(long, help_heading = "Transports")]
    pub no_tls: Option<bool>,
    /// Serve DTLS, which no browser needs; wants cert and pkey, and a program that is built with it.
    #[arg(long, help_heading = "Transports")]
    pub dtls: Option<bool>,
    /// Load balancers that speak the PROXY protocol, and must: address, CIDR block, or first-last.
    #[arg(long, help_heading = "Transports", value_name = "RANGE")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub trusted_proxies: Option<Vec<String>>,
    /// Refuse TCP relays (RFC 6062).
    #[arg(long, help_heading = "Transports")]
    pub no_tcp_relay: Option<bool>,
    /// Seconds that a connection may stay open without an allocation.
    #[arg(long, help_heading = "Transports", value_name = "N")]
    pub max_allocate_timeout: Option<u32>,
    /// Connections without an allocation, all together.
    #[arg(long, help_heading = "Transports", value_name = "N")]
    pub max_idle_streams: Option<u32>,
    /// Connections without an allocation from one address, or one IPv6 /64; a /48 may have four times as many.
    #[arg(long, help_heading = "Transports", value_name = "N")]
    pub max_idle_streams_per_ip: Option<u32>,
    /// Bytes that connections without an allocation may hold, all together.
    #[arg(long, help_heading = "Transports", value_name = "N")]
    pub max_idle_memory: Option<u32>,
    /// TLS and DTLS handshakes per second that one source network may begin; 0: no limit.
    #[arg(long, help_heading = "Transports", value_name = "N")]
    pub handshake_rate: Option<u32>,
    /// Addresses to relay from; none: the address that the client reached.
    #[arg(long, help_heading = "Relaying", value_name = "IP")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub relay_ip: Option<Vec<String>>,
    /// Addresses to announce behind NAT: "public", or "public/private" for one relay address.
    #[arg(long, help_heading = "Relaying", value_name = "IP")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub external_ip: Option<Vec<String>>,
    /// Lowest port to relay from.
    #[arg(long, help_heading = "Relaying", value_name = "PORT")]
    pub min_port: Option<u16>,
    /// Highest port to relay from.
    #[arg(long, help_heading = "Relaying", value_name = "PORT")]
    pub max_port: Option<u16>,
    /// Family of a relay when the client names none: "ipv4", "ipv6", or "keep" for the client's own.
    #[arg(long, help_heading = "Relaying", value_name = "TEXT")]
    pub allocation_default_address_family: Option<String>,
    /// Realm that clients are told, usually the domain name of the service.
    #[arg(long, help_heading = "Credentials", value_name = "TEXT")]
    pub realm: Option<String>,
    /// Realm when realm is absent.
    #[arg(long, help_heading = "Credentials", value_name = "TEXT")]
    pub server_name: Option<String>,
    /// Static users: "name:password", or "name:0x…" with the output of turnd key.
    #[arg(long, help_heading = "Credentials", value_name = "NAME:PASSWORD")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub user: Option<Vec<Secret>>,
    /// File with one static user per line.
    #[arg(long, help_heading = "Credentials", value_name = "FILE")]
    pub user_file: Option<PathBuf>,
    /// Accept static users; absent: when there are any.
    #[arg(long, help_heading = "Credentials")]
    pub lt_cred_mech: Option<bool>,
    /// Accept TURN REST credentials; absent: when there is a secret.
    #[arg(long, help_heading = "Credentials")]
    pub use_auth_secret: Option<bool>,
    /// Secrets that TURN REST credentials are made with, newest first.
    #[arg(long, help_heading = "Credentials", value_name = "TEXT")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub static_auth_secret: Option<Vec<Secret>>,
    /// File with one such secret per line, newest first.
    #[arg(long, help_heading = "Credentials", value_name = "FILE")]
    pub static_auth_secret_file: Option<PathBuf>,
    /// Character between time and name in the user name of a TURN REST credential.
    #[arg(long, help_heading = "Credentials", value_name = "TEXT")]
    pub rest_api_separator: Option<String>,
    /// When TURN REST credentials run out in mid-call: "keep" the call, or "end" it.
    #[arg(long, help_heading = "Credentials", value_name = "TEXT")]
    pub rest_expiry: Option<String>,
    /// Seconds that a nonce is good for, 1 to 3600.
    #[arg(long, help_heading = "Credentials", value_name = "N")]
    pub stale_nonce: Option<u32>,
    /// Secret that nonces are made with; absent: a random one at each start.
    #[arg(long, help_heading = "Credentials", value_name = "TEXT")]
    pub nonce_secret: Option<Secret>,
    /// File with that secret on one line.
    #[arg(long, help_heading = "Credentials", value_name = "FILE")]
    pub nonce_secret_file: Option<PathBuf>,
    /// Let anyone allocate, without credentials.
    #[arg(long, help_heading = "Credentials")]
    pub no_auth: Option<bool>,
    /// Allocations of one user at a time; absent: a tenth of the relay ports, at least 100; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub user_quota: Option<u32>,
    /// Allocations at a time; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub total_quota: Option<u32>,
    /// Allocations that one user makes per second, those of ten seconds at once if need be; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub user_allocate_rate: Option<u32>,
    /// Bytes per second of one allocation in each direction; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = clap::value_parser!(u64).range(..=MOST))]
    pub max_bps: Option<u64>,
    /// Bytes per second of all allocations of one user in each direction; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = clap::value_parser!(u64).range(..=MOST))]
    pub user_bps: Option<u64>,
    /// Bytes per second of all allocations in each direction; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N", value_parser = clap::value_parser!(u64).range(..=MOST))]
    pub bps_capacity: Option<u64>,
    /// Permissions of all allocations, of which one user has at most a tenth unless user-quota is 0; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub total_permissions: Option<u32>,
    /// Channels of all allocations, of which one user has at most a tenth unless user-quota is 0; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub total_channels: Option<u32>,
    /// Permissions of one allocation.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub max_permissions: Option<u32>,
    /// Channels of one allocation, 1 to 16384.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub max_channels: Option<u32>,
    /// TCP connections of one allocation with peers.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub max_peer_connections: Option<u32>,
    /// Error replies per second, by UDP and for all workers together, to one source network before it has authenticated; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub unauthenticated_rate: Option<u32>,
    /// Binding replies per second, by UDP and for all workers together, to one source network; 0: no limit.
    #[arg(long, help_heading = "Limits", value_name = "N")]
    pub binding_rate: Option<u32>,
    /// Peers to allow besides public addresses: address, CIDR block, or first-last.
    #[arg(long, help_heading = "Peers", value_name = "RANGE")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub allowed_peer_ip: Option<Vec<String>>,
    /// Peers to refuse besides private addresses: address, CIDR block, or first-last.
    #[arg(long, help_heading = "Peers", value_name = "RANGE")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub denied_peer_ip: Option<Vec<String>>,
    /// Allow peers on this machine's loopback addresses, for tests.
    #[arg(long, help_heading = "Peers")]
    pub allow_loopback_peers: Option<bool>,
    /// Longest lifetime of an allocation between refreshes in seconds, at least 600.
    #[arg(long, help_heading = "Lifetimes", value_name = "N")]
    pub max_allocate_lifetime: Option<u32>,
    /// Lifetime of a channel in seconds; clients expect 600.
    #[arg(long, help_heading = "Lifetimes", value_name = "N")]
    pub channel_lifetime: Option<u32>,
    /// Lifetime of a permission in seconds; clients expect 300.
    #[arg(long, help_heading = "Lifetimes", value_name = "N")]
    pub permission_lifetime: Option<u32>,
    /// Add FINGERPRINT to every reply.
    #[arg(long, help_heading = "Protocol")]
    pub fingerprint: Option<bool>,
    /// Add SOFTWARE, with name and version, to replies.
    #[arg(long, help_heading = "Protocol")]
    pub software_attribute: Option<bool>,
    /// Answer STUN Binding requests and relay nothing.
    #[arg(long, help_heading = "Protocol")]
    pub stun_only: Option<bool>,
    /// Ask for credentials before answering STUN Binding requests.
    #[arg(long, help_heading = "Protocol")]
    pub secure_stun: Option<bool>,
    /// Answer Binding requests of RFC 3489 clients.
    #[arg(long, help_heading = "Protocol")]
    pub rfc3489_compatibility: Option<bool>,
    /// Accept channel numbers up to 0x7FFF, as RFC 5766 had them.
    #[arg(long, help_heading = "Protocol")]
    pub rfc5766_channel_numbers: Option<bool>,
    /// Servers to send clients to while this one drains: "address" or "address:port".
    #[arg(long, help_heading = "Operation", value_name = "IP[:PORT]")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub alternate_server: Option<Vec<String>>,
    /// Seconds that TERM, INT and USR1 leave calls to end by themselves; 0: TERM and INT stop at once.
    #[arg(long, help_heading = "Operation", value_name = "N")]
    pub drain_timeout: Option<u32>,
    /// Where metrics, API and page are served, as "address:port" or the path of a unix socket; absent: these two, where free.
    #[arg(long, help_heading = "Operation", value_name = "ADDRESS")]
    #[serde(default, deserialize_with = "one_or_many")]
    pub admin_listen: Option<Vec<String>>,
    /// Bearer token that they ask for over TCP, where only health and metrics are served without it.
    #[arg(long, help_heading = "Operation", value_name = "TEXT")]
    pub admin_token: Option<Secret>,
    /// File with that token on one line.
    #[arg(long, help_heading = "Operation", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Longest lifetime in seconds of credentials that turnd credentials and the admin listener give out.
    #[arg(long, help_heading = "Operation", value_name = "N")]
    pub max_credential_ttl: Option<u32>,
    /// Reload when the configuration file changes, and not only on HUP.
    #[arg(long, help_heading = "Operation")]
    pub reload_on_change: Option<bool>,
    /// Log debug lines too.
    #[arg(long, help_heading = "Logging and process")]
    pub verbose: Option<bool>,
    /// File to log to; absent: standard error.
    #[arg(long, help_heading = "Logging and process", value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// Form of a log line: "text" or "json".
    #[arg(long, help_heading = "Logging and process", value_name = "TEXT")]
    pub log_format: Option<String>,
    /// File to keep the process id in.
    #[arg(long, help_heading = "Logging and process", value_name = "FILE")]
    pub pidfile: Option<PathBuf>,
    /// User that root becomes for good once files are open and ports bound.
    #[arg(long, help_heading = "Logging and process", value_name = "NAME")]
    pub proc_user: Option<String>,
    /// Group of that user; absent: its own.
    #[arg(long, help_heading = "Logging and process", value_name = "NAME")]
    pub proc_group: Option<String>,
}

impl FileConfig {
    /// The defaults; a key whose default is to be absent is `None`.
    #[must_use]
    pub fn defaults() -> Self {
        Self {
            listening_port: Some(3478),
            tls_listening_port: Some(5349),
            rfc5780: Some(false),
            listening_ip: Some(Vec::new()),
            relay_threads: Some(0),
            no_udp: Some(false),
            no_tcp: Some(false),
            cert: Some(Vec::new()),
            pkey: Some(Vec::new()),
            no_tls: Some(false),
            dtls: Some(false),
            trusted_proxies: Some(Vec::new()),
            no_tcp_relay: Some(false),
            max_allocate_timeout: Some(60),
            max_idle_streams: Some(10000),
            max_idle_streams_per_ip: Some(1000),
            max_idle_memory: Some(64 << 20),
            handshake_rate: Some(100),
            relay_ip: Some(Vec::new()),
            external_ip: Some(Vec::new()),
            min_port: Some(49152),
            max_port: Some(65535),
            allocation_default_address_family: Some("ipv4".to_owned()),
            realm: Some("turnd".to_owned()),
            user: Some(Vec::new()),
            static_auth_secret: Some(Vec::new()),
            rest_api_separator: Some(":".to_owned()),
            rest_expiry: Some("keep".to_owned()),
            stale_nonce: Some(600),
            no_auth: Some(false),
            total_quota: Some(0),
            user_allocate_rate: Some(100),
            max_bps: Some(0),
            user_bps: Some(0),
            bps_capacity: Some(0),
            total_permissions: Some(500_000),
            total_channels: Some(250_000),
            max_permissions: Some(1024),
            max_channels: Some(1024),
            max_peer_connections: Some(64),
            unauthenticated_rate: Some(500),
            binding_rate: Some(5000),
            allowed_peer_ip: Some(Vec::new()),
            denied_peer_ip: Some(Vec::new()),
            allow_loopback_peers: Some(false),
            max_allocate_lifetime: Some(3600),
            channel_lifetime: Some(600),
            permission_lifetime: Some(300),
            fingerprint: Some(false),
            software_attribute: Some(false),
            stun_only: Some(false),
            secure_stun: Some(false),
            rfc3489_compatibility: Some(false),
            rfc5766_channel_numbers: Some(false),
            alternate_server: Some(Vec::new()),
            drain_timeout: Some(0),
            max_credential_ttl: Some(86400),
            reload_on_change: Some(false),
            verbose: Some(false),
            log_format: Some("text".to_owned()),
            ..Self::default()
        }
    }

    /// Whether anything here says who may allocate, or that nobody needs to be known.
    #[must_use]
    pub fn says_who(&self) -> bool {
        let given = |list: &Option<Vec<Secret>>| list.as_ref().is_some_and(|l| !l.is_empty());
        given(&self.user)
            || given(&self.static_auth_secret)
            || self.user_file.is_some()
            || self.static_auth_secret_file.is_some()
            || self.use_auth_secret == Some(true)
            || self.no_auth == Some(true)
            || self.stun_only == Some(true)
    }

    /// Replaces `user` by one with a random name and password, in letters that need no quoting anywhere.
    pub fn with_random_user(mut self) -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 24];
        loop {
            getrandom::fill(&mut bytes)?;
            let (name, password) = bytes.split_at(6);
            let name = URL_SAFE_NO_PAD.encode(name);
            let password = URL_SAFE_NO_PAD.encode(password);
            // A password that begins so would be read as a key.
            if !password.starts_with("0x") {
                self.user = Some(vec![Secret::new(format!("{name}:{password}"))]);
                return Ok(self);
            }
        }
    }

    /// A copy that can be shown: what is secret is replaced by asterisks.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut copy = self.clone();
        for user in copy.user.iter_mut().flatten() {
            // Without a colon nobody can say which part is secret.
            *user = Secret::new(match user.reveal().split_once(':') {
                Some((name, _)) => format!("{name}:{MASK}"),
                None => MASK.to_owned(),
            });
        }
        let single = [
            &mut copy.nonce_secret,
            &mut copy.admin_token,
            &mut copy.pkey_pwd,
        ];
        for secret in copy
            .static_auth_secret
            .iter_mut()
            .flatten()
            .chain(single.into_iter().flatten())
        {
            *secret = Secret::new(MASK);
        }
        copy
    }

    /// The files with credentials, certificates and keys, which a reload reads again.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let secrets = [
            &self.user_file,
            &self.static_auth_secret_file,
            &self.nonce_secret_file,
            &self.admin_token_file,
            &self.pkey_pwd_file,
        ];
        let certificates = [&self.cert, &self.pkey].into_iter().flatten().flatten();
        certificates
            .map(Path::new)
            .chain(secrets.into_iter().flatten().map(PathBuf::as_path))
    }

    /// As TOML text, one line per key that is given. Holds the secrets.
    ///
    /// # Errors
    /// A path that is not UTF-8, or a number beyond TOML's range.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// As a TOML table that holds the keys that are given.
    pub(crate) fn to_table(&self) -> Result<ClearTable, toml::ser::Error> {
        Table::try_from(self).map(ClearTable::from)
    }
}

impl fmt::Debug for FileConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.masked().to_toml() {
            Ok(text) => f.write_str(&text),
            Err(_) => f.write_str("FileConfig"),
        }
    }
}

/// Reads a list that may be written as its only element. No copy of a text is left behind, as there would be by an untagged enum.
fn one_or_many<'de, D, T>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + From<String>,
{
    struct OneOrMany<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de> + From<String>> Visitor<'de> for OneOrMany<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text or a list of texts")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![T::from(text.to_owned())])
        }

        fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
            Ok(vec![T::from(text)])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(item) = items.next_element()? {
                all.push(item);
            }
            Ok(all)
        }
    }

    from.deserialize_any(OneOrMany(PhantomData)).map(Some)
}

#[cfg(test)]
mod tests;
