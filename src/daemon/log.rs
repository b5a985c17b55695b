//! Log lines: text or JSON, to standard error or a file; all of it can change while they flow.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Log, LogFormat};

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// The process's log.
pub struct LogControl {
    target: LogTarget,
    lines: reload::Handle<Lines, Registry>,
    level: reload::Handle<LevelFilter, WithLines>,
}

type WithLines = tracing_subscriber::layer::Layered<reload::Layer<Lines, Registry>, Registry>;

impl LogControl {
    /// Makes `tracing` log as `config` says; once in a process.
    ///
    /// # Errors
    /// Why there can be no log, with the remedy.
    pub fn install(config: &Log) -> Result<Self, String> {
        let target = LogTarget::new(config.file.as_deref())?;
        let (lines, lines_handle) = reload::Layer::new(lines(config, &target));
        let (level, level_handle) = reload::Layer::new(level(config));
        let subscriber = tracing_subscriber::registry().with(lines).with(level);
        tracing::subscriber::set_global_default(subscriber).map_err(|error| error.to_string())?;
        Ok(Self {
            target,
            lines: lines_handle,
            level: level_handle,
        })
    }

    /// Opens the file anew, after it was moved away; keeps the old one when that fails.
    ///
    /// # Errors
    /// What the system says.
    pub fn reopen(&self) -> io::Result<()> {
        self.target.reopen()
    }

    /// Takes over another configuration.
    ///
    /// # Errors
    /// Why its file cannot be opened; nothing has changed then.
    pub fn change(&self, config: &Log) -> Result<(), String> {
        self.target.change(config.file.as_deref())?;
        // These fail only when the subscriber is gone, and it stays for the life of the process.
        let _ = self.lines.reload(lines(config, &self.target));
        let _ = self.level.reload(level(config));
        Ok(())
    }

    /// Sets the level until the next reload: `error`, `warn`, `info`, `debug` or `trace`.
    pub fn set_level(&self, level: LevelFilter) {
        let _ = self.level.reload(level);
    }
}

fn level(config: &Log) -> LevelFilter {
    if config.verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    }
}

fn lines(config: &Log, target: &LogTarget) -> Lines {
    let layer = tracing_subscriber::fmt::layer()
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(target.clone());
    match config.format {
        LogFormat::Text => {
            let colour = config.file.is_none()
                && io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none();
            Box::new(layer.with_ansi(colour))
        }
        LogFormat::Json => Box::new(
            layer
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false),
        ),
    }
}

/// Where log lines go. A line that cannot be written is lost, and nothing else happens.
#[derive(Clone, Debug)]
struct LogTarget(Arc<Mutex<Sink>>);

#[derive(Debug)]
struct Sink {
    path: Option<PathBuf>,
    /// `None`: standard error.
    file: Option<File>,
}

impl Sink {
    fn open(path: Option<&Path>) -> io::Result<Self> {
        let file = path.map(open).transpose()?;
        let path = path.map(Path::to_owned);
        Ok(Self { path, file })
    }
}

impl LogTarget {
    fn new(path: Option<&Path>) -> Result<Self, String> {
        let sink = Sink::open(path).map_err(|error| cannot_open(path, &error))?;
        Ok(Self(Arc::new(Mutex::new(sink))))
    }

    fn reopen(&self) -> io::Result<()> {
        let mut sink = self.locked();
        *sink = Sink::open(sink.path.as_deref())?;
        Ok(())
    }

    fn change(&self, path: Option<&Path>) -> Result<(), String> {
        let sink = Sink::open(path).map_err(|error| cannot_open(path, &error))?;
        *self.locked() = sink;
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Sink> {
        // Whoever panicked with the lock held was writing a line: nothing to repair.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cannot_open(path: Option<&Path>, error: &io::Error) -> String {
    let path = path.unwrap_or(Path::new("")).display();
    format!(
        "log-file: {path} cannot be opened: {error}; choose a place that this user may write to"
    )
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// Writes one line.
struct LineWriter<'a>(MutexGuard<'a, Sink>);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = match self.0.file.as_mut() {
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
