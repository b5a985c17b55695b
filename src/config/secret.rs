//! Tables of the configuration that leave no secret behind in memory.

use std::ops::{Deref, DerefMut};

use toml::{Table, Value};
use zeroize::Zeroize as _;

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
