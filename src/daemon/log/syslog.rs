//! Lines for the syslog daemon of this machine: a datagram each (RFC 3164).

use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::journal;

/// Socket of the syslog daemon.
pub(super) const SOCKET: &str = "/dev/log";

/// Facility "daemon" (RFC 3164 §4.1.1).
const DAEMON: u8 = 3 << 3;

/// Longest datagram, in bytes; daemons cut longer ones.
const MAX_LEN: usize = 8192;

/// Time that a daemon may let a line wait. Only the log's thread waits, and lines have a queue.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The way to the syslog daemon, which may come and go.
#[derive(Debug)]
pub(super) struct Syslog {
    path: PathBuf,
    /// `None`: not connected.
    socket: Option<UnixDatagram>,
    /// The last line could not be sent, and the log has told so.
    is_away: bool,
}

/// Fate of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The daemon takes nothing at the moment.
    Lost,
    /// There is no daemon.
    Away,
}

impl Syslog {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            socket: None,
            is_away: false,
        }
    }

    /// Sends a line that begins with a priority.
    pub(super) fn send(&mut self, line: &[u8]) -> Sent {
        let datagram = datagram(line, std::process::id());
        // A daemon that has started anew has another socket.
        let sent = self
            .try_send(&datagram)
            .or_else(|error| match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(error),
                _ => {
                    self.socket = None;
                    self.try_send(&datagram)
                }
            });
        match sent {
            Ok(()) => {
                if std::mem::take(&mut self.is_away) {
                    tracing::info!(path = %self.path.display(), "the syslog daemon is back");
                }
                Sent::Yes
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Sent::Lost
            }
            Err(error) => {
                self.socket = None;
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(
                        "syslog: {} cannot be reached: {error}; lines go to standard error until it can; start a syslog daemon, or leave syslog out",
                        self.path.display()
                    );
                }
                Sent::Away
            }
        }
    }

    fn try_send(&mut self, datagram: &[u8]) -> io::Result<()> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(connect(&self.path)?),
        };
        socket.send(datagram).map(drop)
    }
}

fn connect(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

/// The message of a line: without a time, as the daemon has its own, and knows the zone that it writes.
fn datagram(line: &[u8], pid: u32) -> Vec<u8> {
    let (priority, line) = journal::split(line);
    let mut bytes = format!("<{}>turnd[{pid}]: ", DAEMON | priority).into_bytes();
    bytes.extend_from_slice(line.trim_ascii());
    if bytes.len() > MAX_LEN {
        // Not within a character: continuation bytes are 0b10xx_xxxx.
        let end = (0..=MAX_LEN).rev().find(|at| bytes[*at] & 0xC0 != 0x80);
        bytes.truncate(end.unwrap_or_default());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("turnd-syslog-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn receive(daemon: &UnixDatagram) -> String {
        let mut bytes = vec![0; 2 * MAX_LEN];
        let len = daemon.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn a_line_becomes_a_message_of_the_daemon_facility() {
        assert_eq!(
            datagram(b"<4> WARN peer refused\n", 7),
            b"<28>turnd[7]: WARN peer refused"
        );
        assert_eq!(
            datagram(b"<7>{\"level\":\"DEBUG\"}\n", 7),
            b"<31>turnd[7]: {\"level\":\"DEBUG\"}"
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        for shift in 0..3 {
            let line = format!("<6>{}{}\n", "x".repeat(shift), "…".repeat(MAX_LEN));
            let message = datagram(line.as_bytes(), 7);
            assert!((MAX_LEN - 2..=MAX_LEN).contains(&message.len()));
            assert!(String::from_utf8(message).unwrap().ends_with('…'));
        }
    }

    #[test]
    fn a_daemon_that_starts_anew_gets_the_next_line() {
        let folder = Folder::new("anew");
        let path = folder.0.join("log");
        let mut syslog = Syslog::new(&path);
        assert_eq!(syslog.send(b"<6>nobody hears\n"), Sent::Away);
        for text in ["first", "second"] {
            let daemon = UnixDatagram::bind(&path).unwrap();
            assert_eq!(syslog.send(format!("<6>{text}\n").as_bytes()), Sent::Yes);
            assert!(receive(&daemon).ends_with(&format!("]: {text}")));
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(syslog.send(b"<6>gone\n"), Sent::Away);
    }

    #[test]
    fn a_daemon_that_reads_nothing_costs_lines() {
        let folder = Folder::new("stalled");
        let path = folder.0.join("log");
        let _daemon = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::new(&path);
        let lost = (0..10_000).any(|_| syslog.send(b"<6>x\n") == Sent::Lost);
        assert!(lost);
    }
}
