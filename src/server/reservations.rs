//! Ports that EVEN-PORT with R = 1 set aside, for whoever brings the token (RFC 8656 §7.2).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ports::PortLease;
use crate::policy::quota::QuotaGuard;
use crate::random;

/// How long a reservation waits for its token; the RFC wants 30 s at the least.
pub const LIFETIME: Duration = Duration::from_secs(30);

/// What proves a reservation.
pub type Token = [u8; 8];

/// A port set aside, counted against the quota of the user who asked for it.
#[derive(Debug)]
pub struct Reservation {
    /// The port.
    pub lease: PortLease,
    /// Its place in the quotas.
    pub quota: QuotaGuard,
    /// From then on it is void.
    pub expires: Instant,
}

/// All reservations of the process; used by requests only, never by relayed packets.
#[derive(Debug, Default)]
pub struct Reservations {
    by_token: Mutex<HashMap<Token, Reservation>>,
}

impl Reservations {
    /// Sets a port aside and returns its token.
    pub fn put(&self, reservation: Reservation) -> Token {
        let token = random::bytes();
        self.lock().insert(token, reservation);
        token
    }

    /// The reservation of `token`, once, unless it has expired.
    pub fn redeem(&self, token: Token, now: Instant) -> Option<Reservation> {
        self.lock()
            .remove(&token)
            .filter(|reservation| now < reservation.expires)
    }

    /// Frees the port of `token` if nobody has asked for it.
    pub fn expire(&self, token: Token) {
        let expired = self.lock().remove(&token);
        drop(expired);
    }

    /// How many ports are set aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Token, Reservation>> {
        // Every critical section is one map operation: a panic elsewhere leaves nothing half done.
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
