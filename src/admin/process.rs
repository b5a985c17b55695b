//! Numbers of this process, as the system tells them.

use std::fs;
use std::time::Duration;

use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Open files of this process; from Linux 6.2 on the size of the folder is their number.
const OPEN_FILES: &str = "/proc/self/fd";

/// Numbers of this process; `None`: the system does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// CPU time, user and system.
    pub(super) cpu_time: Duration,
    /// Memory in RAM.
    pub(super) resident_bytes: Option<u64>,
    /// Address space.
    pub(super) virtual_bytes: Option<u64>,
    /// Open file descriptors.
    pub(super) open_files: Option<u64>,
    /// File descriptors that may be open.
    pub(super) max_files: Option<u64>,
}

impl Process {
    /// The numbers of this moment.
    pub(super) fn read() -> Self {
        let memory = memory();
        Self {
            cpu_time: Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))
                .unwrap_or_default(),
            resident_bytes: memory.map(|(_, resident)| resident),
            virtual_bytes: memory.map(|(total, _)| total),
            open_files: open_files(),
            max_files: getrlimit(Resource::Nofile).current,
        }
    }
}

/// Address space and memory in RAM, in bytes.
fn memory() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').map(str::parse::<u64>);
    let mut next = || Some(pages.next()?.ok()? * page_size() as u64);
    Some((next()?, next()?))
}

fn open_files() -> Option<u64> {
    let counted = fs::metadata(OPEN_FILES).ok()?.len();
    if counted > 0 {
        return Some(counted);
    }
    // The folder itself is open while it is read.
    let listed = fs::read_dir(OPEN_FILES).ok()?.count() as u64;
    Some(listed.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_this_process() {
        let before = Process::read();
        assert!(before.cpu_time > Duration::ZERO);
        let (total, resident) = (
            before.virtual_bytes.unwrap(),
            before.resident_bytes.unwrap(),
        );
        assert!(resident > 0 && resident < total, "{before:?}");
        // Other tests open and close files meanwhile.
        let files: Vec<_> = (0..300)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        let opened = Process::read().open_files.unwrap();
        assert!(opened >= files.len() as u64, "{opened}");
        assert!(opened <= before.max_files.unwrap(), "{before:?}");
    }
}
