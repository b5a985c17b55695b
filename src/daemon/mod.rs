//! The running program: what signals and the admin listener do to it.

pub mod audit;
pub mod ended;
pub mod log;
pub mod notify;
pub mod privileges;
mod reload;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::filter::LevelFilter;

use self::audit::{Actor, audit};
use self::log::LogControl;
use crate::config::file::FileConfig;
use crate::config::{Config, Loaded};
use crate::net::control::{Control, NoAnswer, Status};
use crate::net::log::escape_name;
use turnd_proto::server::Filter;

pub use reload::Change;

/// How often a draining server looks whether it is empty.
const DRAIN_CHECK: Duration = Duration::from_millis(200);

/// Where the configuration comes from; a reload reads it again.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The file that was named, or `None` for the usual places.
    pub path: Option<PathBuf>,
    /// The flags over it.
    pub flags: FileConfig,
}

/// The running program.
pub struct Daemon {
    control: Control,
    log: LogControl,
    origin: Origin,
    current: Mutex<Loaded>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    started: Instant,
    draining: AtomicBool,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
}

impl Daemon {
    /// Takes charge of a service that has started with `loaded`, which came from `origin`.
    #[must_use]
    pub fn new(control: Control, log: LogControl, origin: Origin, loaded: Loaded) -> Self {
        Self {
            control,
            log,
            origin,
            current: Mutex::new(loaded),
            reloading: tokio::sync::Mutex::default(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
        }
    }

    /// The way to the workers.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The log. Its level is set with [`Self::set_log_level`], which records who does.
    #[must_use]
    pub fn log(&self) -> &LogControl {
        &self.log
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.current().config.clone()
    }

    /// For how long it has run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether new allocations are refused.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Reloads that changed the configuration, and reloads that failed.
    #[must_use]
    pub fn reloads(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.reloads), load(&self.failed_reloads))
    }

    /// Refuses new allocations from now on, or no longer; those that there are live on.
    ///
    /// # Errors
    /// When a worker does not answer; it does so as soon as it can.
    pub async fn drain(&self, by: Actor, draining: bool) -> Result<(), NoAnswer> {
        self.draining.store(draining, Ordering::Relaxed);
        audit!(by, "drain", draining);
        self.control.drain(draining).await
    }

    /// Ends the allocations that `filter` means and tells how many those were.
    ///
    /// # Errors
    /// When a worker does not answer; it does so as soon as it can.
    pub async fn kill(&self, by: Actor, filter: Filter) -> Result<usize, NoAnswer> {
        let Filter {
            serial,
            user,
            client,
        } = &filter;
        let (session, client) = (*serial, client.map(|ip| ip.to_string()));
        let user = user.as_deref().map(escape_name);
        let outcome = self.control.kill(filter).await;
        let killed = outcome.as_ref().ok();
        audit!(by, "kill", session, user, client, killed);
        outcome
    }

    /// Sets the log level until the next reload.
    pub fn set_log_level(&self, by: Actor, level: LevelFilter) {
        self.log.set_level(level);
        audit!(by, "log-level", %level);
    }

    /// Opens the log anew, which may have been moved away.
    pub fn reopen_log(&self, by: Actor) {
        match self.log.reopen() {
            Ok(()) => tracing::info!("log reopened"),
            Err(error) => tracing::warn!(%error, "log not reopened, the old one stays"),
        }
        audit!(by, "reopen-log");
    }

    /// Reads the certificates' files again.
    pub fn reload_certificates(&self, by: Actor) {
        audit!(by, "reload-certificates");
        match self.control.certificates() {
            Some(certificates) => certificates.reload(),
            None => tracing::warn!("no certificate to reload: cert and pkey are not given"),
        }
    }

    /// Returns when the last allocation has ended, or after `drain-timeout`.
    pub async fn drained(&self) {
        let limit = self.current().config.operation.drain_timeout;
        let deadline = limit.map(|limit| Instant::now() + limit);
        loop {
            let status = self.control.status().await;
            let left = status.as_ref().map(Status::allocations).ok();
            if left == Some(0) {
                return tracing::info!("drained");
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return tracing::warn!(left, "drain-timeout is over");
            }
            tokio::time::sleep(DRAIN_CHECK).await;
        }
    }

    fn current(&self) -> MutexGuard<'_, Loaded> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
