//! Another configuration for a server that runs: the keys that it follows, and those that wait for a restart.

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

/// Outcome of a reload that was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that have changed.
    pub changes: Vec<ChangedKey>,
    /// Keys whose new values are in force from the next restart on.
    pub pending: Vec<ChangedKey>,
    /// Why the certificates' files cannot be used, so that the certificates of before are in use.
    pub certificates_unusable: Option<String>,
}

/// Whether a running process can follow a change of `key` to its value in `new`.
pub(super) fn follows(key: &str, running: &Config, new: &Config, serves_tls: bool) -> bool {
    match key {
        // TLS and DTLS cannot begin or end.
        "cert" | "pkey" | "pkey-pwd" | "pkey-pwd-file" => serves_tls != new.tls.files.is_empty(),
        key if NEED_RESTART_WITH_RFC5780.contains(&key) => running.listen.alternate_ports.is_none(),
        key => !FileConfig::needs_restart(key),
    }
}

/// Whether the two look for the same public addresses in the same places.
pub(super) fn looks_alike(one: &Config, other: &Config) -> bool {
    one.public_address == other.public_address
        && one.server.relay.ips == other.server.relay.ips
        && one.server.relay.external == other.server.relay.external
        && one.listen.ips == other.listen.ips
}

/// The differences between two configurations.
pub(super) fn changes(old: &FileConfig, new: &FileConfig) -> Vec<ChangedKey> {
    let (shown_old, shown_new) = (table(&old.masked()), table(&new.masked()));
    let show =
        |table: &Table, key: &str| table.get(key).map(ToString::to_string).unwrap_or_default();
    let keys = old.differing(new).into_iter();
    keys.map(|key| ChangedKey {
        old: show(&shown_old, &key),
        new: show(&shown_new, &key),
        key,
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
    fn keys_that_a_running_process_cannot_follow() {
        let config = Config::from_toml("no-auth = true").unwrap();
        let follows = |key: &str, serves_tls| follows(key, &config, &config, serves_tls);
        for key in ["relay-threads", "proc-user", "no-udp", "handshake-rate"] {
            assert!(!follows(key, false), "{key}");
        }
        for key in ["realm", "max-port", "listening-port", "restart"] {
            assert!(follows(key, false), "{key}");
        }
        // It has no certificate, and there was one.
        assert!(!follows("cert", true));
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
