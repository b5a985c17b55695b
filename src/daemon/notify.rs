//! Messages to the service manager (`sd_notify(3)`): the server is up, stops, or still works.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Sends `state`, such as `READY=1`, to the service manager if there is one.
pub fn notify(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let name = name.as_bytes();
    let addr = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(OsStr::from_bytes(name)),
    };
    let sent = addr.and_then(|addr| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &addr));
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Interval between two `WATCHDOG=1`: half of the time that the service manager waits for one. `None`: it waits for none
/// of this process (`sd_watchdog_enabled(3)`).
pub fn watchdog_interval() -> Option<Duration> {
    interval(|name| std::env::var(name).ok(), std::process::id())
}

fn interval(env: impl Fn(&str) -> Option<String>, own_pid: u32) -> Option<Duration> {
    let micros: u64 = env("WATCHDOG_USEC")?.parse().ok()?;
    let is_ours = match env("WATCHDOG_PID") {
        Some(pid) => pid.parse() == Ok(own_pid),
        None => true,
    };
    (is_ours && micros > 0).then(|| Duration::from_micros(micros) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_waits_for_one_process() {
        let interval = |micros: &str, pid: Option<&str>| {
            let env = |name: &str| match name {
                "WATCHDOG_USEC" => Some(micros.to_owned()),
                "WATCHDOG_PID" => pid.map(str::to_owned),
                _ => None,
            };
            super::interval(env, 17)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(interval("2000000", None), second);
        assert_eq!(interval("2000000", Some("17")), second);
        assert_eq!(interval("2000000", Some("18")), None);
        assert_eq!(interval("2000000", Some("")), None);
        assert_eq!(interval("0", None), None);
        assert_eq!(interval("x", None), None);
    }
}
