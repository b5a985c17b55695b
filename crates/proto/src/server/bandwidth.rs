//! `max-bps`, `user-bps` and `bps-capacity`: bytes that an allocation, its user and all may carry
//! each way.
//!
//! Nothing here allocates or locks.

use std::time::Instant;

use super::allocation::Allocation;
use super::shared::Shared;
use crate::Now;
use crate::policy::rate::TokenBucket;

/// The buckets that an allocation takes from, and their rates.
fn buckets<'a>(
    shared: &'a Shared,
    allocation: &'a Allocation,
    to_peer: bool,
) -> impl Iterator<Item = (&'a TokenBucket, u64)> {
    let limits = &shared.limits;
    // An allocation that may not carry a packet takes nothing from others for it.
    let own = limits
        .max_bps
        .map(|rate| (allocation.bandwidth.of(to_peer), rate));
    let user = limits
        .user_bps
        .map(|rate| (allocation.holding.user().bandwidth.of(to_peer), rate));
    let total = limits
        .bps_capacity
        .map(|rate| (shared.total.bandwidth.of(to_peer), rate));
    own.into_iter().chain(user).chain(total)
}

/// Takes `bytes` from each bucket; where one has too little, from none, and the packet is to be
/// dropped.
#[must_use]
pub(super) fn take(
    shared: &Shared,
    now: Now,
    allocation: &Allocation,
    to_peer: bool,
    bytes: u64,
) -> bool {
    if !shared.limits.any_bps() {
        return true;
    }
    let at = shared.clock.ticks(now.mono);
    for (taken, (bucket, rate)) in buckets(shared, allocation, to_peer).enumerate() {
        if !bucket.take(at, rate, bytes) {
            for (before, rate) in buckets(shared, allocation, to_peer).take(taken) {
                before.give_back(rate, bytes);
            }
            return false;
        }
    }
    true
}

/// The time at which more bytes of a stream may pass; `None`: now.
pub(super) fn next_turn(
    shared: &Shared,
    now: Now,
    allocation: &Allocation,
    to_peer: bool,
) -> Option<Instant> {
    if !shared.limits.any_bps() {
        return None;
    }
    let at = shared.clock.ticks(now.mono);
    let turns =
        buckets(shared, allocation, to_peer).filter_map(|(bucket, rate)| bucket.turn(at, rate));
    let turn = turns.max()?;
    Some(now.mono + shared.clock.until(now.mono, turn))
}

/// Takes `bytes` that have passed already from each bucket, whether it has them or not.
pub(super) fn owe(shared: &Shared, now: Now, allocation: &Allocation, to_peer: bool, bytes: u64) {
    if !shared.limits.any_bps() {
        return;
    }
    let at = shared.clock.ticks(now.mono);
    for (bucket, rate) in buckets(shared, allocation, to_peer) {
        bucket.owe(at, rate, bytes);
    }
}
