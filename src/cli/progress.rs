//! One line on a terminal about the work that is being done.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// A line on standard error that each next one replaces; nothing where that is no terminal.
pub(super) struct Progress {
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Shows a line.
    pub(super) fn show(&mut self, line: impl Display) {
        if self.terminal {
            self.shown = true;
            // A terminal that cannot be written to shows nothing.
            let _ = write!(io::stderr(), "\r\x1b[K{line} …");
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}
