//! Faults that a test asks for, so that it sees what comes of a real one. Release builds have none.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// The environment variable with the name of the file that says which worker is to do what.
const VARIABLE: &str = "TURND_TEST_FAULT";

/// Interval at which a worker looks into the file.
const LOOK: Duration = Duration::from_millis(20);

/// The file in which a worker finds the fault that it is to have.
#[derive(Debug)]
pub(super) struct Fault {
    file: PathBuf,
    worker: usize,
    next: Instant,
}

impl Fault {
    /// The file that the environment names, if it names one.
    pub(super) fn from_env(worker: usize) -> Option<Self> {
        let file = env::var_os(VARIABLE)?.into();
        let next = Instant::now();
        Some(Self { file, worker, next })
    }

    /// The time to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Does what the file says: `panic 0`, `error 0` or `stall 0` for the first worker.
    pub(super) fn apply(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if now < self.next {
            return Ok(());
        }
        self.next = now + LOOK;
        let asked = |fault: &str| {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            text == format!("{fault} {}", self.worker)
        };
        while asked("stall") {
            thread::sleep(LOOK);
        }
        assert!(!asked("panic"), "a test asked for it");
        if asked("error") {
            return Err(io::Error::other("a test asked for it"));
        }
        Ok(())
    }
}
