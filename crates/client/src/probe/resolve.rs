//! Addresses of a URI: as browsers find them, and by RFC 5928.

use std::collections::HashSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::rr::RData;

use super::uri::{Host, Transport, Uri};

/// Longest chain of NAPTR records that is followed.
const MOST_HOPS: usize = 8;

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones come first.
    pub priority: u16,
    /// Share of the clients among records of equal priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host.
    pub target: String,
}

impl Srv {
    /// The record within an answer; `None` for one of another type.
    pub fn of(data: &RData) -> Option<Self> {
        let RData::SRV(srv) = data else { return None };
        Some(Self {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii(),
        })
    }
}

/// A NAPTR record, as far as S-NAPTR uses it (RFC 3958).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower ones come first.
    pub order: u16,
    /// Lower ones come first among records of equal order.
    pub preference: u16,
    /// "s", "a" or nothing.
    pub flags: String,
    /// As `RELAY:turn.udp:turn.tcp`.
    pub services: String,
    /// The next name.
    pub replacement: String,
}

impl Naptr {
    /// The record within an answer; `None` for one of another type.
    pub fn of(data: &RData) -> Option<Self> {
        let RData::NAPTR(naptr) = data else {
            return None;
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            services: text(&naptr.services),
            replacement: naptr.replacement.to_ascii(),
        })
    }
}

/// Access to the DNS.
pub trait Dns {
    /// A and AAAA records, as the system has them.
    ///
    /// # Errors
    /// The reason why there is none, in words.
    fn addresses(&self, host: &str) -> impl Future<Output = Result<Vec<IpAddr>, String>> + Send;

    /// SRV records; none when there are none or the question failed.
    fn srv(&self, name: &str) -> impl Future<Output = Vec<Srv>> + Send;

    /// NAPTR records; none when there are none or the question failed.
    fn naptr(&self, name: &str) -> impl Future<Output = Vec<Naptr>> + Send;
}

/// Address of a possible server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Transport address.
    pub addr: SocketAddr,
    /// Transport to reach it by.
    pub transport: Transport,
    /// A browser would look there, not only a client that asks for SRV and NAPTR records.
    pub browser: bool,
}

/// Addresses of a URI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The addresses, those for browsers first.
    pub targets: Vec<Target>,
    /// Reason why browsers find none.
    pub failure: Option<String>,
}

/// Resolves `uri`.
pub async fn resolve(uri: &Uri, dns: &impl Dns) -> Resolved {
    let mut resolved = Resolved::default();
    let transport = uri.transport();
    let port = uri.port.unwrap_or_else(|| uri.default_port());
    let addresses = match &uri.host {
        Host::Ip(ip) => Ok(vec![*ip]),
        Host::Name(name) => dns.addresses(name).await,
    };
    match (addresses, transport) {
        (Ok(ips), Some(transport)) => {
            let target = |ip| Target {
                addr: SocketAddr::new(ip, port),
                transport,
                browser: true,
            };
            resolved.targets.extend(ips.into_iter().map(target));
        }
        (Ok(_), None) => {}
        (Err(why), _) => resolved.failure = Some(why),
    }
    if let (Host::Name(name), None) = (&uri.host, uri.port) {
        let mut seen: HashSet<_> = resolved
            .targets
            .iter()
            .map(|t| (t.addr, t.transport))
            .collect();
        for (addr, transport) in by_records(uri, name, dns).await {
            if seen.insert((addr, transport)) {
                resolved.targets.push(Target {
                    addr,
                    transport,
                    browser: false,
                });
            }
        }
    }
    resolved
}

