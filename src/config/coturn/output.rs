//! Writing the keys as TOML that `turnd serve` takes.

use std::fmt::Write;

use clap::{Arg, Command};

use super::report::{Entry, Import};
use super::rule::{Setting, Value, Verdict};
use crate::config::error::ConfigError;
use crate::config::{self, SEARCH};

/// Writes the settings; what turnd refuses stays as a comment, with the reason in its entry.
pub(super) fn write(
    keys: &Command,
    settings: Vec<Setting>,
    mut entries: Vec<Entry>,
    mut notes: Vec<String>,
) -> Import {
    let mut settings: Vec<_> = settings.into_iter().map(|s| (s, false)).collect();
    let mut first = true;
    // Every round but the last turns at least one setting into a comment.
    loop {
        let (toml, lines) = render(keys, &settings);
        let errors = check(&toml, &mut notes).err().unwrap_or_default();
        let mut progress = false;
        for error in &errors {
            let line = error.line.filter(|_| is_ours(error));
            for at in line.and_then(|n| lines.get(n - 1)).into_iter().flatten() {
                let (setting, refused) = &mut settings[*at];
                if std::mem::replace(refused, true) {
                    continue;
                }
                progress = true;
                let entry = &mut entries[setting.entry];
                let after = if first {
                    ""
                } else {
                    "without what was refused: "
                };
                entry.verdict = Verdict::NotSupported;
                entry.text = format!("{after}{}", error.problem);
            }
        }
        if !progress {
            let rest = errors.iter().map(|error| error.problem.to_string());
            notes.splice(0..0, rest);
            return Import {
                toml,
                entries,
                notes,
            };
        }
        first = false;
    }
}

fn is_ours(error: &ConfigError) -> bool {
    error
        .file
        .as_ref()
        .is_some_and(|file| file.as_os_str() == SEARCH[0])
}

/// Reads the text as `turnd serve` would; what that warns of becomes notes.
fn check(toml: &str, notes: &mut Vec<String>) -> Result<(), Vec<ConfigError>> {
    notes.extend(config::warnings(toml)?);
    Ok(())
}

/// The text, and for each of its lines the settings that it stands for.
fn render(keys: &Command, settings: &[(Setting, bool)]) -> (String, Vec<Vec<usize>>) {
    let mut toml = "# Made by turnd import. Check it with: turnd check -c FILE\n".to_owned();
    let mut lines = vec![Vec::new()];
    let mut heading = None;
    for key in keys.get_arguments() {
        let of_key =
            |(_, (setting, _)): &(usize, &(Setting, bool))| Some(setting.key) == key.get_long();
        let here: Vec<_> = settings.iter().enumerate().filter(of_key).collect();
        if here.is_empty() {
            continue;
        }
        if heading != Some(key.get_help_heading()) {
            heading = Some(key.get_help_heading());
            let _ = write!(
                toml,
                "\n### {} ###\n\n",
                key.get_help_heading().unwrap_or("Other")
            );
            lines.extend([const { Vec::new() }; 3]);
        }
        add(key, &here, &mut toml, &mut lines);
    }
    (toml, lines)
}

fn add(
    key: &Arg,
    settings: &[(usize, &(Setting, bool))],
    toml: &mut String,
    lines: &mut Vec<Vec<usize>>,
) {
    let name = key.get_long().unwrap_or_default();
    let mut line = |text: String, settings: Vec<usize>| {
        toml.push_str(&text);
        toml.push('\n');
        lines.push(settings);
    };
    let all: Vec<_> = settings.iter().map(|(at, _)| *at).collect();
    let values: Vec<_> = settings
        .iter()
        .map(|(_, (setting, _))| text(&setting.value))
        .collect();
    let is_list = settings.iter().any(|(_, (setting, _))| setting.list);
    let none_left = settings.iter().all(|(_, (_, refused))| *refused);
    if none_left || settings.len() == 1 {
        let mark = if none_left { "# " } else { "" };
        let values = values.join(", ");
        let values = if is_list {
            format!("[{values}]")
        } else {
            values
        };
        return line(format!("{mark}{name} = {values}"), all);
    }
    line(format!("{name} = ["), all);
    for ((at, (_, refused)), value) in settings.iter().zip(values) {
        let mark = if *refused { "# " } else { "" };
        line(format!("  {mark}{value},"), vec![*at]);
    }
    line("]".to_owned(), Vec::new());
}

/// The value as TOML, on one line.
fn text(value: &Value) -> String {
    match value {
        Value::Switch(on) => on.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => {
            let mut quoted = String::with_capacity(text.len() + 2);
            quoted.push('"');
            for c in text.replace("${", "$${").chars() {
                match c {
                    '"' | '\\' => quoted.extend(['\\', c]),
                    c if c.is_control() => {
                        let _ = write!(quoted, "\\u{:04X}", u32::from(c));
                    }
                    c => quoted.push(c),
                }
            }
            quoted.push('"');
            quoted
        }
    }
}
