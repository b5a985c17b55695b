//! From values of the right type to a configuration that makes sense.

mod alternates;

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{ConfigError, Origins, shown};
use super::file::FileConfig;
use super::{
    Config, DefaultFamily, ExternalIp, Lifetimes, Limits, Listen, Log, LogFormat, Peers, Protocol,
    Relay,
};
use crate::policy::peer_filter::IpRange;
use crate::problem::Problem;

/// More threads than this is a typing error.
const MOST_WORKERS: u32 = 1024;

/// The numbers from 0x4000 to 0x7FFF (RFC 5766 §11).
const MOST_CHANNELS: u32 = 0x4000;

/// Checks `file`, whose defaults are filled in, and sets there what follows from other keys.
///
/// # Errors
/// `errors`, which were found before, and everything that is wrong here.
pub(super) fn check(
    file: &mut FileConfig,
    origins: &Origins,
    errors: Vec<ConfigError>,
    warnings: &mut Vec<String>,
) -> Result<Config, Vec<ConfigError>> {
    let mut checker = Checker {
        origins,
        errors,
        warnings,
    };
    let config = checker.config(file);
    if checker.errors.is_empty() {
        Ok(config)
    } else {
        Err(checker.errors)
    }
}

/// Collects what is wrong; a wrong value is replaced by any that lets the rest be checked.
pub(super) struct Checker<'a> {
    pub(super) origins: &'a Origins,
    pub(super) errors: Vec<ConfigError>,
    pub(super) warnings: &'a mut Vec<String>,
}

