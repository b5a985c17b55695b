//! Limits per second: bytes of an allocation, a user and all; replies to a source network; requests
//! of a user.

mod table;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use self::table::{PrefixLimiter, RateTable, TableUsage};

const NANOS: u64 = 1_000_000_000;

/// Ticks in a nanosecond: what one byte costs at 10 Gbit/s is no whole number of nanoseconds.
const PER_NANO: u64 = 16;

/// Content of a full bucket: one second's worth.
const SECOND: u64 = NANOS * PER_NANO;

/// The latest time: 18 years after the start, and as much again before it wraps.
const LAST: u64 = u64::MAX / 2;

/// Bytes that one turn of a stream is taken to carry.
const TURN: u64 = 16 << 10;

/// Turns that are given out ahead; whoever asks beyond that shares the last.
const TURNS_AHEAD: u64 = 4096;

/// A time as atomics hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(u64);

impl Ticks {
    /// The first.
    pub const START: Self = Self(0);
}

/// Start from which ticks are counted; one for all workers.
#[derive(Debug, Default)]
pub struct Clock(OnceLock<Instant>);

impl Clock {
    /// Counts from `now` on, unless it counts already.
    pub fn begin(&self, now: Instant) {
        let _ = self.0.get_or_init(|| now);
    }

    /// The ticks at `now`.
    #[must_use]
    pub fn ticks(&self, now: Instant) -> Ticks {
        let start = *self.0.get_or_init(|| now);
        let nanos = now.saturating_duration_since(start).as_nanos();
        let ticks = u64::try_from(nanos * u128::from(PER_NANO));
        Ticks(ticks.map_or(LAST, |ticks| ticks.min(LAST)))
    }

    /// Time from `now` until these ticks, rounded up.
    #[must_use]
    pub fn until(&self, now: Instant, Ticks(at): Ticks) -> Duration {
        let Ticks(now) = self.ticks(now);
        Duration::from_nanos(at.saturating_sub(now).div_ceil(PER_NANO))
    }
}

/// Bytes per second with a burst of one second's worth, shared between workers without a lock.
///
/// The state is a time and no bytes, and every call tells the rate: another rate holds at once.
#[derive(Debug, Default)]
pub struct TokenBucket {
    /// Time at which all that was taken is paid back.
    paid_until: AtomicU64,
    /// The first turn that was not given out.
    next_turn: AtomicU64,
}

impl TokenBucket {
    /// Takes `bytes` if they are there; otherwise takes nothing, and the packet is to be dropped.
    #[must_use]
    pub fn take(&self, Ticks(now): Ticks, rate: u64, bytes: u64) -> bool {
        let cost = cost(rate, bytes);
        let next = |paid_until: u64| {
            let until = paid_until.max(now).saturating_add(cost);
            (until <= now + SECOND).then_some(until)
        };
        self.paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    /// Takes back a [`Self::take`] of the same rate.
    pub fn give_back(&self, rate: u64, bytes: u64) {
        // Exact whatever others took since: a time that is past is as good as any other.
        self.paid_until
            .fetch_sub(cost(rate, bytes), Ordering::Relaxed);
    }

    /// Takes `bytes` whether they are there or not: for a stream, of which nothing can be dropped
    /// and which waits instead until [`Self::turn`].
    pub fn owe(&self, Ticks(now): Ticks, rate: u64, bytes: u64) {
        let cost = cost(rate, bytes);
        let next = |paid_until: u64| Some(paid_until.max(now).saturating_add(cost).min(LAST));
        let _ = self
            .paid_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// `None` when nothing is owed and something is there; else a turn: when to ask again.
    ///
    /// Streams that wait get one turn after the other, so that a refill does not wake them all.
    #[must_use]
    pub fn turn(&self, Ticks(now): Ticks, rate: u64) -> Option<Ticks> {
        let filled = self.paid_until.load(Ordering::Relaxed);
        if filled < now + SECOND {
            return None;
        }
        let first = filled - SECOND + 1;
        let length = cost(rate, TURN);
        let last = first.saturating_add(length.saturating_mul(TURNS_AHEAD));
        let mut turn = first;
        let next = |next_turn: u64| {
            turn = next_turn.clamp(first, last);
            Some(turn.saturating_add(length).min(LAST))
        };
        let _ = self
            .next_turn
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Some(Ticks(turn))
    }

    /// Whether it is as full as can be.
    #[must_use]
    pub fn is_full(&self, Ticks(now): Ticks) -> bool {
        self.paid_until.load(Ordering::Relaxed) <= now
    }
}

/// Cost of `bytes` at a rate, in ticks; less than one is let go, so that a second's worth is had
/// in parts too.
fn cost(rate: u64, bytes: u64) -> u64 {
    let ticks = u128::from(bytes) * u128::from(SECOND) / u128::from(rate.max(1));
    u64::try_from(ticks).map_or(LAST, |ticks| ticks.min(LAST))
}

#[cfg(test)]
mod tests;
