//! Reads the options that coturn was given, in its file or on its command line.

use shlex::Shlex;

use super::options;
use super::rule::{Given, Place, Takes};

/// Contents of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Source {
    /// A configuration file.
    File(Vec<Given>),
    /// A command line, with the program before it.
    CommandLine(Vec<String>),
}

/// Reads a `turnserver.conf`, or a file with a command line in it: a script, a unit file.
pub fn read(text: &str) -> Source {
    let text = text.trim_start_matches('\u{feff}');
    match words_of_program(text) {
        Some(words) => Source::CommandLine(words),
        None => Source::File(file(text)),
    }
}

fn file(text: &str) -> Vec<Given> {
    let lines = text.lines().zip(1..);
    lines.filter_map(|(text, n)| line(text, n)).collect()
}

/// One line, split as coturn's `parse_arg_string` does, but for comments after values.
fn line(text: &str, number: usize) -> Option<Given> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let separator = |c: char| c == '=' || c == ' ' || c == '\t';
    let (name, rest) = match text.find(separator) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (value, commented) = value(rest, separator);
    Some(Given {
        name: name.to_owned(),
        value: (!value.is_empty()).then(|| value.to_owned()),
        place: Place::Line(number),
        commented,
    })
}

/// The value in what follows the name, and whether a comment came after it.
fn value(rest: &str, separator: impl Fn(char) -> bool) -> (&str, bool) {
    let value = rest.trim_start_matches(separator);
    if let Some(quoted) = value.strip_prefix('"') {
        // The quote that ends it has nothing after it, or a comment.
        let comment =
            |after: &str| after.starts_with([' ', '\t']) && after.trim_start().starts_with('#');
        return quoted
            .match_indices('"')
            .map(|(at, _)| (&quoted[..at], &quoted[at + 1..]))
            .find(|(_, after)| after.is_empty() || comment(after))
            .map_or((quoted, false), |(inside, after)| {
                (inside, !after.is_empty())
            });
    }
    // A `#` with a blank before it: within a password it has none.
    let skipped = rest.len() - value.len();
    let blank = |at: usize| rest[..at].ends_with([' ', '\t']);
    let comment = rest[skipped..]
        .match_indices('#')
        .map(|(at, _)| at + skipped)
        .find(|at| blank(*at));
    match comment {
        Some(at) => (rest[skipped..at].trim_end(), true),
        None => (value, false),
    }
}

/// Reads a command line; what comes before coturn's own words is skipped.
pub fn command_line(words: &[String]) -> Vec<Given> {
    let skip = match words.iter().position(|word| is_program(word)) {
        Some(at) => at + 1,
        None => 0,
    };
    let mut given = Vec::new();
    let mut words = words.iter().zip(1..).skip(skip);
    while let Some((word, number)) = words.next() {
        let place = Place::Word(number);
        let mut add = |name: &str, value: Option<&str>| {
            given.push(Given {
                name: name.to_owned(),
                value: value.map(str::to_owned),
                place,
                commented: false,
            });
        };
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (long, None),
            };
            let option = options::by_prefix(name);
            let name = option.map_or(name, |option| option.name);
            if value.is_none() && option.is_some_and(|o| o.takes == Takes::Value) {
                add(name, words.next().map(|(word, _)| word.as_str()));
            } else if !long.is_empty() {
                add(name, value);
            }
        } else if let Some(cluster) = word.strip_prefix('-').filter(|c| !c.is_empty()) {
            for (at, letter) in cluster.char_indices() {
                let option = options::by_letter(letter);
                let after = &cluster[at + letter.len_utf8()..];
                match option {
                    Some(option) if option.takes == Takes::Value => {
                        let next = || words.next().map(|(word, _)| word.as_str());
                        let value = Some(after).filter(|text| !text.is_empty());
                        add(option.name, value.or_else(next));
                        break;
                    }
                    Some(option) => add(option.name, None),
                    None => add(&format!("-{letter}"), None),
                }
            }
        } else {
            add(word, None);
        }
    }
    given
}

/// The words of the command line that the text holds; `None` when it holds none.
fn words_of_program(text: &str) -> Option<Vec<String>> {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut bare = Vec::new();
    for line in joined.lines() {
        let words: Vec<_> = Shlex::new(line).collect();
        let Some(first) = words.first() else { continue };
        let name = first.split('=').next().unwrap_or_default();
        if options::find(name).is_none() && words.iter().any(|word| is_program(word)) {
            return Some(words);
        }
        bare.extend(words);
    }
    // A command line without the program, as in a list of arguments.
    bare.first()
        .is_some_and(|word| word.starts_with('-'))
        .then_some(bare)
}

/// `turnserver`, with or without a path, or coturn's container image.
fn is_program(word: &str) -> bool {
    let name = word.rsplit(['/', '=']).next().unwrap_or_default();
    let image = name.split([':', '@']).next().unwrap_or_default();
    !word.starts_with('-') && (name == "turnserver" || image == "coturn")
}
