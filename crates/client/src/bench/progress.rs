//! Progress of a run, for whoever waits for it.

use std::time::{Duration, Instant};

/// Shortest time between two reports: what hears of it must not take the load generator's time.
const INTERVAL: Duration = Duration::from_millis(500);

/// Part of a run that is on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// Allocations are made.
    Allocating {
        /// Number that the server has made.
        done: usize,
        /// Number that is wanted.
        wanted: usize,
    },
    /// Packets are sent, and not counted yet.
    WarmingUp,
    /// Packets are sent and counted.
    Measuring {
        /// Time since the count began.
        elapsed: Duration,
        /// Packets sent since then.
        sent: u64,
        /// Packets of those that came back.
        received: u64,
    },
}

/// A listener that is told now and then.
pub(super) struct Progress<'a> {
    show: &'a mut dyn FnMut(Stage),
    next: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(show: &'a mut dyn FnMut(Stage)) -> Self {
        Self {
            show,
            next: Instant::now(),
        }
    }

    /// Tells of the stage, when it is time.
    pub(super) fn tell(&mut self, now: Instant, stage: impl FnOnce() -> Stage) {
        if now >= self.next {
            self.next = now + INTERVAL;
            (self.show)(stage());
        }
    }
}
