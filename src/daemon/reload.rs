//! Another configuration for a server that runs: all of it, or nothing.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use toml::Table;

use super::Daemon;
use super::audit::{Actor, audit};
use crate::config::file::FileConfig;
use crate::config::{self, ClearTable, Config};
use crate::net::host;

/// Keys that a running process cannot follow.
const NEED_RESTART: &[&str] = &[
    "relay-threads",
    "admin-listen",
    "reload-on-change",
    "pidfile",
    "proc-user",
    "proc-group",
    "rfc5780",
    "alt-listening-port",
    "alt-tls-listening-port",
    "no-udp",
    "no-tcp",
    "no-tls",
    "dtls",
    "trusted-proxies",
    "max-allocate-timeout",
    "max-idle-streams",
    "max-idle-streams-per-ip",
    "max-idle-memory",
    "handshake-rate",
];

/// Where clients that find out their NAT are told of one address at another, all must stay.
const NEED_RESTART_WITH_RFC5780: [&str; 3] =
    ["listening-ip", "listening-port", "tls-listening-port"];

/// How often the configuration file is looked at. An editor writes it in several steps.
const FILE_CHECK: Duration = Duration::from_secs(1);

/// A key whose value is another one now, as it may be shown: secrets are masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: String,
    /// What it was; empty: absent.
    pub old: String,
    /// What it is; empty: absent.
    pub new: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_absent = |text: &str| {
            if text.is_empty() {
                "absent".to_owned()
            } else {
                text.to_owned()
            }
        };
        write!(
            f,
            "{}: {} -> {}",
            self.key,
            or_absent(&self.old),
            or_absent(&self.new)
        )
    }
}

impl Daemon {
    /// Reads the configuration again and goes on with it; running calls notice nothing.
    ///
    /// # Errors
    /// Everything that is in the way, a line each; nothing has changed then.
    pub async fn reload(&self, by: Actor) -> Result<Vec<Change>, Vec<String>> {
        let _one_at_a_time = self.reloading.lock().await;
        let outcome = self.try_reload().await;
        match &outcome {
            Ok(changes) => {
                let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
                audit!(by, "reload", done = true, changed = keys.join(" "));
                self.reloads.fetch_add(1, Ordering::Relaxed);
                for Change { key, old, new } in changes {
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
                // What came of it is in the log.
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

    /// A line for each change that a running process cannot follow.
    fn blocked(&self, changes: &[Change], new: &Config) -> Vec<String> {
        let serves_tls = self.control.certificates().is_some();
        let has_certificate = !new.tls.files.is_empty();
        let follows = |key: &str| match key {
            // TLS and DTLS cannot begin or end.
            "cert" | "pkey" => serves_tls && has_certificate,
            key if NEED_RESTART_WITH_RFC5780.contains(&key) => new.listen.alternates.is_none(),
            key => !NEED_RESTART.contains(&key),
        };
        changes
            .iter()
            .filter(|change| !follows(&change.key))
            .map(|change| format!("{}: needs a restart; put it back, or restart", change.key))
            .collect()
    }

    async fn try_reload(&self) -> Result<Vec<Change>, Vec<String>> {
        let loaded = config::load(self.origin.path.as_deref(), &self.origin.flags)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let (changes, log_changed) = {
            let current = self.current();
            let changes = changes(&current.resolved, &loaded.resolved);
            let (old, new) = (&current.config.log, &loaded.config.log);
            (changes, old != new)
        };
        let blocked = self.blocked(&changes, &loaded.config);
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
}

/// What differs between two configurations.
fn changes(old: &FileConfig, new: &FileConfig) -> Vec<Change> {
    let (secret_old, secret_new) = (table(old), table(new));
    let (shown_old, shown_new) = (table(&old.masked()), table(&new.masked()));
    let mut keys: Vec<&String> = secret_old.keys().chain(secret_new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let show =
        |table: &Table, key: &str| table.get(key).map(ToString::to_string).unwrap_or_default();
    keys.into_iter()
        .filter(|key| secret_old.get(*key) != secret_new.get(*key))
        .map(|key| Change {
            key: key.clone(),
            old: show(&shown_old, key),
            new: show(&shown_new, key),
        })
        .collect()
}

/// Every configuration that was loaded can be written.
fn table(config: &FileConfig) -> ClearTable {
    config.to_table().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_hide_secrets_and_name_what_came_and_went() {
        let read = |text: &str| toml::from_str::<FileConfig>(text).unwrap();
        let old = read("user = ['a:old']\nuser-quota = 5\nfingerprint = true");
        let new = read("user = ['a:new']\nmax-bps = 7\nfingerprint = true");
        let lines: Vec<_> = changes(&old, &new)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "max-bps: absent -> 7",
                "user: [\"a:***\"] -> [\"a:***\"]",
                "user-quota: 5 -> absent",
            ]
        );
    }
}
