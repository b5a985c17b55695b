//! Log lines: text or JSON, to standard error, a file or the syslog daemon; all of it can change while they flow.

mod journal;
mod queue;
mod recent;
mod syslog;

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{MakeWriter, format};
use tracing_subscriber::layer::{Context, Layered, SubscriberExt};
use tracing_subscriber::{Layer, Registry, reload};

use self::queue::Sink;
use self::syslog::Syslog;
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
        let target = LogTarget::new(config)?;
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
        self.target.change(config)?;
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

/// Writes the reason why the process ends to standard error, as a line of a log of this format; `timed`: the lines
/// before it had a time.
pub fn tell_end(reason: &str, format: LogFormat, timed: bool) {
    match format {
        LogFormat::Text => {
            let mut line = String::new();
            if timed && !journal::reads_stderr() {
                // A clock that cannot be written is left out.
                let _ = SystemTime.format_time(&mut format::Writer::new(&mut line));
                line.push(' ');
            }
            // There is no other place to tell a failure.
            let _ = Stderr.write_all(format!("{line}error: {reason}\n").as_bytes());
        }
        LogFormat::Json => {
            let subscriber = tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_current_span(false)
                .with_span_list(false)
                .with_target(false)
                .with_writer(|| Stderr)
                .finish();
            tracing::subscriber::with_default(subscriber, || tracing::error!("{reason}"));
        }
    }
}

/// Standard error for whole error lines, with their priority where the journal reads it.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if journal::reads_stderr() {
            let line_with_priority = journal::prefixed(journal::priority(Level::ERROR), line);
            io::stderr().write_all(&line_with_priority)?;
        } else {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn level(config: &Log) -> Threshold {
    Threshold(config.level)
}

fn lines(config: &Log, target: &LogTarget) -> Lines {
    let to_stderr = !config.syslog && config.file.is_none();
    let has_priority = config.syslog || to_stderr && journal::reads_stderr();
    let layer = tracing_subscriber::fmt::layer()
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(LineMaker {
            queue: target.queue.clone(),
            has_priority,
        });
    match config.format {
        // Whoever takes priorities has times too.
        LogFormat::Text if has_priority => Box::new(layer.without_time().with_ansi(false)),
        LogFormat::Text => {
            let colour =
                to_stderr && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
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
    place: Arc<Mutex<Place>>,
}

#[derive(Clone, Debug)]
enum Place {
    Stderr,
    File(PathBuf),
    Syslog,
}

impl Place {
    fn new(config: &Log) -> Self {
        match &config.file {
            _ if config.syslog => Self::Syslog,
            Some(path) => Self::File(path.clone()),
            None => Self::Stderr,
        }
    }

    fn open(&self) -> io::Result<Sink> {
        Ok(match self {
            Self::Stderr => Sink::new(None),
            Self::File(path) => Sink::new(Some(open_file(path)?)),
            Self::Syslog => Sink::syslog(Syslog::new(Path::new(syslog::SOCKET))),
        })
    }
}

impl LogTarget {
    fn new(config: &Log) -> Result<Self, Problem> {
        let (place, sink) = open(config)?;
        let queue = LogQueue::start(sink).map_err(|error| {
            Problem::new(
                format!("the log's thread does not start: {error}"),
                "let this user have more threads (ulimit -u, systemd: TasksMax)",
            )
        })?;
        Ok(Self {
            queue,
            place: Arc::new(Mutex::new(place)),
        })
    }

    /// The queue of the lines.
    pub fn queue(&self) -> &LogQueue {
        &self.queue
    }

    /// Whether lines go elsewhere than to standard error.
    pub fn is_elsewhere(&self) -> bool {
        !matches!(*self.place(), Place::Stderr)
    }

    /// Writes to standard error, unless the log goes there.
    pub fn say_beside_file(&self, text: &str) {
        if self.is_elsewhere() {
            self.queue.write_to_stderr(format!("{text}\n"));
        }
    }

    fn reopen(&self) -> io::Result<()> {
        let sink = self.place().open()?;
        self.queue.switch(sink);
        Ok(())
    }

    fn change(&self, config: &Log) -> Result<(), Problem> {
        let (place, sink) = open(config)?;
        *self.place() = place;
        self.queue.switch(sink);
        Ok(())
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // Replaced whole, so a panic elsewhere leaves nothing half done.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(config: &Log) -> Result<(Place, Sink), Problem> {
    let place = Place::new(config);
    let sink = place.open().map_err(|error| {
        let path = config.file.as_deref().unwrap_or(Path::new(syslog::SOCKET));
        Problem::new(
            format!("log-file: {} cannot be opened: {error}", path.display()),
            "choose a place that this user may write to",
        )
    })?;
    Ok((place, sink))
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}

/// Makes writers of lines.
struct LineMaker {
    queue: LogQueue,
    /// Lines begin with their priority.
    has_priority: bool,
}

/// A writer of whole lines.
struct LineWriter<'a> {
    queue: &'a LogQueue,
    priority: Option<u8>,
}

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.line(match self.priority {
            Some(priority) => journal::prefixed(priority, line.trim_ascii_start()),
            None => line.to_vec(),
        });
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LineMaker {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        self.of_level(Level::INFO)
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Self::Writer {
        self.of_level(*line.level())
    }
}

impl LineMaker {
    fn of_level(&self, level: Level) -> LineWriter<'_> {
        LineWriter {
            queue: &self.queue,
            priority: self.has_priority.then(|| journal::priority(level)),
        }
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
        target.queue.line(line.as_bytes().to_vec());
    }

    fn to(path: &Path) -> Log {
        Log {
            file: Some(path.to_owned()),
            syslog: false,
            format: LogFormat::Text,
            level: LevelFilter::INFO,
        }
    }

    #[test]
    fn a_moved_file_is_made_anew() {
        let folder = folder("moved");
        let path = folder.join("turnd.log");
        let target = LogTarget::new(&to(&path)).unwrap();
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
        let target = LogTarget::new(&to(&folder.join("turnd.log"))).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        write(&target, "to the file without a name\n");
        assert!(target.reopen().is_err());
        write(&target, "likewise\n");
        target.queue.flush();
        assert_eq!(target.queue.dropped(), 0);
    }

    #[test]
    fn lines_that_a_full_disk_does_not_take_are_counted() {
        let target = LogTarget::new(&to(Path::new("/dev/full"))).unwrap();
        write(&target, "lost\n");
        write(&target, "lost\n");
        target.queue.flush();
        assert_eq!(target.queue.dropped(), 2);
        let folder = folder("full");
        let path = folder.join("turnd.log");
        target.change(&to(&path)).unwrap();
        write(&target, "there is room\n");
        target.queue.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "there is room\n");
        assert_eq!(target.queue.dropped(), 2);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
