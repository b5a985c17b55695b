//! Checks values of the right type, and makes a configuration of them.

mod alternate_ports;
mod external;

use std::num::NonZeroUsize;

use self::alternate_ports::check_alternate_ports;
use self::external::check_external;
use super::credentials::check_auth;
use super::error::{ConfigError, Origins};
use super::file::FileConfig;
use super::operation::{check_alternate_servers, check_operation};
use super::problems::Problems;
use super::process::check_proc_user;
use super::transports::{InUse, check_tls, check_transports};
use super::values::{addresses, count, on, one_of, port, ranges, seconds};
use super::{Config, Log, LogFormat, PublicAddress};
use tracing::level_filters::LevelFilter;
use turnd_proto::policy::peer_filter::PeerRules;
use turnd_proto::server;
use turnd_proto::server::settings::{
    DefaultFamily, Lifetimes, Limits, Listen, Protocol, RelaySettings,
};

/// Most worker threads; more is a typing error.
const MOST_WORKERS: u32 = 1024;

/// Channel numbers from 0x4000 to 0x7FFF (RFC 5766 §11).
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
    in_use: InUse<'_>,
) -> Result<Config, Vec<ConfigError>> {
    let mut problems = Problems::new(origins, errors, warnings);
    let config = check_all(file, in_use, &mut problems);
    problems.finish(config)
}

fn check_all(file: &mut FileConfig, in_use: InUse<'_>, problems: &mut Problems<'_>) -> Config {
    let listen = check_listen(file, problems);
    let (relay, public_address) = check_relay(file, problems);
    let tls = check_tls(file, in_use, problems);
    check_ports(&listen, &relay, on(file.stun_only), problems);
    Config {
        transports: check_transports(file, &tls, problems),
        tls,
        workers: workers(file.relay_threads, problems),
        auth: check_auth(file, problems),
        server: check_server(file, &listen, relay, problems),
        operation: check_operation(file, problems),
        log: check_log(file, problems),
        pidfile: file.pidfile.clone(),
        user: check_proc_user(file, problems),
        public_address,
        listen,
    }
}

fn check_server(
    file: &mut FileConfig,
    listen: &Listen,
    relay: RelaySettings,
    problems: &mut Problems<'_>,
) -> server::Settings {
    server::Settings {
        limits: check_limits(file, listen, &relay, problems),
        lifetimes: check_lifetimes(file, problems),
        peers: PeerRules {
            allowed: ranges("allowed-peer-ip", file.allowed_peer_ip.as_deref(), problems),
            denied: ranges("denied-peer-ip", file.denied_peer_ip.as_deref(), problems),
            allow_loopback: on(file.allow_loopback_peers),
        },
        udp_relay: !on(file.no_udp_relay),
        tcp_relay: !on(file.no_tcp_relay),
        alternate_servers: check_alternate_servers(file, listen, problems),
        protocol: check_protocol(file, problems),
        relay,
    }
}

fn check_listen(file: &mut FileConfig, problems: &mut Problems<'_>) -> Listen {
    let mut listen = Listen {
        ips: addresses("listening-ip", file.listening_ip.as_deref(), problems),
        port: port("listening-port", file.listening_port, problems),
        tls_port: port("tls-listening-port", file.tls_listening_port, problems),
        alternate_ports: None,
    };
    listen.alternate_ports = check_alternate_ports(file, &listen, problems);
    listen
}

fn check_relay(file: &FileConfig, problems: &mut Problems<'_>) -> (RelaySettings, PublicAddress) {
    let ips = addresses("relay-ip", file.relay_ip.as_deref(), problems);
    for (n, ip) in ips.iter().enumerate() {
        if ip.is_unspecified() {
            let remedy = "name an address of this machine, or leave relay-ip out";
            let what = format!("{ip} is no single address");
            problems.wrong("relay-ip", Some(n), what, remedy);
        }
    }
    let (external, public_address) = check_external(file, &ips, problems);
    let relay = RelaySettings {
        external,
        ips,
        min_port: port("min-port", file.min_port, problems),
        max_port: port("max-port", file.max_port, problems),
    };
    (relay, public_address)
}

fn check_protocol(file: &FileConfig, problems: &mut Problems<'_>) -> Protocol {
    let version = concat!("turnd ", env!("CARGO_PKG_VERSION"));
    Protocol {
        fingerprint: on(file.fingerprint),
        software: on(file.software_attribute).then(|| version.to_owned()),
        stun_only: on(file.stun_only),
        secure_stun: on(file.secure_stun),
        rfc3489: on(file.rfc3489_compatibility),
        rfc5766_channels: on(file.rfc5766_channel_numbers),
        default_family: one_of(
            "allocation-default-address-family",
            file.allocation_default_address_family.as_deref(),
            &[
                ("ipv4", DefaultFamily::Ipv4),
                ("ipv6", DefaultFamily::Ipv6),
                ("keep", DefaultFamily::Client),
            ],
            DefaultFamily::Ipv4,
            problems,
        ),
    }
}

