//! Lines of a `turnserver.conf`.

use super::options;
use super::rule::{Given, Place, Takes};

/// Most lines of comment that are kept with one option.
const MOST_COMMENTS: usize = 20;

/// Options with one value in which blanks may be meant.
const WITH_BLANKS: [&str; 5] = [
    "user",
    "static-auth-secret",
    "stateless-nonce-secret",
    "cli-password",
    "pkey-pwd",
];

/// The options of the text, each with the comments directly above it and behind it.
pub(super) fn file(text: &str) -> Vec<Given> {
    let mut given = Vec::new();
    let mut comments = Vec::new();
    for (text, number) in text.lines().zip(1..) {
        let text = text.trim();
        if let Some(comment) = text.strip_prefix('#') {
            note(comment, &mut comments);
        } else if text.is_empty() {
            comments.clear();
        } else {
            let first = given.len();
            given.extend(line(text, Place::Line(number)));
            if let Some(option) = given.get_mut(first) {
                option.comments.splice(0..0, comments.drain(..));
            }
            comments.clear();
        }
    }
    given
}

/// Adds a line of comment to those above an option.
fn note(comment: &str, comments: &mut Vec<String>) {
    let comment = comment.trim_matches('#').trim();
    let name = comment.split(['=', ' ', '\t']).next().unwrap_or_default();
    // An option that is commented out belongs to nothing below it.
    let alone = name == comment || comment[name.len()..].starts_with('=');
    if options::find(name).is_some() && alone {
        comments.clear();
    } else if !comment.is_empty() && comments.len() < MOST_COMMENTS {
        comments.push(comment.to_owned());
    }
}

/// One line, split as coturn's `parse_arg_string` does, but for comments after values and for several options.
fn line(text: &str, place: Place) -> Vec<Given> {
    let separator = |c: char| c == '=' || c == ' ' || c == '\t';
    let (name, rest) = match text.find(separator) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let (value, comment) = value(rest, separator);
    let plain = text.len() - comment.map_or(0, |comment| comment.len() + 1);
    let mut all = match apart(&text[..plain]) {
        Some(parts) => {
            let mut all: Vec<_> = parts
                .into_iter()
                .map(|(name, value)| Given::new(name, value, place))
                .collect();
            if let Some(first) = all.first_mut() {
                let remark = "is one of several options on a line, which are taken apart here: coturn takes the line for this one";
                first.remarks.push(remark.to_owned());
            }
            all
        }
        None => {
            let mut only = Given::new(name, Some(value).filter(|v| !v.is_empty()), place);
            if let Some(other) = another(name, value) {
                only.remarks.push(format!(
                    "holds {other}=, which looks like an option: coturn takes it for a part of the value; write each option on a line of its own"
                ));
            }
            vec![only]
        }
    };
    if let (Some(comment), Some(last)) = (comment, all.last_mut()) {
        last.remarks.push("without the comment after it".to_owned());
        let comment = comment.trim();
        if !comment.is_empty() {
            last.comments.push(comment.to_owned());
        }
    }
    all
}

/// Options on one line, where each word is one of them and no value can have a blank in it.
fn apart(text: &str) -> Option<Vec<(&str, Option<&str>)>> {
    if text.contains(['"', '\'']) {
        return None;
    }
    let mut words = text.split_whitespace();
    let mut parts: Vec<(&str, Option<&str>)> = Vec::new();
    while let Some(word) = words.next() {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let option = options::find(name)?;
        // The words after it may be meant as its value.
        if parts
            .last()
            .is_some_and(|(before, _)| WITH_BLANKS.contains(before))
        {
            return None;
        }
        let value = match value {
            None if option.takes == Takes::Value => Some(words.next()?),
            value => value.filter(|text| !text.is_empty()),
        };
        parts.push((name, value));
    }
    (parts.len() > 1).then_some(parts)
}

/// Option of coturn's that is set within the value of another.
fn another<'v>(name: &str, value: &'v str) -> Option<&'v str> {
    // Keywords of a connection to a database are called like options.
    if name.ends_with("db") {
        return None;
    }
    let words = value.split_whitespace().skip(1);
    words
        .filter_map(|word| word.split_once('='))
        .map(|(name, _)| name)
        .find(|name| options::find(name).is_some())
}

/// The value in what follows the name, and the comment after it.
fn value(rest: &str, separator: impl Fn(char) -> bool) -> (&str, Option<&str>) {
    let value = rest.trim_start_matches(separator);
    if let Some(quoted) = value.strip_prefix('"') {
        // The quote that ends it has nothing after it, or a comment.
        let comment =
            |after: &str| after.starts_with([' ', '\t']) && after.trim_start().starts_with('#');
        return quoted
            .match_indices('"')
            .map(|(at, _)| (&quoted[..at], &quoted[at + 1..]))
            .find(|(_, after)| after.is_empty() || comment(after))
            .map_or((quoted, None), |(inside, after)| {
                (inside, after.trim_start().strip_prefix('#'))
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
        Some(at) => (rest[skipped..at].trim_end(), Some(&rest[at + 1..])),
        None => (value, None),
    }
}
