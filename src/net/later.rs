//! Sources that want another turn by and by.

use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use mio::Token;

use super::source::Source;

/// Each source at most once, however often it asks.
#[derive(Debug, Default)]
pub(super) struct Later {
    by_time: BTreeSet<(Instant, Token)>,
    known: HashSet<Token>,
}

impl Later {
    /// Gives `source` a turn at `at`, unless it gets one already.
    pub(super) fn add(&mut self, at: Instant, source: Source) {
        let token = source.token();
        if self.known.insert(token) {
            self.by_time.insert((at, token));
        }
    }

    /// When the first of them is to have it.
    pub(super) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Source> {
        let first = *self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.by_time.remove(&first);
        let (_, token) = first;
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
        let mut later = Later::default();
        for n in 0..1000 {
            later.add(at(20 + n), Source::Connection(1));
        }
        later.add(at(10), Source::Acceptor(0));
        assert_eq!(later.next(), Some(at(10)));
        assert_eq!(later.take_due(at(9)), None);
        assert_eq!(later.take_due(at(10)), Some(Source::Acceptor(0)));
        assert_eq!(later.take_due(at(20)), Some(Source::Connection(1)));
        assert_eq!((later.take_due(at(5000)), later.next()), (None, None));
        later.add(at(30), Source::Connection(1));
        assert_eq!(later.take_due(at(30)), Some(Source::Connection(1)));
    }
}
