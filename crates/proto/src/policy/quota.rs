//! Quotas: how much one holder may have, and all holders together.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Quota that is used up (RFC 8656 §7.2: 486).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// The quota of one holder: `user-quota`.
    Holder,
    /// The quota of all together: `total-quota`.
    Total,
}

/// Counts what holders have, by their names; shared between the workers.
#[derive(Debug)]
pub struct Quota<K: Eq + Hash = Arc<str>> {
    held: Mutex<Held<K>>,
}

#[derive(Debug)]
struct Held<K> {
    holder_limit: u32,
    total_limit: u32,
    total: u32,
    /// Knows nobody who has none, so that it does not grow with the holders ever seen.
    holders: HashMap<K, u32>,
}

impl<K: Clone + Eq + Hash> Quota<K> {
    /// Counters under these limits; `None` is no limit.
    #[must_use]
    pub fn new(holder: Option<u32>, total: Option<u32>) -> Self {
        Self {
            held: Mutex::new(Held {
                holder_limit: holder.unwrap_or(u32::MAX),
                total_limit: total.unwrap_or(u32::MAX),
                total: 0,
                holders: HashMap::new(),
            }),
        }
    }

    /// Other limits from now on; what is held stays, even beyond them.
    pub fn set_limits(&self, holder: Option<u32>, total: Option<u32>) {
        let mut held = self.lock();
        held.holder_limit = holder.unwrap_or(u32::MAX);
        held.total_limit = total.unwrap_or(u32::MAX);
    }

    /// Counts one more of `holder` for as long as the guard lives (L9).
    ///
    /// # Errors
    /// The quota that is used up.
    pub fn acquire(self: &Arc<Self>, holder: &K) -> Result<QuotaGuard<K>, QuotaError> {
        let mut held = self.lock();
        let of_holder = held.holders.get(holder).copied().unwrap_or(0);
        if of_holder >= held.holder_limit {
            return Err(QuotaError::Holder);
        }
        if held.total >= held.total_limit {
            return Err(QuotaError::Total);
        }
        held.total += 1;
        held.holders.insert(holder.clone(), of_holder + 1);
        Ok(QuotaGuard {
            quota: Arc::clone(self),
            holder: holder.clone(),
        })
    }

    #[cfg(test)]
    pub(super) fn total(&self) -> u32 {
        self.lock().total
    }
}

