//! Processor time and memory of the server's process, as the kernel counts them.

use std::fs;
use std::io;
use std::time::Instant;

/// A reading of one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    at: Instant,
    /// Nanoseconds on a processor, of all threads.
    pub(super) cpu: u64,
    /// Resident memory in KiB.
    pub(super) rss: u64,
}

/// Use between two readings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    /// Nanoseconds on a processor.
    pub(super) cpu: u64,
    /// Processors kept busy: 1.0 is one of them, all the time.
    pub(super) share: f64,
    /// Resident memory at the end, in KiB.
    pub(super) rss: u64,
}

impl Usage {
    /// Reads the use of a process on this host.
    pub(super) fn of(pid: u32) -> io::Result<Self> {
        let mut cpu = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end in between.
            let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let on_cpu = stat.split_whitespace().next();
            cpu += on_cpu.and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            at: Instant::now(),
            cpu,
            rss: resident(&status).unwrap_or(0),
        })
    }

    /// Use since `before`.
    pub(super) fn since(&self, before: &Self) -> Used {
        let cpu = self.cpu.saturating_sub(before.cpu);
        let elapsed = self.at.saturating_duration_since(before.at).as_nanos();
        Used {
            cpu,
            share: cpu as f64 / elapsed.max(1) as f64,
            rss: self.rss,
        }
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss > 0);
        assert_eq!(usage.since(&usage).cpu, 0);
    }

    #[test]
    fn resident_memory_is_found() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    123 kB\n"), Some(123));
        assert_eq!(resident("Name:\tx\n"), None);
    }
}
