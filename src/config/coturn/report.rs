//! The outcome of an import: what was made, and what became of each option.

use std::fmt;

use super::rule::Place;

/// A configuration that came from coturn's.
pub struct Import {
    /// The `turnd.toml`. Holds the secrets.
    pub toml: String,
    /// What became of each option, in the order in which they were given.
    pub entries: Vec<Entry>,
    /// What to do before serving, one line each.
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

/// What became of one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it was given.
    pub place: Place,
    /// The option, as it was written.
    pub name: String,
    /// Whether it arrived.
    pub verdict: Verdict,
    /// What to know about it; never a secret. Empty when there is nothing to say.
    pub text: String,
}

/// Whether an option arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same key with the same value.
    Kept,
    /// The same effect, written differently.
    Mapped,
    /// Nothing is lost by leaving it out.
    WithoutEffect,
    /// Its effect is missing.
    NotSupported,
    /// No option of coturn's.
    Unknown,
}

impl Verdict {
    /// All of them, as a summary lists them.
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
