//! Writing the keys as TOML that `turnd serve` takes.

use std::fmt::Write;

use clap::{Arg, Command};

use super::report::{Entry, Import};
use super::rule::{Setting, Value, Verdict};
use crate::config::error::ConfigError;
use crate::config::{self, SEARCH};

/// Keys that stay as they are when their files cannot be used: TLS must not go in silence.
const CERTIFICATES: [&str; 2] = ["cert", "pkey"];

/// Keys that say nothing of use to a file whose certificates are left out.
const OF_CERTIFICATES: [&str; 5] = ["cert", "pkey", "dtls", "no-udp", "no-tcp"];

/// A setting, and what turnd makes of it.
struct Line {
    setting: Setting,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Taken.
    Good,
    /// Refused: it becomes a comment.
    Refused,
    /// Refused, but it stays.
    Stays,
}

/// Writes the settings; what turnd refuses stays as a comment, with the reason in its entry.
pub(super) fn write(
    keys: &Command,
    settings: Vec<Setting>,
    mut entries: Vec<Entry>,
    mut notes: Vec<String>,
) -> Import {
    let mut all: Vec<_> = settings
        .into_iter()
        .map(|setting| Line {
            setting,
            state: State::Good,
        })
        .collect();
    let mut first = true;
    // Every round but the last turns at least one setting into a comment.
    let (toml, errors) = loop {
        let page = render(keys, &all, &entries, &[]);
        let errors = config::warnings(&page.toml).err().unwrap_or_default();
        let mut progress = false;
        for error in &errors {
            let line = error.line.filter(|_| is_ours(error));
            for at in line
                .and_then(|n| page.lines.get(n - 1))
                .into_iter()
                .flatten()
            {
                let Line { setting, state } = &mut all[*at];
                if *state != State::Good {
                    continue;
                }
                let entry = &mut entries[setting.entry];
                if CERTIFICATES.contains(&setting.key) {
                    *state = State::Stays;
                    notes.insert(
                        0,
                        format!(
                            "{}, {}: {}. The line stays, and `turnd check` says so until it is right",
                            entry.place, entry.name, error.problem
                        ),
                    );
                    continue;
                }
                *state = State::Refused;
                progress = true;
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
            break (page.toml, errors);
        }
        first = false;
    };
    // An error of a certificate hides what is to be said of the rest.
    let rest = match all.iter().any(|line| line.state == State::Stays) {
        true => config::warnings(&render(keys, &all, &entries, &OF_CERTIFICATES).toml),
        false if errors.is_empty() => config::warnings(&toml),
        false => Err(errors),
    };
    match rest {
        Ok(warnings) => notes.splice(0..0, warnings),
        Err(errors) => notes.splice(
            0..0,
            errors
                .into_iter()
                .map(|e| e.problem.to_string())
                .collect::<Vec<_>>(),
        ),
    };
    Import {
        toml,
        entries,
        notes,
    }
}

fn is_ours(error: &ConfigError) -> bool {
    error
        .file
        .as_ref()
        .is_some_and(|file| file.as_os_str() == SEARCH[0])
}

/// The text, and for each of its lines the settings that it stands for.
struct Page {
    toml: String,
    lines: Vec<Vec<usize>>,
}

impl Page {
    fn add(&mut self, text: &str, settings: Vec<usize>) {
        self.toml.push_str(text);
        self.toml.push('\n');
        self.lines.push(settings);
    }

    fn comment(&mut self, indent: &str, text: &str) {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        self.add(&format!("{indent}# {text}"), Vec::new());
    }

    /// Comments of coturn's file on a setting, and the reason why it is refused.
    fn comments(&mut self, indent: &str, line: &Line, entries: &[Entry]) {
        for comment in &line.setting.comments {
            self.comment(indent, comment);
        }
        if line.state == State::Refused {
            let why = &entries[line.setting.entry].text;
            self.comment(indent, &format!("Not supported: {why}"));
        }
    }
}

/// The text without the keys `but`.
fn render(keys: &Command, settings: &[Line], entries: &[Entry], but: &[&str]) -> Page {
    let mut page = Page {
        toml: String::new(),
        lines: Vec::new(),
    };
    page.add(
        "# Made by turnd import. Check it with: turnd check -c FILE",
        Vec::new(),
    );
    let mut heading = None;
    for key in keys.get_arguments() {
        let name = key.get_long().unwrap_or_default();
        let of_key = |(_, line): &(usize, &Line)| line.setting.key == name;
        let here: Vec<_> = settings.iter().enumerate().filter(of_key).collect();
        if here.is_empty() || but.contains(&name) {
            continue;
        }
        if heading != Some(key.get_help_heading()) {
            heading = Some(key.get_help_heading());
            let title = key.get_help_heading().unwrap_or("Other");
            page.add("", Vec::new());
            page.add(&format!("### {title} ###"), Vec::new());
            page.add("", Vec::new());
        }
        add(key, &here, entries, &mut page);
    }
    page
}

fn add(key: &Arg, settings: &[(usize, &Line)], entries: &[Entry], page: &mut Page) {
    let name = key.get_long().unwrap_or_default();
    let all: Vec<_> = settings.iter().map(|(at, _)| *at).collect();
    let values: Vec<_> = settings
        .iter()
        .map(|(_, line)| text(&line.setting.value))
        .collect();
    let is_list = settings.iter().any(|(_, line)| line.setting.list);
    let none_left = settings
        .iter()
        .all(|(_, line)| line.state == State::Refused);
    if none_left || settings.len() == 1 {
        for (_, line) in settings {
            page.comments("", line, entries);
        }
        let mark = if none_left { "# " } else { "" };
        let values = values.join(", ");
        let values = if is_list {
            format!("[{values}]")
        } else {
            values
        };
        return page.add(&format!("{mark}{name} = {values}"), all);
    }
    page.add(&format!("{name} = ["), all);
    for ((at, line), value) in settings.iter().zip(values) {
        page.comments("  ", line, entries);
        let mark = if line.state == State::Refused {
            "# "
        } else {
            ""
        };
        page.add(&format!("  {mark}{value},"), vec![*at]);
    }
    page.add("]", Vec::new());
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
