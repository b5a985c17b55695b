//! Places where clients reach a server, as URIs name them (RFC 7064 §3, RFC 7065 §3).

use std::fmt;
use std::net::IpAddr;

use crate::config::Config;
use crate::problem::Problem;
use turnd_proto::policy::peer_filter::{PeerFilter, PeerRules, Reason};

/// Ports at which TLS is expected, whatever the configuration says.
const TLS_PORTS: [u16; 2] = [443, 5349];

/// Scheme of a URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Stun,
    Stuns,
    Turn,
    Turns,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Stun, Self::Stuns, Self::Turn, Self::Turns];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Stuns => "stuns",
            Self::Turn => "turn",
            Self::Turns => "turns",
        }
    }

    pub(super) fn is_turn(self) -> bool {
        matches!(self, Self::Turn | Self::Turns)
    }

    pub(super) fn is_secure(self) -> bool {
        matches!(self, Self::Stuns | Self::Turns)
    }
}

/// A place where clients reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub(super) scheme: Scheme,
    /// Host as it stands in a URI: IPv6 addresses in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// `?transport=`: TCP or not; `None`: the URI has none.
    pub(super) tcp: Option<bool>,
}

impl Place {
    /// The transport that clients use.
    pub(super) fn transport(&self) -> &'static str {
        let tcp = self.tcp.unwrap_or(self.scheme.is_secure());
        if tcp { "tcp" } else { "udp" }
    }

    /// Reason why clients elsewhere do not reach the host, if there is one.
    fn unreachable(&self) -> Option<Reason> {
        if self.host == "localhost" {
            return Some(Reason::Loopback);
        }
        let ip = self.host.trim_start_matches('[').trim_end_matches(']');
        unroutable(ip.parse().ok()?)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.scheme.name(), self.host, self.port)?;
        match self.tcp {
            Some(true) => f.write_str("?transport=tcp"),
            Some(false) => f.write_str("?transport=udp"),
            None => Ok(()),
        }
    }
}

/// Places at `hosts`, which are HOST, HOST:PORT or URIs; without any at the server's own host. The best for a browser
/// comes first.
pub fn places(config: &Config, hosts: &[&str]) -> Result<Vec<Place>, Problem> {
    if hosts.is_empty() {
        return Ok(served(config, &own_host(config), None));
    }
    let mut places = Vec::new();
    for text in hosts {
        match uri(text)? {
            Some(place) => places.push(place),
            None => {
                let (host, port) = host_and_port(text).ok_or_else(|| wrong(text))?;
                places.extend(served(config, &host, port));
            }
        }
    }
    Ok(places)
}

/// A warning about places that only some clients reach.
pub fn doubt(places: &[Place]) -> Option<String> {
    let (place, reason) = places
        .iter()
        .find_map(|place| Some((place, place.unreachable()?)))?;
    let host = &place.host;
    Some(match reason {
        Reason::Loopback | Reason::Unspecified => format!(
            "{host} is for this machine alone; name the server with --host, external-ip or listening-ip"
        ),
        reason => format!(
            "{host} is a {reason} address, which only its own network reaches; name the server with --host or external-ip"
        ),
    })
}

/// Places of the transports that are served; `port` in place of the configuration's own.
fn served(config: &Config, host: &str, port: Option<u16>) -> Vec<Place> {
    let turn = !config.server.protocol.stun_only;
    let transports = &config.transports;
    // Browsers refuse a certificate that came from no file.
    let certified = transports.tls && !config.tls.files.is_empty();
    let secure = certified || port.is_some_and(|port| TLS_PORTS.contains(&port));
    let plain_port = port.unwrap_or(config.listen.port);
    let tls_port = port.unwrap_or(config.listen.tls_port);
    let all = [
        (transports.udp, Scheme::Stun, plain_port, None),
        (
            transports.udp && turn,
            Scheme::Turn,
            plain_port,
            Some(false),
        ),
        (transports.tcp && turn, Scheme::Turn, plain_port, Some(true)),
        (secure && turn, Scheme::Turns, tls_port, Some(true)),
    ];
    let served = all.into_iter().filter(|(served, ..)| *served);
    let place = |(_, scheme, port, tcp)| Place {
        scheme,
        host: host.to_owned(),
        port,
        tcp,
    };
    served.map(place).collect()
}

/// The server's own host: the name that its certificate is for, the address that it announces or listens on, the
/// realm where that is a domain name, or else this machine.
fn own_host(config: &Config) -> String {
    let realm = config.auth.realm.to_lowercase();
    let certificates = &config.tls.certificates;
    if config.transports.tls && !config.tls.files.is_empty() {
        let names = certificates.iter().flat_map(|own| &own.names);
        let mut names = names.filter(|name| is_name(name));
        let for_realm = certificates.iter().any(|own| own.is_for(&realm)) && is_name(&realm);
        if let Some(name) = for_realm.then_some(&realm).or_else(|| names.next()) {
            return name.clone();
        }
    }
    if let Some(name) = config.public_address.names().next() {
        return name.to_owned();
    }
    let external = config.server.relay.external.iter().map(|e| e.public);
    let listening = config.listen.ips.iter().copied();
    match external.chain(listening).find(|ip| !ip.is_unspecified()) {
        Some(ip) => bracketed(ip),
        None if is_name(&realm) && realm.contains('.') => realm,
        None => bracketed(IpAddr::from([127, 0, 0, 1])),
    }
}

