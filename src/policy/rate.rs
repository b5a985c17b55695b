//! Limits per second: bytes of an allocation, replies to a source network.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

use super::peer_filter::canonical_ip;

const NANOS: u64 = 1_000_000_000;

/// The last nanosecond to which two seconds can be added.
const LAST: u64 = u64::MAX - 2 * NANOS;

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

/// Slots of a [`PrefixLimiter`]: 64 KiB, whoever sends.
const SLOTS: usize = 4096;

/// Replies per second to one source network, /24 or /56, in constant memory.
///
/// A network has a slot of its own as long as one of its two is idle. Under a flood of more
/// networks than that, those that collide share a slot: no state, so none can be exhausted.
#[derive(Debug)]
pub struct PrefixLimiter {
    /// Nanoseconds that one reply uses up of a slot's second.
    interval: u64,
    started: Instant,
    /// Keyed, so that nobody can choose addresses that collide with a victim's.
    hasher: RandomState,
    slots: Box<[Slot]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The hash of the network that the slot was given to.
    owner: u64,
    /// When all that was taken is paid back, in nanoseconds since `started`.
    busy_until: u64,
}

impl PrefixLimiter {
    /// At most `per_second` replies a second to each network, all of them at once if need be.
    #[must_use]
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self {
            // A rate of zero refuses everything: no reply fits into the second.
            interval: NANOS.checked_div(per_second.into()).unwrap_or(NANOS + 1),
            started: now,
            hasher: RandomState::new(),
            slots: vec![Slot::default(); SLOTS].into_boxed_slice(),
        }
    }

    /// Whether a reply to `source` may be sent, and if so counts it.
    ///
    /// Loopback is exempt: nobody outside can pretend to send from there.
    #[must_use]
    pub fn allow(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = canonical_ip(source);
        if source.is_loopback() {
            return true;
        }
        let elapsed = now.saturating_duration_since(self.started).as_nanos();
        // 584 years after the start the clock stops, short of an overflow.
        let now = u64::try_from(elapsed).map_or(LAST, |nanos| nanos.min(LAST));
        let interval = self.interval;
        let hash = self.hasher.hash_one(network(source));
        let slot = self.slot(hash, now);
        let busy_until = slot.busy_until.max(now) + interval;
        let fits = busy_until <= now + NANOS;
        if fits {
            slot.busy_until = busy_until;
        }
        fits
    }

    /// The slot of the network with this hash: its own, or an idle one, or the less busy.
    fn slot(&mut self, hash: u64, now: u64) -> &mut Slot {
        let choices = [hash, hash >> 32].map(|h| h as usize % SLOTS);
        let owned = |i: &usize| self.slots[*i].owner == hash;
        let idle = |i: &usize| self.slots[*i].busy_until <= now;
        let [a, b] = choices;
        if let Some(i) = choices.into_iter().find(owned) {
            &mut self.slots[i]
        } else if let Some(i) = choices.into_iter().find(idle) {
            // An idle slot remembers nothing that its owner would miss.
            self.slots[i].owner = hash;
            &mut self.slots[i]
        } else if self.slots[a].busy_until <= self.slots[b].busy_until {
            &mut self.slots[a]
        } else {
            &mut self.slots[b]
        }
    }
}

/// The /24 or /56 of an address; the families do not overlap.
fn network(ip: IpAddr) -> (bool, u64) {
    match ip {
        IpAddr::V4(v4) => (false, u64::from(u32::from(v4) >> 8)),
        IpAddr::V6(v6) => (true, (u128::from(v6) >> 72) as u64),
    }
}

#[cfg(test)]
mod tests;
