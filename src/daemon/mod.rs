//! The running program: signals and the admin listener drain, reload and change it.

pub mod audit;
pub mod ended;
mod in_force;
pub mod log;
pub mod notify;
pub mod privileges;
pub mod public_address;
mod reload;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tracing_subscriber::filter::LevelFilter;

use self::audit::{Actor, audit};
use self::log::LogControl;
use self::public_address::{AT_START, LATER, Look, RETRY};
use crate::config::file::FileConfig;
use crate::config::{self, Config, ConfigError, Loaded, Tls};
use crate::net::StartError;
use crate::net::control::{Control, NoAnswer, Status};
use crate::net::host;
use crate::net::log::escape_name;
use turnd_proto::server::Filter;

pub use in_force::Key;
pub use reload::{ChangedKey, Reloaded};

/// Interval between two looks whether a draining server is empty.
const DRAIN_CHECK: Duration = Duration::from_millis(200);

/// Interval between two looks whether old listening sockets are still used.
const LISTENER_CHECK: Duration = Duration::from_secs(1);

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
    current: Mutex<Current>,
    /// Told when the host's addresses have changed, and at a reload.
    look_again: Notify,
    /// Held while addresses or settings change, so that one change sees the other whole.
    reloading: tokio::sync::Mutex<()>,
    started: Instant,
    /// Time of the start, since the Unix epoch.
    started_at: Duration,
    draining: AtomicBool,
    reloads: AtomicU64,
    failed_reloads: AtomicU64,
    last_reload: Mutex<LastReload>,
}

/// The configuration that is in force.
struct Current {
    loaded: Loaded,
    /// Public addresses that were found for it.
    found: Look,
    /// Differences to the file, which are in force from the next restart on.
    pending: Vec<ChangedKey>,
}

/// Outcome of the last reload; the start counts as one.
#[derive(Clone, Copy, Debug)]
pub struct LastReload {
    /// Whether it failed, so that the configuration before is in force.
    pub failed: bool,
    /// Time since the Unix epoch of the last that did not fail.
    pub success: Duration,
}

