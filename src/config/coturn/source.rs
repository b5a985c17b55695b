//! Options as they were found.

use super::rule::Given;

/// Options that were found, and the way to others.
#[derive(Debug, Default)]
pub struct Source {
    /// The options, in their order.
    pub given: Vec<Given>,
    /// Configuration file, whose options come before these.
    pub file: Option<ConfigFile>,
    /// Advice to the reader of the result, one line each.
    pub notes: Vec<String>,
}

/// Path of a configuration file that another file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigFile {
    /// Seen from the working directory.
    Here(String),
    /// Seen from the folder of the file that names it.
    Beside(String),
}
