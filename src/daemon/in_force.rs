//! The configuration in force, key by key.

use serde::Serialize;

use crate::config::Loaded;
use crate::config::file::FileConfig;

/// A key and its value, as operators may see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Name of the key.
    pub key: String,
    /// Value in force as TOML, masked; `None`: absent.
    pub value: Option<String>,
    /// Default as TOML; `None`: absent.
    pub default: Option<String>,
    /// Whether the file or a flag gives it.
    pub given: bool,
    /// Whether it is given and is not the default.
    pub changed: bool,
    /// Whether a running process cannot follow a change.
    pub needs_restart: bool,
}

/// Every key that has a value or a default, by name.
pub(super) fn keys(loaded: &Loaded) -> Vec<Key> {
    // Every configuration that was loaded can be written.
    let defaults = FileConfig::defaults().to_table().unwrap_or_default();
    let values = loaded.resolved.masked().to_table().unwrap_or_default();
    let mut names: Vec<&String> = defaults.keys().chain(values.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let (value, default) = (values.get(name), defaults.get(name));
            let given = loaded.given.iter().any(|given| given == name);
            Key {
                key: name.clone(),
                value: value.map(ToString::to_string),
                default: default.map(ToString::to_string),
                given,
                changed: given && value != default,
                needs_restart: FileConfig::needs_restart(name),
            }
        })
        .collect()
}