impl LastReload {
    fn success() -> Self {
        Self {
            failed: false,
            success: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }
}

impl Daemon {
    /// Takes charge of a service that has started with `loaded`, which came from `input`, and the
    /// public addresses that were `found`.
    pub fn new(
        control: Control,
        log: LogControl,
        input: ConfigInput,
        loaded: Loaded,
        found: Look,
    ) -> Self {
        Self {
            control,
            log,
            input,
            current: Mutex::new(Current {
                loaded,
                found,
                pending: Vec::new(),
            }),
            look_again: Notify::new(),
            reloading: tokio::sync::Mutex::default(),
            started: Instant::now(),
            started_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            draining: AtomicBool::new(false),
            reloads: AtomicU64::new(0),
            failed_reloads: AtomicU64::new(0),
            last_reload: Mutex::new(LastReload::success()),
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

    /// The configuration that is in force, with the public addresses that were found.
    pub fn config(&self) -> Config {
        let current = self.current();
        current.found.applied(current.loaded.config.clone())
    }

    /// The file that the configuration came from, and every key with its value, secrets masked.
    pub fn in_force(&self) -> (Option<PathBuf>, Vec<Key>) {
        let current = self.current();
        (current.loaded.file.clone(), in_force::keys(&current.loaded))
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

    /// Outcome of the last reload.
    pub fn last_reload(&self) -> LastReload {
        *self.lock_last_reload()
    }

    /// Keys whose values in the file are in force from the next restart on.
    pub fn pending(&self) -> Vec<ChangedKey> {
        self.current().pending.clone()
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

    /// Opens the log's file anew, if there is one: it may have been moved away.
    pub fn reopen_log(&self, by: Actor) {
        let has_file = {
            let log = &self.current().loaded.config.log;
            log.file.is_some() && !log.syslog
        };
        match self.log.reopen() {
            Ok(()) if has_file => tracing::info!("log reopened"),
            Ok(()) => {}
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
        let limit = self.current().loaded.config.operation.drain_timeout;
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

    /// Reads the configuration again and goes on with it; running calls notice nothing. Keys that need a restart keep their
    /// values. On an error, a line for each obstacle, nothing has changed.
    pub async fn reload(&self, by: Actor) -> Result<Reloaded, Vec<String>> {
        let _one_at_a_time = self.reloading.lock().await;
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(Reloaded {
                changes, pending, ..
            }) => {
                let changed = keys(changes);
                let waiting = Some(keys(pending)).filter(|keys| !keys.is_empty());
                audit!(by, "reload", done = true, changed, pending = waiting);
                self.reloads.fetch_add(1, Ordering::Relaxed);
                *self.lock_last_reload() = LastReload::success();
                for ChangedKey { key, old, new } in changes {
                    tracing::info!(key, old, new, "configuration changed");
                }
                for ChangedKey { key, old, new } in pending {
                    tracing::warn!(
                        key,
                        old,
                        new,
                        "configuration changes from the next restart on"
                    );
                }
                tracing::info!(changes = changes.len(), "configuration reloaded");
                self.look_again.notify_one();
            }
            Err(reasons) => {
                audit!(by, "reload", done = false);
                self.failed_reloads.fetch_add(1, Ordering::Relaxed);
                self.lock_last_reload().failed = true;
                for reason in reasons {
                    tracing::error!(reason, "configuration not reloaded, the old one stays");
                }
            }
        }
        outcome
    }

    /// Reloads whenever the configuration file has changed and then stayed the same for a while.
    pub async fn reload_on_change(&self) {
        let Some(path) = self.current().loaded.file.clone() else {
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
                Ok(changed) => {
                    warned = false;
                    if changed {
                        self.look_again.notify_one();
                    }
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

    /// Closes listening sockets that the configuration does not name any more, once their last clients have gone; for as
    /// long as it is polled.
    pub async fn close_unused_listeners(&self) {
        loop {
            tokio::time::sleep(LISTENER_CHECK).await;
            let _one_at_a_time = self.reloading.lock().await;
            if let Err(error) = self.control.close_unused_listeners().await {
                tracing::debug!(%error, "old listening sockets stay open");
            }
        }
    }

    /// Keeps up with the public addresses of the host, for as long as it is polled.
    pub async fn follow_public_address(&self) {
        let mut pause = RETRY;
        loop {
            let wait = {
                let current = self.current();
                let interval = current.loaded.config.public_address.interval;
                match current.found.is_complete() {
                    true => interval,
                    false => pause.min(interval),
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.look_again.notified() => {}
            }
            match self.look_for_public_address().await {
                Ok(true) => pause = RETRY,
                Ok(false) => pause = pause.saturating_mul(2),
                Err(error) => tracing::warn!(%error, "another public address is not announced"),
            }
        }
    }

    /// Looks once, and goes on with what is found; whether that is everything.
    async fn look_for_public_address(&self) -> Result<bool, StartError> {
        let (config, before) = self.looked_for();
        // While no descriptor is left, the addresses are not known.
        let Some(host) = host::addresses().ok() else {
            return Ok(false);
        };
        let look = Look::once(&config, &host, LATER, &before).await;
        let _one_at_a_time = self.reloading.lock().await;
        let (now, found) = self.looked_for();
        if !reload::looks_alike(&config, &now) {
            // The reload has looked for itself.
            return Ok(found.is_complete());
        }
        if !look.announces_as(&before) {
            self.control.announce(&look.applied(now)).await?;
        }
        // Told when it holds: whoever reads it may count on it.
        look.log_changes(&before);
        let complete = look.is_complete();
        self.current().found = look;
        Ok(complete)
    }

    /// The public addresses for a configuration that is to follow the one in force.
    async fn found_for(&self, config: &Config) -> Look {
        let (current, before) = self.looked_for();
        if reload::looks_alike(config, &current) {
            return before;
        }
        let host = host::addresses().unwrap_or_default();
        Look::once(config, &host, AT_START, &before).await
    }

    /// The configuration as it was read, and the public addresses that were found for it.
    fn looked_for(&self) -> (Config, Look) {
        let current = self.current();
        (current.loaded.config.clone(), current.found.clone())
    }

    async fn try_reload(&self) -> Result<Reloaded, Vec<String>> {
        let tls = self.tls();
        let ConfigInput { path, flags } = &self.input;
        let read = config::load_again(path.as_deref(), flags, &tls).map_err(lines)?;
        let (in_force, pending, changes, log_before) = {
            let current = &self.current().loaded;
            let serves_tls = self.control.certificates().is_some();
            let follows =
                |key: &str| reload::follows(key, &current.config, &read.config, serves_tls);
            let in_force = read.in_force(current, &tls, follows).map_err(|errors| {
                let text = "some keys need a restart, and this does not fit the values that they have until then:";
                [vec![text.to_owned()], lines(errors)].concat()
            })?;
            let resolved = in_force
                .as_ref()
                .map_or(&read.resolved, |loaded| &loaded.resolved);
            let pending = reload::changes(resolved, &read.resolved);
            let changes = reload::changes(&current.resolved, resolved);
            (in_force, pending, changes, current.config.log.clone())
        };
        let warnings = read.warnings.clone();
        let loaded = in_force.unwrap_or(read);
        // The log first: it is the one part that can fail without having changed anything.
        if log_before != loaded.config.log {
            self.log
                .change(&loaded.config.log)
                .map_err(|problem| vec![problem.to_string()])?;
        }
        let found = self.found_for(&loaded.config).await;
        let applied = found.applied(loaded.config.clone());
        if let Err(error) = self.control.reload(&applied).await {
            if let Err(error) = self.log.change(&log_before) {
                tracing::error!(%error, "the old log could not be opened again");
            }
            return Err(vec![error.to_string()]);
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let certificates_unusable = loaded.config.tls.unusable.clone();
        found.log_changes(&self.looked_for().1);
        *self.current() = Current {
            loaded,
            found,
            pending: pending.clone(),
        };
        Ok(Reloaded {
            changes,
            pending,
            certificates_unusable,
        })
    }

    /// The settings of TLS, with the certificates that are in use.
    fn tls(&self) -> Tls {
        let mut tls = self.current().loaded.config.tls.clone();
        if let Some(certificates) = self.control.certificates() {
            certificates.put_into(&mut tls);
        }
        tls
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_last_reload(&self) -> MutexGuard<'_, LastReload> {
        // Each field is whole.
        self.last_reload
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn lines(errors: Vec<ConfigError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn keys(changes: &[ChangedKey]) -> String {
    let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
    keys.join(" ")
}
