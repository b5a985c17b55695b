//! One-time tokens: values that one request leaves for a later one, perhaps on another worker, to
//! take under a name that cannot be guessed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connections::ConnectionId;
use super::ports::PortLease;
use crate::auth::Identity;
use crate::policy::quota::QuotaGuard;
use crate::random::Random;

/// Values by token, for all workers of the process. Relayed packets never come here.
#[derive(Debug)]
struct OneTimeTokens<N, T> {
    by_token: Mutex<HashMap<N, T>>,
}

impl<N, T> Default for OneTimeTokens<N, T> {
    fn default() -> Self {
        Self {
            by_token: Mutex::default(),
        }
    }
}

impl<N: Copy + Eq + Hash, T> OneTimeTokens<N, T> {
    /// Keeps `value` under a token that `token` makes, and returns the token.
    fn put(&self, mut token: impl FnMut() -> N, value: T) -> N {
        let mut by_token = self.lock();
        loop {
            let token = token();
            if let Entry::Vacant(entry) = by_token.entry(token) {
                entry.insert(value);
                return token;
            }
        }
    }

    /// Takes the value of a token, once.
    fn take(&self, token: N) -> Option<T> {
        self.lock().remove(&token)
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<N, T>> {
        // Every critical section is one map operation: a panic elsewhere leaves nothing half done.
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time that a reserved port waits for its token; RFC 8656 §7.2 wants 30 s at the least.
pub(super) const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);

/// RESERVATION-TOKEN (RFC 8656 §18.10).
pub(super) type ReservationToken = [u8; 8];

/// A port that EVEN-PORT with R = 1 set aside, counted against the quota of its user.
#[derive(Debug)]
pub(super) struct Reservation {
    /// The port.
    pub(super) lease: PortLease,
    /// Share of the quotas that the port takes.
    pub(super) quota: QuotaGuard,
    /// End of the reservation.
    pub(super) expires: Instant,
}

/// Reserved ports of the process.
#[derive(Debug, Default)]
pub struct Reservations(OneTimeTokens<ReservationToken, Reservation>);

impl Reservations {
    /// Sets a port aside and returns its token.
    pub(super) fn put(&self, reservation: Reservation, random: &mut Random) -> ReservationToken {
        self.0.put(|| random.bytes(), reservation)
    }

    /// The reservation of `token`, once, unless it has expired.
    pub(super) fn redeem(&self, token: ReservationToken, now: Instant) -> Option<Reservation> {
        let reservation = self.0.take(token);
        reservation.filter(|reservation| now < reservation.expires)
    }

    /// Frees the port of `token` if nobody has asked for it.
    pub(super) fn expire(&self, token: ReservationToken) {
        drop(self.0.take(token));
    }

    /// Ports that are set aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no port is set aside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Peer connections of the process that wait for their client's data connection (RFC 6062 §5.4).
#[derive(Debug, Default)]
pub struct WaitingConnections(OneTimeTokens<ConnectionId, Waiting>);

#[derive(Debug)]
struct Waiting {
    worker: usize,
    owner: Identity,
}

/// Why a data connection gets no peer connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimError {
    /// No connection waits under the id, or it has its data connection.
    Unknown,
    /// The connection is another user's.
    Foreign,
}

impl WaitingConnections {
    /// Makes an id for a connection of `owner` on `worker`.
    pub(super) fn put(&self, worker: usize, owner: &Identity, random: &mut Random) -> ConnectionId {
        let id = || ConnectionId(u32::from_ne_bytes(random.bytes()));
        let owner = owner.clone();
        self.0.put(id, Waiting { worker, owner })
    }

    /// The user whose connection it is.
    pub(super) fn owner(&self, id: ConnectionId) -> Option<Identity> {
        self.0.lock().get(&id).map(|waiting| waiting.owner.clone())
    }

    /// Takes the id, once, and tells on which worker its connection is.
    pub(super) fn claim(&self, id: ConnectionId, claimant: &Identity) -> Result<usize, ClaimError> {
        match self.0.lock().entry(id) {
            Entry::Vacant(_) => Err(ClaimError::Unknown),
            Entry::Occupied(entry) if entry.get().owner != *claimant => Err(ClaimError::Foreign),
            Entry::Occupied(entry) => Ok(entry.remove().worker),
        }
    }

    /// Forgets an id that nobody has claimed.
    pub(super) fn remove(&self, id: ConnectionId) {
        drop(self.0.take(id));
    }

    /// Connections that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no connection waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
