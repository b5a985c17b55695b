//! Sockets, threads and the clock: everything that the protocol code does not know.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Config;

/// The running daemon: its worker threads and their sockets.
pub struct Service {}

impl Service {
    /// Binds every listening socket and starts the workers.
    ///
    /// # Errors
    /// What could not be bound, with the address and what to do about it.
    pub fn start(_config: Arc<Config>) -> Result<Self, StartError> {
        Ok(Self {})
    }

    /// The addresses that clients can reach, one per listening socket address.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &[]
    }

    /// Closes every allocation and socket and waits for the workers to end.
    pub fn stop(self) {}
}

/// Why the service did not start. Its text is for the operator and holds the remedy.
#[derive(Debug)]
pub struct StartError {
    /// One or more lines.
    pub message: String,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}
