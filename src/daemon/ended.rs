//! Panics and ended workers, which are logged first of all.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use std::process;
use std::thread;

use super::log::LogTarget;

/// Failed at run time; service managers start such a program again.
const FAILED: i32 = 1;

/// Has panics told in the log, and on standard error when the log goes elsewhere.
pub fn tell_panics(log: LogTarget) {
    std::panic::set_hook(Box::new(move |panic| tell_panic(&log, panic)));
}

fn tell_panic(log: &LogTarget, panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let panic = panic.to_string();
    tracing::error!(thread = name, panic, "a thread panicked");
    log.say_beside_file(&format!("turnd: thread {name} {panic}"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        log.queue().write_to_stderr(trace.to_string());
    }
    // A second panic while the first unwinds ends the process, and with it what is still queued.
    log.queue().flush();
}

/// Ends the process, because a worker has ended unasked: its calls are lost, its share of new
/// clients would get no answer, and a service manager starts a program again that fails.
pub fn worker_ended(log: &LogTarget, worker: usize, reason: &str) -> ! {
    log.queue().prepare_exit();
    tracing::error!(worker, reason, "a worker ended, so turnd ends");
    log.say_beside_file(&format!("turnd: worker {worker} ended: {reason}"));
    log.queue().flush();
    process::exit(FAILED)
}
