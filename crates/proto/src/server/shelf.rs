//! What one request leaves for a later one to take, by a name that cannot be guessed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A table for all workers of the process; used by requests only, never by relayed packets.
#[derive(Debug)]
pub(super) struct Shelf<N, T> {
    by_name: Mutex<HashMap<N, T>>,
}

impl<N, T> Default for Shelf<N, T> {
    fn default() -> Self {
        Self {
            by_name: Mutex::default(),
        }
    }
}

impl<N: Copy + Eq + Hash, T> Shelf<N, T> {
    /// Leaves `thing` under a name that `name` makes, and returns that.
    pub(super) fn put(&self, mut name: impl FnMut() -> N, thing: T) -> N {
        let mut by_name = self.lock();
        loop {
            let name = name();
            if let Entry::Vacant(entry) = by_name.entry(name) {
                entry.insert(thing);
                return name;
            }
        }
    }

    /// Takes what is there, once.
    pub(super) fn take(&self, name: N) -> Option<T> {
        self.lock().remove(&name)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// The table, for what the others do not do.
    pub(super) fn lock(&self) -> MutexGuard<'_, HashMap<N, T>> {
        // Every critical section is one map operation: a panic elsewhere leaves nothing half done.
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