/// Addresses by NAPTR and SRV records; A and AAAA records in their absence are not asked for again.
async fn by_records(uri: &Uri, name: &str, dns: &impl Dns) -> Vec<(SocketAddr, Transport)> {
    let transports = match (uri.turn, uri.secure, uri.tcp) {
        // RFC 7064 §3.2: stun implies UDP, stuns TCP.
        (false, false, _) => vec![Transport::Udp],
        (_, true, _) => vec![Transport::Tls],
        (true, false, Some(true)) => vec![Transport::Tcp],
        (true, false, Some(false)) => vec![Transport::Udp],
        (true, false, None) => vec![Transport::Udp, Transport::Tcp, Transport::Tls],
    };
    // RFC 5928 §3, steps 4 and 5.
    if uri.turn && uri.tcp.is_none() {
        let found = by_naptr(name, &transports, dns).await;
        if !found.is_empty() {
            return found;
        }
    }
    let mut found = Vec::new();
    for transport in transports {
        // RFC 5928 §3, step 5: the service goes by the scheme, so TLS only for turns.
        let service = match (uri.turn, uri.secure, transport) {
            (true, false, Transport::Tls) => continue,
            (true, false, _) => "turn",
            (true, true, _) => "turns",
            (false, false, _) => "stun",
            (false, true, _) => "stuns",
        };
        let proto = if transport == Transport::Udp {
            "udp"
        } else {
            "tcp"
        };
        let records = dns.srv(&format!("_{service}._{proto}.{name}")).await;
        found.extend(by_srv(records, transport, dns).await);
    }
    found
}

async fn by_srv(
    mut records: Vec<Srv>,
    transport: Transport,
    dns: &impl Dns,
) -> Vec<(SocketAddr, Transport)> {
    records.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
    let mut found = Vec::new();
    for srv in records
        .iter()
        .filter(|srv| srv.port != 0 && srv.target != ".")
    {
        let ips = dns.addresses(srv.target.trim_end_matches('.')).await;
        let ips = ips.unwrap_or_default().into_iter();
        found.extend(ips.map(|ip| (SocketAddr::new(ip, srv.port), transport)));
    }
    found
}

/// S-NAPTR with the service RELAY (RFC 5928 §3, step 4; RFC 3958 §2.2).
async fn by_naptr(
    name: &str,
    transports: &[Transport],
    dns: &impl Dns,
) -> Vec<(SocketAddr, Transport)> {
    let mut found = Vec::new();
    // Depth first, in the order of the records; each entry waits with what it may still be.
    let mut waiting = vec![(name.to_owned(), transports.to_vec(), 0)];
    while let Some((name, transports, hops)) = waiting.pop() {
        let mut records = dns.naptr(&name).await;
        records.sort_by_key(|naptr| (naptr.order, naptr.preference));
        let mut next = Vec::new();
        for naptr in records {
            let offered = relays(&naptr.services);
            let wanted: Vec<_> = (transports.iter().copied())
                .filter(|transport| offered.contains(transport))
                .collect();
            let target = naptr.replacement.trim_end_matches('.').to_owned();
            if wanted.is_empty() || target.is_empty() {
                continue;
            }
            match naptr.flags.to_ascii_lowercase().as_str() {
                "s" => {
                    for transport in wanted {
                        let records = dns.srv(&target).await;
                        found.extend(by_srv(records, transport, dns).await);
                    }
                }
                "a" => {
                    let ips = dns.addresses(&target).await.unwrap_or_default();
                    for transport in wanted {
                        let port = if transport == Transport::Tls {
                            5349
                        } else {
                            3478
                        };
                        let ips = ips.iter().map(|ip| (SocketAddr::new(*ip, port), transport));
                        found.extend(ips);
                    }
                }
                "" if hops < MOST_HOPS => next.push((target, wanted, hops + 1)),
                _ => {}
            }
        }
        waiting.extend(next.into_iter().rev());
    }
    found
}

/// The transports of a services field, as `RELAY:turn.udp:turn.tls`.
fn relays(services: &str) -> Vec<Transport> {
    let mut parts = services.split(':');
    if !parts
        .next()
        .is_some_and(|service| service.eq_ignore_ascii_case("RELAY"))
    {
        return Vec::new();
    }
    let transport = |part: &str| match part.to_ascii_lowercase().as_str() {
        "turn.udp" => Some(Transport::Udp),
        "turn.tcp" => Some(Transport::Tcp),
        "turn.tls" => Some(Transport::Tls),
        _ => None,
    };
    parts.filter_map(transport).collect()
}

#[cfg(test)]
mod tests;
