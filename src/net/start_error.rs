//! Errors of a start, and of a change of settings while the service runs.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use turnd_proto::auth::BuildError;

use super::listen::{SocketKind, explain, explain_relay};

/// Why the service did not start, or does not go on with other settings. Its text is for the
/// operator and holds the remedy where there is one.
#[derive(Debug)]
pub enum StartError {
    /// An address of `listening-ip` and a port cannot be bound.
    Listen(SocketAddr, SocketKind, io::Error),
    /// A listening address that cannot be bound beside others of this server on the same port.
    ListenBeside(SocketAddr, SocketKind),
    /// An address of `relay-ip` cannot be bound.
    Relay(IpAddr, io::Error),
    /// A library does not accept the certificates.
    Certificates(String),
    /// Users, secrets or realm cannot be used with STUN.
    Credentials(BuildError),
    /// The system gives no random bytes.
    Random(getrandom::Error),
    /// The host's addresses cannot be listed.
    HostAddresses(io::Error),
    /// A worker, by its index, does not start.
    Worker(usize, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(addr, kind, error) => explain(*addr, *kind, error).fmt(f),
            Self::ListenBeside(addr, kind) => write!(
                f,
                "{addr}/{} is in use by another program, or cannot be shared with sockets that this server has from before it became proc-user: restart it, or stop what {} shows",
                kind.name(),
                kind.who_has(addr.port())
            ),
            Self::Relay(ip, error) => explain_relay(*ip, error).fmt(f),
            Self::Certificates(error) => f.write_str(error),
            Self::Credentials(error) => error.fmt(f),
            Self::Random(error) => write!(f, "the system gives no random bytes: {error}"),
            Self::HostAddresses(error) => {
                write!(f, "the host's addresses cannot be listed: {error}")
            }
            Self::Worker(index, error) => write!(f, "worker {index} does not start: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Listen(_, _, error)
            | Self::Relay(_, error)
            | Self::HostAddresses(error)
            | Self::Worker(_, error) => Some(error),
            Self::Credentials(error) => Some(error),
            Self::Random(error) => Some(error),
            Self::ListenBeside(..) | Self::Certificates(_) => None,
        }
    }
}
