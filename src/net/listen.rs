//! The listening sockets: every address once for each worker.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use std::sync::Arc;

use super::StartError;
use super::stream::Acceptor;
use super::udp::{self, UdpSocket};
use super::worker::Listening;
use crate::config::Config;
use crate::policy::stream_limit::StreamLimit;

/// What was bound.
pub(super) struct Listeners {
    /// The addresses, in the order of the configuration.
    pub(super) addresses: Vec<SocketAddr>,
    /// The sockets of each worker.
    pub(super) by_worker: Vec<Listening>,
    /// Of all connections.
    pub(super) limit: Arc<StreamLimit>,
}

/// Binds what `listening-ip` and the keys of the listening ports say.
pub(super) fn bind(config: &Config) -> Result<Listeners, StartError> {
    let transports = &config.transports;
    let datagrams = transports.udp || transports.dtls;
    let streams = transports.tcp || transports.tls;
    let kinds: &[Kind] = match (datagrams, streams) {
        (true, true) => &[Kind::Udp, Kind::Tcp],
        (true, false) => &[Kind::Udp],
        (false, _) => &[Kind::Tcp],
    };
    let mut addresses = Vec::new();
    for (ip, optional) in ips(config) {
        for port in config.listen.ports(ip) {
            let addr = SocketAddr::new(ip, port);
            // With SO_REUSEPORT a second server would get half of the first one's clients.
            match kinds.iter().try_for_each(|kind| kind.check_free(addr)) {
                Ok(()) => addresses.push(addr),
                Err((_, error)) if optional && is_unsupported(&error) => {
                    tracing::info!(%addr, "not listening: this host has no IPv6");
                }
                Err((kind, error)) => return Err(explain(addr, kind, &error)),
            }
        }
    }
    let limit = Arc::new(StreamLimit::new(
        transports.max_idle,
        transports.max_idle_per_ip,
    ));
    let sockets = || -> Result<Listening, StartError> {
        let mut listening = Listening::default();
        for addr in &addresses {
            for kind in kinds {
                let bound = match kind {
                    Kind::Udp => UdpSocket::bind_listener(*addr).map(|s| listening.udp.push(s)),
                    Kind::Tcp => {
                        Acceptor::bind(*addr, Arc::clone(&limit)).map(|a| listening.tcp.push(a))
                    }
                };
                bound.map_err(|error| explain(*addr, *kind, &error))?;
            }
        }
        Ok(listening)
    };
    let by_worker = (0..config.workers.get())
        .map(|_| sockets())
        .collect::<Result<_, _>>()?;
    Ok(Listeners {
        addresses,
        by_worker,
        limit,
    })
}

/// A kind of listening socket.
#[derive(Clone, Copy)]
enum Kind {
    Udp,
    Tcp,
}

impl Kind {
    fn check_free(self, addr: SocketAddr) -> Result<(), (Self, io::Error)> {
        match self {
            Self::Udp => udp::check_free(addr),
            Self::Tcp => Acceptor::check_free(addr),
        }
        .map_err(|error| (self, error))
    }
}

/// The addresses to listen on, and whether the server can do without each.
fn ips(config: &Config) -> Vec<(IpAddr, bool)> {
    let configured = &config.listen.ips;
    let ips = if configured.is_empty() {
        vec![
            (Ipv4Addr::UNSPECIFIED.into(), false),
            (Ipv6Addr::UNSPECIFIED.into(), true),
        ]
    } else {
        configured.iter().map(|ip| (*ip, false)).collect()
    };
    if udp::HAS_LOCAL_ADDRESS {
        return ips;
    }
    // A wildcard socket could not answer from the address that was asked.
    let host = super::host_addresses();
    let expand = |(ip, optional): (IpAddr, bool)| {
        if !ip.is_unspecified() {
            return vec![(ip, optional)];
        }
        let family = host.iter().filter(|own| own.is_ipv4() == ip.is_ipv4());
        family.map(|own| (*own, optional)).collect()
    };
    ips.into_iter().flat_map(expand).collect()
}

/// The host has no IPv6, or has it switched off.
fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn explain(addr: SocketAddr, kind: Kind, error: &io::Error) -> StartError {
    let port = addr.port();
    let (name, flag) = match kind {
        Kind::Udp => ("udp", 'u'),
        Kind::Tcp => ("tcp", 't'),
    };
    StartError(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{addr}/{name} is in use by another program: `ss -l{flag}np 'sport = :{port}'` shows which; stop it, or choose another listening-port or tls-listening-port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{addr}/{name} may not be bound: ports below 1024 need root or CAP_NET_BIND_SERVICE (`setcap cap_net_bind_service=+ep turnd`)"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{addr}/{name} cannot be bound: this host does not have the address; `ip address` lists those for listening-ip"
        ),
        _ => format!("{addr}/{name} cannot be bound: {error}"),
    })
}
