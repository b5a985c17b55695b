//! Lines on their way to the log: a bounded queue, and a thread that writes them.
//!
//! A sink may stall: a pipe that nobody reads, a disk that hangs. That costs lines, which are
//! counted, and nobody waits for it but the thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::journal;
use super::syslog::{Sent, Syslog};

/// Most lines that wait.
const MAX_LINES: usize = 8192;

/// Bytes of the waiting lines at the most.
const MAX_BYTES: usize = 4 << 20;

/// Time that the end of the process waits for a sink that takes nothing.
const STALL: Duration = Duration::from_secs(1);

/// Time that the end of the process waits for a sink that takes lines slowly.
const SLOW_SINK: Duration = Duration::from_secs(5);

/// The way to the log's thread, from anywhere in the process.
#[derive(Clone, Debug)]
pub struct LogQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Signalled when there is an item for the thread again.
    filled: Condvar,
    /// Signalled when the thread has done with an item.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    /// Lines in the queue and in the thread's hands.
    lines: usize,
    /// Bytes of the waiting lines.
    bytes: usize,
    /// Items that came in since the start.
    taken: u64,
    /// Items that the thread has done with.
    finished: u64,
    /// Lines that were lost since the start.
    dropped: u64,
    /// Lost lines that the log does not tell of yet.
    untold: u64,
    /// Time until which a full queue makes its callers wait; `None`: they never wait.
    waits_until: Option<Instant>,
}

impl State {
    fn is_full(&self) -> bool {
        self.lines >= MAX_LINES || self.bytes >= MAX_BYTES
    }

    fn lose_line(&mut self) {
        self.dropped += 1;
        self.untold += 1;
    }

    fn add(&mut self, item: Item) {
        self.taken += 1;
        self.items.push_back(item);
    }
}

#[derive(Debug)]
enum Item {
    /// A line of the log.
    Line(Vec<u8>),
    /// Text for standard error, wherever the log goes.
    Stderr(String),
    /// The place for all lines behind this item.
    Switch(Sink),
}

impl LogQueue {
    /// Starts the thread, which writes to `sink`.
    pub(super) fn start(sink: Sink) -> io::Result<Self> {
        let queue = Self(Arc::default());
        let thread = queue.clone();
        std::thread::Builder::new()
            .name("log".into())
            .spawn(move || thread.run(sink))?;
        Ok(queue)
    }

    /// Queues a line, or loses it when there is no room.
    pub(super) fn line(&self, line: Vec<u8>) {
        let mut state = self.locked();
        if state.is_full()
            && let Some(until) = state.waits_until
        {
            state = self.wait_while(state, until, State::is_full);
            if state.is_full() {
                state.waits_until = None;
            }
        }
        if state.is_full() {
            return state.lose_line();
        }
        state.lines += 1;
        state.bytes += line.len();
        self.add(state, Item::Line(line));
    }

    /// Has later lines go to `sink`.
    pub(super) fn switch(&self, sink: Sink) {
        self.add(self.locked(), Item::Switch(sink));
    }

    /// Writes to standard error, in turn with the lines of the log.
    pub fn write_to_stderr(&self, text: impl Into<String>) {
        self.add(self.locked(), Item::Stderr(text.into()));
    }

    /// Lines that were lost since the start: there was no room, or the sink took them not.
    pub fn dropped(&self) -> u64 {
        self.locked().dropped
    }

    /// Has lines wait for room from now on, though not long, because the process is about to end.
    pub fn prepare_exit(&self) {
        self.locked().waits_until = Some(Instant::now() + SLOW_SINK);
    }

    /// Returns when all lines are written, or when the sink has stalled for too long.
    pub fn flush(&self) {
        let state = self.locked();
        let taken = state.taken;
        let until = Instant::now() + SLOW_SINK;
        drop(self.wait_while(state, until, |state| state.finished < taken));
    }

