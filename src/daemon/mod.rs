//! The running program: signals and the admin listener drain, reload and change it.

pub mod audit;
pub mod ended;
mod in_force;
pub mod log;
pub mod notify;
pub mod privileges;
mod reload;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing_subscriber::filter::LevelFilter;

use self::audit::{Actor, audit};
use self::log::LogControl;
use crate::config::file::FileConfig;
use crate::config::{self, Config, Loaded};
use crate::net::control::{Control, NoAnswer, Status};
use crate::net::host;
use crate::net::log::escape_name;
use turnd_proto::server::Filter;

pub use in_force::Key;
pub use reload::ChangedKey;

/// Interval between two looks whether a draining server is empty.
const DRAIN_CHECK: Duration = Duration::from_millis(200);

/// Interval between two looks at the configuration file. An editor writes it in several steps.
const FILE_CHECK: Duration = Duration::from_secs(1);

/// Source of the configuration, which a reload reads again.
#[derive(Clone, Debug)]
pub struct ConfigInput {
    /// File that was named; `None`: the usual places.
    pub path: Option<PathBuf>,
    /// Flags, which override the file.
    pub flags: FileConfig,
}

/// The running program.
pub struct Daemon {
    control: Control,
    log: LogControl,
    input: ConfigInput,
    current: Mutex<Loaded>,
    /// Held during a reload.
    reloading: tokio::sync::Mutex<()>,
    started: Instant,
    /// Time of the start, since the Unix epoch.
    started_at: Duration,
    draining: AtomicBool,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
}

impl Daemon {
    /// Takes charge of a service that has started with `loaded`, which came from `input`.
    pub fn new(control: Control, log: LogControl, input: ConfigInput, loaded: Loaded) -> Self {
        Self {
            control,
            log,
            input,
            current: Mutex::new(loaded),
            reloading: tokio::sync::Mutex::default(),
            started: Instant::now(),
            started_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            draining: AtomicBool::new(false),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
        }
    }

    /// Handle of the workers.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// The log. Set its level with [`Self::set_log_level`], which records the originator.
    pub fn log(&self) -> &LogControl {
        &self.log
    }

    /// The configuration that is in force.
    pub fn config(&self) -> Config {
        self.current().config.clone()
    }

    /// The file that the configuration came from, and every key with its value, secrets masked.
    pub fn in_force(&self) -> (Option<PathBuf>, Vec<Key>) {
        let current = self.current();
        (current.file.clone(), in_force::keys(&current))
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time of the start, since the Unix epoch.
    pub fn started(&self) -> Duration {
        self.started_at
    }

    /// Whether new allocations are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Reloads that changed the configuration, and reloads that failed.
    pub fn reloads(&self) -> (u64, u64) {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(&self.reloads), load(&self.failed_reloads))
    }

    /// Refuses new allocations from now on, or no longer; existing ones live on. A worker that does not answer follows as
    /// soon as it can.
    pub async fn drain(&self, by: Actor, draining: bool) -> Result<(), NoAnswer> {
        self.draining.store(draining, Ordering::Relaxed);
        audit!(by, "drain", draining);
        self.control.drain(draining).await
    }

    /// Ends the allocations that `filter` means, and counts them. A worker that does not answer follows as soon as it can.
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

    /// Reads the configuration again and goes on with it; running calls notice nothing. On an error, a line for each
    /// obstacle, nothing has changed.
    pub async fn reload(&self, by: Actor) -> Result<Vec<ChangedKey>, Vec<String>> {
        let _one_at_a_time = self.reloading.lock().await;
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(changes) => {
                let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
                audit!(by, "reload", done = true, changed = keys.join(" "));
                self.reloads.fetch_add(1, Ordering::Relaxed);
                for ChangedKey { key, old, new } in changes {
                    tracing::info!(key, old, new, "configuration changed");
                }
                tracing::info!(changes = changes.len(), "configuration reloaded");
            }
            Err(reasons) => {
                audit!(by, "reload", done = false);
                self.failed_reloads.fetch_add(1, Ordering::Relaxed);
                for reason in reasons {
                    tracing::error!(reason, "configuration not reloaded, the old one stays");
                }
            }
        }
        outcome
    }

    /// Reloads whenever the configuration file has changed and then stayed the same for a while.
    pub async fn reload_on_change(&self) {
        let Some(path) = self.current().file.clone() else {
            return;
        };
        let look = || {
            std::fs::metadata(&path)
                .and_then(|m| Ok((m.modified()?, m.len())))
                .ok()
        };
        let mut loaded = look();
        let mut seen = loaded;
        loop {
            tokio::time::sleep(FILE_CHECK).await;
            let now = look();
            if now.is_some() && now == seen && now != loaded {
                loaded = now;
                // The outcome is in the log.
                let _ = self.reload(Actor::File).await;
            }
            seen = now;
        }
    }

    /// Keeps up with the addresses of the host, for as long as it is polled.
    pub async fn follow_host(&self) {
        let mut changes = host::Changes::watch();
        let mut warned = false;
        loop {
            // At once, too: an address may have come between the start and the watch.
            let followed = {
                let _one_at_a_time = self.reloading.lock().await;
                self.control.follow_host(&self.config()).await
            };
            match followed {
                Ok(()) => {
                    warned = false;
                    changes.next().await;
                }
                Err(error) => {
                    if !warned {
                        tracing::warn!(%error, "peers at new addresses of this host are not refused");
                    }
                    warned = true;
                    tokio::time::sleep(host::LOOK).await;
                }
            }
        }
    }

    async fn try_reload(&self) -> Result<Vec<ChangedKey>, Vec<String>> {
        let loaded = config::load(self.input.path.as_deref(), &self.input.flags)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let (changes, log_changed) = {
            let current = self.current();
            let changes = reload::changes(&current.resolved, &loaded.resolved);
            let (old, new) = (&current.config.log, &loaded.config.log);
            (changes, old != new)
        };
        let serves_tls = self.control.certificates().is_some();
        let blocked = reload::blocked(&changes, &loaded.config, serves_tls);
        if !blocked.is_empty() {
            return Err(blocked);
        }
        // The log first: it is the one part that can fail without having changed anything.
        if log_changed {
            self.log
                .change(&loaded.config.log)
                .map_err(|problem| vec![problem.to_string()])?;
        }
        if let Err(error) = self.control.reload(&loaded.config).await {
            let old = self.current().config.log.clone();
            if let Err(error) = self.log.change(&old) {
                tracing::error!(%error, "the old log could not be opened again");
            }
            return Err(vec![error.to_string()]);
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        *self.current() = loaded;
        Ok(changes)
    }

    fn current(&self) -> MutexGuard<'_, Loaded> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
