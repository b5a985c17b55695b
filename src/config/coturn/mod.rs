//! Reading coturn's configuration, wherever it is, and writing it as `turnd.toml`.

mod command;
mod conf;
mod container;
mod containers;
#[cfg(feature = "tools")]
mod database;
mod docker;
mod images;
mod notes;
mod options;
mod output;
mod read;
mod report;
mod rule;
mod rules;
mod source;
mod translate;
mod unit;
mod variables;
mod words;
mod yaml;

pub use command::command_line;
#[cfg(feature = "tools")]
pub use database::database;
pub(super) use options::is_flag;
pub(crate) use options::{is_option, letter_name};
pub use read::{read, read_conf};
pub use report::{Entry, Import};
pub use rule::{Given, Place, Verdict};
pub use source::{ConfigFile, Source};
pub use translate::translate;

#[cfg(test)]
mod tests;
