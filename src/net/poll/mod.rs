//! Waiting: for sockets, for other threads and for times, by one epoll instance.

mod alarm;
mod delayed;
mod ready;
mod source;

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Registry, Waker};

use self::alarm::Alarm;
use self::delayed::Delayed;
use self::ready::ReadyQueue;

pub(super) use self::source::{Readiness, Source, Turn, UdpSocketId};

/// Events that one call of the system reports at the most.
const EVENTS: usize = 512;

/// Everything that a worker waits for.
///
/// A wake-up costs the same for one ready socket as for hundreds, and one packet costs no more
/// system calls than waiting, receiving and sending.
#[derive(Debug)]
pub(super) struct Poller {
    poll: Poll,
    events: Events,
    alarm: Alarm,
    ready: ReadyQueue,
    delayed: Delayed,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        Ok(Self {
            alarm: Alarm::new(poll.registry())?,
            poll,
            events: Events::with_capacity(EVENTS),
            ready: ReadyQueue::default(),
            delayed: Delayed::default(),
        })
    }

    /// Registry of sources that are to be watched.
    pub(super) fn registry(&self) -> io::Result<Registry> {
        self.poll.registry().try_clone()
    }

    /// Waker by which other threads have [`Source::Commands`] become ready.
    pub(super) fn waker(&self) -> io::Result<Waker> {
        Waker::new(self.poll.registry(), Source::Commands.token())
    }

    /// Sleeps until something is ready or `due` has come; `now` is the time of the last look.
    pub(super) fn wait(&mut self, now: Instant, due: Option<Instant>) -> io::Result<()> {
        let timeout = if self.ready.len() == 0 {
            let due = due.into_iter().chain(self.delayed.next()).min();
            self.alarm.timeout(now, due)
        } else {
            Some(Duration::ZERO)
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        for event in &self.events {
            let source = Source::of(event.token());
            // The worker looks in every round for deadlines that have come.
            if source != Source::Alarm {
                self.ready.push(source, Readiness::of(event));
            }
        }
        Ok(())
    }

    /// Makes those sources ready whose pause is over.
    pub(super) fn end_pauses(&mut self, now: Instant) {
        while let Some(source) = self.delayed.pop_due(now) {
            self.make_ready(source);
        }
    }

    /// Number of sources that are ready.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Takes the source whose turn is next.
    pub(super) fn next_ready(&mut self) -> Option<(Source, Readiness)> {
        self.ready.pop()
    }

    /// Gives a source a turn though the system has reported nothing.
    pub(super) fn make_ready(&mut self, source: Source) {
        self.ready.push(source, Readiness::default());
    }

    /// Gives a source that has had a turn its next one, if it needs any.
    pub(super) fn requeue(&mut self, now: Instant, source: Source, turn: Turn) {
        match turn {
            Turn::Drained => {}
            Turn::More => self.make_ready(source),
            Turn::Later(pause) => self.delayed.add(now + pause, source),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_worker_wakes_for_commands_and_for_what_is_due() {
        let mut poller = Poller::new().unwrap();
        let waker = Arc::new(poller.waker().unwrap());
        let start = Instant::now();
        std::thread::spawn({
            let waker = Arc::clone(&waker);
            move || waker.wake().unwrap()
        });
        while poller.ready() == 0 {
            poller.wait(Instant::now(), None).unwrap();
        }
        assert_eq!(
            poller.next_ready().map(|(source, _)| source),
            Some(Source::Commands)
        );

        let pause = Duration::from_millis(20);
        poller.requeue(start, Source::Stream(1), Turn::Later(pause));
        let mut now = start;
        while now < start + pause {
            poller.wait(now, None).unwrap();
            now = Instant::now();
        }
        poller.end_pauses(now);
        assert_eq!(
            poller.next_ready().map(|(source, _)| source),
            Some(Source::Stream(1))
        );
        poller.requeue(now, Source::Stream(2), Turn::More);
        poller.wait(now, None).unwrap();
        assert_eq!(poller.ready(), 1);
    }
}
