//! Every way in: streams, TLS, DTLS, PROXY protocol, and what strangers do to them.

mod bad_input;
mod certificates;
mod data_connections;
mod proxy;
mod streams;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::Turnd;

/// Waits until `met` is.
fn wait_until(what: &str, turnd: &Turnd, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(Instant::now() < deadline, "{what}\n{}", turnd.log());
        thread::sleep(Duration::from_millis(20));
    }
}

/// Resident memory in KiB.
fn memory(turnd: &Turnd) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", turnd.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1))
        .unwrap()
        .parse()
        .unwrap()
}