    /// Waits for as long as this holds; gives up at `until`, or when the sink stalls.
    fn wait_while<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        until: Instant,
        unmet: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while unmet(&state) {
            let before = state.finished;
            let left = until.saturating_duration_since(Instant::now()).min(STALL);
            let stands = |state: &mut State| state.finished == before;
            let waited = self.0.done.wait_timeout_while(state, left, stands);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = after;
            if timeout.timed_out() {
                break;
            }
        }
        state
    }

    /// Flushes when it is dropped.
    #[must_use]
    pub fn flush_at_end(&self) -> FlushAtEnd {
        FlushAtEnd(self.clone())
    }

    fn add(&self, mut state: MutexGuard<'_, State>, item: Item) {
        // The thread sleeps only when there is nothing.
        let asleep = state.items.is_empty();
        state.add(item);
        drop(state);
        if asleep {
            self.0.filled.notify_one();
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // No code that holds the lock can panic halfway.
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut sink: Sink) {
        loop {
            match self.next() {
                Item::Line(line) => {
                    let written = sink.write(&line);
                    let lost = self.line_done(line.len(), written);
                    if lost > 0 {
                        tracing::warn!(lines = lost, "log lines were dropped");
                    }
                }
                Item::Stderr(text) => {
                    // A failure has no other place to be told.
                    let _ = io::stderr().write_all(text.as_bytes());
                    self.finish(|_| ());
                }
                Item::Switch(next) => {
                    sink = next;
                    self.finish(|_| ());
                }
            }
        }
    }

    fn next(&self) -> Item {
        let mut state = self.locked();
        loop {
            if let Some(item) = state.items.pop_front() {
                return item;
            }
            let woken = self.0.filled.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Counts a line of `len` bytes. When the log flows again, returns how many were lost before.
    fn line_done(&self, len: usize, written: bool) -> u64 {
        self.finish(|state| {
            state.lines -= 1;
            state.bytes -= len;
            if !written {
                state.lose_line();
            }
            let flows = written && state.lines <= MAX_LINES / 2 && state.bytes <= MAX_BYTES / 2;
            if flows {
                std::mem::take(&mut state.untold)
            } else {
                0
            }
        })
    }

    fn finish<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.locked();
        state.finished += 1;
        let outcome = change(&mut state);
        drop(state);
        self.0.done.notify_all();
        outcome
    }
}

/// Flushes the log when it is dropped.
#[derive(Debug)]
pub struct FlushAtEnd(LogQueue);

impl Drop for FlushAtEnd {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// The place where lines go.
#[derive(Debug)]
pub(super) struct Sink {
    place: Place,
    /// The last line was written in part.
    torn: bool,
}

#[derive(Debug)]
enum Place {
    Stderr,
    File(File),
    Syslog(Syslog),
}

impl Sink {
    /// A file, or standard error.
    pub(super) fn new(file: Option<File>) -> Self {
        Self {
            place: file.map_or(Place::Stderr, Place::File),
            torn: false,
        }
    }

    /// The syslog daemon, whose lines begin with a priority.
    pub(super) fn syslog(syslog: Syslog) -> Self {
        Self {
            place: Place::Syslog(syslog),
            torn: false,
        }
    }

    /// Whether the whole line is written.
    fn write(&mut self, line: &[u8]) -> bool {
        if let Place::Syslog(syslog) = &mut self.place {
            return match syslog.send(line) {
                Sent::Yes => true,
                Sent::Lost => false,
                Sent::Away => {
                    let (_, bare) = journal::split(line);
                    let line = if journal::reads_stderr() { line } else { bare };
                    io::stderr().write_all(line).is_ok()
                }
            };
        }
        if self.torn && self.write_part(b"\n") == 0 {
            return false;
        }
        let written = self.write_part(line);
        self.torn = (1..line.len()).contains(&written);
        written == line.len()
    }

    /// Writes as much as can be written, and returns how many bytes that was.
    fn write_part(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            let wrote = match &mut self.place {
                Place::File(file) => file.write(rest),
                Place::Stderr | Place::Syslog(_) => io::stderr().write(rest),
            };
            match wrote {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
                Ok(count) => written += count,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A queue whose thread writes into a pipe, and the end from which it is read.
    fn queue() -> (LogQueue, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        (LogQueue::start(Sink::new(Some(file))).unwrap(), reader)
    }

    /// Puts in lines of this length until one is lost; how many were not.
    fn fill(queue: &LogQueue, len: usize) -> usize {
        let line = vec![b'x'; len];
        let mut count = 0;
        while queue.dropped() == 0 {
            queue.line(line.clone());
            count += 1;
        }
        count - 1
    }

    #[test]
    fn a_stalled_sink_costs_lines_and_no_more_memory_than_was_said() {
        // Lines that the kernel's pipe takes, at the most.
        let pipe = 1 << 20;
        for (len, limit) in [(64, MAX_LINES), (4096, MAX_BYTES / 4096)] {
            let (queue, reader) = queue();
            let kept = fill(&queue, len);
            assert!(
                (limit..limit + pipe / len).contains(&kept),
                "{kept} of {len}"
            );
            for _ in 0..1000 {
                queue.line(vec![b'x'; len]);
            }
            assert!(queue.dropped() >= 900, "{}", queue.dropped());
            drop(reader);
        }
    }

    #[test]
    fn nothing_waits_long_for_a_stalled_sink() {
        let (queue, _reader) = queue();
        fill(&queue, 4096);
        queue.switch(Sink::new(Some(File::create("/dev/null").unwrap())));
        // These return, or the test never ends.
        queue.prepare_exit();
        for _ in 0..10_000 {
            queue.line(b"one too many\n".to_vec());
        }
        queue.flush();
    }

    #[test]
    fn at_the_end_a_sink_that_flows_gets_every_line() {
        let (queue, mut reader) = queue();
        queue.prepare_exit();
        let count = 3 * MAX_LINES;
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        for n in 0..count {
            queue.line(format!("{n}\n").into_bytes());
        }
        // Closes the pipe.
        queue.switch(Sink::new(None));
        queue.flush();
        assert_eq!((queue.dropped(), queue.locked().lines), (0, 0));
        let expected: String = (0..count).map(|n| format!("{n}\n")).collect();
        assert!(read.join().unwrap() == expected);
    }

    #[test]
    fn a_line_that_was_cut_short_does_not_spoil_the_next() {
        let (mut reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut sink = Sink::new(Some(file));
        sink.torn = true;
        assert!(sink.write(b"whole\n"));
        assert!(sink.write(b"whole\n"));
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "\nwhole\nwhole\n");
    }
}
