//! Ports that EVEN-PORT with R = 1 set aside, for whoever brings the token (RFC 8656 §7.2).

use std::time::{Duration, Instant};

use super::ports::PortLease;
use super::shelf::Shelf;
use crate::policy::quota::QuotaGuard;
use crate::random::Random;

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

/// All reservations of the process.
#[derive(Debug, Default)]
pub struct Reservations(Shelf<Token, Reservation>);

impl Reservations {
    /// Sets a port aside and returns its token.
    pub fn put(&self, reservation: Reservation, random: &mut Random) -> Token {
        self.0.put(|| random.bytes(), reservation)
    }

    /// The reservation of `token`, once, unless it has expired.
    pub fn redeem(&self, token: Token, now: Instant) -> Option<Reservation> {
        let reservation = self.0.take(token);
        reservation.filter(|reservation| now < reservation.expires)
    }

    /// Frees the port of `token` if nobody has asked for it.
    pub fn expire(&self, token: Token) {
        drop(self.0.take(token));
    }

    /// How many ports are set aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
