//! Requests that wait until their users have been looked up.
//!
//! A request whose user is not found in the settings is parked, and the driver is asked for the
//! user's key. Each transaction waits once, no more than [`Lookup::pending`] wait at a time, and
//! none longer than [`Lookup::timeout`]. Only a nonce that was sent to the client has a request
//! parked, so that a forged address takes no place; and a source network has no more than its share
//! of the places ([`Lookup::per_source`]) and of the look-ups ([`Lookup::rate`]).
//!
//! A request that is not served for want of an answer is dropped, and not refused: a 401 is the last
//! word on a password (RFC 8489 §9.2.5), while a client that hears nothing sends the request
//! again, and is looked up again, or gives this attempt up and may make another.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use super::five_tuple::{ClientSocket, FiveTuple, Path};
use crate::auth::Lookup;
use crate::auth::key::Key;
use crate::ip::canonical_ip;
use crate::policy::network::{Network, networks, share};
use crate::random::HashKeys;
use crate::wire::numbers::TransactionId;

/// The longest request that is parked, in bytes: the longest USERNAME, REALM and NONCE fit, and
/// the rest of any request that begins an allocation.
pub(super) const MAX_REQUEST: usize = 2048;

/// Names a look-up between the server and its driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub u64);

/// Outcome of a look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UserAnswer {
    /// The user exists and has this key.
    Found(Key),
    /// There is no such user.
    Unknown,
    /// Nobody knows: what keeps the users cannot be asked.
    Failed,
}

/// Request whose user is being looked up.
pub(super) struct Parked {
    pub(super) path: Path,
    /// The message as it came.
    pub(super) bytes: Box<[u8]>,
    transaction: TransactionId,
    /// Deadline of the look-up.
    pub(super) until: Instant,
}

/// Parked requests of one server.
pub(super) struct Lookups {
    parked: BTreeMap<LookupId, Parked>,
    by_transaction: HashMap<(FiveTuple, TransactionId), LookupId, HashKeys>,
    /// Requests of each source network.
    by_network: HashMap<Network, u32, HashKeys>,
    last: LookupId,
}

impl Lookups {
    pub(super) fn new(hash_keys: HashKeys) -> Self {
        Self {
            parked: BTreeMap::new(),
            by_transaction: HashMap::with_hasher(hash_keys),
            by_network: HashMap::with_hasher(hash_keys),
            last: LookupId(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    /// The look-ups that are under way, the oldest first.
    pub(super) fn ids(&self) -> Vec<LookupId> {
        self.parked.keys().copied().collect()
    }

    /// The look-ups for the client of a path.
    pub(super) fn of_client(&self, path: &Path) -> Vec<LookupId> {
        let by = (path.tuple, path.socket);
        let of_client = self.parked.iter();
        of_client
            .filter(|(_, parked)| (parked.path.tuple, parked.path.socket) == by)
            .map(|(id, _)| *id)
            .collect()
    }

    pub(super) fn uses(&self, socket: ClientSocket) -> bool {
        self.parked.values().any(|p| p.path.socket == socket)
    }

    /// Whether a request of this transaction is parked.
    pub(super) fn has(&self, path: &Path, transaction: TransactionId) -> bool {
        self.by_transaction.contains_key(&(path.tuple, transaction))
    }

    /// Whether one more request of `source` may be parked.
    pub(super) fn has_room(&self, bounds: &Lookup, source: IpAddr) -> bool {
        let has_share = |network: Network| {
            let parked = self.by_network.get(&network);
            parked.is_none_or(|parked| *parked < share(network, bounds.per_source))
        };
        self.parked.len() < bounds.pending && networks(canonical_ip(source)).all(has_share)
    }

    /// Parks a request whose transaction is not parked yet.
    pub(super) fn park(
        &mut self,
        path: &Path,
        transaction: TransactionId,
        bytes: &[u8],
        until: Instant,
    ) -> LookupId {
        let id = LookupId(self.last.0 + 1);
        let parked = Parked {
            path: *path,
            bytes: bytes.into(),
            transaction,
            until,
        };
        self.last = id;
        self.parked.insert(id, parked);
        self.by_transaction.insert((path.tuple, transaction), id);
        for network in networks(canonical_ip(path.tuple.client.ip())) {
            *self.by_network.entry(network).or_default() += 1;
        }
        id
    }

    /// Takes a request out, once.
    pub(super) fn take(&mut self, id: LookupId) -> Option<Parked> {
        let parked = self.parked.remove(&id)?;
        let key = (parked.path.tuple, parked.transaction);
        self.by_transaction.remove(&key);
        for network in networks(canonical_ip(parked.path.tuple.client.ip())) {
            if let Entry::Occupied(mut count) = self.by_network.entry(network) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        Some(parked)
    }
}

#[cfg(test)]
mod tests;