impl Checker<'_> {
    pub(super) fn wrong(
        &mut self,
        key: &str,
        element: Option<usize>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.errors.push(
            self.origins
                .error(key, element, Problem::new(problem, remedy)),
        );
    }

    /// Whether an error about `key` is known: then nothing is said of how it fits others.
    fn is_wrong(&self, key: &str) -> bool {
        let about = |error: &ConfigError| {
            error
                .key
                .as_ref()
                .is_some_and(|k| k.trim_start_matches('-') == key)
        };
        self.errors.iter().any(about)
    }

    fn config(&mut self, file: &mut FileConfig) -> Config {
        let listen = Listen {
            ips: self.addresses("listening-ip", file.listening_ip.as_deref()),
            port: self.port("listening-port", file.listening_port),
            tls_port: self.port("tls-listening-port", file.tls_listening_port),
            alternates: None,
        };
        let listen = Listen {
            alternates: self.alternates(file, &listen),
            ..listen
        };
        let relay_ips = self.addresses("relay-ip", file.relay_ip.as_deref());
        for (n, ip) in relay_ips.iter().enumerate() {
            if ip.is_unspecified() {
                let remedy = "name an address of this machine, or leave relay-ip out";
                self.wrong(
                    "relay-ip",
                    Some(n),
                    format!("{ip} is no single address"),
                    remedy,
                );
            }
        }
        let relay = Relay {
            external: self.external(file.external_ip.as_deref(), &relay_ips),
            ips: relay_ips,
            min_port: self.port("min-port", file.min_port),
            max_port: self.port("max-port", file.max_port),
        };
        let tls = self.tls(file);
        let stun_only = on(file.stun_only);
        self.ports(&listen, &relay, stun_only);
        Config {
            transports: self.transports(file, &tls),
            tls,
            workers: self.workers(file.relay_threads),
            auth: self.auth(file),
            limits: self.limits(file, &listen, &relay),
            lifetimes: self.lifetimes(file),
            peers: Peers {
                allowed: self.ranges("allowed-peer-ip", file.allowed_peer_ip.as_deref()),
                denied: self.ranges("denied-peer-ip", file.denied_peer_ip.as_deref()),
                allow_loopback: on(file.allow_loopback_peers),
            },
            protocol: Protocol {
                fingerprint: on(file.fingerprint),
                software: on(file.software_attribute)
                    .then(|| concat!("turnd ", env!("CARGO_PKG_VERSION")).to_owned()),
                stun_only,
                secure_stun: on(file.secure_stun),
                rfc3489: on(file.rfc3489_compatibility),
                rfc5766_channels: on(file.rfc5766_channel_numbers),
                default_family: self.one_of(
                    "allocation-default-address-family",
                    file.allocation_default_address_family.as_deref(),
                    &[
                        ("ipv4", DefaultFamily::Ipv4),
                        ("ipv6", DefaultFamily::Ipv6),
                        ("keep", DefaultFamily::Client),
                    ],
                    DefaultFamily::Ipv4,
                ),
            },
            operation: self.operation(file),
            log: Log {
                file: file.log_file.clone(),
                format: self.one_of(
                    "log-format",
                    file.log_format.as_deref(),
                    &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                    LogFormat::Text,
                ),
                verbose: on(file.verbose),
            },
            pidfile: file.pidfile.clone(),
            user: self.proc_user(file),
            listen,
            relay,
        }
    }

    fn port(&mut self, key: &str, port: Option<u16>) -> u16 {
        let port = port.unwrap_or_default();
        if port == 0 {
            self.wrong(key, None, "0 is not a port", "choose one from 1 to 65535");
        }
        port
    }

    fn ports(&mut self, listen: &Listen, relay: &Relay, stun_only: bool) {
        let (plain, tls, min, max) = (listen.port, listen.tls_port, relay.min_port, relay.max_port);
        let keys = [
            "listening-port",
            "tls-listening-port",
            "min-port",
            "max-port",
        ];
        if keys.iter().any(|key| self.is_wrong(key)) {
            return;
        }
        if plain == tls {
            let keys = ["tls-listening-port", "listening-port"];
            let key = self.origins.given(&keys);
            let other = if key == keys[0] { keys[1] } else { keys[0] };
            let problem = format!("{plain} is also {other}");
            self.wrong(key, None, problem, "give the two different ports");
        }
        if min > max {
            let key = self.origins.given(&["min-port", "max-port"]);
            let problem = match key {
                "min-port" => format!("{min} is above max-port {max}"),
                _ => format!("{max} is below min-port {min}"),
            };
            self.wrong(key, None, problem, "lower min-port or raise max-port");
            return;
        }
        if stun_only {
            return;
        }
        let others = listen.alternates.iter().flat_map(|ports| {
            [
                ("alt-listening-port", ports.port),
                ("alt-tls-listening-port", ports.tls_port),
            ]
        });
        let first = [("listening-port", plain), ("tls-listening-port", tls)];
        for (key, port) in first.into_iter().chain(others) {
            if !(min..=max).contains(&port) {
                continue;
            }
            let culprit = self.origins.given(&[key, "min-port", "max-port"]);
            let problem = if culprit == key {
                format!("{port} is one of the relay ports {min} to {max}")
            } else {
                format!("the relay ports {min} to {max} hold {key} {port}")
            };
            let remedy = format!("change {key}, min-port or max-port");
            self.wrong(culprit, None, problem, remedy);
        }
    }

    fn workers(&mut self, threads: Option<u32>) -> NonZeroUsize {
        let threads = threads.unwrap_or_default();
        if threads > MOST_WORKERS {
            let problem = format!("{threads} is above {MOST_WORKERS}");
            self.wrong("relay-threads", None, problem, "write 0 for one per CPU");
        }
        let wanted = usize::try_from(threads).ok().and_then(NonZeroUsize::new);
        wanted.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }

    /// A list of addresses of this machine.
    fn addresses(&mut self, key: &str, texts: Option<&[String]>) -> Vec<IpAddr> {
        let mut ips = Vec::new();
        for (n, text) in texts.unwrap_or_default().iter().enumerate() {
            match text.parse::<IpAddr>() {
                Ok(ip) if ips.contains(&ip) => {
                    self.wrong(key, Some(n), format!("{ip} is given twice"), "remove one");
                }
                Ok(ip) if ip.is_multicast() => {
                    let problem = format!("{ip} is a multicast address");
                    self.wrong(key, Some(n), problem, "name an address of this machine");
                }
                Ok(ip) => ips.push(ip),
                Err(_) => {
                    let problem = format!("{} is not an IP address", shown(text));
                    let remedy = "write it without port or prefix, as 192.0.2.1 or 2001:db8::1";
                    self.wrong(key, Some(n), problem, remedy);
                }
            }
        }
        ips
    }

    fn external(&mut self, texts: Option<&[String]>, relay_ips: &[IpAddr]) -> Vec<ExternalIp> {
        let relay_ips = if self.is_wrong("relay-ip") {
            &[]
        } else {
            relay_ips
        };
        let mut known: Vec<ExternalIp> = Vec::new();
        for (n, text) in texts.unwrap_or_default().iter().enumerate() {
            let problem = match external_ip(text, relay_ips) {
                Ok(ip) => match known.iter().find(|other| same_place(other, &ip)) {
                    None => {
                        known.push(ip);
                        continue;
                    }
                    Some(other) => Problem::new(
                        format!(
                            "{} stands for the same address as {}",
                            ip.public, other.public
                        ),
                        "remove one, or tie each to a relay address as \"public/private\"",
                    ),
                },
                Err(problem) => problem,
            };
            self.wrong("external-ip", Some(n), problem.what, problem.remedy);
        }
        known
    }

    pub(super) fn ranges(&mut self, key: &str, texts: Option<&[String]>) -> Vec<IpRange> {
        let mut ranges = Vec::new();
        for (n, text) in texts.unwrap_or_default().iter().enumerate() {
            match text.parse() {
                Ok(range) => ranges.push(range),
                Err(reason) => {
                    let problem = format!("{}: {reason}", shown(text));
                    let remedy =
                        "write an address, a block as 10.0.0.0/8, or a range as 10.0.0.1-10.0.0.9";
                    self.wrong(key, Some(n), problem, remedy);
                }
            }
        }
        ranges
    }

    fn limits(&mut self, file: &mut FileConfig, listen: &Listen, relay: &Relay) -> Limits {
        let limit = |value: Option<u32>| value.filter(|n| *n > 0);
        let rate = |value: Option<u64>| value.filter(|n| *n > 0);
        file.user_quota
            .get_or_insert_with(|| usual_user_quota(listen, relay));
        Limits {
            user_quota: limit(file.user_quota),
            user_bps: rate(file.user_bps),
            bps_capacity: rate(file.bps_capacity),
            total_permissions: limit(file.total_permissions),
            total_channels: limit(file.total_channels),
            total_quota: limit(file.total_quota),
            user_allocate_rate: limit(file.user_allocate_rate),
            max_bps: rate(file.max_bps),
            permissions: self.count("max-permissions", file.max_permissions, 1..=u32::MAX),
            peer_connections: self.count(
                "max-peer-connections",
                file.max_peer_connections,
                1..=u32::MAX,
            ),
            channels: self.count("max-channels", file.max_channels, 1..=MOST_CHANNELS),
            unauthenticated_rate: limit(file.unauthenticated_rate),
            binding_rate: limit(file.binding_rate),
        }
    }

    fn lifetimes(&mut self, file: &FileConfig) -> Lifetimes {
        for (key, value, usual) in [
            ("channel-lifetime", file.channel_lifetime, 600),
            ("permission-lifetime", file.permission_lifetime, 300),
        ] {
            if value.is_some_and(|n| (1..usual).contains(&n)) {
                self.warnings.push(format!(
                    "{key}: below {usual} seconds calls break, as clients refresh for {usual}"
                ));
            }
        }
        Lifetimes {
            max_allocate: self.seconds(
                "max-allocate-lifetime",
                file.max_allocate_lifetime,
                600..=u32::MAX,
            ),
            channel: self.seconds("channel-lifetime", file.channel_lifetime, 1..=u32::MAX),
            permission: self.seconds(
                "permission-lifetime",
                file.permission_lifetime,
                1..=u32::MAX,
            ),
        }
    }

    pub(super) fn seconds(
        &mut self,
        key: &str,
        value: Option<u32>,
        range: RangeInclusive<u32>,
    ) -> Duration {
        Duration::from_secs(self.within(key, value, range).into())
    }

    fn count(&mut self, key: &str, value: Option<u32>, range: RangeInclusive<u32>) -> usize {
        usize::try_from(self.within(key, value, range)).unwrap_or(usize::MAX)
    }

    pub(super) fn within(
        &mut self,
        key: &str,
        value: Option<u32>,
        range: RangeInclusive<u32>,
    ) -> u32 {
        let value = value.unwrap_or_default();
        let (low, high) = (range.start(), range.end());
        if value < *low {
            let problem = format!("{value} is below {low}");
            self.wrong(key, None, problem, format!("write {low} or more"));
        } else if value > *high {
            let problem = format!("{value} is above {high}");
            self.wrong(key, None, problem, format!("write {high} or less"));
        }
        value
    }

    pub(super) fn one_of<T: Copy>(
        &mut self,
        key: &str,
        text: Option<&str>,
        choices: &[(&str, T)],
        otherwise: T,
    ) -> T {
        let text = text.unwrap_or_default();
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return *choice;
        }
        let names: Vec<_> = choices
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let problem = format!("{} is not known", shown(text));
        self.wrong(key, None, problem, format!("write {}", names.join(" or ")));
        otherwise
    }
}

