//! The system's resolver, and SRV and NAPTR records from the system's name servers.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::resolve::{Dns, Naptr, Srv};

/// Timeout of each SRV or NAPTR query, which browsers do not send.
const RECORD_TIMEOUT: Duration = Duration::from_secs(2);

/// Names as this host sees them.
#[derive(Default)]
pub struct SystemDns {
    /// `None`: there is no usable `/etc/resolv.conf`.
    records: Option<TokioResolver>,
}

impl SystemDns {
    /// Reads the system's configuration.
    pub fn new() -> Self {
        let records = TokioResolver::builder_tokio().and_then(|mut builder| {
            builder.options_mut().timeout = RECORD_TIMEOUT / 2;
            builder.options_mut().attempts = 1;
            builder.build()
        });
        Self {
            records: records.ok(),
        }
    }

    #[cfg(test)]
    fn with(resolver: TokioResolver) -> Self {
        Self {
            records: Some(resolver),
        }
    }

    async fn lookup(&self, name: &str, typ: RecordType) -> Vec<RData> {
        let Some(resolver) = &self.records else {
            return Vec::new();
        };
        // Absolute, so that the search list adds nothing.
        let question = resolver.lookup(format!("{}.", name.trim_end_matches('.')), typ);
        match tokio::time::timeout(RECORD_TIMEOUT, question).await {
            Ok(Ok(lookup)) => lookup.answers().iter().map(|r| r.data.clone()).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }
}

impl Dns for SystemDns {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        let mut ips = Vec::new();
        let found = tokio::net::lookup_host((host, 0)).await;
        for addr in found.map_err(|error| error.to_string())? {
            if !ips.contains(&addr.ip()) {
                ips.push(addr.ip());
            }
        }
        if ips.is_empty() {
            return Err("it has no address".to_owned());
        }
        Ok(ips)
    }

    async fn srv(&self, name: &str) -> Vec<Srv> {
        let records = self.lookup(name, RecordType::SRV).await;
        records.iter().filter_map(Srv::of).collect()
    }

    async fn naptr(&self, name: &str) -> Vec<Naptr> {
        let records = self.lookup(name, RecordType::NAPTR).await;
        records.iter().filter_map(Naptr::of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that answers every question with one record of the type asked.
    async fn name_server() -> u16 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let question_end = 12 + buffer[12..len].iter().position(|b| *b == 0).unwrap() + 5;
                let typ = u16::from_be_bytes([buffer[question_end - 4], buffer[question_end - 3]]);
                let target = b"\x01a\x07example\x03org\x00";
                let data = match typ {
                    33 => [&[0, 1, 0, 2, 0x0D, 0x96][..], target].concat(),
                    _ => [
                        &[0, 1, 0, 2][..],
                        b"\x01S",
                        b"\x0eRELAY:turn.udp",
                        b"\x00",
                        target,
                    ]
                    .concat(),
                };
                let mut reply = buffer[..2].to_vec();
                reply.extend_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                reply.extend_from_slice(&buffer[12..question_end]);
                reply.extend_from_slice(&[0xC0, 12]);
                reply.extend_from_slice(&typ.to_be_bytes());
                reply.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
                reply.extend_from_slice(&(data.len() as u16).to_be_bytes());
                reply.extend_from_slice(&data);
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn records_are_read() {
        let mut connection = ConnectionConfig::udp();
        connection.port = name_server().await;
        let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let dns = SystemDns::with(resolver.build().unwrap());
        let srv = Srv {
            priority: 1,
            weight: 2,
            port: 3478,
            target: "a.example.org.".to_owned(),
        };
        assert_eq!(dns.srv("_turn._udp.example.org").await, [srv]);
        let naptr = Naptr {
            order: 1,
            preference: 2,
            flags: "S".to_owned(),
            services: "RELAY:turn.udp".to_owned(),
            replacement: "a.example.org.".to_owned(),
        };
        assert_eq!(dns.naptr("example.org").await, [naptr]);
    }
}