impl<K: Eq + Hash> Quota<K> {
    fn release(&self, holder: &K) {
        let mut held = self.lock();
        held.total = held.total.saturating_sub(1);
        if let Some(count) = held.holders.get_mut(holder) {
            *count -= 1;
            if *count == 0 {
                held.holders.remove(holder);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held<K>> {
        // Another worker's panic leaves plain counters behind, and service must go on.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the quota; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "the place is given back as soon as this is dropped"]
pub struct QuotaGuard<K: Eq + Hash = Arc<str>> {
    quota: Arc<Quota<K>>,
    holder: K,
}

impl<K: Eq + Hash> Drop for QuotaGuard<K> {
    fn drop(&mut self) {
        self.quota.release(&self.holder);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quota(user: Option<u32>, total: Option<u32>) -> Arc<Quota> {
        Arc::new(Quota::new(user, total))
    }

    #[test]
    fn l9_a_user_gets_no_more_than_the_user_quota() {
        let q = quota(Some(2), None);
        let (alice, bob) = (Arc::from("alice"), Arc::from("bob"));
        let first = q.acquire(&alice).unwrap();
        let _second = q.acquire(&alice).unwrap();
        assert_eq!(q.acquire(&alice).unwrap_err(), QuotaError::Holder);
        let _other = q.acquire(&bob).unwrap();
        drop(first);
        let _again = q.acquire(&alice).unwrap();
        assert_eq!(q.acquire(&alice).unwrap_err(), QuotaError::Holder);
    }

    #[test]
    fn l9_new_limits_hold_from_the_next_allocation_on() {
        let q = quota(Some(2), None);
        let alice = Arc::from("alice");
        let guards = [q.acquire(&alice).unwrap(), q.acquire(&alice).unwrap()];
        q.set_limits(Some(1), None);
        assert_eq!(q.acquire(&alice).unwrap_err(), QuotaError::Holder);
        drop(guards);
        let _one = q.acquire(&alice).unwrap();
        assert_eq!(q.acquire(&alice).unwrap_err(), QuotaError::Holder);
        q.set_limits(None, Some(2));
        let _two = q.acquire(&alice).unwrap();
        assert_eq!(q.acquire(&alice).unwrap_err(), QuotaError::Total);
    }

    #[test]
    fn l9_all_together_get_no_more_than_the_total_quota() {
        let q = quota(None, Some(2));
        let _a = q.acquire(&Arc::from("a")).unwrap();
        let b = q.acquire(&Arc::from("b")).unwrap();
        assert_eq!(q.acquire(&Arc::from("c")).unwrap_err(), QuotaError::Total);
        drop(b);
        let _c = q.acquire(&Arc::from("c")).unwrap();
    }

    #[test]
    fn a_refusal_counts_nothing() {
        let q = quota(Some(1), Some(1));
        let guard = q.acquire(&Arc::from("a")).unwrap();
        for _ in 0..3 {
            assert_eq!(q.acquire(&Arc::from("a")).unwrap_err(), QuotaError::Holder);
            assert_eq!(q.acquire(&Arc::from("b")).unwrap_err(), QuotaError::Total);
        }
        drop(guard);
        assert_eq!(q.total(), 0);
        assert!(q.lock().holders.is_empty());
    }

    #[test]
    fn a_poisoned_lock_goes_on_counting() {
        let q = quota(Some(1), None);
        let clone = Arc::clone(&q);
        let panicked = std::thread::spawn(move || {
            let _held = clone.held.lock().unwrap();
            panic!("while holding the lock");
        });
        assert!(panicked.join().is_err());
        assert!(q.held.is_poisoned());
        let guard = q.acquire(&Arc::from("a")).unwrap();
        assert!(q.acquire(&Arc::from("a")).is_err());
        drop(guard);
        assert!(q.lock().holders.is_empty());
    }

    #[test]
    fn workers_share_the_count() {
        let q = quota(None, Some(100));
        let granted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|n| {
                    let q = &q;
                    scope.spawn(move || {
                        let id: Arc<str> = format!("user{n}").into();
                        (0..50)
                            .filter_map(|_| q.acquire(&id).ok())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            let guards: Vec<_> = workers.into_iter().map(|w| w.join().unwrap()).collect();
            guards.iter().map(Vec::len).sum()
        });
        assert_eq!(granted, 100);
        assert_eq!(q.total(), 0);
    }

    proptest! {
        /// The counters always equal the guards alive, and nothing is left when all are gone.
        #[test]
        fn counters_equal_the_guards_alive(
            steps in prop::collection::vec((0u8..3, any::<bool>()), 0..100),
        ) {
            let q = quota(Some(3), Some(5));
            let ids: Vec<Arc<str>> = ["a", "b", "c"].into_iter().map(Arc::from).collect();
            let mut alive: Vec<Vec<QuotaGuard>> = vec![Vec::new(), Vec::new(), Vec::new()];
            for (user, take) in steps {
                let user = usize::from(user);
                let all: usize = alive.iter().map(Vec::len).sum();
                if take {
                    let result = q.acquire(&ids[user]);
                    prop_assert_eq!(result.is_ok(), alive[user].len() < 3 && all < 5);
                    alive[user].extend(result);
                } else {
                    alive[user].pop();
                }
                for (id, guards) in ids.iter().zip(&alive) {
                    let counted = q.lock().holders.get(id).copied();
                    let expected = Some(guards.len()).filter(|n| *n > 0);
                    prop_assert_eq!(counted.map(|n| n as usize), expected);
                }
            }
            drop(alive);
            prop_assert_eq!(q.total(), 0);
            prop_assert!(q.lock().holders.is_empty());
        }
    }
}
