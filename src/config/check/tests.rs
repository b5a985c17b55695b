use std::time::Duration;
use turnd_proto::server::settings::ExternalIp;

use super::*;

/// The errors of a file that has credentials, without the name of the file.
fn errors(text: &str) -> String {
    let errors = Config::from_toml(&format!("{text}\nno-auth = true")).unwrap_err();
    let lines = errors.iter().map(ToString::to_string);
    let lines: Vec<_> = lines.map(|l| l.replace("turnd.toml:", "")).collect();
    lines.join("\n")
}

fn config(text: &str) -> Config {
    Config::from_toml(&format!("{text}\nno-auth = true")).unwrap()
}

#[test]
fn ports() {
    for (text, message) in [
        (
            "listening-port = 0",
            "listening-port: 0 is not a port; choose one from 1 to 65535",
        ),
        (
            "max-port = 0",
            "max-port: 0 is not a port; choose one from 1 to 65535",
        ),
        (
            "min-port = 50000\nmax-port = 40000",
            "min-port: 50000 is above max-port 40000; lower min-port or raise max-port",
        ),
        (
            "max-port = 40000",
            "max-port: 40000 is below min-port 49152; lower min-port or raise max-port",
        ),
        (
            "listening-port = 5349",
            "listening-port: 5349 is also tls-listening-port; give the two different ports",
        ),
        (
            "tls-listening-port = 3478",
            "tls-listening-port: 3478 is also listening-port; give the two different ports",
        ),
        (
            "listening-port = 50000",
            "listening-port: 50000 is one of the relay ports 49152 to 65535; \
             change listening-port, min-port or max-port",
        ),
        (
            "min-port = 5000",
            "min-port: the relay ports 5000 to 65535 hold tls-listening-port 5349; \
             change tls-listening-port, min-port or max-port",
        ),
    ] {
        assert_eq!(errors(text), format!("1: {message}"));
    }
    assert_eq!(
        config("listening-port = 50000\nstun-only = true")
            .listen
            .port,
        50000
    );
}

#[test]
fn addresses_of_this_machine() {
    for (text, message) in [
        (
            "listening-ip = 'eth0'",
            "listening-ip: \"eth0\" is not an IP address; \
             write it without port or prefix, as 192.0.2.1 or 2001:db8::1",
        ),
        (
            "listening-ip = ['::', '::']",
            "listening-ip: :: is given twice; remove one",
        ),
        (
            "relay-ip = '224.0.0.1'",
            "relay-ip: 224.0.0.1 is a multicast address; name an address of this machine",
        ),
        (
            "relay-ip = '0.0.0.0'",
            "relay-ip: 0.0.0.0 is no single address; \
             name an address of this machine, or leave relay-ip out",
        ),
    ] {
        assert_eq!(errors(text), format!("1: {message}"));
    }
}

#[test]
fn the_line_of_a_list_is_that_of_the_element() {
    assert_eq!(
        errors("relay-ip = [\n  '192.0.2.1',\n  'x',\n]"),
        "3: relay-ip: \"x\" is not an IP address; \
         write it without port or prefix, as 192.0.2.1 or 2001:db8::1"
    );
}

#[test]
fn external_addresses() {
    let form = "write \"public\" or \"public/private\", each an IP address, or \"auto\", \
                or a host name in place of public";
    for (text, message) in [
        (
            "'auto/10.0.0.2'",
            "10.0.0.2 is not one of relay-ip; add it to relay-ip, or name one that is there"
                .to_owned(),
        ),
        ("'x'", format!("\"x\" is not an IP address; {form}")),
        ("'192.0.2.1/'", format!("\"\" is not an IP address; {form}")),
        (
            "'192.0.2.1/24'",
            format!("\"24\" is not an IP address; {form}"),
        ),
        ("'0.0.0.0'", format!("0.0.0.0 is no single address; {form}")),
        (
            "'192.0.2.1/0.0.0.0'",
            format!("0.0.0.0 is no single address; {form}"),
        ),
        (
            "'192.0.2.1/::1'",
            "192.0.2.1 and ::1 are of two families; pair IPv4 with IPv4 and IPv6 with IPv6"
                .to_owned(),
        ),
        (
            "'192.0.2.1/10.0.0.2'",
            "10.0.0.2 is not one of relay-ip; add it to relay-ip, or name one that is there"
                .to_owned(),
        ),
        (
            "['192.0.2.1', '192.0.2.2']",
            "192.0.2.2 stands for the same address as 192.0.2.1; \
             remove one, or tie each to a relay address as \"public/private\""
                .to_owned(),
        ),
    ] {
        let text = format!("external-ip = {text}\nrelay-ip = '10.0.0.1'");
        assert_eq!(errors(&text), format!("1: external-ip: {message}"));
    }
    let config = config("external-ip = ['192.0.2.1/10.0.0.1', '2001:db8::1']");
    let ip = |text: &str| text.parse().unwrap();
    assert_eq!(
        config.server.relay.external,
        [
            ExternalIp {
                public: ip("192.0.2.1"),
                private: Some(ip("10.0.0.1"))
            },
            ExternalIp {
                public: ip("2001:db8::1"),
                private: None
            },
        ]
    );
}

