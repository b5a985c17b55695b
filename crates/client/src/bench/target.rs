//! The server that a load is put on.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::probe::{Host, Transport, Uri};

/// URI of a server.
#[derive(Clone, Debug)]
pub struct Target {
    uri: Uri,
    transport: Transport,
}

/// Address of a server.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) addr: SocketAddr,
    pub(super) transport: Transport,
    /// Name to ask for in TLS.
    pub(super) name: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse()?;
        let transport = uri
            .transport()
            .ok_or("there is no load for DTLS; turns: without ?transport= is TLS")?;
        Ok(Self { uri, transport })
    }
}

impl Target {
    /// The first address of the host.
    pub fn resolve(&self) -> Result<Server, String> {
        let uri = &self.uri;
        let port = uri.port.unwrap_or(uri.default_port());
        let (addr, name) = match &uri.host {
            Host::Ip(ip) => (SocketAddr::new(*ip, port), ip.to_string()),
            Host::Name(name) => {
                let mut found = (name.as_str(), port)
                    .to_socket_addrs()
                    .map_err(|error| format!("{name}: {error}"))?;
                let first = found.next();
                let addr = first.ok_or_else(|| format!("{name} has no address"))?;
                (addr, name.clone())
            }
        };
        Ok(Server {
            addr,
            transport: self.transport,
            name,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_transports() {
        let server = |text: &str| {
            let server = text.parse::<Target>().unwrap().resolve().unwrap();
            (server.addr.to_string(), server.transport)
        };
        let udp = |addr: &str| (addr.to_owned(), Transport::Udp);
        assert_eq!(server("turn:192.0.2.1"), udp("192.0.2.1:3478"));
        assert_eq!(server("stun:[2001:db8::1]:6"), udp("[2001:db8::1]:6"));
        let tcp = ("192.0.2.1:5".to_owned(), Transport::Tcp);
        assert_eq!(server("turn:192.0.2.1:5?transport=tcp"), tcp);
        let tls = ("192.0.2.1:5349".to_owned(), Transport::Tls);
        assert_eq!(server("turns:192.0.2.1"), tls);
        assert!("turns:192.0.2.1?transport=udp".parse::<Target>().is_err());
    }
}
