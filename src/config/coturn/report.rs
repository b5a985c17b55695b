//! The outcome of an import: what was made, and what became of each option.

use std::fmt;

use super::rule::Place;

/// A configuration that came from coturn's.
pub struct Import {
    /// The `turnd.toml`. Holds the secrets.
    pub toml: String,
    /// Verdict on each option, in the order in which they were given.
    pub entries: Vec<Entry>,
    /// Advice before serving, one line each.
    pub notes: Vec<String>,
}

impl fmt::Debug for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import")
            .field("entries", &self.entries)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// Verdict on one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place of the option.
    pub place: Place,
    /// Name as it was written.
    pub name: String,
    /// Verdict.
    pub verdict: Verdict,
    /// Explanation, never a secret; may be empty.
    pub text: String,
}

/// Fate of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same key with the same value.
    Kept,
    /// The same effect, written differently.
    Mapped,
    /// Left out, and nothing is lost.
    WithoutEffect,
    /// Left out, and its effect is missing.
    NotSupported,
    /// No option of coturn's.
    Unknown,
}

impl Verdict {
    /// All verdicts, in the order of the summary.
    pub const ALL: [Self; 5] = [
        Self::Kept,
        Self::Mapped,
        Self::WithoutEffect,
        Self::NotSupported,
        Self::Unknown,
    ];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kept => "kept",
            Self::Mapped => "mapped",
            Self::WithoutEffect => "without effect",
            Self::NotSupported => "not supported",
            Self::Unknown => "unknown",
        })
    }
}
