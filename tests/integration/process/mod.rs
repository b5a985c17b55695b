//! The process that serves: what it leaves in memory, what it may do, and how it is told a secret.

mod memory;
mod start;
mod told;
mod user;
mod weak;

use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

/// Waits for `text` to be in what `log` reads.
#[track_caller]
fn wait_for(text: &str, log: impl Fn() -> String) {
    let deadline = Instant::now() + LIMIT;
    while !log().contains(text) {
        assert!(Instant::now() < deadline, "no {text:?} in {}", log());
        thread::sleep(Duration::from_millis(20));
    }
}
