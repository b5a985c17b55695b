//! The configuration as it is written: the keys of `turnd.toml`, which are also the flags of `turnd serve`.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;

use super::quantity::{BYTES_NAME, TIME_NAME, bytes_flag, bytes_key, seconds_flag, seconds_key};
use super::{ClearTable, Secret};
use turnd_proto::{auth, server};

/// Text that `turnd check` shows in place of a secret.
const MASK: &str = "***";

/// Declares the keys: help text, type and default of each, under the heading that `--help` shows. A default of `None`: the
/// key is absent. `restart`: a running process cannot follow a change.
macro_rules! keys {
    ($auth:ident, $server:ident; $($heading:literal { $($(#[$attribute:meta])* $key:ident: $type:ty = $default:expr $(, $restart:ident)?;)* })*) => {
        /// Every key; `None`: not given.
        #[derive(Clone, Default, Serialize, Deserialize, clap::Args)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct FileConfig {
            $($(
                $(#[$attribute])*
                #[arg(long, help_heading = $heading)]
                pub $key: Option<$type>,
            )*)*
        }

        impl FileConfig {
            /// The defaults: those of the rooms that obey the keys, and those that are stated here.
            pub fn defaults() -> Self {
                let $auth = auth::Settings::default();
                let $server = server::Settings::default();
                Self { $($($key: $default,)*)* }
            }

            /// Whether a running process cannot follow a change of `key`.
            pub(crate) fn needs_restart(key: &str) -> bool {
                let keys = [$($($((stringify!($restart), stringify!($key)).1,)?)*)*];
                keys.contains(&&*key.replace('-', "_"))
            }
        }
    };
}

keys! {
    auth, server;
    "Listening" {
        /// Port for clients.
        #[arg(value_name = "PORT")]
        listening_port: u16 = Some(3478);
        /// Second port for clients; either one speaks everything.
        #[arg(value_name = "PORT")]
        tls_listening_port: u16 = Some(5349);
        /// Help clients to find out their NAT (RFC 5780); needs two listening-ip of a family, makes Binding replies longer.
        rfc5780: bool = Some(false), restart;
        /// Other port of rfc5780 beside listening-port; absent: the next one.
        #[arg(value_name = "PORT")]
        alt_listening_port: u16 = None, restart;
        /// Other port of rfc5780 beside tls-listening-port; absent: the next one.
        #[arg(value_name = "PORT")]
        alt_tls_listening_port: u16 = None, restart;
        /// Addresses to listen on; none: every address, IPv4 and IPv6.
        #[arg(value_name = "IP")]
        #[serde(default, deserialize_with = "one_or_many")]
        listening_ip: Vec<String> = Some(Vec::new());
        /// Worker threads; 0: one per CPU.
        #[arg(value_name = "N")]
        relay_threads: u32 = Some(0), restart;
    }
    "Transports" {
        /// Refuse plain UDP from clients.
        no_udp: bool = Some(false), restart;
        /// Refuse plain TCP from clients.
        no_tcp: bool = Some(false), restart;
        /// PEM files with a certificate and its chain; of several, the name that a client asks for chooses one.
        #[arg(value_name = "FILE")]
        #[serde(default, deserialize_with = "one_or_many")]
        cert: Vec<String> = Some(Vec::new());
        /// PEM files with the keys of cert, in the same order.
        #[arg(value_name = "FILE")]
        #[serde(default, deserialize_with = "one_or_many")]
        pkey: Vec<String> = Some(Vec::new());
        /// Password of the keys.
        #[arg(value_name = "TEXT")]
        pkey_pwd: Secret = None;
        /// File with the password of the keys on one line.
        #[arg(value_name = "FILE")]
        pkey_pwd_file: PathBuf = None;
        /// TLS and DTLS ciphers to offer, separated by colons; absent: all ECDHE AES-GCM and ChaCha20 ones.
        #[arg(value_name = "TEXT")]
        cipher_list: String = None;
        /// Refuse TLS from clients.
        no_tls: bool = Some(false), restart;
        /// Serve DTLS, which no browser needs; wants cert and pkey, and a program that is built with it.
        dtls: bool = Some(false), restart;
        /// Load balancers, which must speak the PROXY protocol: address, CIDR block, or first-last.
        #[arg(value_name = "RANGE")]
        #[serde(default, deserialize_with = "one_or_many")]
        trusted_proxies: Vec<String> = Some(Vec::new()), restart;
        /// Refuse UDP relays, which browsers want: only TCP relays (RFC 6062) are to be had.
        no_udp_relay: bool = Some(!server.udp_relay);
        /// Refuse TCP relays (RFC 6062).
        no_tcp_relay: bool = Some(!server.tcp_relay);
        /// Time that a connection may stay open without an allocation, in seconds or as "1m".
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        max_allocate_timeout: u32 = Some(60), restart;
        /// Connections without an allocation, all together.
        #[arg(value_name = "N")]
        max_idle_streams: u32 = Some(10000), restart;
        /// Connections without an allocation from one address, or one IPv6 /64; a /48 may have four times as many.
        #[arg(value_name = "N")]
        max_idle_streams_per_ip: u32 = Some(1000), restart;
        /// Bytes that connections without an allocation may hold, all together, or as "64 MiB".
        #[arg(value_name = BYTES_NAME, value_parser = bytes_flag::<u32>)]
        #[serde(default, deserialize_with = "bytes_key")]
        max_idle_memory: u32 = Some(64 << 20), restart;
        /// TLS and DTLS handshakes per second of one source network, which may open ten times as many TCP connections; 0: no limit.
        #[arg(value_name = "N")]
        handshake_rate: u32 = Some(100), restart;
    }
    "Relaying" {
        /// Addresses to relay from; none: the address that the client reached.
        #[arg(value_name = "IP")]
        #[serde(default, deserialize_with = "one_or_many")]
        relay_ip: Vec<String> = Some(Vec::new());
        /// Addresses to announce behind NAT: "public", or "public/private" for one relay address; "auto" or a host name finds them.
        #[arg(value_name = "IP")]
        #[serde(default, deserialize_with = "one_or_many")]
        external_ip: Vec<String> = Some(Vec::new());
        /// STUN servers to ask where external-ip is "auto" and no interface or cloud tells: "host" or "host:port".
        #[arg(value_name = "HOST[:PORT]")]
        #[serde(default, deserialize_with = "one_or_many")]
        external_ip_stun: Vec<String> = Some(Vec::new());
        /// Time between two looks for the addresses of external-ip "auto" or a host name, in seconds or as "5m".
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        external_ip_interval: u32 = Some(300);
        /// Lowest port to relay from.
        #[arg(value_name = "PORT")]
        min_port: u16 = Some(server.relay.min_port);
        /// Highest port to relay from.
        #[arg(value_name = "PORT")]
        max_port: u16 = Some(server.relay.max_port);
        /// Family of a relay when the client names none: "ipv4", "ipv6", or "keep" for the client's own.
        #[arg(value_name = "TEXT")]
        allocation_default_address_family: String = Some("ipv4".to_owned());
    }
    "Credentials" {
        /// Realm that clients are told, usually the domain name of the service.
        #[arg(value_name = "TEXT")]
        realm: String = Some(auth.realm);
        /// Realm when realm is absent.
        #[arg(value_name = "TEXT")]
        server_name: String = None;
        /// Static users: "name:password", or "name:0x…" with the output of turnd key.
        #[arg(value_name = "NAME:PASSWORD")]
        #[serde(default, deserialize_with = "one_or_many")]
        user: Vec<Secret> = Some(Vec::new());
        /// File with one static user per line.
        #[arg(value_name = "FILE")]
        user_file: PathBuf = None;
        /// Accept static users; absent: when there are any.
        lt_cred_mech: bool = None;
        /// Accept TURN REST credentials; absent: when there is a secret.
        use_auth_secret: bool = None;
        /// Secrets that TURN REST credentials are made with, newest first.
        #[arg(value_name = "TEXT")]
        #[serde(default, deserialize_with = "one_or_many")]
        static_auth_secret: Vec<Secret> = Some(Vec::new());
        /// File with one TURN REST secret per line, newest first.
        #[arg(value_name = "FILE")]
        static_auth_secret_file: PathBuf = None;
        /// Character between time and name in the user name of a TURN REST credential.
        #[arg(value_name = "TEXT")]
        rest_api_separator: String = Some(auth.rest_separator.to_string());
        /// When TURN REST credentials run out in mid-call: "keep" the call, or "end" it.
        #[arg(value_name = "TEXT")]
        rest_expiry: String = Some("keep".to_owned());
        /// Time that a nonce is good for, in seconds from 1 to 3600, or as "10m".
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        stale_nonce: u32 = seconds(auth.stale_nonce);
        /// Offer SHA-256 beside MD5 to clients of RFC 8489; others go on as before.
        password_algorithms: bool = Some(auth.features.password_algorithms);
        /// Have clients of RFC 8489 send a hash in place of the user name, which finds static users only.
        username_anonymity: bool = Some(auth.features.username_anonymity);
        /// Secret that nonces are made with; absent: a random one at each start.
        #[arg(value_name = "TEXT")]
        nonce_secret: Secret = None;
        /// File with the nonce secret on one line.
        #[arg(value_name = "FILE")]
        nonce_secret_file: PathBuf = None;
        /// Let anyone allocate, without credentials.
        no_auth: bool = Some(auth.no_auth);
    }
    "Limits" {
        /// Allocations of one user at a time; absent: a tenth of the relay ports, at least 100; 0: no limit.
        #[arg(value_name = "N")]
        user_quota: u32 = None;
        /// Allocations at a time; 0: no limit.
        #[arg(value_name = "N")]
        total_quota: u32 = or_zero(server.limits.total_quota);
        /// Allocations per second of one user, in bursts of up to ten seconds' worth; 0: no limit.
        #[arg(value_name = "N")]
        user_allocate_rate: u32 = or_zero(server.limits.user_allocate_rate);
        /// Bytes per second of one allocation in each direction, or as "10 Mbit"; 0: no limit.
        #[arg(value_name = BYTES_NAME, value_parser = bytes_flag::<u64>)]
        #[serde(default, deserialize_with = "bytes_key")]
        max_bps: u64 = or_zero(server.limits.max_bps);
        /// Bytes per second of all allocations of one user in each direction, or as "10 Mbit"; 0: no limit.
        #[arg(value_name = BYTES_NAME, value_parser = bytes_flag::<u64>)]
        #[serde(default, deserialize_with = "bytes_key")]
        user_bps: u64 = or_zero(server.limits.user_bps);
        /// Bytes per second of all allocations in each direction, or as "10 Mbit"; 0: no limit.
        #[arg(value_name = BYTES_NAME, value_parser = bytes_flag::<u64>)]
        #[serde(default, deserialize_with = "bytes_key")]
        bps_capacity: u64 = or_zero(server.limits.bps_capacity);
        /// Permissions of all allocations, of which one user has at most a tenth unless user-quota is 0; 0: no limit.
        #[arg(value_name = "N")]
        total_permissions: u32 = or_zero(server.limits.total_permissions);
        /// Channels of all allocations, of which one user has at most a tenth unless user-quota is 0; 0: no limit.
        #[arg(value_name = "N")]
        total_channels: u32 = or_zero(server.limits.total_channels);
        /// Permissions of one allocation.
        #[arg(value_name = "N")]
        max_permissions: u32 = number(server.limits.permissions);
        /// Channels of one allocation, 1 to 16384.
        #[arg(value_name = "N")]
        max_channels: u32 = number(server.limits.channels);
        /// TCP connections of one allocation with peers.
        #[arg(value_name = "N")]
        max_peer_connections: u32 = number(server.limits.peer_connections);
        /// Error replies per second, by UDP and for all workers together, to one source network before it has authenticated; 0: no limit.
        #[arg(value_name = "N")]
        unauthenticated_rate: u32 = or_zero(server.limits.unauthenticated_rate);
        /// Binding replies per second, by UDP and for all workers together, to one source network; 0: no limit.
        #[arg(value_name = "N")]
        binding_rate: u32 = or_zero(server.limits.binding_rate);
    }
    "Peers" {
        /// Peers to allow besides public addresses: address, CIDR block, or first-last.
        #[arg(value_name = "RANGE")]
        #[serde(default, deserialize_with = "one_or_many")]
        allowed_peer_ip: Vec<String> = Some(Vec::new());
        /// Peers to refuse besides private addresses: address, CIDR block, or first-last.
        #[arg(value_name = "RANGE")]
        #[serde(default, deserialize_with = "one_or_many")]
        denied_peer_ip: Vec<String> = Some(Vec::new());
        /// Allow peers on this machine's loopback addresses, for tests.
        allow_loopback_peers: bool = Some(server.peers.allow_loopback);
    }
    "Lifetimes" {
        /// Longest lifetime of an allocation between refreshes, in seconds or as "1h", at least 600.
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        max_allocate_lifetime: u32 = seconds(server.lifetimes.max_allocate);
        /// Lifetime of a channel, in seconds or as "10m"; clients expect 600.
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        channel_lifetime: u32 = seconds(server.lifetimes.channel);
        /// Lifetime of a permission, in seconds or as "5m"; clients expect 300.
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        permission_lifetime: u32 = seconds(server.lifetimes.permission);
    }
    "Protocol" {
        /// Add FINGERPRINT to every reply.
        fingerprint: bool = Some(server.protocol.fingerprint);
        /// Add SOFTWARE, with name and version, to replies.
        software_attribute: bool = Some(server.protocol.software.is_some());
        /// Answer STUN Binding requests and relay nothing.
        stun_only: bool = Some(server.protocol.stun_only);
        /// Ask for credentials before answering STUN Binding requests.
        secure_stun: bool = Some(server.protocol.secure_stun);
        /// Answer Binding requests of RFC 3489 clients.
        rfc3489_compatibility: bool = Some(server.protocol.rfc3489);
        /// Accept channel numbers up to 0x7FFF, as RFC 5766 had them.
        rfc5766_channel_numbers: bool = Some(server.protocol.rfc5766_channels);
    }
    "Operation" {
        /// Servers to send each new client on to, in turn: "address" or "address:port"; a list that holds the address reached sends nobody on.
        #[arg(value_name = "IP[:PORT]")]
        #[serde(default, deserialize_with = "one_or_many")]
        alternate_server: Vec<String> = Some(Vec::new());
        /// Servers to send new clients on TLS and DTLS on to, in turn, at port 5349 unless given; empty: those of alternate-server.
        #[arg(value_name = "IP[:PORT]")]
        #[serde(default, deserialize_with = "one_or_many")]
        tls_alternate_server: Vec<String> = Some(Vec::new());
        /// Servers to send new clients to while this one drains: "address" or "address:port".
        #[arg(value_name = "IP[:PORT]")]
        #[serde(default, deserialize_with = "one_or_many")]
        drain_alternate_server: Vec<String> = Some(Vec::new());
        /// Time that TERM, INT and USR1 leave calls to end by themselves, in seconds or as "1h"; 0: TERM and INT stop at once.
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        drain_timeout: u32 = Some(0);
        /// Places to serve metrics, API and page at: "address:port" or the path of a unix socket; absent: 127.0.0.1:9641 and /run/turnd/turnd.sock, as far as they are free.
        #[arg(value_name = "ADDRESS")]
        #[serde(default, deserialize_with = "one_or_many")]
        admin_listen: Vec<String> = None, restart;
        /// Bearer token for admin-listen over TCP; absent: TCP serves health and metrics only.
        #[arg(value_name = "TEXT")]
        admin_token: Secret = None;
        /// File with the admin token on one line.
        #[arg(value_name = "FILE")]
        admin_token_file: PathBuf = None;
        /// Longest lifetime of credentials that turnd credentials and the admin listener give out, in seconds or as "24h".
        #[arg(value_name = TIME_NAME, value_parser = seconds_flag)]
        #[serde(default, deserialize_with = "seconds_key")]
        max_credential_ttl: u32 = Some(86400);
        /// Reload when the configuration file changes, and not only on HUP.
        reload_on_change: bool = Some(false), restart;
    }
    "Logging and process" {
        /// Log debug lines too, as log-min-level "debug" does; turnd ctl log-level sets another level until the next reload.
        verbose: bool = Some(false);
        /// Least level of lines to log: "error", "warning", "info", "debug" or "trace"; absent: "info", or "debug" with verbose.
        #[arg(value_name = "TEXT")]
        log_min_level: String = None;
        /// File to log to; absent: standard error.
        #[arg(value_name = "FILE")]
        log_file: PathBuf = None;
        /// Log to the syslog daemon of this machine (/dev/log), and not to log-file or standard error.
        syslog: bool = Some(false);
        /// Form of a log line: "text" or "json".
        #[arg(value_name = "TEXT")]
        log_format: String = Some("text".to_owned());
        /// File to keep the process id in.
        #[arg(value_name = "FILE")]
        pidfile: PathBuf = None, restart;
        /// User that root becomes for good once files are open and ports bound.
        #[arg(value_name = "NAME")]
        proc_user: String = None, restart;
        /// Group that goes with proc-user; absent: the group of that user.
        #[arg(value_name = "NAME")]
        proc_group: String = None, restart;
    }
}

impl FileConfig {
    /// Whether there are credentials, or a key that makes them needless.
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

    /// The keys whose values differ.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        // Every configuration that was loaded can be written.
        let [own, other] = [self, other].map(|config| config.to_table().unwrap_or_default());
        let mut keys: Vec<_> = own.keys().chain(other.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
            .filter(|key| own.get(*key) != other.get(*key))
            .cloned()
            .collect()
    }

    /// A copy that can be shown: what is secret is replaced by asterisks.
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

    /// TOML text, one line per key that is given. Holds the secrets.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    /// TOML table of the keys that are given.
    pub(crate) fn to_table(&self) -> Result<ClearTable, toml::ser::Error> {
        Table::try_from(self).map(ClearTable::from)
    }
}

/// A limit as the file has it: no limit is 0.
fn or_zero<N: Default>(limit: Option<N>) -> Option<N> {
    Some(limit.unwrap_or_default())
}

fn seconds(time: Duration) -> Option<u32> {
    u32::try_from(time.as_secs()).ok()
}

fn number(count: usize) -> Option<u32> {
    u32::try_from(count).ok()
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
