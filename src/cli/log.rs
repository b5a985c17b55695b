//! Log lines: text or JSON, to standard error or a file that can be reopened.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::Failure;
use crate::config::{Log, LogFormat};

/// Where log lines go. A line that cannot be written is lost, and nothing else happens.
#[derive(Clone)]
pub(super) struct LogTarget {
    path: Option<PathBuf>,
    /// `None`: standard error.
    file: Arc<Mutex<Option<File>>>,
}

impl LogTarget {
    fn new(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(open).transpose()?;
        Ok(Self {
            path: path.map(Path::to_owned),
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// Opens the file anew, after it was moved away; keeps the old one when that fails.
    pub(super) fn reopen(&self) -> io::Result<()> {
        if let Some(path) = &self.path {
            let file = open(path)?;
            *self.locked() = Some(file);
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Option<File>> {
        // Whoever panicked with the lock held was writing a line: nothing to repair.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// Writes one line.
pub(super) struct LineWriter<'a>(MutexGuard<'a, Option<File>>);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = match self.0.as_mut() {
            Some(file) => file.write_all(line),
            None => io::stderr().write_all(line),
        };
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogTarget {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self.locked())
    }
}

/// Makes `tracing` log as `config` says.
pub(super) fn install(config: &Log) -> Result<LogTarget, Failure> {
    let target = LogTarget::new(config.file.as_deref()).map_err(|error| {
        let path = config.file.clone().unwrap_or_default();
        Failure::Run(format!(
            "log-file: {} cannot be opened: {error}; choose a place that this user may write to",
            path.display()
        ))
    })?;
    let colour = config.file.is_none()
        && io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none();
    let level = if config.verbose {
        Level::DEBUG
    } else {
        Level::INFO
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(target.clone());
    let installed = match config.format {
        LogFormat::Text => {
            tracing::subscriber::set_global_default(builder.with_ansi(colour).finish())
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::set_global_default(builder.with_span_list(false).finish())
        }
    };
    installed.map_err(|error| Failure::Run(error.to_string()))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("turnd-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_moved_file_is_made_anew() {
        let folder = folder("moved");
        let path = folder.join("turnd.log");
        let target = LogTarget::new(Some(&path)).unwrap();
        target.make_writer().write_all(b"one\n").unwrap();
        std::fs::rename(&path, folder.join("old")).unwrap();
        target.make_writer().write_all(b"two\n").unwrap();
        target.reopen().unwrap();
        target.make_writer().write_all(b"three\n").unwrap();
        let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("old"), "one\ntwo\n");
        assert_eq!(read("turnd.log"), "three\n");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn when_the_folder_is_gone_the_old_file_stays() {
        let folder = folder("gone");
        let target = LogTarget::new(Some(&folder.join("turnd.log"))).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        target.make_writer().write_all(b"lost\n").unwrap();
        assert!(target.reopen().is_err());
        target.make_writer().write_all(b"lost\n").unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_no_error() {
        let target = LogTarget::new(Some(Path::new("/dev/full"))).unwrap();
        target.make_writer().write_all(b"lost\n").unwrap();
    }
}
