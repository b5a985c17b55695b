//! `max-bps`, `user-bps` and `bps-capacity`: what an allocation, its user and all may carry each way.
//!
//! Nothing here allocates or locks.

use std::time::Instant;

use super::allocation::Allocation;
use super::shared::Shared;
use crate::Now;
use crate::policy::rate::TokenBucket;

impl Shared {
    /// The buckets that an allocation takes from, and their rates.
    fn buckets<'a>(
        &'a self,
        allocation: &'a Allocation,
        to_peer: bool,
    ) -> impl Iterator<Item = (&'a TokenBucket, u64)> {
        let limits = &self.limits;
        // What one allocation cannot have takes nothing from others.
        let own = limits
            .max_bps
            .map(|rate| (allocation.bandwidth.of(to_peer), rate));
        let user = limits
            .user_bps
            .map(|rate| (allocation.holding.user().bandwidth.of(to_peer), rate));
        let total = limits
            .bps_capacity
            .map(|rate| (self.total.bandwidth.of(to_peer), rate));
        own.into_iter().chain(user).chain(total)
    }

    /// Takes `bytes` from each bucket; where one has too little, from none, and the packet is to be
    /// dropped.
    #[must_use]
    pub(super) fn carries(
        &self,
        now: Now,
        allocation: &Allocation,
        to_peer: bool,
        bytes: u64,
    ) -> bool {
        if !self.limits.any_bps() {
            return true;
        }
        let at = self.clock.ticks(now.mono);
        for (taken, (bucket, rate)) in self.buckets(allocation, to_peer).enumerate() {
            if !bucket.take(at, rate, bytes) {
                for (before, rate) in self.buckets(allocation, to_peer).take(taken) {
                    before.give_back(rate, bytes);
                }
                return false;
            }
        }
        true
    }

    /// `None` when more bytes of a stream may pass now; else when to ask again.
    #[must_use]
    pub(super) fn carries_again(
        &self,
        now: Now,
        allocation: &Allocation,
        to_peer: bool,
    ) -> Option<Instant> {
        if !self.limits.any_bps() {
            return None;
        }
        let at = self.clock.ticks(now.mono);
        let turns = self
            .buckets(allocation, to_peer)
            .filter_map(|(bucket, rate)| bucket.turn(at, rate));
        let turn = turns.max()?;
        Some(now.mono + self.clock.until(now.mono, turn))
    }

    /// Takes `bytes` of a stream, of which nothing can be dropped, from each bucket.
    pub(super) fn carried(&self, now: Now, allocation: &Allocation, to_peer: bool, bytes: u64) {
        if !self.limits.any_bps() {
            return;
        }
        let at = self.clock.ticks(now.mono);
        for (bucket, rate) in self.buckets(allocation, to_peer) {
            bucket.owe(at, rate, bytes);
        }
    }
}
