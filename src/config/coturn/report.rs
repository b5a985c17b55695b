//! The outcome of an import: what was made, and what became of each option.

use std::fmt;

use super::rule::{Place, Verdict};

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
