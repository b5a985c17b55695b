//! Queue of the sources that are ready.

use std::collections::VecDeque;

use super::source::{Readiness, Source, TAGS};

/// Sources in the order in which they became ready, each once.
#[derive(Debug, Default)]
pub(super) struct ReadyQueue {
    queue: VecDeque<Source>,
    /// State of each source, by tag and number; `None`: not in the queue.
    states: [Vec<Option<Readiness>>; TAGS],
}

impl ReadyQueue {
    /// Adds a source, or to what one in the queue is ready for.
    pub(super) fn push(&mut self, source: Source, readiness: Readiness) {
        let (tag, id) = source.parts();
        let states = &mut self.states[tag];
        if states.len() <= id {
            states.resize(id + 1, None);
        }
        let state = &mut states[id];
        if state.is_none() {
            self.queue.push_back(source);
        }
        *state = Some(state.unwrap_or_default().and(readiness));
    }

    /// Takes the first source.
    pub(super) fn pop(&mut self) -> Option<(Source, Readiness)> {
        let source = self.queue.pop_front()?;
        let (tag, id) = source.parts();
        let state = self.states[tag].get_mut(id).and_then(Option::take);
        Some((source, state.unwrap_or_default()))
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use mio::net::UnixStream;
    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn a_source_waits_once_however_often_it_is_named() {
        let mut ready = ReadyQueue::default();
        for source in [Source::Stream(3), Source::Commands, Source::Stream(3)] {
            ready.push(source, Readiness::default());
        }
        assert_eq!(ready.len(), 2);
        assert_eq!(
            ready.pop().map(|(source, _)| source),
            Some(Source::Stream(3))
        );
        // Its turn has begun: an event from now on is for the next one.
        ready.push(Source::Stream(3), Readiness::default());
        assert_eq!(
            ready.pop().map(|(source, _)| source),
            Some(Source::Commands)
        );
        assert_eq!(
            ready.pop().map(|(source, _)| source),
            Some(Source::Stream(3))
        );
        assert_eq!(ready.pop(), None);
    }

    #[test]
    fn a_source_is_ready_for_all_that_came_since_its_last_turn() {
        let mut poll = Poll::new().unwrap();
        let (mut stream, mut other) = UnixStream::pair().unwrap();
        let source = Source::Stream(0);
        source.watch(poll.registry(), &mut stream).unwrap();
        let mut ready = ReadyQueue::default();
        let mut events = Events::with_capacity(8);
        let mut look = |ready: &mut ReadyQueue| {
            poll.poll(&mut events, Some(Duration::from_secs(10)))
                .unwrap();
            for event in &events {
                ready.push(Source::of(event.token()), Readiness::of(event));
            }
        };
        look(&mut ready);
        assert_eq!(format!("{:?}", ready.pop().unwrap().1), r#"{"writable"}"#);
        other.write_all(b"text").unwrap();
        look(&mut ready);
        drop(other);
        look(&mut ready);
        let (again, readiness) = ready.pop().unwrap();
        assert_eq!((again, ready.pop()), (source, None));
        assert!(readiness.is_hang_up(), "{readiness:?}");
        assert!(format!("{readiness:?}").contains("readable"));
    }
}
