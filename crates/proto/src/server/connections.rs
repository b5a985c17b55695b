//! The ids of peer connections (RFC 6062): a client's data connection may come to any worker.

use std::collections::hash_map::Entry;

use super::shelf::Shelf;
use crate::auth::Identity;
use crate::random::Random;

/// Names a connection between a relayed transport address and a peer; the CONNECTION-ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// Peer connections of the process for which no data connection has come.
#[derive(Debug, Default)]
pub struct Connections(Shelf<ConnectionId, Pending>);

#[derive(Debug)]
struct Pending {
    worker: usize,
    owner: Identity,
}

/// Why a data connection gets no peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unclaimed {
    /// There is none, or it has its data connection.
    Unknown,
    /// It is another user's.
    Foreign,
}

impl Connections {
    /// Makes an id for a connection of `owner` on `worker`.
    pub fn put(&self, worker: usize, owner: &Identity, random: &mut Random) -> ConnectionId {
        let id = || ConnectionId(u32::from_ne_bytes(random.bytes()));
        let owner = owner.clone();
        self.0.put(id, Pending { worker, owner })
    }

    /// Whose connection it is.
    #[must_use]
    pub fn owner(&self, id: ConnectionId) -> Option<Identity> {
        self.0.lock().get(&id).map(|pending| pending.owner.clone())
    }

    /// Takes the id, once, and tells on which worker its connection is.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn claim(&self, id: ConnectionId, claimant: &Identity) -> Result<usize, Unclaimed> {
        match self.0.lock().entry(id) {
            Entry::Vacant(_) => Err(Unclaimed::Unknown),
            Entry::Occupied(entry) if entry.get().owner != *claimant => Err(Unclaimed::Foreign),
            Entry::Occupied(entry) => Ok(entry.remove().worker),
        }
    }

    /// Forgets an id that nobody has claimed.
    pub fn remove(&self, id: ConnectionId) {
        drop(self.0.take(id));
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
