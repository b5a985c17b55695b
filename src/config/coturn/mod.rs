//! Reading coturn's configuration file and command line, and writing them as `turnd.toml`.

mod options;
mod output;
mod read;
mod report;
mod rule;
mod rules;
mod translate;

pub(super) use options::is_flag;
pub(crate) use options::{is_option, letter_name};
pub use read::{Source, command_line, read};
pub use report::{Entry, Import};
pub use rule::{Given, Place, Verdict};
pub use translate::translate;

#[cfg(test)]
mod tests;