/// A share of the relay ports. Few ports are not shared: a small server often has one user for all.
fn usual_user_quota(listen: &Listen, relay: &Relay) -> u32 {
    const LEAST: u32 = 100;
    let named = if relay.ips.is_empty() {
        &listen.ips
    } else {
        &relay.ips
    };
    let ips = named
        .iter()
        .filter(|ip| !ip.is_unspecified())
        .count()
        .max(1);
    let ports = u32::from(relay.max_port.saturating_sub(relay.min_port)) + 1;
    let ports = u32::try_from(ips).map_or(u32::MAX, |ips| ips.saturating_mul(ports));
    (ports / Limits::SHARE).max(LEAST)
}

/// Whether a switch is on.
pub(super) fn on(switch: Option<bool>) -> bool {
    switch.unwrap_or_default()
}

/// Two entries that want to rename the same local address.
fn same_place(a: &ExternalIp, b: &ExternalIp) -> bool {
    a.private == b.private && a.public.is_ipv4() == b.public.is_ipv4()
}

fn external_ip(text: &str, relay_ips: &[IpAddr]) -> Result<ExternalIp, Problem> {
    if text == "auto" {
        return Err(Problem::new(
            "auto is not supported",
            "write the public address itself",
        ));
    }
    let Some((public, private)) = text.split_once('/') else {
        return Ok(ExternalIp {
            public: single_ip(text)?,
            private: None,
        });
    };
    let (public, private) = (single_ip(public)?, single_ip(private)?);
    if public.is_ipv4() != private.is_ipv4() {
        return Err(Problem::new(
            format!("{public} and {private} are of two families"),
            "pair IPv4 with IPv4 and IPv6 with IPv6",
        ));
    }
    if !relay_ips.is_empty() && !relay_ips.contains(&private) {
        return Err(Problem::new(
            format!("{private} is not one of relay-ip"),
            "add it to relay-ip, or name one that is there",
        ));
    }
    Ok(ExternalIp {
        public,
        private: Some(private),
    })
}

/// One address of one host.
fn single_ip(text: &str) -> Result<IpAddr, Problem> {
    let problem = match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => format!("{ip} is no single address"),
        Ok(ip) => return Ok(ip),
        Err(_) => format!("{} is not an IP address", shown(text)),
    };
    let remedy = "write \"public\" or \"public/private\", each an IP address";
    Err(Problem::new(problem, remedy))
}

#[cfg(test)]
mod tests;
