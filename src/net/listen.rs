//! The listening sockets: every address once for each worker.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use turnd_udp::UdpSocket;

use super::StartError;
use super::host::beyond;
use super::mailbox::Listening;
use super::tcp_sockets::Acceptor;
use crate::config::Config;
use crate::problem::Problem;

/// Listening sockets that were bound.
pub(super) struct Listeners {
    /// The addresses, in the order of the configuration.
    pub(super) addresses: Vec<SocketAddr>,
    /// The sockets of each worker.
    pub(super) by_worker: Vec<Listening>,
}

/// Addresses and sockets that a reload adds and takes away.
pub(super) struct Change {
    /// The addresses from now on.
    pub(super) addresses: Vec<SocketAddr>,
    /// New addresses among them.
    pub(super) added: Vec<SocketAddr>,
    /// Sockets of the new addresses, for each worker.
    pub(super) by_worker: Vec<Listening>,
    /// The addresses that are no longer wanted.
    pub(super) removed: Vec<SocketAddr>,
}

/// Binds what `listening-ip` and the keys of the listening ports say.
pub(super) fn bind(config: &Config) -> Result<Listeners, StartError> {
    let addresses = addresses(config, &[], &[])?;
    let workers = config.workers.get();
    let by_worker = (0..workers).map(|_| sockets(config, &addresses));
    Ok(Listeners {
        by_worker: by_worker.collect::<Result<_, _>>()?,
        addresses,
    })
}

/// Binds what `config` has beyond `bound`, for so many workers. Sockets on what is `known` besides
/// may still serve the clients that they have.
pub(super) fn change(
    config: &Config,
    bound: &[SocketAddr],
    known: &[SocketAddr],
    workers: usize,
) -> Result<Change, StartError> {
    let addresses = addresses(config, bound, known)?;
    let added = beyond(&addresses, bound);
    let by_worker = (0..workers).map(|_| sockets(config, &added));
    Ok(Change {
        by_worker: by_worker.collect::<Result<_, _>>()?,
        removed: beyond(bound, &addresses),
        added,
        addresses,
    })
}

fn kinds(config: &Config) -> &'static [SocketKind] {
    let transports = &config.transports;
    let datagrams = transports.udp || transports.dtls;
    let streams = transports.tcp || transports.tls;
    match (datagrams, streams) {
        (true, true) => &[SocketKind::Udp, SocketKind::Tcp],
        (true, false) => &[SocketKind::Udp],
        (false, _) => &[SocketKind::Tcp],
    }
}

/// The addresses to listen on; those that are not `bound` must be free.
fn addresses(
    config: &Config,
    bound: &[SocketAddr],
    known: &[SocketAddr],
) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses = Vec::new();
    for (ip, optional) in ips(config) {
        for port in config.listen.ports(ip) {
            let addr = SocketAddr::new(ip, port);
            // With SO_REUSEPORT a second server would get half of the first one's clients.
            let free = || {
                kinds(config)
                    .iter()
                    .try_for_each(|kind| kind.check_free(addr))
            };
            let checked = if bound.contains(&addr) {
                Ok(())
            } else {
                free()
            };
            match checked {
                Ok(()) => addresses.push(addr),
                Err((_, error)) if optional && is_unsupported(&error) => {
                    tracing::info!(%addr, "not listening: this host has no IPv6");
                }
                // The kernel deals clients out by the order of the workers' sockets and by their
                // address: with others beside them, a worker would get the clients of another.
                Err((_, error))
                    if error.kind() == io::ErrorKind::AddrInUse
                        && known.iter().any(|own| share(*own, addr)) =>
                {
                    return Err(StartError::ListenShared(addr));
                }
                Err((kind, error)) => return Err(StartError::Listen(addr, kind, error)),
            }
        }
    }
    Ok(addresses)
}

/// Whether a socket on one of the two addresses is in the way of one on the other.
fn share(one: SocketAddr, other: SocketAddr) -> bool {
    let ips = [one.ip(), other.ip()];
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (ips[0] == ips[1] || ips.iter().any(IpAddr::is_unspecified))
}

/// One worker's sockets for `addresses`.
fn sockets(config: &Config, addresses: &[SocketAddr]) -> Result<Listening, StartError> {
    let mut listening = Listening::default();
    for addr in addresses {
        for kind in kinds(config) {
            let bound = match kind {
                SocketKind::Udp => UdpSocket::bind_shared(*addr).map(|s| listening.udp.push(s)),
                SocketKind::Tcp => Acceptor::bind(*addr).map(|a| listening.tcp.push(a)),
            };
            bound.map_err(|error| StartError::Listen(*addr, *kind, error))?;
        }
    }
    Ok(listening)
}

/// Fails if this host does not have an address of `relay-ip`: no client would get a relay there.
pub(super) fn check_relays(config: &Config) -> Result<(), StartError> {
    for ip in &config.server.relay.ips {
        turnd_udp::check_free(SocketAddr::new(*ip, 0))
            .map_err(|error| StartError::Relay(*ip, error))?;
    }
    Ok(())
}

/// Kind of a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketKind {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl SocketKind {
    /// Name behind an address, as in "0.0.0.0:3478/udp".
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        }
    }

    /// Command that shows the program that has a port.
    #[must_use]
    pub fn who_has(self, port: u16) -> String {
        let flag = &self.name()[..1];
        format!("`ss -l{flag}np 'sport = :{port}'`")
    }

    fn check_free(self, addr: SocketAddr) -> Result<(), (Self, io::Error)> {
        match self {
            Self::Udp => turnd_udp::check_free(addr),
            Self::Tcp => Acceptor::check_free(addr),
        }
        .map_err(|error| (self, error))
    }
}

/// The addresses to listen on, and whether the server can do without each.
fn ips(config: &Config) -> Vec<(IpAddr, bool)> {
    let configured = &config.listen.ips;
    if configured.is_empty() {
        vec![
            (Ipv4Addr::UNSPECIFIED.into(), false),
            (Ipv6Addr::UNSPECIFIED.into(), true),
        ]
    } else {
        configured.iter().map(|ip| (*ip, false)).collect()
    }
}

/// The host has no IPv6, or has it switched off.
fn is_unsupported(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Problem of a listening socket that cannot be bound.
#[must_use]
pub fn explain(addr: SocketAddr, kind: SocketKind, error: &io::Error) -> Problem {
    let name = kind.name();
    match error.kind() {
        io::ErrorKind::AddrInUse => Problem::new(
            format!(
                "{addr}/{name} is in use by another program: {} shows which",
                kind.who_has(addr.port())
            ),
            "stop it, or choose another listening-port or tls-listening-port",
        ),
        io::ErrorKind::PermissionDenied => Problem::new(
            format!(
                "{addr}/{name} may not be bound: ports below 1024 need root or CAP_NET_BIND_SERVICE"
            ),
            "`setcap cap_net_bind_service=+ep turnd` lets it, and so does turnd's unit; a process that was root until it became proc-user needs a restart",
        ),
        io::ErrorKind::AddrNotAvailable => Problem::new(
            format!("{addr}/{name} cannot be bound: this host does not have the address"),
            "`ip address` lists those for listening-ip",
        ),
        _ => Problem::new(
            format!("{addr}/{name} cannot be bound: {error}"),
            "choose another listening-ip or listening-port",
        ),
    }
}

/// Problem of an address of `relay-ip` that cannot be bound.
#[must_use]
pub fn explain_relay(ip: IpAddr, error: &io::Error) -> Problem {
    Problem::new(
        format!("relay-ip {ip} cannot be bound: {error}"),
        "`ip address` lists what this host has, and external-ip is for the rest",
    )
}
