//! Things of this machine that `serve` needs, tried without keeping any of them.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::{AdminAddr, AdminListen, Config};
use crate::net::listen::{SocketKind, explain, explain_relay};
use crate::problem::Problem;

/// Lowest port that any user may bind.
const UNPRIVILEGED: u16 = 1024;

/// Obstacles in the way of `serve`.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// `serve` will fail.
    pub(super) errors: Vec<Problem>,
    /// `serve` may fail.
    pub(super) warnings: Vec<String>,
}

/// Folders that turnd's unit makes at each start, and the only ones that it lets the server write to.
const MADE: [&str; 2] = ["/run/turnd", "/var/log/turnd"];

/// The problems of [`files`] and warnings, as turnd's unit would have them.
pub(super) fn files_of_unit(config: &Config) -> Findings {
    let made = |path: &Path| MADE.iter().any(|folder| parent(path) == Path::new(folder));
    let mut rest = config.clone();
    rest.log.file = rest.log.file.filter(|path| !made(path));
    rest.pidfile = rest.pidfile.filter(|path| !made(path));
    if let AdminListen::At(places) = &mut rest.operation.admin {
        places.retain(|place| !matches!(place, AdminAddr::Unix(path) if made(path)));
    }
    let outside = [("log-file", &rest.log.file), ("pidfile", &rest.pidfile)];
    let warning = |(key, path): (&str, &Option<PathBuf>)| {
        let path = path.as_deref()?.display();
        Some(format!(
            "{key}: turnd's unit lets the server write to {} only, and not to {path}; name a place there, or add ReadWritePaths= to the unit",
            MADE.join(" and ")
        ))
    };
    Findings {
        errors: files(&rest),
        warnings: outside.into_iter().filter_map(warning).collect(),
    }
}

/// Tries files and folders as the user of this process: what fails here fails at every start.
pub(super) fn files(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(path) = &config.log.file {
        let remedy = "choose a place that this user may write to";
        problems.extend(writable("log-file", path, "opened", remedy).err());
    }
    if let Some(path) = &config.pidfile {
        let remedy = "choose a place in a folder that this user may write to";
        let folder = parent(path);
        let checked = access(folder, Access::WRITE_OK | Access::EXEC_OK);
        problems.extend(checked.err().map(|error| {
            let what = format!(
                "pidfile: {} cannot be written: {}",
                path.display(),
                io::Error::from(error)
            );
            Problem::new(what, remedy)
        }));
    }
    if let AdminListen::At(places) = &config.operation.admin {
        for place in places {
            let AdminAddr::Unix(path) = place else {
                continue;
            };
            let checked = access(parent(path), Access::WRITE_OK | Access::EXEC_OK);
            problems.extend(checked.err().map(|error| {
                let (what, remedy) = match io::Error::from(error) {
                    error if error.kind() == ErrorKind::NotFound => (
                        "is in a folder that does not exist".to_owned(),
                        "make it, or choose another place",
                    ),
                    error => (format!("cannot be had: {error}"), "choose another place"),
                };
                Problem::new(what, remedy).of(format_args!("admin-listen: {place}"))
            }));
        }
    }
    problems
}

