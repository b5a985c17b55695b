//! A configuration in four lines.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Config;

/// Users that are named.
const NAMED: usize = 3;

/// Answers to an operator's first questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Addresses for clients, and how they may come.
    pub listens: String,
    /// Addresses and ports of relays.
    pub relays: String,
    /// Addresses that clients are told in place of the relays' own; empty: their own.
    pub announces: String,
    /// Users that may allocate.
    pub allows: String,
    /// Names of the certificates, each with its last day.
    pub certificates: String,
}

impl Summary {
    /// Sums up `config`.
    pub fn new(config: &Config) -> Self {
        Self {
            listens: listens(config),
            relays: relays(config),
            announces: announces(config),
            allows: allows(config),
            certificates: certificates(config),
        }
    }

    /// Lines with headings, for a terminal.
    pub fn lines(&self) -> [String; 4] {
        let announces = match self.announces.as_str() {
            "" => String::new(),
            ips => format!("; announces {ips}"),
        };
        [
            format!("listens on:   {}", self.listens),
            format!("relays from:  {}{announces}", self.relays),
            format!("may allocate: {}", self.allows),
            format!("certificates: {}", self.certificates),
        ]
    }
}

fn listens(config: &Config) -> String {
    let every = [IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    let (ips, only) = if config.listen.ips.is_empty() {
        (&every[..], "every address, port")
    } else {
        (&config.listen.ips[..], "")
    };
    let mut places = Vec::new();
    for ip in ips {
        for port in config.listen.ports(*ip) {
            places.push(match only {
                "" => SocketAddr::new(*ip, port).to_string(),
                _ => port.to_string(),
            });
        }
    }
    let transports = &config.transports;
    let ways = [
        (transports.udp, "UDP"),
        (transports.tcp, "TCP"),
        (transports.tls, "TLS"),
        (transports.dtls, "DTLS"),
    ];
    let ways: Vec<_> = ways.iter().filter(|(on, _)| *on).map(|(_, n)| *n).collect();
    let list = format!("{only} {} ({})", places.join(", "), ways.join(", "));
    list.trim_start().to_owned()
}

fn relays(config: &Config) -> String {
    if config.server.protocol.stun_only {
        return "nothing: stun-only".to_owned();
    }
    let relay = &config.server.relay;
    let from = match joined(relay.ips.iter()) {
        ips if ips.is_empty() => "the address that the client reached".to_owned(),
        ips => ips,
    };
    format!("{from}, ports {} to {}", relay.min_port, relay.max_port)
}

fn announces(config: &Config) -> String {
    let known = joined(config.server.relay.external.iter().map(|ip| ip.public));
    if !known.is_empty() {
        return known;
    }
    let sought = config.public_address.sought.iter();
    joined(sought.map(|one| format!("what is found by {}", one.source)))
}

fn allows(config: &Config) -> String {
    let auth = &config.auth;
    let mut who = Vec::new();
    if config.server.protocol.stun_only {
        return "nobody: stun-only".to_owned();
    }
    if auth.no_auth {
        return "anyone: no-auth".to_owned();
    }
    if !auth.users.is_empty() {
        let named = auth.users.iter().take(NAMED);
        let names = named.map(|user| user.name.escape_debug().to_string());
        let names = names.collect::<Vec<_>>().join(", ");
        who.push(match auth.users.len() {
            0..=NAMED => format!("user {names}"),
            count => format!("user {names} and {} more", count - NAMED),
        });
    }
    match auth.secrets.len() {
        0 => {}
        1 => who.push("whoever has credentials made with static-auth-secret".to_owned()),
        count => who.push(format!(
            "whoever has credentials made with one of {count} static-auth-secret"
        )),
    }
    format!("{}; realm {}", who.join(", "), auth.realm.escape_debug())
}

fn certificates(config: &Config) -> String {
    let certificates = &config.tls.certificates;
    if certificates.is_empty() {
        return "none, so no TLS".to_owned();
    }
    let shown = certificates.iter().map(|certificate| {
        let names = match certificate.names.join(", ") {
            names if names.is_empty() => "without a name".to_owned(),
            names => names,
        };
        format!("{names} until {}", certificate.last_day())
    });
    shown.collect::<Vec<_>>().join("; ")
}

fn joined(parts: impl Iterator<Item = impl ToString>) -> String {
    let parts: Vec<_> = parts.map(|part| part.to_string()).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> [String; 4] {
        Summary::new(&Config::from_toml(text).unwrap()).lines()
    }

    #[test]
    fn a_server_behind_nat() {
        let text = "listening-ip = ['192.0.2.1', '2001:db8::1']\nrealm = 'example.org'\n\
                    relay-ip = '192.0.2.1'\nexternal-ip = '203.0.113.7'\n\
                    user = ['a:b', 'c:d', 'e:f', 'g:h']\nstatic-auth-secret = 'x'";
        assert_eq!(
            lines(text),
            [
                "listens on:   192.0.2.1:3478, 192.0.2.1:5349, [2001:db8::1]:3478, [2001:db8::1]:5349 (UDP, TCP)",
                "relays from:  192.0.2.1, ports 49152 to 65535; announces 203.0.113.7",
                "may allocate: user a, c, e and 1 more, whoever has credentials made with static-auth-secret; realm example.org",
                "certificates: none, so no TLS",
            ]
        );
    }

    #[test]
    fn a_server_whose_public_address_is_not_known_yet() {
        let [_, relays, ..] = lines("no-auth = true\nexternal-ip = ['auto', 'a.example/10.0.0.1']");
        assert_eq!(
            relays,
            "relays from:  the address that the client reached, ports 49152 to 65535; \
             announces what is found by auto, what is found by a.example"
        );
    }

    #[test]
    fn a_server_for_anyone_and_one_for_stun() {
        let [listens, relays, allows, _] = lines("no-auth = true\nno-tcp = true");
        assert_eq!(
            listens,
            "listens on:   every address, port 3478, 5349 (UDP)"
        );
        assert_eq!(
            relays,
            "relays from:  the address that the client reached, ports 49152 to 65535"
        );
        assert_eq!(allows, "may allocate: anyone: no-auth");
        let [_, relays, allows, _] = lines("stun-only = true");
        assert_eq!(relays, "relays from:  nothing: stun-only");
        assert_eq!(allows, "may allocate: nobody: stun-only");
    }
}
