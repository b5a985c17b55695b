//! Latest lines of the log, for those who follow it through the admin listener.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::Context;

/// Most lines that are kept.
const MAX_LINES: usize = 1000;
/// Most bytes of the kept lines, more or less.
const MAX_BYTES: usize = 512 << 10;
/// Bytes of a line beside its texts, more or less.
const LINE_BYTES: usize = 200;

/// Name of the field that holds the text of a line.
const MESSAGE: &str = "message";

/// Latest lines of the log, in bounded memory: who reads them slowly misses some, and holds up nobody.
#[derive(Clone, Debug, Default)]
pub struct RecentLines(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Signalled when there is another line.
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// Number of the latest line; the first one has 1.
    last: u64,
}

/// A line of the log.
#[derive(Debug, Serialize)]
pub struct Line {
    /// Time in UTC (RFC 3339).
    time: String,
    /// Severity: ERROR, WARN, INFO, DEBUG or TRACE.
    level: &'static str,
    /// Text of the line.
    message: String,
    /// Values of the line.
    fields: Map<String, Value>,
    #[serde(skip)]
    severity: Level,
    #[serde(skip)]
    bytes: usize,
}

/// Lines after a certain one.
#[derive(Debug)]
pub struct Found {
    /// Lines that were wanted and are still there, the oldest first.
    pub lines: Vec<Arc<Line>>,
    /// Number of the latest line, wanted or not.
    pub last: u64,
    /// Number of lines that are gone.
    pub missed: u64,
}

impl RecentLines {
    /// The latest lines of `level` and above, `count` at the most.
    #[must_use]
    pub fn latest(&self, level: Level, count: usize) -> Found {
        let mut found = self.locked().after(0, level);
        found.lines.drain(..found.lines.len().saturating_sub(count));
        found.missed = 0;
        found
    }

    /// The lines of `level` and above after the one numbered `after`; waits so long for one if there is none.
    pub async fn follow(&self, mut after: u64, level: Level, wait: Duration) -> Found {
        let deadline = Instant::now() + wait;
        loop {
            let mut added = pin!(self.0.added.notified());
            // From here on another line is noticed.
            added.as_mut().enable();
            let found = self.locked().after(after, level);
            if !found.lines.is_empty() || found.missed > 0 {
                return found;
            }
            if timeout_at(deadline, added).await.is_err() {
                return found;
            }
            after = found.last;
        }
    }

    fn add(&self, line: Line) {
        let mut state = self.locked();
        state.last += 1;
        state.bytes += line.bytes;
        state.lines.push_back(Arc::new(line));
        while state.lines.len() > MAX_LINES || state.bytes > MAX_BYTES {
            match state.lines.pop_front() {
                Some(oldest) => state.bytes -= oldest.bytes,
                None => break,
            }
        }
        drop(state);
        self.0.added.notify_waiters();
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic halfway.
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn after(&self, after: u64, level: Level) -> Found {
        let gone = self.last - self.lines.len() as u64;
        // A number from before a restart is none of this process's.
        let after = after.min(self.last);
        let seen = usize::try_from(after.saturating_sub(gone)).unwrap_or(usize::MAX);
        let wanted = self
            .lines
            .iter()
            .skip(seen)
            .filter(|line| line.severity <= level);
        Found {
            lines: wanted.cloned().collect(),
            last: self.last,
            missed: gone.saturating_sub(after),
        }
    }
}

impl<S: Subscriber> Layer<S> for RecentLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.add(Line::of(event));
    }
}

impl Line {
    fn of(event: &Event<'_>) -> Self {
        let mut time = String::new();
        // A string takes everything.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let mut texts = Texts::default();
        event.record(&mut texts);
        let severity = *event.metadata().level();
        Self {
            time,
            level: severity.as_str(),
            message: texts.message,
            fields: texts.fields,
            severity,
            bytes: texts.bytes + LINE_BYTES,
        }
    }
}

/// Collects the values of an event.
#[derive(Default)]
struct Texts {
    message: String,
    fields: Map<String, Value>,
    bytes: usize,
}