/// Whether a file can be appended to, or made.
fn writable(key: &str, path: &Path, verb: &str, remedy: &str) -> Result<(), Problem> {
    let checked = if path.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else if path.exists() {
        access(path, Access::WRITE_OK).map_err(io::Error::from)
    } else {
        access(parent(path), Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
    };
    checked.map_err(|error| {
        let what = format!("{key}: {} cannot be {verb}: {error}", path.display());
        Problem::new(what, remedy)
    })
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Ports that this process may not bind, which no restart changes.
pub(super) fn forbidden(config: &Config) -> Option<Problem> {
    let refused = |(addr, kind): &(SocketAddr, SocketKind)| {
        addr.port() < UNPRIVILEGED
            && try_bind(*addr, *kind)
                .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    let (addr, kind) = listening(config).into_iter().find(refused)?;
    Some(explain(addr, kind, &ErrorKind::PermissionDenied.into()))
}

/// Tries the addresses and ports of a configuration, and frees them again; `granted`: whoever serves may have low ports.
pub(super) fn addresses(config: &Config, granted: bool) -> Findings {
    let mut findings = Findings::default();
    let mut foreign = None;
    for (addr, kind) in listening(config) {
        if foreign == Some(addr.ip()) {
            continue;
        }
        let Err(error) = try_bind(addr, kind) else {
            continue;
        };
        if error.kind() == ErrorKind::AddrInUse {
            let command = kind.who_has(addr.port());
            findings.warnings.push(format!(
                "{addr}/{} is in use: unless by this server itself, `serve` will fail; {command} shows by which program",
                kind.name()
            ));
        } else if !granted || error.kind() != ErrorKind::PermissionDenied {
            // Its other ports would say the same.
            foreign = (error.kind() == ErrorKind::AddrNotAvailable).then_some(addr.ip());
            findings.errors.push(explain(addr, kind, &error));
        }
    }
    if !config.server.protocol.stun_only {
        for ip in &config.server.relay.ips {
            if let Err(error) = UdpSocket::bind(SocketAddr::new(*ip, 0)) {
                findings.errors.push(explain_relay(*ip, &error));
            }
        }
    }
    if let AdminListen::At(places) = &config.operation.admin {
        for place in places {
            let AdminAddr::Tcp(addr) = place else {
                continue;
            };
            match try_bind(*addr, SocketKind::Tcp) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AddrInUse => {
                    findings.warnings.push(format!(
                        "admin-listen: {addr} is in use: unless by this server itself, `serve` will fail"
                    ));
                }
                Err(error) => {
                    let what = format!("admin-listen: {addr} cannot be had: {error}");
                    findings
                        .errors
                        .push(Problem::new(what, "choose another place"));
                }
            }
        }
    }
    findings
}

/// Whether a port of the configuration needs a right that only root has by itself.
pub(super) fn low_port(config: &Config) -> Option<u16> {
    let mut ports = listening(config).into_iter().map(|(addr, _)| addr.port());
    ports.find(|port| *port < UNPRIVILEGED)
}

/// The addresses that clients reach; without `listening-ip` IPv4's alone, as a host need not have IPv6.
fn listening(config: &Config) -> Vec<(SocketAddr, SocketKind)> {
    let every = [IpAddr::from(Ipv4Addr::UNSPECIFIED)];
    let ips = match &config.listen.ips[..] {
        [] => &every,
        ips => ips,
    };
    let transports = &config.transports;
    let mut places = Vec::new();
    for ip in ips {
        for port in config.listen.ports(*ip) {
            let addr = SocketAddr::new(*ip, port);
            if transports.udp || transports.dtls {
                places.push((addr, SocketKind::Udp));
            }
            if transports.tcp || transports.tls {
                places.push((addr, SocketKind::Tcp));
            }
        }
    }
    places
}

/// Binds and frees again. Nothing can connect meanwhile.
fn try_bind(addr: SocketAddr, kind: SocketKind) -> io::Result<()> {
    let (typ, protocol) = match kind {
        SocketKind::Udp => (Type::DGRAM, Protocol::UDP),
        SocketKind::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(addr), typ, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections that have ended some seconds ago are in nobody's way.
    socket.set_reuse_address(kind == SocketKind::Tcp)?;
    socket.bind(&addr.into())
}

/// Address of this host that packets to elsewhere leave from; `None`: there is no route.
pub(super) fn own_address() -> Option<IpAddr> {
    // Nothing is sent: the kernel only chooses a route. The address is for documents (RFC 5737).
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_unspecified() && !ip.is_loopback()).then_some(ip)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(&format!("no-auth = true\n{text}")).unwrap()
    }

    #[test]
    fn folders_that_do_not_exist() {
        let text = "log-file = '/nonexistent/x.log'\npidfile = '/nonexistent/p'\n\
                    admin-listen = '/nonexistent/s.sock'";
        let told: Vec<_> = files(&config(text))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "log-file: /nonexistent/x.log cannot be opened: No such file or directory (os error 2); choose a place that this user may write to",
                "pidfile: /nonexistent/p cannot be written: No such file or directory (os error 2); choose a place in a folder that this user may write to",
                "admin-listen: /nonexistent/s.sock is in a folder that does not exist; make it, or choose another place",
            ]
        );
        let fine = "log-file = '/dev/null'\npidfile = 'turnd.pid'\nadmin-listen = '/tmp/x.sock'";
        assert!(files(&config(fine)).is_empty());
    }

    #[test]
    fn the_unit_makes_some_folders() {
        let text = "log-file = '/var/log/turnd/x.log'\nadmin-listen = '/run/turnd/turnd.sock'";
        let Findings { errors, warnings } = files_of_unit(&config(text));
        assert!(
            errors.is_empty() && warnings.is_empty(),
            "{errors:?}{warnings:?}"
        );
        let Findings { errors, warnings } = files_of_unit(&config("log-file = '/tmp/x.log'"));
        assert!(errors.is_empty(), "{errors:?}");
        assert!(warnings[0].starts_with(
            "log-file: turnd's unit lets the server write to /run/turnd and /var/log/turnd only"
        ));
    }

    #[test]
    fn addresses_of_other_hosts() {
        let text = "listening-ip = '203.0.113.9'\nrelay-ip = '203.0.113.10'\nno-tcp = true\nlistening-port = 3478";
        let findings = addresses(&config(text), false);
        let told: Vec<_> = findings.errors.iter().map(ToString::to_string).collect();
        assert!(
            told[0].starts_with(
                "203.0.113.9:3478/udp cannot be bound: this host does not have the address"
            ),
            "{told:?}"
        );
        assert!(
            told[1].starts_with("relay-ip 203.0.113.10 cannot be bound"),
            "{told:?}"
        );
    }

    #[test]
    fn ports_in_use() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let text =
            format!("listening-ip = '127.0.0.1'\ntls-listening-port = {port}\nmin-port = 65535");
        let findings = addresses(&config(&text), false);
        let expected = format!("127.0.0.1:{port}/tcp is in use");
        assert!(
            findings.warnings.iter().any(|w| w.starts_with(&expected)),
            "{findings:?}"
        );
    }
}
