//! The configuration in force.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::super::error::ApiError;
use super::super::process::Process;
use crate::config::Config;
use crate::config::summary::Summary;
use crate::daemon::{Daemon, Key};

const DAY: i64 = 86_400;

#[derive(Serialize)]
pub(super) struct InForce {
    version: &'static str,
    file: Option<String>,
    summary: Shown,
    /// Addresses that clients can reach, as they are bound.
    listening: Vec<String>,
    transports: Vec<&'static str>,
    relay: Relay,
    /// Hosts that clients may know the server by, the best first.
    hosts: Vec<Host>,
    certificates: Vec<Certificate>,
    process: Shares,
    keys: Vec<Key>,
}

/// Shares of the process in what the machine has; `None`: the system does not tell.
#[derive(Serialize)]
struct Shares {
    cpu_seconds: f64,
    resident_bytes: Option<u64>,
    open_files: Option<u64>,
    max_files: Option<u64>,
}

impl From<Process> for Shares {
    fn from(process: Process) -> Self {
        Self {
            cpu_seconds: process.cpu_time.as_secs_f64(),
            resident_bytes: process.resident_bytes,
            open_files: process.open_files,
            max_files: process.max_files,
        }
    }
}

/// Answers to an operator's first questions, in words.
#[derive(Serialize)]
struct Shown {
    listens: String,
    relays: String,
    announces: String,
    allows: String,
    certificates: String,
}

impl From<Summary> for Shown {
    fn from(summary: Summary) -> Self {
        Self {
            listens: summary.listens,
            relays: summary.relays,
            announces: summary.announces,
            allows: summary.allows,
            certificates: summary.certificates,
        }
    }
}

#[derive(Serialize)]
struct Relay {
    /// Empty: the address that the client reached.
    addresses: Vec<IpAddr>,
    min_port: u16,
    max_port: u16,
    /// Addresses that peers see in place of the relays' own.
    announced: Vec<IpAddr>,
}

/// Host that clients may know the server by.
#[derive(Serialize)]
struct Host {
    host: String,
    /// The key that it comes from.
    key: &'static str,
}

#[derive(Serialize)]
struct Certificate {
    names: String,
    /// End, since the Unix epoch.
    ends: i64,
    /// Whole days until the end; negative: it has ended.
    days_left: i64,
}

pub(super) async fn config(State(daemon): State<Arc<Daemon>>) -> Result<Json<InForce>, ApiError> {
    let (file, keys) = daemon.in_force();
    let config = daemon.config();
    let relay = &config.server.relay;
    let certificates = daemon.control().certificates();
    let certificates = certificates.map(|certificates| certificates.expiries());
    let ways = &config.transports;
    let transports = [
        (ways.udp, "udp"),
        (ways.tcp, "tcp"),
        (certificates.is_some() && !no_tls(&keys), "tls"),
        (ways.dtls, "dtls"),
    ];
    let listening = daemon.control().listening();
    Ok(Json(InForce {
        version: env!("CARGO_PKG_VERSION"),
        file: file.map(|path| path.display().to_string()),
        summary: Summary::new(&config).into(),
        listening: listening.iter().map(ToString::to_string).collect(),
        transports: transports
            .into_iter()
            .filter(|(served, _)| *served)
            .map(|(_, name)| name)
            .collect(),
        relay: Relay {
            addresses: relay.ips.clone(),
            min_port: relay.min_port,
            max_port: relay.max_port,
            announced: relay
                .external
                .iter()
                .map(|external| external.public)
                .collect(),
        },
        hosts: hosts(&config),
        certificates: certificates
            .unwrap_or_default()
            .into_iter()
            .map(|(names, ends)| Certificate {
                names,
                ends,
                days_left: (ends - now()).div_euclid(DAY),
            })
            .collect(),
        process: Process::read().into(),
        keys,
    }))
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}

/// Whether TLS is off though there is a certificate, which DTLS has then.
fn no_tls(keys: &[Key]) -> bool {
    keys.iter()
        .any(|key| key.key == "no-tls" && key.value.as_deref() == Some("true"))
}

/// Hosts that clients may know the server by, the best first: a name of a certificate fits every URL, an address all but
/// those with TLS, and the realm is a guess.
fn hosts(config: &Config) -> Vec<Host> {
    let names = config.tls.certificates.iter().flat_map(|c| &c.names);
    let names = names.filter(|name| is_host_name(name)).cloned();
    let sought = config.public_address.names().map(ToOwned::to_owned);
    let announced = config.server.relay.external.iter().map(|e| e.public);
    let announced = sought.chain(announced.map(|ip| ip.to_string()));
    let listening = config.listen.ips.iter().copied();
    let listening = listening.filter(|ip| !ip.is_unspecified() && !ip.is_loopback());
    let realm = Some(&config.auth.realm).filter(|realm| is_host_name(realm));
    let named = |key| move |host| Host { host, key };
    let all = names
        .map(named("cert"))
        .chain(announced.map(named("external-ip")))
        .chain(
            listening
                .map(|ip| ip.to_string())
                .map(named("listening-ip")),
        )
        .chain(realm.cloned().map(named("realm")));
    let mut hosts: Vec<Host> = Vec::new();
    for host in all {
        if hosts.iter().all(|other| other.host != host.host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Whether a text is a host name of several labels.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    text.contains('.') && text.split('.').all(label) && text.parse::<IpAddr>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_known_host_is_first() {
        let hosts = |text: &str| {
            let config = Config::from_toml(&format!("no-auth = true\n{text}")).unwrap();
            let hosts = hosts(&config).into_iter();
            hosts.map(|host| host.host).collect::<Vec<_>>()
        };
        assert!(hosts("").is_empty());
        assert!(hosts("listening-ip = ['127.0.0.1', '::']").is_empty());
        assert_eq!(
            hosts(
                "listening-ip = '10.0.0.1'\nexternal-ip = '192.0.2.1/10.0.0.1'\nrealm = 'example.org'"
            ),
            ["192.0.2.1", "10.0.0.1", "example.org"]
        );
    }

    #[test]
    fn host_names() {
        for name in ["example.org", "a-1.example.org"] {
            assert!(is_host_name(name), "{name}");
        }
        for other in [
            "turnd",
            "*.example.org",
            "192.0.2.1",
            "a b.c",
            ".",
            "x.",
            "my realm.",
        ] {
            assert!(!is_host_name(other), "{other}");
        }
    }
}
