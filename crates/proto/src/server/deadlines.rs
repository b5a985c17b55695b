//! Deadlines in one ordered set.

use std::collections::BTreeSet;
use std::time::Instant;

use super::connections::ConnectionId;

/// Subject of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The allocation of this relay: itself, its permissions and channels.
    Allocation(u32),
    /// A peer connection that is not there, or has no data connection.
    Connection(ConnectionId),
    /// A reserved port that nobody may have asked for.
    Reservation([u8; 8]),
}

/// One deadline for each subject, the earliest first.
///
/// An ordered set and not a heap: what ends early takes its deadline along, so that a client who
/// makes and deletes allocations leaves nothing behind.
#[derive(Debug, Default)]
pub struct Deadlines {
    set: BTreeSet<(Instant, Subject)>,
}

impl Deadlines {
    /// Has `subject` come up at `at`.
    pub fn arm(&mut self, at: Instant, subject: Subject) {
        self.set.insert((at, subject));
    }

    /// Takes back what [`Self::arm`] was told.
    pub fn disarm(&mut self, at: Instant, subject: Subject) {
        self.set.remove(&(at, subject));
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.set.first().map(|(at, _)| *at)
    }

    /// Removes and returns one subject whose time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<Subject> {
        (self.next()? <= now)
            .then(|| self.set.pop_first())?
            .map(|(_, subject)| subject)
    }

    /// How many deadlines are armed.
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
        deadlines.arm(at(30), Subject::Reservation([1; 8]));
        deadlines.arm(at(10), Subject::Allocation(1));
        deadlines.arm(at(20), Subject::Allocation(2));
        deadlines.disarm(at(20), Subject::Allocation(2));
        assert_eq!(deadlines.next(), Some(at(10)));
        assert_eq!(deadlines.pop_due(at(9)), None);
        assert_eq!(deadlines.pop_due(at(30)), Some(Subject::Allocation(1)));
        assert_eq!(
            deadlines.pop_due(at(30)),
            Some(Subject::Reservation([1; 8]))
        );
        assert_eq!(deadlines.len(), 0);
    }
}
