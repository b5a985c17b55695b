//! Events per second of each of any number of holders, in constant memory.

use std::hash::{BuildHasher as _, Hash};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::NANOS;
use crate::ip::canonical_ip;
use crate::random::HashKeys;

/// Slots of a [`RateTable`]: 64 KiB, however many holders there are.
pub(super) const SLOTS: usize = 4096;

/// The latest time, in nanoseconds since the start: 292 years, and as much again before it wraps.
const LAST: u64 = u64::MAX / 2;

/// Events per second of each holder; shared between the workers without a lock.
///
/// A holder has a slot of its own as long as one of its two is idle. With more holders than that,
/// those that collide share a slot: no state, so none can be exhausted. Two workers that give the
/// same idle slot away at the same moment have its holders share it too.
#[derive(Debug)]
pub struct RateTable {
    /// Nanoseconds that one event uses up of a slot's time.
    interval: u64,
    /// Nanoseconds that may be used up at once.
    burst: u64,
    started: Instant,
    hasher: HashKeys,
    pub(super) slots: Box<[Slot]>,
    shared: SharedSlots,
}

/// Number of events that were counted in a slot of another holder, apart from what every event reads.
#[derive(Debug, Default)]
#[repr(align(128))]
struct SharedSlots(AtomicU64);

/// State of a [`RateTable`], or the sum over several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableUsage {
    /// Slots in all.
    pub slots: usize,
    /// Slots whose holders have not paid back all that they took.
    pub busy: usize,
    /// Events since the table was made that were counted in a busy slot of another holder.
    pub shared: u64,
}

impl TableUsage {
    /// Adds another table.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            slots: self.slots + other.slots,
            busy: self.busy + other.busy,
            shared: self.shared + other.shared,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The hash of the holder that the slot was given to.
    pub(super) owner: AtomicU64,
    /// Time at which all that was taken is paid back, in nanoseconds since `started`.
    pub(super) busy_until: AtomicU64,
}

impl RateTable {
    /// At most `per_second` events a second of each holder, those of `burst` at once if need be.
    #[must_use]
    pub fn new(per_second: u32, burst: Duration, hasher: HashKeys, now: Instant) -> Self {
        let burst = u64::try_from(burst.as_nanos()).map_or(LAST, |nanos| nanos.min(LAST));
        Self {
            // A rate of zero refuses everything: no event fits into the burst.
            interval: NANOS.checked_div(per_second.into()).unwrap_or(burst + 1),
            burst,
            started: now,
            hasher,
            slots: std::iter::repeat_with(Slot::default).take(SLOTS).collect(),
            shared: SharedSlots::default(),
        }
    }

    /// How full the table is.
    #[must_use]
    pub fn usage(&self, now: Instant) -> TableUsage {
        let now = self.nanos(now);
        let busy = |slot: &&Slot| slot.busy_until.load(Ordering::Relaxed) > now;
        TableUsage {
            slots: self.slots.len(),
            busy: self.slots.iter().filter(busy).count(),
            shared: self.shared.0.load(Ordering::Relaxed),
        }
    }

    /// Whether an event of `holder` is within the rate, and if so counts it.
    #[must_use]
    pub fn allow(&self, now: Instant, holder: impl Hash) -> bool {
        let now = self.nanos(now);
        let next = |busy_until: u64| {
            let until = busy_until.max(now) + self.interval;
            (until <= now + self.burst).then_some(until)
        };
        let hash = self.hasher.hash_one(holder);
        let slot = self.slot(hash, now);
        if slot.owner.load(Ordering::Relaxed) != hash {
            self.shared.0.fetch_add(1, Ordering::Relaxed);
        }
        slot.busy_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .is_ok()
    }

    /// Counts `part` of `whole` of an event beside one that was allowed, within the rate or not:
    /// what is too much keeps later events waiting.
    pub fn charge(&self, now: Instant, holder: impl Hash, part: usize, whole: usize) {
        let now = self.nanos(now);
        let cost = u128::from(self.interval) * part as u128 / whole as u128;
        let cost = u64::try_from(cost).unwrap_or(LAST);
        let next = |busy_until: u64| Some(busy_until.max(now).saturating_add(cost).min(LAST));
        let slot = self.slot(self.hasher.hash_one(holder), now);
        let _ = slot
            .busy_until
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    fn nanos(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started).as_nanos();
        u64::try_from(elapsed).map_or(LAST, |nanos| nanos.min(LAST))
    }

    /// The slot of the holder with this hash: its own, or an idle one, or the less busy.
    fn slot(&self, hash: u64, now: u64) -> &Slot {
        let choices = [hash, hash >> 32].map(|h| &self.slots[h as usize % SLOTS]);
        let busy_until = |slot: &Slot| slot.busy_until.load(Ordering::Relaxed);
        let owned = |slot: &&Slot| slot.owner.load(Ordering::Relaxed) == hash;
        let idle = |slot: &&Slot| busy_until(slot) <= now;
        let [a, b] = choices;
        if let Some(slot) = choices.into_iter().find(owned) {
            slot
        } else if let Some(slot) = choices.into_iter().find(idle) {
            // An idle slot remembers nothing that its owner would miss.
            slot.owner.store(hash, Ordering::Relaxed);
            slot
        } else if busy_until(a) <= busy_until(b) {
            a
        } else {
            b
        }
    }
}

/// Replies per second to each source network, /24 or /56.
#[derive(Debug)]
pub struct PrefixLimiter(pub(super) RateTable);

impl PrefixLimiter {
    /// At most `per_second` replies a second to each network, all of them at once if need be.
    #[must_use]
    pub fn new(per_second: u32, hasher: HashKeys, now: Instant) -> Self {
        Self::with_burst(per_second, Duration::from_secs(1), hasher, now)
    }

    /// A limiter that lets the events of `burst` pass at once.
    #[must_use]
    pub fn with_burst(per_second: u32, burst: Duration, hasher: HashKeys, now: Instant) -> Self {
        Self(RateTable::new(per_second, burst, hasher, now))
    }

    /// How full the table of networks is.
    #[must_use]
    pub fn usage(&self, now: Instant) -> TableUsage {
        self.0.usage(now)
    }

    /// Whether a reply to `source` may be sent, and if so counts it.
    ///
    /// Loopback is exempt: nobody outside can pretend to send from there.
    #[must_use]
    pub fn allow(&self, now: Instant, source: IpAddr) -> bool {
        let source = canonical_ip(source);
        source.is_loopback() || self.0.allow(now, network(source))
    }

    /// Counts what a reply that was allowed is longer than `ordinary` bytes, so that a network is
    /// sent so many bytes a second and not so many replies, however long they are.
    pub fn charge_length(&self, now: Instant, source: IpAddr, len: usize, ordinary: usize) {
        let source = canonical_ip(source);
        let surplus = len.saturating_sub(ordinary);
        if surplus > 0 && !source.is_loopback() {
            self.0.charge(now, network(source), surplus, ordinary);
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
