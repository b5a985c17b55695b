//! The allocations of one worker, by relay and by five-tuple.

use std::collections::HashMap;

use slab::Slab;

use super::allocation::Allocation;
use super::five_tuple::{FiveTuple, Path};
use super::output::RelayId;
use crate::random::HashKeys;

/// All allocations, by relay and by five-tuple in O(1); the hash is keyed, because clients choose
/// their ports.
#[derive(Debug)]
pub(super) struct Allocations {
    slab: Slab<Allocation>,
    by_tuple: HashMap<FiveTuple, RelayId, HashKeys>,
}

impl Allocations {
    /// No allocations.
    #[must_use]
    pub(super) fn new(hash_keys: HashKeys) -> Self {
        Self {
            slab: Slab::new(),
            by_tuple: HashMap::with_hasher(hash_keys),
        }
    }

    /// Adds what `make` makes of the name it gets.
    pub(super) fn insert(
        &mut self,
        tuple: FiveTuple,
        make: impl FnOnce(RelayId) -> Allocation,
    ) -> RelayId {
        let entry = self.slab.vacant_entry();
        // Relay ports are 16-bit and addresses few: the key cannot outgrow 32 bits.
        let relay = RelayId(entry.key() as u32);
        entry.insert(make(relay));
        self.by_tuple.insert(tuple, relay);
        relay
    }

    /// Removes an allocation from both indices.
    pub(super) fn remove(&mut self, relay: RelayId) -> Option<Allocation> {
        let allocation = self.slab.try_remove(relay.0 as usize)?;
        self.by_tuple.remove(&allocation.path.tuple);
        Some(allocation)
    }

    /// The allocation of a relay.
    #[must_use]
    pub(super) fn get_mut(&mut self, relay: RelayId) -> Option<&mut Allocation> {
        self.slab.get_mut(relay.0 as usize)
    }

    /// The allocation on a five-tuple.
    #[must_use]
    pub(super) fn by_tuple(&self, tuple: &FiveTuple) -> Option<&Allocation> {
        self.slab.get(self.by_tuple.get(tuple)?.0 as usize)
    }

    /// The allocation on a five-tuple, to change it.
    #[must_use]
    pub(super) fn by_tuple_mut(&mut self, tuple: &FiveTuple) -> Option<&mut Allocation> {
        self.slab.get_mut(self.by_tuple.get(tuple)?.0 as usize)
    }

    /// The allocation whose client comes by `path`.
    #[must_use]
    pub(super) fn by_path(&self, path: &Path) -> Option<&Allocation> {
        self.by_tuple(&path.tuple)
            .filter(|allocation| allocation.path.socket == path.socket)
    }

    /// The allocation of the client whose way to the server is `path`. A proxy says which client a
    /// datagram is from, so data by any other way than the client's last signed request is nobody's.
    #[must_use]
    pub(super) fn by_path_mut(&mut self, path: &Path) -> Option<&mut Allocation> {
        self.by_tuple_mut(&path.tuple)
            .filter(|allocation| allocation.path.socket == path.socket)
    }

    /// Every allocation.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Allocation> + Clone {
        self.slab.iter().map(|(_, allocation)| allocation)
    }

    /// Every relay.
    #[must_use]
    pub(super) fn relays(&self) -> Vec<RelayId> {
        self.slab
            .iter()
            .map(|(key, _)| RelayId(key as u32))
            .collect()
    }

    /// Number of allocations.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }
}