impl Texts {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let value = value.into();
        self.bytes += field.name().len() + value.as_str().map_or(8, str::len);
        self.fields.insert(field.name().to_owned(), value);
    }
}

impl Visit for Texts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            let before = self.message.len();
            let _ = write!(self.message, "{value:?}");
            self.bytes += self.message.len() - before;
        } else {
            self.set(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == MESSAGE {
            self.message.push_str(value);
            self.bytes += value.len();
        } else {
            self.set(field, value);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn lines(log: impl FnOnce()) -> RecentLines {
        let recent = RecentLines::default();
        let subscriber = tracing_subscriber::registry().with(recent.clone());
        tracing::subscriber::with_default(subscriber, log);
        recent
    }

    fn messages(found: &Found) -> Vec<&str> {
        found
            .lines
            .iter()
            .map(|line| line.message.as_str())
            .collect()
    }

    #[test]
    fn a_line_is_kept_with_its_values() {
        let recent = lines(|| {
            let client = std::net::Ipv4Addr::LOCALHOST;
            tracing::warn!(code = 401, %client, reason = "wrong \"key\"", "request refused");
        });
        let found = recent.latest(Level::INFO, 10);
        let line = serde_json::to_value(found.lines[0].as_ref()).unwrap();
        assert_eq!(line["message"], "request refused");
        assert_eq!(line["level"], "WARN");
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        let fields =
            serde_json::json!({"code": 401, "client": "127.0.0.1", "reason": "wrong \"key\""});
        assert_eq!(line["fields"], fields);
    }

    #[test]
    fn only_what_is_new_and_severe_enough_is_found() {
        let recent = lines(|| {
            tracing::info!("one");
            tracing::error!("two");
            tracing::debug!("three");
        });
        assert_eq!(messages(&recent.latest(Level::TRACE, 2)), ["two", "three"]);
        assert_eq!(messages(&recent.latest(Level::INFO, 9)), ["one", "two"]);
        let found = recent.locked().after(1, Level::ERROR);
        assert_eq!(
            (messages(&found), found.last, found.missed),
            (vec!["two"], 3, 0)
        );
        let found = recent.locked().after(7, Level::TRACE);
        assert_eq!((messages(&found), found.last, found.missed), (vec![], 3, 0));
    }

    #[test]
    fn memory_is_bounded_and_what_is_gone_is_counted() {
        let count = 3 * MAX_LINES as u64;
        let recent = lines(|| (0..count).for_each(|n| tracing::info!("{n}")));
        let found = recent.locked().after(5, Level::INFO);
        assert_eq!(found.lines.len(), MAX_LINES);
        assert_eq!(found.missed + 5 + MAX_LINES as u64, count);
        let long = "x".repeat(MAX_BYTES / 10);
        let recent = lines(|| (0..100).for_each(|_| tracing::info!(long)));
        let state = recent.locked();
        assert!(state.bytes <= MAX_BYTES, "{}", state.bytes);
        assert!(
            (8..=10).contains(&state.lines.len()),
            "{}",
            state.lines.len()
        );
        drop(state);
        let recent = lines(|| tracing::info!("{}", "x".repeat(2 * MAX_BYTES)));
        assert_eq!(recent.locked().bytes, 0);
        assert_eq!(recent.locked().after(0, Level::INFO).missed, 1);
    }

    #[tokio::test]
    async fn a_follower_waits_for_the_next_line_and_not_for_ever() {
        let recent = RecentLines::default();
        let found = recent
            .follow(0, Level::INFO, Duration::from_millis(1))
            .await;
        assert!(found.lines.is_empty());
        let follower = recent.clone();
        let long = Duration::from_secs(600);
        let followed = tokio::spawn(async move { follower.follow(0, Level::INFO, long).await });
        tokio::task::yield_now().await;
        let subscriber = tracing_subscriber::registry().with(recent);
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("not wanted");
            tracing::info!("wanted");
        });
        let found = followed.await.unwrap();
        assert_eq!((messages(&found), found.last), (vec!["wanted"], 2));
    }
}
