//! The table of coturn's options, from 4.5 to 4.18.

use super::rule::{CoturnOption, Rule, Takes};
use super::rules as to;
use crate::config::error;

use Rule::{As, By, Differs, Keep, Missing, Nothing, Opposite, Refused};

const fn value(name: &'static str, rule: Rule) -> CoturnOption {
    CoturnOption {
        name,
        letter: None,
        takes: Takes::Value,
        rule,
    }
}

const fn flag(name: &'static str, rule: Rule) -> CoturnOption {
    CoturnOption {
        takes: Takes::Flag,
        ..value(name, rule)
    }
}

const DATABASE: &str = "write its users into user-file and its secrets into static-auth-secret-file, see docs/migrate-from-coturn.md";
const CONSOLE: &str = "there is no telnet console; use `turnd ctl`";
const WEB_ADMIN: &str = "the web page is on admin-listen, with admin-token";
const SUITES: &str = "TLS has elliptic curves and authenticated ciphers only, and rustls chooses";
const OLD_TLS: &str = "TLS 1.2 is the oldest that is spoken";
const NO_DATABASE: &str = "there is no database to ask";
const BATCHES: &str = "used whenever the kernel has it";
const BATCH_LOG: &str = "batches are not logged";
const METRICS_TLS: &str =
    "metrics are served without TLS: keep admin-listen on the loopback address, behind a proxy";
const OWN_PORT: &str = "each allocation has a port of its own: widen min-port to max-port";
const METRICS: &str = "coturn serves metrics on every address at port 9641, turnd on 127.0.0.1 alone: for a Prometheus elsewhere \
                       set admin-listen = [\"0.0.0.0:9641\", \"/run/turnd/turnd.sock\"] and an admin-token, and let no one else reach the port";
const ONE_LIST: &str = "name the servers in alternate-server, which is for UDP and TCP";
const TIMESTAMP: &str = "time stamps are always those of RFC 3339";
const DROPPED: &str = "always dropped, and counted";

