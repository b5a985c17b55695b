//! Child processes that end: with a time limit, or with the test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to leave after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A folder of one test's own, removed with it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("turnd-test-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child process whose output goes to files. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    name: String,
    scratch: Scratch,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Scratch::new())
    }

    /// The same, in a folder that already holds what the process reads.
    pub(crate) fn start_with(command: &mut Command, scratch: Scratch) -> Self {
        let stderr = File::create(scratch.path().join("stderr")).unwrap();
        Self::start_with_stderr(command, scratch, stderr)
    }

    /// The same, whose standard error goes to this file.
    pub(crate) fn start_with_stderr(command: &mut Command, scratch: Scratch, stderr: File) -> Self {
        let stdout = File::create(scratch.path().join("stdout")).unwrap();
        let name = format!("{command:?}");
        let child = command
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name}: {error} (tests/setup installs what is needed)")
            });
        Self {
            child,
            name,
            scratch,
        }
    }

    /// Its folder, which goes with it.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit status, or None while it runs.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        self.read("stdout")
    }

    pub(crate) fn stderr(&self) -> String {
        self.read("stderr")
    }

    /// The end of what it printed; all of it is shown when its test fails.
    pub(crate) fn last_lines(&self) -> String {
        const LINES: usize = 8;
        let output = self.stdout() + &self.stderr();
        let lines: Vec<_> = output.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn read(&self, name: &str) -> String {
        // Standard error may be elsewhere.
        let bytes = fs::read(self.scratch.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for the end. A process that is still there after `limit` is ended, and None returned.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            thread::sleep(POLL);
        }
        self.end();
        None
    }

    /// Asks the process to leave, and kills it if it does not.
    pub(crate) fn end(&mut self) {
        if self.ended().is_some() {
            return;
        }
        self.signal(Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while self.ended().is_none() && Instant::now() < deadline {
            thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("--- {}\n{}{}---", self.name, self.stdout(), self.stderr());
        }
    }
}

/// Runs a command to its end and returns what it printed; panics when it fails or takes longer than `limit`.
pub(crate) fn run(command: &mut Command, limit: Duration) -> String {
    let mut running = Running::start(command);
    let status = running.wait(limit);
    let name = &running.name;
    let last = || running.last_lines();
    assert!(
        status.is_some(),
        "{name}: still running after {limit:?}\n{}",
        last()
    );
    assert!(
        status.is_some_and(|status| status.success()),
        "{name}: {status:?}\n{}",
        last()
    );
    running.stdout()
}
