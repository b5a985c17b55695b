//! Sources that get their next turn at a given time.

use std::collections::HashSet;
use std::time::Instant;

use mio::Token;
use turnd_proto::deadlines::Deadlines;

use super::source::Source;

/// Each source at most once, however often it asks.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    by_time: Deadlines<Token>,
    known: HashSet<Token>,
}

impl Delayed {
    /// Gives `source` a turn at `at`, unless it gets one already.
    pub(super) fn add(&mut self, at: Instant, source: Source) {
        let token = source.token();
        if self.known.insert(token) {
            self.by_time.arm(at, token);
        }
    }

    /// The earliest of the times.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.next()
    }

    /// Takes one source whose time has come.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Source> {
        let token = self.by_time.pop_due(now)?;
        self.known.remove(&token);
        Some(Source::of(token))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_source_has_one_turn_however_often_it_asks() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut delayed = Delayed::default();
        for n in 0..1000 {
            delayed.add(at(20 + n), Source::PeerConnection(1));
        }
        delayed.add(at(10), Source::Acceptor(0));
        assert_eq!(delayed.next(), Some(at(10)));
        assert_eq!(delayed.pop_due(at(9)), None);
        assert_eq!(delayed.pop_due(at(10)), Some(Source::Acceptor(0)));
        assert_eq!(delayed.pop_due(at(20)), Some(Source::PeerConnection(1)));
        assert_eq!((delayed.pop_due(at(5000)), delayed.next()), (None, None));
        delayed.add(at(30), Source::PeerConnection(1));
        assert_eq!(delayed.pop_due(at(30)), Some(Source::PeerConnection(1)));
    }
}
