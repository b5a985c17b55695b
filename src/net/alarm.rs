//! Waking a worker when something is due.
//!
//! A wait with an end costs the kernel a timer each time, 3 to 4 % of what a packet costs. The
//! worker's deadlines are seconds away and rarely change, so one timer is set for the earliest of
//! them and the worker waits without end.

use std::time::{Duration, Instant};

#[cfg(all(target_os = "linux", not(turnd_portable)))]
mod timer {
    //! A timer that is a descriptor.

    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::Duration;

    use mio::Registry;
    use mio::unix::SourceFd;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };

    use super::super::source::Source;

    #[derive(Debug)]
    pub(super) struct Timer(OwnedFd);

    impl Timer {
        pub(super) fn new(registry: &Registry) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            Source::Alarm.watch_readable(registry, &mut SourceFd(&fd.as_raw_fd()))?;
            Ok(Self(fd))
        }

        /// Wakes the worker after so long, and not for what was set before.
        pub(super) fn set(&self, after: Duration) -> io::Result<()> {
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
            timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &timer)?;
            Ok(())
        }
    }
}

#[cfg(not(all(target_os = "linux", not(turnd_portable))))]
mod timer {
    //! Systems without such timers wait with an end.

    use std::io;
    use std::time::Duration;

    use mio::Registry;

    #[derive(Debug)]
    pub(super) struct Timer;

    impl Timer {
        pub(super) fn new(_: &Registry) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn set(&self, _: Duration) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

/// Set for the earliest deadline, or an earlier time.
#[derive(Debug)]
pub(super) struct Alarm {
    /// `None`: the system has none to give.
    timer: Option<timer::Timer>,
    set_for: Option<Instant>,
}

impl Alarm {
    /// An alarm that is not set; `registry` is to tell of it.
    pub(super) fn new(registry: &mio::Registry) -> Self {
        Self {
            timer: timer::Timer::new(registry).ok(),
            set_for: None,
        }
    }

    /// How long the worker may wait, so that it is awake at `due`; `None`: the alarm wakes it.
    pub(super) fn patience(&mut self, now: Instant, due: Option<Instant>) -> Option<Duration> {
        let due = due?;
        let left = due.saturating_duration_since(now);
        let Some(timer) = &self.timer else {
            return Some(left);
        };
        // One that is set for an earlier time stays: the worker looks, and sets it again.
        if self.set_for.is_none_or(|at| at <= now || due < at) {
            if timer.set(left).is_err() {
                return Some(left);
            }
            self.set_for = Some(due);
        }
        None
    }
}