fn check_log(file: &FileConfig, problems: &mut Problems<'_>) -> Log {
    const LEVELS: [(&str, LevelFilter); 6] = [
        ("error", LevelFilter::ERROR),
        ("warning", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
        ("trace", LevelFilter::TRACE),
        // The name of `turnd ctl log-level`.
        ("warn", LevelFilter::WARN),
    ];
    let syslog = on(file.syslog);
    if let (true, Some(path)) = (syslog, &file.log_file) {
        problems.warn([format!(
            "log-file: {} stays empty, as the log goes to the syslog daemon; leave log-file or syslog out",
            path.display()
        )]);
    }
    let level = match file.log_min_level.as_deref() {
        None if on(file.verbose) => LevelFilter::DEBUG,
        None => LevelFilter::INFO,
        name => one_of("log-min-level", name, &LEVELS, LevelFilter::INFO, problems),
    };
    Log {
        file: file.log_file.clone().filter(|_| !syslog),
        syslog,
        level,
        format: one_of(
            "log-format",
            file.log_format.as_deref(),
            &[("text", LogFormat::Text), ("json", LogFormat::Json)],
            LogFormat::Text,
            problems,
        ),
    }
}

/// Two different listening ports, and relay ports that hold no listening port.
fn check_ports(
    listen: &Listen,
    relay: &RelaySettings,
    stun_only: bool,
    problems: &mut Problems<'_>,
) {
    let (plain, tls, min, max) = (listen.port, listen.tls_port, relay.min_port, relay.max_port);
    let keys = [
        "listening-port",
        "tls-listening-port",
        "min-port",
        "max-port",
    ];
    if keys.iter().any(|key| problems.is_wrong(key)) {
        return;
    }
    if plain == tls {
        let keys = ["tls-listening-port", "listening-port"];
        let key = problems.given(&keys);
        let other = if key == keys[0] { keys[1] } else { keys[0] };
        let problem = format!("{plain} is also {other}");
        problems.wrong(key, None, problem, "give the two different ports");
    }
    if min > max {
        let key = problems.given(&["min-port", "max-port"]);
        let problem = match key {
            "min-port" => format!("{min} is above max-port {max}"),
            _ => format!("{max} is below min-port {min}"),
        };
        problems.wrong(key, None, problem, "lower min-port or raise max-port");
        return;
    }
    if stun_only {
        return;
    }
    let others = listen.alternate_ports.iter().flat_map(|ports| {
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
        let culprit = problems.given(&[key, "min-port", "max-port"]);
        let problem = if culprit == key {
            format!("{port} is one of the relay ports {min} to {max}")
        } else {
            format!("the relay ports {min} to {max} hold {key} {port}")
        };
        let remedy = format!("change {key}, min-port or max-port");
        problems.wrong(culprit, None, problem, remedy);
    }
}

fn workers(threads: Option<u32>, problems: &mut Problems<'_>) -> NonZeroUsize {
    let threads = threads.unwrap_or_default();
    if threads > MOST_WORKERS {
        let problem = format!("{threads} is above {MOST_WORKERS}");
        problems.wrong("relay-threads", None, problem, "write 0 for one per CPU");
    }
    let wanted = usize::try_from(threads).ok().and_then(NonZeroUsize::new);
    wanted.unwrap_or_else(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

fn check_limits(
    file: &mut FileConfig,
    listen: &Listen,
    relay: &RelaySettings,
    problems: &mut Problems<'_>,
) -> Limits {
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
        permissions: count(
            "max-permissions",
            file.max_permissions,
            1..=u32::MAX,
            problems,
        ),
        peer_connections: count(
            "max-peer-connections",
            file.max_peer_connections,
            1..=u32::MAX,
            problems,
        ),
        channels: count(
            "max-channels",
            file.max_channels,
            1..=MOST_CHANNELS,
            problems,
        ),
        unauthenticated_rate: limit(file.unauthenticated_rate),
        binding_rate: limit(file.binding_rate),
    }
}

fn check_lifetimes(file: &FileConfig, problems: &mut Problems<'_>) -> Lifetimes {
    for (key, value, usual) in [
        ("channel-lifetime", file.channel_lifetime, 600),
        ("permission-lifetime", file.permission_lifetime, 300),
    ] {
        if value.is_some_and(|n| (1..usual).contains(&n)) {
            problems.warn([format!(
                "{key}: below {usual} seconds calls break, as clients refresh for {usual}"
            )]);
        }
    }
    Lifetimes {
        max_allocate: seconds(
            "max-allocate-lifetime",
            file.max_allocate_lifetime,
            600..=u32::MAX,
            problems,
        ),
        channel: seconds(
            "channel-lifetime",
            file.channel_lifetime,
            1..=u32::MAX,
            problems,
        ),
        permission: seconds(
            "permission-lifetime",
            file.permission_lifetime,
            1..=u32::MAX,
            problems,
        ),
    }
}

/// A share of the relay ports. Few ports are not shared: a small server often has one user for all.
fn usual_user_quota(listen: &Listen, relay: &RelaySettings) -> u32 {
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

#[cfg(test)]
mod tests;
