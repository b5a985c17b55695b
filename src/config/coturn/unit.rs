//! Unit files of systemd.

use std::collections::HashMap;

use super::command::is_coturns;
use super::rule::Place;
use super::variables::expand;
use super::words::{Word, words};

/// Command line that the unit starts; `None`: the text is no unit file. Empty when the unit starts something else.
pub(super) fn command(text: &str) -> Option<Vec<Word>> {
    let lines = logical_lines(text);
    let mut is_unit = false;
    let mut in_service = false;
    let mut keys = Vec::new();
    for (line, number) in &lines {
        if line.starts_with('[') {
            in_service = line == "[Service]";
            is_unit |= in_service;
        } else if in_service && let Some((key, value)) = line.split_once('=') {
            keys.push((key.trim_end(), value.trim_start(), *number));
        }
    }
    if !is_unit {
        return None;
    }
    let environment = keys.iter().filter(|(key, ..)| *key == "Environment");
    let environment = environment.flat_map(|(_, value, _)| words(value));
    let environment: HashMap<_, _> = environment
        .filter_map(|word| {
            let (name, value) = word.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect();
    let mut commands = Vec::new();
    for (_, value, number) in keys.iter().filter(|(key, ..)| *key == "ExecStart") {
        if value.is_empty() {
            // Takes back those before it.
            commands.clear();
        } else {
            commands.push(start(value, *number, &environment));
        }
    }
    Some(
        commands
            .into_iter()
            .find(|words| is_coturns(words))
            .unwrap_or_default(),
    )
}

/// Words of an `ExecStart`, without its prefixes.
fn start(value: &str, number: usize, environment: &HashMap<String, String>) -> Vec<Word> {
    let command = value.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let has_other_name = value[..value.len() - command.len()].contains('@');
    let mut words: Vec<_> = words(command)
        .into_iter()
        .map(|word| (expand(&word, environment), Place::Line(number)))
        .collect();
    // The second word is the name that the process gets.
    if has_other_name && words.len() > 1 {
        words.remove(1);
    }
    words
}

/// Lines with those that go on joined, without comments; each with the number of its first.
fn logical_lines(text: &str) -> Vec<(String, usize)> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    let mut goes_on = false;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part.trim_end(), true),
            None => (line, false),
        };
        match lines.last_mut().filter(|_| goes_on) {
            Some((before, _)) => {
                before.push(' ');
                before.push_str(part);
            }
            None => lines.push((part.to_owned(), number)),
        }
        goes_on = more;
    }
    lines
}
