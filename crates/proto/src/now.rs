//! The two clocks that enter the protocol code together.

use std::time::{Duration, Instant};

/// A reading of both clocks, taken once per batch of input by whoever drives the server.
///
/// Lifetimes run on `mono`, so a stepped wall clock ends nothing early; REST credentials and
/// nonces run on `unix`, because they mean calendar time on other machines too.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic clock.
    pub mono: Instant,
    /// Seconds since the Unix epoch.
    pub unix: u64,
}

impl Now {
    /// A reading `by` later, on both clocks; for virtual time in tests.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self {
            mono: self.mono + by,
            unix: self.unix + by.as_secs(),
        }
    }
}
