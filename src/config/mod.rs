//! The checked configuration.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that the daemon was told, checked and with defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients reach the server.
    pub listen: Listen,
    /// Where relayed transport addresses come from.
    pub relay: Relay,
    /// Worker threads (`relay-threads`).
    pub workers: NonZeroUsize,
    /// Who may allocate.
    pub auth: Auth,
    /// What one user, one allocation and everyone together may use.
    pub limits: Limits,
    /// How long things live.
    pub lifetimes: Lifetimes,
    /// Which peers may be reached.
    pub peers: Peers,
    /// Protocol behaviour that operators switch.
    pub protocol: Protocol,
    /// Where log lines go.
    pub log: Log,
    /// A file that holds the process id while the daemon runs.
    pub pidfile: Option<PathBuf>,
}
