//! The listening sockets: every address once for each worker.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::StartError;
use super::udp::{self, UdpSocket};
use crate::config::Config;

/// What was bound.
pub(super) struct Listeners {
    /// The addresses, in the order of the configuration.
    pub(super) addresses: Vec<SocketAddr>,
    /// The sockets, for each worker one for each address.
    pub(super) by_worker: Vec<Vec<UdpSocket>>,
}

/// Binds what `listening-ip`, `listening-port` and `tls-listening-port` say.
pub(super) fn bind(config: &Config) -> Result<Listeners, StartError> {
    let mut addresses = Vec::new();
    for (ip, optional) in ips(config) {
        for port in [config.listen.port, config.listen.tls_port] {
            let addr = SocketAddr::new(ip, port);
            // With SO_REUSEPORT a second server would get half of the first one's clients.
            match udp::check_free(addr) {
                Ok(()) => addresses.push(addr),
                Err(error) if optional && is_unsupported(&error) => {
                    tracing::info!(%addr, "not listening: this host has no IPv6");
                }
                Err(error) => return Err(explain(addr, &error)),
            }
        }
    }
    let sockets = || -> Result<Vec<_>, StartError> {
        let bind = |addr: &SocketAddr| {
            UdpSocket::bind_listener(*addr).map_err(|error| explain(*addr, &error))
        };
        addresses.iter().map(bind).collect()
    };
    let by_worker = (0..config.workers.get())
        .map(|_| sockets())
        .collect::<Result<_, _>>()?;
    Ok(Listeners {
        addresses,
        by_worker,
    })
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

fn explain(addr: SocketAddr, error: &io::Error) -> StartError {
    let port = addr.port();
    StartError(match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{addr}/udp is in use by another program: `ss -lunp 'sport = :{port}'` shows which; stop it, or choose another listening-port or tls-listening-port"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{addr}/udp may not be bound: ports below 1024 need root or CAP_NET_BIND_SERVICE (`setcap cap_net_bind_service=+ep turnd`)"
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{addr}/udp cannot be bound: this host does not have the address; `ip address` lists those for listening-ip"
        ),
        _ => format!("{addr}/udp cannot be bound: {error}"),
    })
}