#[rustfmt::skip]
const OPTIONS: &[CoturnOption] = &[
    // Listening.
    value("listening-device", Refused("name its addresses in listening-ip")).or('d'),
    value("listening-port", Keep).or('p'),
    value("tls-listening-port", Keep),
    value("alt-listening-port", Keep),
    value("alt-tls-listening-port", Keep),
    value("tcp-proxy-port", Missing),
    value("listening-ip", Keep).or('L'),
    value("aux-server", Refused("turnd listens on listening-port and tls-listening-port of each listening-ip, and on no third port")),
    flag("udp-self-balance", Nothing("the kernel spreads clients over the workers")),
    flag("no-udp", Keep),
    flag("no-tcp", Keep),
    flag("no-tls", Keep),
    flag("dtls", Keep),
    flag("no-dtls", By(to::no_dtls)),
    value("relay-threads", By(to::relay_threads)).or('m'),
    value("cpus", Nothing("the CPUs that this process may use are counted; relay-threads says otherwise")),
    value("sock-buf-size", Nothing("buffers grow to net.core.rmem_max and wmem_max, see docs/install.md")),
    flag("udp-recvmmsg", Nothing(BATCHES)),
    flag("udp-recvmmsg-log", Nothing(BATCH_LOG)),
    flag("udp-sendmmsg-log", Nothing(BATCH_LOG)),
    flag("udp-gso", Nothing(BATCHES)),
    value("ne", Nothing("there is one network engine")),
    // Relaying.
    value("relay-device", Nothing("relay-ip says which address to relay from")).or('i'),
    value("relay-ip", By(to::relay_ip)).or('E'),
    value("external-ip", By(to::external_ip)).or('X'),
    value("min-port", Keep),
    value("max-port", Keep),
    flag("no-udp-relay", Keep),
    flag("no-tcp-relay", Keep),
    flag("server-relay", Refused("a peer always needs a permission: let clients make one")),
    flag("multiplex-peer", Refused(OWN_PORT)),
    value("multiplex-peer-port", Refused(OWN_PORT)),
    value("multiplex-peer-max-peers", Refused(OWN_PORT)),
    flag("keep-address-family", By(to::keep_address_family)).or('K'),
    value("allocation-default-address-family", Keep).or('A'),
    // Credentials.
    flag("lt-cred-mech", Keep).or('a'),
    flag("no-auth", Keep).or('z'),
    value("user", Keep).or('u'),
    value("realm", Keep).or('r'),
    value("server-name", Keep),
    flag("use-auth-secret", Keep),
    value("static-auth-secret", Keep),
    value("rest-api-separator", By(to::separator)).or('C'),
    flag("secret-ts-exp-time", Nothing("coturn ignores it too: the user name says when a credential ends")),
    flag("oauth", Missing),
    flag("stale-nonce", By(to::stale_nonce)),
    flag("stateless-nonce", Nothing("nonces never need memory here")),
    value("stateless-nonce-secret", As("nonce-secret")),
    flag("check-origin-consistency", Nothing("ORIGIN decides nothing here")),
    flag("secure-stun", Keep),
    flag("st-cred-mech", Refused("short-term credentials are not for TURN: use static-auth-secret")),
    value("userdb", By(to::sqlite)).or('b'),
    value("db", By(to::sqlite)),
    value("psql-userdb", Refused(DATABASE)).or('e'),
    value("sql-userdb", Refused(DATABASE)),
    value("mysql-userdb", Refused(DATABASE)).or('M'),
    value("mongo-userdb", Refused(DATABASE)).or('J'),
    value("redis-userdb", Refused(DATABASE)).or('N'),
    value("redis-statsdb", Refused("take traffic from /metrics, and sessions from the log with log-format = \"json\"")).or('O'),
    value("secret-key-file", Refused(DATABASE)),
    flag("no-auth-pings", Nothing(NO_DATABASE)),
    flag("no-dynamic-ip-list", Nothing(NO_DATABASE)),
    flag("no-dynamic-realms", Nothing(NO_DATABASE)),
    // Limits and lifetimes.
    value("user-quota", Keep).or('q'),
    value("total-quota", Keep).or('Q'),
    value("max-bps", Keep).or('s'),
    value("bps-capacity", Keep).or('B'),
    flag("max-allocate-lifetime", By(to::max_allocate_lifetime)),
    flag("channel-lifetime", By(to::channel_lifetime)),
    flag("permission-lifetime", By(to::permission_lifetime)),
    value("max-allocate-timeout", Keep),
    flag("unauthorized-ratelimit", By(to::rate_limit)),
    value("unauthorized-ratelimit-rps", By(to::rate_limit_rps)),
    flag("drop-invalid-packets", Nothing(DROPPED)),
    flag("drop-invalid-packets-log", Nothing(DROPPED)),
    // Peers.
    value("allowed-peer-ip", Keep),
    value("denied-peer-ip", Keep),
    flag("allow-loopback-peers", Keep),
    flag("no-loopback-peers", Opposite("allow-loopback-peers")),
    flag("no-multicast-peers", Nothing("multicast peers are always refused")),
    // Protocol.
    flag("fingerprint", Keep).or('f'),
    flag("stun-only", Keep).or('S'),
    flag("no-stun", Refused("Binding is always answered, as browsers ask for it on their TURN connections")),
    flag("software-attribute", Keep),
    flag("no-software-attribute", Opposite("software-attribute")),
    flag("prod", Opposite("software-attribute")),
    flag("mobility", Missing),
    flag("rfc5780", Keep),
    flag("no-rfc5780", Opposite("rfc5780")),
    flag("rfc3489-compatibility", Keep),
    flag("stun-backward-compatibility", As("rfc3489-compatibility")),
    flag("no-stun-backward-compatibility", Opposite("rfc3489-compatibility")),
    flag("rfc5766-channel-numbers", Keep),
    flag("response-origin-only-with-rfc5780", Nothing("it is never sent otherwise")),
    flag("include-reason-string", Nothing("errors always have their reason phrase")),
    flag("respond-http-unsupported", Refused("HTTP on a TURN port is closed without an answer")),
    value("alternate-server", Keep),
    value("tls-alternate-server", Keep),
    value("udp-alternate-server", Refused(ONE_LIST)),
    value("tcp-alternate-server", Refused(ONE_LIST)),
    value("drain-min-allocations", Refused("a drain ends with the last allocation, or after drain-timeout")),
    // TLS and DTLS.
    value("cert", Keep),
    value("pkey", Keep),
    value("pkey-pwd", Keep),
    value("CA-file", Missing),
    value("cipher-list", By(to::cipher_list)),
    value("ec-curve-name", Nothing(SUITES)),
    flag("dh566", Nothing(SUITES)),
    flag("dh1066", Nothing(SUITES)),
    flag("dh2066", Nothing(SUITES)),
    value("dh-file", Nothing(SUITES)),
    flag("raw-public-keys", Refused("browsers want a certificate: give cert and pkey")),
    flag("no-sslv2", Nothing(OLD_TLS)),
    flag("no-sslv3", Nothing(OLD_TLS)),
    flag("no-tlsv1", Nothing(OLD_TLS)),
    flag("no-tlsv1_1", Nothing(OLD_TLS)),
    flag("tlsv1", Refused(OLD_TLS)),
    flag("tlsv1_1", Refused(OLD_TLS)),
    flag("no-tlsv1_2", Refused("TLS 1.2 stays, as clients need it")),
    value("acme-redirect", Refused("let a web server on port 80 answer ACME, or use the DNS challenge")),
    // Logging.
    flag("verbose", Keep).or('v'),
    flag("Verbose", As("verbose")).or('V'),
    value("log-file", By(to::log_file)).or('l'),
    flag("no-stdout-log", Nothing("with log-file everything goes there, without it to standard error")),
    flag("syslog", Keep),
    value("syslog-facility", Refused("the facility is daemon; sort lines by the program's name, turnd")),
    flag("simple-log", Nothing("log-file is always taken as it is; HUP opens it anew")),
    value("log-min-level", By(to::log_min_level)),
    flag("new-log-timestamp", Nothing(TIMESTAMP)),
    value("new-log-timestamp-format", Nothing(TIMESTAMP)),
    flag("log-binding", Nothing("Binding requests are counted in the metrics, and logged at debug level")),
    // Metrics and administration.
    flag("prometheus", Differs(METRICS)),
    flag("prometheus-tls", Refused(METRICS_TLS)),
    value("prometheus-cert", Refused(METRICS_TLS)),
    value("prometheus-key", Refused(METRICS_TLS)),
    value("prometheus-port", Refused("name the port in admin-listen")),
    value("prometheus-address", Refused("name the address in admin-listen")),
    value("prometheus-path", Refused("the path is /metrics")),
    flag("prometheus-username-labels", Refused("users are not labels, as clients could make any number of them")),
    flag("cli", Nothing(CONSOLE)),
    flag("no-cli", Nothing(CONSOLE)),
    value("cli-ip", Nothing(CONSOLE)),
    value("cli-port", Nothing(CONSOLE)),
    value("cli-password", Nothing(CONSOLE)),
    value("cli-max-output-sessions", Nothing(CONSOLE)),
    flag("web-admin", Nothing(WEB_ADMIN)),
    value("web-admin-ip", Nothing(WEB_ADMIN)),
    value("web-admin-port", Nothing(WEB_ADMIN)),
    flag("web-admin-listen-on-workers", Nothing("TURN ports never speak HTTP")),
    flag("no-http", Nothing("TURN ports never speak HTTP")),
    // Process.
    flag("daemon", Nothing("it stays in the foreground, for systemd or a container")).or('o'),
    value("pidfile", By(to::pidfile)),
    value("proc-user", Keep),
    value("proc-group", Keep),
    value("-c", Nothing("its options are listed by themselves")).or('c'),
    flag("-n", Nothing("nothing but this is read")).or('n'),
    flag("-h", Nothing("see turnd --help")).or('h'),
    flag("version", Nothing("see turnd --version")),
];

