//! `stun:` and `turn:` URIs (RFC 7064 §3, RFC 7065 §3).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The protocol under STUN or TURN (RFC 5928 §3, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }
}

/// Host that a URI names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A URI taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// `turn:` or `turns:`, not `stun:` or `stuns:`.
    pub turn: bool,
    /// With the `s`.
    pub secure: bool,
    /// The host.
    pub host: Host,
    /// The port, if one is given.
    pub port: Option<u16>,
    /// `?transport=`: TCP or not.
    pub tcp: Option<bool>,
}

impl Uri {
    /// The transport that a browser uses; `None` for DTLS, which none has.
    pub fn transport(&self) -> Option<Transport> {
        match (self.secure, self.tcp) {
            (true, Some(false)) => None,
            (true, _) => Some(Transport::Tls),
            (false, Some(true)) => Some(Transport::Tcp),
            (false, _) => Some(Transport::Udp),
        }
    }

    /// The port when neither the URI nor the DNS says one.
    pub fn default_port(&self) -> u16 {
        if self.secure { 5349 } else { 3478 }
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (self.turn, self.secure) {
            (false, false) => "stun",
            (false, true) => "stuns",
            (true, false) => "turn",
            (true, true) => "turns",
        };
        write!(f, "{scheme}:{}", self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        match self.tcp {
            Some(true) => f.write_str("?transport=tcp"),
            Some(false) => f.write_str("?transport=udp"),
            None => Ok(()),
        }
    }
}

impl FromStr for Uri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err("it has no scheme; write it as turn:turn.example.org".to_owned());
        };
        let (turn, secure) = match scheme.to_ascii_lowercase().as_str() {
            "stun" => (false, false),
            "stuns" => (false, true),
            "turn" => (true, false),
            "turns" => (true, true),
            _ => return Err("it begins with none of stun:, stuns:, turn:, turns:".to_owned()),
        };
        if let Some(rest) = rest.strip_prefix("//") {
            return Err(format!(
                "no slashes come after the scheme; write {scheme}:{rest}"
            ));
        }
        if rest.contains('@') {
            return Err("no user stands in it; give --user".to_owned());
        }
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let tcp = match query {
            None => None,
            Some(_) if !turn => return Err("only turn: and turns: have a ?transport=".to_owned()),
            Some("transport=udp") => Some(false),
            Some("transport=tcp") => Some(true),
            Some(_) => return Err("after ? comes transport=udp or transport=tcp".to_owned()),
        };
        let (host, port) = host_and_port(place)?;
        Ok(Self {
            turn,
            secure,
            host,
            port,
            tcp,
        })
    }
}

fn host_and_port(place: &str) -> Result<(Host, Option<u16>), String> {
    let (host, port) = if let Some(rest) = place.strip_prefix('[') {
        let (ip, port) = rest
            .split_once(']')
            .ok_or("the bracket of the IPv6 address is not closed")?;
        let ip: Ipv6Addr = ip
            .parse()
            .map_err(|_| "what stands in brackets is not an IPv6 address".to_owned())?;
        (Host::Ip(ip.into()), port)
    } else if place.parse::<Ipv6Addr>().is_ok() {
        return Err("an IPv6 address stands in brackets".to_owned());
    } else {
        let end = place.find(':').unwrap_or(place.len());
        let (name, port) = place.split_at(end);
        let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        if name.is_empty() {
            return Err("it names no host".to_owned());
        }
        if !name.chars().all(fits) {
            return Err("its host is neither a name nor an IP address".to_owned());
        }
        let host = match name.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(name.to_owned()),
        };
        (host, port)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse() {
            Ok(port) if port != 0 => Some(port),
            _ => return Err("its port is not one from 1 to 65535".to_owned()),
        },
        _ => return Err("its port is not one from 1 to 65535".to_owned()),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_read_back() {
        for text in [
            "stun:stun.example.org",
            "stun:192.0.2.1:3478",
            "stuns:stun.example.org:443",
            "turn:turn.example.org",
            "turn:turn.example.org:443?transport=tcp",
            "turn:[2001:db8::1]:3478?transport=udp",
            "turns:turn.example.org:443?transport=tcp",
            "turns:[2001:db8::1]",
        ] {
            assert_eq!(text.parse::<Uri>().unwrap().to_string(), text);
        }
        let uri: Uri = "TURNS:x.org".parse().unwrap();
        assert_eq!(
            (uri.transport(), uri.default_port()),
            (Some(Transport::Tls), 5349)
        );
        let uri: Uri = "turn:x.org".parse().unwrap();
        assert_eq!(
            (uri.transport(), uri.default_port()),
            (Some(Transport::Udp), 3478)
        );
        let uri: Uri = "turns:x.org?transport=udp".parse().unwrap();
        assert_eq!(uri.transport(), None);
    }

    #[test]
    fn what_is_no_uri_is_told_why() {
        for (text, why) in [
            ("turn.example.org", "no scheme"),
            ("http:x", "none of stun:"),
            ("turn://x.org", "write turn:x.org"),
            ("turn:", "no host"),
            ("turn::3478", "no host"),
            ("turn:a@x.org", "--user"),
            ("turn:x.org:", "its port"),
            ("turn:x.org:0", "its port"),
            ("turn:x.org:70000", "its port"),
            ("turn:x.org:+80", "its port"),
            ("turn:x.org/path", "neither a name"),
            ("turn:x y", "neither a name"),
            ("turn:2001:db8::1", "in brackets"),
            ("turn:[2001:db8::1", "not closed"),
            ("turn:[x]", "not an IPv6"),
            ("turn:[::1]3478", "its port"),
            (
                "turn:x.org?transport=sctp",
                "transport=udp or transport=tcp",
            ),
            ("stun:x.org?transport=tcp", "only turn:"),
        ] {
            let error = text.parse::<Uri>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
