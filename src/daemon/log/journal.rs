//! The journal of systemd, when it reads standard error.

use std::ffi::OsStr;
use std::io;

use rustix::fs::fstat;
use tracing::Level;

/// Whether standard error goes to the journal (systemd.exec(5), `$JOURNAL_STREAM`), which has times of its own
/// and reads a priority at the start of each line (sd-daemon(3)).
pub(super) fn reads_stderr() -> bool {
    let named = std::env::var_os("JOURNAL_STREAM");
    let (Some(named), Ok(stderr)) = (named, fstat(io::stderr())) else {
        return false;
    };
    is_named(&named, stderr.st_dev, stderr.st_ino)
}

/// Whether `named`, device and inode in decimal, is this file.
fn is_named(named: &OsStr, device: u64, inode: u64) -> bool {
    let parts = named.to_str().and_then(|text| text.split_once(':'));
    parts.is_some_and(|(d, i)| d.parse() == Ok(device) && i.parse() == Ok(inode))
}

/// Priority of a level (RFC 5424 §6.2.1).
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// A line with a priority in front.
pub(super) fn prefixed(priority: u8, line: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(line.len() + 3);
    bytes.extend_from_slice(&[b'<', b'0' + priority, b'>']);
    bytes.extend_from_slice(line);
    bytes
}

/// The priority of a line, and the line without it.
pub(super) fn split(line: &[u8]) -> (u8, &[u8]) {
    match line {
        [b'<', digit @ b'0'..=b'7', b'>', rest @ ..] => (digit - b'0', rest),
        _ => (priority(Level::INFO), line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        assert!(is_named(OsStr::new("8:123"), 8, 123));
        for other in ["8:124", "9:123", "8", "", "8:123:4", "x:y", "-8:123"] {
            assert!(!is_named(OsStr::new(other), 8, 123), "{other}");
        }
    }

    #[test]
    fn a_priority_stands_in_front_of_a_line() {
        let line = prefixed(priority(Level::WARN), b"WARN x\n");
        assert_eq!(line, b"<4>WARN x\n");
        assert_eq!(split(&line), (4, &b"WARN x\n"[..]));
        assert_eq!(split(b"<9>x"), (6, &b"<9>x"[..]));
    }
}
