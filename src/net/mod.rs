//! Sockets, threads and the clock: everything that the protocol code does not know.

mod listen;
mod log;
mod naps;
mod sockets;
pub mod udp;
mod worker;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use self::worker::{Command, Worker};
use crate::Now;
use crate::auth::Authenticator;
use crate::auth::nonce::NonceKey;
use crate::config::Config;
use crate::server::shared::Shared;

/// The running daemon: its worker threads and their sockets.
#[derive(Debug)]
pub struct Service {
    listening: Vec<SocketAddr>,
    workers: Vec<(mpsc::UnboundedSender<Command>, JoinHandle<()>)>,
}

impl Service {
    /// Binds every listening socket and starts the workers.
    ///
    /// # Errors
    /// What could not be bound or started, with what to do about it.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        let listeners = listen::bind(config)?;
        let host = host_addresses();
        let nonces = match &config.auth.nonce_secret {
            Some(secret) => NonceKey::from_secret(secret),
            None => NonceKey::random().map_err(|error| {
                StartError(format!("the system gives no random bytes: {error}"))
            })?,
        };
        let auth = Authenticator::new(&config.auth, nonces)
            .map_err(|error| StartError(error.to_string()))?;
        let reachable = if config.listen.ips.iter().any(|ip| !ip.is_unspecified()) {
            &config.listen.ips
        } else {
            &host
        };
        let shared = Arc::new(Shared::new(config, auth, reachable, &host));

        let mut service = Self {
            listening: listeners.addresses,
            workers: Vec::new(),
        };
        for (index, sockets) in listeners.by_worker.into_iter().enumerate() {
            let shared = Arc::clone(&shared);
            let (sender, commands) = mpsc::unbounded_channel();
            let (ready, started) = std::sync::mpsc::channel();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build();
                    match runtime.and_then(|runtime| Ok((runtime, Worker::new(shared, sockets)?))) {
                        Ok((runtime, worker)) => {
                            // The receiver waits for exactly this message.
                            let _ = ready.send(Ok(()));
                            if let Err(error) = runtime.block_on(worker.run(commands)) {
                                tracing::error!(%error, "a worker stopped");
                            }
                        }
                        Err(error) => drop(ready.send(Err(error))),
                    }
                });
            let failed = |error: &dyn fmt::Display| {
                StartError(format!("worker {index} does not start: {error}"))
            };
            service
                .workers
                .push((sender, thread.map_err(|error| failed(&error))?));
            match started.recv() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(failed(&error)),
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(service)
    }

    /// The addresses that clients can reach.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// Ends every allocation, closes every socket and waits for the workers.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for (commands, _) in &self.workers {
            // A worker that is gone needs no telling.
            let _ = commands.send(Command::Stop);
        }
        for (_, thread) in self.workers.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

/// Why the service did not start. Its text is for the operator and holds the remedy.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Reads both clocks.
fn now() -> Now {
    Now {
        mono: Instant::now(),
        // A clock before 1970 is not set; credentials that expire then count as expired.
        unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(u64::MAX, |since| since.as_secs()),
    }
}

/// The addresses of this host's interfaces, as far as they mean something without an interface.
fn host_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "the host's addresses cannot be listed; set relay-ip");
        Vec::new()
    });
    let link_local = |ip: &IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|ip| !link_local(ip))
        .collect()
}