/// The place that a URI names; `None`: the text is no URI.
fn uri(text: &str) -> Result<Option<Place>, Problem> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return Ok(None);
    };
    let mut schemes = Scheme::ALL.into_iter();
    let Some(scheme) = schemes.find(|known| known.name() == scheme) else {
        return Ok(None);
    };
    let (rest, tcp) = match rest.split_once('?') {
        None => (rest, None),
        Some((rest, "transport=udp")) => (rest, Some(false)),
        Some((rest, "transport=tcp")) => (rest, Some(true)),
        Some(_) => return Err(wrong(text)),
    };
    let (host, port) = host_and_port(rest).ok_or_else(|| wrong(text))?;
    let usual = if scheme.is_secure() { 5349 } else { 3478 };
    Ok(Some(Place {
        scheme,
        host,
        port: port.unwrap_or(usual),
        tcp,
    }))
}

fn wrong(text: &str) -> Problem {
    Problem::new(
        format!("host: {text:?} is not a host name or an IP address"),
        "write HOST, HOST:PORT, or a URI such as turns:HOST:443?transport=tcp",
    )
}

/// A host as it stands in a URI, and its port.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    if let Ok(ip) = text.parse() {
        return Some((bracketed(ip), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let port = port.parse().ok().filter(|port| *port != 0)?;
            (host, Some(port))
        }
        _ => (text, None),
    };
    let ip = host.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    match ip {
        Some(ip) => Some((bracketed(ip.parse().ok()?), port)),
        None => is_name(host).then(|| (host.to_owned(), port)),
    }
}

/// Whether text may stand in a URI as a host name or an IPv4 address.
fn is_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    !text.is_empty() && text.chars().all(fits)
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Reason why the world does not reach `ip`, if there is one.
fn unroutable(ip: IpAddr) -> Option<Reason> {
    let nobody = PeerRules {
        allowed: Vec::new(),
        denied: Vec::new(),
        allow_loopback: false,
    };
    let denied = PeerFilter::new(&nobody).check(ip).err()?;
    Some(denied.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(&format!("no-auth = true\n{text}")).unwrap()
    }

    fn listed(config: &Config, hosts: &[&str]) -> Vec<String> {
        let places = places(config, hosts).unwrap();
        places.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_is_served_is_listed() {
        assert_eq!(
            listed(&config("no-tcp = true"), &["h"]),
            ["stun:h:3478", "turn:h:3478?transport=udp"]
        );
        // A certificate without a file is the demonstration's.
        let mut demonstration = config("no-udp = true");
        demonstration.transports.tls = true;
        assert_eq!(
            listed(&demonstration, &["h"]),
            ["turn:h:3478?transport=tcp"]
        );
        assert_eq!(listed(&config("stun-only = true"), &["h"]), ["stun:h:3478"]);
    }

    #[test]
    fn a_port_and_whole_uris() {
        let config = config("");
        assert_eq!(
            listed(&config, &["turn.example.org:443"]),
            [
                "stun:turn.example.org:443",
                "turn:turn.example.org:443?transport=udp",
                "turn:turn.example.org:443?transport=tcp",
                "turns:turn.example.org:443?transport=tcp",
            ]
        );
        assert_eq!(listed(&config, &["[::1]:99"]).len(), 3);
        let uris = [
            "turns:h:443?transport=tcp",
            "turns:[::1]",
            "turn:h?transport=udp",
        ];
        assert_eq!(
            listed(&config, &uris),
            [
                "turns:h:443?transport=tcp",
                "turns:[::1]:5349",
                "turn:h:3478?transport=udp"
            ]
        );
        for wrong in [
            "", "a b", "http://x", "turn:", "h:0", "h:y", "turn:h?x", "[::1", "a/b", "::1:",
        ] {
            let error = places(&config, &[wrong]).unwrap_err().to_string();
            assert_eq!(
                error,
                format!(
                    "host: {wrong:?} is not a host name or an IP address; write HOST, HOST:PORT, or a URI such as turns:HOST:443?transport=tcp"
                )
            );
        }
    }

    #[test]
    fn the_servers_own_host() {
        let host = |text: &str| own_host(&config(text));
        assert_eq!(host(""), "127.0.0.1");
        assert_eq!(host("realm = 'Turn.example.org'"), "turn.example.org");
        assert_eq!(
            host("realm = 'turn.example.org'\nlistening-ip = ['::', '2001:db8::1']"),
            "[2001:db8::1]"
        );
        assert_eq!(
            host("external-ip = ['192.0.2.1/10.0.0.1', 'turn.example.org/10.0.0.2']"),
            "turn.example.org"
        );
        assert_eq!(
            host("listening-ip = '10.0.0.1'\nexternal-ip = '192.0.2.1/10.0.0.1'"),
            "192.0.2.1"
        );
    }

    #[test]
    fn hosts_that_few_reach_are_warned_of() {
        let doubt = |host: &str| doubt(&places(&config(""), &[host]).unwrap());
        for host in ["127.0.0.1", "localhost", "[::1]:99", "0.0.0.0"] {
            assert!(doubt(host).unwrap().contains("for this machine alone"));
        }
        let text = doubt("turns:192.168.1.5").unwrap();
        assert!(
            text.starts_with("192.168.1.5 is a private address"),
            "{text}"
        );
        assert_eq!(doubt("5.6.7.8"), None);
        assert_eq!(doubt("turn.example.org"), None);
    }
}
