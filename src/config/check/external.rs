//! `external-ip`, and how a public address is looked for.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::config::error::shown;
use crate::config::file::FileConfig;
use crate::config::problems::Problems;
use crate::config::values::seconds;
use crate::config::{PublicAddress, Sought, Source, StunServer};
use crate::problem::Problem;
use turnd_proto::server::settings::ExternalIp;

/// Seconds between two looks: a metadata service or a STUN server is not to notice them.
const LEAST_INTERVAL: u32 = 10;

/// Most STUN servers: each is asked at every look.
const MOST_SERVERS: usize = 8;

/// Port of STUN (RFC 8489 §18.6).
const STUN_PORT: u16 = 3478;

const FORM: &str = "write \"public\" or \"public/private\", each an IP address, or \"auto\", or a host name in place of public";

/// The addresses that are given, and those that are to be looked for.
pub(super) fn check_external(
    file: &FileConfig,
    relay_ips: &[IpAddr],
    problems: &mut Problems<'_>,
) -> (Vec<ExternalIp>, PublicAddress) {
    let relay_ips = if problems.is_wrong("relay-ip") {
        &[]
    } else {
        relay_ips
    };
    let mut known: Vec<ExternalIp> = Vec::new();
    let mut sought: Vec<Sought> = Vec::new();
    let texts = file.external_ip.as_deref().unwrap_or_default();
    for (n, text) in texts.iter().enumerate() {
        let same = match entry(text, relay_ips) {
            Ok(Entry::Known(ip)) => match known.iter().find(|other| same_place(other, &ip)) {
                None => {
                    known.push(ip);
                    continue;
                }
                Some(other) => (ip.public.to_string(), other.public.to_string()),
            },
            Ok(Entry::Sought(one)) => match sought.iter().find(|o| o.private == one.private) {
                None => {
                    sought.push(one);
                    continue;
                }
                Some(other) => (one.source.to_string(), other.source.to_string()),
            },
            Err(problem) => {
                problems.add("external-ip", Some(n), problem);
                continue;
            }
        };
        let problem = format!("{} stands for the same address as {}", same.0, same.1);
        let remedy = "remove one, or tie each to a relay address as \"public/private\"";
        problems.wrong("external-ip", Some(n), problem, remedy);
    }
    let stun = check_stun(file.external_ip_stun.as_deref(), problems);
    let asks = sought.iter().any(|one| one.source == Source::Auto);
    if !stun.is_empty() && !asks && !problems.is_wrong("external-ip") {
        problems
            .warn(["external-ip-stun: has no effect without external-ip = \"auto\"".to_owned()]);
    }
    let range = LEAST_INTERVAL..=u32::MAX;
    let interval = seconds(
        "external-ip-interval",
        file.external_ip_interval,
        range,
        problems,
    );
    let public = PublicAddress {
        sought,
        stun,
        // A wrong value is an error already, and no pause at all is never right.
        interval: interval.max(Duration::from_secs(LEAST_INTERVAL.into())),
    };
    (known, public)
}

/// One element of `external-ip`.
enum Entry {
    Known(ExternalIp),
    Sought(Sought),
}

/// Two entries that want to rename the same local address.
fn same_place(a: &ExternalIp, b: &ExternalIp) -> bool {
    a.private == b.private && a.public.is_ipv4() == b.public.is_ipv4()
}

fn entry(text: &str, relay_ips: &[IpAddr]) -> Result<Entry, Problem> {
    let (public, private) = match text.split_once('/') {
        Some((public, private)) => (public, Some(single_ip(private)?)),
        None => (text, None),
    };
    let entry = if public.eq_ignore_ascii_case("auto") {
        Entry::Sought(Sought {
            source: Source::Auto,
            private,
        })
    } else if is_host_name(public) {
        Entry::Sought(Sought {
            source: Source::Name(public.to_owned()),
            private,
        })
    } else {
        let public = single_ip(public)?;
        if let Some(private) = private.filter(|ip| ip.is_ipv4() != public.is_ipv4()) {
            return Err(Problem::new(
                format!("{public} and {private} are of two families"),
                "pair IPv4 with IPv4 and IPv6 with IPv6",
            ));
        }
        Entry::Known(ExternalIp { public, private })
    };
    if let Some(private) = private
        && !relay_ips.is_empty()
        && !relay_ips.contains(&private)
    {
        return Err(Problem::new(
            format!("{private} is not one of relay-ip"),
            "add it to relay-ip, or name one that is there",
        ));
    }
    Ok(entry)
}

