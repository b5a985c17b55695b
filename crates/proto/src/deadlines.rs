//! Ordered set of deadlines.

use std::collections::BTreeSet;
use std::time::Instant;

/// Subjects by the time at which each is due, the earliest first.
///
/// An ordered set and not a heap: a subject that ends early takes its deadline along, so that a
/// client who makes and deletes allocations leaves nothing behind.
#[derive(Debug)]
pub struct Deadlines<K> {
    set: BTreeSet<(Instant, K)>,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            set: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> Deadlines<K> {
    /// Has `subject` come up at `at`.
    pub fn arm(&mut self, at: Instant, subject: K) {
        self.set.insert((at, subject));
    }

    /// Forgets the deadline of `subject` at `at`, if it is armed.
    pub fn disarm(&mut self, at: Instant, subject: K) {
        self.set.remove(&(at, subject));
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Removes and returns one subject whose time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        (self.next()? <= now)
            .then(|| self.set.pop_first())?
            .map(|(_, subject)| subject)
    }

    /// Whether no deadline is armed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Number of armed deadlines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.set.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn due_ones_come_in_order_and_disarmed_ones_never() {
        let t0 = Instant::now();
        let at = |s| t0 + Duration::from_secs(s);
        let mut deadlines = Deadlines::default();
        deadlines.arm(at(30), "reservation");
        deadlines.arm(at(10), "first");
        deadlines.arm(at(20), "second");
        deadlines.disarm(at(20), "second");
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.pop_due(at(30)), Some("first"));
        assert_eq!(deadlines.pop_due(at(30)), Some("reservation"));
        assert_eq!(deadlines.len(), 0);
    }
}
