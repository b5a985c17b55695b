//! TURN and STUN URIs (RFC 7064, RFC 7065), as far as a load can be put on them.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// `turn:host[:port][?transport=udp]`, or `stun:host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Uri {
    host: String,
    port: u16,
}

impl FromStr for Uri {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, transport) = match text.split_once('?') {
            Some((rest, query)) => (
                rest,
                query
                    .strip_prefix("transport=")
                    .ok_or("only ?transport= may follow the port")?,
            ),
            None => (text, "udp"),
        };
        let (scheme, rest) = rest
            .split_once(':')
            .ok_or("is not like turn:host:3478?transport=udp")?;
        match (scheme, transport) {
            ("turn" | "stun", "udp") => {}
            ("turn" | "turns" | "stun" | "stuns", _) => {
                return Err("loads run over UDP; give turn:host:port?transport=udp".to_owned());
            }
            _ => return Err(format!("{scheme}: is not turn:")),
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, after) = rest.split_once(']').ok_or("the ] is missing")?;
                (host, after.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        if host.is_empty() {
            return Err("the host is missing".to_owned());
        }
        let port = port.map_or(Ok(3478), str::parse);
        Ok(Self {
            host: host.to_owned(),
            port: port.map_err(|error| format!("port: {error}"))?,
        })
    }
}

impl Uri {
    /// The first address of the host.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, String> {
        let Self { host, port } = self;
        (host.as_str(), *port)
            .to_socket_addrs()
            .map_err(|error| format!("{host}: {error}"))?
            .next()
            .ok_or_else(|| format!("{host} has no address"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let parsed = |text: &str| text.parse::<Uri>().map(|uri| (uri.host, uri.port));
        let good = |host: &str, port| Ok((host.to_owned(), port));
        assert_eq!(parsed("turn:a.example"), good("a.example", 3478));
        assert_eq!(
            parsed("turn:192.0.2.1:5?transport=udp"),
            good("192.0.2.1", 5)
        );
        assert_eq!(parsed("stun:[2001:db8::1]:6"), good("2001:db8::1", 6));
        for bad in [
            "",
            "a.example",
            "http:a",
            "turn:",
            "turn:a:b",
            "turn:a:70000",
            "turn:[::1",
            "turns:a",
            "turn:a?transport=tcp",
            "turn:a?x",
        ] {
            assert!(bad.parse::<Uri>().is_err(), "{bad}");
        }
    }
}