/// The option of this long name.
pub(super) fn find(name: &str) -> Option<&'static CoturnOption> {
    OPTIONS.iter().find(|option| option.name == name)
}

/// Whether coturn has a flag of this long name, which takes no value.
pub(in crate::config) fn is_flag(name: &str) -> bool {
    find(name).is_some_and(|option| option.takes == Takes::Flag)
}

/// Long name of the option of this letter.
pub(crate) fn letter_name(letter: char) -> Option<&'static str> {
    by_letter(letter).map(|option| option.name)
}

/// Whether coturn has an option of this long name.
pub(crate) fn is_option(name: &str) -> bool {
    find(name).is_some()
}

/// The option of this long name, or the only one that begins so, as `getopt_long` has it.
pub(super) fn by_prefix(name: &str) -> Option<&'static CoturnOption> {
    let mut begin = OPTIONS.iter().filter(|o| o.name.starts_with(name));
    match (find(name), begin.next(), begin.next()) {
        (None, Some(only), None) => Some(only),
        (exact, _, _) => exact,
    }
}

/// The option of this letter.
pub(super) fn by_letter(letter: char) -> Option<&'static CoturnOption> {
    OPTIONS.iter().find(|option| option.letter == Some(letter))
}

/// The option whose name is nearest to one that is not known.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    error::nearest(name, OPTIONS.iter().map(|option| option.name))
}

#[cfg(test)]
pub(super) fn all() -> &'static [CoturnOption] {
    OPTIONS
}
