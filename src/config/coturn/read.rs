//! Finds the options of coturn in a text, whatever kind of file it is.

use clap::{Args, Command};
use toml::{Table, Value};

use super::rule::Given;
use super::source::Source;
use super::{command, conf, containers, options, translate, unit};
use crate::config::file::FileConfig;
use crate::problem::Problem;

/// Reads a `turnserver.conf`, or a file that starts coturn: a unit file, a script, or one for docker-compose or Kubernetes.
///
/// # Errors
/// When it is turnd's own configuration, or looks like YAML and is not.
pub fn read(text: &str) -> Result<Source, Problem> {
    let text = text.trim_start_matches('\u{feff}');
    if is_turnds(text) {
        return Err(Problem::new(
            "is turnd's own configuration already",
            "look at it with `turnd check -c FILE`",
        ));
    }
    if let Some(words) = unit::command(text) {
        return Ok(command::source(words));
    }
    if containers::is_one(text) {
        return containers::read(text);
    }
    Ok(match command::of_text(text) {
        Some(words) => command::source(words),
        None => Source {
            given: conf::file(text),
            ..Source::default()
        },
    })
}

/// Options of a `turnserver.conf`, and nothing else.
pub fn read_conf(text: &str) -> Vec<Given> {
    conf::file(text.trim_start_matches('\u{feff}'))
}

/// Whether the text is a `turnd.toml`: TOML with nothing but keys of turnd, and with a list or a key that coturn has not.
fn is_turnds(text: &str) -> bool {
    let Ok(table) = text.parse::<Table>() else {
        return false;
    };
    let keys = FileConfig::augment_args(Command::new("turnd"));
    let is_key = |name: &String| translate::key(&keys, name).is_some();
    let is_own =
        |(name, value): (&String, &Value)| value.is_array() || options::find(name).is_none();
    table.keys().all(is_key) && table.iter().any(is_own)
}
