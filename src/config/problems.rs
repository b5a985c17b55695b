//! Errors and warnings of a configuration that is being checked.

use super::Config;
use super::error::{ConfigError, Origins};
use crate::problem::Problem;

/// Everything found so far. A wrong value is replaced by any that lets the rest be checked.
pub(super) struct Problems<'a> {
    origins: &'a Origins,
    errors: Vec<ConfigError>,
    warnings: &'a mut Vec<String>,
}

impl<'a> Problems<'a> {
    /// Starts with the `errors` that reading the configuration has found.
    pub(super) fn new(
        origins: &'a Origins,
        errors: Vec<ConfigError>,
        warnings: &'a mut Vec<String>,
    ) -> Self {
        Self {
            origins,
            errors,
            warnings,
        }
    }

    /// Adds an error of `key`, or of one element of its list.
    pub(super) fn wrong(
        &mut self,
        key: &str,
        element: Option<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(key, element, Problem::new(what, remedy));
    }

    /// Adds a problem of `key`, or of one element of its list.
    pub(super) fn add(&mut self, key: &str, element: Option<usize>, problem: Problem) {
        self.errors.push(self.origins.error(key, element, problem));
    }

    /// Adds a problem of the file as a whole.
    pub(super) fn add_without_key(&mut self, problem: Problem) {
        self.push(ConfigError {
            file: self.origins.file.clone(),
            line: None,
            key: None,
            problem,
        });
    }

    /// Adds an error whose place is known.
    pub(super) fn push(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Adds lines about values that work but should be looked at.
    pub(super) fn warn(&mut self, lines: impl IntoIterator<Item = String>) {
        self.warnings.extend(lines);
    }

    /// Whether an error about `key` is known: then nothing is said of how it fits others.
    pub(super) fn is_wrong(&self, key: &str) -> bool {
        let about = |error: &ConfigError| {
            error
                .key
                .as_ref()
                .is_some_and(|k| k.trim_start_matches('-') == key)
        };
        self.errors.iter().any(about)
    }

    /// The first of `keys` that was given; the first of all when none was.
    pub(super) fn given<'k>(&self, keys: &[&'k str]) -> &'k str {
        self.origins.given(keys)
    }

    /// Errors so far.
    pub(super) fn count(&self) -> usize {
        self.errors.len()
    }

    /// The configuration, unless there are errors.
    pub(super) fn finish(self, config: Config) -> Result<Config, Vec<ConfigError>> {
        if self.errors.is_empty() {
            Ok(config)
        } else {
            Err(self.errors)
        }
    }
}
