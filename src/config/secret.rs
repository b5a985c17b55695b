//! Secret texts, which are not shown and are overwritten in memory.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use toml::{Table, Value};
use zeroize::{Zeroize, Zeroizing};

/// A text that no log line, `Debug` output or `turnd check` shows. Its memory is overwritten when it is dropped.
///
/// Serialised in clear, for the configuration file.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself, for computing with it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.reveal())
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(Self::new)
    }
}

/// A table of the configuration with the secrets in clear. Every text in it is overwritten when it is dropped.
#[derive(Default)]
pub(crate) struct ClearTable(Table);

impl ClearTable {
    /// Puts `value` in, and overwrites the one that was there.
    pub(super) fn put(&mut self, key: String, value: Value) {
        if let Some(mut old) = self.0.insert(key, value) {
            wipe(&mut old);
        }
    }
}

impl From<Table> for ClearTable {
    fn from(table: Table) -> Self {
        Self(table)
    }
}

impl Deref for ClearTable {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0
    }
}

impl DerefMut for ClearTable {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.0
    }
}

impl Drop for ClearTable {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(|(_, value)| wipe(value));
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Table(table) => table.iter_mut().for_each(|(_, value)| wipe(value)),
        _ => {}
    }
}