#[test]
fn numbers_out_of_range() {
    for (text, message) in [
        (
            "relay-threads = 1025",
            "relay-threads: 1025 is above 1024; write 0 for one per CPU",
        ),
        (
            "stale-nonce = 0",
            "stale-nonce: 0 is below 1; write 1 or more",
        ),
        (
            "stale-nonce = 3601",
            "stale-nonce: 3601 is above 3600; write 3600 or less",
        ),
        (
            "max-allocate-lifetime = 599",
            "max-allocate-lifetime: 599 is below 600; write 600 or more",
        ),
        (
            "channel-lifetime = 0",
            "channel-lifetime: 0 is below 1; write 1 or more",
        ),
        (
            "permission-lifetime = 0",
            "permission-lifetime: 0 is below 1; write 1 or more",
        ),
        (
            "max-permissions = 0",
            "max-permissions: 0 is below 1; write 1 or more",
        ),
        (
            "max-channels = 16385",
            "max-channels: 16385 is above 16384; write 16384 or less",
        ),
    ] {
        assert_eq!(errors(text), format!("1: {message}"));
    }
}

#[test]
fn choices() {
    assert_eq!(
        errors("log-format = 'xml'"),
        "1: log-format: \"xml\" is not known; write \"text\" or \"json\""
    );
    assert_eq!(
        errors("allocation-default-address-family = 'ipv5'"),
        "1: allocation-default-address-family: \"ipv5\" is not known; \
         write \"ipv4\" or \"ipv6\" or \"keep\""
    );
    assert_eq!(
        errors("log-min-level = 'notice'"),
        "1: log-min-level: \"notice\" is not known; write \"error\" or \"warning\" or \"info\" or \"debug\" or \"trace\" or \"warn\""
    );
    let config = config("log-format = 'json'\nallocation-default-address-family = 'keep'");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.server.protocol.default_family, DefaultFamily::Client);
}

#[test]
fn peer_ranges() {
    for key in ["allowed-peer-ip", "denied-peer-ip"] {
        let message = errors(&format!("{key} = 'x'"));
        assert!(
            message.starts_with(&format!("1: {key}: \"x\": ")),
            "{message}"
        );
        assert!(
            message.ends_with(
                "; write an address, a block as 10.0.0.0/8, or a range as 10.0.0.1-10.0.0.9"
            ),
            "{message}"
        );
    }
    assert_eq!(
        errors("denied-peer-ip = '10.0.0.0/33'"),
        "1: denied-peer-ip: \"10.0.0.0/33\": the number after `/` must be 0 to 32 for IPv4, 0 to 128 for IPv6; \
         write an address, a block as 10.0.0.0/8, or a range as 10.0.0.1-10.0.0.9"
    );
    let config = config("denied-peer-ip = ['10.0.0.0/8', '10.0.0.1-10.0.0.9', '::1']");
    assert_eq!(config.server.peers.denied.len(), 3);
}

#[test]
fn lifetimes_below_what_clients_expect_are_warned_of() {
    let flags = FileConfig {
        no_auth: Some(true),
        channel_lifetime: Some(599),
        permission_lifetime: Some(299),
        ..FileConfig::default()
    };
    assert_eq!(
        crate::config::from_flags(&flags).unwrap().warnings,
        [
            "no-auth: anyone who reaches this server may relay through it; give user or static-auth-secret instead",
            "channel-lifetime: below 600 seconds calls break, as clients refresh for 600",
            "permission-lifetime: below 300 seconds calls break, as clients refresh for 300",
        ]
    );
}

#[test]
fn the_defaults() {
    let config = config("");
    assert_eq!((config.listen.port, config.listen.tls_port), (3478, 5349));
    assert_eq!(
        (config.server.relay.min_port, config.server.relay.max_port),
        (49152, 65535)
    );
    assert_eq!(config.auth.realm, "turnd");
    assert_eq!(config.auth.stale_nonce, Duration::from_secs(600));
    assert_eq!(config.server.limits.user_quota, Some(1638));
    assert_eq!(config.server.limits.max_bps, None);
    assert_eq!(config.server.limits.unauthenticated_rate, Some(500));
    assert_eq!(
        config.server.lifetimes.max_allocate,
        Duration::from_secs(3600)
    );
    assert_eq!(config.server.protocol.software, None);
    assert_eq!(config.log.format, LogFormat::Text);
}

#[test]
fn zero_is_no_limit() {
    let config = config("unauthenticated-rate = 0\nbinding-rate = 0\nmax-bps = 5");
    assert_eq!(config.server.limits.unauthenticated_rate, None);
    assert_eq!(config.server.limits.binding_rate, None);
    assert_eq!(config.server.limits.max_bps, Some(5));
}

#[test]
fn software_names_the_version() {
    let software = config("software-attribute = true")
        .server
        .protocol
        .software
        .unwrap();
    assert!(software.starts_with("turnd ") && software.len() <= 509);
}

#[test]
fn the_least_level_of_lines_comes_before_verbose() {
    for (text, level) in [
        ("", LevelFilter::INFO),
        ("verbose = true", LevelFilter::DEBUG),
        ("log-min-level = 'warning'", LevelFilter::WARN),
        ("log-min-level = 'warn'", LevelFilter::WARN),
        ("log-min-level = 'trace'", LevelFilter::TRACE),
        ("verbose = true\nlog-min-level = 'info'", LevelFilter::INFO),
    ] {
        assert_eq!(config(text).log.level, level, "{text}");
    }
}

#[test]
fn the_syslog_daemon_gets_the_log_and_no_file() {
    let log = config("syslog = true\nlog-file = '/var/log/turnd.log'").log;
    assert_eq!((log.syslog, log.file), (true, None));
    let text = "no-auth = true\nsyslog = true\nlog-file = '/var/log/turnd.log'";
    let warnings = crate::config::warnings(text).unwrap();
    let said = warnings.iter().any(|line| {
        line.starts_with(
            "log-file: /var/log/turnd.log stays empty, as the log goes to the syslog daemon",
        )
    });
    assert!(said, "{warnings:?}");
}
