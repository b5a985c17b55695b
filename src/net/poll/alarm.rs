//! Timer that wakes a worker at its next deadline.
//!
//! A wait with an end costs the kernel a timer each time, 3 to 4 % of what a packet costs. The
//! worker's deadlines are seconds away and rarely change, so one timer is set for the earliest of
//! them and the worker waits without end.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::Registry;
use mio::unix::SourceFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::source::Source;

/// A timerfd that is set for the earliest deadline, or an earlier time.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: OwnedFd,
    set_for: Option<Instant>,
}

impl Alarm {
    /// An alarm that is not set; `registry` reports when it fires.
    pub(super) fn new(registry: &Registry) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Source::Alarm.watch_readable(registry, &mut SourceFd(&timer.as_raw_fd()))?;
        Ok(Self {
            timer,
            set_for: None,
        })
    }

    /// Timeout of a wait that is to end at `due`; `None`: the alarm ends it.
    pub(super) fn timeout(&mut self, now: Instant, due: Option<Instant>) -> Option<Duration> {
        let due = due?;
        let left = due.saturating_duration_since(now);
        // One that is set for an earlier time stays: the worker looks, and sets it again.
        if self.set_for.is_none_or(|at| at <= now || due < at) {
            if self.set(left).is_err() {
                return Some(left);
            }
            self.set_for = Some(due);
        }
        None
    }

    /// Replaces the time that was set before.
    fn set(&self, after: Duration) -> io::Result<()> {
        let never = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let timer = Itimerspec {
            it_interval: never,
            // Nothing is years away, and nothing at all would be "never".
            it_value: Timespec {
                tv_sec: after.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: after.subsec_nanos().max(1).into(),
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &timer)?;
        Ok(())
    }
}
