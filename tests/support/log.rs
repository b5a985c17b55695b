//! Log of a server, as its tests wait for it.

use std::thread;
use std::time::{Duration, Instant};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Waits for `text` to be in what `log` reads.
#[track_caller]
pub(crate) fn wait_for(text: &str, log: impl Fn() -> String) {
    let deadline = Instant::now() + LIMIT;
    while !log().contains(text) {
        assert!(Instant::now() < deadline, "no {text:?} in {}", log());
        thread::sleep(Duration::from_millis(20));
    }
}
