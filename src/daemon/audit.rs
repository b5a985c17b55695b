//! Log lines about changes of the running server, with their originator, at every log level.

use std::fmt;
use std::net::SocketAddr;

/// Target of audit lines, which no level hides.
pub const TARGET: &str = "audit";

/// Originator of a change of the running server, or of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A process that is connected to the unix socket.
    Unix {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Process id; `None`: the system does not tell.
        pid: Option<i32>,
    },
    /// A client of the admin listener over TCP, by `admin-token`.
    Tcp(SocketAddr),
    /// A signal, such as `HUP`; the system does not tell whose.
    Signal(&'static str),
    /// The configuration file, which has changed.
    File,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid, gid, pid } => {
                write!(f, "unix socket, uid {uid}, gid {gid}")?;
                pid.map_or(Ok(()), |pid| write!(f, ", pid {pid}"))
            }
            Self::Tcp(client) => write!(f, "tcp {client}, with the token"),
            Self::Signal(name) => write!(f, "signal {name}"),
            Self::File => f.write_str("changed file"),
        }
    }
}

/// Logs an action with its arguments, none of which may be a secret.
macro_rules! audit {
    ($by:expr, $action:literal $(, $($arguments:tt)+)?) => {
        tracing::info!(
            target: $crate::daemon::audit::TARGET,
            action = $action,
            by = $by.to_string(),
            $($($arguments)+,)?
            "admin"
        )
    };
}
pub(crate) use audit;
