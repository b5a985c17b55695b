//! Half an hour of clients that come and go over UDP, TCP and TLS, with good credentials, with bad
//! ones and with none, as fast as they are served: memory stays, everything is given back.
//!
//!     cargo bench --bench soak [-- MINUTES]
//!
//! Prints a sample each ten seconds, and ends with 1 if something is not as it has to be. Wants root,
//! for a network namespace of its own.

#![allow(clippy::unwrap_used)]

mod clients;
// No load uses all of this.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use self::clients::{Load, hostile, invalid, valid};
use self::support::client::Kind;
use self::support::server::{Server, USER};
use self::support::{echo, isolate, numbers};

const PERIOD: Duration = Duration::from_secs(10);
/// Time in which connections have to be given up after the load has ended.
const GRACE: Duration = Duration::from_secs(120);
/// Memory may differ by so much between the first samples after the warm-up and the last.
const TOLERANCE: f64 = 0.02;

const CONFIG: &str = "static-auth-secret = 'a secret of the application'
max-allocate-timeout = 10
user-quota = 0
total-quota = 0";

/// Counts of the threads.
#[derive(Default)]
pub(crate) struct Counts {
    /// Calls of valid clients.
    pub(crate) calls: AtomicU64,
    /// Calls that failed.
    pub(crate) failed: AtomicU64,
    /// Requests that were rightly refused.
    pub(crate) refused: AtomicU64,
    /// Things that only an attacker does.
    pub(crate) hostile: AtomicU64,
}

fn main() -> ExitCode {
    isolate();
    let minutes = numbers().first().copied().unwrap_or(30);
    let server = Server::start(CONFIG);
    let load = Load::new(&server, echo());
    let descriptors = server.descriptors();
    let (stop, counts) = (AtomicBool::new(false), Counts::default());
    let samples = thread::scope(|scope| {
        for kind in [Kind::Udp, Kind::Tcp, Kind::Tls] {
            for thread in 0..2 {
                let (load, stop, counts) = (&load, &stop, &counts);
                scope.spawn(move || valid(load, kind, thread, stop, counts));
            }
            let (load, stop, counts) = (&load, &stop, &counts);
            scope.spawn(move || invalid(load, kind, stop, counts));
        }
        for thread in 0..2 {
            let (load, stop, counts) = (&load, &stop, &counts);
            scope.spawn(move || hostile(load, thread, stop, counts));
        }
        let samples = watch(&server, &counts, Duration::from_secs(minutes * 60));
        stop.store(true, Ordering::Relaxed);
        samples
    });
    // Ends the allocations of clients that have gone without a word.
    server.ctl(&["kill", "--user", USER]);
    judge(&server, &samples, descriptors, &counts)
}

/// Prints and collects samples of the memory, in KiB.
fn watch(server: &Server, counts: &Counts, time: Duration) -> Vec<u64> {
    println!(
        "seconds  memory KiB  processor s  descriptors  ports  active   calls  failed  refused  hostile"
    );
    let (start, mut samples) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        thread::sleep(PERIOD);
        let (memory, metrics) = (server.memory(), server.metrics());
        let [calls, failed, refused, hostile] = [
            &counts.calls,
            &counts.failed,
            &counts.refused,
            &counts.hostile,
        ]
        .map(|count| count.load(Ordering::Relaxed));
        println!(
            "{:7} {memory:11} {:12.1} {:12} {:6} {:7} {calls:7} {failed:7} {refused:8} {hostile:8}",
            start.elapsed().as_secs(),
            server.cpu() as f64 / 1e9,
            server.descriptors(),
            metrics.sum("turnd_relay_ports_used"),
            metrics.sum("turnd_allocations_active"),
        );
        samples.push(memory);
    }
    samples
}

/// Waits until everything is given back, and says what is not as it has to be.
fn judge(server: &Server, samples: &[u64], descriptors: usize, counts: &Counts) -> ExitCode {
    let deadline = Instant::now() + GRACE;
    let given_back = || {
        let ports = server.metrics().sum("turnd_relay_ports_used");
        ports == 0 && server.descriptors() <= descriptors
    };
    while !given_back() && Instant::now() < deadline {
        thread::sleep(Duration::from_secs(1));
    }
    let metrics = server.metrics();
    let sum = |name| metrics.sum(name);
    let (created, ended, active) = (
        sum("turnd_allocations_created_total"),
        sum("turnd_allocations_ended_total"),
        sum("turnd_allocations_active"),
    );
    // The first fifth warms up; a fifth each is compared.
    let part = (samples.len() / 5).max(1);
    let (early, late) = (
        median(&samples[part.min(samples.len() - 1)..][..part]),
        median(&samples[samples.len() - part..]),
    );
    let grown = late as f64 / early as f64 - 1.0;
    let (calls, failed) = (
        counts.calls.load(Ordering::Relaxed),
        counts.failed.load(Ordering::Relaxed),
    );
    let (open, ports) = (server.descriptors(), sum("turnd_relay_ports_used"));
    let checks = [
        (
            grown.abs() <= TOLERANCE,
            format!("memory {early} -> {late} KiB, {:+.1} %", grown * 100.0),
        ),
        (
            open <= descriptors,
            format!("descriptors {descriptors} -> {open}"),
        ),
        (ports == 0, format!("relay ports in use {ports}")),
        (
            active == 0 && created == ended,
            format!("allocations created {created}, ended {ended}, active {active}"),
        ),
        (
            created >= calls - failed,
            format!("calls {calls}, failed {failed}"),
        ),
        (
            failed * 1000 <= calls,
            format!(
                "calls that failed: {:.3} %",
                failed as f64 * 100.0 / calls as f64
            ),
        ),
    ];
    for (good, what) in &checks {
        println!("{} {what}", if *good { "good" } else { "BAD " });
    }
    ExitCode::from(u8::from(!checks.iter().all(|(good, _)| *good)))
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