/// Address of one host.
fn single_ip(text: &str) -> Result<IpAddr, Problem> {
    let problem = match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => format!("{ip} is no single address"),
        Ok(ip) => return Ok(ip),
        Err(_) => format!("{} is not an IP address", shown(text)),
    };
    Err(Problem::new(problem, FORM))
}

/// Whether a text is a name of the DNS with a dot in it. A last label of digits is a mistyped address.
fn is_host_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_word = |label: &str| !label.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(is_label)
        && text.rsplit('.').next().is_some_and(is_word)
}

fn check_stun(texts: Option<&[String]>, problems: &mut Problems<'_>) -> Vec<StunServer> {
    let texts = texts.unwrap_or_default();
    if texts.len() > MOST_SERVERS {
        let problem = format!("{} servers are more than {MOST_SERVERS}", texts.len());
        problems.wrong("external-ip-stun", None, problem, "name fewer");
    }
    let mut servers = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        match stun_server(text) {
            Some(server) => servers.push(server),
            None => problems.wrong(
                "external-ip-stun",
                Some(n),
                format!("{} names no STUN server", shown(text)),
                "write \"host\" or \"host:port\", an IPv6 address in brackets",
            ),
        }
    }
    servers
}

fn stun_server(text: &str) -> Option<StunServer> {
    let text = text.strip_prefix("stun:").unwrap_or(text);
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        let port = match rest {
            "" => STUN_PORT,
            rest => port(rest.strip_prefix(':')?)?,
        };
        (host, port)
    } else {
        match text.split_once(':') {
            // Two colons: an IPv6 address, as others write it.
            Some((_, rest)) if rest.contains(':') => {
                text.parse::<Ipv6Addr>().ok()?;
                (text, STUN_PORT)
            }
            Some((host, rest)) => (host, port(rest)?),
            None => (text, STUN_PORT),
        }
    };
    let known = host.parse::<IpAddr>().is_ok() || is_host_name(host) || host == "localhost";
    known.then(|| StunServer {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn config(text: &str) -> Config {
        Config::from_toml(&format!("no-auth = true\n{text}")).unwrap()
    }

    fn errors(text: &str) -> String {
        let errors = Config::from_toml(&format!("no-auth = true\n{text}")).unwrap_err();
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn an_address_that_is_to_be_looked_for() {
        let text = "external-ip = ['auto', 'turn.example.org/10.0.0.5', '203.0.113.7/10.0.0.6']\n\
                    external-ip-stun = ['stun.example.org', 'stun:192.0.2.1:3479', '[2001:db8::1]:5', '2001:db8::2']\n\
                    external-ip-interval = '1m'";
        let config = config(text);
        assert_eq!(config.server.relay.external.len(), 1);
        let sought = |source, private: Option<&str>| Sought {
            source,
            private: private.map(|ip| ip.parse().unwrap()),
        };
        let name = Source::Name("turn.example.org".to_owned());
        let public = config.public_address;
        assert_eq!(
            public.sought,
            [sought(Source::Auto, None), sought(name, Some("10.0.0.5"))]
        );
        let servers: Vec<_> = public.stun.iter().map(ToString::to_string).collect();
        assert_eq!(
            servers,
            [
                "stun.example.org:3478",
                "192.0.2.1:3479",
                "[2001:db8::1]:5",
                "[2001:db8::2]:3478"
            ]
        );
        assert_eq!(public.interval, Duration::from_secs(60));
    }

    #[test]
    fn words_that_are_neither_address_nor_name() {
        let not = |text: &str| {
            format!("turnd.toml:2: external-ip: {text:?} is not an IP address; {FORM}")
        };
        for text in [
            "automatic",
            "203.0.113",
            "10.0.0.300",
            "a b.c",
            "-a.example",
            "a..b",
        ] {
            assert_eq!(errors(&format!("external-ip = '{text}'")), not(text));
        }
        let twice = "external-ip = ['auto', 'turn.example.org']";
        assert_eq!(
            errors(twice),
            "turnd.toml:2: external-ip: turn.example.org stands for the same address as auto; \
             remove one, or tie each to a relay address as \"public/private\""
        );
        for text in [
            "",
            "a:b:c",
            "[::1",
            "[a]:1",
            "example.org:0",
            "example.org:x",
            "http://x.y",
        ] {
            let found = errors(&format!("external-ip-stun = ['{text}']"));
            assert!(found.contains("names no STUN server"), "{text}: {found}");
        }
        let many = ["'a.example'"; 9].join(", ");
        let found = errors(&format!("external-ip-stun = [{many}]"));
        assert!(found.contains("9 servers are more than 8"), "{found}");
        let found = errors("external-ip-interval = 1");
        assert!(found.contains("1 is below 10"), "{found}");
    }
}
