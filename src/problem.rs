//! Errors that operators are told.

use std::fmt;

/// An operator's error and its remedy, shown as "what; remedy". Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The fact, such as "0 is not a port".
    pub what: String,
    /// The next step, such as "choose one from 1 to 65535".
    pub remedy: String,
}

impl Problem {
    /// A problem with its remedy.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }

    /// The same problem, with the thing that has it in front.
    pub fn of(self, subject: impl fmt::Display) -> Self {
        Self {
            what: format!("{subject} {}", self.what),
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.remedy)
    }
}

impl std::error::Error for Problem {}
