//! Log lines: text or JSON, to standard error or a file; all of it can change while they flow.

mod queue;
mod recent;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layered, SubscriberExt};
use tracing_subscriber::{Layer, Registry, reload};

use self::queue::Sink;
use super::audit;
use crate::config::{Log, LogFormat};
use crate::problem::Problem;

pub use self::queue::LogQueue;
pub use self::recent::{Line, RecentLines};

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

/// The process's log.
pub struct LogControl {
    target: LogTarget,
    lines: reload::Handle<Lines, Registry>,
    recent: RecentLines,
    level: reload::Handle<Threshold, WithRecent>,
}

type WithLines = Layered<reload::Layer<Lines, Registry>, Registry>;
type WithRecent = Layered<RecentLines, WithLines>;

impl LogControl {
    /// Makes `tracing` log as `config` says; once in a process.
    pub fn install(config: &Log) -> Result<Self, Problem> {
        let target = LogTarget::new(config.file.as_deref())?;
        let (lines, lines_handle) = reload::Layer::new(lines(config, &target));
        let (level, level_handle) = reload::Layer::new(level(config));
        let recent = RecentLines::default();
        let subscriber = tracing_subscriber::registry()
            .with(lines)
            .with(recent.clone())
            .with(level);
        tracing::subscriber::set_global_default(subscriber)
            .map_err(|error| Problem::new(error.to_string(), "report this as a bug of turnd"))?;
        Ok(Self {
            target,
            lines: lines_handle,
            recent,
            level: level_handle,
        })
    }

    /// Destination of log lines.
    pub fn target(&self) -> &LogTarget {
        &self.target
    }

    /// The latest lines.
    pub fn recent(&self) -> &RecentLines {
        &self.recent
    }

    /// Least severe level that is logged.
    pub fn level(&self) -> LevelFilter {
        let level = self.level.with_current(|threshold| threshold.0);
        level.unwrap_or(LevelFilter::OFF)
    }

    /// Opens the file anew, after it was moved away; keeps the old one when that fails.
    pub fn reopen(&self) -> io::Result<()> {
        self.target.reopen()
    }

    /// Takes over another configuration; nothing changes when its file cannot be opened.
    pub fn change(&self, config: &Log) -> Result<(), Problem> {
        self.target.change(config.file.as_deref())?;
        // These fail only when the subscriber is gone, and it stays for the life of the process.
        let _ = self.lines.reload(lines(config, &self.target));
        let _ = self.level.reload(level(config));
        Ok(())
    }

    /// Sets the level until the next reload: `error`, `warn`, `info`, `debug` or `trace`.
    pub fn set_level(&self, level: LevelFilter) {
        let _ = self.level.reload(Threshold(level));
    }
}

/// Lets lines of a level pass, and those of [`audit::TARGET`] at every level.
struct Threshold(LevelFilter);

impl Threshold {
    fn lets(&self, line: &Metadata<'_>) -> bool {
        *line.level() <= self.0 || line.target() == audit::TARGET
    }
}

impl<S: Subscriber> Layer<S> for Threshold {
    fn register_callsite(&self, line: &'static Metadata<'static>) -> Interest {
        if self.lets(line) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, line: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.lets(line)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // The level of audit lines.
        Some(self.0.max(LevelFilter::INFO))
    }
}

/// Writes an error line as JSON to standard error, whatever log there is.
pub fn json_line(line: &str) {
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_target(false)
        .with_writer(io::stderr)
        .finish();
    tracing::subscriber::with_default(subscriber, || tracing::error!("{line}"));
}

fn level(config: &Log) -> Threshold {
    Threshold(if config.verbose {
        LevelFilter::DEBUG
    } else {
        LevelFilter::INFO
    })
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

/// Destination of log lines. A line that cannot be written is lost and counted, and nothing else happens.
#[derive(Clone, Debug)]
pub struct LogTarget {
    queue: LogQueue,
    /// `None`: standard error.
    path: Arc<Mutex<Option<PathBuf>>>,
}

impl LogTarget {
    fn new(path: Option<&Path>) -> Result<Self, Problem> {
        let queue = LogQueue::start(open(path)?).map_err(|error| {
            Problem::new(
                format!("the log's thread does not start: {error}"),
                "let this user have more threads (ulimit -u, systemd: TasksMax)",
            )
        })?;
        Ok(Self {
            queue,
            path: Arc::new(Mutex::new(path.map(Path::to_owned))),
        })
    }

    /// The queue of the lines.
    pub fn queue(&self) -> &LogQueue {
        &self.queue
    }

    /// Writes to standard error, unless the log goes there.
    pub fn say_beside_file(&self, text: &str) {
        if self.path().is_some() {
            self.queue.write_to_stderr(format!("{text}\n"));
        }
    }

    fn reopen(&self) -> io::Result<()> {
        let path = self.path();
        let file = path.as_deref().map(open_file).transpose()?;
        self.queue.switch(Sink::new(file));
        Ok(())
    }

    fn change(&self, path: Option<&Path>) -> Result<(), Problem> {
        let sink = open(path)?;
        *self.path() = path.map(Path::to_owned);
        self.queue.switch(sink);
        Ok(())
    }

    fn path(&self) -> MutexGuard<'_, Option<PathBuf>> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: Option<&Path>) -> Result<Sink, Problem> {
    let Some(path) = path else {
        return Ok(Sink::new(None));
    };
    let file = open_file(path).map_err(|error| {
        Problem::new(
            format!("log-file: {} cannot be opened: {error}", path.display()),
            "choose a place that this user may write to",
        )
    })?;
    Ok(Sink::new(Some(file)))
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// A writer of whole lines.
#[derive(Debug)]
pub struct LineWriter<'a>(&'a LogQueue);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogTarget {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(&self.queue)
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

    fn write(target: &LogTarget, line: &str) {
        target.make_writer().write_all(line.as_bytes()).unwrap();
    }

    #[test]
    fn a_moved_file_is_made_anew() {
        let folder = folder("moved");
        let path = folder.join("turnd.log");
        let target = LogTarget::new(Some(&path)).unwrap();
        write(&target, "one\n");
        std::fs::rename(&path, folder.join("old")).unwrap();
        write(&target, "two\n");
        target.reopen().unwrap();
        write(&target, "three\n");
        target.queue.flush();
        let read = |name| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("old"), "one\ntwo\n");
        assert_eq!(read("turnd.log"), "three\n");
        assert_eq!(target.queue.dropped(), 0);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn when_the_folder_is_gone_the_old_file_stays() {
        let folder = folder("gone");
        let target = LogTarget::new(Some(&folder.join("turnd.log"))).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        write(&target, "to the file without a name\n");
        assert!(target.reopen().is_err());
        write(&target, "likewise\n");
        target.queue.flush();
        assert_eq!(target.queue.dropped(), 0);
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let target = LogTarget::new(Some(Path::new("/dev/full"))).unwrap();
        write(&target, "lost\n");
        write(&target, "lost\n");
        target.queue.flush();
        assert_eq!(target.queue.dropped(), 2);
        let folder = folder("full");
        let path = folder.join("turnd.log");
        target.change(Some(&path)).unwrap();
        write(&target, "there is room\n");
        target.queue.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "there is room\n");
        assert_eq!(target.queue.dropped(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
