//! The listening sockets: every address once for each worker.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use turnd_udp::UdpSocket;

use super::StartError;
use super::host::beyond;
use super::mailbox::Listening;
use super::newcomers::{Newcomers, have_same_port};
use super::tcp_sockets::Acceptor;
use crate::config::Config;
use crate::problem::Problem;

/// Listening sockets that were bound.
pub(super) struct Listeners {
    /// The addresses, in the order of the configuration.
    pub(super) addresses: Vec<SocketAddr>,
    /// Addresses of the sockets.
    pub(super) open: Open,
    /// The sockets of each worker.
    pub(super) by_worker: Vec<Listening>,
}

/// Addresses and sockets that a reload adds and takes away.
pub(super) struct Change {
    /// The addresses from now on.
    pub(super) addresses: Vec<SocketAddr>,
    /// New addresses among them.
    pub(super) added: Vec<SocketAddr>,
    /// The addresses that are no longer wanted.
    pub(super) removed: Vec<SocketAddr>,
    /// Addresses of all sockets from now on.
    pub(super) open: Open,
    /// New sockets of each worker.
    pub(super) by_worker: Vec<Listening>,
}

/// Addresses of the listening sockets that are open. Each worker has one of each.
#[derive(Clone, Debug, Default)]
pub(super) struct Open {
    /// With those on which only the clients of before are still served.
    pub(super) udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
}

impl Open {
    fn of(&self, kind: SocketKind) -> &[SocketAddr] {
        match kind {
            SocketKind::Udp => &self.udp,
            SocketKind::Tcp => &self.tcp,
        }
    }

    fn add(&mut self, addr: SocketAddr, kind: SocketKind) {
        match kind {
            SocketKind::Udp => self.udp.push(addr),
            SocketKind::Tcp => self.tcp.push(addr),
        }
    }

    /// Whether clients of `addr` reach a socket of this kind.
    fn serves(&self, addr: SocketAddr, kind: SocketKind) -> bool {
        let mut open = self.of(kind).iter();
        open.any(|socket| {
            let is_for_all = socket.ip().is_unspecified();
            *socket == addr || (is_for_all && have_same_port(*socket, addr))
        })
    }

    /// Whether a socket of this kind has a part of the addresses that `addr` stands for.
    fn overlaps(&self, addr: SocketAddr, kind: SocketKind) -> bool {
        let mut open = self.of(kind).iter();
        addr.ip().is_unspecified() && open.any(|socket| have_same_port(*socket, addr))
    }

    /// The UDP sockets that take no new clients when these addresses are `wanted`.
    pub(super) fn retired(&self, wanted: &[SocketAddr]) -> Vec<SocketAddr> {
        let open = self.udp.iter().copied();
        open.filter(|socket| Newcomers::of(*socket, wanted, &self.udp) == Newcomers::Nobody)
            .collect()
    }
}

/// Binds what `listening-ip` and the keys of the listening ports say.
pub(super) fn bind(config: &Config) -> Result<Listeners, StartError> {
    let Change {
        addresses,
        open,
        by_worker,
        ..
    } = change(config, &[], &Open::default(), config.workers.get())?;
    Ok(Listeners {
        addresses,
        open,
        by_worker,
    })
}

/// Binds what `config` needs beside the sockets that are `open`, for so many workers; the server
/// listens on `before` now.
pub(super) fn change(
    config: &Config,
    before: &[SocketAddr],
    open: &Open,
    workers: usize,
) -> Result<Change, StartError> {
    let mut addresses = Vec::new();
    let mut new = Vec::new();
    for (ip, optional) in ips(config) {
        for port in config.listen.ports(ip) {
            let addr = SocketAddr::new(ip, port);
            match missing(config, addr, open) {
                Ok(kinds) => {
                    addresses.push(addr);
                    new.extend(kinds.into_iter().map(|kind| (addr, kind)));
                }
                Err((_, error)) if optional && is_unsupported(&error) => {
                    tracing::info!(%addr, "not listening: this host has no IPv6");
                }
                Err((kind, error)) => return Err(refused(addr, kind, error, open)),
            }
        }
    }
    let by_worker = (0..workers).map(|_| sockets(&new, open));
    let by_worker = by_worker.collect::<Result<_, _>>()?;
    let mut open = open.clone();
    for (addr, kind) in new {
        open.add(addr, kind);
    }
    // A connection needs no listening socket to live on.
    let tcp = std::mem::take(&mut open.tcp);
    let takes_new =
        |socket: &SocketAddr| Newcomers::of(*socket, &addresses, &tcp) != Newcomers::Nobody;
    open.tcp = tcp.iter().copied().filter(takes_new).collect();
    Ok(Change {
        added: beyond(&addresses, before),
        removed: beyond(before, &addresses),
        open,
        by_worker,
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

/// The kinds of sockets that `addr` has yet to get; nobody else may have them.
fn missing(
    config: &Config,
    addr: SocketAddr,
    open: &Open,
) -> Result<Vec<SocketKind>, (SocketKind, io::Error)> {
    let kinds = kinds(config).iter().copied();
    let missing: Vec<_> = kinds.filter(|kind| !open.serves(addr, *kind)).collect();
    for kind in &missing {
        // With SO_REUSEPORT a second server would get half of the first one's clients. Sockets of
        // this server's own would be in the way of the check, and are not in that of the sockets.
        if !open.overlaps(addr, *kind) {
            kind.check_free(addr)?;
        }
    }
    Ok(missing)
}

/// One worker's sockets for these addresses.
fn sockets(wanted: &[(SocketAddr, SocketKind)], open: &Open) -> Result<Listening, StartError> {
    let mut listening = Listening::default();
    for (addr, kind) in wanted {
        let bound = match kind {
            SocketKind::Udp => UdpSocket::bind_shared(*addr).map(|s| listening.udp.push(s)),
            SocketKind::Tcp => Acceptor::bind(*addr).map(|a| listening.tcp.push(a)),
        };
        bound.map_err(|error| refused(*addr, *kind, error, open))?;
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

/// SocketKind of a listening socket.
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

/// Reason why a socket beside those that are `open` cannot be bound.
fn refused(addr: SocketAddr, kind: SocketKind, error: io::Error, open: &Open) -> StartError {
    // Root's sockets share nothing with those of the user that the process has become.
    if error.kind() == io::ErrorKind::AddrInUse && open.overlaps(addr, kind) {
        StartError::ListenBeside(addr, kind)
    } else {
        StartError::Listen(addr, kind, error)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_an_address_that_no_socket_has_gets_one() {
        let open = Open {
            udp: addresses(&["0.0.0.0:3478", "[::1]:3478"]),
            tcp: addresses(&["127.0.0.1:3478"]),
        };
        for (address, udp, tcp) in [
            ("127.0.0.1:3478", true, true),
            ("127.0.0.2:3478", true, false),
            ("0.0.0.0:3478", true, false),
            ("[::1]:3478", true, false),
            ("[::]:3478", false, false),
            ("127.0.0.1:3479", false, false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(open.serves(address, SocketKind::Udp), udp, "{address}");
            assert_eq!(open.serves(address, SocketKind::Tcp), tcp, "{address}");
        }
        let wanted = addresses(&["127.0.0.1:3479"]);
        assert_eq!(open.retired(&wanted), open.udp);
    }
}
