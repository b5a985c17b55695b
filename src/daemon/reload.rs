//! Another configuration for a server that runs: all of it, or nothing.

use std::fmt;

use toml::Table;

use crate::config::file::FileConfig;
use crate::config::{ClearTable, Config};

/// Keys that need a restart with `rfc5780` as well: these addresses are advertised in OTHER-ADDRESS.
const NEED_RESTART_WITH_RFC5780: [&str; 3] =
    ["listening-ip", "listening-port", "tls-listening-port"];

/// A changed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedKey {
    /// Name of the key.
    pub key: String,
    /// Value before, masked; empty: absent.
    pub old: String,
    /// Value now, masked; empty: absent.
    pub new: String,
}

impl fmt::Display for ChangedKey {
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

/// A line for each change that a running process cannot follow.
pub(super) fn blocked(changes: &[ChangedKey], new: &Config, serves_tls: bool) -> Vec<String> {
    let has_certificate = !new.tls.files.is_empty();
    let follows = |key: &str| match key {
        // TLS and DTLS cannot begin or end.
        "cert" | "pkey" => serves_tls && has_certificate,
        key if NEED_RESTART_WITH_RFC5780.contains(&key) => new.listen.alternate_ports.is_none(),
        key => !FileConfig::needs_restart(key),
    };
    changes
        .iter()
        .filter(|change| !follows(&change.key))
        .map(|change| format!("{}: needs a restart; put it back, or restart", change.key))
        .collect()
}

/// The differences between two configurations.
pub(super) fn changes(old: &FileConfig, new: &FileConfig) -> Vec<ChangedKey> {
    let (secret_old, secret_new) = (table(old), table(new));
    let (shown_old, shown_new) = (table(&old.masked()), table(&new.masked()));
    let mut keys: Vec<&String> = secret_old.keys().chain(secret_new.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let show =
        |table: &Table, key: &str| table.get(key).map(ToString::to_string).unwrap_or_default();
    keys.into_iter()
        .filter(|key| secret_old.get(*key) != secret_new.get(*key))
        .map(|key| ChangedKey {
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
    fn what_a_running_process_cannot_follow_blocks_a_reload() {
        let config = Config::from_toml("no-auth = true").unwrap();
        let blocked = |key: &str| {
            let change = ChangedKey {
                key: key.to_owned(),
                old: String::new(),
                new: String::new(),
            };
            !blocked(&[change], &config, false).is_empty()
        };
        for key in [
            "relay-threads",
            "proc-user",
            "no-udp",
            "handshake-rate",
            "cert",
        ] {
            assert!(blocked(key), "{key}");
        }
        for key in ["realm", "max-port", "listening-port", "restart"] {
            assert!(!blocked(key), "{key}");
        }
    }

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
