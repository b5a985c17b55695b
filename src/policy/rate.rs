//! Limits per second: bytes of an allocation, replies to a source network, requests of a user.

mod table;

use std::time::Instant;

pub use self::table::{PrefixLimiter, RateTable};

const NANOS: u64 = 1_000_000_000;

/// Bytes per second with a burst of one second's worth (`max-bps`).
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate: u64,
    /// Bytes left, times `NANOS`: a nanosecond then adds exactly `rate`, without rounding. Below 0:
    /// bytes that are owed.
    level: i128,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    #[must_use]
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self {
            rate: bytes_per_second,
            level: i128::from(bytes_per_second) * i128::from(NANOS),
            filled_at: now,
        }
    }

    /// Takes `bytes` if they are there; otherwise takes nothing, and the packet is to be dropped.
    #[must_use]
    pub fn take(&mut self, now: Instant, bytes: u64) -> bool {
        self.fill(now);
        let cost = cost(bytes);
        let there = cost <= self.level;
        if there {
            self.level -= cost;
        }
        there
    }

    /// Whether nothing is owed and something is there.
    #[must_use]
    pub fn has_some(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.level > 0
    }

    /// Takes `bytes` whether they are there or not: for a stream, of which nothing can be dropped
    /// and which waits instead until [`Self::has_some`].
    pub fn owe(&mut self, bytes: u64) {
        self.level = self.level.saturating_sub(cost(bytes));
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_nanos();
        let full = cost(self.rate);
        // Enough time to fill it from anywhere fills it.
        let added = i128::try_from(elapsed)
            .ok()
            .and_then(|elapsed| elapsed.checked_mul(i128::from(self.rate)));
        self.level = added.map_or(full, |added| self.level.saturating_add(added).min(full));
        self.filled_at = self.filled_at.max(now);
    }
}

fn cost(bytes: u64) -> i128 {
    i128::from(bytes) * i128::from(NANOS)
}

#[cfg(test)]
mod tests;
