//! Errors of a configuration: the problem, and the place that it was found at.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::problem::Problem;

/// One error of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file that holds the error; `None`: a flag, or nothing was read.
    pub file: Option<PathBuf>,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// The key, or the flag with its dashes.
    pub key: Option<String>,
    /// The error itself, with its remedy.
    pub problem: Problem,
}

impl ConfigError {
    /// The place as it stands before the problem: `turnd.toml:7: realm: `.
    pub(super) fn place(&self) -> String {
        let mut place = String::new();
        if let Some(file) = &self.file {
            place += &file.display().to_string();
            if let Some(line) = self.line {
                place += &format!(":{line}");
            }
            place += ": ";
        }
        if let Some(key) = &self.key {
            place += &format!("{key}: ");
        }
        place
    }

    /// Whether the error is about `key`, alone or beside others.
    pub(super) fn names(&self, key: &str) -> bool {
        let Problem { what, remedy } = &self.problem;
        let own = self.key.as_deref().unwrap_or_default();
        let in_key = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut words = [own.trim_start_matches('-'), what, remedy]
            .into_iter()
            .flat_map(|text| text.split(|c| !in_key(c)));
        words.any(|word| word == key)
    }

    /// An error that belongs to no key.
    pub(super) fn of_file(file: impl Into<PathBuf>, line: Option<usize>, problem: Problem) -> Self {
        Self {
            file: Some(file.into()),
            line,
            key: None,
            problem,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place(), self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// The place that a value was written at.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// A line of the configuration file.
    File {
        /// Line of the key.
        line: usize,
        /// Line of each element of a list.
        elements: Vec<usize>,
    },
    /// The command line.
    Flag,
}

/// The places of all given values.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins {
    /// The configuration file.
    pub(super) file: Option<PathBuf>,
    /// Place by key; a key that is missing here has its default.
    pub(super) keys: BTreeMap<String, Origin>,
}

impl Origins {
    /// An error about `key`, or about one element of its list.
    pub(super) fn error(&self, key: &str, element: Option<usize>, problem: Problem) -> ConfigError {
        let (file, line, key) = match self.keys.get(key) {
            Some(Origin::Flag) => (None, None, format!("--{key}")),
            Some(Origin::File { line, elements }) => {
                let line = element.and_then(|n| elements.get(n)).unwrap_or(line);
                (self.file.clone(), Some(*line), key.to_owned())
            }
            None => (self.file.clone(), None, key.to_owned()),
        };
        ConfigError {
            file,
            line,
            key: Some(key),
            problem,
        }
    }

    /// The first of `keys` that was given; the first of all when none was.
    pub(super) fn given<'a>(&self, keys: &[&'a str]) -> &'a str {
        keys.iter()
            .find(|key| self.keys.contains_key(**key))
            .or(keys.first())
            .copied()
            .unwrap_or_default()
    }
}

/// A value as an error shows it: quoted, short, and without control characters.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let cut: String = text.chars().take(LONGEST).collect();
    let rest = if cut.len() < text.len() { "…" } else { "" };
    format!("\"{}{rest}\"", cut.escape_debug())
}

/// The known name that is nearest to one that is not known, if any is near.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = name.to_lowercase().replace('_', "-");
    let len = plain.chars().count();
    let near = |known: &str| 1 + known.len() / 4;
    // Names cannot be nearer than their lengths are, and a long one takes long to compare.
    let (_, nearest) = known
        .filter(|known| known.len().abs_diff(len) <= near(known))
        .map(|known| (strsim::damerau_levenshtein(known, &plain), known))
        .filter(|(distance, known)| *distance <= near(known))
        .min()?;
    Some(nearest)
}
